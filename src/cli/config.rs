//! `mailbell config`: check a config file, show what is in force, print the schema that editors use, make one of an old file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args as ClapArgs, Subcommand};
use serde::Serialize;

use super::import;
use crate::app::exit::{EX_CONFIG, EX_IOERR};
use crate::config::{self, Config, Problem};

/// What to do with a config file.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a config file: prints every error with its line, and exits with 78 if there is one
    Check(CheckArgs),
    /// Print the config in force as TOML, defaults included, passwords left out
    Show(FileArgs),
    /// Print a JSON Schema of the config file, by which editors complete, explain and check it
    Schema,
    /// Make a config of the old health checker's healthcheck.properties: targets, people, password
    Import(import::Args),
}

/// Which file.
#[derive(Debug, ClapArgs)]
pub struct FileArgs {
    /// Config file [default: $MAILBELL_CONFIG, else /etc/mailbell/mailbell.toml]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Options of `check`.
#[derive(Debug, ClapArgs)]
pub struct CheckArgs {
    /// Which file.
    #[command(flatten)]
    pub file: FileArgs,
    /// Print one JSON object: file, ok, errors and warnings with line, key, wrong, allowed
    #[arg(long)]
    pub json: bool,
}

/// Runs the command. Results go to stdout, complaints to stderr.
pub fn run(command: &Command) -> ExitCode {
    let env = |name: &str| std::env::var_os(name);
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let path = |args: &FileArgs| config::path(args.file.as_deref(), env);
    let done = match command {
        Command::Check(CheckArgs { file, json }) => {
            let file = path(file);
            check(&file, Config::load(&file, env), *json, &mut out, &mut err)
        }
        Command::Show(file) => match Config::load(&path(file), env) {
            Ok(config) => write!(out, "{config}").map(|()| true),
            Err(errors) => writeln!(err, "{errors}").map(|()| false),
        },
        Command::Schema => out.write_all(config::schema().as_bytes()).map(|()| true),
        Command::Import(args) => match import::run(args, &mut out, &mut err) {
            Ok(()) => Ok(true),
            Err(import::Failure::Input(errors)) => writeln!(err, "{errors}").map(|()| false),
            Err(import::Failure::Output(why)) => Err(why),
        },
    };
    match done.and_then(|good| out.flush().map(|()| good)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EX_CONFIG),
        // `config show | head` is no failure of ours.
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(err, "mailbell: {why}");
            ExitCode::from(EX_IOERR)
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    file: String,
    ok: bool,
    errors: &'a [Problem],
    warnings: &'a [Problem],
}

fn check(
    file: &Path,
    config: Result<Config, config::Errors>,
    json: bool,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<bool> {
    let ok = config.is_ok();
    let (errors, warnings) = match &config {
        Ok(config) => (&[][..], &config.warnings[..]),
        Err(errors) => (&errors.problems[..], &[][..]),
    };
    if json {
        let report = Report { file: file.display().to_string(), ok, errors, warnings };
        out.write_all(super::json::line(&report)?.as_bytes())?;
        writeln!(out)?;
        return Ok(ok);
    }
    for problem in errors {
        writeln!(err, "{}", problem.show(file))?;
    }
    for problem in warnings {
        writeln!(err, "warning: {}", problem.show(file))?;
    }
    match &config {
        Ok(config) => writeln!(out, "{}", summary(file, config))?,
        Err(_) => writeln!(err, "{}: {}", file.display(), count(errors.len(), "error"))?,
    }
    Ok(ok)
}

fn summary(file: &Path, config: &Config) -> String {
    let route = &config.route;
    let targets = config.probe.probes.len();
    let parts: Vec<String> = [counted(config.mailboxes.len() + config.lmtp_mailboxes.len(), "mailbox", "mailboxes")]
        .into_iter()
        .chain((targets > 0).then(|| count(targets, "target")))
        .chain([
            count(route.recipients.len(), "recipient"),
            count(route.groups.len(), "group"),
            count(route.routes.len(), "route"),
            count(config.warnings.len(), "warning"),
        ])
        .collect();
    format!("{}: ok: {}", file.display(), parts.join(", "))
}

fn count(n: usize, what: &str) -> String {
    counted(n, what, &format!("{what}s"))
}

fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(file: &str, json: bool) -> (bool, String, String) {
        let path = Path::new(file);
        let env = |name: &str| (name == "PASSWORD").then(|| "CANARY".into());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let ok = check(path, Config::load(path, env), json, &mut out, &mut err).unwrap();
        (ok, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn a_good_file_is_one_line() {
        let (ok, out, err) = checked("tests/fixtures/config/good.toml", false);
        assert!(ok);
        assert_eq!(out, "tests/fixtures/config/good.toml: ok: 1 mailbox, 1 recipient, 1 group, 0 routes, 0 warnings\n");
        assert_eq!(err, "");
    }

    #[test]
    fn targets_are_counted_where_there_are_any() {
        let (ok, out, _) = checked("tests/fixtures/config/warn-probe.toml", false);
        assert!(ok && out.contains(": ok: 1 mailbox, 14 targets, 1 recipient, "), "{out}");
    }

    #[test]
    fn warnings_are_printed_and_do_no_harm() {
        let (ok, out, err) = checked("tests/fixtures/config/warn-reserve.toml", false);
        assert!(ok);
        assert!(out.ends_with("1 warning\n"), "{out}");
        assert!(err.starts_with("warning: tests/fixtures/config/warn-reserve.toml:10: mailbox.ops: "), "{err}");
    }

    #[test]
    fn every_error_is_printed_with_its_place() {
        let file = "tests/fixtures/config/many.toml";
        let (ok, out, err) = checked(file, false);
        assert!(!ok);
        assert_eq!(out, "");
        assert_eq!(err.lines().count(), 12);
        assert!(err.contains(&format!("{file}:25: mailbox.ops.poll: `3x` is no duration; write ")), "{err}");
        assert!(err.ends_with(&format!("{file}: 11 errors\n")), "{err}");
    }

    #[test]
    fn scripts_get_one_object() {
        let (ok, out, err) = checked("tests/fixtures/config/duration.toml", true);
        assert!(!ok);
        assert_eq!((out.lines().count(), err.as_str()), (1, ""));
        let told: serde_json::Value = serde_json::from_str(&out).unwrap();
        insta::assert_json_snapshot!(told, @r#"
        {
          "errors": [
            {
              "allowed": "write a whole number and a unit: ms, s, m, h, d (\"30s\", \"8h\")",
              "key": "mailbox.ops.poll",
              "line": 15,
              "wrong": "`3x` is no duration"
            }
          ],
          "file": "tests/fixtures/config/duration.toml",
          "ok": false,
          "warnings": []
        }
        "#);
    }
}
