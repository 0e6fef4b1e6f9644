//! `mailbell check`: probes every target once, and says which answer.

use std::collections::{HashMap, HashSet};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args as ClapArgs;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::table;
use crate::config;
use crate::model::Span;
use crate::probe::{Engine, Host, Kind, Listed, Outcome, Talk, Target};

/// Some target is not open.
const NOT_OPEN: u8 = 1;
/// The check itself failed.
const FAILED: u8 = 2;
/// Most connections at a time.
const CONNECTIONS: usize = 1000;
/// Longest wait for an attempt where nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Names are asked for once in a check, however long it takes.
const ROUND: Duration = Duration::from_secs(86_400);

/// Probe TCP ports once: which of them answer, and why the others do not
///
/// Names are resolved once, IPv4 and IPv6; a host that has both is open where one of them is.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Exit codes: 0 all are open, 1 some are not, 2 the check itself failed.\n\
    Example: mailbell check db1.example.org:5432 [2001:db8::1]:443 --timeout 2s")]
pub struct Args {
    /// What to probe: HOST:PORT, or HOST:PORT,PORT; an IPv6 address in brackets [default: all that the config names]
    #[arg(value_name = "HOST:PORT", value_parser = with_ports)]
    targets: Vec<Listed>,
    /// Config file whose [probe] is checked; its passwords are not read [default, where no target is named:
    /// $MAILBELL_CONFIG, else /etc/mailbell/mailbell.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The old health checker's file, healthcheck.properties, whose targets are checked as it names them
    #[arg(long, value_name = "FILE")]
    healthcheck: Option<PathBuf>,
    /// Longest wait for each, looking up its name included [default: as the config says, else 3s]
    #[arg(long, value_name = "TIME", value_parser = span)]
    timeout: Option<Duration>,
    /// Print one JSON object a line for each target, as soon as it is known: host, port, outcome, reason, ms
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Print nothing: the exit code says it
    #[arg(long, short)]
    quiet: bool,
}

fn with_ports(text: &str) -> Result<Listed, String> {
    let listed: Listed = text.parse().map_err(|err: crate::model::BadServer| err.to_string())?;
    match listed.ports.is_empty() {
        false => Ok(listed),
        true => Err("it has no port; write HOST:PORT, such as db1.example.org:5432 or [2001:db8::1]:443".into()),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    let Span(span) = text.parse().map_err(|err: crate::model::BadUnit| err.to_string())?;
    if span.is_zero() { Err("it must be longer than nothing".into()) } else { Ok(span) }
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let work = match work(args) {
        Ok(work) => work,
        Err(err) => {
            eprintln!("{err}");
            return ExitCode::from(FAILED);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.and_then(|runtime| runtime.block_on(check(args, &work, &mut io::stdout())));
    match done {
        Ok(code) => ExitCode::from(code),
        // Whoever reads the output has seen enough (`| head`).
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(FAILED),
        Err(err) => {
            eprintln!("mailbell check: {err}");
            ExitCode::from(FAILED)
        }
    }
}

/// What is probed, each within which time, and what is looked at beyond the connection.
struct Work {
    targets: Vec<(Target, Duration, Option<Arc<Talk>>)>,
    connections: usize,
}

fn work(args: &Args) -> Result<Work, String> {
    let mut work = Work { targets: Vec::new(), connections: CONNECTIONS };
    let mut known = HashSet::new();
    let mut add = |target: Target, timeout, talk| {
        if known.insert(target.clone()) {
            work.targets.push((target, args.timeout.unwrap_or(timeout), talk));
        }
    };
    for listed in &args.targets {
        let target = |port: &u16| Target { host: listed.host.clone(), port: *port };
        listed.ports.iter().map(target).for_each(|target| add(target, TIMEOUT, None));
    }
    let nothing_named = args.targets.is_empty() && args.healthcheck.is_none();
    if nothing_named || args.config.is_some() || args.healthcheck.is_some() {
        let by_default = || config::path(None, |name| std::env::var_os(name));
        let file = args.config.clone().or_else(|| nothing_named.then(by_default));
        let probing = config::load_probe(file.as_deref(), args.healthcheck.as_deref());
        let probing = probing.map_err(|errors| errors.to_string())?;
        for warning in &probing.warnings {
            eprintln!("warning: {warning}");
        }
        for probe in probing.settings.probes {
            add(probe.target, probe.rules.timeout, probe.rules.talk);
        }
        work.connections = probing.settings.concurrency;
        if work.targets.is_empty() {
            let file = args.healthcheck.as_ref().or(file.as_ref()).map(|file| file.display().to_string());
            return Err(format!("{}: there is nothing to probe; name targets in it", file.unwrap_or_default()));
        }
    }
    Ok(work)
}

async fn check(args: &Args, work: &Work, out: &mut dyn Write) -> io::Result<u8> {
    let Work { targets, connections } = work;
    let longest = targets.iter().map(|(_, timeout, _)| *timeout).max().unwrap_or(TIMEOUT);
    let engine = Engine::new((*connections).min(targets.len()), ROUND, longest);
    if let Some(why) = engine.bound() {
        eprintln!("mailbell check: {why}");
    }
    let bar = bar(targets.len(), args);
    let mut outcomes: Vec<Option<Outcome>> = vec![None; targets.len()];
    let mut round = engine.round(targets.iter().map(|(target, timeout, talk)| (target, *timeout, talk.as_deref())));
    while let Some((place, outcome)) = round.next().await {
        bar.inc(1);
        if let (true, Some((target, ..))) = (args.json, targets.get(place)) {
            writeln!(out, "{}", line(target, &outcome)?)?;
        }
        if let Some(slot) = outcomes.get_mut(place) {
            *slot = Some(outcome);
        }
    }
    drop(round);
    bar.finish_and_clear();
    let results = targets.iter().zip(outcomes).filter_map(|((target, ..), outcome)| Some((target.clone(), outcome?)));
    let results: Vec<(Target, Outcome)> = results.collect();
    if !args.json && !args.quiet {
        report(out, &results)?;
    }
    Ok(code(&results))
}

fn bar(targets: usize, args: &Args) -> ProgressBar {
    if args.quiet || args.json || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} probed").unwrap_or(ProgressStyle::default_bar());
    ProgressBar::new(targets as u64).with_style(style)
}

/// An outage is what the check was made to find; a target that could not be asked is worth less than that.
fn code(results: &[(Target, Outcome)]) -> u8 {
    let any = |up| results.iter().any(|(_, outcome)| outcome.kind.up() == up);
    match () {
        () if any(Some(false)) => NOT_OPEN,
        () if any(None) => FAILED,
        () => 0,
    }
}

#[derive(Serialize)]
struct Line<'a> {
    host: &'a str,
    port: u16,
    outcome: &'static str,
    reason: &'a str,
    ms: f64,
}

fn line(target: &Target, outcome: &Outcome) -> io::Result<String> {
    Ok(serde_json::to_string(&Line {
        host: target.host.as_str(),
        port: target.port,
        outcome: outcome.kind.as_str(),
        reason: &outcome.reason,
        ms: ms(outcome.took),
    })?)
}

/// To a tenth.
fn ms(took: Duration) -> f64 {
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}

/// By host, those with a failure first, and within a host the failures.
fn report(out: &mut dyn Write, results: &[(Target, Outcome)]) -> io::Result<()> {
    let mut order: HashMap<&Host, (bool, usize)> = HashMap::new();
    for (n, (target, outcome)) in results.iter().enumerate() {
        let (fine, _) = order.entry(&target.host).or_insert((true, n));
        *fine &= outcome.kind == Kind::Open;
    }
    let mut sorted: Vec<&(Target, Outcome)> = results.iter().collect();
    sorted.sort_by_key(|(target, outcome)| (order.get(&target.host).copied(), outcome.kind == Kind::Open));
    let rows: Vec<[String; 5]> = sorted
        .iter()
        .map(|(target, outcome)| {
            let ms = format!("{:.1}", ms(outcome.took));
            let (host, port) = (target.host.to_string(), target.port.to_string());
            [host, port, outcome.kind.words().to_owned(), ms, outcome.reason.clone()]
        })
        .collect();
    table::write(out, ["HOST", "PORT", "OUTCOME", "MS", "REASON"], &rows)?;
    let open = results.iter().filter(|(_, outcome)| outcome.kind == Kind::Open).count();
    writeln!(out, "{open} of {} open", results.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(target: &str, kind: Kind) -> (Target, Outcome) {
        let reason = format!("192.0.2.1 says {}", kind.as_str());
        (target.parse().unwrap(), Outcome { kind, reason, took: Duration::from_micros(1250), certificate: None })
    }

    #[test]
    fn failures_come_first_and_hosts_stay_together() {
        let results = [
            result("good:80", Kind::Open),
            result("half:80", Kind::Open),
            result("bad:80", Kind::NoSuchName),
            result("half:443", Kind::Refused),
        ];
        let mut out = Vec::new();
        report(&mut out, &results).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        HOST  PORT  OUTCOME                     MS   REASON
        half  443   refused                     1.3  192.0.2.1 says refused
        half  80    open                        1.3  192.0.2.1 says open
        bad   80    unknown host: no such name  1.3  192.0.2.1 says no_such_name
        good  80    open                        1.3  192.0.2.1 says open
        2 of 4 open
        ");
    }

    #[test]
    fn the_exit_code_tells_an_outage_from_a_check_that_failed() {
        let of = |kinds: &[Kind]| code(&kinds.iter().map(|kind| result("a:1", *kind)).collect::<Vec<_>>());
        assert_eq!(of(&[Kind::Open, Kind::Open]), 0);
        assert_eq!(of(&[Kind::Open, Kind::ResolverFailed]), 1);
        assert_eq!(of(&[Kind::Open, Kind::Local]), 2);
        assert_eq!(of(&[Kind::Local, Kind::TimedOut]), 1, "an outage is known, whatever else is not");
    }

    #[test]
    fn scripts_get_one_object_a_line() {
        let (target, outcome) = result("[2001:db8::1]:443", Kind::TimedOut);
        let want =
            r#"{"host":"2001:db8::1","port":443,"outcome":"timed_out","reason":"192.0.2.1 says timed_out","ms":1.3}"#;
        assert_eq!(line(&target, &outcome).unwrap(), want);
    }
}
