//! The durable queue: a port whose operations are the commits by name.
//!
//! | commit | method | what is durable afterwards |
//! | --- | --- | --- |
//! | D1 | [`Inbox::d1_store`] | raw mails with their cursors; only now may the mailbox be touched, or `250` be said |
//! | D2 | [`Inbox::d2_commit`] | alerts, conditions and one notification for each recipient, with its stanza id |
//! | D2 | [`Findings::d2_found`] | the same of what came without a mail, and the state that its source keeps of it |
//! | D2 | [`Posts::d2_posted`] | the same of what came over HTTP, and what tells that a request was done |
//! | D3 | [`Outbox::d3_intend`] | the intent to send; only now may the socket be written |
//! | D4 | [`Outbox::d4_accepted`] | the XMPP server took it |
//! | D5 | [`Outbox::d5_delivered`] | a client has it, and the recipient sends receipts |
//! | again | [`Receipts::d3_resend`] | the intent to send once more what got no receipt |
//!
//! Each commit is atomic: after a crash it has happened or it has not. All times are arguments; the adapter has no clock.

mod event;
mod export;
pub mod files;
mod found;
mod patience;
mod port;
mod purge;
mod receipts;
mod resolve;
pub mod sqlite;
mod storm;
mod story;
mod views;

pub use event::{
    AlertEvent, ConditionEvent, Event, EventKind, EventPage, Happened, MailboxEvent, MessageEvent, NotificationEvent,
    PresenceEvent, ProbeEvent, Reach,
};
pub use export::{CSV_HEAD, csv_line};
pub use found::{Found, FoundReport};
pub use patience::patiently;
pub use port::{
    AlertFilter, AlertRow, Archive, ArchiveRow, Common, ConditionRow, Desk, Done, Events, Express, Findings, Holding,
    Inbox, Mark, Old, Once, OpenCondition, Outbox, Page, Post, Posted, PostedReport, Posts, Purged, Queue, Retention,
    Search, SentFilter, Tokens,
};
pub use purge::{Ages, purge};
pub use receipts::{Awaited, Missed, Receipts};
pub use resolve::{LONGEST_REASON, Open, Resolved, Subject};
pub use storm::{Ask, DigestText, Folded, Intent, More, Place, Wait, Waited, Way};
pub use story::{AboutCondition, Answer, LeftOut, MessageView, TimelineRow};
pub use views::{
    AlertRecord, Content, D2Message, D2Report, Ended, Handed, Held, ListFilter, NoticeDue, NotificationView, Outgoing,
    QuarantineView, Receipt, Removed, Returning, Room, StoredMessage, Uncleared, Unwritten, Verdict, Watch, WatchEnd,
    WatchMember,
};

use std::path::PathBuf;
use std::time::Duration;

/// Reason of a notification that ended because its policy says `skip`. A critical alert that reaches nobody takes those back.
pub const SKIPPED: &str = "not reachable, and the policy says skip";

/// `[store]` of the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Database file; its lock and the control socket stand beside it.
    pub path: PathBuf,
    /// Raw mails are purged after this.
    pub raw_for: Duration,
    /// Everything that is over is purged after this.
    pub history_for: Duration,
    /// No more alerts than this are kept; 0: any number.
    pub history_max: u64,
    /// Below this many free bytes polling stops.
    pub reserve: u64,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
#[error("store: {what}")]
pub struct StoreError {
    /// What was being done, and what the database said.
    pub what: String,
    /// What follows from it.
    pub fault: StoreFault,
}

impl StoreError {
    /// It is not there, or not possible: nothing happened.
    pub fn refused(what: impl Into<String>) -> Self {
        Self { what: what.into(), fault: StoreFault::Refused }
    }
}

/// What follows from a failed store operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// No space (SQLITE_FULL, ENOSPC): it was rolled back; go on when there is room again.
    Full,
    /// The caller asked for something that is not there or not possible in that state; nothing happened.
    Refused,
    /// Anything else, a failed fsync above all: what is on disk is unknown. Stop and exit 74.
    Broken,
}
