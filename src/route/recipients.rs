//! Groups → recipients, each once, with how they may be told.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{
    Alert, Delivery, FallbackWhen, GroupName, Offline, PlannedNotification, PolicyRow, Recipient, Severity, Show,
    ShowSet, Source, Timestamp,
};

use super::check::row;
use super::clock::Timing;
use super::router::{Compiled, Router};
use super::{Group, Member, Settings, audience};

/// The built-in policy holds for this long.
const HOLD_FOR: Duration = Duration::from_hours(8);

/// A group of a plan, with its fallback for the alert's severity.
pub type Watched = (GroupName, Option<(GroupName, FallbackWhen)>);

/// Whom groups bring to an alert.
#[derive(Debug, Default)]
pub struct Brought {
    /// One for each recipient, in the order of groups and members.
    pub notifications: Vec<PlannedNotification>,
    /// The groups to be watched: is there anybody of them to be told? Not one whose members may all not be told, unless it
    /// has a fallback.
    pub groups: Vec<Watched>,
    /// Who was left out, and why.
    pub left_out: Vec<String>,
}

impl Router {
    /// Everyone in these groups who may be told. A member of a nested group is told by the policy of the group that the
    /// alert was routed to; the nested group's own policy is for alerts routed to it.
    pub(super) fn bring(&self, alert: &Alert, source: &Source, groups: &[GroupName], now: Timestamp) -> Brought {
        let mut brought = Brought::default();
        let timing = Timing::of(alert, now);
        let walls = self.walls_against(alert, source);
        for (name, group) in groups.iter().filter_map(|name| self.groups.get_key_value(name)) {
            let members = if audience::allows_public(&alert.audience) {
                &group.members
            } else if group.public {
                brought.left_out.push(format!("group {name}: it is public, the alert is not"));
                continue;
            } else {
                let hidden = group.members.iter().filter(|m| !group.not_public.contains(m));
                let hidden = hidden.filter_map(|index| self.recipients.get(*index));
                brought.left_out.extend(hidden.map(|r| format!("{}: only in a public group of {name}", r.name)));
                &group.not_public
            };
            let (delivery, fallback) = policy(&group.policy, alert.severity);
            let mut told = members.is_empty();
            for (index, recipient) in members.iter().filter_map(|index| Some((*index, self.recipients.get(*index)?))) {
                if let Some(wall) = walls.iter().find(|wall| wall.hides(index)) {
                    brought.left_out.push(format!("{}: behind the wall `{}`", recipient.name, wall.name));
                } else if let Some(why) = audience::forbids(&alert.audience, recipient) {
                    brought.left_out.push(format!("{}: {why}", recipient.name));
                } else {
                    brought.add(recipient, name, delivery, timing);
                    told = true;
                }
            }
            if told || fallback.is_some() {
                brought.groups.push((name.clone(), fallback));
            }
        }
        let mut seen = BTreeSet::new();
        brought.left_out.retain(|text| seen.insert(text.clone()));
        brought
    }
}

impl Brought {
    fn add(&mut self, recipient: &Recipient, group: &GroupName, delivery: Delivery, timing: Timing) {
        match self.notifications.iter_mut().find(|n| n.recipient.jid == recipient.jid) {
            Some(known) => {
                known.groups.push(group.clone());
                known.delivery = known.delivery.merge(delivery);
            }
            None => self.notifications.push(PlannedNotification {
                recipient: recipient.clone(),
                groups: vec![group.clone()],
                delivery,
                not_before: timing.not_before,
                expires: timing.expires,
            }),
        }
    }
}

/// The first row for the severity, else the built-in one.
pub(super) fn policy(rows: &[PolicyRow], severity: Severity) -> (Delivery, Option<(GroupName, FallbackWhen)>) {
    match row(rows, severity) {
        Some(row) => {
            let delivery = Delivery { shows: row.shows, offline: row.offline, hold_for_ms: millis(row.hold_for) };
            (delivery, row.fallback.clone().map(|group| (group, row.fallback_when)))
        }
        None => (built_in(severity), None),
    }
}

/// Critical and major reach every show, others not `dnd`; who is offline is held for.
pub(super) fn built_in(severity: Severity) -> Delivery {
    let disturb = severity >= Severity::Major;
    let shows: ShowSet = Show::ALL.into_iter().filter(|show| disturb || *show != Show::Dnd).collect();
    Delivery { shows, offline: Offline::Hold, hold_for_ms: millis(HOLD_FOR) }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Nested groups expanded: each member once, where it is named first. Membership has no circles (checked before).
pub(super) fn compile(settings: &Settings, group: &Group) -> Compiled {
    let mut walk = Expand { settings, members: Vec::new(), groups: BTreeSet::new() };
    walk.walk(group, true);
    let (members, contains) = (std::mem::take(&mut walk.members), std::mem::take(&mut walk.groups));
    walk.walk(group, false);
    Compiled { members, contains, not_public: walk.members, public: group.public, policy: group.policy.clone() }
}

/// Everyone in a group, also by way of nested ones: places in the recipients.
pub(super) fn expand(settings: &Settings, group: &Group) -> Vec<usize> {
    let mut walk = Expand { settings, members: Vec::new(), groups: BTreeSet::new() };
    walk.walk(group, true);
    walk.members
}

struct Expand<'a> {
    settings: &'a Settings,
    members: Vec<usize>,
    groups: BTreeSet<GroupName>,
}

impl Expand<'_> {
    fn walk(&mut self, group: &Group, into_public: bool) {
        for member in &group.members {
            match member {
                Member::Recipient(name) => {
                    let index = self.settings.recipients.iter().position(|r| r.name == *name);
                    let new = index.filter(|index| !self.members.contains(index));
                    self.members.extend(new);
                }
                Member::Group(name) => {
                    let inner = self.settings.groups.iter().find(|g| g.name == *name);
                    if let Some(inner) = inner.filter(|inner| into_public || !inner.public) {
                        self.groups.insert(name.clone());
                        self.walk(inner, into_public);
                    }
                }
            }
        }
    }
}
