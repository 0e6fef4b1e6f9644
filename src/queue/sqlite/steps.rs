//! The steps of a notification that was sent: D3, D4, D5, and the ways back.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::Sqlite;
use super::conn::{Columns, Doing, json, us};
use super::storm::{gives_way, leave_out};
use super::timeline::event;
use crate::metrics::Way;
use crate::model::{Epoch, NotificationId, StanzaId};
use crate::queue::{Receipt, StoreError, Unwritten};

/// What a digest covers follows it: state and times are copied for the digests `d` that the condition names.
macro_rules! mirror {
    ($which:literal) => {
        concat!(
            "UPDATE notification SET state = d.state, in_doubt = d.in_doubt, epoch = d.epoch, \
             first_intent = coalesce(notification.first_intent, d.first_intent), \
             attempts = max(notification.attempts, d.attempts), accepted = d.accepted, delivered = d.delivered, \
             ended = d.ended, not_before = d.not_before, reason = d.reason, \
             presence = coalesce(d.presence, notification.presence), \
             awaited = d.awaited, again_until = d.again_until, resent = d.resent \
             FROM notification d WHERE d.kind = 'digest' AND notification.carrier = d.id AND ",
            $which
        )
    };
}
pub(super) use mirror;

/// What [`age`] asks of a notification that was written.
macro_rules! age_columns {
    () => {
        "kind = 'alert' AS of_alert, attempts = 1 AND first_intent = created AS express, coalesce((SELECT m.stored \
         FROM alert a JOIN message m ON m.id = a.message WHERE a.id = notification.alert), created) AS begun"
    };
}

/// How an alert's notification came to be sent, and how long it took from its mail being stored.
fn age(row: &SqliteRow, now: Timestamp) -> Result<Option<(Way, Duration)>, StoreError> {
    if !row.flag("of_alert")? {
        return Ok(None);
    }
    let way = if row.flag("express")? { Way::Express } else { Way::Queued };
    Ok(Some((way, Duration::try_from(now.duration_since(row.time("begun")?)).unwrap_or_default())))
}

pub(super) async fn next_epoch(store: &Sqlite) -> Result<Epoch, StoreError> {
    let mut lease = store.writer().await?;
    let row = sqlx::query(
        "INSERT INTO counter (name, value) VALUES ('epoch', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 \
         RETURNING value",
    )
    .fetch_all(&mut lease.conn)
    .await
    .doing("counting the start")?;
    lease.keep();
    let epoch = row.first().map(|row| row.int("value")).transpose()?;
    Ok(Epoch(epoch.unwrap_or(1)))
}

pub(super) async fn in_doubt(store: &Sqlite, now: Timestamp) -> Result<u64, StoreError> {
    let mut lease = store.begin().await?;
    let found = sqlx::query(
        "INSERT INTO event (alert, notification, at, event, detail) SELECT alert, id, $1, 'in doubt', '' \
           FROM notification WHERE state = 'sending' AND in_doubt = 0 AND alert IS NOT NULL; \
         SELECT count(*) AS n FROM notification WHERE state = 'sending' AND in_doubt = 0 AND carrier IS NULL; \
         UPDATE notification SET in_doubt = 1 WHERE state = 'sending' AND in_doubt = 0",
    )
    .bind(us(now))
    .fetch_all(&mut lease.conn)
    .await
    .doing("marking what is in doubt")?;
    lease.commit().await?;
    found.first().map_or(Ok(0), |row| row.count("n"))
}

pub(super) async fn d3_intend(
    store: &Sqlite,
    ids: &[NotificationId],
    seen: &[(NotificationId, &str)],
    epoch: Epoch,
    now: Timestamp,
) -> Result<Vec<NotificationId>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut lease = store.writer().await?;
    fail::fail_point!("before_d3");
    let found = sqlx::query(concat!(
        "BEGIN IMMEDIATE; \
         UPDATE notification SET presence = j.value ->> 1 FROM json_each($4) j WHERE notification.id = (j.value ->> 0) \
           AND notification.carrier IS NULL AND (notification.state = 'queued' OR notification.in_doubt = 1); \
         INSERT INTO event (alert, notification, at, event, detail) SELECT alert, id, $3, 'sent again', reason \
           FROM notification WHERE id IN (SELECT value FROM json_each($1)) AND attempts > 0 AND alert IS NOT NULL \
           AND carrier IS NULL AND (state = 'queued' OR in_doubt = 1); \
         UPDATE notification SET state = 'sending', in_doubt = 0, epoch = $2, attempts = attempts + 1, \
           first_intent = coalesce(first_intent, $3), not_before = NULL, waits = NULL, reason = '', \
           awaited = NULL, again_until = NULL, \
           folds = folds + (SELECT count(*) FROM notification f WHERE f.condition = notification.condition \
             AND f.jid = notification.jid AND f.id < notification.id \
             AND (f.state = 'queued' OR f.state = 'held' OR f.in_doubt = 1) AND ",
        gives_way!("f"),
        ") WHERE id IN (SELECT value FROM json_each($1)) AND carrier IS NULL AND (state = 'queued' OR in_doubt = 1) \
           RETURNING id, attempts > 1 AS again; \
         INSERT INTO intent (at, notification) SELECT $3, id FROM notification \
           WHERE id IN (SELECT value FROM json_each($1)) AND state = 'sending' AND epoch = $2 AND in_doubt = 0 \
           ON CONFLICT DO NOTHING; ",
        leave_out!(),
        "; ",
        mirror!("d.state = 'sending' AND d.id IN (SELECT value FROM json_each($1))"),
        "; COMMIT"
    ))
    .bind(json(ids)?)
    .bind(epoch.0)
    .bind(us(now))
    .bind(json(seen)?)
    .fetch_all(&mut lease.conn)
    .await
    .doing("writing the intent (D3)")?;
    fail::fail_point!("after_d3");
    lease.keep();
    let taken: HashSet<i64> = found.iter().map(|row| row.int("id")).collect::<Result<_, _>>()?;
    let again: Vec<bool> = found.iter().map(|row| row.flag("again")).collect::<Result<_, _>>()?;
    store.meter.intended(again.len(), again.into_iter().filter(|again| *again).count());
    Ok(ids.iter().copied().filter(|id| taken.contains(&id.0)).collect())
}

pub(super) async fn d4_accepted(store: &Sqlite, stanzas: &[StanzaId], now: Timestamp) -> Result<(), StoreError> {
    if stanzas.is_empty() {
        return Ok(());
    }
    let mut lease = store.writer().await?;
    fail::fail_point!("before_d4");
    let found = sqlx::query(concat!(
        "BEGIN IMMEDIATE; \
         UPDATE notification SET state = 'accepted', accepted = $2, in_doubt = 0, not_before = NULL, reason = '' \
           WHERE stanza_id IN (SELECT value FROM json_each($1)) AND +state = 'sending' RETURNING ",
        age_columns!(),
        "; ",
        mirror!("d.state = 'accepted' AND d.stanza_id IN (SELECT value FROM json_each($1))"),
        "; COMMIT"
    ))
    .bind(json(stanzas)?)
    .bind(us(now))
    .fetch_all(&mut lease.conn)
    .await
    .doing("writing acceptance (D4)")?;
    fail::fail_point!("after_d4");
    lease.keep();
    for row in &found {
        store.meter.accepted(age(row, now)?);
    }
    Ok(())
}

pub(super) async fn d5_delivered(
    store: &Sqlite,
    receipts: &[Receipt],
    now: Timestamp,
) -> Result<Vec<Receipt>, StoreError> {
    if receipts.is_empty() {
        return Ok(Vec::new());
    }
    let pairs: Vec<(&str, &str)> = receipts.iter().map(|r| (r.stanza_id.0.as_str(), r.from.as_str())).collect();
    let mut lease = store.writer().await?;
    fail::fail_point!("before_d5");
    // Also what came back and waits for its next attempt: another client of theirs has it.
    let found = sqlx::query(concat!(
        "BEGIN IMMEDIATE; \
         UPDATE notification SET state = 'delivered', delivered = $2, ended = $2, in_doubt = 0, not_before = NULL, \
           carrier = NULL, reason = '' FROM json_each($1) r \
           WHERE notification.stanza_id = (r.value ->> 0) AND notification.jid = (r.value ->> 1) \
           AND (+notification.state IN ('sending', 'accepted', 'unconfirmed') \
             OR (+notification.state = 'queued' AND notification.attempts > 0)) RETURNING NULL AS place, ",
        age_columns!(),
        "; ",
        mirror!("d.state = 'delivered' AND d.stanza_id IN (SELECT value ->> 0 FROM json_each($1))"),
        "; INSERT INTO sends_receipts (jid) SELECT n.jid FROM json_each($1) r JOIN notification n \
             ON n.stanza_id = (r.value ->> 0) AND n.jid = (r.value ->> 1) WHERE true ON CONFLICT DO NOTHING; \
         SELECT r.key AS place FROM json_each($1) r WHERE NOT EXISTS (SELECT 1 FROM notification n \
           WHERE n.stanza_id = (r.value ->> 0) AND n.jid = (r.value ->> 1)); \
         COMMIT"
    ))
    .bind(json(&pairs)?)
    .bind(us(now))
    .fetch_all(&mut lease.conn)
    .await
    .doing("writing receipts (D5)")?;
    fail::fail_point!("after_d5");
    lease.keep();
    let mut strange = HashSet::new();
    for row in &found {
        match row.maybe_int("place")? {
            Some(place) => drop(strange.insert(place)),
            None => store.meter.delivered(age(row, now)?),
        }
    }
    store.meter.ignored(strange.len());
    Ok((0i64..).zip(receipts).filter(|(place, _)| strange.contains(place)).map(|(_, r)| r.clone()).collect())
}

pub(super) async fn not_written(store: &Sqlite, letters: &[Unwritten]) -> Result<(), StoreError> {
    if letters.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = letters.iter().map(|l| (&l.stanza_id.0, l.attempts, i64::from(l.in_doubt))).collect();
    let mut lease = store.begin().await?;
    sqlx::query(concat!(
        "UPDATE notification SET state = CASE (r.value ->> 2) WHEN 0 THEN 'queued' ELSE 'sending' END, \
           in_doubt = (r.value ->> 2), attempts = attempts - 1, \
           first_intent = CASE attempts WHEN 1 THEN NULL ELSE first_intent END FROM json_each($1) r \
           WHERE notification.stanza_id = (r.value ->> 0) AND +notification.state = 'sending' \
           AND notification.in_doubt = 0 AND notification.attempts = (r.value ->> 1); ",
        mirror!("d.stanza_id IN (SELECT value ->> 0 FROM json_each($1))")
    ))
    .bind(json(&lines)?)
    .execute(&mut lease.conn)
    .await
    .doing("taking back an intent")?;
    lease.commit().await
}

// An error for an earlier copy of what a digest carries by now says nothing of the digest.

pub(super) async fn retry(
    store: &Sqlite,
    stanza: &StanzaId,
    not_before: Timestamp,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = concat!(
        "UPDATE notification SET state = 'queued', in_doubt = 0, not_before = $2, waits = NULL, accepted = NULL, ended = NULL, reason = $3 \
           WHERE stanza_id = $1 AND +state IN ('sending', 'accepted', 'unconfirmed') AND carrier IS NULL RETURNING id; ",
        mirror!("d.state = 'queued' AND d.stanza_id = $1")
    );
    back(store, sql, stanza, not_before, reason, (now, "refused for now")).await
}

pub(super) async fn doubt(
    store: &Sqlite,
    stanza: &StanzaId,
    not_before: Timestamp,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = concat!(
        "UPDATE notification SET in_doubt = 1, not_before = $2, reason = $3 \
           WHERE stanza_id = $1 AND +state = 'sending' AND in_doubt = 0 AND carrier IS NULL RETURNING id; ",
        mirror!("d.in_doubt = 1 AND d.stanza_id = $1")
    );
    back(store, sql, stanza, not_before, reason, (now, "in doubt")).await
}

pub(super) async fn dead(store: &Sqlite, stanza: &StanzaId, reason: &str, now: Timestamp) -> Result<(), StoreError> {
    let sql = concat!(
        "UPDATE notification SET state = 'dead', in_doubt = 0, ended = $2, reason = $3 \
           WHERE stanza_id = $1 AND +state IN ('sending', 'accepted', 'unconfirmed') AND carrier IS NULL RETURNING id; ",
        mirror!("d.state = 'dead' AND d.stanza_id = $1")
    );
    back(store, sql, stanza, now, reason, (now, "dead")).await
}

async fn back(
    store: &Sqlite,
    sql: &'static str,
    stanza: &StanzaId,
    time: Timestamp,
    reason: &str,
    (now, what): (Timestamp, &str),
) -> Result<(), StoreError> {
    let mut lease = store.begin().await?;
    let query = sqlx::query(sql).bind(&stanza.0).bind(us(time)).bind(reason);
    let found = query.fetch_all(&mut lease.conn).await.doing("writing a refusal")?;
    if let Some(row) = found.first() {
        let id = NotificationId(row.try_get("id").doing("writing a refusal")?);
        event(&mut lease.conn, &json(&[id])?, now, what, reason).await?;
    }
    lease.commit().await
}
