//! Is it working? In one glance.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use axum::response::{Redirect, Response};

use super::alert::Row;
use super::show::{Chip, When, presence, rough, severity, state};
use super::{ACT, Frame, HOME, READ, done, page};
use crate::control::Problem;
use crate::http::api::alerts::{self, AlertQuery};
use crate::http::table::{Endpoint, on};
use crate::http::{Asked, Door};
use crate::metrics::{self, Overview};
use crate::queue::{Common, ConditionRow};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![on(Method::GET, HOME, READ, show), on(Method::POST, "/console/mailboxes/{name}/poll", ACT, poll)]
}

/// `overview.html`
#[derive(Template)]
#[template(path = "overview.html", config = "src/http/console/askama.toml")]
struct Page {
    frame: Frame,
    attention: Vec<Look>,
    mailboxes: Vec<Mailbox>,
    xmpp: Chip,
    since: When,
    error_at: Option<When>,
    presence: Vec<Count>,
    queue: Vec<Queued>,
    open: Vec<Open>,
    /// So many others are.
    more_open: usize,
    latest: Vec<Row>,
    told: Vec<Told>,
    fine: Chip,
    disk: Option<Disk>,
    started: When,
    o: Overview,
}

/// Something that a person should look at although all works.
struct Look {
    text: String,
    href: &'static str,
    more: String,
}

struct Mailbox {
    name: String,
    chip: Chip,
    handed: bool,
    last: Option<When>,
    error: Option<String>,
}

struct Count {
    chip: Chip,
    count: u64,
}

struct Queued {
    chip: Chip,
    count: u64,
    oldest: Option<When>,
}

/// A condition that is open.
struct Open {
    severity: Chip,
    title: String,
    /// The alert that opened it, without its `#`.
    alert: Option<String>,
    since: Option<When>,
}

struct Told {
    what: String,
    count: u64,
}

struct Disk {
    chip: Chip,
    free: String,
    store: String,
    reserve: String,
}

async fn show(State(door): State<Door>, frame: Frame) -> Result<Response, Problem> {
    let o = Overview::look(&door.metrics).await;
    /// Most that are shown of the open conditions, and of the newest alerts.
    const SOME: usize = 8;
    /// Conditions that are looked at for the worst.
    const LOOKED_AT: usize = 500;
    let common = Common { seen_by: frame.caller.groups.clone(), limit: LOOKED_AT, ..Common::default() };
    let mut open = door.search.conditions(true, &common).await?.items;
    // The worst first; of these the newest.
    open.sort_by_key(|one| one.severity.rank());
    let query = AlertQuery { limit: Some(SOME.to_string()), ..AlertQuery::default() };
    let latest = alerts::find(&door, &frame.caller, query).await?;
    let attention = if frame.sees_all { attention(&door, &o).await } else { Vec::new() };
    page(&Page {
        attention,
        mailboxes: o.mailboxes.iter().map(|one| mailbox(&frame, one)).collect(),
        xmpp: session(&o.xmpp),
        since: frame.when(o.xmpp.since),
        error_at: frame.maybe(o.xmpp.last_error_at),
        presence: counted(&o.presence),
        queue: queue(&frame, &o),
        more_open: open.len().saturating_sub(SOME),
        open: open.into_iter().take(SOME).map(|one| opened(&frame, one)).collect(),
        latest: latest.items.into_iter().map(|one| Row::of(&frame, one)).collect(),
        told: o
            .probe_told
            .iter()
            .filter(|(_, n)| **n > 0)
            .map(|(what, n)| Told { what: words(what), count: *n })
            .collect(),
        fine: Chip::new("all well", "good"),
        disk: o.disk.map(disk),
        started: frame.when(o.started),
        o,
        frame,
    })
}

fn opened(frame: &Frame, of: ConditionRow) -> Open {
    Open {
        severity: severity(of.severity.as_str()),
        title: of.title,
        alert: of.opened_by.map(|id| id.trim_start_matches('#').to_owned()),
        since: frame.maybe(of.opened_at),
    }
}

/// In the words of the page of people.
fn counted(by_word: &BTreeMap<String, u64>) -> Vec<Count> {
    let mut counts = Vec::<Count>::new();
    for (word, count) in by_word {
        let chip = presence(word);
        match counts.iter_mut().find(|one| one.chip.word == chip.word) {
            Some(one) => one.count += count,
            None => counts.push(Count { chip, count: *count }),
        }
    }
    counts
}

/// Looks into a mailbox at once.
async fn poll(State(door): State<Door>, frame: Frame, Path(name): Path<String>) -> Result<Redirect, Problem> {
    frame.everything()?;
    match door.watched.poll(&name) {
        Asked::Now => Ok(done("", HOME, "polled")),
        Asked::Handed => {
            let detail = "mails are handed in to this mailbox (LMTP): there is nothing to look into";
            Err(Problem::new(StatusCode::CONFLICT, detail))
        }
        Asked::Unknown => Err(Problem::missing("there is no mailbox of this name")),
    }
}

/// `certificate_expires` → `certificate expires`.
fn words(name: &str) -> String {
    name.replace('_', " ")
}

async fn attention(door: &Door, o: &Overview) -> Vec<Look> {
    /// More than so many are not counted.
    const MANY: usize = 100;
    let mut looks = Vec::new();
    let kept = door.desk.quarantine(None, MANY).await.map_or(0, |found| found.len());
    if kept > 0 {
        let many = if kept == MANY { "or more " } else { "" };
        let text = format!("{kept} {many}{} in quarantine", if kept == 1 { "mail" } else { "mails" });
        looks.push(Look { text, href: "/console/quarantine", more: "an alert could not be read".into() });
    }
    if let Some(held) = o.queue.get("held").filter(|held| held.count > 0) {
        let text = format!("{} {} held", held.count, if held.count == 1 { "message" } else { "messages" });
        looks.push(Look { text, href: "/console/queue", more: "until somebody is online".into() });
    }
    let down: u64 = o.probe_told.values().sum();
    if down > 0 {
        let text = format!("{down} {} of probes", if down == 1 { "outage or warning" } else { "outages or warnings" });
        looks.push(Look { text, href: "/console/probes", more: String::new() });
    }
    looks
}

fn mailbox(frame: &Frame, of: &metrics::Mailbox) -> Mailbox {
    let chip = match of.state.as_str() {
        "ok" => Chip::new("ok", "good"),
        "failing" => Chip::new("failing", "bad"),
        "handed" => Chip::new("open", "good"),
        _ => Chip::new("starting", "calm"),
    };
    let handed = of.state == "handed";
    Mailbox { name: of.name.clone(), chip, handed, last: frame.maybe(of.last_poll), error: of.error.clone() }
}

fn session(of: &metrics::Session) -> Chip {
    match of.state.as_str() {
        "up" => Chip::new("up", "good"),
        "refused" => Chip::new("refused", "bad"),
        "starting" => Chip::new("starting", if of.ready { "calm" } else { "bad" }),
        _ => Chip::new("down", "bad"),
    }
}

fn queue(frame: &Frame, o: &Overview) -> Vec<Queued> {
    let waiting = o.queue.iter().filter(|(_, queued)| queued.count > 0);
    let shown = waiting.map(|(word, of)| Queued { chip: state(word), count: of.count, oldest: frame.maybe(of.oldest) });
    shown.collect()
}

fn disk(of: metrics::Disk) -> Disk {
    let chip = if of.free < of.reserve { Chip::new("full", "bad") } else { Chip::new("ok", "good") };
    Disk { chip, free: rough(of.free), store: rough(of.store), reserve: rough(of.reserve) }
}
