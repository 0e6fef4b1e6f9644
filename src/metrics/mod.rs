//! Is it working, and what does it do: counters, states and times of the running service.
//!
//! The loops write to small handles that they are given ([`StoreMeter`], [`MailboxState`], [`SessionState`], [`Beat`] …), and
//! know nothing else of this. What is not counted is looked at by a [`Sampler`] when somebody asks. There are three answers:
//!
//! * [`render`]: everything in the text format of Prometheus; the [`catalogue`] lists it.
//! * [`Overview`]: what a person wants to know, and whether the service is *ready*.
//! * [`Metrics::stuck`]: is it *alive*?
//!
//! [`web`] has the handlers, which need nothing but an `Arc<Metrics>`.

pub mod catalogue;
mod family;
mod meters;
mod overview;
mod page;
mod process;
mod sample;
mod states;
pub mod web;

pub use meters::{DoorMeter, ProbeMeter, Step, StoreMeter, Way};
pub use overview::{Mailbox, Overview, Queued, Session};
pub use page::render;
pub use sample::{Backlog, Disk, LastAlert, Sample, Sampler};
pub use states::{Beat, Failing, Looks, MailboxState, SessionState, Sessions};

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use family::Counters;

/// Longest wait for the store's answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// A loop that says nothing for so long is stuck: each goes round once a minute at least, and the longest commit takes a few.
const STUCK: Duration = Duration::from_secs(120);

/// All of it.
pub struct Metrics {
    /// The store's.
    pub store: Arc<StoreMeter>,
    /// The LMTP doors'.
    pub doors: Arc<DoorMeter>,
    /// The probe engine's.
    pub probe: Arc<ProbeMeter>,
    /// The XMPP session.
    pub session: Arc<SessionState>,
    /// The loop that parses.
    pub parsing: Arc<Beat>,
    /// The loop that sends.
    pub sending: Arc<Beat>,
    /// The loop that takes what comes over HTTP.
    pub posting: Arc<Beat>,
    mailboxes: Mutex<BTreeMap<String, Arc<MailboxState>>>,
    reloads: Counters,
    reloaded: Mutex<Timestamp>,
    started: (Instant, Timestamp),
    stopping: AtomicBool,
    sampler: Mutex<Option<Arc<dyn Sampler>>>,
}

impl Metrics {
    /// Nothing has happened yet; but for what the store has counted.
    pub fn new(store: Arc<StoreMeter>) -> Arc<Self> {
        let now = Timestamp::now();
        Arc::new(Self {
            store,
            doors: Arc::default(),
            probe: Arc::default(),
            session: Arc::default(),
            parsing: Arc::default(),
            sending: Arc::default(),
            posting: Arc::default(),
            mailboxes: Mutex::default(),
            reloads: Counters::of([vec!["done"], vec!["refused"]]),
            reloaded: Mutex::new(now),
            started: (Instant::now(), now),
            stopping: AtomicBool::new(false),
            sampler: Mutex::default(),
        })
    }

    /// From now on this one looks at what is not counted.
    pub fn look_with(&self, sampler: Arc<dyn Sampler>) {
        *lock(&self.sampler) = Some(sampler);
    }

    /// A mailbox is opened; opened again, it begins anew. Its counts go on.
    pub fn open(&self, mailbox: &str) -> Arc<MailboxState> {
        self.store.mailbox(mailbox);
        let state = Arc::new(MailboxState::default());
        lock(&self.mailboxes).insert(mailbox.to_owned(), Arc::clone(&state));
        state
    }

    /// The mailbox is not read any more.
    pub fn close(&self, mailbox: &str) {
        lock(&self.mailboxes).remove(mailbox);
    }

    /// The config was read again; `false`: it was refused.
    pub fn reload(&self, done: bool) {
        self.reloads.add(&[if done { "done" } else { "refused" }], 1);
        if done {
            *lock(&self.reloaded) = Timestamp::now();
        }
    }

    /// The service is ending: it is not ready any more, and no loop is missed.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The loops that do not go on. None while the disk is full, which they wait for, and none at the end.
    pub fn stuck(&self) -> Vec<&'static str> {
        let waits = lock(&self.sampler).as_ref().is_some_and(|sampler| !sampler.has_room());
        if waits || self.stopping.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let loops = [("the parser", &self.parsing), ("dispatch", &self.sending), ("the HTTP poster", &self.posting)];
        loops.into_iter().filter(|(_, beat)| beat.silent() > STUCK).map(|(name, _)| name).collect()
    }

    /// Each mailbox that is read, by name.
    pub fn mailboxes(&self) -> Vec<Mailbox> {
        self.looks().into_iter().map(|(name, looks)| overview::mailbox(name, &looks)).collect()
    }

    fn looks(&self) -> BTreeMap<String, Looks> {
        lock(&self.mailboxes).iter().map(|(name, state)| (name.clone(), state.get())).collect()
    }

    /// How things are, within a few seconds whatever happens.
    async fn sample(&self) -> Sample {
        let sampler = lock(&self.sampler).clone();
        let Some(sampler) = sampler else { return Sample::none("the service is starting") };
        match tokio::time::timeout(PATIENCE, sampler.sample()).await {
            Ok(sample) => sample,
            Err(_) => Sample::none("it does not answer"),
        }
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics(…)")
    }
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole after each statement: a panic elsewhere does not spoil it.
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
