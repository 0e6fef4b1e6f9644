//! An alert's way, step by step: from the times in its rows, and the events that have no column of their own.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::conn::{Columns, Doing, us};
use crate::model::{AlertId, NotificationState};
use crate::queue::{NotificationView, StoreError, TimelineRow};

/// Writes an event for those of the notifications (a JSON array of numbers) that carry an alert.
pub(super) async fn event(
    conn: &mut SqliteConnection,
    ids: &str,
    now: Timestamp,
    what: &str,
    detail: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO event (alert, notification, at, event, detail) SELECT alert, id, $2, $3, $4 FROM notification \
         WHERE id IN (SELECT value FROM json_each($1)) AND alert IS NOT NULL",
    )
    .bind(ids)
    .bind(us(now))
    .bind(what)
    .bind(detail)
    .execute(conn)
    .await
    .map(drop)
    .doing("writing the timeline")
}

/// Writes an event that concerns the alert as a whole.
pub(super) async fn alert_event(
    conn: &mut SqliteConnection,
    alert: AlertId,
    now: Timestamp,
    what: &str,
    detail: &str,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO event (alert, at, event, detail) VALUES ($1, $2, $3, $4)")
        .bind(alert.0)
        .bind(us(now))
        .bind(what)
        .bind(detail)
        .execute(conn)
        .await
        .map(drop)
        .doing("writing the timeline")
}

/// Everything that is known of the alert's way, in order; steps of the same moment in the order of the way.
pub(super) async fn timeline(
    conn: &mut SqliteConnection,
    alert: AlertId,
    notifications: &[NotificationView],
) -> Result<Vec<TimelineRow>, StoreError> {
    let found = sqlx::query(
        "SELECT m.stored AS at, NULL AS recipient, 'fetched' AS event, m.mailbox AS detail, 0 AS place, 0 AS id \
           FROM alert a JOIN message m ON m.id = a.message WHERE a.id = $1 \
         UNION ALL SELECT a.received, NULL, 'raised', a.source, 0, 0 FROM alert a WHERE a.id = $1 AND a.message IS NULL \
         UNION ALL SELECT a.created, NULL, 'parsed', a.format || coalesce(', by the rule ' || nullif(a.body ->> '$.labels.\"mailbell.rule\"', ''), '') \
           || (SELECT coalesce('; ' || nullif(group_concat(w.value, '; '), ''), '') FROM json_each(a.body, '$.warnings') w), 1, 0 \
           FROM alert a WHERE a.id = $1 AND a.message IS NOT NULL \
         UNION ALL SELECT a.created, NULL, 'condition', 'key ' || c.key || ' within ' || c.scope, 2, c.id FROM alert a \
           JOIN alert_condition ac ON ac.alert = a.id JOIN condition c ON c.id = ac.condition WHERE a.id = $1 \
         UNION ALL SELECT a.created, NULL, a.state, a.reason, 3, 0 FROM alert a WHERE a.id = $1 \
         UNION ALL SELECT l.at, iif(l.who LIKE '@%', NULL, l.who), 'left out', \
           iif(l.who LIKE '@%', 'group ' || ltrim(l.who, '@') || ': ', '') || l.why, 4, 0 \
           FROM left_out l WHERE l.alert = $1 \
         UNION ALL SELECT e.at, n.recipient, e.event, e.detail, 7, e.id FROM event e \
           LEFT JOIN notification n ON n.id = e.notification WHERE e.alert = $1 \
         UNION ALL SELECT n.ended, n.recipient, n.state, n.reason, 11, n.id FROM notification n \
           WHERE n.alert = $1 AND n.ended IS NOT NULL AND n.state IN ('unconfirmed', 'expired', 'superseded') \
         ORDER BY at, place, id",
    )
    .bind(alert.0)
    .fetch_all(conn)
    .await
    .doing("reading the timeline")?;
    let mut rows = found
        .iter()
        .map(|row| {
            let step = TimelineRow {
                at: row.time("at")?,
                recipient: row.maybe_text("recipient")?.and_then(|name| name.parse().ok()),
                event: row.text("event")?,
                detail: row.text("detail")?,
            };
            Ok((row.int("place")?, step))
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    for n in notifications {
        let groups: Vec<_> = n.groups.iter().map(|g| g.as_str()).collect();
        let mut add = |place: i64, at: Option<Timestamp>, event: &str, detail: String| {
            let recipient = Some(n.recipient.clone());
            rows.extend(at.map(|at| (place, TimelineRow { at, recipient, event: event.to_owned(), detail })));
        };
        add(5, Some(n.created), "queued", groups.join(", "));
        let seen = n.presence.as_ref().map(|_| n.intended.unwrap_or(n.created));
        add(6, seen, "presence", n.presence.clone().unwrap_or_default());
        add(8, n.intended, "intended", String::new());
        add(9, n.accepted, NotificationState::Accepted.as_str(), String::new());
        add(10, n.delivered, NotificationState::Delivered.as_str(), String::new());
    }
    rows.sort_by_key(|(place, row)| (row.at, *place));
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}
