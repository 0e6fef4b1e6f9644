//! What happened, for who listens.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{
    AlertState, Availability, ConditionId, GroupName, Kind, MailboxName, MessageId, NotificationId, NotificationState,
    RecipientName, Severity, Status,
};

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number: they rise without a gap, over restarts too.
    pub id: i64,
    /// When it was written down.
    pub at: Timestamp,
    /// The groups that it concerns; none: it is of no group.
    pub groups: Vec<GroupName>,
    /// What.
    pub what: Happened,
}

/// What the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach {
    /// The oldest number that is there; one more than the newest: nothing is.
    pub oldest: i64,
    /// The newest number that was given.
    pub newest: i64,
}

/// A page of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct EventPage {
    /// In order; left out is what is about something that was purged since.
    pub events: Vec<Event>,
    /// The first number that was looked at; where there was none, one more than the last.
    pub first: i64,
    /// The last.
    pub last: i64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Happened {
    /// Type `message`.
    Message(MessageEvent),
    /// Type `alert`.
    Alert(AlertEvent),
    /// Type `condition`.
    Condition(ConditionEvent),
    /// Type `notification`.
    Notification(NotificationEvent),
    /// Type `presence`.
    Presence(PresenceEvent),
    /// Type `mailbox`.
    Mailbox(MailboxEvent),
    /// Type `probe`.
    Probe(ProbeEvent),
}

impl Happened {
    /// Its kind.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Message(_) => EventKind::Message,
            Self::Alert(_) => EventKind::Alert,
            Self::Condition(_) => EventKind::Condition,
            Self::Notification(_) => EventKind::Notification,
            Self::Presence(_) => EventKind::Presence,
            Self::Mailbox(_) => EventKind::Mailbox,
            Self::Probe(_) => EventKind::Probe,
        }
    }
}

/// A mail came in, or something came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageEvent {
    /// Its number.
    pub message: MessageId,
    /// Where it came in.
    pub mailbox: MailboxName,
    /// `stored`; `ready` (read again); or what came of it: `parsed`, `ignored`, `rejected`, `stale`, `quarantined`, `duplicate`.
    pub state: String,
    /// Why.
    pub reason: String,
    /// Bytes of the mail.
    pub size: u64,
    /// The beginning of its header, where the config allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The beginning of what follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// There is a new alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AlertEvent {
    /// Its short id.
    pub alert: String,
    /// Its title.
    pub title: String,
    /// How bad.
    pub severity: Severity,
    /// Whether it begins something, or ends it.
    pub status: Status,
    /// Where it came in: `mailbox:NAME`, `probe`, `api:TOKEN`.
    pub source: String,
    /// What came of it.
    pub state: AlertState,
    /// Why.
    pub reason: String,
}

/// A condition was opened or closed, or became better or worse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConditionEvent {
    /// Its number.
    pub condition: ConditionId,
    /// Its key.
    pub key: String,
    /// `opened`, `changed`, `closed`.
    pub state: String,
    /// How bad.
    pub severity: Severity,
}

/// There is a new notification, or it came into another state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotificationEvent {
    /// Its number.
    pub notification: NotificationId,
    /// alert, digest, notice.
    pub kind: Kind,
    /// Short id of its alert.
    pub alert: Option<String>,
    /// Title of the alert.
    pub title: Option<String>,
    /// How bad.
    pub severity: Severity,
    /// Whose.
    pub recipient: RecipientName,
    /// Its state.
    pub state: NotificationState,
    /// Why.
    pub reason: String,
}

/// A recipient came, or went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PresenceEvent {
    /// Who.
    pub recipient: RecipientName,
    /// The best of their clients'.
    pub presence: Availability,
    /// What exactly they show: `chat`, `available`, `away`, `xa` or `dnd`; absent where they are not online, and of a room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub show: Option<String>,
}

/// A mailbox can be read, or cannot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MailboxEvent {
    /// Its name.
    pub mailbox: String,
    /// `ok`, `starting`, `failing`.
    pub state: String,
    /// Why it fails.
    pub error: Option<String>,
}

/// Something was told of a host that is probed, or the end of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProbeEvent {
    /// The host.
    pub host: String,
    /// `down` (all of its ports), `partly down`, `warning` (a certificate), `up`.
    pub state: String,
    /// What was told, and is not over: of the host, and by port.
    pub told: serde_json::Value,
}

macro_rules! kinds {
    ($($kind:ident $word:literal),+) => {
        /// What an event is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum EventKind {
            $(#[doc = concat!("`", $word, "`.")] $kind),+
        }

        impl EventKind {
            /// All of them.
            pub const ALL: [Self; 7] = [$(Self::$kind),+];

            /// The word for it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $word),+
                }
            }
        }
    };
}

kinds! {
    Message "message", Alert "alert", Condition "condition", Notification "notification", Presence "presence",
    Mailbox "mailbox", Probe "probe"
}
