//! The messages of a batch as they are stored, and whether the same mail was seen before.

use std::collections::{HashMap, HashSet};

use sqlx::SqliteConnection;

use super::rows::hex;
use crate::model::{MessageId, MessageState};
use crate::queue::sqlite::conn::{Columns, Doing, json, us};
use crate::queue::{D2Message, StoreError, Verdict};

/// A message as it is stored.
pub(super) struct Stored {
    pub mailbox: String,
    pub state: MessageState,
    /// The earlier message that is the same mail.
    pub same: Option<i64>,
}

/// The same mail has the same Message-ID, Date and body, in the same mailbox; without a Message-ID the same bytes, where the
/// earlier one's cursor is of another generation, or was gone and is listed again. Only an earlier mail that came to the same thing counts: one that was
/// rejected, say, must not silence the one that is not.
pub(super) async fn find(
    conn: &mut SqliteConnection,
    batch: &[D2Message],
) -> Result<HashMap<MessageId, Stored>, StoreError> {
    let lines: Vec<_> = batch
        .iter()
        .map(|message| {
            let as_state = comes_to(message);
            let digest = message.digest.as_ref().filter(|_| as_state.is_some());
            let body = digest.map(|d| hex(&d.body_sha256));
            let (id, date) = (digest.and_then(|d| d.message_id.as_deref()), digest.and_then(|d| d.date).map(us));
            (message.id, id, date, body, as_state.map(MessageState::as_str))
        })
        .collect();
    let found = sqlx::query(
        "WITH j (id, digest_id, digest_date, digest_body, as_state) AS MATERIALIZED (SELECT value ->> 0, value ->> 1, \
           value ->> 2, unhex(value ->> 3), value ->> 4 FROM json_each($1)) \
         SELECT m.id, m.mailbox, m.state, CASE WHEN j.digest_body IS NULL THEN NULL WHEN j.digest_id IS NOT NULL THEN \
           (SELECT min(e.id) FROM message e WHERE e.digest_id = j.digest_id AND e.mailbox = m.mailbox \
             AND e.digest_date IS j.digest_date AND e.digest_body = j.digest_body AND +e.state = j.as_state \
             AND e.id <> m.id) ELSE \
           (SELECT min(e.id) FROM message e WHERE e.raw_sha256 = m.raw_sha256 AND e.digest_id IS NULL \
             AND e.digest_body IS NOT NULL AND e.mailbox = m.mailbox AND +e.state = j.as_state AND e.id <> m.id \
             AND (e.uidvalidity <> m.uidvalidity OR (e.retired = 1 AND (e.uidl IS NOT NULL OR e.uid = m.uid)))) END AS same \
         FROM j JOIN message m ON m.id = j.id",
    )
    .bind(json(&lines)?)
    .fetch_all(conn)
    .await
    .doing("looking at messages (D2)")?;
    found
        .iter()
        .map(|row| {
            let state = row.word("state")?;
            let stored = Stored { mailbox: row.text("mailbox")?, state, same: row.maybe_int("same")? };
            Ok((MessageId(row.int("id")?), stored))
        })
        .collect()
}

/// What an earlier mail must have come to for this one to be its duplicate; `None`: it does not matter.
fn comes_to(message: &D2Message) -> Option<MessageState> {
    match &message.verdict {
        Verdict::Alerts { .. } => Some(MessageState::Parsed),
        Verdict::Ends(state @ (MessageState::Quarantined | MessageState::Stale), _) => Some(*state),
        Verdict::Ends(..) => None,
    }
}

/// Those that may be the same mail as an earlier one of the batch, or are in it twice: what was found of them has to be looked
/// at again when their turn comes.
pub(super) fn alike(batch: &[D2Message]) -> HashSet<MessageId> {
    let (mut bodies, mut ids) = (HashSet::new(), HashSet::new());
    let mut alike = HashSet::new();
    for message in batch {
        let known = message.digest.as_ref().is_some_and(|d| !bodies.insert((&d.message_id, &d.body_sha256)));
        if !ids.insert(message.id) || known {
            alike.insert(message.id);
        }
    }
    alike
}
