//! D2: a batch of parsed messages in one commit, each message whole or not at all.

mod alert;
mod find;
mod known;
mod notify;
mod rows;
mod together;
mod ways;

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use sqlx::SqliteConnection;

use self::find::Found;
use self::together::Member;
use super::conn::{Columns, Doing, broken, code, failed, json, refused, us};
use super::{Sqlite, notices};
use crate::model::{Alert, AlertId, MessageId, MessageState, Planner, Scope};
use crate::queue::{D2Message, D2Report, Express, Outgoing, Place, StoreError, Verdict};

/// So many notifications are enough for one D2: other commits wait meanwhile, and with them what is to be sent.
const ENOUGH: usize = 256;

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
    places: Vec<Place>,
}

impl Reserved<'_> {
    /// All but the first `keep`.
    fn give_back(&mut self, keep: usize) {
        let back = self.places.split_off(keep.min(self.places.len()));
        if !back.is_empty() {
            self.express.release(&back);
        }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.give_back(0);
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
    /// The first of this D2.
    first: i64,
    written: Written,
}

impl Work<'_> {
    /// How many more notifications this D2 should write.
    fn left(&self) -> usize {
        ENOUGH.saturating_sub(usize::try_from(self.notification - self.first).unwrap_or(ENOUGH))
    }

    fn goes_on(&self) -> bool {
        self.left() > 0
    }
}

/// One alert of a message.
struct Case<'a> {
    message: &'a D2Message,
    alert: &'a Alert,
    id: AlertId,
    scope: Scope,
}

/// How far the message at hand is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    /// Nothing.
    Nothing,
    /// Something, inside the savepoint `message`.
    Begun,
    /// All of it, its end included.
    Ended,
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

pub(super) async fn commit(
    store: &Sqlite,
    batch: Vec<D2Message>,
    planner: &dyn Planner,
    express: &dyn Express,
    now: Timestamp,
) -> Result<D2Report, StoreError> {
    if batch.is_empty() {
        return Ok(D2Report::default());
    }
    let mut lease = store.writer().await?;
    let [alert, condition, notification] = begin(&mut lease.conn).await?;
    let reserved = Reserved { express, places: Vec::new() };
    let mut work =
        Work { planner, reserved, now, alert, condition, notification, first: notification, written: Written::Nothing };
    let mut found = find::find(&mut lease.conn, &batch).await?;
    let again = find::alike(&batch);
    let mut told = Told::default();
    while let Some(rest) = batch.get(told.report.messages.len()..).filter(|rest| !rest.is_empty() && work.goes_on()) {
        let members = together::front(planner, rest, &found, &again);
        if members.len() < 2 {
            if let Some(first) = rest.first() {
                one(&mut lease.conn, &mut work, first, &mut found, &again, &mut told).await?;
            }
            continue;
        }
        let new = together::new_ones(&mut lease.conn, &members).await?;
        for run in members.chunk_by(|a, b| new.contains(&a.message.id) == new.contains(&b.message.id)) {
            let new = run.first().is_some_and(|member| new.contains(&member.message.id));
            if !several(&mut lease.conn, &mut work, run, new, &mut found, &again, &mut told).await? {
                break;
            }
        }
    }
    let Told { report, notes } = told;
    for (topic, (n, text)) in notes {
        notices::count(&mut lease.conn, &topic, &text, n).await?;
    }
    fail::fail_point!("inside_d2");
    lease.commit().await?;
    fail::fail_point!("after_d2");
    // They belong to what was born now.
    work.reserved.places.clear();
    Ok(report)
}

/// Begins the transaction, and gives the next numbers of alerts, conditions and notifications.
async fn begin(conn: &mut SqliteConnection) -> Result<[i64; 3], StoreError> {
    let found = sqlx::query(
        "BEGIN IMMEDIATE; \
         SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'alert'), 0) + 1 AS alert, \
           coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'condition'), 0) + 1 AS condition, \
           coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'notification'), 0) + 1 AS notification",
    )
    .fetch_all(conn)
    .await
    .doing("beginning (D2)")?;
    let row = found.first().ok_or_else(|| broken("beginning (D2): no numbers"))?;
    Ok([row.int("alert")?, row.int("condition")?, row.int("notification")?])
}

/// What there is to tell of the batch.
#[derive(Default)]
struct Told {
    report: D2Report,
    /// For the operators, by topic: how many, and the last text.
    notes: BTreeMap<String, (u64, String)>,
}

impl Told {
    fn take(&mut self, outcome: Outcome) {
        self.report.born.extend(outcome.born);
        self.report.queued += outcome.queued;
        self.report.unsubscribed.extend(outcome.unsubscribed);
        for (topic, text) in outcome.notes {
            let note = self.notes.entry(topic).or_default();
            *note = (note.0 + 1, text);
        }
    }
}

/// Commits messages that have nothing to do with each other: together where they are `new`. `false`: it is enough for now.
async fn several(
    conn: &mut SqliteConnection,
    work: &mut Work<'_>,
    run: &[Member<'_>],
    new: bool,
    found: &mut HashMap<MessageId, Found>,
    again: &HashSet<MessageId>,
    told: &mut Told,
) -> Result<bool, StoreError> {
    let mut left = run;
    while new && !left.is_empty() {
        if !work.goes_on() {
            return Ok(false);
        }
        match together::commit(conn, work, left).await {
            Ok((done, outcome)) => {
                let (done, rest) = left.split_at(done);
                told.report.messages.extend(done.iter().map(|m| (m.message.id, MessageState::Parsed)));
                told.take(outcome);
                left = rest;
            }
            Err(Fault::Message(_)) => break,
            Err(Fault::Store(err)) => return Err(err),
        }
    }
    for member in left {
        if !work.goes_on() {
            return Ok(false);
        }
        one(conn, work, member.message, found, again, told).await?;
    }
    Ok(true)
}

/// Commits a message by itself.
async fn one(
    conn: &mut SqliteConnection,
    work: &mut Work<'_>,
    message: &D2Message,
    found: &mut HashMap<MessageId, Found>,
    again: &HashSet<MessageId>,
    told: &mut Told,
) -> Result<(), StoreError> {
    let id = message.id;
    if again.contains(&id) {
        // An earlier one of this batch may be the same mail.
        found.extend(find::find(conn, std::slice::from_ref(message)).await?);
    }
    let found = found.get(&id).ok_or_else(|| refused(format!("there is no message {id}")))?;
    let (state, outcome) = message_commit(conn, work, message, found).await?;
    told.report.messages.push((id, state));
    told.take(outcome);
    Ok(())
}

async fn message_commit(
    conn: &mut SqliteConnection,
    work: &mut Work<'_>,
    message: &D2Message,
    found: &Found,
) -> Result<(MessageState, Outcome), StoreError> {
    work.written = Written::Nothing;
    if found.state != MessageState::Ready {
        // Committed before: once more would page once more.
        return Ok((found.state, Outcome::default()));
    }
    if let Some(same) = found.same {
        end(conn, work, message, MessageState::Duplicate, &format!("the same mail as message {same}")).await?;
        return Ok((MessageState::Duplicate, Outcome::default()));
    }
    let (alerts, bad) = match &message.verdict {
        Verdict::Ends(state, reason) => return ends(conn, work, message, &found.mailbox, *state, reason).await,
        Verdict::Alerts { alerts, bad } => (alerts, bad),
    };
    let reserved = work.reserved.places.len();
    let mut outcome = Outcome::default();
    let mut done = Ok(());
    for alert in alerts {
        done = alert::commit(conn, work, message, alert, &mut outcome).await;
        if done.is_err() {
            break;
        }
    }
    let reasons: Vec<&str> = match &done {
        Ok(()) if work.written == Written::Ended => return Ok((MessageState::Parsed, outcome)),
        Ok(()) if alerts.is_empty() && bad.is_empty() => vec!["there is no alert in it"],
        Ok(()) => bad.iter().map(String::as_str).collect(),
        Err(Fault::Message(reason)) => vec![reason],
        Err(Fault::Store(err)) => return Err(StoreError { what: err.what.clone(), fault: err.fault }),
    };
    let state = if done.is_ok() && !alerts.is_empty() { MessageState::Parsed } else { MessageState::Quarantined };
    if done.is_err() {
        tracing::error!(message = %message.id, reason = %reasons.concat().escape_debug(), "message quarantined");
        if work.written != Written::Nothing {
            sqlx::query("ROLLBACK TO message").execute(&mut *conn).await.doing("undoing a message")?;
            work.written = Written::Begun;
        }
        work.reserved.give_back(reserved);
        outcome = Outcome::default();
    }
    outcome.notes.extend(quarantine(conn, message.id, &found.mailbox, &reasons).await?);
    let reason = if state == MessageState::Quarantined { reasons.join("; ") } else { String::new() };
    end(conn, work, message, state, &reason).await?;
    Ok((state, outcome))
}

async fn ends(
    conn: &mut SqliteConnection,
    work: &Work<'_>,
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
    end(conn, work, message, state, reason).await?;
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

/// Ends a message in its state, and the savepoint that was begun for it.
async fn end(
    conn: &mut SqliteConnection,
    work: &Work<'_>,
    message: &D2Message,
    state: MessageState,
    reason: &str,
) -> Result<(), StoreError> {
    const END: &str = "UPDATE message SET state = $2, reason = $3, parsed = $4, digest_id = $5, digest_date = $6, \
        digest_body = $7, rejected = max(rejected, $2 = 'rejected') WHERE id = $1";
    const END_AND_RELEASE: &str = "UPDATE message SET state = $2, reason = $3, parsed = $4, digest_id = $5, \
        digest_date = $6, digest_body = $7, rejected = max(rejected, $2 = 'rejected') WHERE id = $1; RELEASE message";
    let digest = message.digest.as_ref();
    sqlx::query(if work.written == Written::Begun { END_AND_RELEASE } else { END })
        .bind(message.id.0)
        .bind(state.as_str())
        .bind(reason)
        .bind(us(work.now))
        .bind(digest.and_then(|d| d.message_id.as_deref()))
        .bind(digest.and_then(|d| d.date).map(us))
        .bind(digest.map(|d| d.body_sha256.to_vec()))
        .execute(conn)
        .await
        .map(drop)
        .doing("ending a message (D2)")
}
