//! How much one recipient is sent: a cap on messages a minute, and a pause between messages about one condition. Pure: time is
//! an argument.
//!
//! # The cap
//! In any window no recipient is sent more than `max_per_minute` messages, whatever they carry. The cap is dealt in fifths:
//!
//! | who may go | while so much of the cap is not used up |
//! | --- | --- |
//! | anything | two fifths (and what does not divide by five) |
//! | a critical alert | three fifths |
//! | an alert of a sender of whom nothing came in the window | three and a half |
//! | a critical alert of such a sender | four fifths |
//! | a digest of what could not go | the last fifth is for digests alone, evenly spread |
//!
//! So a flood, even of critical alerts, leaves room for who was not heard yet, and the digests always come.
//!
//! # The pause
//! What follows about a condition within `group_window` of the last message waits until the window is over; only the newest is
//! then sent. An alert that is worse than the last message does not wait.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::model::{BareJid, ConditionId, Kind, Severity};

/// The minute of the cap, and as much again as two messages may differ in their time on the way.
pub const WINDOW: Duration = Duration::from_secs(62);

/// The least cap: one message for each of the shares.
pub const LEAST: u32 = 5;

/// Longest `group_window`.
pub const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// Most conditions of one recipient that are remembered for their pause. Of what is forgotten the next message goes at once.
const CONDITIONS: usize = 1024;

/// `max_per_minute` and `group_window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most messages to one recipient in a minute; 0: no cap. Otherwise at least [`LEAST`].
    pub max_per_minute: u32,
    /// Pause between messages about one condition; zero: none. At most [`LONGEST_PAUSE`].
    pub group_window: Duration,
}

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask<'a> {
    /// Alert, digest or notice.
    pub kind: Kind,
    /// Who mailed the alert, whatever sender it names; for a notice the gateway itself.
    pub sender: &'a str,
    /// How bad.
    pub severity: Severity,
    /// What it is about.
    pub condition: Option<ConditionId>,
    /// It must be sent: no pause.
    pub forced: bool,
    /// An earlier copy may have been sent: no pause, and no digest can carry it.
    pub again: bool,
}

/// May it be sent now?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Now,
    /// The pause after the last message about its condition is not over before then.
    Pause(Instant),
    /// The cap is reached. Then it can be in a digest.
    Full(Instant),
}

/// How much a recipient may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// Of anything.
    pub any: usize,
    /// Of critical alerts, these included.
    pub critical: usize,
    /// A digest.
    pub digest: bool,
}

/// What each recipient was sent lately. Bounded: `max_per_minute` messages and [`CONDITIONS`] for each recipient to whom
/// something was sent in the last window.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    spent: HashMap<BareJid, Spent>,
    hasher: RandomState,
    swept: Option<Instant>,
}

#[derive(Debug, Default)]
struct Spent {
    /// In the order of time.
    sent: VecDeque<Sent>,
    /// The last message about each condition, in the order of time.
    told: VecDeque<Told>,
    /// When the next digest goes, where something waits for one.
    digest_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Instant,
    digest: bool,
    sender: u64,
    condition: Option<ConditionId>,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    at: Instant,
    condition: ConditionId,
    severity: Severity,
}

/// The cap, dealt out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shares {
    any: usize,
    critical: usize,
    new: usize,
    new_critical: usize,
    digests: usize,
}

impl Shares {
    fn of(cap: u32) -> Self {
        let cap = usize::try_from(cap.max(LEAST)).unwrap_or(usize::MAX);
        let fifth = cap / 5;
        Self {
            any: cap - 3 * fifth,
            critical: cap - 2 * fifth,
            new: cap - fifth - fifth / 2,
            new_critical: cap - fifth,
            digests: fifth,
        }
    }

    /// Time between two digests.
    fn between(self) -> Duration {
        WINDOW / u32::try_from(self.digests).unwrap_or(u32::MAX).max(1)
    }
}

impl Budget {
    /// Nothing was sent yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, spent: HashMap::new(), hasher: RandomState::new(), swept: None }
    }

    /// Other limits from now on; what was sent counts on.
    pub fn set(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// May it be sent to this recipient now? Takes nothing: see [`spend`](Self::spend).
    pub fn judge(&mut self, who: &BareJid, ask: &Ask<'_>, now: Instant) -> Answer {
        self.forget(now);
        let limits = self.limits;
        let sender = self.hasher.hash_one(ask.sender);
        let spent = self.spent.entry(who.clone()).or_default();
        spent.forget(now, limits.group_window);
        if !ask.forced
            && !ask.again
            && let Some(until) = spent.pause(ask, now, limits.group_window)
        {
            return Answer::Pause(until);
        }
        if limits.max_per_minute == 0 {
            return Answer::Now;
        }
        let shares = Shares::of(limits.max_per_minute);
        if ask.kind == Kind::Digest {
            return spent.within(true, shares.digests).map_or(Answer::Now, Answer::Full);
        }
        let new = !spent.sent.iter().any(|s| !s.digest && s.sender == sender);
        let most = match (new, ask.severity == Severity::Critical) {
            (true, true) => shares.new_critical,
            (true, false) => shares.new,
            (false, true) => shares.critical,
            (false, false) => shares.any,
        };
        match spent.within(false, most) {
            None => Answer::Now,
            // What no digest can carry waits for its own place.
            Some(free) if ask.again || ask.kind != Kind::Alert => Answer::Full(free),
            Some(_) => Answer::Full(spent.next_digest(shares, limits.group_window, now)),
        }
    }

    /// It is sent.
    pub fn spend(&mut self, who: &BareJid, ask: &Ask<'_>, at: Instant) {
        let sender = self.hasher.hash_one(ask.sender);
        let Limits { max_per_minute, group_window } = self.limits;
        let spent = self.spent.entry(who.clone()).or_default();
        let digest = ask.kind == Kind::Digest;
        if max_per_minute > 0 {
            spent.sent.push_back(Sent { at, digest, sender, condition: ask.condition });
        }
        if digest {
            spent.digest_at = None;
        }
        if let Some(condition) = ask.condition.filter(|_| !group_window.is_zero()) {
            spent.told.retain(|told| told.condition != condition);
            if spent.told.len() == CONDITIONS {
                spent.told.pop_front();
            }
            spent.told.push_back(Told { at, condition, severity: ask.severity });
        }
    }

    /// It was not sent after all: the last one about this condition does not count.
    pub fn refund(&mut self, who: &BareJid, condition: Option<ConditionId>) {
        let Some(spent) = self.spent.get_mut(who) else { return };
        if let Some(place) = spent.sent.iter().rposition(|s| s.condition == condition) {
            spent.sent.remove(place);
        }
        spent.told.retain(|told| Some(told.condition) != condition);
    }

    /// How much this recipient may be sent now.
    pub fn free(&mut self, who: &BareJid, now: Instant) -> Free {
        if self.limits.max_per_minute == 0 {
            return Free { any: usize::MAX, critical: usize::MAX, digest: true };
        }
        let shares = Shares::of(self.limits.max_per_minute);
        let spent = self.spent.entry(who.clone()).or_default();
        spent.forget(now, self.limits.group_window);
        let digests = spent.sent.iter().filter(|s| s.digest).count();
        let others = spent.sent.len() - digests;
        Free {
            any: shares.any.saturating_sub(others),
            critical: shares.critical.saturating_sub(others),
            digest: spent.after_last_digest(shares).is_none_or(|at| at <= now),
        }
    }

    /// When the next digest goes to this recipient.
    pub fn next_digest(&mut self, who: &BareJid, now: Instant) -> Instant {
        let shares = Shares::of(self.limits.max_per_minute);
        self.spent.entry(who.clone()).or_default().next_digest(shares, self.limits.group_window, now)
    }

    /// When what one digest cannot carry may go in the one after it.
    pub fn after_digest(&self, now: Instant) -> Instant {
        now + Shares::of(self.limits.max_per_minute).between()
    }

    /// Now and then all that is over is forgotten, also of those who are sent nothing any more.
    fn forget(&mut self, now: Instant) {
        if self.swept.is_some_and(|last| now.saturating_duration_since(last) < WINDOW) {
            return;
        }
        self.swept = Some(now);
        let pause = self.limits.group_window;
        self.spent.retain(|_, spent| {
            spent.forget(now, pause);
            !(spent.sent.is_empty() && spent.told.is_empty() && spent.digest_at.is_none_or(|at| at <= now))
        });
    }
}

impl Spent {
    fn forget(&mut self, now: Instant, pause: Duration) {
        let over = |at: Instant, span: Duration| now.saturating_duration_since(at) >= span;
        while self.sent.front().is_some_and(|s| over(s.at, WINDOW)) {
            self.sent.pop_front();
        }
        while self.told.front().is_some_and(|t| over(t.at, pause)) {
            self.told.pop_front();
        }
    }

    /// The end of the pause after the last message about its condition. What is worse than that message does not wait.
    fn pause(&self, ask: &Ask<'_>, now: Instant, pause: Duration) -> Option<Instant> {
        let condition = ask.condition?;
        let last = self.told.iter().rev().find(|told| told.condition == condition)?;
        let until = last.at + pause;
        (ask.severity <= last.severity && until > now).then_some(until)
    }

    /// `None`: fewer than `most` (digests, or all others) were sent in the window. Otherwise when that is so again.
    fn within(&self, digests: bool, most: usize) -> Option<Instant> {
        let mut newest_first = self.sent.iter().rev().filter(|s| s.digest == digests);
        newest_first.nth(most.saturating_sub(1)).map(|s| s.at + WINDOW)
    }

    /// The digest that is waited for already; else one that keeps its distance from the last, and gathers for a while.
    fn next_digest(&mut self, shares: Shares, gather: Duration, now: Instant) -> Instant {
        if let Some(at) = self.digest_at.filter(|at| *at > now) {
            return at;
        }
        let gathered = now + gather.min(shares.between());
        let at = self.after_last_digest(shares).map_or(gathered, |at| at.max(gathered));
        self.digest_at = Some(at);
        at
    }

    /// When there may be a digest after those of the last window.
    fn after_last_digest(&self, shares: Shares) -> Option<Instant> {
        let last = self.sent.iter().rev().find(|s| s.digest)?.at + shares.between();
        Some(self.within(true, shares.digests).map_or(last, |slot| slot.max(last)))
    }
}

#[cfg(test)]
mod tests;
