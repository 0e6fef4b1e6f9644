//! What the loops count with, one small handle for each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::family::{Counters, Histogram};
use crate::model::{AlertState, MessageState, NotificationState, Severity};

/// Of a delivery, seconds.
const DELIVERY: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 14_400.0,
    86_400.0,
];
/// Of a commit, seconds.
const COMMIT: &[f64] = &[0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// Of a probe, seconds.
const PROBE: &[f64] = &[0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// A durable commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Raw mails.
    D1,
    /// Alerts and notifications.
    D2,
    /// Intents.
    D3,
    /// Acceptance.
    D4,
    /// Receipts.
    D5,
}

impl Step {
    const ALL: [Self; 5] = [Self::D1, Self::D2, Self::D3, Self::D4, Self::D5];

    const fn as_str(self) -> &'static str {
        match self {
            Self::D1 => "d1",
            Self::D2 => "d2",
            Self::D3 => "d3",
            Self::D4 => "d4",
            Self::D5 => "d5",
        }
    }
}

/// How a message came to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// At once, as D2 committed it.
    Express,
    /// Not at once: held, over a cap, after an outage, once more.
    Queued,
}

impl Way {
    const ALL: [Self; 2] = [Self::Express, Self::Queued];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Express => "express",
            Self::Queued => "queued",
        }
    }
}

/// The store's: everything that was committed, told after it is durable.
#[derive(Debug)]
pub struct StoreMeter {
    pub(super) stored: Counters,
    pub(super) mails: Counters,
    pub(super) alerts: Counters,
    pub(super) created: AtomicU64,
    pub(super) ended: Counters,
    pub(super) copies: Counters,
    pub(super) accepted: AtomicU64,
    pub(super) receipts: Counters,
    pub(super) refused: AtomicU64,
    to_accepted: [Histogram; 2],
    to_delivered: [Histogram; 2],
    commits: [Histogram; 5],
}

impl Default for StoreMeter {
    fn default() -> Self {
        const OUTCOMES: [AlertState; 3] = [AlertState::Routed, AlertState::Unsubscribed, AlertState::Recorded];
        use NotificationState as N;
        let alerts =
            Severity::ALL.into_iter().flat_map(|severity| OUTCOMES.map(|o| vec![severity.as_str(), o.as_str()]));
        let ended = [N::Delivered, N::Unconfirmed, N::Expired, N::Dead].map(|state| vec![state.as_str()]);
        Self {
            stored: Counters::default(),
            mails: Counters::default(),
            alerts: Counters::of(alerts),
            created: AtomicU64::new(0),
            ended: Counters::of(ended),
            copies: Counters::of([vec!["first"], vec!["again"]]),
            accepted: AtomicU64::new(0),
            receipts: Counters::of([vec!["taken"], vec!["ignored"]]),
            refused: AtomicU64::new(0),
            to_accepted: Way::ALL.map(|_| Histogram::new(DELIVERY)),
            to_delivered: Way::ALL.map(|_| Histogram::new(DELIVERY)),
            commits: Step::ALL.map(|_| Histogram::new(COMMIT)),
        }
    }
}

impl StoreMeter {
    /// The mailbox is there: its counts begin at 0.
    pub fn mailbox(&self, name: &str) {
        use MessageState as M;
        self.stored.add(&[name], 0);
        for state in [M::Parsed, M::Ignored, M::Rejected, M::Stale, M::Quarantined, M::Duplicate] {
            self.mails.add(&[name, state.as_str()], 0);
        }
    }

    /// A commit, from the wish to its end.
    pub fn committed(&self, step: Step, took: Duration) {
        let histograms = Step::ALL.into_iter().zip(&self.commits);
        histograms.filter(|(of, _)| *of == step).for_each(|(_, histogram)| histogram.observe(took));
    }

    /// D1 of so many mails.
    pub fn stored(&self, mailbox: &str, mails: usize) {
        self.stored.add(&[mailbox], mails as u64);
    }

    /// A mail ended so.
    pub fn mail(&self, mailbox: &str, state: MessageState) {
        self.mails.add(&[mailbox, state.as_str()], 1);
    }

    /// An alert was committed.
    pub fn alert(&self, severity: Severity, state: AlertState) {
        self.alerts.add(&[severity.as_str(), state.as_str()], 1);
    }

    /// So many notifications were made; `born` of them are to be sent at once.
    pub fn made(&self, all: usize, born: usize) {
        self.created.fetch_add(all as u64, Ordering::Relaxed);
        self.copies.add(&["first"], born as u64);
    }

    /// D3 of so many, of which `again` were sent before.
    pub fn intended(&self, all: usize, again: usize) {
        self.copies.add(&["first"], all.saturating_sub(again) as u64);
        self.copies.add(&["again"], again as u64);
    }

    /// D4 of one message; `age` of an alert's.
    pub fn accepted(&self, age: Option<(Way, Duration)>) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        observe(&self.to_accepted, age);
    }

    /// D5 of one message; `age` of an alert's.
    pub fn delivered(&self, age: Option<(Way, Duration)>) {
        self.receipts.add(&["taken"], 1);
        self.ended(NotificationState::Delivered, 1);
        observe(&self.to_delivered, age);
    }

    /// Receipts that are for nothing of their sender's.
    pub fn ignored(&self, receipts: usize) {
        self.receipts.add(&["ignored"], receipts as u64);
    }

    /// So many notifications ended so.
    pub fn ended(&self, state: NotificationState, n: u64) {
        self.ended.add(&[state.as_str()], n);
    }

    /// A message came back, to be tried again.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn commits(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        Step::ALL.into_iter().map(Step::as_str).zip(&self.commits)
    }

    pub(super) fn to_accepted(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        Way::ALL.into_iter().map(Way::as_str).zip(&self.to_accepted)
    }

    pub(super) fn to_delivered(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        Way::ALL.into_iter().map(Way::as_str).zip(&self.to_delivered)
    }
}

fn observe(histograms: &[Histogram; 2], age: Option<(Way, Duration)>) {
    let Some((way, age)) = age else { return };
    let of = Way::ALL.into_iter().zip(histograms);
    of.filter(|(of, _)| *of == way).for_each(|(_, histogram)| histogram.observe(age));
}

/// The LMTP doors'.
#[derive(Debug)]
pub struct DoorMeter {
    pub(super) connections: Counters,
    pub(super) mails: Counters,
}

impl Default for DoorMeter {
    fn default() -> Self {
        Self { connections: Counters::default(), mails: Counters::of([vec!["stored"], vec!["refused"]]) }
    }
}

impl DoorMeter {
    /// The door is open: its counts begin at 0.
    pub fn open(&self, listen: &str) {
        self.connections.add(&[listen, "taken"], 0);
        self.connections.add(&[listen, "refused"], 0);
    }

    /// Somebody connected.
    pub fn connected(&self, listen: &str, taken: bool) {
        self.connections.add(&[listen, if taken { "taken" } else { "refused" }], 1);
    }

    /// A mail was stored, or refused for now.
    pub fn mail(&self, stored: bool) {
        self.mails.add(&[if stored { "stored" } else { "refused" }], 1);
    }
}

/// The probe engine's.
#[derive(Debug)]
pub struct ProbeMeter {
    pub(super) outcomes: Counters,
    pub(super) open: Histogram,
}

impl Default for ProbeMeter {
    fn default() -> Self {
        Self { outcomes: Counters::default(), open: Histogram::new(PROBE) }
    }
}

impl ProbeMeter {
    /// A probe ended so; `open`: how long that took, where somebody answered as expected.
    pub fn probed(&self, outcome: &str, open: Option<Duration>) {
        self.outcomes.add(&[outcome], 1);
        if let Some(took) = open {
            self.open.observe(took);
        }
    }
}
