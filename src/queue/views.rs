//! What goes in and out of the queue's operations.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{
    Alert, AlertId, BareJid, Cursor, Delivery, FallbackWhen, GroupName, MailDigest, MailboxName, MessageId,
    MessageState, NewMessage, Notification, NotificationId, NotificationState, PlannedNotification, RecipientName,
    Severity, Source, StanzaId,
};

/// A message that waits to be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its number.
    pub id: MessageId,
    /// Where it came from.
    pub mailbox: MailboxName,
    /// Its place there.
    pub cursor: Cursor,
    /// The raw mail; headers only where `oversize` says so.
    pub raw: Vec<u8>,
    /// INTERNALDATE, where the mailbox has one.
    pub internal_date: Option<Timestamp>,
    /// When it was stored (D1).
    pub stored: Timestamp,
    /// Its size, where that was over `max_size`.
    pub oversize: Option<u64>,
    /// An operator had it read again, from quarantine: its age does not matter.
    pub replayed: bool,
}

/// A mail that was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// Whose it is; it becomes a message in each.
    pub mailboxes: Vec<MailboxName>,
    /// The mail; its cursor is [`Cursor::Lmtp`].
    pub mail: NewMessage,
}

/// A message that is stored but not yet cleared from its mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncleared {
    /// Its number.
    pub id: MessageId,
    /// Its place in the mailbox.
    pub cursor: Cursor,
    /// Its sender is not allowed: cleared as `rejected` says.
    pub rejected: bool,
}

/// One message's share of D2.
#[derive(Debug, Clone)]
pub struct D2Message {
    /// Which.
    pub id: MessageId,
    /// Where its alerts came in.
    pub source: Source,
    /// May its sender choose the group?
    pub may_choose_group: bool,
    /// When it was received: INTERNALDATE, the topmost Received, or when it was stored.
    pub received: Timestamp,
    /// What tells that it was seen before; `None`: it is never a duplicate.
    pub digest: Option<MailDigest>,
    /// What came of it.
    pub verdict: Verdict,
}

/// What parsing made of a message.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Alerts; `bad` are the reasons of those in the same mail that could not be read: the message is kept in quarantine
    /// for them as well.
    Alerts {
        /// In the order of the mail.
        alerts: Vec<Alert>,
        /// One reason each.
        bad: Vec<String>,
    },
    /// Its end state and the reason: ignored, rejected, stale, quarantined.
    Ends(MessageState, String),
}

/// What a D2 did.
#[derive(Debug, Default)]
pub struct D2Report {
    /// Notifications born `sending`: the places that [`super::Express`] reserved for them are theirs. Send them now.
    pub born: Vec<Outgoing>,
    /// Notifications that wait in the queue.
    pub queued: usize,
    /// State in which each message ended, in the order given: a `Verdict::Alerts` may turn out a duplicate.
    pub messages: Vec<(MessageId, MessageState)>,
    /// Alerts that nobody subscribes to: id, title.
    pub unsubscribed: Vec<(AlertId, String)>,
}

/// A notification with what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// The notification.
    pub notification: Notification,
    /// What it says.
    pub content: Content,
    /// It may have been sent before: this is a resend, to be marked as one.
    pub in_doubt: bool,
}

/// What a notification says.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// An alert, rendered when it is sent.
    Alert(Arc<AlertRecord>),
    /// A digest or a notice: fixed text.
    Text(String),
}

/// A notification that was committed as `sending` and never written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwritten {
    /// Its stanza.
    pub stanza_id: StanzaId,
    /// Its intents, this one included.
    pub attempts: u32,
    /// It was in doubt before: an earlier copy may have arrived.
    pub in_doubt: bool,
}

/// An alert as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertRecord {
    /// Its number.
    pub id: AlertId,
    /// The alert.
    pub alert: Alert,
    /// `mailbox:NAME`, `probe`, `api:TOKEN`.
    pub source: String,
    /// When its mail was received; without a mail, when it was raised.
    pub received: Timestamp,
    /// For a resolved: the alert that opened the condition, and for how long it was open. For a page of a condition that
    /// was open already likewise.
    pub resolves: Option<(AlertId, Duration)>,
}

/// A delivery receipt (XEP-0184).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Bare JID of who sent it.
    pub from: BareJid,
    /// Which stanza it is for.
    pub stanza_id: StanzaId,
}

/// A notification that is held: what is needed to decide whether it may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub id: NotificationId,
    /// Its severity.
    pub severity: Severity,
    /// Its policy.
    pub delivery: Delivery,
    /// Sent whatever the presence says.
    pub forced: bool,
}

/// What waits for a recipient who is reachable again.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Returning {
    /// Held ones, oldest first, critical ones before all others; at most the asked number of each.
    pub held: Vec<Outgoing>,
    /// How many are held in all, by severity, worst first.
    pub counts: Vec<(Severity, u64)>,
    /// How many alerts were resolved (superseded) while the recipient could not be told of them.
    pub superseded: u64,
    /// How many expired meanwhile.
    pub expired: u64,
}

/// A notification that ended without being sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub id: NotificationId,
    /// Whose.
    pub recipient: RecipientName,
    /// The alert, where it carries one.
    pub alert: Option<AlertId>,
    /// Its severity.
    pub severity: Severity,
    /// No recipient of the alert was told, or still can be.
    pub nobody_told: bool,
}

/// A recipient whom config does not have any more, and what ended with that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The name, as of the notifications.
    pub recipient: RecipientName,
    /// The address.
    pub jid: BareJid,
    /// Notifications that ended: alerts and notices.
    pub ended: u64,
    /// Critical ones among them.
    pub critical: u64,
}

/// The watch over one group of one alert: is there anybody to tell?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// The alert.
    pub alert: AlertId,
    /// Its severity.
    pub severity: Severity,
    /// The group.
    pub group: GroupName,
    /// Its fallback, as frozen at D2.
    pub fallback: Option<(GroupName, FallbackWhen)>,
    /// It was told, and a receipt is missing: who of it has the alert for certain?
    pub unanswered: bool,
    /// The notifications that the group brought.
    pub members: Vec<WatchMember>,
}

/// One recipient of a watched group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchMember {
    /// The notification.
    pub id: NotificationId,
    /// Whose.
    pub jid: BareJid,
    /// Its state.
    pub state: NotificationState,
    /// Accepted, and its receipt is missing.
    pub missed: bool,
    /// Its policy.
    pub delivery: Delivery,
    /// Sent whatever the presence says.
    pub forced: bool,
}

/// How a watch ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEnd {
    /// Somebody was reachable, or was told.
    Reached,
    /// Nobody: these are added, and their group is watched in turn. Recipients who have the alert already are left out.
    Fallback {
        /// The group that is added.
        group: GroupName,
        /// Its own fallback.
        next: Option<(GroupName, FallbackWhen)>,
        /// Its recipients.
        notifications: Vec<PlannedNotification>,
        /// Who of it may not be told, and why.
        left_out: Vec<String>,
    },
    /// Nobody, and no fallback: send to all of them anyway.
    Forced,
    /// Nobody, no fallback, not critical: the holds stay; nothing more to watch.
    Given,
}

/// Something that the operators are to be told: counted until it is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeDue {
    /// What it is about, one notice each: `quarantine`, `mailbox:ops` …
    pub topic: String,
    /// The newest text.
    pub text: String,
    /// How many there were since the last notice.
    pub count: u64,
}

/// Free space of the store's file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that an unprivileged process may still write.
    pub free: u64,
}

/// Which notifications to list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListFilter {
    /// Only these states; empty: all that have not ended.
    pub states: Vec<NotificationState>,
    /// Only this recipient's.
    pub recipient: Option<RecipientName>,
    /// Only this alert's.
    pub alert: Option<AlertId>,
    /// Only those with a greater number, for paging.
    pub after: Option<NotificationId>,
    /// At most so many; 0: 100.
    pub limit: usize,
}

/// A notification as people are shown it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Notification)]
pub struct NotificationView {
    /// Its number.
    pub id: NotificationId,
    /// alert, digest, notice.
    pub kind: crate::model::Kind,
    /// Short id of its alert.
    pub alert: Option<String>,
    /// Title of the alert, or the first line of the text.
    pub title: String,
    /// Severity.
    pub severity: Severity,
    /// Whose.
    pub recipient: RecipientName,
    /// Where it goes.
    pub jid: String,
    /// State.
    pub state: NotificationState,
    /// The groups that brought it.
    pub groups: Vec<GroupName>,
    /// Stanza id of every copy.
    pub stanza_id: StanzaId,
    /// How often it was intended.
    pub attempts: u32,
    /// When it was committed (D2).
    pub created: Timestamp,
    /// When the first copy was intended (D3).
    pub intended: Option<Timestamp>,
    /// When the server took it (D4).
    pub accepted: Option<Timestamp>,
    /// When a client had it (D5).
    pub delivered: Option<Timestamp>,
    /// End of its hold.
    pub held_until: Option<Timestamp>,
    /// Not before this.
    pub not_before: Option<Timestamp>,
    /// Of no use after this.
    pub expires: Option<Timestamp>,
    /// Why it is in that state: the last error, the reason of the hold.
    pub reason: String,
    /// The presence that was seen when it was decided last whether to send; `None`: nobody looked yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence: Option<String>,
    /// The digest that carries it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<NotificationId>,
}

/// A quarantined message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = QuarantinedMessage)]
pub struct QuarantineView {
    /// Its number.
    pub id: MessageId,
    /// Where it came from.
    pub mailbox: MailboxName,
    /// Its place there.
    pub cursor: String,
    /// When it was stored.
    pub stored: Timestamp,
    /// Size of what was stored, in bytes.
    pub size: u64,
    /// Why, one line for each alert that could not be read.
    pub reasons: Vec<String>,
}
