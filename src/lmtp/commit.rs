//! D1 of what comes in over all connections of a door: whatever is complete while one commit runs goes into the next one
//! together, so that many senders share an fsync and a single one waits for none but its own.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::model::MessageId;
use crate::queue::{Handed, Inbox, StoreError, StoreFault};

/// Most mails in one commit, and most bytes of them.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 8 << 20;

/// A mail to be stored, and who waits for that.
struct Job {
    handed: Handed,
    done: oneshot::Sender<Vec<MessageId>>,
}

/// The connections' end. What is under way is bounded by them: each has one mail at a time.
#[derive(Clone)]
pub(super) struct Commits(mpsc::UnboundedSender<Job>);

impl Commits {
    /// D1. Gives the messages' numbers, in the order of the mail's mailboxes; `None`: nothing was stored.
    pub(super) async fn store(&self, handed: Handed) -> Option<Vec<MessageId>> {
        let (done, stored) = oneshot::channel();
        self.0.send(Job { handed, done }).ok()?;
        stored.await.ok()
    }
}

/// The way to the task, and the task: it ends once all ends of the way are dropped and everything is answered.
pub(super) fn commits<Q: Inbox + ?Sized>(
    queue: Arc<Q>,
    stored: Arc<Notify>,
) -> (Commits, impl Future<Output = Result<(), StoreError>>) {
    let (sender, mut jobs) = mpsc::unbounded_channel();
    let task = async move {
        let mut full = false;
        while let Some(first) = jobs.recv().await {
            let (batch, waiting) = together(first, &mut jobs);
            match queue.d1_handed(&batch, Timestamp::now()).await {
                Ok(ids) => {
                    // The parser first: it has more to do than who waits for the answer.
                    stored.notify_one();
                    for (done, ids) in waiting.into_iter().zip(ids) {
                        // A connection that is gone: the mail is stored, and found to be a duplicate if it comes again.
                        let _ = done.send(ids);
                    }
                    if std::mem::take(&mut full) {
                        tracing::info!("there is room on the disk again; mails are taken");
                    }
                }
                Err(err) if err.fault == StoreFault::Full => {
                    if !std::mem::replace(&mut full, true) {
                        tracing::error!(%err, "the disk is full: mails are refused for now, their senders keep them");
                    }
                }
                // What is on disk is unknown: nobody is told that a mail is stored.
                Err(err) => return Err(err),
            }
        }
        Ok(())
    };
    (Commits(sender), task)
}

fn together(
    first: Job,
    jobs: &mut mpsc::UnboundedReceiver<Job>,
) -> (Vec<Handed>, Vec<oneshot::Sender<Vec<MessageId>>>) {
    let mut bytes = 0;
    let (mut batch, mut waiting) = (Vec::new(), Vec::new());
    let mut next = Some(first);
    while let Some(Job { handed, done }) = next {
        bytes += handed.mail.raw.len() * handed.mailboxes.len();
        batch.push(handed);
        waiting.push(done);
        let room = batch.len() < BATCH && bytes < BATCH_BYTES;
        next = if room { jobs.try_recv().ok() } else { None };
    }
    (batch, waiting)
}
