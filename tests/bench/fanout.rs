//! Alerts that everybody of a large group gets.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::lab::{FANOUT, Lab, memory};
use super::mails::{self, Ticket};
use super::post::Post;
use super::scale::Scale;
use super::support::prosody::BOT;
use super::table::{Figure, Table, Target, median};
use super::xmpp::{Acked, Sender, message};

const LIMIT: Duration = Duration::from_secs(60);
/// Copies that are still on their way have come by then.
const AFTER: Duration = Duration::from_millis(500);
/// Memory is looked at when nothing has happened for so long.
const IDLE: Duration = Duration::from_secs(3);

pub async fn measure(lab: &Lab, scale: &Scale, table: &mut Table) {
    let post = Post::open(lab.prosody.c2s, &lab.people, false).await;
    let (raw, acked) = raw(lab, scale, &post).await;
    let own = own(lab, scale, &post, table).await;
    let rate = |n| Some(Figure::PerSecond(n));
    let what = format!("fan-out to {} recipients, told to look -> last IM", scale.crowd);
    table.row(what, rate(own.rate), rate(raw), Some(Target::Share(0.7)));
    table.row("  the same beside a raw sender that asks for acks", rate(own.rate), rate(acked), None);
    let most = Some(Target::AtMost(Figure::MiB(15.0)));
    let what = format!("resident memory, idle, 1 mailbox, {} recipients", scale.crowd);
    table.row(what, Some(Figure::MiB(own.idle)), None, most);
    table.note(format!(
        "Fan-out: {} alerts wait in the mailbox, each for all recipients, who are online. The floor is a raw sender that writes the\n\
         same stanzas as fast as the server takes them, unacknowledged. Clients do not answer with receipts in either case.",
        scale.fanned
    ));
}

struct Own {
    rate: f64,
    idle: f64,
}

async fn own(lab: &Lab, scale: &Scale, post: &Post, table: &mut Table) -> Own {
    // Polled only when told to, so that all mails are there when the clock starts.
    let watch = "watch = \"poll\"\npoll = \"never\"";
    let mut gateway = lab.gateway(lab.dovecot.imap, lab.prosody.c2s, &[FANOUT.to_owned()], &lab.people, watch);
    gateway.start();
    tokio::time::sleep(IDLE).await;
    let (idle, _) = memory(gateway.pid());
    let mut rates = Vec::new();
    // The first round, of one alert, warms up.
    for round in 0..=scale.runs as u32 {
        let count = if round == 0 { 1 } else { scale.fanned };
        let tickets: HashSet<Ticket> = (0..count).map(|n| 100_000 * (round + 1) + n).collect();
        let mut sorted: Vec<Ticket> = tickets.iter().copied().collect();
        sorted.sort_unstable();
        let mails: Vec<Vec<u8>> = sorted.into_iter().map(mails::mail).collect();
        lab.dovecot.put(FANOUT, mails.iter().map(Vec::as_slice));
        post.clear();
        let stanzas = tickets.len() * lab.people.len();
        let start = Instant::now();
        gateway.signal("USR1");
        let last = post.many(stanzas, LIMIT).await;
        tokio::time::sleep(AFTER).await;
        if let Some(fault) = post.check(&tickets) {
            table.fault(format!("fan-out: {fault}"));
        }
        if round > 0 {
            rates.push(stanzas as f64 / last.map_or(LIMIT, |last| last - start).as_secs_f64());
        }
    }
    gateway.stop();
    Own { rate: median(rates), idle }
}

/// Stanzas a second: as fast as they go, and with no more than a window of them unacknowledged.
async fn raw(lab: &Lab, scale: &Scale, post: &Post) -> (f64, f64) {
    let each = |ticket| lab.people.iter().map(move |person| message(person, ticket));
    let stanzas: Vec<String> = (0..scale.fanned).flat_map(each).collect();
    let mut sender = Sender::open(lab.prosody.c2s, BOT).await;
    let mut acked = Acked::open(lab.prosody.c2s, BOT).await;
    let mut rates = [Vec::new(), Vec::new()];
    // The first round of each warms up.
    for round in 0..2 * (scale.runs + 1) {
        post.clear();
        let start = Instant::now();
        let ask = round % 2 == 1;
        if ask {
            acked.send(&stanzas).await
        } else {
            sender.send(&stanzas).await
        }
        let last = post.many(stanzas.len(), LIMIT).await.expect("the raw stanzas came");
        if round > 1 {
            rates[usize::from(ask)].push(stanzas.len() as f64 / (last - start).as_secs_f64());
        }
    }
    let [unasked, asked] = rates.map(median);
    (unasked, asked)
}
