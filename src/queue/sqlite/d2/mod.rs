//! D2: a batch of parsed messages in one commit, each message whole or not at all.

mod alert;
mod known;
mod notify;

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::conn::{Columns, Doing, code, failed, json, refused, us};
use super::inbox::next_id;
use super::{Sqlite, notices};
use crate::model::{Alert, AlertId, MessageId, MessageState, Planner, Scope};
use crate::queue::{D2Message, D2Report, Express, Outgoing, StoreError, Verdict};

/// What stopped a message.
enum Fault {
    /// Something in it: it is quarantined alone, and its neighbours go on.
    Message(String),
    /// The store: nothing of the batch happened.
    Store(StoreError),
}

impl From<StoreError> for Fault {
    fn from(err: StoreError) -> Self {
        Self::Store(err)
    }
}

/// Tells a constraint, a type or a size that one message's content broke from a store that fails.
fn mine<T>(result: Result<T, sqlx::Error>, what: &str) -> Result<T, Fault> {
    const OF_THE_CONTENT: [i32; 3] = [18, 19, 20];
    result.map_err(|err| match code(&err) {
        Some(code) if OF_THE_CONTENT.contains(&(code & 0xff)) => Fault::Message(format!("{what}: {err}")),
        _ => Fault::Store(failed(what, &err)),
    })
}

/// Places that the messenger keeps for us. Given back when dropped: the commit did not happen.
struct Reserved<'a> {
    express: &'a dyn Express,
    places: usize,
}

impl Reserved<'_> {
    fn give_back(&mut self, places: usize) {
        if places > 0 {
            self.express.release(places);
            self.places -= places;
        }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.give_back(self.places);
    }
}

/// What every message of a D2 is worked on with.
struct Work<'a> {
    planner: &'a dyn Planner,
    reserved: Reserved<'a>,
    now: Timestamp,
    /// The next numbers: one writer, so that they stay the next ones until the commit.
    alert: i64,
    condition: i64,
    notification: i64,
}

/// One alert of a message.
struct Case<'a> {
    message: &'a D2Message,
    alert: &'a Alert,
    id: AlertId,
    scope: Scope,
}

/// What came of one message.
#[derive(Default)]
struct Outcome {
    born: Vec<Outgoing>,
    queued: usize,
    unsubscribed: Vec<(AlertId, String)>,
    /// Topic and text, for the operators.
    notes: Vec<(String, String)>,
}

/// A message as it was found.
struct Found {
    mailbox: String,
    state: MessageState,
    /// The earlier message that is the same mail.
    same: Option<i64>,
}

pub(super) async fn commit(
    store: &Sqlite,
    batch: Vec<D2Message>,
    planner: &dyn Planner,
    express: &dyn Express,
    now: Timestamp,
) -> Result<D2Report, StoreError> {
    let mut report = D2Report::default();
    if batch.is_empty() {
        return Ok(report);
    }
    let mut lease = store.begin().await?;
    let mut work = Work {
        planner,
        reserved: Reserved { express, places: 0 },
        now,
        alert: next_id(&mut lease.conn, "alert").await?,
        condition: next_id(&mut lease.conn, "condition").await?,
        notification: next_id(&mut lease.conn, "notification").await?,
    };
    let mut notes: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for message in batch {
        let id = message.id;
        let (state, outcome) = message_commit(&mut lease.conn, &mut work, message).await?;
        report.messages.push((id, state));
        report.born.extend(outcome.born);
        report.queued += outcome.queued;
        report.unsubscribed.extend(outcome.unsubscribed);
        for (topic, text) in outcome.notes {
            let note = notes.entry(topic).or_default();
            *note = (note.0 + 1, text);
        }
    }
    for (topic, (n, text)) in notes {
        notices::count(&mut lease.conn, &topic, &text, n).await?;
    }
    fail::fail_point!("inside_d2");
    lease.commit().await?;
    fail::fail_point!("after_d2");
    // They belong to what was born now.
    work.reserved.places = 0;
    Ok(report)
}

async fn message_commit(
    conn: &mut SqliteConnection,
    work: &mut Work<'_>,
    message: D2Message,
) -> Result<(MessageState, Outcome), StoreError> {
    let found = find(conn, &message).await?;
    if found.state != MessageState::Ready {
        // Committed before: once more would page once more.
        release(conn).await?;
        return Ok((found.state, Outcome::default()));
    }
    if let Some(same) = found.same {
        end(conn, work.now, &message, MessageState::Duplicate, &format!("the same mail as message {same}")).await?;
        return Ok((MessageState::Duplicate, Outcome::default()));
    }
    let (alerts, bad) = match &message.verdict {
        Verdict::Ends(state, reason) => return ends(conn, work.now, &message, &found.mailbox, *state, reason).await,
        Verdict::Alerts { alerts, bad } => (alerts, bad),
    };
    let reserved = work.reserved.places;
    let mut outcome = Outcome::default();
    let mut done = Ok(());
    for alert in alerts {
        done = alert::commit(conn, work, &message, alert, &mut outcome).await;
        if done.is_err() {
            break;
        }
    }
    let reasons: Vec<&str> = match &done {
        Ok(()) if alerts.is_empty() && bad.is_empty() => vec!["there is no alert in it"],
        Ok(()) => bad.iter().map(String::as_str).collect(),
        Err(Fault::Message(reason)) => vec![reason],
        Err(Fault::Store(err)) => return Err(StoreError { what: err.what.clone(), fault: err.fault }),
    };
    let state = if done.is_ok() && !alerts.is_empty() { MessageState::Parsed } else { MessageState::Quarantined };
    if done.is_err() {
        tracing::error!(message = %message.id, reason = reasons.concat().escape_debug().to_string(), "message quarantined");
        sqlx::query("ROLLBACK TO message").execute(&mut *conn).await.doing("undoing a message")?;
        work.reserved.give_back(work.reserved.places - reserved);
        outcome = Outcome::default();
    }
    outcome.notes.extend(quarantine(conn, message.id, &found.mailbox, &reasons).await?);
    let reason = if state == MessageState::Quarantined { reasons.join("; ") } else { String::new() };
    end(conn, work.now, &message, state, &reason).await?;
    Ok((state, outcome))
}

/// Begins a message, and looks whether the same mail was seen before.
///
/// The same Message-ID, Date and body in the same mailbox; without a Message-ID the same bytes, where the earlier one's
/// cursor is of another generation. Only an earlier mail that came to the same thing counts: one that was rejected, say,
/// must not silence the one that is not.
async fn find(conn: &mut SqliteConnection, message: &D2Message) -> Result<Found, StoreError> {
    let as_state = match &message.verdict {
        Verdict::Alerts { .. } => Some(MessageState::Parsed),
        Verdict::Ends(state @ (MessageState::Quarantined | MessageState::Stale), _) => Some(*state),
        Verdict::Ends(..) => None,
    };
    let digest = message.digest.as_ref().filter(|_| as_state.is_some());
    let found = sqlx::query(
        "SAVEPOINT message; \
         SELECT m.mailbox, m.state, CASE WHEN $4 IS NULL THEN NULL WHEN $2 IS NOT NULL THEN \
           (SELECT min(e.id) FROM message e WHERE e.digest_id = $2 AND e.mailbox = m.mailbox AND e.digest_date IS $3 \
             AND e.digest_body = $4 AND +e.state = $5 AND e.id <> m.id) ELSE \
           (SELECT min(e.id) FROM message e WHERE e.raw_sha256 = m.raw_sha256 AND e.digest_id IS NULL \
             AND e.digest_body IS NOT NULL AND e.mailbox = m.mailbox AND +e.state = $5 AND e.id <> m.id \
             AND (e.uidvalidity <> m.uidvalidity OR e.retired = 1)) END AS same \
         FROM message m WHERE m.id = $1",
    )
    .bind(message.id.0)
    .bind(digest.and_then(|d| d.message_id.as_deref()))
    .bind(digest.and_then(|d| d.date).map(us))
    .bind(digest.map(|d| d.body_sha256.to_vec()))
    .bind(as_state.map(MessageState::as_str))
    .fetch_all(conn)
    .await
    .doing("looking at a message (D2)")?;
    let row = found.first().ok_or_else(|| refused(format!("there is no message {}", message.id)))?;
    Ok(Found { mailbox: row.text("mailbox")?, state: row.word("state")?, same: row.maybe_int("same")? })
}

async fn ends(
    conn: &mut SqliteConnection,
    now: Timestamp,
    message: &D2Message,
    mailbox: &str,
    state: MessageState,
    reason: &str,
) -> Result<(MessageState, Outcome), StoreError> {
    let mut outcome = Outcome::default();
    match state {
        MessageState::Ready | MessageState::Parsed => {
            return Err(refused(format!("message {} cannot end as {}", message.id, state.as_str())));
        }
        MessageState::Quarantined => outcome.notes.extend(quarantine(conn, message.id, mailbox, &[reason]).await?),
        MessageState::Stale => outcome.notes.push((format!("stale:{mailbox}"), reason.to_owned())),
        MessageState::Ignored | MessageState::Rejected | MessageState::Duplicate => {}
    }
    end(conn, now, message, state, reason).await?;
    Ok((state, outcome))
}

async fn quarantine(
    conn: &mut SqliteConnection,
    id: MessageId,
    mailbox: &str,
    reasons: &[&str],
) -> Result<Option<(String, String)>, StoreError> {
    let Some(first) = reasons.first() else { return Ok(None) };
    sqlx::query(
        "INSERT INTO quarantine_reason (message, n, reason) SELECT $1, key, value FROM json_each($2) WHERE true \
         ON CONFLICT DO NOTHING",
    )
    .bind(id.0)
    .bind(json(reasons)?)
    .execute(conn)
    .await
    .doing("quarantining (D2)")?;
    Ok(Some((
        "quarantine".to_owned(),
        format!("mailbox {mailbox}: message {id} is in quarantine: {first}; see `mailbell quarantine show {id}`"),
    )))
}

/// Ends a message in its state, and what was begun for it.
async fn end(
    conn: &mut SqliteConnection,
    now: Timestamp,
    message: &D2Message,
    state: MessageState,
    reason: &str,
) -> Result<(), StoreError> {
    let digest = message.digest.as_ref();
    sqlx::query(
        "UPDATE message SET state = $2, reason = $3, parsed = $4, digest_id = $5, digest_date = $6, digest_body = $7, \
           rejected = max(rejected, $2 = 'rejected') WHERE id = $1; \
         RELEASE message",
    )
    .bind(message.id.0)
    .bind(state.as_str())
    .bind(reason)
    .bind(us(now))
    .bind(digest.and_then(|d| d.message_id.as_deref()))
    .bind(digest.and_then(|d| d.date).map(us))
    .bind(digest.map(|d| d.body_sha256.to_vec()))
    .execute(conn)
    .await
    .map(drop)
    .doing("ending a message (D2)")
}

async fn release(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query("RELEASE message").execute(conn).await.map(drop).doing("ending a message (D2)")
}
