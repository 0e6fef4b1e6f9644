//! What goes in and out of the queue where more is to be told than may be sent at once.

use jiff::Timestamp;

use super::Outgoing;
use crate::model::{BareJid, ConditionId, Delivery, Kind, Recipient, RecipientName, Severity};

/// What D2 asks of the express lane for one notification.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// To whom.
    pub recipient: &'a Recipient,
    /// How bad.
    pub severity: Severity,
    /// How it may be delivered.
    pub delivery: &'a Delivery,
    /// Who mailed the alert.
    pub sender: &'a str,
    /// The condition within which order is kept.
    pub condition: Option<ConditionId>,
}

/// What the express lane says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Send it: a place in the window and one of the recipient's messages are reserved.
    Now,
    /// Queue it; the worker decides.
    Queue,
    /// It could be sent but for the cap, or the pause after a message about its condition.
    Wait(Wait),
}

/// Why a notification for somebody who can be reached waits, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// It is looked at again then.
    pub until: Timestamp,
    /// Why, for people.
    pub why: &'static str,
}

/// What the express lane reserved for one notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Whose.
    pub jid: BareJid,
    /// What it is about.
    pub condition: Option<ConditionId>,
}

/// A copy that was intended lately: it counts for the recipient's cap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// When.
    pub at: Timestamp,
    /// To whom.
    pub jid: BareJid,
    /// Alert, digest or notice.
    pub kind: Kind,
    /// Who mailed the alert; empty for digests and notices.
    pub sender: String,
    /// Its severity.
    pub severity: Severity,
    /// What it is about.
    pub condition: Option<ConditionId>,
}

/// One recipient's notifications that have waited long enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    /// Whose.
    pub recipient: RecipientName,
    /// Where they go.
    pub jid: BareJid,
    /// Alerts that a digest may carry.
    pub alerts: usize,
    /// The critical ones of these.
    pub critical: usize,
}

/// What goes into one digest because it would have been too many messages.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Folded {
    /// Some of the alerts: the critical ones first, then what was resolved, then the others; the newest of each first.
    pub listed: Vec<Outgoing>,
    /// All others, by where they come from, those with the worst first.
    pub more: Vec<More>,
    /// How many alerts were resolved before the recipient was told of them.
    pub superseded: u64,
    /// How many were of no use any more by then.
    pub expired: u64,
}

/// Alerts of one origin that a digest only counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct More {
    /// A host, or a sender.
    pub origin: String,
    /// How many of each severity, worst first; what is resolved is not among them.
    pub counts: Vec<(Severity, u64)>,
    /// How many say that something is over.
    pub resolved: u64,
}

/// Writes the text of a digest while it is made, so that what it says and what it carries are the same.
pub type DigestText<'a> = &'a (dyn Fn(&Folded) -> String + Send + Sync);
