//! What a person wants to know; and whether the service is *ready*: whether what comes in now would go out now.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::page::age;
use super::{Disk, LastAlert, Looks, Metrics, Sample, Sessions};
use crate::model::Size;

/// A mailbox that fails for so long is not ready, where it is not so at once: the time after which the operators are told.
const FAILING: Duration = Duration::from_secs(120);

/// Without an XMPP session for so long it is not ready: a reconnect takes seconds.
const DOWN: Duration = Duration::from_secs(30);

/// How things are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    /// Would what comes in now go out now?
    pub ready: bool,
    /// Why not; one line each.
    pub reasons: Vec<String>,
    /// Version of the service.
    pub version: String,
    /// When it started.
    pub started: Timestamp,
    /// When this was found.
    pub now: Timestamp,
    /// Each mailbox, by name.
    pub mailboxes: Vec<Mailbox>,
    /// The XMPP session.
    pub xmpp: Session,
    /// What is wrong with the store; `None`: nothing.
    pub store: Option<String>,
    /// Its disk; `None`: unknown.
    pub disk: Option<Disk>,
    /// Notifications in progress, by state.
    pub queue: BTreeMap<String, Queued>,
    /// Mails stored and not parsed yet.
    pub mails_waiting: u64,
    /// The newest alert; `None`: there is none.
    pub last_alert: Option<LastAlert>,
    /// Recipients by presence.
    pub presence: BTreeMap<String, u64>,
    /// Targets that are probed.
    pub probe_targets: u64,
    /// What is wrong with them, as it was told.
    pub probe_told: BTreeMap<String, u64>,
}

/// A mailbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = MailboxHealth)]
pub struct Mailbox {
    /// Its name.
    pub name: String,
    /// `ok`, `starting` (not looked into yet), `failing`, or `handed` (LMTP: there is nothing to look into).
    pub state: String,
    /// Does it count as ready?
    pub ready: bool,
    /// The last look that succeeded.
    pub last_poll: Option<Timestamp>,
    /// Why it fails.
    pub error: Option<String>,
}

/// The XMPP session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = XmppSession)]
pub struct Session {
    /// `up`, `starting` (never up yet), `down`, or `refused`.
    pub state: String,
    /// Does it count as ready?
    pub ready: bool,
    /// Since when it is up, or down.
    pub since: Timestamp,
    /// The last error.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<Timestamp>,
    /// Messages written that the server has not acknowledged.
    pub unacknowledged: u64,
}

/// Notifications in one state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Queued {
    /// How many.
    pub count: u64,
    /// When the oldest was made.
    pub oldest: Option<Timestamp>,
    /// How old it is, seconds; 0: there is none.
    pub oldest_age: f64,
}

impl Overview {
    /// As it is now.
    pub async fn look(metrics: &Metrics) -> Self {
        let sample = metrics.sample().await;
        Self::of(metrics, &sample)
    }

    pub(super) fn of(metrics: &Metrics, sample: &Sample) -> Self {
        let now = Timestamp::now();
        let looked = metrics.looks().into_iter().map(|(name, looks)| mailbox(name, &looks));
        let handed = sample.handed.iter().map(|name| Mailbox {
            name: name.clone(),
            state: "handed".into(),
            ready: true,
            last_poll: None,
            error: None,
        });
        let backlog = sample.backlog.as_ref().ok();
        let queued = |(n, oldest): &(u64, Option<Timestamp>)| Queued {
            count: *n,
            oldest: *oldest,
            oldest_age: age(*oldest, now).as_secs_f64(),
        };
        let mut overview = Self {
            ready: true,
            reasons: Vec::new(),
            version: env!("CARGO_PKG_VERSION").into(),
            started: metrics.started.1,
            now,
            mailboxes: looked.chain(handed).collect(),
            xmpp: session(&metrics.session.get(), sample.unacknowledged),
            store: sample.backlog.as_ref().err().cloned(),
            disk: sample.disk,
            queue: backlog.map(|b| b.states.iter().map(|(s, n)| (s.clone(), queued(n))).collect()).unwrap_or_default(),
            mails_waiting: backlog.map_or(0, |b| b.mails),
            last_alert: backlog.and_then(|b| b.last.clone()),
            presence: sample.presence.clone(),
            probe_targets: sample.targets,
            probe_told: backlog.map(|b| owned(&b.probes)).unwrap_or_default(),
        };
        overview.reasons = overview.reasons();
        if metrics.stopping.load(std::sync::atomic::Ordering::Relaxed) {
            overview.reasons.push("the service is stopping".into());
        }
        let stuck = metrics.stuck();
        overview.reasons.extend(stuck.iter().map(|what| format!("{what} does not go on")));
        overview.ready = overview.reasons.is_empty();
        overview
    }

    fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for Mailbox { name, error, .. } in self.mailboxes.iter().filter(|mailbox| !mailbox.ready) {
            reasons.push(match error {
                Some(why) => format!("mailbox {name} cannot be read: {why}"),
                None => format!("mailbox {name} was not read yet"),
            });
        }
        let Session { ready, state, last_error, .. } = &self.xmpp;
        if !ready {
            let why = last_error.as_ref().filter(|_| state != "up").map(|why| format!(": {why}")).unwrap_or_default();
            reasons.push(format!("there is no XMPP session ({state}){why}"));
        }
        reasons.extend(self.store.as_ref().map(|why| format!("the store: {why}")));
        if let Some(Disk { free, reserve, .. }) = self.disk.filter(|disk| disk.free < disk.reserve) {
            reasons.push(format!(
                "only {} of disk space are free, the reserve is {}: no mail is fetched until there is room",
                Size(free),
                Size(reserve)
            ));
        }
        reasons
    }
}

fn owned(counts: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    counts.iter().map(|(what, n)| ((*what).to_owned(), *n)).collect()
}

pub(super) fn mailbox(name: String, looks: &Looks) -> Mailbox {
    let (state, ready) = match (&looks.failing, looks.good) {
        (Some(failing), good) => ("failing", good.is_some() && !failing.lasting && failing.since.elapsed() < FAILING),
        (None, Some(_)) => ("ok", true),
        // Nothing but a poke makes it look: it waits as it was told to.
        (None, None) => ("starting", looks.waits),
    };
    let error = looks.failing.as_ref().map(|failing| failing.why.clone());
    Mailbox { name, state: state.into(), ready, last_poll: looks.good.map(|(_, at)| at), error }
}

fn session(session: &Sessions, unacknowledged: u64) -> Session {
    let Sessions { up, since, new, refused, error, .. } = session;
    let (state, ready) = match (up, refused, new) {
        (true, ..) => ("up", true),
        (false, true, _) => ("refused", false),
        (false, false, 0) => ("starting", false),
        (false, false, _) => ("down", since.0.elapsed() < DOWN),
    };
    Session {
        state: state.into(),
        ready,
        since: since.1,
        last_error: error.as_ref().map(|(_, why)| why.clone()),
        last_error_at: error.as_ref().map(|(at, _)| *at),
        unacknowledged,
    }
}
