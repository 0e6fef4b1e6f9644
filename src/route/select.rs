//! Which groups an alert goes to.

use crate::model::{Alert, GroupName, Nature, Seen, Source, Status};

use super::matcher::Matcher;
use super::router::Router;

/// Longest name from outside that a reason repeats, in characters; and how many of them.
const SHOWN: usize = 64;
const LISTED: usize = 5;

/// One `[[route]]`, ready to match.
#[derive(Debug, Clone)]
pub(super) struct CompiledRoute {
    pub(super) name: Option<String>,
    pub(super) matchers: Vec<Matcher>,
    pub(super) groups: Vec<GroupName>,
    pub(super) go_on: bool,
    pub(super) verify: bool,
}

impl CompiledRoute {
    /// `route 2`, or `route 2 (billing)`: people count from 1.
    fn title(&self, index: usize) -> String {
        let name = self.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        format!("route {}{name}", index + 1)
    }

    fn matches(&self, alert: &Alert, source: &Source) -> bool {
        self.matchers.iter().all(|m| m.matches(alert, source))
    }

    /// Exercises, tests and drafts are only for routes that ask for them by name.
    fn is_for(&self, nature: Nature) -> bool {
        nature == Nature::Actual || self.matchers.iter().any(|m| m.names(nature))
    }
}

/// What the routes say of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// It goes to these groups, each once.
    Groups(Vec<GroupName>),
    /// It is kept without paging.
    Silent,
    /// Nobody wants it.
    Nobody,
}

/// The choice, why, and what the operators should know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) choice: Choice,
    pub(super) why: String,
    pub(super) warn: Option<String>,
}

impl Router {
    /// Routes in order; else, for a real alert, the default group. A sender who may choose the group and names one that
    /// exists chooses instead, but what a route keeps silent stays silent.
    pub(super) fn select(&self, seen: &Seen<'_>) -> Selection {
        let (alert, nature) = (seen.alert, seen.alert.nature);
        let by_routes = self.by_routes(alert, seen.source);
        let asked = match nature == Nature::Actual && seen.may_choose_group {
            true => self.asked(alert),
            false => Asked::default(),
        };
        let warn =
            (!asked.unknown.is_empty()).then(|| format!("the sender asks for {}", unknown_groups(&asked.unknown)));
        let (choice, mut why) = match by_routes {
            (Choice::Silent, why) => (Choice::Silent, why),
            _ if !asked.known.is_empty() => {
                let why = format!("asked for by the sender → {}", names(&asked.known));
                (Choice::Groups(asked.known), why)
            }
            (Choice::Groups(groups), why) => (Choice::Groups(groups), why),
            _ if nature != Nature::Actual => {
                (Choice::Silent, format!("status {}: no route asks for it by name", nature.as_str()))
            }
            (Choice::Nobody, why) => match &self.default_group {
                Some(group) => (Choice::Groups(vec![group.clone()]), format!("default group → {group}")),
                None => (Choice::Nobody, why),
            },
        };
        if let Some(warn) = &warn {
            why = format!("{why}; {warn}");
        }
        Selection { choice, why, warn }
    }

    /// `groups = []` ends the walk. It silences the alert unless an earlier route with `continue` wants it.
    fn by_routes(&self, alert: &Alert, source: &Source) -> (Choice, String) {
        let mut chosen: Vec<GroupName> = Vec::new();
        let mut why = Vec::new();
        for index in self.taken(alert, source) {
            let Some(route) = self.routes.get(index) else { continue };
            let number = route.title(index);
            if route.groups.is_empty() {
                if chosen.is_empty() {
                    return (Choice::Silent, format!("{number}: recorded without paging"));
                }
                break;
            }
            why.push(format!("{number} → {}", names(&route.groups)));
            let new: Vec<_> = route.groups.iter().filter(|g| !chosen.contains(g)).cloned().collect();
            chosen.extend(new);
        }
        match chosen.is_empty() {
            true => (Choice::Nobody, "no route matches, and there is no default group".into()),
            false => (Choice::Groups(chosen), why.join("; ")),
        }
    }

    /// Should somebody look whether the port answers that this alert names, before anybody is told? If so, which route says so.
    ///
    /// What was found on this machine was looked at just now, and of what says nothing about a condition nobody is told.
    pub fn verifies(&self, alert: &Alert, source: &Source) -> Option<String> {
        let any = self.routes.iter().any(|route| route.verify);
        if !any || !matches!(source, Source::Mailbox(_)) || alert.status == Status::Recorded {
            return None;
        }
        let taken = self.taken(alert, source).into_iter();
        let mut routes = taken.filter_map(|index| Some((index, self.routes.get(index)?)));
        routes.find(|(_, route)| route.verify).map(|(index, route)| route.title(index))
    }

    /// The routes that an alert takes, in order: each that matches, to the first without `continue`.
    pub(super) fn taken(&self, alert: &Alert, source: &Source) -> Vec<usize> {
        let mut taken = Vec::new();
        for (index, route) in self.routes.iter().enumerate() {
            if route.is_for(alert.nature) && route.matches(alert, source) {
                taken.push(index);
                if !route.go_on {
                    break;
                }
            }
        }
        taken
    }

    fn asked(&self, alert: &Alert) -> Asked {
        let mut asked = Asked::default();
        for text in &alert.groups {
            match text.parse::<GroupName>() {
                Ok(name) if self.groups.contains_key(&name) => {
                    if !asked.known.contains(&name) {
                        asked.known.push(name);
                    }
                }
                _ => asked.unknown.push(text.clone()),
            }
        }
        asked
    }
}

/// Groups that an alert asks for.
#[derive(Debug, Default)]
struct Asked {
    known: Vec<GroupName>,
    unknown: Vec<String>,
}

/// Repeats names from outside: escaped and bounded.
fn unknown_groups(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(LISTED).map(|name| format!("`{}`", quoted(name, SHOWN))).collect();
    let more = if names.len() > LISTED { format!(" and {} more", names.len() - LISTED) } else { String::new() };
    let verb = if names.len() == 1 { "which does not exist" } else { "which do not exist" };
    format!("{}{more}, {verb}", shown.join(", "))
}

/// Text from outside, fit for a reason: escaped, and at most `max` characters of it.
pub(super) fn quoted(text: &str, max: usize) -> String {
    let mut quoted = String::new();
    for c in text.chars().take(max) {
        match c {
            '\'' | '"' => quoted.push(c),
            c => quoted.extend(c.escape_debug()),
        }
    }
    quoted
}

/// `ops, dba`.
pub(super) fn names<'a>(names: impl IntoIterator<Item = &'a GroupName>) -> String {
    names.into_iter().map(GroupName::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
