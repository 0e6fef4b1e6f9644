//! What people and other systems ask the store: alerts, notifications, conditions, and everything that was sent.
//!
//! Every list is paged by a key, not by a number of rows, and one page looks at a bounded number of rows: where few of them fit
//! it may hold less than was asked for, even nothing, and yet have a next one.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{AlertId, AlertState, GroupName, Kind, NotificationState, RecipientName, Severity, Status};
use crate::queue::{NotificationView, Open, StoreError, Subject};

/// A page, and how to get the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// In order.
    pub items: Vec<T>,
    /// Given as `after` it leads on; absent: there is nothing more.
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What every search takes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Common {
    /// Only what is for one of these groups; empty: all. For who may see no others.
    pub seen_by: Vec<GroupName>,
    /// Only what is for this group.
    pub group: Option<GroupName>,
    /// Only what holds this text, in any case of ASCII letters.
    pub text: Option<String>,
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Before this.
    pub until: Option<Timestamp>,
    /// Where the page before ended.
    pub after: Option<Mark>,
    /// At most so many, 1 to 1000; 0: 100.
    pub limit: usize,
}

/// Where a page ended: the last row that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its time, µs since 1970.
    pub at: i64,
    /// Its number.
    pub id: i64,
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.at, self.id)
    }
}

impl std::str::FromStr for Mark {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place =
            text.rsplit_once('-').and_then(|(at, id)| Some(Self { at: at.parse().ok()?, id: id.parse().ok()? }));
        place.ok_or_else(|| "this is no place in a list; take `next` of the page before as it is".to_owned())
    }
}

/// Which alerts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AlertFilter {
    /// What all searches take; times are those of the commit.
    pub common: Common,
    /// Only of these; empty: all.
    pub status: Vec<Status>,
    /// At least that bad.
    pub severity: Option<Severity>,
    /// Only of this source.
    pub source: Option<String>,
}

/// An alert in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AlertRow {
    /// Short id, `#1a3f`.
    pub id: String,
    /// One line.
    pub title: String,
    /// Firing, update, resolved or recorded.
    pub status: Status,
    /// How bad.
    pub severity: Severity,
    /// `mailbox:NAME`, `probe`, `api:TOKEN`.
    pub source: String,
    /// Who reports it.
    pub sender: String,
    /// Routed, unsubscribed or recorded.
    pub state: AlertState,
    /// Why.
    pub reason: String,
    /// When its mail was received.
    pub received: Timestamp,
    /// When it was committed.
    pub created: Timestamp,
    /// The groups that it is for.
    pub groups: Vec<GroupName>,
    /// Is a condition that it is about open now?
    pub open: bool,
}

/// Which notifications.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SentFilter {
    /// What all searches take; times are those of the commit.
    pub common: Common,
    /// Only in these states; empty: all.
    pub states: Vec<NotificationState>,
    /// Only this recipient's.
    pub recipient: Option<RecipientName>,
    /// Only this alert's.
    pub alert: Option<AlertId>,
}

/// One message in the archive: what was sent, or was to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArchiveRow {
    /// Number of the notification.
    pub id: i64,
    /// When it was committed.
    pub created: Timestamp,
    /// An alert, a digest or a notice.
    pub kind: Kind,
    /// Short id of its alert.
    pub alert: Option<String>,
    /// `mailbox:NAME`, `probe`, `api:TOKEN`; of a digest or a notice empty.
    pub source: String,
    /// Who reported it.
    pub sender: String,
    /// Firing, update, resolved; of a digest or a notice empty.
    pub status: String,
    /// How bad.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// The rest.
    pub text: String,
    /// To whom.
    pub recipient: RecipientName,
    /// Where.
    pub jid: String,
    /// The groups that brought them.
    pub groups: Vec<GroupName>,
    /// What became of it.
    pub state: NotificationState,
    /// Why.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was tried first.
    pub intended: Option<Timestamp>,
    /// When the server took it.
    pub accepted: Option<Timestamp>,
    /// When a client had it.
    pub delivered: Option<Timestamp>,
    /// When it ended otherwise.
    pub ended: Option<Timestamp>,
    /// The digest that carried it.
    pub digest: Option<i64>,
}

/// A condition in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConditionRow {
    /// Its number.
    pub id: i64,
    /// Within what its key counts.
    pub scope: String,
    /// What names it there.
    pub key: String,
    /// Open or closed.
    pub open: bool,
    /// The worst that was paged since it opened.
    pub severity: Severity,
    /// Short id of the alert that opened it.
    pub opened_by: Option<String>,
    /// When.
    pub opened_at: Option<Timestamp>,
    /// When it was paged last.
    pub last_paged: Option<Timestamp>,
    /// Title of what was said last.
    pub title: String,
    /// The groups that it is for.
    pub groups: Vec<GroupName>,
}

/// What an operator ends: an open condition, and the alert that speaks of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCondition {
    /// The condition.
    pub id: i64,
    /// What names it.
    pub key: String,
    /// The newest report of it counts as sent then: the end is not earlier.
    pub last_sent: Timestamp,
    /// The alert that opened it: its end is reported as by the same sender.
    pub opened_by: crate::queue::AlertRecord,
}

/// Questions to the store.
#[async_trait]
pub trait Search: Archive {
    /// Alerts, newest first.
    async fn alerts(&self, filter: &AlertFilter) -> Result<Page<AlertRow>, StoreError>;

    /// Notifications, newest first.
    async fn notifications(&self, filter: &SentFilter) -> Result<Page<NotificationView>, StoreError>;

    /// Conditions, newest first; `open`: only those.
    async fn conditions(&self, open: bool, common: &Common) -> Result<Page<ConditionRow>, StoreError>;

    /// The groups that the alert is for; `None`: there is none of that number.
    async fn alert_groups(&self, id: AlertId) -> Result<Option<Vec<GroupName>>, StoreError>;

    /// What is open of it; `None`: there is no such alert or condition.
    async fn open(&self, of: Subject) -> Result<Option<Open>, StoreError>;
}

/// Everything that was sent.
#[async_trait]
pub trait Archive: Send + Sync {
    /// Messages, oldest first, so that an export can go on where it ended.
    async fn archive(&self, filter: &SentFilter) -> Result<Page<ArchiveRow>, StoreError>;
}
