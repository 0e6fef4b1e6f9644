//! What the operators are to be told: counted, and told at most so often.

use std::sync::PoisonError;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::Sqlite;
use super::conn::{Columns, Doing, json, us};
use crate::model::{Delivery, Recipient, Severity, StanzaId};
use crate::queue::{NoticeDue, StoreError};

/// Where notices stand in the queue: behind critical alerts.
const SEVERITY: Severity = Severity::Major;

pub(super) async fn note(store: &Sqlite, topic: &str, text: &str) -> Result<(), StoreError> {
    let mut lease = store.writer().await?;
    count(&mut lease.conn, topic, text, 1).await?;
    lease.keep();
    Ok(())
}

/// Counts `n` more of a topic; the newest text stays.
pub(super) async fn count(conn: &mut SqliteConnection, topic: &str, text: &str, n: u64) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO notice (topic, text, count) VALUES ($1, $2, $3) \
         ON CONFLICT (topic) DO UPDATE SET text = excluded.text, count = count + excluded.count",
    )
    .bind(topic)
    .bind(text)
    .bind(i64::try_from(n).unwrap_or(i64::MAX))
    .execute(conn)
    .await
    .map(drop)
    .doing("noting for the operators")
}

/// A mark is a topic of which nothing is to be told.
pub(super) async fn untold(store: &Sqlite, marks: &[String]) -> Result<Vec<String>, StoreError> {
    let mut lease = store.reader().await?;
    let found = sqlx::query(
        "SELECT j.value AS mark FROM json_each($1) j WHERE j.value NOT IN (SELECT topic FROM notice) ORDER BY j.key",
    )
    .bind(json(marks)?)
    .fetch_all(&mut lease.conn)
    .await
    .doing("looking what was told")?;
    lease.keep();
    found.iter().map(|row| row.text("mark")).collect()
}

pub(super) async fn note_once(store: &Sqlite, topic: &str, text: &str, marks: &[String]) -> Result<(), StoreError> {
    let mut lease = store.begin().await?;
    sqlx::query(
        "INSERT INTO notice (topic, text, count) SELECT value, '', 0 FROM json_each($1) WHERE true ON CONFLICT DO NOTHING",
    )
    .bind(json(marks)?)
    .execute(&mut lease.conn)
    .await
    .doing("noting for the operators")?;
    count(&mut lease.conn, topic, text, 1).await?;
    lease.commit().await
}

pub(super) async fn unmark(store: &Sqlite, mark: &str) -> Result<(), StoreError> {
    let mut lease = store.writer().await?;
    let done =
        sqlx::query("DELETE FROM notice WHERE topic = $1 AND count = 0").bind(mark).execute(&mut lease.conn).await;
    done.doing("forgetting a mark")?;
    lease.keep();
    Ok(())
}

/// Also remembers how many the notice will speak of.
pub(super) async fn due(store: &Sqlite, told_before: Timestamp) -> Result<Vec<NoticeDue>, StoreError> {
    let mut lease = store.reader().await?;
    let found = sqlx::query(
        "SELECT topic, text, count FROM notice WHERE count > 0 AND (last_told IS NULL OR last_told < $1) ORDER BY topic",
    )
    .bind(us(told_before))
    .fetch_all(&mut lease.conn)
    .await
    .doing("looking for notices")?;
    lease.keep();
    let due = found
        .iter()
        .map(|row| Ok(NoticeDue { topic: row.text("topic")?, text: row.text("text")?, count: row.count("count")? }))
        .collect::<Result<Vec<_>, StoreError>>()?;
    let mut offered = store.offered.lock().unwrap_or_else(PoisonError::into_inner);
    *offered = due.iter().map(|notice| (notice.topic.clone(), notice.count)).collect();
    Ok(due)
}

pub(super) async fn notice(
    store: &Sqlite,
    topic: &str,
    text: &str,
    operators: &[(Recipient, Delivery)],
    now: Timestamp,
) -> Result<(), StoreError> {
    let lines = operators
        .iter()
        .map(|(who, delivery)| {
            let delivery = json(delivery)?;
            Ok((who.name.as_str(), who.jid.as_str(), who.lang.as_deref(), delivery, StanzaId::random().0))
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    let offered = store.offered.lock().unwrap_or_else(PoisonError::into_inner).get(topic).copied();
    let mut lease = store.begin().await?;
    sqlx::query(
        "INSERT INTO notification (kind, recipient, jid, lang, groups, delivery, stanza_id, state, severity, rank, text, \
           created) SELECT 'notice', value ->> 0, value ->> 1, value ->> 2, '[]', value ->> 3, value ->> 4, 'queued', \
           $2, $3, $4, $5 FROM json_each($1); \
         INSERT INTO notice (topic, text, count, last_told) VALUES ($6, $4, 0, $5) ON CONFLICT (topic) DO UPDATE SET \
           count = max(0, count - $7), last_told = excluded.last_told",
    )
    .bind(json(&lines)?)
    .bind(SEVERITY.as_str())
    .bind(i64::from(SEVERITY.rank()))
    .bind(text)
    .bind(us(now))
    .bind(topic)
    .bind(i64::try_from(offered.unwrap_or(u64::MAX)).unwrap_or(i64::MAX))
    .execute(&mut lease.conn)
    .await
    .doing("queueing a notice")?;
    lease.commit().await?;
    store.offered.lock().unwrap_or_else(PoisonError::into_inner).remove(topic);
    Ok(())
}
