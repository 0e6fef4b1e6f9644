//! The words of the domain as types. No clock, no I/O, no async: whatever needs the time takes it as an argument.
//!
//! Names follow the product's terms: a *message* is one raw mail, an *alert* one parsed condition report, a *condition* what
//! (scope, key) names, a *notification* one alert for one recipient. Accepted, delivered and acknowledged are never blurred.

mod access;
mod alert;
mod availability;
mod condition;
mod drift;
mod message;
mod names;
mod notification;
mod policy;
mod port_check;
mod secret;
mod server;
mod severity;
mod tricks;
mod units;
mod words;

pub use access::{BadScope, Right, Rights, TokenRecord};
pub use alert::{Alert, Audience, Format, Labels, Nature, Reference, Status, Variant};
pub use availability::{Availability, GroupAvailability};
pub use condition::{ConditionView, Plan, PlannedNotification, Planner, Seen, Told};
pub use drift::Drift;
pub use message::{Cursor, MailDigest, MessageState, NewMessage, Source};
pub use names::{BadName, ClassName, GroupName, Key, MailboxName, NAME_FORM, RecipientName, Scope, TokenName};
pub use notification::{
    AlertId, AlertState, BadId, ConditionId, Doubt, Epoch, Kind, MessageId, Notification, NotificationId,
    NotificationState, StanzaId,
};
pub use policy::{Delivery, FallbackWhen, Offline, PolicyRow, Presence, Show, ShowSet};
pub use port_check::{PortCheck, PortFound};
pub use secret::Secret;
pub use server::{BadServer, check_host, parse_server};
pub use severity::{BadSeverity, Severity};
pub use tricks::{plays_tricks, quote};
pub use units::{BadUnit, Size, Span};
pub use words::{human, when};

pub use jid::{BareJid, Jid};
pub use jiff::Timestamp;

/// One person who receives alerts, or one room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The name used in groups, logs and commands.
    pub name: RecipientName,
    /// Where instant messages go; never a full JID, so that the server picks the recipient's devices.
    pub jid: BareJid,
    /// Preferred language of alerts that come in several (RFC 5646), if the operator gave one.
    pub lang: Option<String>,
    /// A room (XEP-0045), whose occupants are not known here: what is not public never goes there.
    pub room: bool,
}
