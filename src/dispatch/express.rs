//! The express lane: a notification whose recipient is reachable right now is committed as `sending` by D2 itself and written
//! at once, so that an alert needs two durable commits, not three.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::budget::{Answer, Ask, Budget, Free, Limits, WINDOW};
use super::clock::{Wall, mono};
use super::letter::letter;
use super::{Full, Letter, Messenger, Rules};
use crate::live::Live;
use crate::model::{BareJid, Epoch, Kind, Notification, Presence, StanzaId};
use crate::presence::Tracker;
use crate::presence::policy::{Decision, decide};
use crate::queue::{self, Content, Express, Intent, Outgoing, Place, Wait, Way};

/// Shared by intake (through [`Express`]) and the worker: who is reachable, how much each was
/// sent, and how many places of the window are taken.
pub struct ExpressLane {
    messenger: Arc<dyn Messenger>,
    rules: Live<Rules>,
    wall: Wall,
    state: Mutex<State>,
}

struct State {
    tracker: Tracker,
    budget: Budget,
    /// Epoch of the session that is up.
    epoch: Option<Epoch>,
    /// Places reserved for notifications in a D2 that is under way.
    reserved: usize,
}

impl ExpressLane {
    /// No session yet.
    pub fn new(messenger: Arc<dyn Messenger>, tracker: Tracker, rules: Live<Rules>, wall: Wall) -> Self {
        let budget = Budget::new(rules.get().settings.limits);
        Self { messenger, rules, wall, state: Mutex::new(State { tracker, budget, epoch: None, reserved: 0 }) }
    }

    /// Changes or asks the tracker.
    pub fn tracker<T>(&self, with: impl FnOnce(&mut Tracker) -> T) -> T {
        with(&mut self.lock().tracker)
    }

    /// Presence of a recipient now.
    pub fn presence(&self, who: &BareJid) -> Presence {
        self.lock().tracker.get(who, mono())
    }

    /// Presence of several at one moment, and for how long each has been so, where that is known.
    pub fn presences<'a>(&self, who: impl Iterator<Item = &'a BareJid>) -> Vec<(Presence, Option<Duration>)> {
        let (state, now) = (self.lock(), mono());
        let lasts = |who| Some(now.saturating_duration_since(state.tracker.since(who, now)?));
        who.map(|who| (state.tracker.get(who, now), lasts(who))).collect()
    }

    /// A session is up under this epoch, or there is none.
    pub fn set_epoch(&self, epoch: Option<Epoch>) {
        self.lock().epoch = epoch;
    }

    /// May the recipient, who can be reached, be sent this now? Then it counts as sent; otherwise it has to wait.
    pub(super) fn take(&self, out: &Outgoing, wall: Timestamp) -> Result<(), Wait> {
        let (ask, now) = (ask(out), mono());
        let mut state = self.lock();
        let jid = &out.notification.jid;
        if let Some(wait) = wait(state.budget.judge(jid, &ask, now), now, wall) {
            return Err(wait);
        }
        state.budget.spend(jid, &ask, now);
        Ok(())
    }

    /// It was not sent after all.
    pub(super) fn give_back(&self, n: &Notification) {
        self.lock().budget.refund(&n.jid, n.condition);
    }

    /// How much the recipient may be sent now; and how long what no digest carries now waits.
    pub(super) fn free(&self, who: &BareJid, wall: Timestamp) -> (Free, Wait) {
        let now = mono();
        let mut state = self.lock();
        let free = state.budget.free(who, now);
        let next = if free.digest { state.budget.after_digest(now) } else { state.budget.next_digest(who, now) };
        let until = wait(Answer::Full(next), now, wall);
        (free, until.unwrap_or(Wait { until: wall, why: "" }))
    }

    /// Other limits from now on.
    pub fn set_limits(&self, limits: Limits) {
        self.lock().budget.set(limits);
    }

    /// What was intended since then is of interest after a restart.
    pub(super) fn remembers_since(&self) -> Timestamp {
        let span = SignedDuration::try_from(WINDOW).unwrap_or_default();
        (self.wall)().saturating_sub(span).unwrap_or(Timestamp::MIN)
    }

    /// What was sent before the restart counts as well.
    pub(super) fn remember(&self, intents: &[Intent]) {
        let (now, wall) = (mono(), (self.wall)());
        let mut state = self.lock();
        for Intent { at, jid, kind, sender, severity, condition } in intents {
            let ago = Duration::try_from(wall.duration_since(*at)).unwrap_or_default();
            let ask =
                Ask { kind: *kind, sender, severity: *severity, condition: *condition, forced: false, again: false };
            state.budget.spend(jid, &ask, now.checked_sub(ago).unwrap_or(now));
        }
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

    fn reserve(&self, ask: &queue::Ask<'_>) -> Way {
        let jid = &ask.recipient.jid;
        let mut state = self.lock();
        let presence = state.tracker.get(jid, mono());
        if state.epoch.is_none() || decide(ask.delivery, ask.severity, presence, false) != Decision::Deliver {
            return Way::Queue;
        }
        let queue::Ask { severity, sender, condition, .. } = *ask;
        let ask = Ask { kind: Kind::Alert, sender, severity, condition, forced: false, again: false };
        let (now, wall) = (mono(), (self.wall)());
        match wait(state.budget.judge(jid, &ask, now), now, wall) {
            Some(wait) => Way::Wait(wait),
            None if self.messenger.room() <= state.reserved => Way::Queue,
            None => {
                state.budget.spend(jid, &ask, now);
                state.reserved += 1;
                Way::Now
            }
        }
    }

    fn presence(&self, who: &BareJid) -> Option<Presence> {
        Some(self.lock().tracker.get(who, mono()))
    }

    fn release(&self, places: &[Place]) {
        let mut state = self.lock();
        state.reserved = state.reserved.saturating_sub(places.len());
        for place in places.iter().rev() {
            state.budget.refund(&place.jid, place.condition);
        }
    }

    fn hand_over(&self, epoch: Option<Epoch>, born: Vec<Outgoing>, now: Timestamp) -> Vec<StanzaId> {
        let places = born.len();
        let rules = self.rules.get();
        let letter =
            |out: &Outgoing| letter(out, out.notification.attempts, &rules.router, rules.settings.text_max, now);
        let letters: Vec<Letter> = born.iter().map(letter).collect();
        let mut state = self.lock();
        state.reserved = state.reserved.saturating_sub(places);
        let same_session = epoch.is_some() && state.epoch == epoch;
        let mut back = Vec::new();
        for (letter, out) in letters.into_iter().zip(&born) {
            let refused =
                if same_session { self.messenger.send(letter).err().map(|Full(letter)| letter) } else { Some(letter) };
            if let Some(letter) = refused {
                state.budget.refund(&out.notification.jid, out.notification.condition);
                back.push(letter.stanza_id);
            }
        }
        back
    }
}

/// What the budget's answer means for the queue.
fn wait(answer: Answer, now: Instant, wall: Timestamp) -> Option<Wait> {
    let (at, why) = match answer {
        Answer::Now => return None,
        Answer::Pause(at) => (at, "group_window: soon after the last message about it"),
        Answer::Full(at) => (at, "max_per_minute: waits for the next digest"),
    };
    let after = SignedDuration::try_from(at.saturating_duration_since(now)).unwrap_or_default();
    Some(Wait { until: wall.saturating_add(after).unwrap_or(wall), why })
}

/// What the budget asks of a notification.
fn ask(out: &Outgoing) -> Ask<'_> {
    let n = &out.notification;
    let sender = match &out.content {
        Content::Alert(record) => record.alert.mailed_by(),
        Content::Text(_) => "",
    };
    Ask { kind: n.kind, sender, severity: n.severity, condition: n.condition, forced: n.forced, again: n.attempts > 0 }
}
