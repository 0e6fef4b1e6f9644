//! `mailbell route`: who would be told what by these mails? Nobody is told, and the running service is not asked.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;

use super::json;
use super::table::plain;
use crate::app::exit::EX_CONFIG;
use crate::app::rehearsal::{AlertRehearsed, Presences, Preview, Rehearsal, Rehearsed, Told};
use crate::config::{self, Config};
use crate::model::{MailboxName, MessageState, Presence, RecipientName, Show};

/// Shows what would become of mails, by the config: their alerts, the routes that these take, and who would get what text, or
/// why not.
///
/// The mails come one after the other, as if they were received at the same moment: a second one may resolve what the first
/// one reports. Nobody is told anything, no server is asked, and the running service's store is not touched. How much
/// someone was sent lately (max_per_minute, group_window) is not looked at.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Raw mails (RFC 5322); `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Config file; its passwords are not read [default: $MAILBELL_CONFIG, else /etc/mailbell/mailbell.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Mailbox that the mails come to; needed where there are several
    #[arg(long, value_name = "NAME")]
    mailbox: Option<String>,
    /// When they are received, such as 2026-11-21T03:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Where people are: NAME=SHOW with commas between; SHOW is chat, available, away, xa, dnd, offline or not-shared; * is
    /// everybody else [default: *=available]
    #[arg(long, value_name = "NAME=SHOW,…", value_parser = presences, default_value = "*=available")]
    presence: Presences,
    /// Print one JSON object a line for each mail
    #[arg(long)]
    json: bool,
}

/// Runs the command. Exit codes: 1, a file could not be read; 78, the config is bad.
pub fn run(args: &Args) -> ExitCode {
    match rehearse(args) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has seen enough (`| head`).
        Err(Failure { error, .. }) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(Failure { error, code }) => {
            eprintln!("mailbell route: {error:#}");
            ExitCode::from(code)
        }
    }
}

/// Why a rehearsal came to nothing.
pub(super) struct Failure {
    pub(super) error: anyhow::Error,
    pub(super) code: u8,
}

impl Failure {
    pub(super) fn config(error: impl Into<anyhow::Error>) -> Self {
        Self { error: error.into(), code: EX_CONFIG }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { error: error.into(), code: 1 }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|err| err.kind() == io::ErrorKind::BrokenPipe)
}

fn rehearse(args: &Args) -> Result<(), Failure> {
    let path = config::path(args.config.as_deref(), |name| std::env::var_os(name));
    let config = Config::load_without_secrets(&path).map_err(Failure::config)?;
    let mailbox = mailbox(&config, args.mailbox.as_deref())?;
    unknown_people(&config, &args.presence).map_or(Ok(()), |error| Err(Failure::config(anyhow::anyhow!(error))))?;
    let mails = args.files.iter().map(|file| Ok((file, read(file)?))).collect::<Result<Vec<_>, Failure>>()?;
    let now = args.at.unwrap_or_else(Timestamp::now);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut rehearsal = Rehearsal::new(config).await?;
        let mut out = io::stdout().lock();
        for (file, raw) in mails {
            let seen = rehearsal.mail(&mailbox, raw, &args.presence, now).await?;
            match args.json {
                true => writeln!(out, "{}", json::line(&line(file, &mailbox, &seen))?)?,
                false => show(&mut out, file, &mailbox, &seen)?,
            }
        }
        Ok(out.flush()?)
    })
}

/// The mailbox that is named, or the only one.
pub(super) fn mailbox(config: &Config, named: Option<&str>) -> Result<MailboxName, Failure> {
    let names: Vec<_> = config.intakes().map(|(name, ..)| name).collect();
    let all = || names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match (named, names.as_slice()) {
        (Some(name), _) => match names.iter().find(|known| known.as_str() == name) {
            Some(found) => Ok((*found).clone()),
            None => Err(anyhow::anyhow!("there is no mailbox `{}`; there are: {}", plain(name), all()).into()),
        },
        (None, [one]) => Ok((*one).clone()),
        (None, []) => Err(Failure::config(anyhow::anyhow!("the config has no [[mailbox]]"))),
        (None, _) => Err(anyhow::anyhow!("which mailbox do they come to? Name it: {}", all()).into()),
    }
}

/// A slip of the pen in a name would make everybody available.
pub(super) fn unknown_people(config: &Config, presences: &Presences) -> Option<String> {
    let known = |name: &RecipientName| config.route.recipients.iter().any(|recipient| recipient.name == *name);
    let unknown = presences.named.keys().find(|name| !known(name))?;
    Some(format!("presence: there is no recipient `{unknown}`"))
}

pub(super) fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    use anyhow::Context;
    use std::io::Read;
    let mut raw = Vec::new();
    let done = match file == Path::new("-") {
        true => io::stdin().lock().read_to_end(&mut raw).map(drop),
        false => std::fs::read(file).map(|read| raw = read),
    };
    done.with_context(|| format!("cannot read {}", file.display()))?;
    Ok(raw)
}

/// `alice=away,bob=offline,*=available`.
fn presences(text: &str) -> Result<Presences, String> {
    let mut presences = Presences { named: BTreeMap::new(), others: Presence::Online(Show::Available) };
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        let (name, show) = part.split_once('=').ok_or_else(|| format!("`{part}` is not NAME=SHOW"))?;
        let presence = presence(show.trim())?;
        match name.trim() {
            "*" => presences.others = presence,
            name => _ = presences.named.insert(name.parse().map_err(|err| format!("{err}"))?, presence),
        }
    }
    Ok(presences)
}

/// A show, `offline`, or `not-shared`: the recipient has not granted the subscription.
pub(super) fn presence(text: &str) -> Result<Presence, String> {
    match text {
        "offline" => Ok(Presence::Offline),
        "not-shared" => Ok(Presence::NotShared),
        _ => Show::ALL.into_iter().find(|show| show.as_str() == text).map(Presence::Online).ok_or_else(|| {
            let shows: Vec<_> = Show::ALL.iter().map(|show| show.as_str()).collect();
            format!("`{text}` is no presence; allowed: {}, offline, not-shared", shows.join(", "))
        }),
    }
}

fn show(out: &mut impl Write, file: &Path, mailbox: &MailboxName, seen: &Rehearsed) -> io::Result<()> {
    let reason = if seen.reason.is_empty() { String::new() } else { format!(": {}", plain(&seen.reason)) };
    writeln!(out, "{} in mailbox {mailbox}: {}{reason}", plain(&file.to_string_lossy()), seen.state.as_str())?;
    for alert in &seen.alerts {
        show_alert(out, alert)?;
    }
    for notice in &seen.notices {
        writeln!(out, "  operators are told: {}", plain(notice))?;
    }
    Ok(())
}

fn show_alert(out: &mut impl Write, rehearsed: &AlertRehearsed) -> io::Result<()> {
    let alert = &rehearsed.view.alert.alert;
    let (status, severity) = (alert.status.as_str(), alert.severity);
    writeln!(out, "  alert {}: {status}, {severity}: {}", rehearsed.view.alert.id, plain(&alert.title))?;
    writeln!(out, "    key: {} in {}", plain(&alert.key.0), plain(&rehearsed.scope))?;
    for (name, values) in alert.labels.iter() {
        writeln!(out, "    label {}: {}", plain(name), plain(&values.join(", ")))?;
    }
    for warning in &alert.warnings {
        writeln!(out, "    warning: {}", plain(warning))?;
    }
    if let Some(check) = &rehearsed.port_check {
        writeln!(out, "    port check: {}", plain(check))?;
    }
    writeln!(out, "    {}: {}", rehearsed.view.state.as_str(), plain(&rehearsed.view.reason))?;
    for told in &rehearsed.people {
        let by = if told.groups.is_empty() { String::new() } else { format!(" ({})", told.groups.join(", ")) };
        match &told.what {
            Preview::Sent(text) => {
                writeln!(out, "    {}{by}: sent", told.recipient)?;
                text.lines().try_for_each(|line| writeln!(out, "      | {}", plain(line)))?;
            }
            other => writeln!(out, "    {}{by}: {}: {}", told.recipient, word(other), why(other))?,
        }
    }
    rehearsed.groups.iter().try_for_each(|text| writeln!(out, "    {}", plain(text)))
}

/// What is done, in one word.
pub(super) fn word(what: &Preview) -> &'static str {
    match what {
        Preview::Sent(_) => "sent",
        Preview::Held { .. } => "held",
        Preview::Skipped(_) => "skipped",
        Preview::Waits => "waits",
    }
}

fn why(what: &Preview) -> String {
    match what {
        Preview::Sent(_) => String::new(),
        Preview::Held { until, why } => format!("until {until}: {why}"),
        Preview::Skipped(why) => (*why).to_owned(),
        Preview::Waits => "for the one before it".to_owned(),
    }
}

/// One line of output for scripts.
#[derive(Serialize)]
struct Line<'a> {
    file: String,
    mailbox: &'a MailboxName,
    state: MessageState,
    reason: &'a str,
    alerts: Vec<AlertLine<'a>>,
    notices: &'a [String],
}

#[derive(Serialize)]
struct AlertLine<'a> {
    key: &'a str,
    scope: &'a str,
    status: &'static str,
    severity: &'static str,
    title: &'a str,
    labels: &'a crate::model::Labels,
    warnings: &'a [String],
    state: &'static str,
    reason: &'a str,
    port_check: Option<&'a str>,
    recipients: Vec<ToldLine<'a>>,
    groups: &'a [String],
}

#[derive(Serialize)]
struct ToldLine<'a> {
    recipient: &'a RecipientName,
    groups: &'a [String],
    what: &'static str,
    why: String,
    text: Option<&'a str>,
}

fn line<'a>(file: &Path, mailbox: &'a MailboxName, seen: &'a Rehearsed) -> Line<'a> {
    let told = |told: &'a Told| ToldLine {
        recipient: &told.recipient,
        groups: &told.groups,
        what: word(&told.what),
        why: why(&told.what),
        text: match &told.what {
            Preview::Sent(text) => Some(text),
            _ => None,
        },
    };
    let alert = |rehearsed: &'a AlertRehearsed| {
        let alert = &rehearsed.view.alert.alert;
        AlertLine {
            key: &alert.key.0,
            scope: &rehearsed.scope,
            status: alert.status.as_str(),
            severity: alert.severity.as_str(),
            title: &alert.title,
            labels: &alert.labels,
            warnings: &alert.warnings,
            state: rehearsed.view.state.as_str(),
            reason: &rehearsed.view.reason,
            port_check: rehearsed.port_check.as_deref(),
            recipients: rehearsed.people.iter().map(told).collect(),
            groups: &rehearsed.groups,
        }
    };
    Line {
        file: file.to_string_lossy().into_owned(),
        mailbox,
        state: seen.state,
        reason: &seen.reason,
        alerts: seen.alerts.iter().map(alert).collect(),
        notices: &seen.notices,
    }
}
