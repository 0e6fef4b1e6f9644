//! A mailbox that is full of alerts when the gateway starts.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::imap::Imap;
use super::lab::{BACKLOG, Lab, memory};
use super::mails::{self, Ticket, find};
use super::post::Post;
use super::scale::Scale;
use super::support::prosody::BOT;
use super::table::{Figure, Table, Target, median};
use super::xmpp::{Sender, message};

const LIMIT: Duration = Duration::from_secs(120);
/// Copies that are still on their way have come by then.
const AFTER: Duration = Duration::from_millis(500);

pub async fn measure(lab: &Lab, scale: &Scale, table: &mut Table) {
    let mails: Vec<Vec<u8>> = (0..scale.backlog).map(mails::mail).collect();
    lab.dovecot.put(BACKLOG, mails.iter().map(Vec::as_slice));
    drop(mails);
    let fetched = raw_fetch(lab, scale).await;
    let person = &lab.people[..1];
    let post = Post::open(lab.prosody.c2s, person, false).await;
    let sent = raw_send(lab, scale, &person[0], &post).await;
    let mut rates = Vec::new();
    let (mut peak, mut after) = (0.0, 0.0);
    for _ in 0..scale.runs {
        let run = own(lab, scale, person, &post, table).await;
        rates.push(run.rate);
        (peak, after) = (f64::max(peak, run.peak), f64::max(after, run.after));
    }
    let rate = Figure::PerSecond;
    let least = Some(Target::AtLeast(rate(2_000.0)));
    table.row("IMAP FETCH of the same mails in ranges", None, Some(rate(fetched)), None);
    table.row("stanzas of the same size to one client", None, Some(rate(sent)), None);
    let what = format!("backlog of {} mails, process start -> last IM", scale.backlog);
    table.row(what, Some(rate(median(rates))), Some(rate(fetched.min(sent))), least);
    table.row("resident memory, peak of the backlog", Some(Figure::MiB(peak)), None, None);
    table.row("resident memory, after the backlog", Some(Figure::MiB(after)), None, None);
    table.note("Backlog: one mailbox, one recipient. The floor is the slower of fetching alone and sending alone.");
}

struct Run {
    rate: f64,
    peak: f64,
    after: f64,
}

async fn own(lab: &Lab, scale: &Scale, person: &[String], post: &Post, table: &mut Table) -> Run {
    post.clear();
    let mut gateway = lab.gateway(lab.dovecot.imap, lab.prosody.c2s, &[BACKLOG.to_owned()], person, "");
    let start = Instant::now();
    gateway.start();
    let last = post.many(scale.backlog as usize, LIMIT).await;
    tokio::time::sleep(AFTER).await;
    let (after, peak) = memory(gateway.pid());
    gateway.stop();
    let tickets: HashSet<Ticket> = (0..scale.backlog).collect();
    if let Some(fault) = post.check(&tickets) {
        table.fault(format!("backlog: {fault}"));
        eprintln!("{}", gateway.log().lines().rev().take(5).collect::<Vec<_>>().join("\n"));
    }
    let time = last.map_or(LIMIT, |last| last - start);
    Run { rate: f64::from(scale.backlog) / time.as_secs_f64(), peak, after }
}

/// Mails a second, the better of two range sizes; the first round warms the server's index.
async fn raw_fetch(lab: &Lab, scale: &Scale) -> f64 {
    let mut best: f64 = 0.0;
    for range in [1000, 100, 1000] {
        let mut imap = Imap::open(lab.dovecot.imap, BACKLOG).await;
        let start = Instant::now();
        let mut count = 0;
        for first in (1..=scale.backlog).step_by(range as usize) {
            let last = (first + range - 1).min(scale.backlog);
            let reply = imap.command(&format!("FETCH {first}:{last} (UID BODY.PEEK[])")).await;
            let mut rest = &reply[..];
            while let Some(at) = find(rest, b"BODY[] {") {
                (count, rest) = (count + 1, &rest[at + 8..]);
            }
        }
        assert_eq!(count, scale.backlog, "the raw client did not get every mail");
        best = best.max(f64::from(count) / start.elapsed().as_secs_f64());
    }
    best
}

async fn raw_send(lab: &Lab, scale: &Scale, to: &str, post: &Post) -> f64 {
    let stanzas: Vec<String> = (0..scale.backlog).map(|ticket| message(to, ticket)).collect();
    let mut sender = Sender::open(lab.prosody.c2s, BOT).await;
    let mut rates = Vec::new();
    for _ in 0..scale.runs {
        post.clear();
        let start = Instant::now();
        sender.send(&stanzas).await;
        let last = post.many(stanzas.len(), LIMIT).await.expect("the raw stanzas came");
        rates.push(stanzas.len() as f64 / (last - start).as_secs_f64());
    }
    median(rates)
}
