//! Alert × routes → groups → recipients; and the rules of D2.
//!
//! [`Router`] is the config's recipients, groups and routes, checked and compiled. As the queue's
//! [`Planner`](crate::model::Planner) it says what follows from one alert, in this order:
//!
//! 1. a duplicate, or a report that says nothing about a condition, is recorded;
//! 2. a report older than the last one seen of its condition is recorded;
//! 3. a resolved goes to exactly those who were told;
//! 4. what expired before it came is recorded, unless it is critical;
//! 5. a repeat of an open condition is recorded until `repeat_after`;
//! 6. the routes choose the groups, the groups give the recipients, the audience (CAP `scope`) and the walls take some away
//!    again.

mod audience;
mod check;
mod clock;
mod condition;
mod cycles;
mod disclaimer;
#[cfg(test)]
mod fixtures;
mod matcher;
mod pattern;
mod recipients;
mod router;
mod select;
mod wall;

pub use check::{Place, RouteError};
pub use clock::happened;
pub use matcher::{FIELDS, statuses};
pub use pattern::{BadPattern, Pattern};
pub use recipients::Brought;
pub use router::{GroupView, Router};

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{GroupName, MailboxName, PolicyRow, Recipient, RecipientName};

/// Recipients, groups and routes of the config.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[[recipient]]`.
    pub recipients: Vec<Recipient>,
    /// `[[group]]`.
    pub groups: Vec<Group>,
    /// `[[route]]`, in order.
    pub routes: Vec<Route>,
    /// `[[wall]]`.
    pub walls: Vec<Wall>,
    /// `[[disclaimer]]`, in the order in which they are added.
    pub disclaimers: Vec<Disclaimer>,
    /// Where an alert goes that no route matches (`operators.default_group`).
    pub default_group: Option<GroupName>,
    /// Who is told of quarantine, dead notifications, failing mailboxes (`operators.group`).
    pub operators: Option<GroupName>,
    /// An open condition at the same or a lower severity is paged again after this.
    pub repeat_after: Duration,
    /// `key_scope` by mailbox; `Sender` for those that are not in it.
    pub key_scopes: BTreeMap<MailboxName, KeyScope>,
}

/// Within what a key names one condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyScope {
    /// Mailbox and sender: nobody resolves what another reported.
    Sender,
    /// The mailbox: senders share their conditions.
    Mailbox,
}

/// One `[[group]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// Recipients, and other groups.
    pub members: Vec<Member>,
    /// Anyone may be in it: CAP Restricted and Private never go here.
    pub public: bool,
    /// `[[group.policy]]`, in order; the built-in rows follow.
    pub policy: Vec<PolicyRow>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member {
    /// A recipient.
    Recipient(RecipientName),
    /// All members of another group (`@name`).
    Group(GroupName),
}

/// One `[[wall]]`: alerts that all its matchers match never come to those behind it. It stands after routing and fallbacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wall {
    /// Its name, which the reasons of alerts repeat.
    pub name: String,
    /// As those of a route; at least one.
    pub matchers: Vec<(String, Vec<String>)>,
    /// Recipients, and groups with everyone in them, also where another group brings them.
    pub to: Vec<Member>,
}

/// One `[[disclaimer]]`: a message gets it where each list that is not empty has something that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disclaimer {
    /// What is added.
    pub text: String,
    /// Names of routes.
    pub routes: Vec<String>,
    /// Groups.
    pub groups: Vec<GroupName>,
    /// Patterns of the domains of recipients' JIDs.
    pub domains: Vec<String>,
}

/// One `[[route]]`: all matchers must match.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name, for disclaimers and reasons.
    pub name: Option<String>,
    /// Field and patterns, any of which may match: `source`, `mailbox`, `sender`, `status`, `severity`, `group`,
    /// `label.NAME`.
    pub matchers: Vec<(String, Vec<String>)>,
    /// Where the alert goes; empty: recorded without paging.
    pub groups: Vec<GroupName>,
    /// Look at the following routes as well.
    pub go_on: bool,
    /// Before anybody is told, look whether the port that the alert names answers.
    pub verify: bool,
}
