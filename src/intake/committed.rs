//! What is done after each D2: what was born `sending` is written, and what nobody wants is told.

use jiff::Timestamp;

use crate::model::{AlertId, Epoch};
use crate::queue::{Express, Outbox, Outgoing, StoreError, Unwritten, patiently};

/// Writes what was born `sending` under this epoch; what cannot be written is queued again.
pub(super) async fn hand_over<Q: Outbox + ?Sized>(
    queue: &Q,
    express: &dyn Express,
    epoch: Option<Epoch>,
    born: Vec<Outgoing>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if born.is_empty() {
        return Ok(());
    }
    // The session went down before they were written; the next one may have taken them up already.
    let back = express.hand_over(epoch, born, now).into_iter();
    let back: Vec<_> = back.map(|stanza_id| Unwritten { stanza_id, attempts: 1, in_doubt: false }).collect();
    patiently("queue again", || queue.not_written(&back)).await
}

pub(super) fn log_unsubscribed(alerts: &[(AlertId, String)]) {
    for (id, title) in alerts {
        tracing::warn!(alert = %id, title = %title.escape_debug(),
            "no route and no default group wants this alert; it is archived as unsubscribed");
    }
}
