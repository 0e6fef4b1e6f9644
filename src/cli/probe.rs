//! `mailbell probe`: the probe engine by itself, which mails what it finds, or prints it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use clap::Args as ClapArgs;
use jiff::Timestamp;
use lettre::message::Mailbox;

use super::send::subject;
use super::smtp::{self, Failure};
use crate::app::alone::{Alone, probe};
use crate::app::exit::EX_CONFIG;
use crate::config;
use crate::model::{Alert, parse_server};
use crate::parse::native_write::{self, NativeAlert};
use crate::probe::Outlet;

/// Probe TCP ports for ever, and mail outages and recoveries to a monitored mailbox
///
/// The same engine as in `mailbell serve`, by itself: on a machine that sees what the gateway does not. Without --mail-to each alert is
/// printed, as one JSON object a line. SIGHUP reads the config again; SIGTERM or Ctrl-C ends it. What the mail server has not
/// taken yet is kept in the state file, and so is what was told: a restart tells nothing twice.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Exit codes: 0 stopped cleanly, 78 config, 74 state file, 70 a fault of mailbell.\n\
    Example: mailbell probe --config probe.toml --mail-to alerts@example.org --smtp mail.example.org")]
pub struct Args {
    /// Config file, of which [probe] and [log] are read [default: $MAILBELL_CONFIG, else /etc/mailbell/mailbell.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The old health checker's file, healthcheck.properties; without --config no config file is read
    #[arg(long, value_name = "FILE")]
    healthcheck: Option<PathBuf>,
    /// What was told, and what waits to be mailed; made where it is missing [default: beside the config (or
    /// healthcheck.properties), with the ending .probe]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Address of a monitored mailbox; may be repeated
    #[arg(long, value_name = "ADDRESS", requires = "smtp")]
    mail_to: Vec<Mailbox>,
    /// Mail server; without a port: 587, with direct TLS 465, without TLS 25
    #[arg(long, value_name = "SERVER[:PORT]", value_parser = parse_server, requires = "mail_to")]
    smtp: Option<(String, Option<u16>)>,
    #[command(flatten)]
    way: smtp::Way,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let healthcheck = args.healthcheck.clone();
    let file = match (&args.config, &healthcheck) {
        (None, Some(_)) => None,
        (config, _) => Some(config::path(config.as_deref(), |name| std::env::var_os(name))),
    };
    let named = file.as_ref().or(healthcheck.as_ref());
    let beside = named.map_or_else(|| PathBuf::from("mailbell.probe"), |file| file.with_extension("probe"));
    let state = args.state.clone().unwrap_or(beside);
    let outlet = match outlet(args) {
        Ok(outlet) => outlet,
        Err(failure) => {
            eprintln!("mailbell probe: {}", failure.what);
            return ExitCode::from(EX_CONFIG);
        }
    };
    let settings = move || {
        let probing = config::load_probe(file.as_deref(), healthcheck.as_deref());
        let probing = probing.map_err(|errors| errors.to_string())?;
        for warning in &probing.warnings {
            eprintln!("warning: {warning}");
        }
        Ok(probing)
    };
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|err| crate::app::Exit::Internal(format!("cannot start: {err}")))
        .and_then(|runtime| runtime.block_on(probe(Alone { settings: Box::new(settings), state, outlet })));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            eprintln!("mailbell probe: {exit}");
            exit.code()
        }
    }
}

fn outlet(args: &Args) -> Result<Arc<dyn Outlet>, Failure> {
    let Some((host, port)) = &args.smtp else { return Ok(Arc::new(Lines)) };
    // What is wrong with the password file is known now, not with the first outage.
    args.way.server(host.clone(), *port)?;
    Ok(Arc::new(Mails { way: args.way.clone(), host: host.clone(), port: *port, to: args.mail_to.clone() }))
}

/// Prints alerts.
struct Lines;

#[async_trait]
impl Outlet for Lines {
    async fn hand_on(&self, alerts: &[Alert]) -> Result<(), String> {
        let mut out = std::io::stdout().lock();
        for alert in alerts {
            let line = super::json::line(&super::parse::alert_line(alert)).map_err(|err| err.to_string())?;
            writeln!(out, "{line}").map_err(|err| format!("cannot print: {err}"))?;
        }
        out.flush().map_err(|err| format!("cannot print: {err}"))
    }
}

/// Mails alerts, several in one mail where they wait.
struct Mails {
    way: smtp::Way,
    host: String,
    port: Option<u16>,
    to: Vec<Mailbox>,
}

#[async_trait]
impl Outlet for Mails {
    async fn hand_on(&self, alerts: &[Alert]) -> Result<(), String> {
        // Read again each time: a password that was changed is used from then on.
        let server = self.way.server(self.host.clone(), self.port).map_err(|failure| failure.what)?;
        let now = Timestamp::now();
        let mail = self.way.mail(&self.to, &smtp::message_id(now), &title(alerts), now, xml(alerts));
        server.send(&mail.map_err(|failure| failure.what)?).await.map_err(|failure| failure.what)
    }
}

fn title(alerts: &[Alert]) -> String {
    let Some(first) = alerts.first() else { return String::new() };
    let one = subject(first.status, first.severity, &first.title);
    if alerts.len() == 1 { one } else { format!("{one}, and {} more", alerts.len() - 1) }
}

fn xml(alerts: &[Alert]) -> String {
    let labels: Vec<Vec<(String, String)>> = alerts.iter().map(labels).collect();
    let native = alerts.iter().zip(&labels).map(|(alert, labels)| NativeAlert {
        id: Some(&alert.id),
        key: Some(&alert.key.0),
        status: Some(alert.status),
        severity: Some(alert.severity),
        sent: alert.sent,
        title: &alert.title,
        text: &alert.text,
        groups: &alert.groups,
        labels,
        links: &alert.links,
        expires: alert.expires,
    });
    native_write::write(&native.collect::<Vec<_>>())
}

fn labels(alert: &Alert) -> Vec<(String, String)> {
    let each = |(name, values): (&str, &[String])| {
        values.iter().map(|value| (name.to_owned(), value.clone())).collect::<Vec<_>>()
    };
    alert.labels.iter().flat_map(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Format, Key, Severity, Status};
    use crate::parse::{How, Limits, Mappings, Outcome, Plain, Rules, mail_caught};

    fn alert(key: &str, status: Status) -> Alert {
        let mut alert = Alert {
            id: format!("{key}/1"),
            key: Key(key.into()),
            status,
            severity: Severity::Major,
            title: format!("{key} <is> down"),
            text: "Reason: refused\nAttempts: 3".into(),
            sent: Some("2026-11-21T18:42:00.123Z".parse().unwrap()),
            groups: vec!["ops".into()],
            ..Alert::empty(Format::Native)
        };
        alert.labels.add("port", "80");
        alert.labels.add("port", "443");
        alert
    }

    #[test]
    fn what_is_mailed_is_what_is_read() {
        let sent = [alert("probe/a:80", Status::Firing), alert("probe/b:80", Status::Resolved)];
        let way = smtp::Way {
            from: Some("probe@example.org".parse().unwrap()),
            tls: None,
            allow_plaintext: false,
            ca_file: None,
            user: None,
            password_file: None,
        };
        let now = "2026-11-21T18:43:00Z".parse().unwrap();
        let to = ["alerts@example.org".parse().unwrap()];
        let mail = way.mail(&to, "1@example.org", &title(&sent), now, xml(&sent)).unwrap().formatted();
        let text = String::from_utf8(mail.clone()).unwrap();
        assert!(text.contains("Subject: [major] probe/a:80 <is> down, and 1 more\r\n"), "{text}");
        let (limits, mappings, rules) = (Limits::default(), Mappings::default(), Rules::default());
        let how = How { plain: Plain::Quarantine, limits: &limits, mappings: &mappings, rules: &rules };
        let Outcome::Alerts { alerts, bad } = mail_caught(&mail, &how).outcome else { panic!("{text}") };
        assert_eq!(bad, [""; 0]);
        let read: Vec<Alert> = alerts.into_iter().map(|alert| Alert { sender: String::new(), ..alert }).collect();
        assert_eq!(read, sent);
    }
}
