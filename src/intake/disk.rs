//! Below the reserve no mail is fetched: what is still in the mailbox is safe there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::model::Size;
use crate::queue::{Inbox, Outbox, StoreError};

/// How often the free space is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Free bytes that a turn of so many mails may need: raw mails, and half as much for the log of the database.
pub fn room_for_turn(max_size: u64, batch: usize) -> u64 {
    let mails = max_size.saturating_mul(u64::try_from(batch).unwrap_or(u64::MAX));
    mails.saturating_add(mails / 2)
}

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

/// Watches the free space of the store, down to `reserve` bytes (a reload may change them): returns what tells of it, and the task to be run. The first look is done here.
pub async fn watch_disk<Q>(
    queue: Arc<Q>,
    reserve: Arc<AtomicU64>,
    cancel: CancellationToken,
) -> Result<(Disk, impl Future<Output = Result<(), StoreError>>), StoreError>
where
    Q: Inbox + Outbox + ?Sized,
{
    let mut free = queue.room().await?.free;
    // Known before any mailbox is looked at: what starts below the reserve fetches nothing.
    let (tx, rx) = watch::channel(free >= reserve.load(Ordering::Relaxed));
    let task = async move {
        let mut told_room = true;
        let mut noted = true;
        loop {
            let reserve = reserve.load(Ordering::Relaxed);
            let room = free >= reserve;
            tx.send_if_modified(|was| std::mem::replace(was, room) != room);
            if room != told_room {
                log(room, free, reserve);
                (told_room, noted) = (room, room);
            }
            // A disk that is quite full takes no note either: tried until it is noted, or there is room again.
            if !noted {
                noted = note(&*queue, free, reserve).await;
            }
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(LOOK) => {}
            }
            free = queue.room().await?.free;
        }
    };
    Ok((Disk(rx), task))
}

fn log(room: bool, free: u64, reserve: u64) {
    if room {
        tracing::info!(free = %Size(free), "there is disk space again; mailboxes are polled");
    } else {
        tracing::error!(free = %Size(free), reserve = %Size(reserve),
            "disk space is below the reserve; no mail is fetched until there is room");
    }
}

/// Notes it for the operators; `false`: that did not work.
async fn note<Q: Outbox + ?Sized>(queue: &Q, free: u64, reserve: u64) -> bool {
    let text = format!(
        "only {} of disk space are free, the reserve is {}: no mail is fetched until there is room",
        Size(free),
        Size(reserve)
    );
    match queue.note("disk", &text, Timestamp::now()).await {
        Ok(()) => true,
        Err(err) => {
            tracing::warn!(%err, "cannot note the lack of disk space for the operators; tried again");
            false
        }
    }
}
