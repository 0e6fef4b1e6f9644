//! The recipient is back: what is held. And one digest instead of many messages, for this and for storms.

use jiff::Timestamp;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::Sqlite;
use super::conn::{Columns, Doing, json, us};
use super::inbox::next_id;
use super::rows::{self, notification_columns};
use super::timeline::event;
use crate::model::{BareJid, Delivery, NotificationId, Recipient, Severity, StanzaId};
use crate::queue::{Held, Returning, StoreError};

const HELD: &str = concat!(
    "SELECT * FROM (SELECT ",
    notification_columns!(),
    " FROM notification n WHERE n.jid = $1 AND n.state = 'held' AND n.severity = 'critical' ORDER BY n.id LIMIT $2 + 0) \
     UNION ALL SELECT * FROM (SELECT ",
    notification_columns!(),
    " FROM notification n WHERE n.jid = $1 AND n.state = 'held' AND n.severity <> 'critical' ORDER BY n.id LIMIT $2 + 0)"
);

pub(super) async fn held(store: &Sqlite, recipient: &BareJid) -> Result<Vec<Held>, StoreError> {
    let mut lease = store.reader().await?;
    let found = sqlx::query(
        "SELECT id, severity, delivery, forced FROM notification WHERE jid = $1 AND state = 'held' ORDER BY id",
    )
    .bind(recipient.as_str())
    .fetch_all(&mut lease.conn)
    .await
    .doing("reading what is held")?;
    lease.keep();
    found
        .iter()
        .map(|row| {
            Ok(Held {
                id: NotificationId(row.int("id")?),
                severity: row.word("severity")?,
                delivery: row.json("delivery")?,
                forced: row.flag("forced")?,
            })
        })
        .collect()
}

pub(super) async fn returning(store: &Sqlite, recipient: &BareJid, limit: usize) -> Result<Returning, StoreError> {
    let mut lease = store.reader().await?;
    let held = sqlx::query(HELD)
        .bind(recipient.as_str())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut lease.conn)
        .await
        .doing("reading what is held")?;
    let held = rows::outgoing(&mut lease.conn, &held).await?;
    let found = sqlx::query(
        "SELECT severity AS what, count(*) AS n FROM notification WHERE jid = $1 AND state = 'held' GROUP BY severity \
         UNION ALL SELECT state, count(*) FROM notification WHERE jid = $1 AND unsaid = 1 GROUP BY state",
    )
    .bind(recipient.as_str())
    .fetch_all(&mut lease.conn)
    .await
    .doing("counting what is held")?;
    lease.keep();
    let mut returning = Returning { held, ..Returning::default() };
    for row in &found {
        let n = row.count("n")?;
        match row.text("what")?.as_str() {
            "superseded" => returning.superseded = n,
            "expired" => returning.expired = n,
            severity => returning.counts.extend(severity.parse::<Severity>().ok().map(|s| (s, n))),
        }
    }
    returning.counts.sort_by_key(|(severity, _)| severity.rank());
    Ok(returning)
}

pub(super) async fn digest(
    store: &Sqlite,
    recipient: &Recipient,
    covers: &[NotificationId],
    text: &str,
    now: Timestamp,
) -> Result<Option<NotificationId>, StoreError> {
    let mut lease = store.begin().await?;
    let held = sqlx::query(
        "SELECT id, severity, delivery, forced FROM notification WHERE id IN (SELECT value FROM json_each($1)) AND jid = $2 \
         AND +state = 'held' AND severity <> 'critical'",
    )
    .bind(json(covers)?)
    .bind(recipient.jid.as_str())
    .fetch_all(&mut lease.conn)
    .await
    .doing("reading what a digest covers")?;
    let Some(covers) = Cover::of(&held)? else {
        lease.commit().await?;
        return Ok(None);
    };
    let id = cover(&mut lease.conn, recipient, &covers, text, now).await?;
    lease.commit().await?;
    Ok(Some(id))
}

/// What a digest covers.
pub(super) struct Cover {
    /// The notifications, as a JSON array of their numbers.
    pub(super) ids: String,
    /// The worst severity, and the most generous delivery.
    severity: Severity,
    delivery: Delivery,
    /// One of them must be sent whatever the presence says.
    forced: bool,
}

impl Cover {
    /// From rows with id, severity, delivery and forced; `None`: there is none.
    pub(super) fn of(rows: &[SqliteRow]) -> Result<Option<Self>, StoreError> {
        let mut all: Option<(Severity, Delivery)> = None;
        let mut forced = false;
        for row in rows {
            forced |= row.flag("forced")?;
            let one: (Severity, Delivery) = (row.word("severity")?, row.json("delivery")?);
            all = Some(all.map_or(one, |(severity, delivery)| (severity.max(one.0), delivery.merge(one.1))));
        }
        let ids = json(&rows::notification_ids(rows)?)?;
        Ok(all.map(|(severity, delivery)| Self { ids, severity, delivery, forced }))
    }
}

/// Queues a digest, and lets what it covers follow its way.
pub(super) async fn cover(
    conn: &mut SqliteConnection,
    recipient: &Recipient,
    covers: &Cover,
    text: &str,
    now: Timestamp,
) -> Result<NotificationId, StoreError> {
    let id = next_id(conn, "notification").await?;
    sqlx::query(
        "INSERT INTO notification (id, kind, recipient, jid, lang, groups, delivery, stanza_id, state, severity, rank, \
           text, created, forced) VALUES ($1, 'digest', $2, $3, $4, '[]', $5, $6, 'queued', $7, $8, $9, $10, $12); \
         UPDATE notification SET state = 'queued', carrier = $1, held_until = NULL, waits = NULL, reason = '' \
           WHERE id IN (SELECT value FROM json_each($11)); \
         UPDATE notification SET unsaid = 0 WHERE jid = $3 AND unsaid = 1",
    )
    .bind(id)
    .bind(recipient.name.as_str())
    .bind(recipient.jid.as_str())
    .bind(recipient.lang.as_deref())
    .bind(json(&covers.delivery)?)
    .bind(StanzaId::random().0)
    .bind(covers.severity.as_str())
    .bind(i64::from(covers.severity.rank()))
    .bind(text)
    .bind(us(now))
    .bind(&covers.ids)
    .bind(i64::from(covers.forced))
    .execute(&mut *conn)
    .await
    .doing("writing a digest")?;
    event(conn, &covers.ids, now, "in a digest", &format!("notification {id}")).await?;
    Ok(NotificationId(id))
}
