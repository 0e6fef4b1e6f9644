//! Recipients, groups and routes, checked and compiled.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::model::{
    Alert, BareJid, Delivery, FallbackWhen, GroupName, MailboxName, PolicyRow, Recipient, RecipientName, Severity,
    Source, Timestamp,
};

use super::check::{Checked, RouteError, check};
use super::disclaimer::CompiledDisclaimer;
use super::recipients::{Brought, built_in, compile};
use super::select::CompiledRoute;
use super::wall::CompiledWall;
use super::{KeyScope, Settings};

/// Notices to the operators are held for 96 h.
const NOTICE_HOLD_MS: u64 = 96 * 60 * 60 * 1000;

/// The rules of the config, and by them the [`Planner`](crate::model::Planner) of D2.
#[derive(Debug, Clone)]
pub struct Router {
    pub(super) recipients: Vec<Recipient>,
    by_jid: HashMap<BareJid, usize>,
    pub(super) groups: BTreeMap<GroupName, Compiled>,
    pub(super) routes: Vec<CompiledRoute>,
    pub(super) walls: Vec<CompiledWall>,
    pub(super) disclaimers: Vec<CompiledDisclaimer>,
    pub(super) default_group: Option<GroupName>,
    operators: Option<GroupName>,
    pub(super) repeat_after: Duration,
    pub(super) key_scopes: BTreeMap<MailboxName, KeyScope>,
}

/// A group with its nested groups expanded. Members are places in `Router::recipients`.
#[derive(Debug, Clone)]
pub(super) struct Compiled {
    pub(super) members: Vec<usize>,
    /// Names of the groups nested in it.
    pub(super) contains: BTreeSet<GroupName>,
    /// Those that are in it without the help of a public group.
    pub(super) not_public: Vec<usize>,
    pub(super) public: bool,
    pub(super) policy: Vec<PolicyRow>,
}

/// A group with its nested groups expanded, and its policy for one severity.
#[derive(Debug)]
pub struct GroupView<'a> {
    /// Everybody in it, each once.
    pub members: Vec<&'a Recipient>,
    /// Names of the groups nested in it.
    pub contains: &'a BTreeSet<GroupName>,
    /// Anyone may be in it.
    pub public: bool,
    /// How its members are told. The policies of nested groups are for alerts that are routed to them.
    pub delivery: Delivery,
    /// The group that is told where nobody of this one is.
    pub fallback: Option<GroupName>,
}

impl Router {
    /// Checks and compiles; every fault of the settings in one run.
    pub fn new(settings: &Settings) -> Result<Self, Vec<RouteError>> {
        let Checked { routes, walls, disclaimers } = check(settings)?;
        let groups = settings.groups.iter().map(|group| (group.name.clone(), compile(settings, group))).collect();
        let by_jid = settings.recipients.iter().enumerate().map(|(index, r)| (r.jid.clone(), index)).collect();
        Ok(Self {
            recipients: settings.recipients.clone(),
            by_jid,
            groups,
            routes,
            walls,
            disclaimers,
            default_group: settings.default_group.clone(),
            operators: settings.operators.clone(),
            repeat_after: settings.repeat_after,
            key_scopes: settings.key_scopes.clone(),
        })
    }

    /// All recipients, in the order of the config.
    pub fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    /// The recipient with this JID.
    pub fn recipient(&self, jid: &BareJid) -> Option<&Recipient> {
        self.by_jid.get(jid).and_then(|index| self.recipients.get(*index))
    }

    /// Is there a recipient of that name?
    pub fn has_recipient(&self, name: &RecipientName) -> bool {
        self.recipients.iter().any(|recipient| recipient.name == *name)
    }

    /// Is it one of the rooms?
    pub fn is_room(&self, jid: &BareJid) -> bool {
        self.recipient(jid).is_some_and(|recipient| recipient.room)
    }

    /// Is there a group of that name?
    pub fn has_group(&self, name: &GroupName) -> bool {
        self.groups.contains_key(name)
    }

    /// All groups, by name.
    pub fn groups(&self) -> impl Iterator<Item = &GroupName> {
        self.groups.keys()
    }

    /// What a group is made of, and how an alert of this severity that is routed to it is told.
    pub fn group(&self, name: &GroupName, severity: Severity) -> Option<GroupView<'_>> {
        let group = self.groups.get(name)?;
        let (delivery, fallback) = super::recipients::policy(&group.policy, severity);
        Some(GroupView {
            members: group.members.iter().filter_map(|index| self.recipients.get(*index)).collect(),
            contains: &group.contains,
            public: group.public,
            delivery,
            fallback: fallback.map(|(group, _)| group),
        })
    }

    /// Groups that a recipient is in, also by way of nested ones, by name.
    pub fn groups_of(&self, name: &RecipientName) -> Vec<&GroupName> {
        let Some(index) = self.recipients.iter().position(|r| r.name == *name) else { return Vec::new() };
        self.groups.iter().filter(|(_, group)| group.members.contains(&index)).map(|(name, _)| name).collect()
    }

    /// Who is told of the gateway's own troubles, and how: as of a warning, by the built-in policy, but held for them over a
    /// long weekend. There is nobody else who hears of it.
    pub fn operators(&self) -> Vec<(Recipient, Delivery)> {
        let group = self.operators.as_ref().and_then(|name| self.groups.get(name));
        let members = group.into_iter().flat_map(|group| &group.members);
        let recipients = members.filter_map(|index| self.recipients.get(*index));
        let delivery = Delivery { hold_for_ms: NOTICE_HOLD_MS, ..built_in(Severity::Warning) };
        recipients.map(|r| (r.clone(), delivery)).collect()
    }

    /// Is what the operators hear read in a room?
    pub(super) fn operators_in_room(&self) -> bool {
        self.operators().iter().any(|(operator, _)| operator.room)
    }

    /// Whom a fallback group brings to an alert of another group. The audience and the walls are kept: it may be nobody.
    pub fn fallback(&self, alert: &Alert, source: &Source, group: &GroupName, now: Timestamp) -> Brought {
        self.bring(alert, source, std::slice::from_ref(group), now)
    }

    /// A group's own fallback for alerts of this severity.
    pub fn next(&self, group: &GroupName, severity: Severity) -> Option<(GroupName, FallbackWhen)> {
        // A group that the audience forbids still hands on: its fallback may be one that is allowed.
        self.groups.get(group).and_then(|compiled| super::recipients::policy(&compiled.policy, severity).1)
    }
}
