//! The notifications of one alert inside D2, and what they mean for earlier ones of its conditions.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::{Case, Fault, Outcome, Work, mine};
use crate::model::{
    AlertId, ConditionView, Epoch, Kind, Notification, NotificationId, NotificationState, Plan, PlannedNotification,
    Severity, StanzaId,
};
use crate::queue::sqlite::conn::{Columns, json, us};
use crate::queue::{AlertRecord, Content, Outgoing, StoreError};

/// What is still to be sent of the same conditions: ends where the plan says so; otherwise it takes the better place of the
/// new one, so that it need not wait behind what is less urgent and yet goes first.
pub(super) async fn settle_earlier(
    conn: &mut SqliteConnection,
    now: Timestamp,
    case: &Case<'_>,
    known: &[ConditionView],
    plan: &Plan,
    recipients: &[PlannedNotification],
) -> Result<(), Fault> {
    let conditions = json(&known.iter().map(|view| view.id.0).collect::<Vec<_>>())?;
    if plan.supersede {
        let since = known.iter().filter_map(|view| view.opened_by).map(|(by, _)| by.0).min().unwrap_or(case.id.0);
        let done = sqlx::query(
            "UPDATE notification SET unsaid = (state = 'held'), state = 'superseded', ended = $2, reason = $3 \
               WHERE condition IN (SELECT value FROM json_each($1)) \
               AND (state = 'queued' OR state = 'held' OR in_doubt = 1) AND in_doubt = 0 AND carrier IS NULL \
               AND (SELECT a.status FROM alert a WHERE a.id = notification.alert) IN ('firing', 'update') \
               AND NOT EXISTS (SELECT 1 FROM alert_condition c WHERE c.alert = notification.alert \
                 AND c.condition NOT IN (SELECT value FROM json_each($1))); \
             DELETE FROM watch WHERE alert IN (SELECT c.alert FROM alert_condition c \
               WHERE c.condition IN (SELECT value FROM json_each($1)) AND c.paged = 1 AND c.alert >= $5 AND c.alert < $4)",
        )
        .bind(&conditions)
        .bind(us(now))
        .bind(format!("by {}", case.id))
        .bind(case.id.0)
        .bind(since)
        .execute(&mut *conn)
        .await;
        mine(done, "superseding (D2)")?;
    }
    if recipients.is_empty() {
        return Ok(());
    }
    let done = sqlx::query(
        "UPDATE notification SET rank = $2, not_before = CASE WHEN attempts > 0 THEN NULL ELSE not_before END \
           WHERE condition IN (SELECT value FROM json_each($1)) \
           AND (state = 'queued' OR state = 'held' OR in_doubt = 1) AND rank > $2 \
           AND jid IN (SELECT value FROM json_each($3)); \
         UPDATE notification SET rank = $2 WHERE rank > $2 AND id IN (SELECT n.carrier FROM notification n \
           WHERE n.condition IN (SELECT value FROM json_each($1)) AND n.carrier IS NOT NULL \
           AND (n.state = 'queued' OR n.state = 'held' OR n.in_doubt = 1) \
           AND n.jid IN (SELECT value FROM json_each($3)))",
    )
    .bind(&conditions)
    .bind(i64::from(case.alert.severity.rank()))
    .bind(json(&recipients.iter().map(|p| p.recipient.jid.as_str()).collect::<Vec<_>>())?)
    .execute(conn)
    .await;
    mine(done, "ordering (D2)").map(drop)
}

/// One notification for each JID, whoever shares it.
pub(super) fn one_each(planned: &[PlannedNotification]) -> Vec<PlannedNotification> {
    let mut each: Vec<PlannedNotification> = Vec::with_capacity(planned.len());
    let mut places = HashMap::new();
    for p in planned {
        let place = *places.entry(p.recipient.jid.clone()).or_insert(each.len());
        match each.get_mut(place) {
            None => each.push(p.clone()),
            Some(first) => {
                first.delivery = first.delivery.merge(p.delivery);
                first.groups.extend(p.groups.iter().filter(|g| !first.groups.contains(g)).cloned().collect::<Vec<_>>());
            }
        }
    }
    each
}

/// Rows to be written, as JSON.
pub(super) struct Rows {
    pub notifications: String,
    pub watches: String,
}

/// Numbers the notifications, and decides which are born `sending`. `before`: the alert's conditions as they were.
pub(super) async fn rows(
    conn: &mut SqliteConnection,
    work: &mut Work<'_>,
    record: &Arc<AlertRecord>,
    before: &[ConditionView],
    plan: &Plan,
    recipients: Vec<PlannedNotification>,
    outcome: &mut Outcome,
) -> Result<Rows, Fault> {
    let severity = record.alert.severity;
    let free = match work.reserved.express.epoch().filter(|_| !recipients.is_empty()) {
        Some(epoch) => Some((epoch, free_way(conn, work.now, severity, before, &recipients).await?)),
        None => None,
    };
    let mut lines = Vec::with_capacity(recipients.len());
    for (place, p) in recipients.into_iter().enumerate() {
        let epoch = free.as_ref().and_then(|(epoch, free)| free.contains(&place).then_some(*epoch)).filter(|_| {
            let born = p.not_before.is_none() && work.reserved.express.reserve(&p.recipient, severity, &p.delivery);
            work.reserved.places += usize::from(born);
            born
        });
        let lang = p.recipient.lang.clone();
        let n = notification(work.notification, work.now, record.id, severity, p, epoch.is_some());
        work.notification += 1;
        lines.push(line(&n, lang, epoch)?);
        if epoch.is_some() {
            outcome.born.push(Outgoing {
                notification: n,
                content: Content::Alert(Arc::clone(record)),
                in_doubt: false,
            });
        } else {
            outcome.queued += 1;
        }
    }
    let watches: Vec<_> = plan
        .groups
        .iter()
        .map(|(group, fallback)| (group, fallback.as_ref().map(|(to, _)| to), fallback.as_ref().map(|(_, when)| when)))
        .collect();
    Ok(Rows { notifications: json(&lines)?, watches: json(&watches)? })
}

type Line =
    (i64, String, String, Option<String>, String, String, String, &'static str, Option<i64>, Option<i64>, Option<i64>);

fn line(n: &Notification, lang: Option<String>, epoch: Option<Epoch>) -> Result<Line, StoreError> {
    Ok((
        n.id.0,
        n.recipient.to_string(),
        n.jid.to_string(),
        lang,
        json(&n.groups)?,
        json(&n.delivery)?,
        n.stanza_id.0.clone(),
        n.state.as_str(),
        epoch.map(|e| e.0),
        n.not_before.map(us),
        n.expires.map(us),
    ))
}

fn notification(
    id: i64,
    now: Timestamp,
    alert: AlertId,
    severity: Severity,
    p: PlannedNotification,
    born: bool,
) -> Notification {
    Notification {
        id: NotificationId(id),
        kind: Kind::Alert,
        alert: Some(alert),
        recipient: p.recipient.name,
        jid: p.recipient.jid,
        groups: p.groups,
        stanza_id: StanzaId::random(),
        state: if born { NotificationState::Sending } else { NotificationState::Queued },
        severity,
        delivery: p.delivery,
        forced: false,
        created: now,
        not_before: p.not_before,
        expires: p.expires.filter(|_| severity != Severity::Critical),
        held_until: None,
        first_intent: born.then_some(now),
        attempts: u32::from(born),
    }
}

/// Places of those recipients for whom nothing stands in the way: nothing due that is as urgent, and nothing of the same
/// conditions that is still to be sent.
async fn free_way(
    conn: &mut SqliteConnection,
    now: Timestamp,
    severity: Severity,
    known: &[ConditionView],
    recipients: &[PlannedNotification],
) -> Result<Vec<usize>, Fault> {
    let found = sqlx::query(
        "SELECT j.key AS place FROM json_each($1) j WHERE NOT EXISTS (SELECT 1 FROM notification n WHERE n.jid = j.value \
           AND (n.state = 'queued' OR n.in_doubt = 1) AND n.rank <= $2 AND (n.not_before IS NULL OR n.not_before <= $3)) \
         AND NOT EXISTS (SELECT 1 FROM notification n WHERE n.several = 1 AND (n.state = 'queued' OR n.in_doubt = 1) \
           AND n.jid = j.value) \
         AND NOT EXISTS (SELECT 1 FROM json_each($4) c JOIN notification n ON n.condition = c.value AND n.jid = j.value \
           AND (n.state = 'queued' OR n.state = 'held' OR n.in_doubt = 1))",
    )
    .bind(json(&recipients.iter().map(|p| p.recipient.jid.as_str()).collect::<Vec<_>>())?)
    .bind(i64::from(severity.rank()))
    .bind(us(now))
    .bind(json(&known.iter().map(|c| c.id.0).collect::<Vec<_>>())?)
    .fetch_all(conn)
    .await;
    let found = mine(found, "looking for a free way (D2)")?;
    Ok(found.iter().map(|row| row.count("place").map(|n| n as usize)).collect::<Result<_, _>>()?)
}
