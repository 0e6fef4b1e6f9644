//! `mailbell check`: probes every target once, and says which answer.

mod html;
mod nagios;
mod report;

pub(super) use nagios::unknown;

use std::collections::HashSet;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args as ClapArgs;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;

use crate::config;
use crate::model::Span;
use crate::probe::{Engine, Listed, Outcome, Talk, Target};

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
    With --nagios: 0 all are open, 2 some are not, 3 the check itself failed.\n\
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
    /// Be a Nagios plugin: one line with performance data; exit codes 0 OK, 2 CRITICAL, 3 UNKNOWN
    #[arg(long, conflicts_with_all = ["json", "quiet"])]
    nagios: bool,
    /// Write the report as a web page too, which needs no other file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
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

/// A target, and what came of it.
type Checked = (Target, Outcome);

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let work = match work(args) {
        Ok(work) => work,
        Err(err) if args.nagios => return nagios::unknown(&err),
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
        Err(err) if args.nagios => nagios::unknown(&err.to_string()),
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
    let (bar, start) = (bar(targets.len(), args), Instant::now());
    let mut outcomes: Vec<Option<Outcome>> = vec![None; targets.len()];
    let mut round = engine.round(targets.iter().map(|(target, timeout, talk)| (target, *timeout, talk.as_deref())));
    while let Some((place, outcome)) = round.next().await {
        bar.inc(1);
        if let (true, Some((target, ..))) = (args.json, targets.get(place)) {
            writeln!(out, "{}", report::line(target, &outcome)?)?;
        }
        if let Some(slot) = outcomes.get_mut(place) {
            *slot = Some(outcome);
        }
    }
    drop(round);
    bar.finish_and_clear();
    let results = targets.iter().zip(outcomes).filter_map(|((target, ..), outcome)| Some((target.clone(), outcome?)));
    let results: Vec<Checked> = results.collect();
    if let Some(file) = &args.html {
        html::write(file, &results, Timestamp::now())?;
    }
    if args.nagios {
        return nagios::line(out, &results, start.elapsed());
    }
    if !args.json && !args.quiet {
        report::table(out, &results)?;
    }
    Ok(code(&results))
}

fn bar(targets: usize, args: &Args) -> ProgressBar {
    if args.quiet || args.json || args.nagios || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} probed").unwrap_or(ProgressStyle::default_bar());
    ProgressBar::new(targets as u64).with_style(style)
}

/// An outage is what the check was made to find; a target that could not be asked is worth less than that.
fn code(results: &[Checked]) -> u8 {
    let any = |up| results.iter().any(|(_, outcome)| outcome.kind.up() == up);
    match () {
        () if any(Some(false)) => NOT_OPEN,
        () if any(None) => FAILED,
        () => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::report::tests::result;
    use super::*;
    use crate::probe::Kind;

    #[test]
    fn the_exit_code_tells_an_outage_from_a_check_that_failed() {
        let of = |kinds: &[Kind]| code(&kinds.iter().map(|kind| result("a:1", *kind)).collect::<Vec<_>>());
        assert_eq!(of(&[Kind::Open, Kind::Open]), 0);
        assert_eq!(of(&[Kind::Open, Kind::ResolverFailed]), 1);
        assert_eq!(of(&[Kind::Open, Kind::Local]), 2);
        assert_eq!(of(&[Kind::Local, Kind::TimedOut]), 1, "an outage is known, whatever else is not");
    }
}
