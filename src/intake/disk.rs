//! Below the reserve no mail is fetched: what is still in the mailbox is safe there.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::model::Size;
use crate::queue::{Inbox, Outbox, StoreError};

/// How often the free space is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Tells whether there is room to fetch.
#[derive(Debug, Clone)]
pub struct Disk(watch::Receiver<bool>);

impl Disk {
    /// Is there room?
    pub fn has_room(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until there is.
    pub async fn room(&mut self) {
        // An error means that the watch has ended, and with it the service.
        let _ = self.0.wait_for(|room| *room).await;
    }
}

/// Watches the free space of the store: returns what tells of it, and the task to be run. The first look is done here.
pub async fn watch_disk<Q>(
    queue: Arc<Q>,
    reserve: u64,
    cancel: CancellationToken,
) -> Result<(Disk, impl Future<Output = Result<(), StoreError>>), StoreError>
where
    Q: Inbox + Outbox + ?Sized,
{
    let free = queue.room().await?.free;
    let (tx, rx) = watch::channel(true);
    let task = async move {
        let mut free = free;
        loop {
            let room = free >= reserve;
            if tx.send_if_modified(|was| std::mem::replace(was, room) != room) {
                tell(&*queue, room, free, reserve).await;
            }
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(LOOK) => {}
            }
            free = queue.room().await?.free;
        }
    };
    // What starts below the reserve is told by the task's first round, but must not fetch before it.
    if free < reserve {
        tracing::warn!(free = %Size(free), reserve = %Size(reserve), "little disk space at start");
    }
    Ok((Disk(rx), task))
}

async fn tell<Q: Outbox + ?Sized>(queue: &Q, room: bool, free: u64, reserve: u64) {
    if room {
        tracing::info!(free = %Size(free), "there is disk space again; mailboxes are polled");
        return;
    }
    tracing::error!(free = %Size(free), reserve = %Size(reserve),
        "disk space is below the reserve; no mail is fetched until there is room");
    let text = format!(
        "only {} of disk space are free, the reserve is {}: no mail is fetched until there is room",
        Size(free),
        Size(reserve)
    );
    if let Err(err) = queue.note("disk", &text, Timestamp::now()).await {
        tracing::warn!(%err, "cannot note the lack of disk space for the operators");
    }
}
