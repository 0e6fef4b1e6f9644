//! `mailbell status`: is it working, and what does it do.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::service::ServiceArgs;
use super::table;
use crate::app::exit::{EX_CONFIG, EX_IOERR, EX_UNAVAILABLE};
use crate::control::Remote;
use crate::metrics::{Disk, LastAlert, Mailbox, Overview, Queued, Session};
use crate::model::Size;

/// It runs, and what comes in now would not go out now.
const NOT_READY: u8 = 1;

/// Show whether the running service works: mailboxes, XMPP session, queue, probes, disk
///
/// Exit codes: 0 it is ready, 1 it is not, and the reasons come first; 69 no service runs, 74 the service failed to answer,
/// 78 the config does not name a store.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    /// Print it again and again, every so many seconds; on a terminal in the same place
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", require_equals = true,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
}

/// What was found out.
enum Answer {
    Overview(Box<Overview>),
    /// Nobody answers at this socket.
    NoService(PathBuf),
    Failed(String),
}

/// Runs it.
pub fn run(args: &Args) -> ExitCode {
    let socket = match args.service.socket() {
        Ok(socket) => socket,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(EX_CONFIG);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => {
            eprintln!("mailbell: {err}");
            return ExitCode::from(EX_IOERR);
        }
    };
    loop {
        let answer = runtime.block_on(ask(&socket));
        let mut out = io::stdout().lock();
        // Home, and all below it cleared: no flicker, as nothing is blank in between.
        let again = args.watch.filter(|_| out.is_terminal()).map_or("", |_| "\x1b[H\x1b[J");
        let shown = write!(out, "{again}")
            .and_then(|()| show(&answer, args.service.json, Timestamp::now(), &mut out, &mut io::stderr().lock()))
            .and_then(|code| out.flush().map(|()| code));
        drop(out);
        match (shown, args.watch) {
            (Ok(_), Some(seconds)) => std::thread::sleep(Duration::from_secs(seconds)),
            (Ok(code), None) => return ExitCode::from(code),
            // Whoever reads the output has seen enough (`| head`).
            (Err(err), _) if err.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            (Err(_), _) => return ExitCode::from(EX_IOERR),
        }
    }
}

async fn ask(socket: &std::path::Path) -> Answer {
    match Remote::connect(socket).await {
        Ok(Some(remote)) => match remote.status().await {
            Ok(overview) => Answer::Overview(Box::new(overview)),
            Err(err) => Answer::Failed(err.what),
        },
        Ok(None) => Answer::NoService(socket.to_owned()),
        Err(err) => Answer::Failed(err.to_string()),
    }
}

/// Results go to `out`, complaints to `err`; returns the exit code.
fn show(answer: &Answer, json: bool, now: Timestamp, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    match answer {
        Answer::Overview(overview) => {
            if json {
                serde_json::to_writer(&mut *out, overview)?;
                writeln!(out)?;
            } else {
                text(overview, now, out)?;
            }
            Ok(if overview.ready { 0 } else { NOT_READY })
        }
        Answer::NoService(socket) => {
            writeln!(
                err,
                "mailbell: no service answers at {}; start `mailbell serve`, or name its socket with --socket",
                socket.display()
            )?;
            Ok(EX_UNAVAILABLE)
        }
        Answer::Failed(what) => {
            writeln!(err, "mailbell: {what}")?;
            Ok(EX_IOERR)
        }
    }
}

fn text(overview: &Overview, now: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    let Overview { ready, reasons, version, started, store, disk, last_alert, mails_waiting, .. } = overview;
    writeln!(out, "mailbell {}: {}", table::plain(version), if *ready { "ready" } else { "NOT READY" })?;
    for reason in reasons {
        writeln!(out, "  - {}", table::plain(reason))?;
    }
    let disk = disk.map(|Disk { free, reserve, store }| {
        format!("{} free, {} reserve, {} store", Size(free), Size(reserve), Size(store))
    });
    let last = last_alert.as_ref().map(|LastAlert { id, at, severity, title, state }| {
        format!("{} ago, {id} {severity} ({state}): {title}", ago(*at, now))
    });
    let presence: Vec<String> = overview.presence.iter().map(|(presence, n)| format!("{n} {presence}")).collect();
    table::fields(
        out,
        &[
            ("up", format!("{}, since {}", ago(*started, now), table::time(*started))),
            ("xmpp", session(&overview.xmpp, now)),
            ("recipients", presence.join(", ")),
            ("last alert", last.unwrap_or_else(|| "none".into())),
            ("to parse", if *mails_waiting > 0 { format!("{mails_waiting} mails") } else { String::new() }),
            ("probes", probes(overview)),
            ("store", store.clone().unwrap_or_default()),
            ("disk", disk.unwrap_or_default()),
        ],
    )?;
    writeln!(out)?;
    let rows: Vec<[String; 4]> = overview.mailboxes.iter().map(|mailbox| row(mailbox, now)).collect();
    table::write(out, ["MAILBOX", "STATE", "LAST POLL", "ERROR"], &rows)?;
    writeln!(out)?;
    // In the order of the way.
    let states = ["queued", "held", "sending", "accepted"];
    let queue = states.iter().filter_map(|state| Some((*state, overview.queue.get(*state)?)));
    let rows: Vec<[String; 3]> = queue
        .map(|(state, Queued { count, oldest, .. })| {
            [state.to_owned(), count.to_string(), oldest.map(|at| ago(at, now)).unwrap_or_default()]
        })
        .collect();
    table::write(out, ["QUEUE", "COUNT", "OLDEST"], &rows)
}

fn session(session: &Session, now: Timestamp) -> String {
    let Session { state, since, last_error, last_error_at, unacknowledged, .. } = session;
    let mut text = format!("{state} for {}", ago(*since, now));
    if *unacknowledged > 0 {
        text += &format!(", {unacknowledged} messages unacknowledged");
    }
    if let (Some(why), Some(at)) = (last_error, last_error_at) {
        text += &format!("; last error {} ago: {why}", ago(*at, now));
    }
    text
}

fn probes(overview: &Overview) -> String {
    if overview.probe_targets == 0 && overview.probe_told.values().all(|n| *n == 0) {
        return String::new();
    }
    let wrong = overview.probe_told.iter().filter(|(_, n)| **n > 0);
    let wrong: Vec<String> = wrong.map(|(what, n)| format!("{}: {n}", what.replace('_', " "))).collect();
    let wrong = if wrong.is_empty() { "nothing is down".to_owned() } else { wrong.join(", ") };
    format!("{} targets; {wrong}", overview.probe_targets)
}

fn row(mailbox: &Mailbox, now: Timestamp) -> [String; 4] {
    let Mailbox { name, state, last_poll, error, .. } = mailbox;
    let last = last_poll.map(|at| format!("{} ago", ago(at, now))).unwrap_or_default();
    [name.clone(), state.clone(), last, error.clone().unwrap_or_default()]
}

/// Two units at most: `3 d 4 h`, `5 min 2 s`, `0 s`.
fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).max(SignedDuration::ZERO).as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (unit, name) in units {
        let n = left / unit;
        left %= unit;
        if n > 0 || !parts.is_empty() || unit == 1 {
            parts.push((n, name));
        }
    }
    let shown = parts.iter().take(2).filter(|(n, _)| *n > 0 || seconds == 0);
    shown.map(|(n, name)| format!("{n} {name}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn overview() -> Overview {
        let mailbox = |name: &str, state: &str, last_poll, error: Option<&str>| Mailbox {
            name: name.into(),
            state: state.into(),
            ready: error.is_none(),
            last_poll,
            error: error.map(Into::into),
        };
        Overview {
            ready: false,
            reasons: vec!["mailbox b cannot be read: no".into()],
            version: "1.2.3".into(),
            started: at(-100_000),
            now: at(0),
            mailboxes: vec![mailbox("a", "ok", Some(at(-9)), None), mailbox("b", "failing", None, Some("no\x1b[2J"))],
            xmpp: Session {
                state: "up".into(),
                ready: true,
                since: at(-65),
                last_error: Some("reset".into()),
                last_error_at: Some(at(-70)),
                unacknowledged: 2,
            },
            store: None,
            disk: Some(Disk { free: 3 << 30, reserve: 500 << 20, store: 4096 }),
            queue: BTreeMap::from([
                ("held".into(), Queued { count: 3, oldest: Some(at(-7200)), oldest_age: 7200.0 }),
                ("queued".into(), Queued { count: 0, oldest: None, oldest_age: 0.0 }),
            ]),
            mails_waiting: 0,
            last_alert: Some(LastAlert {
                id: "#7".into(),
                at: at(-60),
                severity: "critical".into(),
                title: "Fan\u{202e}".into(),
                state: "routed".into(),
            }),
            presence: BTreeMap::from([("available".into(), 2), ("offline".into(), 1)]),
            probe_targets: 4,
            probe_told: BTreeMap::from([("hosts_down".into(), 1), ("ports_down".into(), 0)]),
        }
    }

    fn shown(answer: &Answer, json: bool) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = show(answer, json, at(0), &mut out, &mut err).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn the_overview_is_readable_and_nothing_in_it_drives_the_terminal() {
        let (code, out, err) = shown(&Answer::Overview(Box::new(overview())), false);
        assert_eq!((code, err.as_str()), (1, ""));
        insta::assert_snapshot!(out, @r"
        mailbell 1.2.3: NOT READY
          - mailbox b cannot be read: no
        up:         1 d 3 h, since 2027-01-14T04:13:20Z
        xmpp:       up for 1 min 5 s, 2 messages unacknowledged; last error 1 min 10 s ago: reset
        recipients: 2 available, 1 offline
        last alert: 1 min ago, #7 critical (routed): Fan\u{202e}
        probes:     4 targets; hosts down: 1
        disk:       3GiB free, 500MiB reserve, 4KiB store

        MAILBOX  STATE    LAST POLL  ERROR
        a        ok       9 s ago
        b        failing             no\u{1b}[2J

        QUEUE   COUNT  OLDEST
        queued  0
        held    3      2 h
        ");
    }

    #[test]
    fn the_exit_code_says_whether_it_is_ready_or_there_at_all() {
        let ready = Overview { ready: true, reasons: Vec::new(), ..overview() };
        let (code, out, _) = shown(&Answer::Overview(Box::new(ready.clone())), true);
        assert_eq!(code, 0);
        assert_eq!(serde_json::from_str::<Overview>(&out).unwrap(), ready);
        let (code, out, err) = shown(&Answer::NoService("/x.sock".into()), true);
        assert_eq!((code, out.as_str()), (69, ""));
        assert!(err.contains("/x.sock") && err.contains("mailbell serve"), "{err}");
        assert_eq!(shown(&Answer::Failed("no answer in 30 s".into()), false).0, 74);
    }

    #[test]
    fn how_long_ago_has_two_units() {
        let ages = [0_i64, 59, 60, 61, 3600, 3661, 86_400, 90_061];
        let shown: Vec<String> = ages.iter().map(|age| ago(at(-age), at(0))).collect();
        assert_eq!(shown, ["0 s", "59 s", "1 min", "1 min 1 s", "1 h", "1 h 1 min", "1 d", "1 d 1 h"]);
        assert_eq!(ago(at(5), at(0)), "0 s", "a clock that was set back");
    }
}
