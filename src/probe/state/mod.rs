//! What is known of one host, and what is to be told because of it. Pure: time is an argument.
//!
//! A port is *failing* from its first failure on, and *down* after as many in a row as its rules ask for. What is told follows from
//! what is, not from what changed: [`HostState::news`] compares what should be known with what was told, and
//! [`HostState::told`] takes note of it once it is committed. So a failed commit, a crash or a blip between two commits can
//! neither lose an end nor tell a beginning twice.
//!
//! Nothing new is told of a port while there is a [`Hold`] on it; ends are told all the same. Of one that flaps it is told that it does,
//! and then nothing until it does not any more.

mod certificates;
mod flap;
mod hold;
mod news;
mod saved;

pub use flap::Flaps;
pub use hold::{Hold, Standing};
pub use news::{News, Newsworthy};
pub use saved::{Saved, Told, told};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::outcome::{Certificate, Kind, Outcome};
use super::settings::Probe;
use flap::History;

/// What a port was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not probed yet.
    Unknown,
    /// The last probe found it open.
    Up,
    /// It failed, less often than makes an outage.
    Failing(Failure),
    /// It failed as often as makes an outage.
    Down(Failure),
}

/// Failures in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The first of them.
    pub since: Timestamp,
    /// How many there were.
    pub attempts: u32,
    /// How the last one ended.
    pub kind: Kind,
    /// Why.
    pub reason: String,
}

#[derive(Debug, Clone)]
pub(super) struct Port {
    pub(super) probe: Arc<Probe>,
    pub(super) phase: Phase,
    /// The last probe said nothing, by our own fault.
    pub(super) unclear: bool,
    /// Another port of the host, or what depends on it, failed since it was probed last.
    pub(super) doubted: bool,
    /// Its next outcome is of a probe that began after that.
    answers: bool,
    /// Known since then, by this process.
    begun: Timestamp,
    /// Why nothing new is told of it.
    hold: Option<Hold>,
    /// The hold was logged.
    noted: bool,
    history: History,
    /// It changes too often for its changes to be told.
    flapping: bool,
    /// The last good certificate that was seen.
    pub(super) certificate: Option<Certificate>,
}

impl Port {
    /// One that this process did not know yet.
    fn new(probe: Arc<Probe>, saved: &Saved, begun: Timestamp) -> Self {
        let (phase, kept) = (saved.phase(probe.target.port), saved.flapping.get(&probe.target.port));
        Self {
            phase,
            unclear: false,
            doubted: false,
            answers: true,
            begun,
            hold: None,
            noted: false,
            history: kept.map_or(History::NEW, |kept| History::of(*kept)),
            flapping: kept.is_some() && probe.rules.flapping.on,
            certificate: None,
            probe,
        }
    }

    /// The same with these rules.
    fn by(self, probe: Arc<Probe>) -> Self {
        let certificate = certificates::still(self.certificate, &probe);
        Self { flapping: self.flapping && probe.rules.flapping.on, certificate, probe, ..self }
    }

    /// Something near it failed. Was it open, or never looked at, so that one look more tells something?
    fn doubt(&mut self) -> bool {
        let tells = matches!(self.phase, Phase::Up | Phase::Unknown);
        if tells {
            (self.doubted, self.answers) = (true, false);
        }
        tells
    }
}

/// What an outcome made of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// As before.
    Same,
    /// The first failure: the other ports of the host are looked at.
    Fails,
    /// One more failure, not enough of them yet.
    FailsAgain,
    /// It is down from now on.
    WentDown,
    /// It is open again.
    CameBack,
    /// We could not look.
    Unclear,
}

/// One host with its ports.
#[derive(Debug, Clone, Default)]
pub struct HostState {
    ports: BTreeMap<u16, Port>,
    saved: Saved,
}

impl HostState {
    /// A host of which this was told before.
    pub fn new(saved: Saved) -> Self {
        Self { ports: BTreeMap::new(), saved }
    }

    /// From now on these are its ports. What is known of those that stay, stays.
    pub fn configure(&mut self, probes: impl IntoIterator<Item = Arc<Probe>>, now: Timestamp) {
        let mut old = std::mem::take(&mut self.ports);
        for probe in probes {
            let port = probe.target.port;
            let known = match old.remove(&port) {
                Some(known) => known.by(probe),
                None => Port::new(probe, &self.saved, now),
            };
            self.ports.insert(port, known);
        }
    }

    /// Is anything wrong with it, or was something told that is not over?
    pub fn is_troubled(&self) -> bool {
        let odd = |port: &Port| port.phase != Phase::Up || port.flapping;
        !self.saved.is_empty() || self.is_warned() || self.ports.values().any(odd)
    }

    /// Is there nothing left to be known of it?
    pub fn is_over(&self) -> bool {
        self.ports.is_empty() && self.saved.is_empty()
    }

    /// What was told, to be kept.
    #[cfg(test)]
    pub fn saved(&self) -> &Saved {
        &self.saved
    }

    /// A probe of that port begins: its outcome answers all doubts that there are by now.
    pub fn begins(&mut self, port: u16) {
        if let Some(port) = self.ports.get_mut(&port) {
            port.answers = true;
        }
    }

    /// Takes an outcome.
    pub fn observe(&mut self, port: u16, outcome: &Outcome, now: Timestamp) -> Step {
        let step = self.take(port, outcome, now);
        let first = match step {
            Step::Fails => true,
            Step::WentDown => self.failure(port).is_some_and(|failure| failure.attempts == 1),
            _ => false,
        };
        let others = self.ports.iter_mut().filter(|(number, _)| first && **number != port);
        others.for_each(|(_, other)| _ = other.doubt());
        step
    }

    fn take(&mut self, port: u16, outcome: &Outcome, now: Timestamp) -> Step {
        let Some(port) = self.ports.get_mut(&port) else { return Step::Same };
        // Found open before somebody doubted it, it may have died since.
        port.doubted &= !port.answers && outcome.kind.up() == Some(true);
        // One that was refused is told of as an outage; which one it was warned of does not change by that.
        port.certificate = certificates::still(outcome.certificate, &port.probe).or(port.certificate);
        port.unclear = outcome.kind.up().is_none();
        let Some(up) = outcome.kind.up() else { return Step::Unclear };
        port.remember(up);
        if up {
            port.noted = false;
            let was = std::mem::replace(&mut port.phase, Phase::Up);
            return if matches!(was, Phase::Up | Phase::Unknown) { Step::Same } else { Step::CameBack };
        }
        let (before, was_down) = match &port.phase {
            Phase::Failing(failure) => (Some(failure), false),
            Phase::Down(failure) => (Some(failure), true),
            Phase::Unknown | Phase::Up => (None, false),
        };
        let failure = Failure {
            since: before.map_or(now, |failure| failure.since),
            attempts: before.map_or(1, |failure| failure.attempts.saturating_add(1)),
            kind: outcome.kind,
            reason: outcome.reason.clone(),
        };
        let first = before.is_none();
        if was_down || failure.attempts >= port.probe.rules.attempts {
            port.phase = Phase::Down(failure);
            return if was_down { Step::Same } else { Step::WentDown };
        }
        port.phase = Phase::Failing(failure);
        if first { Step::Fails } else { Step::FailsAgain }
    }

    /// Ports to be looked at at once: another one of the host failed.
    pub fn doubted(&self) -> impl Iterator<Item = u16> {
        self.ports.iter().filter(|(_, port)| port.doubted).map(|(number, _)| *number)
    }

    /// How long until the port is to be probed again.
    pub fn pause(&self, port: u16) -> Option<Duration> {
        let port = self.ports.get(&port)?;
        let rules = &port.probe.rules;
        let soon = port.unclear || matches!(port.phase, Phase::Failing(_));
        Some(if soon { rules.retry_interval.min(rules.interval) } else { rules.interval })
    }

    /// The failure that the port is in, if it is in one.
    pub fn failure(&self, port: u16) -> Option<&Failure> {
        match &self.ports.get(&port)?.phase {
            Phase::Failing(failure) | Phase::Down(failure) => Some(failure),
            Phase::Unknown | Phase::Up => None,
        }
    }

    /// Are all its ports down, two at least? Then it is the host that is down, unless something may be told of some of them only.
    fn is_down(&self) -> bool {
        let down = |port: &Port| matches!(port.phase, Phase::Down(_)) && port.hold.is_none() && !port.flapping;
        self.ports.len() > 1 && self.ports.values().all(down)
    }

    /// May it turn out within a few attempts that the host is down? As long as it may, no port of it is told by itself.
    fn may_be_down(&self) -> bool {
        let undecided = |port: &Port| match port.phase {
            Phase::Failing(_) | Phase::Unknown => !port.unclear,
            Phase::Up => port.doubted,
            Phase::Down(_) => false,
        };
        let down = |port: &Port| matches!(port.phase, Phase::Down(_));
        if self.ports.values().any(Port::is_held_firmly) {
            return false;
        }
        self.ports.values().any(undecided) && self.ports.values().all(|port| undecided(port) || down(port))
    }
}

#[cfg(test)]
mod tests;
