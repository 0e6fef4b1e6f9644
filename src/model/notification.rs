//! One alert for one recipient: the unit in the queue.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{BareJid, Delivery, GroupName, RecipientName, Severity};

macro_rules! row_id {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        pub struct $type(pub i64);

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

row_id!(
    /// Number of a stored message.
    MessageId
);
row_id!(
    /// Number of a stored condition.
    ConditionId
);
row_id!(
    /// Number of a notification: rises with the order in which they were committed.
    NotificationId
);
row_id!(
    /// Start counter of the process that took a notification for sending (D3).
    Epoch
);

/// Number of a stored alert. Shown to people as the short id `#1a3f` (base 36).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AlertId(pub i64);

/// The short id, with its `#`.
impl std::fmt::Display for AlertId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut digits = Vec::new();
        let mut rest = self.0.unsigned_abs();
        loop {
            let digit = u32::try_from(rest % 36).unwrap_or_default();
            digits.push(char::from_digit(digit, 36).unwrap_or('0'));
            rest /= 36;
            if rest == 0 {
                break;
            }
        }
        write!(f, "#{}", digits.iter().rev().collect::<String>())
    }
}

/// The text is no short id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no alert id; it looks like #1a3f")]
pub struct BadId(pub String);

/// With or without the `#`.
impl std::str::FromStr for AlertId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let digits = text.strip_prefix('#').unwrap_or(text);
        i64::from_str_radix(&digits.to_ascii_lowercase(), 36)
            .ok()
            .filter(|n| *n > 0 && !digits.starts_with('+'))
            .map(Self)
            .ok_or_else(|| BadId(text.to_owned()))
    }
}

/// Id of the stanza that carries a notification, and its origin-id (XEP-0359): fixed at D2, the same on every copy.
/// Random, so that nobody who did not get the message can forge its receipt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct StanzaId(pub String);

impl StanzaId {
    /// A fresh one: `mb-` and 128 random bits in hex.
    pub fn random() -> Self {
        Self(format!("mb-{:032x}", rand::random::<u128>()))
    }
}

impl std::fmt::Display for StanzaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// A copy of a notification was on its way when its session ended: whether it arrived is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Whose it is.
    pub to: BareJid,
    /// What it was sent under.
    pub stanza_id: StanzaId,
    /// Number of the copy in question, the first being 1. Those before it may have been refused, or lost.
    pub copy: u32,
    /// When the first copy was intended, by our clock.
    pub since: Timestamp,
    /// What their server had before that, in one copy: what is older in an archive is older than this doubt.
    pub after: Option<StanzaId>,
}

/// What a notification carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One alert.
    Alert,
    /// Many alerts in one message: on the recipient's return, or where they would have been too many.
    Digest,
    /// A word to the operators.
    Notice,
}

impl Kind {
    /// The name used in the store and in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Digest => "digest",
            Self::Notice => "notice",
        }
    }
}

/// State of a notification. It only moves forward, but for the way back from `Sending` to `Queued` when the server
/// refused it for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NotificationState {
    /// Waits to be sent.
    Queued,
    /// Waits for its recipient to be reachable.
    Held,
    /// The intent to send is durable (D3); may have been written to the socket.
    Sending,
    /// The XMPP server took it (XEP-0198).
    Accepted,
    /// A client has it (XEP-0184).
    Delivered,
    /// A human said so.
    Acknowledged,
    /// Accepted, and no receipt came in time.
    Unconfirmed,
    /// Its hold or its use ended before it could be sent; or an operator ended it.
    Expired,
    /// The condition was resolved before it was sent.
    Superseded,
    /// Refused for good, or given up after `max_attempts`.
    Dead,
}

impl NotificationState {
    /// All states, in the order of the way through them.
    pub const ALL: [Self; 10] = [
        Self::Queued,
        Self::Held,
        Self::Sending,
        Self::Accepted,
        Self::Delivered,
        Self::Acknowledged,
        Self::Unconfirmed,
        Self::Expired,
        Self::Superseded,
        Self::Dead,
    ];

    /// The name used in the store and in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Held => "held",
            Self::Sending => "sending",
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
            Self::Acknowledged => "acknowledged",
            Self::Unconfirmed => "unconfirmed",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Dead => "dead",
        }
    }

    /// The recipient has it or may have it: a `resolved` goes to them.
    pub const fn told(self) -> bool {
        matches!(self, Self::Sending | Self::Accepted | Self::Delivered | Self::Acknowledged | Self::Unconfirmed)
    }

    /// Nothing more will happen to it by itself, but for a late receipt or acknowledgement.
    pub const fn ended(self) -> bool {
        !matches!(self, Self::Queued | Self::Held | Self::Sending | Self::Accepted)
    }
}

impl std::str::FromStr for NotificationState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|s| s.as_str()).collect();
            format!("`{text}` is no state; allowed: {}", all.join(", "))
        })
    }
}

/// State of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// It has notifications.
    Routed,
    /// No route and no default group wanted it.
    Unsubscribed,
    /// Kept without paging: test status, repeat, out of order, duplicate, expired on arrival, `groups = []`.
    Recorded,
}

impl AlertState {
    /// The name used in the store and in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Routed => "routed",
            Self::Unsubscribed => "unsubscribed",
            Self::Recorded => "recorded",
        }
    }
}

/// A notification as the queue holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Its number.
    pub id: NotificationId,
    /// Alert, digest or notice.
    pub kind: Kind,
    /// The alert; `None` for digests and notices.
    pub alert: Option<AlertId>,
    /// The condition within which order is kept; `None` for digests and notices.
    pub condition: Option<ConditionId>,
    /// Who gets it.
    pub recipient: RecipientName,
    /// Where it goes; frozen at D2.
    pub jid: BareJid,
    /// The groups that brought them; empty for a resolved, a digest, a notice.
    pub groups: Vec<GroupName>,
    /// Stanza id of every copy.
    pub stanza_id: StanzaId,
    /// State.
    pub state: NotificationState,
    /// Severity that orders it in the queue and chooses its policy.
    pub severity: Severity,
    /// How it may be delivered; frozen at D2.
    pub delivery: Delivery,
    /// Send it whatever the presence says: nobody of a critical alert's groups was reachable, or an operator asked.
    pub forced: bool,
    /// When it was committed.
    pub created: Timestamp,
    /// Not before this.
    pub not_before: Option<Timestamp>,
    /// Ends as expired after this if it was not sent; never set for critical ones.
    pub expires: Option<Timestamp>,
    /// End of the hold, where it is held.
    pub held_until: Option<Timestamp>,
    /// When the first copy was intended (D3); a resend is stamped with it (XEP-0203).
    pub first_intent: Option<Timestamp>,
    /// How often it was intended.
    pub attempts: u32,
    /// Earlier ones of its condition that had to wait and are left out in favour of this one.
    pub folds: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ids_round_trip() {
        for n in [1, 35, 36, 1_000_000, i64::MAX] {
            let shown = AlertId(n).to_string();
            assert_eq!(shown.parse(), Ok(AlertId(n)));
            assert_eq!(shown[1..].parse(), Ok(AlertId(n)));
        }
        assert_eq!(AlertId(46_655).to_string(), "#zzz");
        for bad in ["", "#", "#-1", "#+1", "#a b", "#0"] {
            assert!(bad.parse::<AlertId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn told_is_sending_and_beyond() {
        use NotificationState as S;
        let told: Vec<_> = S::ALL.into_iter().filter(|s| s.told()).collect();
        assert_eq!(told, [S::Sending, S::Accepted, S::Delivered, S::Acknowledged, S::Unconfirmed]);
    }
}
