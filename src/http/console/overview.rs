//! Is it working? In one glance.

use askama::Template;
use axum::extract::State;
use axum::http::Method;
use axum::response::Response;

use super::show::{Chip, When, presence, rough, severity, state};
use super::{Frame, HOME, READ, page};
use crate::control::Problem;
use crate::http::Door;
use crate::http::table::{Endpoint, on};
use crate::metrics::{self, Overview};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![on(Method::GET, HOME, READ, show)]
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
    last: Option<Last>,
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

struct Last {
    chip: Chip,
    /// Without its `#`.
    id: String,
    title: String,
    at: When,
    state: String,
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
    let attention = if frame.sees_all { attention(&door, &o).await } else { Vec::new() };
    page(&Page {
        attention,
        mailboxes: o.mailboxes.iter().map(|one| mailbox(&frame, one)).collect(),
        xmpp: session(&o.xmpp),
        since: frame.when(o.xmpp.since),
        error_at: frame.maybe(o.xmpp.last_error_at),
        presence: o.presence.iter().map(|(word, count)| Count { chip: presence(word), count: *count }).collect(),
        queue: queue(&frame, &o),
        last: o.last_alert.as_ref().map(|last| Last {
            chip: severity(&last.severity),
            id: last.id.trim_start_matches('#').to_owned(),
            title: last.title.clone(),
            at: frame.when(last.at),
            state: last.state.clone(),
        }),
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
        looks.push(Look { text, href: "/console/quarantine", more: "no alert could be read from them".into() });
    }
    if let Some(held) = o.queue.get("held").filter(|held| held.count > 0) {
        let text = format!("{} held", held.count);
        looks.push(Look { text, href: "/console/queue", more: "until somebody is online".into() });
    }
    let down: u64 = o.probe_told.values().sum();
    if down > 0 {
        let text = format!("{down} outages or warnings of probes");
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
