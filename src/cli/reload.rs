//! `mailbell reload`: the running service reads its config again.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::service::ServiceArgs;
use crate::app::exit::{EX_CONFIG, EX_IOERR, EX_UNAVAILABLE};
use crate::config::{self, Config};
use crate::control::{Change, Kept, Reloaded, Remote};
use crate::queue::StoreError;

/// Make the running service read its config, secrets and CAs again
///
/// It reads the file that it was started with, and checks it first: where that has errors they are all printed, and the old
/// config stays in force. Mailboxes that did not change keep their connections. SIGHUP does the same, and tells the log.
/// Exit codes: 0 the new config is in force, 78 it is bad, 69 no service runs, 74 the service failed to answer.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    service: ServiceArgs,
}

/// How it ended.
enum Outcome {
    Done(Box<Reloaded>),
    Kept(Kept),
    /// Nobody answers at this socket.
    NoService(PathBuf),
    Failed(String),
}

/// Runs it.
pub fn run(args: &Args) -> ExitCode {
    let outcome = ask(&args.service);
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    match show(&outcome, args.service.json, &mut out, &mut err).and_then(|code| out.flush().map(|()| code)) {
        Ok(code) => ExitCode::from(code),
        // Whoever reads the output has seen enough (`| head`).
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(EX_IOERR),
    }
}

fn ask(service: &ServiceArgs) -> Outcome {
    let socket = match service.socket() {
        Ok(socket) => socket,
        // Where even that is bad the service would say so; and all else that is wrong.
        Err(errors) => {
            let all = Config::load(&errors.file, |name| std::env::var_os(name)).err();
            return Outcome::Kept(kept(&all.unwrap_or(errors)));
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => return Outcome::Failed(err.to_string()),
    };
    let asked = runtime.block_on(async {
        let Some(remote) = Remote::connect(&socket).await.map_err(|err| err.to_string())? else { return Ok(None) };
        remote.reload().await.map(Some).map_err(|err: StoreError| err.what)
    });
    match asked {
        Ok(Some(Ok(done))) => Outcome::Done(Box::new(done)),
        Ok(Some(Err(kept))) => Outcome::Kept(kept),
        Ok(None) => Outcome::NoService(socket),
        Err(what) => Outcome::Failed(what),
    }
}

fn kept(errors: &config::Errors) -> Kept {
    let all = errors.problems.iter().map(|problem| problem.show(&errors.file)).collect();
    Kept { file: errors.file.display().to_string(), errors: all }
}

/// Results go to `out`, complaints to `err`; returns the exit code.
fn show(outcome: &Outcome, json: bool, out: &mut impl Write, err: &mut impl Write) -> io::Result<u8> {
    match outcome {
        Outcome::Done(done) if json => out.write_all(super::json::line(done)?.as_bytes())?,
        Outcome::Kept(kept) if json => out.write_all(super::json::line(kept)?.as_bytes())?,
        Outcome::Done(done) => {
            for warning in &done.warnings {
                writeln!(err, "warning: {warning}")?;
            }
            write!(out, "{}", summary(done))?;
            return Ok(0);
        }
        Outcome::Kept(kept) => {
            for error in &kept.errors {
                writeln!(err, "{error}")?;
            }
            writeln!(err, "mailbell: the config is not reloaded; where a service runs, its old config stays in force")?;
            return Ok(EX_CONFIG);
        }
        Outcome::NoService(socket) => {
            writeln!(
                err,
                "mailbell: no service answers at {}. If one runs, [store] path was another when it was started: name its \
                 socket with --socket, or use SIGHUP",
                socket.display()
            )?;
            return Ok(EX_UNAVAILABLE);
        }
        Outcome::Failed(what) => {
            writeln!(err, "mailbell: {what}")?;
            return Ok(EX_IOERR);
        }
    }
    writeln!(out)?;
    Ok(if matches!(outcome, Outcome::Done(_)) { 0 } else { EX_CONFIG })
}

/// What changed, one line each.
fn summary(done: &Reloaded) -> String {
    let mut lines = vec![format!("{}: in force", done.file)];
    let changed = done.mailboxes.iter().filter(|mailbox| mailbox.change != Change::Unchanged);
    lines.extend(changed.map(|mailbox| format!("mailbox {}: {}", mailbox.name, mailbox.change.as_str())));
    let unchanged = done.mailboxes.iter().filter(|mailbox| mailbox.change == Change::Unchanged).count();
    if unchanged > 0 {
        let what = if unchanged == 1 { "mailbox" } else { "mailboxes" };
        lines.push(format!("{unchanged} {what} unchanged"));
    }
    lines.extend(done.added.iter().map(|name| format!("recipient {name}: added")));
    for who in &done.removed {
        let critical = if who.critical > 0 { format!(", {} of them critical", who.critical) } else { String::new() };
        let n = if who.expired == 1 { "notification" } else { "notifications" };
        lines.push(format!("recipient {}: removed; {} waiting {n} expired{critical}", who.name, who.expired));
    }
    if done.owed {
        lines.push("what waits for removed recipients could not be ended yet; that is tried again".into());
    }
    if done.next_sign_in {
        lines.push("xmpp: password and CA are used from the next sign-in on".into());
    }
    lines.extend(done.restart.iter().map(|key| format!("{key}: changed; it is in force only after a restart")));
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{MailboxChange, RemovedRecipient};

    fn shown(outcome: &Outcome, json: bool) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = show(outcome, json, &mut out, &mut err).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn what_changed_is_told_line_by_line() {
        let mailbox = |name: &str, change| MailboxChange { name: name.parse().unwrap(), change };
        let done = Reloaded {
            file: "m.toml".into(),
            mailboxes: vec![
                mailbox("ops", Change::Unchanged),
                mailbox("new", Change::Added),
                mailbox("secret", Change::Restarted),
                mailbox("rules", Change::Updated),
                mailbox("old", Change::Removed),
            ],
            added: vec!["carol".parse().unwrap()],
            removed: vec![
                RemovedRecipient { name: "bob".parse().unwrap(), expired: 12, critical: 2 },
                RemovedRecipient { name: "dave".parse().unwrap(), expired: 1, critical: 0 },
            ],
            restart: vec!["store.path".into(), "xmpp.window".into()],
            next_sign_in: true,
            owed: true,
            warnings: vec!["m.toml:3: group.ops: nobody is in it".into()],
        };
        let (code, out, err) = shown(&Outcome::Done(Box::new(done)), false);
        assert_eq!((code, err.as_str()), (0, "warning: m.toml:3: group.ops: nobody is in it\n"));
        insta::assert_snapshot!(out, @r"
        m.toml: in force
        mailbox new: added
        mailbox secret: signs in anew
        mailbox rules: new rules, same connection
        mailbox old: removed
        1 mailbox unchanged
        recipient carol: added
        recipient bob: removed; 12 waiting notifications expired, 2 of them critical
        recipient dave: removed; 1 waiting notification expired
        what waits for removed recipients could not be ended yet; that is tried again
        xmpp: password and CA are used from the next sign-in on
        store.path: changed; it is in force only after a restart
        xmpp.window: changed; it is in force only after a restart
        ");
    }

    #[test]
    fn a_bad_config_is_told_with_all_its_errors_and_78() {
        let kept = Kept { file: "m.toml".into(), errors: vec!["m.toml:1: a".into(), "m.toml:2: b".into()] };
        let (code, out, err) = shown(&Outcome::Kept(kept.clone()), false);
        assert_eq!((code, out.as_str()), (78, ""));
        assert!(err.starts_with("m.toml:1: a\nm.toml:2: b\nmailbell: the config is not reloaded"), "{err}");
        let (code, out, err) = shown(&Outcome::Kept(kept), true);
        assert_eq!(
            (code, out.as_str(), err.as_str()),
            (78, "{\"file\":\"m.toml\",\"errors\":[\"m.toml:1: a\",\"m.toml:2: b\"]}\n", "")
        );
    }

    #[test]
    fn where_nobody_answers_it_says_what_to_do() {
        let (code, out, err) = shown(&Outcome::NoService("/x.sock".into()), false);
        assert_eq!((code, out.as_str()), (69, ""));
        assert!(err.contains("no service answers at /x.sock") && err.contains("SIGHUP"), "{err}");
        assert_eq!(shown(&Outcome::Failed("no answer in 30 s".into()), true).0, 74);
    }
}
