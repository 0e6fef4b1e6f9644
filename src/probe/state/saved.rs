//! What was told of a host: what has to outlive the process.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Failure, Phase};
use crate::model::Severity;
use crate::probe::outcome::Kind;

/// What is told of a port that flaps, in the place of a [`Kind`].
pub(super) const FLAPPING: &str = "flapping";

/// An outage, or a warning, that was told, and whose end was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The first failure.
    pub since: Timestamp,
    /// The time that the last report of it carries.
    pub last: Timestamp,
    /// How bad.
    pub severity: Severity,
    /// How many failures in a row there were.
    pub attempts: u32,
    /// How the last of them ended, as [`Kind::as_str`] has it; or that it flaps; of a certificate `certificate_expires`.
    pub kind: String,
    /// Why.
    pub reason: String,
}

impl Told {
    /// The time of the next report of the same condition: never that of an earlier one, or it would count as out of order.
    pub(super) fn next(&self, now: Timestamp) -> Timestamp {
        // A clock that was far ahead and is right again is none to follow.
        const AHEAD: SignedDuration = SignedDuration::from_mins(10);
        match self.last.duration_since(now) {
            ahead if ahead < SignedDuration::ZERO || ahead > AHEAD => now,
            _ => self.last.checked_add(SignedDuration::from_millis(1)).unwrap_or(now),
        }
    }

    /// Was it told that it flaps?
    pub fn flaps(&self) -> bool {
        self.kind == FLAPPING
    }

    /// Is it time to tell of it again?
    pub(super) fn is_due(&self, now: Timestamp, remind: Duration) -> bool {
        now.duration_since(self.last).unsigned_abs() >= remind
    }

    fn failure(&self) -> Failure {
        let kind = self.kind.parse().unwrap_or(Kind::TimedOut);
        Failure { since: self.since, attempts: self.attempts, kind, reason: self.reason.clone() }
    }
}

/// All that was told of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Saved {
    /// That it is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Told>,
    /// That single ports are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<u16, Told>,
    /// What came of the last probes of those that flap.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub flapping: BTreeMap<u16, u32>,
    /// That certificates of ports end soon.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<u16, Told>,
}

/// How many of what was told of these states, as they are stored: `hosts_down`, `ports_down`, `ports_flapping`,
/// `certificates` (that end soon). One that cannot be read is not counted.
pub fn told<'a>(states: impl IntoIterator<Item = &'a str>) -> BTreeMap<&'static str, u64> {
    let mut told = BTreeMap::from([("hosts_down", 0), ("ports_down", 0), ("ports_flapping", 0), ("certificates", 0)]);
    let mut count = |what, n: usize| *told.entry(what).or_default() += n as u64;
    for saved in states.into_iter().filter_map(|state| serde_json::from_str::<Saved>(state).ok()) {
        let flapping = saved.ports.values().filter(|told| told.flaps()).count();
        count("hosts_down", usize::from(saved.host.is_some()));
        count("ports_down", saved.ports.len() - flapping);
        count("ports_flapping", flapping);
        count("certificates", saved.certificates.len());
    }
    told
}

impl Saved {
    /// Was nothing told?
    pub fn is_empty(&self) -> bool {
        self.host.is_none() && self.ports.is_empty() && self.certificates.is_empty()
    }

    /// How a port was when it was told: still down, until a probe says something else; of one that flaps nobody knows.
    pub(super) fn phase(&self, port: u16) -> Phase {
        match self.ports.get(&port).or(self.host.as_ref()) {
            Some(told) if !told.flaps() => Phase::Down(told.failure()),
            _ => Phase::Unknown,
        }
    }
}
