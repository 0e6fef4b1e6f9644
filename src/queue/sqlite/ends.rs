//! Holds, and the ends that come without sending.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::conn::{Columns, Doing, json, us};
use super::timeline::event;
use super::{Sqlite, storm};
use crate::model::{AlertId, BareJid, NotificationId};
use crate::queue::{Ended, StoreError};

pub(super) async fn hold(
    store: &Sqlite,
    ids: &[NotificationId],
    until: Timestamp,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids = json(ids)?;
    let mut lease = store.begin().await?;
    event_for_queued(&mut lease.conn, &ids, now, "held", reason).await?;
    // A digest is not held: what it covers is, and the next one says what is true then.
    sqlx::query(
        "UPDATE notification SET state = 'held', held_until = $2, not_before = NULL, carrier = NULL, reason = $3 \
           WHERE carrier IN (SELECT d.id FROM notification d WHERE d.id IN (SELECT value FROM json_each($1)) \
           AND d.kind = 'digest' AND d.state = 'queued'); \
         UPDATE notification SET state = 'superseded', ended = $4, reason = 'held again' \
           WHERE id IN (SELECT value FROM json_each($1)) AND kind = 'digest' AND +state = 'queued'; \
         UPDATE notification SET state = 'held', held_until = $2, not_before = NULL, waits = NULL, reason = $3 \
           WHERE id IN (SELECT value FROM json_each($1)) AND +state = 'queued' AND carrier IS NULL",
    )
    .bind(ids)
    .bind(us(until))
    .bind(reason)
    .bind(us(now))
    .execute(&mut lease.conn)
    .await
    .doing("holding")?;
    lease.commit().await
}

pub(super) async fn skip(
    store: &Sqlite,
    ids: &[NotificationId],
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids = json(ids)?;
    let mut lease = store.begin().await?;
    // A digest is not skipped: what it covers is.
    sqlx::query(
        "UPDATE notification SET state = 'expired', ended = $2, waits = NULL, reason = $3, carrier = NULL \
           WHERE carrier IN (SELECT d.id FROM notification d WHERE d.id IN (SELECT value FROM json_each($1)) \
           AND d.kind = 'digest' AND d.state = 'queued'); \
         UPDATE notification SET state = 'superseded', ended = $2, reason = 'all of it was skipped' \
           WHERE id IN (SELECT value FROM json_each($1)) AND kind = 'digest' AND +state = 'queued'; \
         UPDATE notification SET state = 'expired', ended = $2, waits = NULL, reason = $3 \
           WHERE id IN (SELECT value FROM json_each($1)) AND +state = 'queued' AND carrier IS NULL AND kind <> 'digest'",
    )
    .bind(ids)
    .bind(us(now))
    .bind(reason)
    .execute(&mut lease.conn)
    .await
    .doing("skipping")?;
    lease.commit().await
}

pub(super) async fn release_held(store: &Sqlite, ids: &[NotificationId], now: Timestamp) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids = json(ids)?;
    let mut lease = store.begin().await?;
    sqlx::query(
        "INSERT INTO event (alert, notification, at, event, detail) SELECT alert, id, $2, 'released', '' \
           FROM notification WHERE id IN (SELECT value FROM json_each($1)) AND +state = 'held' AND alert IS NOT NULL; \
         UPDATE notification SET unsaid = 0 WHERE unsaid = 1 \
           AND jid IN (SELECT jid FROM notification WHERE id IN (SELECT value FROM json_each($1)) AND +state = 'held'); \
         UPDATE notification SET state = 'queued', held_until = NULL, reason = '' \
           WHERE id IN (SELECT value FROM json_each($1)) AND +state = 'held'",
    )
    .bind(ids)
    .bind(us(now))
    .execute(&mut lease.conn)
    .await
    .doing("releasing")?;
    lease.commit().await
}

pub(super) async fn forget_ended(store: &Sqlite, recipient: &BareJid) -> Result<(), StoreError> {
    let mut lease = store.writer().await?;
    sqlx::query("UPDATE notification SET unsaid = 0 WHERE jid = $1 AND unsaid = 1")
        .bind(recipient.as_str())
        .execute(&mut lease.conn)
        .await
        .doing("forgetting what ended")?;
    lease.keep();
    Ok(())
}

pub(super) async fn expire(store: &Sqlite, now: Timestamp) -> Result<Vec<Ended>, StoreError> {
    let mut lease = store.begin().await?;
    // A time that has come is no timer any more.
    let found = sqlx::query(
        "UPDATE notification SET not_before = NULL \
           WHERE state = 'queued' AND not_before IS NOT NULL AND not_before <= $1; \
         UPDATE notification SET state = 'expired', ended = $1, unsaid = 1, \
           reason = 'the hold ended' || CASE reason WHEN '' THEN '' ELSE ': ' || reason END \
           WHERE state = 'held' AND held_until <= $1 RETURNING id, recipient, alert, severity; \
         UPDATE notification SET state = 'expired', ended = $1, unsaid = (state = 'held' OR waits IS NOT NULL), \
           waits = NULL, reason = 'of no use any more' \
           WHERE (state = 'queued' OR state = 'held') AND expires IS NOT NULL AND expires <= $1 \
           AND severity <> 'critical' AND carrier IS NULL RETURNING id, recipient, alert, severity",
    )
    .bind(us(now))
    .fetch_all(&mut lease.conn)
    .await
    .doing("ending what is over")?;
    storm::forget(&mut lease.conn, now).await?;
    let mut alerts = BTreeSet::new();
    for row in &found {
        alerts.extend(row.maybe_int("alert")?);
    }
    let untold = if alerts.is_empty() { BTreeMap::new() } else { nobody_told(&mut lease.conn, &alerts).await? };
    lease.commit().await?;
    found
        .iter()
        .map(|row| {
            let alert = row.maybe_int("alert")?;
            Ok(Ended {
                id: NotificationId(row.int("id")?),
                recipient: row.word("recipient")?,
                alert: alert.map(AlertId),
                severity: row.word("severity")?,
                nobody_told: alert.is_some_and(|alert| untold.get(&alert).copied().unwrap_or(false)),
            })
        })
        .collect()
}

/// For each alert: nobody was told of it, and nobody can be any more. Where a fallback may yet be added there is somebody.
async fn nobody_told(conn: &mut SqliteConnection, alerts: &BTreeSet<i64>) -> Result<BTreeMap<i64, bool>, StoreError> {
    let found = sqlx::query(
        "SELECT j.value AS alert, NOT EXISTS (SELECT 1 FROM notification n WHERE n.alert = j.value \
         AND n.state IN ('queued', 'held', 'sending', 'accepted', 'delivered', 'acknowledged', 'unconfirmed')) \
         AND NOT EXISTS (SELECT 1 FROM watch w WHERE w.alert = j.value AND w.fallback IS NOT NULL) AS nobody \
         FROM json_each($1) j",
    )
    .bind(json(alerts)?)
    .fetch_all(conn)
    .await
    .doing("looking whether anybody was told")?;
    found.iter().map(|row| Ok((row.int("alert")?, row.flag("nobody")?))).collect()
}

async fn event_for_queued(
    conn: &mut SqliteConnection,
    ids: &str,
    now: Timestamp,
    what: &str,
    detail: &str,
) -> Result<(), StoreError> {
    let sql = "SELECT coalesce(json_group_array(id), '[]') AS ids FROM notification \
               WHERE id IN (SELECT value FROM json_each($1)) AND +state = 'queued'";
    let row = sqlx::query(sql).bind(ids).fetch_one(&mut *conn).await.doing("holding")?;
    event(conn, &row.text("ids")?, now, what, detail).await
}
