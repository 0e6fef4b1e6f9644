//! What can be wrong with recipients, groups and routes. All of it is found in one run.

use std::collections::{BTreeSet, HashMap};

use crate::model::{BareJid, GroupName, PolicyRow, Recipient, RecipientName, Severity};

use super::cycles::cycles;
use super::disclaimer::CompiledDisclaimer;
use super::matcher::Matcher;
use super::select::CompiledRoute;
use super::wall::CompiledWall;
use super::{Group, Member, Pattern, Settings};

/// Most names that an error lists as allowed.
const LISTED: usize = 20;

/// One fault of the config's recipients, groups or routes.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{place}: {}{key}: {message}", self.row.map(|r| format!("policy {}: ", r + 1)).unwrap_or_default())]
pub struct RouteError {
    /// Which table.
    pub place: Place,
    /// For a `[[group.policy]]`: which of the group's rows, from 0.
    pub row: Option<usize>,
    /// Which key of it.
    pub key: &'static str,
    /// What is wrong and what is allowed.
    pub message: String,
}

/// A table of the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `[[recipient]]`.
    Recipient {
        /// Which, from 0.
        index: usize,
        /// Its name.
        name: RecipientName,
    },
    /// `[[group]]`.
    Group {
        /// Which, from 0.
        index: usize,
        /// Its name.
        name: GroupName,
    },
    /// `[[route]]`: which, from 0. People count from 1.
    Route(usize),
    /// `[[wall]]`: which, from 0.
    Wall(usize),
    /// `[[disclaimer]]`: which, from 0.
    Disclaimer(usize),
    /// `[operators]`.
    Operators,
}

/// `recipient alice`, `group ops`, `route 3`, `wall 1`, `operators`.
impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Recipient { name, .. } => write!(f, "recipient {name}"),
            Self::Group { name, .. } => write!(f, "group {name}"),
            Self::Route(index) => write!(f, "route {}", index + 1),
            Self::Wall(index) => write!(f, "wall {}", index + 1),
            Self::Disclaimer(index) => write!(f, "disclaimer {}", index + 1),
            Self::Operators => f.write_str("operators"),
        }
    }
}

/// What the checks compiled on the way.
pub(super) struct Checked {
    pub(super) routes: Vec<CompiledRoute>,
    pub(super) walls: Vec<CompiledWall>,
    pub(super) disclaimers: Vec<CompiledDisclaimer>,
}

/// Finds every fault; compiles on the way.
pub(super) fn check(settings: &Settings) -> Result<Checked, Vec<RouteError>> {
    let mut faults = Faults { settings, found: Vec::new() };
    faults.recipients();
    faults.groups();
    faults.membership_cycles();
    faults.fallback_cycles();
    let routes = faults.routes();
    // Membership with circles has no end: walls are compiled where there are none.
    let circles = !faults.found.is_empty();
    let walls = faults.walls(circles);
    let disclaimers = faults.disclaimers();
    faults.operators();
    if faults.found.is_empty() { Ok(Checked { routes, walls, disclaimers }) } else { Err(faults.found) }
}

/// The policy row of a group for a severity; `None`: the built-in one.
pub(super) fn row(policy: &[PolicyRow], severity: Severity) -> Option<&PolicyRow> {
    policy.iter().find(|row| row.severity.is_empty() || row.severity.contains(&severity))
}

struct Faults<'a> {
    settings: &'a Settings,
    found: Vec<RouteError>,
}

impl<'a> Faults<'a> {
    fn recipients(&mut self) {
        let mut names: BTreeSet<&RecipientName> = BTreeSet::new();
        let mut jids: HashMap<&BareJid, &RecipientName> = HashMap::new();
        for (index, Recipient { name, jid, .. }) in self.settings.recipients.iter().enumerate() {
            let place = || Place::Recipient { index, name: name.clone() };
            if !names.insert(name) {
                self.found.push(fault(place(), "name", "another recipient has the same name".into()));
            } else if let Some(other) = jids.get(jid) {
                // One notification for each alert and JID: whose would it be?
                self.found.push(fault(place(), "jid", format!("{jid} is the JID of recipient {other} already")));
            } else {
                jids.insert(jid, name);
            }
        }
    }

    fn groups(&mut self) {
        let mut names: BTreeSet<&GroupName> = BTreeSet::new();
        for (index, group) in self.settings.groups.iter().enumerate() {
            let place = || Place::Group { index, name: group.name.clone() };
            if !names.insert(&group.name) {
                self.found.push(fault(place(), "name", "another group has the same name".into()));
            }
            for member in &group.members {
                let message = match member {
                    Member::Recipient(name) => self.no_recipient(name),
                    Member::Group(name) => self.no_group(name),
                };
                self.found.extend(message.map(|m| fault(place(), "members", m)));
            }
            for (row, policy) in group.policy.iter().enumerate() {
                if let Some(message) = policy.fallback.as_ref().and_then(|name| self.no_group(name)) {
                    self.found.push(RouteError { row: Some(row), ..fault(place(), "fallback", message) });
                }
            }
        }
    }

    fn membership_cycles(&mut self) {
        let edges = self.edges(|group| {
            let inner = group.members.iter().filter_map(|m| match m {
                Member::Group(name) => Some(name),
                Member::Recipient(_) => None,
            });
            inner.collect()
        });
        for path in cycles(&edges) {
            let message = format!("a group cannot contain itself: {}", arrows(&path));
            self.found.extend(self.place_of(path.first()).map(|place| fault(place, "members", message)));
        }
    }

    /// Which row counts depends on the severity, so each severity is a graph of its own.
    fn fallback_cycles(&mut self) {
        let mut told: BTreeSet<Vec<GroupName>> = BTreeSet::new();
        for severity in Severity::ALL {
            let edges = self.edges(|group| {
                row(&group.policy, severity).and_then(|row| row.fallback.as_ref()).into_iter().collect()
            });
            for path in cycles(&edges) {
                if !told.insert(path.iter().map(|name| (*name).clone()).collect()) {
                    continue;
                }
                let message = format!("fallbacks go round in a circle for {severity} alerts: {}", arrows(&path));
                self.found.extend(self.place_of(path.first()).map(|place| fault(place, "policy", message)));
            }
        }
    }

    fn routes(&mut self) -> Vec<CompiledRoute> {
        let (mut routes, mut names) = (Vec::new(), BTreeSet::new());
        for (index, route) in self.settings.routes.iter().enumerate() {
            let place = || Place::Route(index);
            let matchers = self.matchers(&place(), &route.matchers);
            if let Some(name) = route.name.as_ref().filter(|name| !names.insert(*name)) {
                self.found.push(fault(place(), "name", format!("another route has the name `{name}`")));
            }
            let unknown: Vec<_> = route.groups.iter().filter_map(|name| self.no_group(name)).collect();
            self.found.extend(unknown.into_iter().map(|m| fault(place(), "groups", m)));
            if route.groups.is_empty() && route.go_on {
                let message = "`groups = []` records the alert and ends here; leave `continue = true` out".into();
                self.found.push(fault(place(), "continue", message));
            }
            if route.groups.is_empty() && route.verify {
                let message = "`groups = []` tells nobody; leave `verify = true` out".into();
                self.found.push(fault(place(), "verify", message));
            }
            let (name, groups) = (route.name.clone(), route.groups.clone());
            routes.push(CompiledRoute { name, matchers, groups, go_on: route.go_on, verify: route.verify });
        }
        routes
    }

    fn matchers(&mut self, place: &Place, matchers: &[(String, Vec<String>)]) -> Vec<Matcher> {
        let mut compiled = Vec::new();
        for (field, patterns) in matchers {
            match Matcher::parse(field, patterns) {
                Ok(matcher) => compiled.push(matcher),
                Err(messages) => {
                    let named = messages.into_iter().map(|m| format!("{field}: {m}"));
                    self.found.extend(named.map(|m| fault(place.clone(), "match", m)));
                }
            }
        }
        compiled
    }

    fn walls(&mut self, circles: bool) -> Vec<CompiledWall> {
        let (mut walls, mut names) = (Vec::new(), BTreeSet::new());
        for (index, wall) in self.settings.walls.iter().enumerate() {
            let place = Place::Wall(index);
            let matchers = self.matchers(&place, &wall.matchers);
            if !names.insert(&wall.name) {
                self.found.push(fault(place.clone(), "name", format!("another wall has the name `{}`", wall.name)));
            }
            if wall.matchers.is_empty() {
                let message = "matches every alert: who is behind it would never be told of anything".into();
                self.found.push(fault(place.clone(), "match", message));
            }
            for member in &wall.to {
                let message = match member {
                    Member::Recipient(name) => self.no_recipient(name),
                    Member::Group(name) => self.no_group(name),
                };
                self.found.extend(message.map(|m| fault(place.clone(), "to", m)));
            }
            if !circles {
                walls.push(CompiledWall::new(self.settings, wall, matchers));
            }
        }
        walls
    }

    fn disclaimers(&mut self) -> Vec<CompiledDisclaimer> {
        let mut disclaimers = Vec::new();
        for (index, disclaimer) in self.settings.disclaimers.iter().enumerate() {
            let place = || Place::Disclaimer(index);
            let mut routes = BTreeSet::new();
            for name in &disclaimer.routes {
                match self.settings.routes.iter().position(|route| route.name.as_ref() == Some(name)) {
                    Some(route) => _ = routes.insert(route),
                    None => {
                        self.found.push(fault(place(), "routes", format!("there is no route with the name `{name}`")))
                    }
                }
            }
            let unknown: Vec<_> = disclaimer.groups.iter().filter_map(|name| self.no_group(name)).collect();
            self.found.extend(unknown.into_iter().map(|m| fault(place(), "groups", m)));
            let bad = disclaimer.domains.iter().filter_map(|text| Pattern::parse_caseless(text).err());
            self.found.extend(bad.map(|err| fault(place(), "domains", err.to_string())));
            disclaimers.push(CompiledDisclaimer::new(disclaimer, routes));
        }
        disclaimers
    }

    fn operators(&mut self) {
        let named = [("group", &self.settings.operators), ("default_group", &self.settings.default_group)];
        for (key, name) in named {
            if let Some(message) = name.as_ref().and_then(|name| self.no_group(name)) {
                self.found.push(fault(Place::Operators, key, message));
            }
        }
    }

    fn no_group(&self, name: &GroupName) -> Option<String> {
        let groups = &self.settings.groups;
        let known = groups.iter().any(|g| g.name == *name);
        (!known).then(|| format!("there is no group `{name}`; {}", there_are(groups.iter().map(|g| g.name.as_str()))))
    }

    fn no_recipient(&self, name: &RecipientName) -> Option<String> {
        let recipients = &self.settings.recipients;
        let known = recipients.iter().any(|r| r.name == *name);
        let hint = match self.settings.groups.iter().any(|g| g.name.as_str() == name.as_str()) {
            true => format!("the group of that name is written `@{name}`"),
            false => there_are(recipients.iter().map(|r| r.name.as_str())),
        };
        (!known).then(|| format!("there is no recipient `{name}`; {hint}"))
    }

    fn edges(&self, to: impl Fn(&'a Group) -> Vec<&'a GroupName>) -> Vec<(&'a GroupName, Vec<&'a GroupName>)> {
        self.settings.groups.iter().map(|group| (&group.name, to(group))).collect()
    }

    fn place_of(&self, name: Option<&&GroupName>) -> Option<Place> {
        let index = self.settings.groups.iter().position(|g| Some(&g.name) == name.copied())?;
        self.settings.groups.get(index).map(|g| Place::Group { index, name: g.name.clone() })
    }
}

fn fault(place: Place, key: &'static str, message: String) -> RouteError {
    RouteError { place, row: None, key, message }
}

fn there_are<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut seen = BTreeSet::new();
    let names: Vec<_> = names.filter(|name| seen.insert(*name)).collect();
    match names.len() {
        0 => "none is configured".into(),
        n if n > LISTED => format!("there are {}, … ({n})", names.get(..LISTED).unwrap_or_default().join(", ")),
        _ => format!("there are {}", names.join(", ")),
    }
}

/// `ops → dba → ops`.
fn arrows(path: &[&GroupName]) -> String {
    path.iter().chain(path.first()).map(|name| name.as_str()).collect::<Vec<_>>().join(" → ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Route;
    use crate::route::fixtures::{group, recipient, route, row as policy_row, settings};

    fn faults(settings: &Settings) -> String {
        let faults = check(settings).map(|_| ()).unwrap_err();
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_good_config_passes() {
        let mut s = settings(&["alice", "bob"], &[group("ops", &["alice", "@dba"]), group("dba", &["bob", "bob"])]);
        s.routes = vec![route(&[("severity", &["major"])], &["dba"]), route(&[], &[])];
        s.default_group = Some("ops".parse().unwrap());
        assert!(check(&s).is_ok());
    }

    #[test]
    fn every_fault_is_named_in_one_run() {
        let mut s = settings(
            &["alice", "bob", "alice"],
            &[group("ops", &["carol", "@none", "dba"]), group("dba", &[]), group("ops", &[])],
        );
        s.recipients.push(Recipient { name: "dave".parse().unwrap(), ..recipient("bob") });
        s.groups[1].policy =
            vec![policy_row(&[]), PolicyRow { fallback: Some("nope".parse().unwrap()), ..policy_row(&[]) }];
        s.routes = vec![
            route(&[("severity", &["urgent"]), ("hosts", &["x"])], &["ops", "web"]),
            Route { go_on: true, ..route(&[], &[]) },
        ];
        s.default_group = Some("x".parse().unwrap());
        s.operators = Some("y".parse().unwrap());
        insta::assert_snapshot!(faults(&s), @r"
        recipient alice: name: another recipient has the same name
        recipient dave: jid: bob@example.org is the JID of recipient bob already
        group ops: members: there is no recipient `carol`; there are alice, bob, dave
        group ops: members: there is no group `none`; there are ops, dba
        group ops: members: there is no recipient `dba`; the group of that name is written `@dba`
        group dba: policy 2: fallback: there is no group `nope`; there are ops, dba
        group ops: name: another group has the same name
        route 1: match: severity: `urgent` is no severity; allowed: critical, major, minor, warning, info
        route 1: match: hosts: `hosts` cannot be matched; allowed: source, mailbox, sender, status, severity, group, label.NAME
        route 1: groups: there is no group `web`; there are ops, dba
        route 2: continue: `groups = []` records the alert and ends here; leave `continue = true` out
        operators: group: there is no group `y`; there are ops, dba
        operators: default_group: there is no group `x`; there are ops, dba
        ");
    }

    #[test]
    fn circles_of_members_are_found_once() {
        let s =
            settings(&[], &[group("a", &["@b"]), group("b", &["@c"]), group("c", &["@a", "@c"]), group("d", &["@a"])]);
        insta::assert_snapshot!(faults(&s), @r"
        group a: members: a group cannot contain itself: a → b → c → a
        group c: members: a group cannot contain itself: c → c
        ");
    }

    #[test]
    fn circles_of_fallbacks_count_for_each_severity() {
        let to = |severity: &[Severity], name: &str| PolicyRow {
            fallback: Some(name.parse().unwrap()),
            ..policy_row(severity)
        };
        let mut s = settings(&[], &[group("a", &[]), group("b", &[])]);
        s.groups[0].policy = vec![to(&[Severity::Critical], "b")];
        s.groups[1].policy = vec![to(&[Severity::Warning], "a")];
        assert!(check(&s).is_ok(), "no alert ever goes round");
        s.groups[1].policy = vec![to(&[], "a")];
        insta::assert_snapshot!(faults(&s), @"group a: policy: fallbacks go round in a circle for critical alerts: a → b → a");
    }
}
