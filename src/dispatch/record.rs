//! D4 and D5, batched, in a task of their own: what is waiting while one commit runs is the next batch.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::clock::Wall;
use crate::model::StanzaId;
use crate::queue::{Outbox, Receipt, StoreError, patiently};

/// Bound of what may wait to be recorded; the worker waits beyond it.
const WAITING: usize = 4096;

/// One thing to record.
pub enum Record {
    /// D4.
    Accepted(Vec<StanzaId>),
    /// D5.
    Receipt(Receipt),
    /// Answered once everything before it is durable.
    Barrier(oneshot::Sender<()>),
}

/// A channel to the recorder, and the recorder to be run.
pub fn recorder<Q: Outbox + ?Sized>(
    queue: Arc<Q>,
    wall: Wall,
) -> (mpsc::Sender<Record>, impl Future<Output = Result<(), StoreError>>) {
    let (tx, rx) = mpsc::channel(WAITING);
    (tx, run(queue, wall, rx))
}

/// Runs until all senders are gone, and everything they sent is durable.
async fn run<Q: Outbox + ?Sized>(queue: Arc<Q>, wall: Wall, mut rx: mpsc::Receiver<Record>) -> Result<(), StoreError> {
    let mut batch = Vec::new();
    while rx.recv_many(&mut batch, 512).await > 0 {
        let (mut accepted, mut receipts, mut barriers) = (Vec::new(), Vec::new(), Vec::new());
        for record in batch.drain(..) {
            match record {
                Record::Accepted(stanzas) => accepted.extend(stanzas),
                Record::Receipt(receipt) => receipts.push(receipt),
                Record::Barrier(done) => barriers.push(done),
            }
        }
        let now = wall();
        if !accepted.is_empty() {
            patiently("record what the server accepted", || queue.d4_accepted(&accepted, now)).await?;
        }
        if !receipts.is_empty() {
            let strange = patiently("record receipts", || queue.d5_delivered(&receipts, now)).await?;
            for receipt in strange {
                tracing::info!(from = %receipt.from, stanza = %receipt.stanza_id.0.escape_debug(),
                    "ignored a receipt: it is for nothing that was sent to this sender");
            }
        }
        for done in barriers {
            // The worker may be gone by now.
            let _ = done.send(());
        }
    }
    Ok(())
}
