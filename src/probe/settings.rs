//! What is probed, how often, and what its alerts are like.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::allow::Allow;
use super::lists::{Class, Listed};
use super::maintenance::Maintenance;
use super::parent::Parent;
use super::talk::Talk;
use super::target::Target;
use crate::model::{GroupName, Severity};

/// Most targets: each has its state, and may raise an alert.
pub const MOST_TARGETS: usize = 65_536;

/// Labels that an alert of the engine has by itself: no config may give them another meaning.
pub const OWN_LABELS: [&str; 7] = ["host", "port", "class", "failure", "reason", "since", "attempts"];

/// `[probe]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What is probed: one for each target, whatever lists name it. Empty: there is nothing to do.
    pub probes: Vec<Probe>,
    /// Most connections on the way at once.
    pub concurrency: usize,
    /// An outage that lasts is reported again after this.
    pub remind: Duration,
    /// Where a mail's alert may make mailbell connect to, to see whether it is right.
    pub allow: Allow,
    /// What counts where a list says nothing.
    pub defaults: Rules,
    /// When new outages are not told, and of whom.
    pub maintenance: Vec<Maintenance>,
    /// Where the probes come from.
    pub lists: Lists,
}

/// Where probes come from, as config has it: for who shows the config. What counts is in [`Settings::probes`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lists {
    /// The old health checker's file, whose probes come first.
    pub healthcheck: Option<PathBuf>,
    /// Classes, each with its rules.
    pub classes: Vec<(Class, Rules)>,
    /// Free targets without rules of their own.
    pub plain: Vec<Listed>,
    /// Free targets, each with its rules.
    pub targets: Vec<(Listed, Rules)>,
}

/// How a target is probed, and what its alerts are like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// From one probe to the next while all is well.
    pub interval: Duration,
    /// So many failures in a row make an outage; at least 1.
    pub attempts: u32,
    /// From a failure to the next attempt.
    pub retry_interval: Duration,
    /// Longest wait for one attempt, looking up the name included.
    pub timeout: Duration,
    /// Severity of its outage.
    pub severity: Severity,
    /// Groups that its alerts ask for; empty: the routes decide.
    pub groups: Vec<GroupName>,
    /// Labels of its alerts, by name.
    pub labels: Vec<(String, String)>,
    /// When its changes are too many to be told.
    pub flapping: Flapping,
    /// While any of these is down, nothing new is told of it. They are targets themselves, and never depend on it.
    pub depends_on: Vec<Parent>,
    /// What is looked at beyond the connection; `None`: nothing.
    pub talk: Option<Arc<Talk>>,
}

/// When the changes of a target are too many to be told one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flapping {
    /// Is that looked at?
    pub on: bool,
    /// It flaps when so many per cent of its last probes were changes,
    pub start: u8,
    /// and until it are less than these, which are less than `start`.
    pub stop: u8,
}

/// A target with its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is probed.
    pub target: Target,
    /// Classes that it belongs to, as config names them; those of the old health checker's file in lower case.
    pub classes: Vec<String>,
    /// How.
    pub rules: Rules,
}

/// One probe for each target, in the order of the first ones: what several classes say of a target is taken together, so that
/// nobody is told less than any of them asks for. The shorter intervals count, the longer time-out, the worse severity, all groups, labels and parents;
/// of what is looked at beyond the connection the first, since config refuses two that differ.
pub fn merge(probes: Vec<Probe>) -> Vec<Probe> {
    let mut merged: Vec<Probe> = Vec::with_capacity(probes.len());
    let mut places = HashMap::new();
    for probe in probes {
        let place = *places.entry(probe.target.clone()).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(known) => known.take(probe),
            None => merged.push(probe),
        }
    }
    merged
}

impl Probe {
    fn take(&mut self, other: Self) {
        let (rules, more) = (&mut self.rules, other.rules);
        rules.interval = rules.interval.min(more.interval);
        rules.attempts = rules.attempts.min(more.attempts);
        rules.retry_interval = rules.retry_interval.min(more.retry_interval);
        rules.timeout = rules.timeout.max(more.timeout);
        rules.severity = rules.severity.max(more.severity);
        let (own, other_flapping) = (rules.flapping, more.flapping);
        rules.flapping = Flapping {
            on: own.on && other_flapping.on,
            start: own.start.max(other_flapping.start),
            stop: own.stop.max(other_flapping.stop),
        };
        add_new(&mut rules.groups, more.groups);
        add_new(&mut rules.labels, more.labels);
        add_new(&mut rules.depends_on, more.depends_on);
        rules.talk = rules.talk.take().or(more.talk);
        add_new(&mut self.classes, other.classes);
    }
}

fn add_new<T: PartialEq>(all: &mut Vec<T>, more: Vec<T>) {
    for one in more {
        if !all.contains(&one) {
            all.push(one);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn rules() -> Rules {
        let second = Duration::from_secs(1);
        Rules {
            interval: 60 * second,
            attempts: 3,
            retry_interval: 10 * second,
            timeout: 3 * second,
            severity: Severity::Major,
            groups: Vec::new(),
            labels: Vec::new(),
            depends_on: Vec::new(),
            flapping: Flapping { on: true, start: 30, stop: 25 },
            talk: None,
        }
    }

    fn probe(target: &str, class: &str, severity: Severity, interval: u64) -> Probe {
        let second = Duration::from_secs(1);
        Probe {
            target: target.parse().unwrap(),
            classes: vec![class.into()],
            rules: Rules {
                interval: second * u32::try_from(interval).unwrap(),
                attempts: 3,
                retry_interval: second,
                timeout: second,
                severity,
                groups: vec![class.parse().unwrap()],
                labels: vec![("class".into(), class.into())],
                depends_on: vec![class.parse().unwrap()],
                flapping: Flapping { on: class == "domino", start: if class == "domino" { 30 } else { 50 }, stop: 25 },
                talk: None,
            },
        }
    }

    #[test]
    fn a_target_of_two_classes_is_probed_once() {
        let merged = merge(vec![
            probe("a:80", "domino", Severity::Minor, 60),
            probe("b:80", "domino", Severity::Minor, 60),
            probe("A:80", "sametime", Severity::Critical, 90),
        ]);
        assert_eq!(merged.iter().map(|p| p.target.to_string()).collect::<Vec<_>>(), ["a:80", "b:80"]);
        let both = &merged[0];
        assert_eq!(both.classes, ["domino", "sametime"]);
        assert_eq!((both.rules.severity, both.rules.interval), (Severity::Critical, Duration::from_secs(60)));
        assert_eq!((both.rules.groups.len(), both.rules.labels.len(), both.rules.depends_on.len()), (2, 2, 2));
        assert_eq!(both.rules.flapping, Flapping { on: false, start: 50, stop: 25 });
    }
}
