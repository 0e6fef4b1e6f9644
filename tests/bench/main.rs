//! `cargo bench`: how fast the gateway is, beside what is possible at all.
//!
//! It starts a real Dovecot and a real Prosody on loopback, measures them with raw clients that do nothing else (the floor), and
//! then puts mailbell between the same two servers, in the same run. `cargo bench -- --quick` does it with small numbers.
//!
//! Figures differ from machine to machine and never fail the run. A lost or doubled message does.

// A measurement that cannot be made must end the run: the lints that forbid that are for the product's own code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod backlog;
mod commits;
mod fanout;
mod handed;
mod imap;
mod lab;
mod latency;
mod mails;
mod noop;
mod post;
mod scale;
#[allow(dead_code)] // The tests use all of it.
#[path = "../it/support/mod.rs"]
mod support;
mod table;
mod tap;
mod xmpp;

use std::process::ExitCode;
use std::time::Instant;

use lab::Lab;
use scale::Scale;
use table::Table;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if !args.iter().any(|arg| arg == "--bench") {
        // `cargo test --all-targets` runs this program too.
        println!("measures only as `cargo bench` or `cargo bench -- --quick`");
        return ExitCode::SUCCESS;
    }
    let scale = if args.iter().any(|arg| arg == "--quick") { Scale::quick() } else { Scale::full() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        tokio::select! {
            code = measure(&scale) => code,
            // Dropped, it stops the servers that it started.
            _ = tokio::signal::ctrl_c() => ExitCode::FAILURE,
            _ = terminate.recv() => ExitCode::FAILURE,
        }
    })
}

async fn measure(scale: &Scale) -> ExitCode {
    let start = Instant::now();
    let lab = Lab::start(scale);
    let mut table = Table::default();
    eprintln!("store: commits to SQLite on this disk");
    commits::measure(scale, &mut table).await;
    eprintln!("latency: {} single alerts, raw and through mailbell", scale.singles);
    latency::measure(&lab, scale, &mut table).await;
    eprintln!("noop: processor time of {} mailboxes for {} s", scale.mailboxes, scale.quiet.as_secs());
    noop::measure(&lab, scale, &mut table).await;
    eprintln!("handed in: {} single alerts by LMTP", scale.singles);
    handed::measure(&lab, scale, &mut table).await;
    eprintln!("backlog: {} mails, {} times", scale.backlog, scale.runs);
    backlog::measure(&lab, scale, &mut table).await;
    eprintln!("fan-out: {} alerts to {} recipients, {} times", scale.fanned, scale.crowd, scale.runs);
    fanout::measure(&lab, scale, &mut table).await;
    println!("{table}");
    println!(
        "{} cores; {:.0} s",
        std::thread::available_parallelism().map_or(1, usize::from),
        start.elapsed().as_secs_f64()
    );
    if table.intact() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
