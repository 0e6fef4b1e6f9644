//! A hold ends when its time is over, and not before.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use mailbell::model::NotificationState::{Expired, Held};

use super::eye::{Seen, SeenAlert};
use super::mails::hold_for;
use super::play::Play;

/// The gateway ends nothing for so long after a jump of its clock.
const GRACE: SignedDuration = SignedDuration::from_secs(310);

/// What is known of them.
#[derive(Default)]
pub struct Holds {
    /// When a notification was first seen, by the time of everybody else; and how much the clock had been set by then.
    born: BTreeMap<i64, (Timestamp, SignedDuration)>,
    /// By how much the end of a hold may be wrong: its time began by another clock. And what was missed when it was first held.
    held: BTreeMap<i64, (SignedDuration, SignedDuration)>,
    /// By how much the gateway's clock was set, in all.
    set: SignedDuration,
    /// So much of it the gateway has not seen yet; and of so much it died before it did, so that its times are wrong by that.
    unseen: SignedDuration,
    missed: SignedDuration,
    /// Since when a hold should have ended.
    over: BTreeMap<i64, Timestamp>,
    /// The time at the last look.
    looked: Option<Timestamp>,
}

impl Holds {
    pub fn jumped(&mut self, by: SignedDuration) {
        self.set += by.abs();
        self.unseen += by.abs();
        self.over.clear();
    }

    /// The gateway knows by now how its clock was set: holds end when they would have without that.
    pub fn seen(&mut self) {
        self.unseen = SignedDuration::ZERO;
    }

    /// The process died. The time for ending what is over begins anew.
    pub fn died(&mut self) {
        self.missed += std::mem::take(&mut self.unseen);
        self.over.clear();
    }
}

impl Play {
    pub fn check_holds(&mut self, now: &BTreeMap<i64, Seen>) {
        let alerts: BTreeMap<i64, SeenAlert> = self.eye.alerts().into_iter().map(|alert| (alert.id, alert)).collect();
        let (truth, holds) = (self.truth, &mut self.book.holds);
        // The gateway sees a jump of its clock, and what is over, only while time passes.
        let passed = holds.looked.replace(truth).is_some_and(|before| before < truth);
        for n in now.values() {
            let (born, set) = *holds.born.entry(n.id).or_insert((truth, holds.set));
            let (least, most) = hold_for(&n.jid, n.alert.map(|alert| &alerts[&alert]));
            let (least, most) = (born + least, born + most);
            if !matches!(n.state, Held | Expired) {
                holds.held.remove(&n.id);
                holds.over.remove(&n.id);
                continue;
            }
            let (wrong, missed) = *holds.held.entry(n.id).or_insert((holds.set - set, holds.missed));
            let wrong = wrong + (holds.missed - missed) + holds.unseen;
            if n.state == Expired && n.reason.starts_with("the hold ended") {
                assert!(truth + wrong >= least, "its hold was to last until {least}, and it is {truth}: {n:?}");
            }
            if n.state != Held || truth < most + wrong {
                holds.over.remove(&n.id);
                continue;
            }
            if passed {
                holds.over.entry(n.id).or_insert(truth);
            }
            let in_time = holds.over.get(&n.id).is_none_or(|since| truth < *since + GRACE);
            assert!(in_time, "held since {born}, which was over at {most}, and it is {truth}: {n:?}");
        }
    }
}
