//! Recipients and groups of the config in force, with their presence.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::dispatch::{self, ExpressLane};
use crate::http::{Group, People, Person};
use crate::live::Live;
use crate::model::{Availability, GroupName, Presence, Recipient, Severity};
use crate::presence;

/// Where they are written down, and who knows where they are.
pub struct Roll {
    pub lane: Arc<ExpressLane>,
    pub rules: Live<dispatch::Rules>,
}

impl People for Roll {
    fn people(&self) -> Vec<Person> {
        let rules = self.rules.get();
        let recipients = rules.router.recipients();
        let presences = self.lane.presences(recipients.iter().map(|recipient| &recipient.jid));
        let now = Timestamp::now();
        let person = |(recipient, (presence, lasts)): (&Recipient, (Presence, Option<Duration>))| Person {
            name: recipient.name.clone(),
            jid: recipient.jid.clone(),
            groups: rules.router.groups_of(&recipient.name).into_iter().cloned().collect(),
            room: recipient.room,
            presence: Availability::from(presence),
            show: show(recipient, presence),
            since: lasts.and_then(|lasts| now.checked_sub(SignedDuration::try_from(lasts).ok()?).ok()),
            granted: match presence {
                Presence::Online(_) | Presence::Offline if !recipient.room => Some(true),
                Presence::NotShared => Some(false),
                _ => None,
            },
        };
        recipients.iter().zip(presences).map(person).collect()
    }

    fn groups(&self) -> Vec<GroupName> {
        self.rules.get().router.groups().cloned().collect()
    }

    fn group(&self, name: &GroupName, severity: Severity) -> Option<Group> {
        let rules = self.rules.get();
        let group = rules.router.group(name, severity)?;
        let presences = self.lane.presences(group.members.iter().map(|recipient| &recipient.jid));
        let presences: Vec<Presence> = presences.into_iter().map(|(presence, _)| presence).collect();
        Some(Group {
            name: name.clone(),
            availability: presence::group::availability(&group.delivery, &presences),
            recipients: group.members.iter().map(|recipient| recipient.name.clone()).collect(),
            contains: group.contains.iter().cloned().collect(),
            fallback: group.fallback,
            public: group.public,
        })
    }
}

/// What exactly they show: a room shows nothing.
pub fn show(recipient: &Recipient, presence: Presence) -> Option<String> {
    match presence {
        Presence::Online(show) if !recipient.room => Some(show.as_str().to_owned()),
        _ => None,
    }
}
