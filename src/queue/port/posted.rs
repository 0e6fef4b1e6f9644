//! Alerts that are handed in over HTTP, a request at a time: all of it or nothing.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Alert, AlertId, AlertState, GroupName, Planner, Source};
use crate::queue::{Express, Outgoing, StoreError};

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Whose alerts they are: `api:TOKEN`.
    pub source: Source,
    /// An operator ends what this source reported: the ends count as its own.
    pub by_operator: bool,
    /// The only groups that it may dispatch to; empty: all.
    pub groups: Vec<GroupName>,
    /// Its alerts, in order. Of one with an id and without `sent` an earlier one with that id and status is the same.
    pub alerts: Vec<Alert>,
    /// Alerts of a sender that posts what holds again and again.
    pub posted: Vec<Holding>,
    /// Done once, however often it comes.
    pub once: Option<Once>,
}

impl Post {
    /// Under whose name it is remembered; what is of no token is not.
    pub fn token(&self) -> &str {
        match &self.source {
            Source::Api(token) => token.as_str(),
            Source::Mailbox(_) | Source::Probe => "",
        }
    }
}

/// What tells that a request was done before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// The sender's `Idempotency-Key`.
    pub key: String,
    /// SHA-256 of its body, in hexadecimal digits.
    pub sha256: String,
}

/// An alert that holds as long as it is posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// What it is, for the sender.
    pub fingerprint: String,
    /// It is over then, unless it is posted again.
    pub ends: Timestamp,
    /// As it is told while it holds.
    pub alert: Alert,
    /// Nobody posted it: it is over if nobody has in the meantime.
    pub unless_posted: bool,
}

/// What became of one alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// Its short id.
    pub alert: String,
    /// The sender's identifier.
    pub id: String,
    /// Routed, unsubscribed or recorded.
    pub state: AlertState,
    /// The alert that it is the same as.
    pub duplicate_of: Option<AlertId>,
    /// Why.
    pub reason: String,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// It is durable: what became of each alert, in order.
    Now(Vec<Posted>),
    /// It was done before, under the same key.
    Before(Vec<Posted>),
    /// Another request was done under the same key.
    Other,
    /// This alert cannot be kept, and so nothing of the request is.
    Refused(usize, String),
}

/// What a D2 of requests did.
#[derive(Debug, Default)]
pub struct PostedReport {
    /// What became of so many from the front.
    pub done: Vec<Done>,
    /// Notifications born `sending`: the places that [`Express`] reserved for them are theirs. Send them now.
    pub born: Vec<Outgoing>,
    /// Alerts that nobody subscribes to: id, title.
    pub unsubscribed: Vec<(AlertId, String)>,
}

/// What the HTTP door needs of the queue to take alerts.
#[async_trait]
pub trait Posts: Send + Sync {
    /// D2 of requests, in order, in one commit; each whole or not at all. Where many are to be told it commits only as many from
    /// the front as keep it short, at least one.
    async fn d2_posted(
        &self,
        posts: &[Post],
        planner: &dyn Planner,
        express: &dyn Express,
        now: Timestamp,
    ) -> Result<PostedReport, StoreError>;

    /// Alerts that were not posted again in time, at most `limit`, as they are to be ended; and when the next one is due.
    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<(Vec<Post>, Option<Timestamp>), StoreError>;
}
