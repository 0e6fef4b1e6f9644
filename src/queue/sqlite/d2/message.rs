//! D2 of a batch of parsed messages.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::find::{self, Stored};
use super::together::{self, Member};
use super::{Arrival, Fault, Outcome, Told, Work, Written, alert, begin};
use crate::model::{MessageId, MessageState, Planner};
use crate::queue::sqlite::Sqlite;
use crate::queue::sqlite::conn::{Doing, json, us};
use crate::queue::{D2Message, D2Report, Express, StoreError, Verdict};

pub(in crate::queue::sqlite) async fn commit(
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
    let mut work = begin(&mut lease.conn, planner, express, now).await?;
    let stored = find::find(&mut lease.conn, &batch).await?;
    let mut turn = Turn { stored, again: find::alike(&batch), ends: Vec::new(), told: Told::default() };
    while let Some(rest) = batch.get(turn.ends.len()..).filter(|rest| !rest.is_empty() && work.goes_on()) {
        let mut members = turn.front(planner, rest);
        if members.len() < 2 {
            if let Some(first) = rest.first() {
                turn.one(&mut lease.conn, &mut work, first).await?;
            }
            continue;
        }
        together::look_up(&mut lease.conn, &mut members).await?;
        for run in members.chunk_by(|a, b| a.new == b.new) {
            if !turn.run(&mut lease.conn, &mut work, run).await? {
                break;
            }
        }
    }
    let Turn { stored, ends, told, .. } = turn;
    super::end(lease, work, &told, &store.meter).await?;
    let new = |id: &MessageId| stored.get(id).filter(|s| s.state == MessageState::Ready);
    for (mail, state) in ends.iter().filter_map(|(id, state)| Some((new(id)?, *state))) {
        store.meter.mail(&mail.mailbox, state);
    }
    let Told { born, queued, unsubscribed, .. } = told;
    Ok(D2Report { born, queued, messages: ends, unsubscribed })
}

/// One D2 of messages.
struct Turn {
    stored: HashMap<MessageId, Stored>,
    /// Those that have to be looked at again when their turn comes.
    again: HashSet<MessageId>,
    /// State in which each message ended, in order.
    ends: Vec<(MessageId, MessageState)>,
    told: Told,
}

impl Turn {
    /// Those at the front that may go together.
    fn front<'a>(&self, planner: &dyn Planner, rest: &'a [D2Message]) -> Vec<Member<'a>> {
        let alone = rest.iter().map(|message| {
            let stored =
                self.stored.get(&message.id).is_some_and(|s| s.state == MessageState::Ready && s.same.is_none());
            let Verdict::Alerts { alerts, .. } = &message.verdict else { return None };
            let new = stored && !self.again.contains(&message.id);
            alerts.first().filter(|_| new).map(|alert| (Arrival::of(message), alert))
        });
        together::front(planner, alone)
    }

    /// Commits what may go together, and the others of it one by one. `false`: it is enough for now.
    async fn run(
        &mut self,
        conn: &mut SqliteConnection,
        work: &mut Work<'_>,
        run: &[Member<'_>],
    ) -> Result<bool, StoreError> {
        let done = together::commit(conn, work, run, &mut self.told).await?;
        let mut messages = run.iter().filter_map(|member| member.arrival.message);
        self.ends.extend(messages.by_ref().take(done).map(|message| (message.id, MessageState::Parsed)));
        for message in messages {
            if !work.goes_on() {
                return Ok(false);
            }
            self.one(conn, work, message).await?;
        }
        Ok(true)
    }

    /// Commits a message by itself.
    async fn one(
        &mut self,
        conn: &mut SqliteConnection,
        work: &mut Work<'_>,
        message: &D2Message,
    ) -> Result<(), StoreError> {
        let id = message.id;
        if self.again.contains(&id) {
            // An earlier one of this batch may be the same mail.
            self.stored.extend(find::find(conn, std::slice::from_ref(message)).await?);
        }
        let stored = self.stored.get(&id).ok_or_else(|| StoreError::refused(format!("there is no message {id}")))?;
        let (state, outcome) = whole(conn, work, message, stored).await?;
        self.ends.push((id, state));
        self.told.take(outcome);
        Ok(())
    }
}

async fn whole(
    conn: &mut SqliteConnection,
    work: &mut Work<'_>,
    message: &D2Message,
    stored: &Stored,
) -> Result<(MessageState, Outcome), StoreError> {
    work.written = Written::Nothing;
    if stored.state != MessageState::Ready {
        // Committed before: once more would page once more.
        return Ok((stored.state, Outcome::default()));
    }
    if let Some(same) = stored.same {
        end(conn, work, message, MessageState::Duplicate, &format!("the same mail as message {same}")).await?;
        return Ok((MessageState::Duplicate, Outcome::default()));
    }
    let (alerts, bad) = match &message.verdict {
        Verdict::Ends(state, reason) => return ends(conn, work, message, &stored.mailbox, *state, reason).await,
        Verdict::Alerts { alerts, bad } => (alerts, bad),
    };
    let (mark, mut outcome) = (work.mark(), Outcome::default());
    let done = alert::all(conn, work, Arrival::of(message), alerts, &mut outcome).await;
    let reasons: Vec<&str> = match &done {
        Ok(()) if work.written == Written::Ended => return Ok((MessageState::Parsed, outcome)),
        Ok(()) if alerts.is_empty() && bad.is_empty() => vec!["there is no alert in it"],
        Ok(()) => bad.iter().map(String::as_str).collect(),
        Err(Fault::Content(reason)) => vec![reason],
        Err(Fault::Store(err)) => return Err(StoreError { what: err.what.clone(), fault: err.fault }),
    };
    let state = if done.is_ok() && !alerts.is_empty() { MessageState::Parsed } else { MessageState::Quarantined };
    if done.is_err() {
        tracing::error!(mail = %message.id, reason = %reasons.concat().escape_debug(), "message quarantined");
        work.undo(conn, mark).await?;
        outcome = Outcome::default();
    }
    outcome.notes.extend(quarantine(conn, message.id, &stored.mailbox, &reasons).await?);
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
            return Err(StoreError::refused(format!("message {} cannot end as {}", message.id, state.as_str())));
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
