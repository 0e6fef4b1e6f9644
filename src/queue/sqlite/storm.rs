//! What waits because it would be too much: for a digest, or for the pause after a message about its condition.
//!
//! A notification waits while `waits` is set: it is not due, and stands in no index of what is due. `follows` stays: once a newer
//! one of its condition is due for the recipient, that one is sent in its stead, and the D3 of that one ends it.

use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;

use super::Sqlite;
use super::conn::{Columns, Doing, broken, json, us};
use super::digest::{Cover, cover};
use super::outbox::not_behind;
use super::rows::{self, notification_columns};
use crate::model::{BareJid, ConditionId, NotificationId, Recipient, Severity};
use crate::queue::{DigestText, Folded, Intent, More, StoreError, Wait, Waited};

/// Most alerts that one digest carries: its commits must stay short.
const MOST: i64 = 4000;

/// Intents are kept for so long: for what dispatch asks after a restart.
const KEPT: SignedDuration = SignedDuration::from_secs(65);

/// Most of them that are forgotten at a time.
const FORGET: i64 = 4000;

/// `o` had to wait, and gives way to a newer one of its condition. What may have been sent before does not, nor what an
/// operator asked for, nor what is about several conditions.
macro_rules! gives_way {
    ($o:literal) => {
        concat!(
            $o,
            ".state = 'queued' AND ",
            $o,
            ".follows = 1 AND ",
            $o,
            ".several = 0 AND ",
            $o,
            ".carrier IS NULL AND ",
            $o,
            ".attempts = 0 AND ",
            $o,
            ".forced = 0"
        )
    };
}
pub(super) use gives_way;

/// `q` has waited long enough at `$2`.
macro_rules! has_waited {
    () => {
        "(q.state = 'queued' OR q.in_doubt = 1) AND q.waits IS NOT NULL AND q.waits <= $2"
    };
}

/// A digest may carry `q`.
macro_rules! foldable {
    () => {
        "q.state = 'queued' AND q.kind = 'alert' AND q.carrier IS NULL AND q.attempts = 0"
    };
}

/// What ends the older ones of a condition in favour of those that D3 takes (a JSON array of numbers, `$1`), at `$3`. Their
/// watches end too: the newer alert has its own.
macro_rules! leave_out {
    () => {
        concat!(
            "DELETE FROM watch WHERE alert IN (SELECT o.alert FROM json_each($1) j JOIN notification n ON n.id = j.value \
               JOIN notification o ON o.condition = n.condition AND o.jid = n.jid AND o.id < n.id \
               AND (o.state = 'queued' OR o.state = 'held' OR o.in_doubt = 1) AND ",
            gives_way!("o"),
            " WHERE n.state = 'sending'); \
             UPDATE notification SET state = 'superseded', ended = $3, waits = NULL, reason = 'left out for notification ' || n.id \
               FROM json_each($1) j JOIN notification n ON n.id = j.value WHERE n.state = 'sending' \
               AND notification.condition = n.condition AND notification.jid = n.jid AND notification.id < n.id \
               AND (notification.state = 'queued' OR notification.state = 'held' OR notification.in_doubt = 1) AND ",
            gives_way!("notification")
        )
    };
}
pub(super) use leave_out;

/// From one recipient for whom something waits to the next; then how much of it has waited long enough.
const WAITED: &str = concat!(
    "WITH RECURSIVE who (jid) AS ( \
       SELECT min(jid) FROM notification WHERE (state = 'queued' OR in_doubt = 1) AND waits IS NOT NULL \
       UNION ALL \
       SELECT (SELECT min(n.jid) FROM notification n WHERE (n.state = 'queued' OR n.in_doubt = 1) AND n.waits IS NOT NULL \
         AND n.jid > who.jid) FROM who WHERE who.jid IS NOT NULL) \
     SELECT who.jid, $1, min(q.recipient) AS recipient, sum(",
    foldable!(),
    ") AS alerts, sum(q.severity = 'critical' AND ",
    foldable!(),
    ") AS critical FROM who JOIN notification q ON q.jid = who.jid AND ",
    has_waited!(),
    " WHERE who.jid IS NOT NULL GROUP BY who.jid"
);

const NEXT_WAIT: &str = "WITH RECURSIVE who (jid) AS ( \
       SELECT min(jid) FROM notification WHERE (state = 'queued' OR in_doubt = 1) AND waits IS NOT NULL \
       UNION ALL \
       SELECT (SELECT min(n.jid) FROM notification n WHERE (n.state = 'queued' OR n.in_doubt = 1) AND n.waits IS NOT NULL \
         AND n.jid > who.jid) FROM who WHERE who.jid IS NOT NULL) \
     SELECT min((SELECT min(q.waits) FROM notification q WHERE q.jid = who.jid AND (q.state = 'queued' OR q.in_doubt = 1) \
       AND q.waits IS NOT NULL)) AS at FROM who WHERE who.jid IS NOT NULL";

/// Those that one digest carries. Behind what has to go first they stay.
const FOLDABLE: &str = concat!(
    "SELECT q.id, q.severity, q.delivery, q.forced FROM notification q WHERE q.jid = $1 AND ",
    has_waited!(),
    " AND ",
    foldable!(),
    " AND ",
    not_behind!(concat!(gives_way!("o"), " AND o.waits IS NOT NULL AND o.waits <= $2")),
    " ORDER BY q.id LIMIT $3 + 0"
);

#[cfg(test)]
pub(super) const PLANNED: [&str; 3] = [WAITED, NEXT_WAIT, FOLDABLE];

pub(super) async fn wait(store: &Sqlite, ids: &[NotificationId], wait: &Wait) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut lease = store.writer().await?;
    sqlx::query(
        "UPDATE notification SET waits = $2, follows = 1, reason = $3 WHERE id IN (SELECT value FROM json_each($1)) \
         AND (state = 'queued' OR in_doubt = 1) AND carrier IS NULL",
    )
    .bind(json(ids)?)
    .bind(us(wait.until))
    .bind(wait.why)
    .execute(&mut lease.conn)
    .await
    .doing("letting wait")?;
    lease.keep();
    Ok(())
}

pub(super) async fn next_wait(store: &Sqlite) -> Result<Option<Timestamp>, StoreError> {
    let mut lease = store.reader().await?;
    let row = sqlx::query(NEXT_WAIT).fetch_one(&mut lease.conn).await.doing("looking what waits")?;
    lease.keep();
    row.maybe_time("at")
}

pub(super) async fn waited(store: &Sqlite, now: Timestamp) -> Result<Vec<Waited>, StoreError> {
    let mut lease = store.reader().await?;
    let found = sqlx::query(WAITED).bind(None::<i64>).bind(us(now)).fetch_all(&mut lease.conn).await;
    let found = found.doing("looking what has waited")?;
    lease.keep();
    let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    found
        .iter()
        .map(|row| {
            Ok(Waited {
                recipient: row.word("recipient")?,
                jid: rows::bare(&row.text("jid")?)?,
                alerts: count(row.count("alerts")?),
                critical: count(row.count("critical")?),
            })
        })
        .collect()
}

pub(super) async fn wait_no_more(store: &Sqlite, jid: &BareJid, now: Timestamp) -> Result<(), StoreError> {
    let mut lease = store.writer().await?;
    sqlx::query(concat!("UPDATE notification AS q SET waits = NULL, reason = '' WHERE q.jid = $1 AND ", has_waited!()))
        .bind(jid.as_str())
        .bind(us(now))
        .execute(&mut lease.conn)
        .await
        .doing("ending a wait")?;
    lease.keep();
    Ok(())
}

pub(super) async fn fold(
    store: &Sqlite,
    recipient: &Recipient,
    spared: usize,
    listed: usize,
    text: Option<DigestText<'_>>,
    rest: &Wait,
    now: Timestamp,
) -> Result<Option<NotificationId>, StoreError> {
    let mut lease = store.begin().await?;
    let conn = &mut lease.conn;
    let jid = recipient.jid.as_str();
    sqlx::query(concat!(
        "UPDATE notification AS q SET waits = NULL, reason = '' WHERE q.jid = $1 AND ",
        has_waited!(),
        " AND (NOT (",
        foldable!(),
        ") OR q.id IN (SELECT q.id FROM notification q WHERE q.jid = $1 AND ",
        has_waited!(),
        " AND q.severity = 'critical' AND ",
        foldable!(),
        " ORDER BY q.id LIMIT $3 + 0))"
    ))
    .bind(jid)
    .bind(us(now))
    .bind(i64::try_from(spared).unwrap_or(i64::MAX))
    .execute(&mut *conn)
    .await
    .doing("sparing what is sent by itself")?;
    let Some(text) = text else {
        later(conn, jid, rest, now).await?;
        lease.commit().await?;
        return Ok(None);
    };
    let found = sqlx::query(FOLDABLE).bind(jid).bind(us(now)).bind(MOST).fetch_all(&mut *conn).await;
    let found = found.doing("reading what a digest covers")?;
    let Some(covers) = Cover::of(&found)? else {
        later(conn, jid, rest, now).await?;
        lease.commit().await?;
        return Ok(None);
    };
    let folded = folded(conn, jid, &covers.ids, listed).await?;
    let id = cover(conn, recipient, &covers, &text(&folded), now).await?;
    later(conn, jid, rest, now).await?;
    lease.commit().await?;
    Ok(Some(id))
}

/// What is left over waits again.
async fn later(conn: &mut SqliteConnection, jid: &str, rest: &Wait, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(concat!("UPDATE notification AS q SET waits = $3, reason = $4 WHERE q.jid = $1 AND ", has_waited!()))
        .bind(jid)
        .bind(us(now))
        .bind(us(rest.until))
        .bind(rest.why)
        .execute(conn)
        .await
        .map(drop)
        .doing("letting the rest wait")
}

/// What these notifications (a JSON array of numbers) say: some of them whole, the others counted.
async fn folded(conn: &mut SqliteConnection, jid: &str, ids: &str, listed: usize) -> Result<Folded, StoreError> {
    let shown = sqlx::query(concat!(
        "SELECT ",
        notification_columns!(),
        " FROM json_each($1) j JOIN notification n ON n.id = j.value JOIN alert a ON a.id = n.alert \
         ORDER BY CASE WHEN a.status = 'resolved' THEN 0.5 ELSE n.rank END, n.id DESC LIMIT $2 + 0"
    ))
    .bind(ids)
    .bind(i64::try_from(listed).unwrap_or(i64::MAX))
    .fetch_all(&mut *conn)
    .await
    .doing("reading what a digest lists")?;
    let listed = rows::outgoing(conn, &shown).await?;
    let found = sqlx::query(
        "SELECT a.origin, CASE WHEN a.status = 'resolved' THEN 'resolved' ELSE n.severity END AS what, count(*) AS n \
         FROM json_each($1) j JOIN notification n ON n.id = j.value JOIN alert a ON a.id = n.alert \
         WHERE n.id NOT IN (SELECT value FROM json_each($2)) GROUP BY 1, 2",
    )
    .bind(ids)
    .bind(json(&rows::notification_ids(&shown)?)?)
    .fetch_all(&mut *conn)
    .await
    .doing("counting what a digest covers")?;
    let mut more: Vec<More> = Vec::new();
    for row in &found {
        let (origin, n) = (row.text("origin")?, row.count("n")?);
        // In the order of the origins: the last one is this or an earlier one.
        if more.last().is_none_or(|last| last.origin != origin) {
            more.push(More { origin, ..More::default() });
        }
        let Some(last) = more.last_mut() else { continue };
        match row.text("what")?.as_str() {
            "resolved" => last.resolved = n,
            what => {
                let severity: Severity = what.parse().map_err(|err| broken(format!("counting: {err}")))?;
                last.counts.push((severity, n));
            }
        }
    }
    for origin in &mut more {
        origin.counts.sort_by_key(|(severity, _)| severity.rank());
    }
    more.sort_by_key(|origin| {
        let total: u64 = origin.counts.iter().map(|(_, n)| n).sum::<u64>() + origin.resolved;
        (origin.counts.first().map_or(u8::MAX, |(severity, _)| severity.rank()), std::cmp::Reverse(total))
    });
    let ended = sqlx::query(
        "SELECT coalesce(sum(state = 'superseded'), 0) AS superseded, coalesce(sum(state = 'expired'), 0) AS expired \
           FROM notification WHERE jid = $1 AND unsaid = 1 AND ended >= \
           (SELECT min(created) FROM notification WHERE id IN (SELECT value FROM json_each($2)))",
    )
    .bind(jid)
    .bind(ids)
    .fetch_one(conn)
    .await
    .doing("counting what is over")?;
    Ok(Folded { listed, more, superseded: ended.count("superseded")?, expired: ended.count("expired")? })
}

pub(super) async fn intents(store: &Sqlite, since: Timestamp) -> Result<Vec<Intent>, StoreError> {
    let mut lease = store.reader().await?;
    let found = sqlx::query(
        "SELECT i.at, n.jid, n.kind, coalesce(a.body ->> 'from', a.sender, '') AS sender, n.severity, n.condition FROM intent i \
         JOIN notification n ON n.id = i.notification LEFT JOIN alert a ON a.id = n.alert WHERE i.at >= $1 ORDER BY i.at",
    )
    .bind(us(since))
    .fetch_all(&mut lease.conn)
    .await
    .doing("reading what was sent lately")?;
    lease.keep();
    found
        .iter()
        .map(|row| {
            Ok(Intent {
                at: row.time("at")?,
                jid: rows::bare(&row.text("jid")?)?,
                kind: row.word("kind")?,
                sender: row.text("sender")?,
                severity: row.word("severity")?,
                condition: row.maybe_int("condition")?.map(ConditionId),
            })
        })
        .collect()
}

/// Forgets intents that nobody asks for any more.
pub(super) async fn forget(conn: &mut SqliteConnection, now: Timestamp) -> Result<(), StoreError> {
    let before = now.saturating_sub(KEPT).unwrap_or(Timestamp::MIN);
    let sql = "DELETE FROM intent WHERE at <= (SELECT max(at) FROM (SELECT at FROM intent WHERE at < $1 ORDER BY at LIMIT $2 + 0))";
    sqlx::query(sql).bind(us(before)).bind(FORGET).execute(conn).await.map(drop).doing("forgetting what was sent")
}
