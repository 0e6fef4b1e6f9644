//! How many mails of each mailbox may still be taken before it is looked again how many wait to be parsed.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::model::MailboxName;
use crate::queue::{Inbox, StoreError};

/// So many mails of a mailbox may wait to be parsed; as many more as are on their way in over connections.
const WAITING: u64 = 400;

/// One mailbox's. What waits grows only by what is let in here, so that one look is good for as many mails as there was room:
/// in a flood the store has better things to do than to count for each of them.
#[derive(Debug, Default)]
pub(super) struct Room {
    left: AtomicU64,
    looking: Mutex<()>,
}

impl Room {
    /// May one more be taken?
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn take<Q: Inbox + ?Sized>(&self, queue: &Q, mailbox: &MailboxName) -> Result<bool, StoreError> {
        if self.take_left() {
            return Ok(true);
        }
        // One looks for all who wait.
        let _looking = self.looking.lock().await;
        if self.take_left() {
            return Ok(true);
        }
        let room = WAITING.saturating_sub(queue.waiting(mailbox).await?);
        self.left.store(room.saturating_sub(1), Ordering::Release);
        Ok(room > 0)
    }

    fn take_left(&self) -> bool {
        self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok()
    }
}
