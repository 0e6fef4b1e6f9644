//! What keeps new outages from being told, and what a port is to those that depend on it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Failure, HostState, Phase, Port};
use crate::probe::parent::Parent;
use crate::probe::settings::Probe;

/// After a start the first probe of a target comes within this, and its time-out.
const START: Duration = Duration::from_secs(15);

/// Why nothing new is told of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// It is in a maintenance window, of this name.
    Maintenance(Option<String>),
    /// What it depends on fails, or is down.
    Parent(Parent),
    /// What it depends on is looked at at this moment: that ends without a trace, if it is found open.
    Doubt(Parent),
}

impl Hold {
    fn is_firm(&self) -> bool {
        !matches!(self, Self::Doubt(_))
    }
}

/// For people.
impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Maintenance(None) => f.write_str("maintenance"),
            Self::Maintenance(Some(name)) => write!(f, "maintenance: {name}"),
            Self::Parent(parent) => write!(f, "{parent} fails, which it depends on"),
            Self::Doubt(parent) => write!(f, "{parent} is being looked at, which it depends on"),
        }
    }
}

/// How something is, for what depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It answers, or nobody can tell: it holds back nobody.
    Fine,
    /// It is being looked at.
    Undecided,
    /// It fails, or is down.
    Failing,
}

impl Port {
    pub(super) fn is_held_firmly(&self) -> bool {
        self.hold.as_ref().is_some_and(Hold::is_firm)
    }

    /// It has its attempts again before it counts as down.
    pub(super) fn begin_again(&mut self) {
        if let Phase::Failing(failure) | Phase::Down(failure) = &self.phase {
            self.phase = Phase::Failing(Failure { attempts: 0, ..failure.clone() });
        }
    }

    fn standing(&self, now: Timestamp) -> Standing {
        let waited = Duration::try_from(now.duration_since(self.begun)).unwrap_or_default();
        match self.phase {
            Phase::Down(_) => Standing::Failing,
            _ if self.unclear => Standing::Fine,
            Phase::Failing(_) => Standing::Failing,
            Phase::Up if self.doubted => Standing::Undecided,
            Phase::Up => Standing::Fine,
            // For a while.
            Phase::Unknown if waited < START + self.probe.rules.timeout => Standing::Undecided,
            Phase::Unknown => Standing::Fine,
        }
    }
}

impl HostState {
    /// Its ports as they are configured.
    pub fn probes(&self) -> impl Iterator<Item = &Arc<Probe>> {
        self.ports.values().map(|port| &port.probe)
    }

    /// From now on these holds count, one for each of its [`probes`](Self::probes). Gives the ports that have their attempts
    /// again, since what held them is over.
    pub fn hold(&mut self, holds: Vec<Option<Hold>>) -> Vec<u16> {
        let mut again = Vec::new();
        for ((number, port), hold) in self.ports.iter_mut().zip(holds) {
            let was_firm = port.is_held_firmly();
            port.hold = hold;
            if !was_firm || port.is_held_firmly() {
                continue;
            }
            port.noted = false;
            let told = self.saved.host.is_some() || self.saved.ports.contains_key(number);
            if !told && matches!(port.phase, Phase::Failing(_) | Phase::Down(_)) {
                port.begin_again();
                again.push(*number);
            }
        }
        again
    }

    /// Is there a hold on any of its ports?
    pub fn is_held(&self) -> bool {
        self.ports.values().any(|port| port.hold.is_some())
    }

    /// The outages that are held since this was asked last, with the reason.
    pub fn newly_held(&mut self) -> Vec<(Arc<Probe>, Hold)> {
        let Self { ports, saved } = self;
        let untold = |number: &u16| saved.host.is_none() && !saved.ports.contains_key(number);
        let mut held = Vec::new();
        for (number, port) in ports.iter_mut() {
            if let (Some(hold), Phase::Down(_), false) = (&port.hold, &port.phase, port.noted)
                && hold.is_firm()
                && untold(number)
            {
                held.push((port.probe.clone(), hold.clone()));
                port.noted = true;
            }
        }
        held
    }

    /// How it is, or one port of it, for what depends on it.
    pub fn standing(&self, port: Option<u16>, now: Timestamp) -> Standing {
        if let Some(port) = port {
            return self.ports.get(&port).map_or(Standing::Fine, |port| port.standing(now));
        }
        let mut worst = Standing::Fine;
        for port in self.ports.values() {
            match port.standing(now) {
                // One port that answers is a host that answers.
                Standing::Fine if port.phase == Phase::Up => return Standing::Fine,
                Standing::Fine => {}
                Standing::Undecided => worst = Standing::Undecided,
                Standing::Failing if worst == Standing::Fine => worst = Standing::Failing,
                Standing::Failing => {}
            }
        }
        worst
    }

    /// What depends on it fails: is it still there? Gives the ports to be looked at at once.
    pub fn doubt(&mut self, port: Option<u16>) -> Vec<u16> {
        let mut doubted = Vec::new();
        for (number, known) in self.ports.iter_mut().filter(|(number, _)| port.is_none_or(|port| port == **number)) {
            if known.doubt() {
                doubted.push(*number);
            }
        }
        doubted
    }
}
