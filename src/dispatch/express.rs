//! The express lane: a notification whose recipient is reachable right now is committed as `sending` by D2 itself and written
//! at once, so that an alert needs two durable commits, not three.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;

use super::letter::letter;
use super::{Full, Letter, Messenger, Rules};
use crate::live::Live;
use crate::model::{BareJid, Delivery, Epoch, Presence, Recipient, Severity, StanzaId};
use crate::presence::Tracker;
use crate::presence::policy::{Decision, decide};
use crate::queue::{Express, Outgoing};

/// Shared by intake (through [`Express`]) and the worker: who is reachable, and how many places of the window are taken.
pub struct ExpressLane {
    messenger: Arc<dyn Messenger>,
    rules: Live<Rules>,
    state: Mutex<State>,
}

struct State {
    tracker: Tracker,
    /// Epoch of the session that is up.
    epoch: Option<Epoch>,
    /// Places reserved for notifications in a D2 that is under way.
    reserved: usize,
}

impl ExpressLane {
    /// No session yet.
    pub fn new(messenger: Arc<dyn Messenger>, tracker: Tracker, rules: Live<Rules>) -> Self {
        Self { messenger, rules, state: Mutex::new(State { tracker, epoch: None, reserved: 0 }) }
    }

    /// Changes or asks the tracker.
    pub fn tracker<T>(&self, with: impl FnOnce(&mut Tracker) -> T) -> T {
        with(&mut self.lock().tracker)
    }

    /// Presence of a recipient now.
    pub fn presence(&self, who: &BareJid) -> Presence {
        self.lock().tracker.get(who, Instant::now())
    }

    /// A session is up under this epoch, or there is none.
    pub fn set_epoch(&self, epoch: Option<Epoch>) {
        self.lock().epoch = epoch;
    }

    /// Places of the window that the worker may fill.
    pub fn room(&self) -> usize {
        let state = self.lock();
        if state.epoch.is_none() {
            return 0;
        }
        self.messenger.room().saturating_sub(state.reserved)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What it guards is valid after each statement, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Express for ExpressLane {
    fn epoch(&self) -> Option<Epoch> {
        self.lock().epoch
    }

    fn reserve(&self, recipient: &Recipient, severity: Severity, delivery: &Delivery) -> bool {
        let mut state = self.lock();
        let presence = state.tracker.get(&recipient.jid, Instant::now());
        let free = state.epoch.is_some() && self.messenger.room() > state.reserved;
        if !free || decide(delivery, severity, presence, false) != Decision::Deliver {
            return false;
        }
        state.reserved += 1;
        true
    }

    fn release(&self, places: usize) {
        let mut state = self.lock();
        state.reserved = state.reserved.saturating_sub(places);
    }

    fn hand_over(&self, epoch: Option<Epoch>, born: Vec<Outgoing>, now: Timestamp) -> Vec<StanzaId> {
        let places = born.len();
        let rules = self.rules.get();
        let letter = |out| letter(out, &rules.router, rules.settings.text_max, now);
        let letters: Vec<Letter> = born.iter().map(letter).collect();
        let mut state = self.lock();
        state.reserved = state.reserved.saturating_sub(places);
        let same_session = epoch.is_some() && state.epoch == epoch;
        letters
            .into_iter()
            .filter_map(|letter| {
                if !same_session {
                    return Some(letter.stanza_id);
                }
                self.messenger.send(letter).err().map(|Full(letter)| letter.stanza_id)
            })
            .collect()
    }
}
