//! The watch over an alert's groups: is there anybody to tell, and who else otherwise.

use jiff::Timestamp;
use serde::Deserialize;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::Sqlite;
use super::conn::{Columns, Doing, broken, json, us};
use super::rows::bare;
use super::timeline::alert_event;
use crate::model::{
    AlertId, Delivery, FallbackWhen, GroupName, NotificationId, NotificationState, PlannedNotification, StanzaId,
};
use crate::queue::{SKIPPED, StoreError, Watch, WatchEnd, WatchMember};

/// Most of those who may not be told that the timeline names.
const LISTED: usize = 20;

pub(super) async fn watches(
    store: &Sqlite,
    after: Option<(AlertId, GroupName)>,
    limit: usize,
) -> Result<Vec<Watch>, StoreError> {
    let (alert, group) = after.map_or((0, String::new()), |(alert, group)| (alert.0, group.to_string()));
    let mut lease = store.reader().await?;
    let found = sqlx::query(
        "SELECT w.alert, w.name, w.fallback, w.fallback_when, w.unanswered, a.severity, \
           (SELECT json_group_array(json_object('id', n.id, 'jid', n.jid, 'state', n.state, 'delivery', json(n.delivery), \
             'forced', n.forced, 'missed', n.again_until IS NOT NULL OR n.resent IS NOT NULL)) FROM notification n WHERE n.alert = w.alert \
             AND EXISTS (SELECT 1 FROM json_each(n.groups) g WHERE g.value = w.name)) AS members \
         FROM watch w JOIN alert a ON a.id = w.alert WHERE (w.alert, w.name) > ($1, $2) \
         AND NOT EXISTS (SELECT 1 FROM notification q WHERE q.alert = w.alert AND +q.state = 'queued' AND q.attempts = 0 \
           AND EXISTS (SELECT 1 FROM json_each(q.groups) g WHERE g.value = w.name)) \
         ORDER BY w.alert, w.name LIMIT $3 + 0",
    )
    .bind(alert)
    .bind(group)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(&mut lease.conn)
    .await
    .doing("reading watches")?;
    lease.keep();
    found.iter().map(watch).collect()
}

pub(super) async fn newest(store: &Sqlite) -> Result<Option<(AlertId, GroupName)>, StoreError> {
    let mut lease = store.reader().await?;
    let found = sqlx::query("SELECT alert, name FROM watch ORDER BY alert DESC, name DESC LIMIT 1")
        .fetch_optional(&mut lease.conn)
        .await
        .doing("reading watches")?;
    lease.keep();
    found.map(|row| Ok((AlertId(row.int("alert")?), row.word("name")?))).transpose()
}

#[derive(Deserialize)]
struct Member {
    id: i64,
    jid: String,
    state: NotificationState,
    delivery: Delivery,
    forced: i64,
    missed: i64,
}

fn watch(row: &SqliteRow) -> Result<Watch, StoreError> {
    let members: Vec<Member> = row.json("members")?;
    let fallback = match row.maybe_text("fallback")? {
        None => None,
        Some(_) => Some((row.word::<GroupName>("fallback")?, row.word::<FallbackWhen>("fallback_when")?)),
    };
    Ok(Watch {
        alert: AlertId(row.int("alert")?),
        severity: row.word("severity")?,
        group: row.word("name")?,
        fallback,
        unanswered: row.flag("unanswered")?,
        members: members
            .into_iter()
            .map(|m| {
                Ok(WatchMember {
                    id: NotificationId(m.id),
                    jid: bare(&m.jid)?,
                    state: m.state,
                    missed: m.missed != 0,
                    delivery: m.delivery,
                    forced: m.forced != 0,
                })
            })
            .collect::<Result<_, StoreError>>()?,
    })
}

pub(super) async fn end_watches(
    store: &Sqlite,
    ends: Vec<(AlertId, GroupName, WatchEnd)>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if ends.is_empty() {
        return Ok(());
    }
    let mut lease = store.begin().await?;
    for (alert, group, end) in ends {
        end_watch(&mut lease.conn, alert, &group, end, now).await?;
    }
    lease.commit().await
}

async fn end_watch(
    conn: &mut SqliteConnection,
    alert: AlertId,
    group: &GroupName,
    end: WatchEnd,
    now: Timestamp,
) -> Result<(), StoreError> {
    let gone = sqlx::query("DELETE FROM watch WHERE alert = $1 AND name = $2 RETURNING unanswered")
        .bind(alert.0)
        .bind(group.as_str())
        .fetch_all(&mut *conn)
        .await
        .doing("ending a watch")?;
    // Ended meanwhile: its condition was resolved. Nobody is added then.
    let Some(gone) = gone.first() else { return Ok(()) };
    let unanswered = gone.flag("unanswered")?;
    let nobody =
        if unanswered { format!("no receipt from {group}") } else { format!("nobody of {group} is reachable") };
    match end {
        WatchEnd::Reached => return Ok(()),
        WatchEnd::Fallback { group: to, next, notifications, left_out } => {
            add(conn, alert, &to, next, &notifications, now).await?;
            leave_out(conn, alert, &left_out, now).await?;
            let left_out: String = left_out.iter().take(LISTED).map(|who| format!("; left out {who}")).collect();
            let nobody = if unanswered { nobody } else { format!("nobody of {group}") };
            alert_event(conn, alert, now, "fallback", &format!("{nobody}: {to} is added{left_out}")).await?;
        }
        WatchEnd::Forced => {
            force(conn, alert, group).await?;
            alert_event(conn, alert, now, "forced", &format!("{nobody}: sent to all of them anyway")).await?;
        }
        WatchEnd::Given => alert_event(conn, alert, now, "nobody", &nobody).await?,
    }
    let sql = "INSERT INTO fell_back (alert, name) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    let done = sqlx::query(sql).bind(alert.0).bind(group.as_str()).execute(conn).await;
    done.map(drop).doing("noting a fallback")
}

/// Who was left out, and why: of a group as a whole `@NAME`. From `NAME: why` or `group NAME: why`; no name holds a colon.
pub(super) fn left_out(text: &str) -> (String, &str) {
    let (who, why) = text.split_once(": ").unwrap_or((text, ""));
    let who = who.strip_prefix("group ").map_or_else(|| who.to_owned(), |group| format!("@{group}"));
    (who, why)
}

async fn leave_out(
    conn: &mut SqliteConnection,
    alert: AlertId,
    texts: &[String],
    now: Timestamp,
) -> Result<(), StoreError> {
    let rows: Vec<_> = texts.iter().map(|text| left_out(text)).collect();
    sqlx::query(
        "INSERT INTO left_out (alert, who, at, why) SELECT $1, value ->> 0, $3, value ->> 1 FROM json_each($2) WHERE true \
           ON CONFLICT DO NOTHING",
    )
    .bind(alert.0)
    .bind(json(&rows)?)
    .bind(us(now))
    .execute(conn)
    .await
    .map(drop)
    .doing("noting who is left out")
}

/// Also those whom the policy skipped: an alert that must be told is not skipped for all.
async fn force(conn: &mut SqliteConnection, alert: AlertId, group: &GroupName) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE notification SET forced = 1, state = 'queued', waits = NULL, held_until = NULL, ended = NULL, reason = '' \
         WHERE alert = $1 AND (+state IN ('queued', 'held') OR (+state = 'expired' AND reason = $3)) AND carrier IS NULL \
         AND EXISTS (SELECT 1 FROM json_each(groups) g WHERE g.value = $2)",
    )
    .bind(alert.0)
    .bind(group.as_str())
    .bind(SKIPPED)
    .execute(conn)
    .await
    .map(drop)
    .doing("forcing")
}

/// Adds the recipients of a fallback group. Who has the alert already keeps theirs, and belongs to the new group as well.
async fn add(
    conn: &mut SqliteConnection,
    alert: AlertId,
    group: &GroupName,
    next: Option<(GroupName, FallbackWhen)>,
    planned: &[PlannedNotification],
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "SELECT severity FROM alert WHERE id = $1";
    let found = sqlx::query(sql).bind(alert.0).fetch_all(&mut *conn).await.doing("adding a fallback")?;
    let row = found.first().ok_or_else(|| StoreError::refused(format!("there is no alert {alert}")))?;
    let severity: crate::model::Severity = row.word("severity")?;
    let lines = planned
        .iter()
        .map(|p| {
            let expires = p.expires.filter(|_| severity != crate::model::Severity::Critical).map(us);
            let (name, jid) = (p.recipient.name.as_str(), p.recipient.jid.as_str());
            let (groups, delivery) = (json(&p.groups)?, json(&p.delivery)?);
            Ok((name, jid, &p.recipient.lang, groups, delivery, StanzaId::random(), p.not_before.map(us), expires))
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    let (fallback, when) = next.unzip();
    let when = when.map(|when| serde_json::to_value(when).ok().and_then(|v| v.as_str().map(str::to_owned)));
    let when = when.map(|when| when.ok_or_else(|| broken("writing a fallback"))).transpose()?;
    sqlx::query(
        "UPDATE notification SET groups = json_insert(groups, '$[#]', $2) WHERE alert = $1 \
           AND jid IN (SELECT value ->> 1 FROM json_each($3)) \
           AND NOT EXISTS (SELECT 1 FROM json_each(notification.groups) g WHERE g.value = $2); \
         INSERT INTO notification (kind, alert, condition, several, recipient, jid, lang, groups, delivery, stanza_id, \
           state, severity, rank, created, not_before, expires) \
           SELECT 'alert', $1, (SELECT min(condition) FROM alert_condition WHERE alert = $1), \
             (SELECT count(*) > 1 FROM alert_condition WHERE alert = $1), value ->> 0, value ->> 1, value ->> 2, \
             value ->> 3, value ->> 4, value ->> 5, 'queued', $4, $5, $6, value ->> 6, value ->> 7 \
           FROM json_each($3) WHERE true ON CONFLICT (alert, jid) WHERE alert IS NOT NULL DO NOTHING; \
         UPDATE alert_condition SET paged = 1 WHERE alert = $1 AND paged = 0; \
         INSERT INTO watch (alert, name, fallback, fallback_when) VALUES ($1, $2, $7, $8) ON CONFLICT DO NOTHING; \
         INSERT INTO alert_group (alert, name) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    )
    .bind(alert.0)
    .bind(group.as_str())
    .bind(json(&lines)?)
    .bind(severity.as_str())
    .bind(i64::from(severity.rank()))
    .bind(us(now))
    .bind(fallback.as_ref().map(GroupName::as_str))
    .bind(when)
    .execute(conn)
    .await
    .map(drop)
    .doing("adding a fallback")
}
