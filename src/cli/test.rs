//! `mailbell test`: do mails become what the operators expect? For a CI of their own.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;
use serde::Deserialize;

use super::route::{Failure, mailbox, presence, read, unknown_people, word};
use super::table::plain;
use crate::app::exit::{EX_CONFIG, EX_SOFTWARE};
use crate::app::rehearsal::{AlertRehearsed, Presences, Preview, Rehearsal, Rehearsed};
use crate::config::{self, Config};
use crate::model::{Presence, Show};
use crate::route::Pattern;

/// Checks a config against expectations: which mail tells whom what. For a CI of your own.
///
/// Exits with 0 if all cases are as expected, with 1 if one is not, with 78 if the config or the expectations cannot be read.
/// README shows what a file of expectations looks like.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files of expectations; their mails are found beside them
    #[arg(required = true, value_name = "EXPECTATIONS.toml")]
    files: Vec<PathBuf>,
    /// Config file, whatever the expectations name; its passwords are not read
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// A file of expectations.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    config: Option<PathBuf>,
    #[serde(rename = "case", default)]
    cases: Vec<Case>,
}

/// One `[[case]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// The mail that is looked at.
    mail: PathBuf,
    /// Mails that came before it.
    #[serde(default)]
    after: Vec<PathBuf>,
    mailbox: Option<String>,
    at: Option<Timestamp>,
    /// `*` is everybody who is not named.
    #[serde(default)]
    presence: BTreeMap<String, String>,
    /// parsed, ignored, rejected, stale, quarantined, duplicate.
    #[serde(default = "parsed")]
    outcome: String,
    reason: Option<String>,
    #[serde(rename = "alert")]
    alerts: Option<Vec<Expected>>,
}

fn parsed() -> String {
    "parsed".into()
}

/// One `[[case.alert]]`: what is given has to fit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    key: Option<String>,
    status: Option<String>,
    severity: Option<String>,
    title: Option<String>,
    /// routed, recorded, unsubscribed.
    state: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    sent: Option<Vec<String>>,
    held: Option<Vec<String>>,
    skipped: Option<Vec<String>>,
    /// Each has to fit a line of every message that is sent.
    #[serde(default)]
    text: Vec<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => {
            eprintln!("mailbell test: {err}");
            return ExitCode::from(EX_SOFTWARE);
        }
    };
    let mut out = io::stdout().lock();
    let (mut passed, mut failed) = (0, 0);
    for path in &args.files {
        match runtime.block_on(file(path, args.config.as_deref(), &mut out)) {
            Ok((good, bad)) => (passed, failed) = (passed + good, failed + bad),
            Err(Failure { error, code }) => {
                eprintln!("{}: {error:#}", path.display());
                return ExitCode::from(code.max(EX_CONFIG));
            }
        }
    }
    let _ = writeln!(out, "{passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}

/// How many cases of a file are as expected, and how many are not.
async fn file(path: &Path, config: Option<&Path>, out: &mut impl Write) -> Result<(usize, usize), Failure> {
    let text = String::from_utf8(read(path)?)?;
    let file: File = toml::from_str(&text)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    if file.cases.is_empty() {
        return Err(anyhow::anyhow!("holds no [[case]]").into());
    }
    let beside = file.config.as_ref().map(|config| dir.join(config));
    let config = config::path(config.or(beside.as_deref()), |name| std::env::var_os(name));
    let config = Config::load_without_secrets(&config).map_err(Failure::config)?;
    let (mut passed, mut failed) = (0, 0);
    for case in &file.cases {
        let differs = case.run(&config, dir).await.map_err(|Failure { error, code }| Failure {
            error: error.context(format!("case `{}`", plain(&case.name))),
            code,
        })?;
        let verdict = if differs.is_empty() { "ok" } else { "FAILED" };
        writeln!(out, "{verdict:6} {}", plain(&case.name))?;
        differs.iter().try_for_each(|text| writeln!(out, "       {}", plain(text)))?;
        passed += usize::from(differs.is_empty());
        failed += usize::from(!differs.is_empty());
    }
    Ok((passed, failed))
}

impl Case {
    /// What is not as expected, each in a line.
    async fn run(&self, config: &Config, dir: &Path) -> Result<Vec<String>, Failure> {
        let mailbox = mailbox(config, self.mailbox.as_deref())?;
        let presences = self.presences()?;
        if let Some(unknown) = unknown_people(config, &presences) {
            return Err(anyhow::anyhow!(unknown).into());
        }
        let now = self.at.unwrap_or_else(Timestamp::now);
        let mut rehearsal = Rehearsal::new(config.clone()).await?;
        for earlier in &self.after {
            rehearsal.mail(&mailbox, read(&dir.join(earlier))?, &presences, now).await?;
        }
        let seen = rehearsal.mail(&mailbox, read(&dir.join(&self.mail))?, &presences, now).await?;
        Ok(self.differs(&seen)?)
    }

    fn presences(&self) -> anyhow::Result<Presences> {
        let mut presences = Presences { named: BTreeMap::new(), others: Presence::Online(Show::Available) };
        for (name, show) in &self.presence {
            let presence = presence(show).map_err(anyhow::Error::msg)?;
            match name.as_str() {
                "*" => presences.others = presence,
                name => _ = presences.named.insert(name.parse()?, presence),
            }
        }
        Ok(presences)
    }

    fn differs(&self, seen: &Rehearsed) -> anyhow::Result<Vec<String>> {
        let mut differs = Vec::new();
        let state = seen.state.as_str();
        if self.outcome != state {
            differs.push(format!("outcome: expected {}, got {state}: {}", self.outcome, seen.reason));
        }
        fits(&mut differs, "reason", self.reason.as_deref(), &seen.reason)?;
        let Some(expected) = &self.alerts else { return Ok(differs) };
        if expected.len() != seen.alerts.len() {
            differs.push(format!("expected {} alerts, got {}", expected.len(), seen.alerts.len()));
        }
        for (n, (expected, seen)) in expected.iter().zip(&seen.alerts).enumerate() {
            let found = expected.differs(seen)?;
            differs.extend(found.into_iter().map(|text| format!("alert {}: {text}", n + 1)));
        }
        Ok(differs)
    }
}

impl Expected {
    fn differs(&self, seen: &AlertRehearsed) -> anyhow::Result<Vec<String>> {
        let alert = &seen.view.alert.alert;
        let mut differs = Vec::new();
        fits(&mut differs, "key", self.key.as_deref(), &alert.key.0)?;
        fits(&mut differs, "status", self.status.as_deref(), alert.status.as_str())?;
        fits(&mut differs, "severity", self.severity.as_deref(), alert.severity.as_str())?;
        fits(&mut differs, "title", self.title.as_deref(), &alert.title)?;
        fits(&mut differs, "state", self.state.as_deref(), seen.view.state.as_str())?;
        fits(&mut differs, "reason", self.reason.as_deref(), &seen.view.reason)?;
        for (name, pattern) in &self.labels {
            fits(&mut differs, &format!("label {name}"), Some(pattern), &alert.labels.get(name).join(", "))?;
        }
        for (what, names) in [("sent", &self.sent), ("held", &self.held), ("skipped", &self.skipped)] {
            let Some(names) = names else { continue };
            let people = seen.people.iter().filter(|told| word(&told.what) == what);
            let (mut expected, mut got): (Vec<_>, Vec<_>) =
                (names.clone(), people.map(|t| t.recipient.to_string()).collect());
            expected.sort();
            got.sort();
            if expected != got {
                differs.push(format!("{what}: expected {}, got {}", list(&expected), list(&got)));
            }
        }
        for told in &seen.people {
            let Preview::Sent(text) = &told.what else { continue };
            for pattern in &self.text {
                let compiled = compiled("text", pattern)?;
                if !text.lines().any(|line| compiled.matches(line)) {
                    differs.push(format!("text for {}: no line is `{pattern}`: {text}", told.recipient));
                }
            }
        }
        Ok(differs)
    }
}

fn fits(differs: &mut Vec<String>, what: &str, expected: Option<&str>, got: &str) -> anyhow::Result<()> {
    if let Some(expected) = expected
        && !compiled(what, expected)?.matches(got)
    {
        differs.push(format!("{what}: expected `{expected}`, got `{got}`"));
    }
    Ok(())
}

/// Exact, with * and ?, or "~REGEX" for the whole value.
fn compiled(what: &str, pattern: &str) -> anyhow::Result<Pattern> {
    Pattern::parse(pattern).map_err(|err| anyhow::anyhow!("{what}: {err}"))
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nobody".into() } else { names.join(", ") }
}
