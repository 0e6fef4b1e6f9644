//! `cargo bench`: how fast the gateway is, beside what is possible at all.
//!
//! It starts a real Dovecot and a real Prosody on loopback, measures them with raw clients that do nothing else (the floor), and
//! then puts mailbell between the same two servers, in the same run. `cargo bench -- --quick` does it with small numbers,
//! `cargo bench -- past login` only these parts.
//!
//! Figures differ from machine to machine and never fail the run. A lost or doubled message does.

// A measurement that cannot be made must end the run: the lints that forbid that are for the product's own code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod backlog;
mod commits;
mod dispatch;
mod door;
mod fanout;
mod feed;
mod handed;
mod held;
mod imap;
mod lab;
mod latency;
mod login;
mod mails;
mod noop;
mod past;
mod post;
mod probe;
mod scale;
#[allow(dead_code)] // The tests use all of it.
#[path = "../it/support/mod.rs"]
mod support;
mod table;
mod tap;
mod web;
mod xmpp;

use std::process::ExitCode;
use std::time::Instant;

use lab::Lab;
use scale::Scale;
use table::Table;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    if let Some(code) = probe::act() {
        return code;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    if !args.iter().any(|arg| arg == "--bench") {
        // `cargo test --all-targets` runs this program too.
        println!("measures only as `cargo bench` or `cargo bench -- --quick`");
        return ExitCode::SUCCESS;
    }
    let scale = if args.iter().any(|arg| arg == "--quick") { Scale::quick() } else { Scale::full() };
    let only: Vec<String> = args.into_iter().filter(|arg| !arg.starts_with("--")).collect();
    if let Some(unknown) = only.iter().find(|name| !PARTS.contains(&name.as_str())) {
        eprintln!("there is no part {unknown}; there are: {}", PARTS.join(", "));
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        tokio::select! {
            code = measure(&scale, &only) => code,
            // Dropped, it stops the servers that it started.
            _ = tokio::signal::ctrl_c() => ExitCode::FAILURE,
            _ = terminate.recv() => ExitCode::FAILURE,
        }
    })
}

async fn measure(scale: &Scale, only: &[String]) -> ExitCode {
    let start = Instant::now();
    let lab = Lab::start(scale);
    let mut table = Table::default();
    for part in PARTS {
        if only.is_empty() || only.iter().any(|name| name == part) {
            run(part, &lab, scale, &mut table).await;
        }
    }
    println!("{table}");
    println!(
        "{} cores; {:.0} s",
        std::thread::available_parallelism().map_or(1, usize::from),
        start.elapsed().as_secs_f64()
    );
    if table.intact() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What can be measured by itself.
const PARTS: [&str; 12] =
    ["store", "latency", "noop", "handed", "dispatch", "backlog", "fanout", "held", "past", "login", "probe", "feed"];

async fn run(part: &str, lab: &Lab, scale: &Scale, table: &mut Table) {
    match part {
        "store" => {
            eprintln!("store: commits to SQLite on this disk");
            commits::measure(scale, table).await;
        }
        "latency" => {
            eprintln!("latency: {} single alerts, raw and through mailbell", scale.singles);
            latency::measure(lab, scale, table).await;
        }
        "noop" => {
            eprintln!("noop: processor time of {} mailboxes for {} s", scale.mailboxes, scale.quiet.as_secs());
            noop::measure(lab, scale, table).await;
        }
        "handed" => {
            eprintln!("handed: {} single alerts by LMTP", scale.singles);
            handed::measure(lab, scale, table).await;
        }
        "dispatch" => {
            eprintln!("dispatch: {} alerts over HTTP", scale.dispatched);
            dispatch::measure(lab, scale, table).await;
        }
        "backlog" => {
            eprintln!("backlog: {} mails, {} times", scale.backlog, scale.runs);
            backlog::measure(lab, scale, table).await;
        }
        "fanout" => {
            eprintln!("fanout: {} alerts to {} recipients, {} times", scale.fanned, scale.crowd, scale.runs);
            fanout::measure(lab, scale, table).await;
        }
        "held" => {
            eprintln!("held: {} notifications that are held", scale.held);
            held::measure(lab, scale, table).await;
        }
        "past" => {
            eprintln!("past: {} notifications that are over", scale.past);
            past::measure(lab, scale, table).await;
        }
        "login" => {
            eprintln!("login: {} sign-ins", scale.logins);
            login::measure(lab, scale, table).await;
        }
        "probe" => {
            eprintln!("probe: rounds of port probes, {} times, ours and others'", scale.rounds);
            probe::measure(scale, table).await;
        }
        "feed" => {
            eprintln!("feed: {} who listen to events", scale.listeners);
            feed::measure(scale, table).await;
        }
        other => unreachable!("{other} is no part"),
    }
}
