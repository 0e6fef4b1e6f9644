//! Receipts that do not come (XEP-0184): what is sent once more, and what ends without one.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::{Outgoing, StoreError};
use crate::model::{BareJid, Epoch, NotificationId, StanzaId};

/// What of the accepted has waited longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Awaited {
    /// Since when the oldest waits for its receipt.
    pub receipt: Option<Timestamp>,
    /// Since when the oldest waits that got none and is to be sent again.
    pub again: Option<Timestamp>,
    /// When the first of those has to be given up.
    pub until: Option<Timestamp>,
}

/// What came of receipts that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Missed {
    /// So many are to be sent again.
    pub again: u64,
    /// So many ended as unconfirmed.
    pub unconfirmed: u64,
}

/// The part of [`Outbox`](super::Outbox) about accepted notifications whose receipt does not come.
///
/// An accepted one waits for its receipt. Without one in time it ends as unconfirmed; unless receipts of its recipient were seen
/// before (D5 remembers that): then it is [missed](Self::miss), stays accepted, and is sent again once, with the same stanza
/// id. What a digest covers follows the digest.
#[async_trait]
pub trait Receipts: Send + Sync {
    /// What has waited longest.
    async fn awaited(&self) -> Result<Awaited, StoreError>;

    /// Accepted before `before`, and no receipt of this recipient was ever seen: unconfirmed. Returns how many.
    async fn unconfirm(&self, before: Timestamp, now: Timestamp) -> Result<u64, StoreError>;

    /// Accepted before `before` and no receipt, though there were some of the recipient: to be sent again, at the latest when
    /// their hold would be over (`hold_for`), but for `patience` after it was accepted in any case; and where it is critical its
    /// groups are watched anew. What needs no second copy any more is unconfirmed; so is what had its second copy before
    /// `before`, and that recipient's receipts then count as never seen.
    async fn miss(&self, before: Timestamp, patience: SignedDuration, now: Timestamp) -> Result<Missed, StoreError>;

    /// Recipients of what is to be sent again and was accepted before `before`.
    async fn recipients_unanswered(&self, before: Timestamp) -> Result<Vec<BareJid>, StoreError>;

    /// What is to be sent to one of them again and was accepted before `before`: critical first, then oldest, at most `limit`.
    /// What needs no second copy any more is unconfirmed.
    async fn unanswered(
        &self,
        recipient: &BareJid,
        before: Timestamp,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Outgoing>, StoreError>;

    /// Nothing is to be sent again to this recipient: unconfirmed, with the reason.
    async fn never_again(&self, recipient: &BareJid, reason: &str, now: Timestamp) -> Result<(), StoreError>;

    /// The intent to send it again, durable like D3, once and never a second time. Returns those that still were to be; they
    /// stay accepted, and wait for their receipt from now on.
    async fn d3_resend(
        &self,
        ids: &[NotificationId],
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<Vec<NotificationId>, StoreError>;

    /// As before that intent: the session went away before anything was written.
    async fn not_resent(&self, stanzas: &[StanzaId]) -> Result<(), StoreError>;
}
