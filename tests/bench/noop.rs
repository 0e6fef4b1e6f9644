//! What the NOOPs cost while no mail comes: processor time of mailbell and of Dovecot, per mailbox.

use std::time::{Duration, Instant};

use super::lab::Lab;
use super::latency::NOOP;
use super::scale::Scale;
use super::table::{Figure, Table};

/// Ticks of processor time in a second: USER_HZ is 100 on every Linux.
const TICKS: f64 = 100.0;

pub async fn measure(lab: &Lab, scale: &Scale, table: &mut Table) {
    let still = quiet(lab, scale, "watch = \"idle\"").await;
    let asking = quiet(lab, scale, NOOP).await;
    let each = |asking: f64, still: f64| Figure::Percent((asking - still).max(0.0) / scale.mailboxes as f64);
    table.row("NOOP every 50 ms, a mailbox: mailbell, of a core", Some(each(asking.own, still.own)), None, None);
    table.row("  Dovecot, of a core", Some(each(asking.server, still.server)), None, None);
    table.note(format!(
        "Cost of NOOPs: what {} quiet mailboxes take with them for {} s, less what they take with IDLE, in plain text.",
        scale.mailboxes,
        scale.quiet.as_secs()
    ));
}

/// Percent of a core.
struct Cost {
    own: f64,
    server: f64,
}

async fn quiet(lab: &Lab, scale: &Scale, watch: &str) -> Cost {
    let mut gateway = lab.gateway(lab.dovecot.imap, lab.prosody.c2s, &lab.quiet, &lab.people[..1], watch);
    gateway.start();
    // The first look is over; what the start took does not count.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (own, server, start) = (ticks(gateway.pid()), ticks(lab.dovecot.pid()), Instant::now());
    tokio::time::sleep(scale.quiet).await;
    let percent = |ticks: f64| ticks / TICKS / start.elapsed().as_secs_f64() * 100.0;
    let cost = Cost { own: percent(ticks(gateway.pid()) - own), server: percent(ticks(lab.dovecot.pid()) - server) };
    gateway.stop();
    cost
}

/// Seconds of processor time that a process and its descendants have used so far.
pub fn seconds(pid: u32) -> f64 {
    ticks(pid) / TICKS
}

/// Processor time that a process and its descendants have used, those that ended and were waited for included.
fn ticks(pid: u32) -> f64 {
    let mut total = 0.0;
    let mut family = vec![pid];
    let all: Vec<Stat> = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Stat::of(entry.ok()?)).collect();
    while let Some(member) = family.pop() {
        total += all.iter().filter(|stat| stat.pid == member).map(|stat| stat.ticks).sum::<f64>();
        family.extend(all.iter().filter(|stat| stat.parent == member).map(|stat| stat.pid));
    }
    total
}

/// Of `/proc/PID/stat` (proc(5)).
struct Stat {
    pid: u32,
    parent: u32,
    ticks: f64,
}

impl Stat {
    fn of(entry: std::fs::DirEntry) -> Option<Self> {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let text = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name before it may hold anything.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<f64>().ok()).sum();
        Some(Self { pid, parent: fields.get(1)?.parse().ok()?, ticks })
    }
}
