//! Flapping: a port that changes so often that its changes are no news.
//!
//! As Nagios has it (Nagios Core documentation, "Detection and Handling of State Flapping"): each of the 20 changes that there can be
//! in the last 21 results counts from 0.8, the oldest, to 1.2, the newest; they flap from one percentage on, and until it is below
//! another one.

use std::fmt;

use jiff::Timestamp;

use super::{HostState, Port};
use crate::probe::settings::Flapping;

/// Results that are kept.
const KEPT: u32 = 21;

/// What came of the last probes of a port.
///
/// A one, and below it a bit for each result, one for open, the newest one lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct History(u32);

impl History {
    pub(super) const NEW: Self = Self(1);

    /// As it was kept; what is none is a new one.
    pub(super) fn of(kept: u32) -> Self {
        if kept == 0 || kept >> (KEPT + 1) != 0 { Self::NEW } else { Self(kept) }
    }

    /// To be kept.
    pub(super) fn kept(self) -> u32 {
        self.0
    }

    fn add(&mut self, up: bool) {
        let marked = 1 << KEPT;
        let grown = (self.0 << 1) | u32::from(up);
        self.0 = if grown >= marked << 1 { grown & (marked - 1) | marked } else { grown };
    }

    fn results(self) -> u32 {
        self.0.ilog2()
    }

    /// The changes in it, each by how many there are between it and the newest that there can be.
    fn ages(self) -> impl Iterator<Item = u32> {
        (1..self.results()).map(|age| age - 1).filter(move |age| ((self.0 >> age) ^ (self.0 >> (age + 1))) & 1 == 1)
    }

    /// How much it changes, in nineteenths of a per cent. A change by its place from 0, the oldest, to 19: 0.8 + place × 0.4 / 19,
    /// of 20; as per cent that is (76 + 2 × place) / 19.
    fn weight(self) -> u32 {
        self.ages().map(|age| 76 + 2 * (KEPT - 2 - age)).sum()
    }

    fn reaches(self, percent: u8) -> bool {
        self.weight() >= 19 * u32::from(percent)
    }
}

/// How a port flaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flaps {
    /// It was noticed, or the port was told as down, since then.
    pub since: Timestamp,
    /// So often it changed.
    pub changes: u32,
    /// In so many probes.
    pub probes: u32,
}

/// For people.
impl fmt::Display for Flaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} changes in the last {} probes", self.changes, self.probes)
    }
}

impl Port {
    /// One more result.
    pub(super) fn remember(&mut self, up: bool) {
        // What comes of a maintenance, or of a parent, says nothing of the port: no flapping begins by it. One that flaps may
        // come to rest.
        if self.is_held_firmly() && !self.flapping {
            return;
        }
        self.history.add(up);
        let Flapping { on, start, stop } = self.probe.rules.flapping;
        self.flapping = on && self.history.reaches(if self.flapping { stop } else { start });
    }

    pub(super) fn flaps(&self, since: Timestamp) -> Flaps {
        let changes = u32::try_from(self.history.ages().count()).unwrap_or_default();
        Flaps { since, changes, probes: self.history.results() }
    }
}

impl HostState {
    /// Does this port change too often?
    pub fn is_flapping(&self, port: u16) -> bool {
        self.ports.get(&port).is_some_and(|port| port.flapping)
    }

    /// Do all its ports flap? Of one that has a single port that is told of the port, unless the host was told as down.
    pub(super) fn flaps(&self) -> bool {
        let least = if self.saved.host.is_some() { 1 } else { 2 };
        self.ports.len() >= least && self.ports.values().all(|port| port.flapping && port.hold.is_none())
    }

    /// May it turn out soon that all of them flap? Ports that go up and down together do not pass the limit in the same moment. What
    /// is near to it passes it, or is farther from it after 20 probes at the latest.
    pub(super) fn may_flap(&self) -> bool {
        let near = |port: &Port| {
            let Flapping { on, stop, .. } = port.probe.rules.flapping;
            port.flapping || on && !port.unclear && port.history.reaches(stop)
        };
        self.ports.len() > 1 && self.ports.values().all(|port| port.hold.is_none() && near(port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Oldest first: `+` is open, `-` is not.
    fn history(results: &str) -> History {
        let mut history = History::NEW;
        results.chars().for_each(|result| history.add(result == '+'));
        history
    }

    #[test]
    fn the_share_of_changes_is_exact() {
        assert_eq!(history("").weight(), 0);
        assert_eq!(history("-").weight(), 0, "the first result is no change");
        // Of two, the newest change: 1.2 of 20 is 6 %.
        assert_eq!(history("+-").weight(), 6 * 19);
        // The oldest of 20: 0.8 of 20 is 4 %.
        assert_eq!(history("+--------------------").weight(), 4 * 19);
        assert_eq!(history("+-+-+-+-+-+-+-+-+-+-+").weight(), 100 * 19, "all of them");
        // Changes at the places 3, 4, 5, 9, 12, 16 and 19: 7 × 0.8 + 68 × 0.4 / 19 = 7.0316 of 20, which is 35.158 %.
        let seven = history("++++-+----+++----+++-");
        assert_eq!((seven.weight(), seven.ages().count(), seven.results()), (668, 7, 21));
        assert!(seven.reaches(35) && !seven.reaches(36));
        // One probe later, each of them is older by one place, by 0.4 / 19 of 20: 2 / 19 %.
        let mut later = seven;
        later.add(false);
        assert_eq!((later.weight(), later.results()), (668 - 7 * 2, 21));
        // What is kept is all of it.
        assert_eq!(History::of(later.kept()), later);
        assert_eq!([0, 1 << 22, u32::MAX].map(History::of), [History::NEW; 3]);
    }
}
