//! What people do with single notifications and messages.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::model::{AlertId, MessageId, NotificationId};
use crate::queue::{ListFilter, MessageView, NotificationView, QuarantineView, StoreError};

/// What people ask and do, through the CLI and the API.
#[async_trait]
pub trait Desk: Send + Sync {
    /// Notifications, by number.
    async fn list(&self, filter: &ListFilter) -> Result<Vec<NotificationView>, StoreError>;

    /// One alert, with its notifications and timeline.
    async fn show_alert(&self, id: AlertId) -> Result<Option<MessageView>, StoreError>;

    /// One notification.
    async fn show(&self, id: NotificationId) -> Result<Option<NotificationView>, StoreError>;

    /// Send it now, whatever the presence says: from queued, held, expired, dead, unconfirmed; others are refused.
    async fn retry_now(&self, id: NotificationId, now: Timestamp) -> Result<(), StoreError>;

    /// End it: from queued, held; others are refused.
    async fn expire_now(&self, id: NotificationId, reason: &str, now: Timestamp) -> Result<(), StoreError>;

    /// Quarantined messages with a greater number, oldest first.
    async fn quarantine(&self, after: Option<MessageId>, limit: usize) -> Result<Vec<QuarantineView>, StoreError>;

    /// One quarantined message with its raw mail; the mail is gone after `raw_for`.
    async fn quarantined(&self, id: MessageId) -> Result<Option<(QuarantineView, Option<Vec<u8>>)>, StoreError>;

    /// Takes a message out of quarantine to be parsed anew, by the rules that are in force then, whatever its age; what it
    /// still holds that cannot be read brings it back. What was read of it the first time is not told again. Refused where
    /// it is not in quarantine, was purged, or never fetched whole.
    async fn replay(&self, id: MessageId) -> Result<(), StoreError>;
}
