//! The notifications of one alert inside D2, and what they mean for earlier ones of its conditions.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::known::Known;
use super::rows::{Rows, Start};
use super::ways::Ways;
use super::{Case, Fault, Outcome, Work, mine};
use crate::model::{
    AlertId, ConditionView, Kind, Notification, NotificationId, NotificationState, Plan, PlannedNotification, Severity,
    StanzaId,
};
use crate::queue::sqlite::conn::{json, us};
use crate::queue::{AlertRecord, Ask, Content, Outgoing, Place, StoreError, Way};

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
            "UPDATE notification SET unsaid = (state = 'held' OR waits IS NOT NULL), state = 'superseded', waits = NULL, \
               ended = $2, reason = $3 \
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
    // What the archive is asked about waits for the answer all the same; no reason stands there.
    let done = sqlx::query(
        "UPDATE notification SET rank = $2, \
           not_before = CASE WHEN attempts > 0 AND (in_doubt = 0 OR reason <> '') THEN NULL ELSE not_before END \
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

/// Numbers the notifications, and decides which are born `sending`.
#[expect(clippy::too_many_arguments, reason = "everything that is known of the alert, and where it goes")]
pub(super) fn settle(
    work: &mut Work<'_>,
    case: &Case<'_>,
    conditions: &[Known],
    record: &Arc<AlertRecord>,
    recipients: Vec<PlannedNotification>,
    ways: &mut Ways,
    rows: &mut Rows,
    outcome: &mut Outcome,
) -> Result<(), StoreError> {
    let severity = case.alert.severity;
    let epoch = work.reserved.express.epoch();
    let condition = conditions.first().map(|c| c.view.id);
    for p in recipients {
        let jid = &p.recipient.jid;
        let way = if epoch.is_some() && p.not_before.is_none() && ways.free(jid, severity) {
            let (recipient, delivery, sender) = (&p.recipient, &p.delivery, case.alert.mailed_by());
            work.reserved.express.reserve(&Ask { recipient, severity, delivery, sender, condition })
        } else {
            Way::Queue
        };
        if way == Way::Now {
            work.reserved.places.push(Place { jid: jid.clone(), condition });
        }
        let (epoch, wait) = match way {
            Way::Now => (epoch, None),
            Way::Queue => (None, None),
            Way::Wait(wait) => (None, Some(wait)),
        };
        let presence = work.reserved.express.presence(jid);
        let lang = p.recipient.lang.clone();
        let mut n = notification(work.notification, work.now, record.id, severity, p, epoch.is_some());
        n.condition = condition;
        work.notification += 1;
        let waits = wait.is_some();
        rows.notification(case, conditions, &n, lang.as_deref(), &Start { epoch, wait, presence })?;
        if epoch.is_some() {
            let content = Content::Alert(Arc::clone(record));
            outcome.born.push(Outgoing { notification: n, content, in_doubt: false });
        } else {
            if !waits && n.not_before.is_none_or(|at| at <= work.now) {
                ways.waits(&n.jid, severity);
            }
            outcome.queued += 1;
        }
    }
    Ok(())
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
        condition: None,
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
        folds: 0,
    }
}
