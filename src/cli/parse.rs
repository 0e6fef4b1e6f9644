//! `mailbell parse`: what would become of these mails? Needs no config, uses one where it is named, and changes nothing.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::app::exit::EX_CONFIG;
use crate::config::{Reading, built_in_mappings, load_reading};
use crate::model::{Alert, Labels, Severity};
use crate::parse::{How, Limits, Mappings, Outcome, Plain, Rules, mail_caught};

/// Larger files are not read: no mailbox takes such a mail by its default limits.
const MAX_SIZE: u64 = 64 * 1024 * 1024;

/// Shows what mails become: prints one JSON object a line for each FILE.
///
/// `outcome` is `alerts` (then `alerts` lists them), `ignored` (a bounce, an auto-reply, a report) or `quarantined` (it could
/// not be parsed); `reason` says why; the label `mailbell.rule` names the rule that made an alert. What a mail holds never makes the command fail; the exit code is 1 if a file could not
/// be read.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Raw mails (RFC 5322); `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Read them as this config says: its limits, and the rules of its mailbox
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The mailbox of the config whose mails they are; needed where it has several
    #[arg(long, value_name = "NAME", requires = "config")]
    mailbox: Option<String>,
    /// What a mail without alert XML becomes, as `plain` of a mailbox says [default: as the config says, else quarantine]
    #[arg(long, value_enum)]
    plain: Option<WhenPlain>,
    /// Severity of a mail without alert XML: critical, major, minor, warning or info
    #[arg(long, value_name = "SEVERITY", default_value_t = Severity::Warning)]
    plain_severity: Severity,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum WhenPlain {
    /// An alert
    Alert,
    /// Quarantined
    Quarantine,
}

/// One line of output.
#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    outcome: &'static str,
    reason: Option<String>,
    alerts: Vec<AlertLine<'a>>,
}

#[derive(Serialize)]
pub(super) struct AlertLine<'a> {
    id: &'a str,
    key: &'a str,
    status: &'static str,
    severity: &'static str,
    title: &'a str,
    text: &'a str,
    sender: &'a str,
    sent: Option<String>,
    expires: Option<String>,
    groups: &'a [String],
    labels: &'a Labels,
    warnings: &'a [String],
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let mut reading = match &args.config {
        None => Ok(Reader::default()),
        Some(file) => of_config(file, args.mailbox.as_deref()),
    };
    if let (Ok(reading), Some(plain)) = (&mut reading, args.plain) {
        reading.plain = match plain {
            WhenPlain::Alert => Plain::Alert(args.plain_severity),
            WhenPlain::Quarantine => Plain::Quarantine,
        };
    }
    let done = match &reading {
        Ok(reading) => all(&args.files, reading, &mut std::io::stdout().lock()),
        Err(why) => {
            complain(why);
            return ExitCode::from(EX_CONFIG);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // The reader has seen enough (`| head`).
        Err(e) if e.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            complain(&format!("cannot write the output: {e}"));
            ExitCode::FAILURE
        }
    }
}

/// What mails are read with.
struct Reader {
    plain: Plain,
    limits: Limits,
    mappings: Mappings,
    rules: Rules,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            plain: Plain::Quarantine,
            limits: Limits::default(),
            mappings: built_in_mappings(),
            rules: Rules::default(),
        }
    }
}

/// As the mails of one mailbox of a config are read; its secrets are not needed. Why not, for people.
fn of_config(file: &Path, mailbox: Option<&str>) -> Result<Reader, String> {
    let Reading { limits, mappings, mailboxes } = load_reading(file).map_err(|errors| errors.to_string())?;
    let names = || mailboxes.iter().map(|(name, _, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let found = match (mailbox, mailboxes.as_slice()) {
        (Some(wanted), all) => all
            .iter()
            .find(|(name, _, _)| name.as_str() == wanted)
            .ok_or_else(|| format!("{}: there is no mailbox `{wanted}`; there are: {}", file.display(), names()))?,
        (None, [only]) => only,
        (None, []) => return Ok(Reader { limits, mappings, ..Reader::default() }),
        (None, _) => return Err(format!("{}: name one of its mailboxes with --mailbox: {}", file.display(), names())),
    };
    let (_, plain, rules) = found.clone();
    Ok(Reader { plain, limits, mappings, rules })
}

/// Handles the files in turn. `Ok(false)`: some could not be read.
fn all(files: &[PathBuf], reader: &Reader, out: &mut impl Write) -> std::io::Result<bool> {
    let mut readable = true;
    for path in files {
        match read(path) {
            Ok(raw) => {
                let line = line(&path.to_string_lossy(), raw.as_deref(), reader)?;
                out.write_all(line.as_bytes())?;
                out.flush()?;
            }
            Err(e) => {
                readable = false;
                complain(&format!("cannot read {}: {e}", path.display()));
            }
        }
    }
    Ok(readable)
}

/// The bytes of a file; `None`: there are too many.
fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let mut raw = Vec::new();
    let source: Box<dyn Read> =
        if path == Path::new("-") { Box::new(std::io::stdin().lock()) } else { Box::new(File::open(path)?) };
    source.take(MAX_SIZE + 1).read_to_end(&mut raw)?;
    Ok((raw.len() as u64 <= MAX_SIZE).then_some(raw))
}

/// What becomes of one mail, as a line of JSON.
fn line(file: &str, raw: Option<&[u8]>, reader: &Reader) -> std::io::Result<String> {
    let outcome = match raw {
        Some(raw) => {
            let Reader { plain, limits, mappings, rules } = reader;
            mail_caught(raw, &How { plain: *plain, limits, mappings, rules }).outcome
        }
        None => Outcome::Quarantined(format!("it is larger than {} MiB", MAX_SIZE >> 20)),
    };
    let (name, reason, alerts) = match &outcome {
        Outcome::Alerts { alerts, bad } => ("alerts", (!bad.is_empty()).then(|| bad.join("; ")), alerts.as_slice()),
        Outcome::Ignored(reason) => ("ignored", Some(reason.clone()), [].as_slice()),
        Outcome::Quarantined(reason) => ("quarantined", Some(reason.clone()), [].as_slice()),
    };
    let line = Line { file, outcome: name, reason, alerts: alerts.iter().map(alert_line).collect() };
    Ok(super::json::line(&line)? + "\n")
}

/// An alert as scripts read it.
pub(super) fn alert_line(alert: &Alert) -> AlertLine<'_> {
    AlertLine {
        id: &alert.id,
        key: &alert.key.0,
        status: alert.status.as_str(),
        severity: alert.severity.as_str(),
        title: &alert.title,
        text: &alert.text,
        sender: &alert.sender,
        sent: alert.sent.map(|t| t.to_string()),
        expires: alert.expires.map(|t| t.to_string()),
        groups: &alert.groups,
        labels: &alert.labels,
        warnings: &alert.warnings,
    }
}

/// A message for the person at the terminal. Nobody is left to tell where that fails.
fn complain(what: &str) {
    let _ = writeln!(std::io::stderr(), "mailbell parse: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(file: &str, raw: Option<&[u8]>, plain: Plain) -> serde_json::Value {
        let line = line(file, raw, &Reader { plain, ..Reader::default() }).unwrap();
        assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "one line each");
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn an_alert_has_every_key() {
        let raw = b"From: a@b\nMessage-ID: <1@b>\nDate: Sat, 21 Nov 2026 19:42:00 +0100\nSubject: line\n\nup\nand down";
        let want = serde_json::json!({
            "file": "x.eml", "outcome": "alerts", "reason": null, "alerts": [{
                "id": "1@b", "key": "1@b", "status": "firing", "severity": "minor", "title": "line", "text": "up\nand down",
                "sender": "a@b", "sent": "2026-11-21T18:42:00Z", "expires": null, "groups": [], "labels": {}, "warnings": [],
            }],
        });
        assert_eq!(seen("x.eml", Some(raw), Plain::Alert(Severity::Minor)), want);
        let held = seen("-", Some(raw), Plain::Quarantine);
        assert_eq!((held["outcome"].as_str(), held["alerts"].as_array().unwrap().len()), (Some("quarantined"), 0));
        let large = seen("-", None, Plain::Quarantine);
        assert_eq!(large["reason"], "it is larger than 64 MiB");
    }

    #[test]
    fn a_file_that_cannot_be_read_does_not_stop_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let good = folder.path().join("good.eml");
        std::fs::write(&good, "X-Mailbell-Notice: here\n\n").unwrap();
        let files = [folder.path().join("missing"), folder.path().to_owned(), good];
        let mut out = Vec::new();
        assert!(!all(&files, &Reader::default(), &mut out).unwrap());
        assert_eq!(String::from_utf8(out).unwrap().matches("\"outcome\":\"ignored\"").count(), 1);
        assert!(all(&files[2..], &Reader::default(), &mut Vec::new()).unwrap());
    }
}
