//! What keeps outages from being told, followed as it comes and goes: maintenance, and what a target depends on.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{IDLE, Watch};
use crate::probe::maintenance::Windows;
use crate::probe::settings::{Probe, Settings};
use crate::probe::state::{Hold, HostState, Standing, Step};
use crate::probe::target::{Host, Target};

/// What may hold back whom.
#[derive(Default)]
pub(super) struct Holds {
    windows: Windows,
    /// The hosts that depend on a host, or on ports of it.
    children: HashMap<Host, BTreeSet<Host>>,
    /// All of them are looked at again then at the latest: clocks are set, and what nobody can tell holds back nobody for ever.
    again: Option<Instant>,
}

impl Holds {
    /// Those of these settings.
    pub(super) fn of(settings: &Settings, probes: &[Arc<Probe>]) -> Self {
        let mut children: HashMap<Host, BTreeSet<Host>> = HashMap::new();
        for probe in probes {
            for parent in &probe.rules.depends_on {
                children.entry(parent.host.clone()).or_default().insert(probe.target.host.clone());
            }
        }
        let again = (!children.is_empty() || !settings.maintenance.is_empty()).then(Instant::now);
        Self { windows: Windows::new(&settings.maintenance), children, again }
    }

    /// Looks at the clock: did a window begin or end?
    pub(super) fn look(&mut self, now: Timestamp) -> bool {
        self.windows.look(now)
    }

    fn hold(&self, hosts: &HashMap<Host, HostState>, probe: &Probe, now: Timestamp) -> Option<Hold> {
        if let Some(window) = self.windows.over(probe) {
            return Some(Hold::Maintenance(window.name.clone()));
        }
        let mut doubt = None;
        for parent in &probe.rules.depends_on {
            match hosts.get(&parent.host).map_or(Standing::Fine, |state| state.standing(parent.port, now)) {
                Standing::Failing => return Some(Hold::Parent(parent.clone())),
                Standing::Undecided => doubt = Some(Hold::Doubt(parent.clone())),
                Standing::Fine => {}
            }
        }
        doubt
    }
}

impl Watch {
    /// When a window begins or ends, all of its targets are looked at; every now and then all are.
    pub(super) fn look_at_clock(&mut self) {
        let now = Instant::now();
        let Some(again) = self.holds.again else { return };
        if !self.holds.look((self.clock)()) && now < again {
            return;
        }
        self.holds.again = Some(now + IDLE);
        self.hold_all();
    }

    /// When that is to be done next.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let again = self.holds.again?;
        let Some(change) = self.holds.windows.change() else { return Some(again) };
        // To a whole millisecond: that is what timers know.
        let wait =
            Duration::try_from(change.duration_since((self.clock)())).unwrap_or_default() + Duration::from_millis(1);
        Some(again.min(Instant::now() + wait.min(IDLE)))
    }

    pub(super) fn hold_all(&mut self) {
        let hosts: Vec<Host> = self.hosts.keys().cloned().collect();
        hosts.iter().for_each(|host| self.hold(host));
    }

    /// An outcome came of a target, which may be a parent, a child, or both. `doubted`: it was in doubt until then.
    pub(super) fn follow(&mut self, probe: &Probe, step: Step, doubted: bool) {
        if self.holds.again.is_none() {
            return;
        }
        let host = &probe.target.host;
        if matches!(step, Step::Fails | Step::WentDown) {
            let now = Instant::now();
            for parent in &probe.rules.depends_on {
                let ports = self.hosts.get_mut(&parent.host).map(|state| state.doubt(parent.port)).unwrap_or_default();
                for port in ports {
                    self.schedule.hurry(&Target { host: parent.host.clone(), port }, now);
                }
            }
        }
        self.hold(host);
        if step != Step::Same || doubted {
            let children = self.holds.children.get(host).cloned().unwrap_or_default();
            children.iter().for_each(|child| self.hold(child));
        }
    }

    /// What holds back the ports of a host now?
    fn hold(&mut self, host: &Host) {
        let now = (self.clock)();
        let Some(state) = self.hosts.get(host).filter(|state| state.is_troubled() || state.is_held()) else { return };
        let holds = state.probes().map(|probe| self.holds.hold(&self.hosts, probe, now)).collect();
        let Some(state) = self.hosts.get_mut(host) else { return };
        let again = state.hold(holds);
        for (probe, hold) in state.newly_held() {
            tracing::info!(probed = %probe.target, why = %hold.to_string().escape_debug(), "its outage is held back");
        }
        for port in again {
            self.schedule.hurry(&Target { host: host.clone(), port }, Instant::now());
        }
        self.dirty.insert(host.clone());
    }
}
