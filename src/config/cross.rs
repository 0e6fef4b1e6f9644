//! What only the whole can tell. Errors: whatever the modules themselves would refuse at the start. Warnings: what is allowed,
//! and yet hardly meant.

use std::collections::BTreeSet;

use super::reader::{Reader, Section};
use super::{Config, lmtp};
use crate::intake::room_for_turn;
use crate::mailbox;
use crate::model::{GroupName, RecipientName, Span};
use crate::route::{Group, Member, Place, RouteError, Router};

/// Where each of a repeated table stands, in the order of the file, and what it is called.
pub(super) type Stands = (Option<usize>, String);

/// Where the repeated tables stand.
pub(super) struct Places {
    pub(super) recipients: Vec<Stands>,
    pub(super) groups: Vec<Stands>,
    pub(super) mailboxes: Vec<Stands>,
    pub(super) routes: Vec<Stands>,
    pub(super) doors: Vec<Stands>,
    pub(super) walls: Vec<Stands>,
    pub(super) disclaimers: Vec<Stands>,
}

/// The places of these tables.
pub(super) fn places(sections: &[Section<'_, '_>]) -> Vec<Stands> {
    sections.iter().map(|section| (section.line, section.label.clone())).collect()
}

impl Places {
    fn of_route_fault(&self, fault: &RouteError) -> (Option<usize>, String) {
        let found = match &fault.place {
            Place::Recipient { index, .. } => self.recipients.get(*index),
            Place::Group { index, .. } => self.groups.get(*index),
            Place::Route(index) => self.routes.get(*index),
            Place::Wall(index) => self.walls.get(*index),
            Place::Disclaimer(index) => self.disclaimers.get(*index),
            Place::Operators => None,
        };
        found.map_or_else(|| (None, fault.place.to_string()), |(line, label)| (*line, label.clone()))
    }
}

/// The modules' own checks. The rules are told with their places before; this is for what they may have missed: a config
/// that passes here must not fail at the start.
pub(super) fn refuse(reader: &Reader<'_>, config: &Config, places: &Places) {
    for fault in Router::new(&config.route).err().unwrap_or_default() {
        let (line, label) = places.of_route_fault(&fault);
        reader.error(line, &format!("{label}.{}", fault.key), fault.message, "");
    }
    for (entry, (line, label)) in config.mailboxes.iter().zip(&places.mailboxes) {
        for fault in mailbox::check(&entry.mailbox) {
            reader.error(*line, label, fault, "");
        }
        if entry.intake.max_age > config.store.history_for {
            // What came of an alert tells that an older report of its condition comes late.
            let wrong = format!("{} is longer than store.history_for", Span(entry.intake.max_age));
            reader.error(*line, &format!("{label}.max_age"), wrong, "lower it, or raise store.history_for");
        }
    }
}

pub(super) fn warn(reader: &Reader<'_>, config: &Config, places: &Places) {
    nothing_in(reader, config);
    empty_groups(reader, config, places);
    lonely_recipients(reader, config, places);
    unreachable_routes(reader, config, places);
    small_reserve(reader, config, places);
    only_rooms(reader, config);
    nothing_to_verify(reader, config, places);
}

/// `verify = true` alone allows no connection.
fn nothing_to_verify(reader: &Reader<'_>, config: &Config, places: &Places) {
    let verified = config.route.routes.iter().zip(&places.routes).filter(|(route, _)| route.verify);
    for (_, (line, label)) in verified.filter(|_| config.probe.allow.0.is_empty()) {
        let wrong = "no port is ever looked at: [probe] allow is empty";
        let mend = "list the networks and ports that a mail may make mailbell connect to, or leave verify out";
        reader.warn(*line, &format!("{label}.verify"), wrong, mend);
    }
}

/// Who hears that a room cannot be entered? Not who waits in it.
fn only_rooms(reader: &Reader<'_>, config: &Config) {
    let Some(group) = &config.route.operators else { return };
    let operators = people(&config.route.groups, group, &mut BTreeSet::new());
    let mut found = config.route.recipients.iter().filter(|r| operators.contains(&r.name)).peekable();
    if found.peek().is_some() && found.all(|r| r.room) {
        let wrong = "only rooms are in this group: nobody hears that mailbell cannot enter one";
        reader.warn(None, "operators.group", wrong, "add a person");
    }
}

fn nothing_in(reader: &Reader<'_>, config: &Config) {
    if config.mailboxes.is_empty() && config.lmtp_mailboxes.is_empty() && config.probe.probes.is_empty() {
        reader.warn(None, "mailbox", "there is none: no alert can come in", "add a [[mailbox]], or targets to [probe]");
    }
    let everything = config.route.routes.iter().any(|route| route.matchers.is_empty());
    if config.route.default_group.is_none() && !everything {
        let wrong = "is not set: alerts that no route matches are kept, and nobody is told";
        reader.warn(None, "operators.default_group", wrong, "name a group, or end with a route without match");
    }
}

/// Everyone in a group, and in the groups in it.
fn people<'c>(groups: &'c [Group], name: &GroupName, seen: &mut BTreeSet<GroupName>) -> BTreeSet<&'c RecipientName> {
    let mut all = BTreeSet::new();
    if !seen.insert(name.clone()) {
        return all;
    }
    for member in groups.iter().filter(|group| group.name == *name).flat_map(|group| &group.members) {
        match member {
            Member::Recipient(recipient) => {
                all.insert(recipient);
            }
            Member::Group(inner) => all.extend(people(groups, inner, seen)),
        }
    }
    all
}

fn empty_groups(reader: &Reader<'_>, config: &Config, places: &Places) {
    for (group, (line, label)) in config.route.groups.iter().zip(&places.groups) {
        if people(&config.route.groups, &group.name, &mut BTreeSet::new()).is_empty() {
            reader.warn(*line, label, "nobody is in it: alerts for it reach no one", "add members");
        }
    }
}

fn lonely_recipients(reader: &Reader<'_>, config: &Config, places: &Places) {
    let members: Vec<&Member> = config.route.groups.iter().flat_map(|group| &group.members).collect();
    for (recipient, (line, label)) in config.route.recipients.iter().zip(&places.recipients) {
        if !members.contains(&&Member::Recipient(recipient.name.clone())) {
            reader.warn(*line, label, "is in no group: no alert goes there", "add the name to a group's members");
        }
    }
}

fn unreachable_routes(reader: &Reader<'_>, config: &Config, places: &Places) {
    let mut routes = config.route.routes.iter().zip(&places.routes);
    let last = routes.by_ref().find(|(route, _)| route.matchers.is_empty() && !route.go_on);
    let Some((_, (taken, _))) = last else { return };
    for (_, (line, label)) in routes {
        let by = taken.map_or_else(String::new, |line| format!(" on line {line}"));
        let wrong = format!("is never reached: the route{by} takes every alert");
        reader.warn(*line, label, wrong, "move it up, or set continue = true there");
    }
}

fn small_reserve(reader: &Reader<'_>, config: &Config, places: &Places) {
    for (entry, (line, label)) in config.mailboxes.iter().zip(&places.mailboxes) {
        if room_for_turn(entry.mailbox.max_size, entry.intake.batch) > config.store.reserve {
            let reserve = crate::model::Size(config.store.reserve);
            let wrong = format!("one turn may take more than store.reserve ({reserve})");
            reader.warn(*line, label, wrong, "raise the reserve, or lower batch or max_size");
        }
    }
    for (door, (line, label)) in config.doors.iter().zip(&places.doors) {
        if lmtp::room(door) > config.store.reserve {
            let reserve = crate::model::Size(config.store.reserve);
            let wrong = format!("what is under way may take more than store.reserve ({reserve})");
            reader.warn(*line, label, wrong, "raise the reserve, or lower in_flight");
        }
    }
}
