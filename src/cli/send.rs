//! `mailbell send`: mails one alert as native XML, or hands it to the service over HTTP, from a script or a terminal.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};
use jiff::Timestamp;
use lettre::Message;
use lettre::message::Mailbox;

pub use super::smtp::Failure;

use super::post::Api;
use super::smtp;
use crate::app::exit::{EX_IOERR, EX_NOINPUT};
use crate::model::{Severity, Span, Status, parse_server};
use crate::parse::native_write::{self, NativeAlert};

/// Longest text that is read from stdin, bytes.
const MOST: u64 = 1 << 20;
/// Longest subject, characters; the whole title is in the alert.
const SUBJECT: usize = 200;

/// Mail one alert to a monitored mailbox, as XML, or hand it to the service (--api)
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Exit codes: 0 sent, 2 wrong usage, 69 the server refuses for good, 75 try again later, 77 the token is refused.\n\
    Example: mailbell send --to alerts@example.org --smtp mail.example.org --severity critical --key ups/7 --title 'UPS 7 on battery'"
)]
pub struct Args {
    /// Address of the monitored mailbox; may be repeated
    #[arg(long, value_name = "ADDRESS", required_unless_present = "api")]
    pub to: Vec<Mailbox>,
    /// Mail server; without a port: 587, with direct TLS 465, without TLS 25
    #[arg(long, value_name = "SERVER[:PORT]", value_parser = parse_server, required_unless_present_any = ["dry_run", "api"])]
    pub smtp: Option<(String, Option<u16>)>,
    /// Hand it to the service at this address instead, such as https://alerts.example.org; http:// only on this machine
    #[arg(long, value_name = "URL", requires = "token_file", conflicts_with_all = ["to", "smtp", "dry_run"])]
    pub api: Option<String>,
    /// File whose first line is the token (`mailbell token create`); only its owner may read it
    #[arg(long, value_name = "FILE", requires = "api")]
    pub token_file: Option<PathBuf>,
    /// How it is sent.
    #[command(flatten)]
    pub way: smtp::Way,
    /// What happened, in one line
    #[arg(long, value_name = "TEXT", value_parser = some_text)]
    pub title: String,
    /// More about it; - reads it from stdin
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub text: String,
    /// critical, major, minor, warning or info
    #[arg(long, default_value = "warning")]
    pub severity: Severity,
    /// What the alert says about its condition; update and resolved need --key
    #[arg(long, value_enum, default_value = "firing")]
    pub status: Said,
    /// Names the condition, so that firing, update and resolved meet; never the title
    #[arg(long, value_name = "KEY", value_parser = some_text, required_if_eq_any = [("status", "update"), ("status", "resolved")])]
    pub key: Option<String>,
    /// Identifier of this report [default: the mail's Message-ID]
    #[arg(long, value_name = "ID", value_parser = some_text)]
    pub id: Option<String>,
    /// Group asked for; may be repeated
    #[arg(long = "group", value_name = "NAME", value_parser = some_text)]
    pub groups: Vec<String>,
    /// Label for routes and text; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// http, https or xmpp link; may be repeated
    #[arg(long = "link", value_name = "URL", value_parser = link)]
    pub links: Vec<String>,
    /// Of no use after this: a time such as 2026-11-21T20:42:00Z, or a duration from now such as 2h
    #[arg(long, value_name = "TIME", value_parser = end)]
    pub expires: Option<End>,
    /// Print the mail and send nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What a sender can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Said {
    /// It holds
    Firing,
    /// It holds, and there is something new to say
    Update,
    /// It is over
    Resolved,
}

/// When an alert expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// At that time.
    At(Timestamp),
    /// After that long.
    After(Duration),
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|err| Failure { code: EX_IOERR, what: format!("cannot start: {err}") })
        .and_then(|runtime| runtime.block_on(send(args, Timestamp::now(), &mut io::stdin(), &mut io::stdout())));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("mailbell send: {}", failure.what);
            ExitCode::from(failure.code)
        }
    }
}

/// Builds the mail and sends it, or prints it. On success one line says what was sent.
pub async fn send(args: &Args, now: Timestamp, input: &mut dyn Read, out: &mut dyn Write) -> Result<(), Failure> {
    let text = text(args, input)?;
    let unwritable = |err: io::Error| Failure { code: EX_IOERR, what: format!("cannot print: {err}") };
    if let (Some(url), Some(file)) = (&args.api, &args.token_file) {
        let api = Api::new(url, file, args.way.ca_file.as_deref())?;
        let (_, xml) = xml(args, &text, now)?;
        let said = api.post(&xml).await?;
        return writeln!(out, "{said}").map_err(unwritable);
    }
    let id = smtp::message_id(now);
    let mail = mail(args, &text, &id, now)?;
    let Some((server, port)) = args.smtp.as_ref().filter(|_| !args.dry_run) else {
        return out.write_all(&mail.formatted()).map_err(unwritable);
    };
    let server = args.way.server(server.clone(), *port)?;
    server.send(&mail).await?;
    let to: Vec<String> = args.to.iter().map(|to| to.email.to_string()).collect();
    writeln!(out, "sent <{id}> to {} by {}:{}", to.join(", "), server.host, server.port()).map_err(unwritable)
}

fn text(args: &Args, input: &mut dyn Read) -> Result<String, Failure> {
    if args.text != "-" {
        return Ok(args.text.clone());
    }
    let mut bytes = Vec::new();
    let unreadable =
        |what: String| Failure { code: EX_NOINPUT, what: format!("cannot read the text from stdin: {what}") };
    input.take(MOST + 1).read_to_end(&mut bytes).map_err(|err| unreadable(err.to_string()))?;
    if bytes.len() as u64 > MOST {
        return Err(unreadable("it is longer than 1 MiB".into()));
    }
    // A log excerpt may hold anything; the alert counts more than one odd byte in it.
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

fn mail(args: &Args, text: &str, id: &str, now: Timestamp) -> Result<Message, Failure> {
    let (status, xml) = xml(args, text, now)?;
    args.way.mail(&args.to, id, &subject(status, args.severity, &args.title), now, xml)
}

/// The alert as XML, and what it says of its condition.
fn xml(args: &Args, text: &str, now: Timestamp) -> Result<(Status, String), Failure> {
    let status = match args.status {
        Said::Firing => Status::Firing,
        Said::Update => Status::Update,
        Said::Resolved => Status::Resolved,
    };
    let expires = match args.expires {
        None => None,
        Some(End::At(time)) => Some(time),
        Some(End::After(span)) => Some(now.checked_add(span).map_err(smtp::wrong("--expires"))?),
    };
    let xml = native_write::write(&[NativeAlert {
        id: args.id.as_deref(),
        key: args.key.as_deref(),
        status: Some(status),
        severity: Some(args.severity),
        sent: Some(now),
        title: &args.title,
        text,
        groups: &args.groups,
        labels: &args.labels,
        links: &args.links,
        expires,
    }]);
    Ok((status, xml))
}

/// For whoever looks into the mailbox: `[critical] UPS 7 on battery`.
pub(super) fn subject(status: Status, severity: Severity, title: &str) -> String {
    let tag = match status {
        Status::Firing => severity.as_str().to_owned(),
        Status::Update => format!("{severity}, update"),
        other => other.as_str().to_owned(),
    };
    let line = title.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
    let line = line.collect::<Vec<_>>().join(" ");
    format!("[{tag}] {line}").chars().take(SUBJECT).collect()
}

fn some_text(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("it is empty".into()) } else { Ok(text.to_owned()) }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".into()),
    }
}

fn link(text: &str) -> Result<String, String> {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("http" | "https" | "xmpp") => Ok(text.to_owned()),
        _ => Err("a link starts with https:, http: or xmpp:".into()),
    }
}

fn end(text: &str) -> Result<End, String> {
    match (text.parse(), text.parse()) {
        (Ok(Span(span)), _) => Ok(End::After(span)),
        (_, Ok(time)) => Ok(End::At(time)),
        _ => Err("write a time such as 2026-11-21T20:42:00Z, or a duration such as 2h".into()),
    }
}

#[cfg(test)]
mod tests;
