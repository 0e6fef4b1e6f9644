//! What happened, as a bounded log: for who wants to hear of it as it happens.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::model::GroupName;
use crate::queue::{EventPage, Happened, Reach, StoreError};

/// The log of events. What changes in the store is written there by the commit that changes it; the rest by [`tell`](Self::tell).
#[async_trait]
pub trait Events: Send + Sync {
    /// What the log reaches from and to.
    async fn span(&self) -> Result<Reach, StoreError>;

    /// At most `limit` events with a greater number, in order. Of a message that came in also its header, and so many bytes after
    /// it, each no longer than `body`; 0: neither.
    async fn events(&self, after: i64, limit: usize, body: usize) -> Result<EventPage, StoreError>;

    /// Writes down what no commit tells: presence and mailboxes. Others are left out.
    async fn tell(&self, news: &[(Happened, Vec<GroupName>)]) -> Result<(), StoreError>;

    /// Removes at most `limit` of the oldest where there are more than `keep`; returns how many are left to be removed.
    async fn trim(&self, keep: u64, limit: u64) -> Result<u64, StoreError>;

    /// Notified after each commit; for one who waits.
    fn news(&self) -> Arc<Notify>;
}
