//! One alert inside D2: what is known of it, what the planner says, and that written down.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::conn::{Columns, json, us};
use super::d2::{Fault, Outcome, Work, mine};
use super::rows::bare;
use crate::model::{
    Alert, AlertId, AlertState, ConditionId, ConditionView, Delivery, Epoch, Kind, Notification, NotificationId,
    NotificationState, Plan, PlannedNotification, Recipient, RecipientName, Scope, Seen, Severity, StanzaId, Status,
    Told,
};
use crate::queue::{AlertRecord, Content, D2Message, Outgoing, StoreError};

/// A condition's columns, and who was told since it opened.
macro_rules! condition {
    () => {
        "SELECT c.id, c.scope, c.key, c.open, c.severity, c.last_sent, c.last_paged, c.said_title, c.said_text, \
         c.opened_by, c.opened_at, (SELECT json_group_array(json_array(t.recipient, t.jid, t.lang, t.delivery)) FROM \
           (SELECT n.recipient, n.jid, n.lang, n.delivery, max(n.id) FROM alert_condition ac \
             JOIN notification n ON n.alert = ac.alert WHERE ac.condition = c.id AND ac.paged = 1 \
             AND ac.alert >= c.opened_by AND (n.state IN ('sending', 'accepted', 'delivered', 'acknowledged', \
               'unconfirmed') OR (n.carrier IS NOT NULL AND n.state = 'queued')) GROUP BY n.jid) t) AS told \
         FROM condition c WHERE "
    };
}

const BY_KEY: &str = concat!(
    "SELECT (SELECT min(a.id) FROM alert a WHERE a.scope = ?1 AND a.ident = ?2 AND a.sent = ?3 \
       AND (a.status = ?4 OR (a.format = 'cap' AND ?5 = 'cap' AND a.sender = ?6))) AS duplicate; ",
    condition!(),
    "c.scope = ?1 AND c.key = ?7"
);

const BY_REFERENCE: &str = concat!(
    condition!(),
    "c.id IN (SELECT ac.condition FROM json_each(?3) r JOIN alert a ON a.scope = ?1 AND a.ident = (r.value ->> 0) \
       AND a.sent = (r.value ->> 1) AND a.sender = ?2 JOIN alert_condition ac ON ac.alert = a.id) ORDER BY c.id"
);

/// A condition, with what names it.
struct Known {
    view: ConditionView,
    scope: String,
    key: String,
}

pub(super) async fn alert_commit(
    conn: &mut SqliteConnection,
    work: &mut Work<'_>,
    message: &D2Message,
    alert: &Alert,
    outcome: &mut Outcome,
) -> Result<(), Fault> {
    let planner = work.planner;
    let scope = guarded(|| planner.scope(alert, &message.source))?;
    let (duplicate_of, known) = look_up(conn, &scope, alert).await?;
    let views: Vec<ConditionView> = known.iter().map(|k| k.view.clone()).collect();
    let plan = guarded(|| {
        planner.plan(&Seen {
            alert,
            source: &message.source,
            may_choose_group: message.may_choose_group,
            received: message.received,
            now: work.now,
            duplicate_of,
            conditions: &views,
        })
    })?;
    let id = AlertId(work.alert);
    work.alert += 1;
    let next = conditions_after(work, message, alert, id, &scope, duplicate_of, &known, &plan);
    write_alert(conn, work.now, message, alert, id, &scope, &plan, &next).await?;
    let recipients = one_each(&plan.notifications);
    if !known.is_empty() {
        settle_earlier(conn, work.now, id, alert.severity, &views, &plan, &recipients).await?;
    }
    let record = Arc::new(AlertRecord {
        id,
        alert: alert.clone(),
        source: message.source.to_string(),
        received: message.received,
        resolves: plan.resolves,
    });
    write_notifications(conn, work, &record, &next, &known, &plan, recipients, outcome).await?;
    if plan.state == AlertState::Unsubscribed {
        outcome.unsubscribed.push((id, alert.title.clone()));
        outcome.notes.push(("unsubscribed".to_owned(), format!("{id} from {}: {}", message.source, alert.title)));
    }
    outcome.notes.extend(plan.tell_operators.map(|text| ("alert".to_owned(), text)));
    Ok(())
}

/// The planner is ours, the alert is not: whatever it makes the planner do stops this message only.
fn guarded<T>(decide: impl FnOnce() -> T) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(decide)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Fault::Message(format!("internal error in routing: {}", text.unwrap_or("panic")))
    })
}

async fn look_up(
    conn: &mut SqliteConnection,
    scope: &Scope,
    alert: &Alert,
) -> Result<(Option<AlertId>, Vec<Known>), Fault> {
    let found = sqlx::query(BY_KEY)
        .bind(&scope.0)
        .bind(&alert.id)
        .bind(alert.sent.map(us))
        .bind(alert.status.as_str())
        .bind(json(&alert.format)?.trim_matches('"').to_owned())
        .bind(&alert.sender)
        .bind(&alert.key.0)
        .fetch_all(&mut *conn)
        .await;
    let found = mine(found, "looking up an alert (D2)")?;
    let (first, by_key) =
        found.split_first().ok_or_else(|| Fault::Message("looking up an alert: no answer".to_owned()))?;
    let duplicate = first.maybe_int("duplicate")?.map(AlertId);
    // Nobody updates or cancels what another sent.
    let references: Vec<(&str, i64)> = alert
        .references
        .iter()
        .filter(|r| r.sender.eq_ignore_ascii_case(&alert.sender))
        .map(|r| (r.id.as_str(), us(r.sent)))
        .collect();
    if !references.is_empty() {
        let query = sqlx::query(BY_REFERENCE).bind(&scope.0).bind(&alert.sender).bind(json(&references)?);
        let referred = mine(query.fetch_all(conn).await, "looking up references (D2)")?;
        if !referred.is_empty() {
            return Ok((duplicate, read_all(&referred)?));
        }
    }
    Ok((duplicate, read_all(by_key)?))
}

fn read_all(rows: &[SqliteRow]) -> Result<Vec<Known>, StoreError> {
    rows.iter().map(known).collect()
}

fn known(row: &SqliteRow) -> Result<Known, StoreError> {
    let told: Vec<(RecipientName, String, Option<String>, String)> = row.json("told")?;
    let told = told
        .into_iter()
        .map(|(name, jid, lang, delivery)| {
            let delivery: Delivery = super::conn::Doing::doing(serde_json::from_str(&delivery), "reading a delivery")?;
            Ok(Told { recipient: Recipient { name, jid: bare(&jid)?, lang }, delivery })
        })
        .collect::<Result<_, StoreError>>()?;
    Ok(Known {
        view: ConditionView {
            id: ConditionId(row.int("id")?),
            open: row.flag("open")?,
            severity: row.word("severity")?,
            last_sent: row.time("last_sent")?,
            last_paged: row.maybe_time("last_paged")?,
            opened_by: row.maybe_int("opened_by")?.map(AlertId).zip(row.maybe_time("opened_at")?),
            last_said: row.maybe_text("said_title")?.zip(row.maybe_text("said_text")?),
            told,
        },
        scope: row.text("scope")?,
        key: row.text("key")?,
    })
}

/// The conditions as the plan leaves them. A new one is made even by a `resolved`: a firing that comes late, sent before
/// it, is then known to be out of order.
#[expect(clippy::too_many_arguments, reason = "everything that decides about it, and nothing else")]
fn conditions_after(
    work: &mut Work<'_>,
    message: &D2Message,
    alert: &Alert,
    id: AlertId,
    scope: &Scope,
    duplicate_of: Option<AlertId>,
    known: &[Known],
    plan: &Plan,
) -> Vec<Known> {
    let sent = alert.sent.unwrap_or(message.received);
    let mut next: Vec<Known> =
        known.iter().map(|k| Known { view: k.view.clone(), scope: k.scope.clone(), key: k.key.clone() }).collect();
    if next.is_empty() && alert.status != Status::Recorded && duplicate_of.is_none() {
        let view = ConditionView {
            id: ConditionId(work.condition),
            open: false,
            severity: Severity::Info,
            last_sent: sent,
            last_paged: None,
            opened_by: None,
            last_said: None,
            told: Vec::new(),
        };
        work.condition += 1;
        next.push(Known { view, scope: scope.0.clone(), key: alert.key.0.clone() });
    }
    for Known { view, .. } in &mut next {
        view.last_sent = view.last_sent.max(sent);
        match plan.open {
            Some(true) if !view.open => {
                view.open = true;
                view.opened_by = Some((id, message.received));
                view.severity = Severity::Info;
                view.last_paged = None;
                view.last_said = None;
            }
            Some(false) => {
                view.open = false;
                view.opened_by = None;
            }
            Some(true) | None => {}
        }
        if plan.paged {
            view.severity = view.severity.max(alert.severity);
            view.last_paged = Some(work.now);
            view.last_said = Some((alert.title.clone(), alert.text.clone()));
        }
    }
    next
}

#[expect(clippy::too_many_arguments, reason = "the columns of one row")]
async fn write_alert(
    conn: &mut SqliteConnection,
    now: Timestamp,
    message: &D2Message,
    alert: &Alert,
    id: AlertId,
    scope: &Scope,
    plan: &Plan,
    conditions: &[Known],
) -> Result<(), Fault> {
    let lines: Vec<_> = conditions
        .iter()
        .map(|Known { view, scope, key }| {
            let (title, text) = view.last_said.clone().unzip();
            let (by, at) = view.opened_by.map(|(by, at)| (by.0, us(at))).unzip();
            let times = (us(view.last_sent), view.last_paged.map(us), by, at);
            (view.id.0, scope, key, i64::from(view.open), view.severity.as_str(), times, title, text)
        })
        .collect();
    let (resolves, open_for) = plan.resolves.map(|(by, open_for)| (by.0, open_for.as_millis())).unzip();
    let done = sqlx::query(
        "INSERT INTO alert (id, message, source, scope, ident, sender, format, status, severity, sent, title, body, \
           state, reason, received, created, resolves, open_for_ms) \
           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18); \
         INSERT INTO condition (id, scope, key, open, severity, last_sent, last_paged, opened_by, opened_at, said_title, \
           said_text) SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> '$[5][0]', \
             value ->> '$[5][1]', value ->> '$[5][2]', value ->> '$[5][3]', value ->> 6, value ->> 7 \
           FROM json_each(?19) WHERE true ON CONFLICT (id) DO UPDATE SET open = excluded.open, \
             severity = excluded.severity, last_sent = excluded.last_sent, last_paged = excluded.last_paged, \
             opened_by = excluded.opened_by, opened_at = excluded.opened_at, said_title = excluded.said_title, \
             said_text = excluded.said_text; \
         INSERT INTO alert_condition (alert, condition, paged) SELECT ?1, value ->> 0, ?20 FROM json_each(?19)",
    )
    .bind(id.0)
    .bind(message.id.0)
    .bind(message.source.to_string())
    .bind(&scope.0)
    .bind(&alert.id)
    .bind(&alert.sender)
    .bind(json(&alert.format)?.trim_matches('"').to_owned())
    .bind(alert.status.as_str())
    .bind(alert.severity.as_str())
    .bind(alert.sent.map(us))
    .bind(&alert.title)
    .bind(json(alert)?)
    .bind(plan.state.as_str())
    .bind(&plan.reason)
    .bind(us(message.received))
    .bind(us(now))
    .bind(resolves)
    .bind(open_for.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX)))
    .bind(json(&lines)?)
    .bind(i64::from(plan.paged || !plan.notifications.is_empty()))
    .execute(conn)
    .await;
    mine(done, "writing an alert (D2)").map(drop)
}

/// What is still to be sent of the same conditions: ends where the plan says so; otherwise it takes the better place of the
/// new one, so that it need not wait behind what is less urgent and yet goes first.
async fn settle_earlier(
    conn: &mut SqliteConnection,
    now: Timestamp,
    id: AlertId,
    severity: Severity,
    known: &[ConditionView],
    plan: &Plan,
    recipients: &[PlannedNotification],
) -> Result<(), Fault> {
    let conditions = json(&known.iter().map(|view| view.id.0).collect::<Vec<_>>())?;
    if plan.supersede {
        let since = known.iter().filter_map(|view| view.opened_by).map(|(by, _)| by.0).min().unwrap_or(id.0);
        let done = sqlx::query(
            "UPDATE notification SET unsaid = (state = 'held'), state = 'superseded', ended = ?2, reason = ?3 \
               WHERE condition IN (SELECT value FROM json_each(?1)) \
               AND (state = 'queued' OR state = 'held' OR in_doubt = 1) AND in_doubt = 0 AND carrier IS NULL \
               AND (SELECT a.status FROM alert a WHERE a.id = notification.alert) IN ('firing', 'update') \
               AND NOT EXISTS (SELECT 1 FROM alert_condition c WHERE c.alert = notification.alert \
                 AND c.condition NOT IN (SELECT value FROM json_each(?1))); \
             DELETE FROM watch WHERE alert IN (SELECT c.alert FROM alert_condition c \
               WHERE c.condition IN (SELECT value FROM json_each(?1)) AND c.paged = 1 AND c.alert >= ?5 AND c.alert < ?4)",
        )
        .bind(&conditions)
        .bind(us(now))
        .bind(format!("by {id}"))
        .bind(id.0)
        .bind(since)
        .execute(&mut *conn)
        .await;
        mine(done, "superseding (D2)")?;
    }
    if recipients.is_empty() {
        return Ok(());
    }
    let done = sqlx::query(
        "UPDATE notification SET rank = ?2, not_before = CASE WHEN attempts > 0 THEN NULL ELSE not_before END \
           WHERE condition IN (SELECT value FROM json_each(?1)) \
           AND (state = 'queued' OR state = 'held' OR in_doubt = 1) AND rank > ?2 \
           AND jid IN (SELECT value FROM json_each(?3)); \
         UPDATE notification SET rank = ?2 WHERE rank > ?2 AND id IN (SELECT n.carrier FROM notification n \
           WHERE n.condition IN (SELECT value FROM json_each(?1)) AND n.carrier IS NOT NULL \
           AND (n.state = 'queued' OR n.state = 'held' OR n.in_doubt = 1) \
           AND n.jid IN (SELECT value FROM json_each(?3)))",
    )
    .bind(&conditions)
    .bind(i64::from(severity.rank()))
    .bind(json(&recipients.iter().map(|p| p.recipient.jid.as_str()).collect::<Vec<_>>())?)
    .execute(conn)
    .await;
    mine(done, "ordering (D2)").map(drop)
}

/// One notification for each JID, whoever shares it.
fn one_each(planned: &[PlannedNotification]) -> Vec<PlannedNotification> {
    let mut each: Vec<PlannedNotification> = Vec::with_capacity(planned.len());
    let mut places = std::collections::HashMap::new();
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

#[expect(clippy::too_many_arguments, reason = "everything that decides about it, and nothing else")]
async fn write_notifications(
    conn: &mut SqliteConnection,
    work: &mut Work<'_>,
    record: &Arc<AlertRecord>,
    conditions: &[Known],
    known: &[Known],
    plan: &Plan,
    recipients: Vec<PlannedNotification>,
    outcome: &mut Outcome,
) -> Result<(), Fault> {
    if recipients.is_empty() && plan.groups.is_empty() {
        return Ok(());
    }
    let severity = record.alert.severity;
    let free = match work.reserved.express.epoch() {
        Some(epoch) => Some((epoch, free_way(conn, work.now, severity, known, &recipients).await?)),
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
    let done = sqlx::query(
        "INSERT INTO notification (id, kind, alert, condition, several, recipient, jid, lang, groups, delivery, \
           stanza_id, state, severity, rank, epoch, attempts, created, not_before, expires, first_intent) \
           SELECT value ->> 0, 'alert', ?2, ?3, ?4, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, \
             value ->> 6, value ->> 7, ?5, ?6, value ->> 8, (value ->> 8) IS NOT NULL, ?7, value ->> 9, value ->> 10, \
             CASE WHEN (value ->> 8) IS NULL THEN NULL ELSE ?7 END FROM json_each(?1); \
         INSERT INTO watch (alert, name, fallback, fallback_when) SELECT ?2, value ->> 0, value ->> 1, value ->> 2 \
           FROM json_each(?8) WHERE true ON CONFLICT DO NOTHING",
    )
    .bind(json(&lines)?)
    .bind(record.id.0)
    .bind(conditions.first().map(|c| c.view.id.0))
    .bind(i64::from(conditions.len() > 1))
    .bind(severity.as_str())
    .bind(i64::from(severity.rank()))
    .bind(us(work.now))
    .bind(json(&watches)?)
    .execute(conn)
    .await;
    mine(done, "writing notifications (D2)").map(drop)
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
    known: &[Known],
    recipients: &[PlannedNotification],
) -> Result<Vec<usize>, Fault> {
    let found = sqlx::query(
        "SELECT j.key AS place FROM json_each(?1) j WHERE NOT EXISTS (SELECT 1 FROM notification n WHERE n.jid = j.value \
           AND (n.state = 'queued' OR n.in_doubt = 1) AND n.rank <= ?2 AND (n.not_before IS NULL OR n.not_before <= ?3)) \
         AND NOT EXISTS (SELECT 1 FROM notification n WHERE n.several = 1 AND (n.state = 'queued' OR n.in_doubt = 1) \
           AND n.jid = j.value) \
         AND NOT EXISTS (SELECT 1 FROM json_each(?4) c JOIN notification n ON n.condition = c.value AND n.jid = j.value \
           AND (n.state = 'queued' OR n.state = 'held' OR n.in_doubt = 1))",
    )
    .bind(json(&recipients.iter().map(|p| p.recipient.jid.as_str()).collect::<Vec<_>>())?)
    .bind(i64::from(severity.rank()))
    .bind(us(now))
    .bind(json(&known.iter().map(|k| k.view.id.0).collect::<Vec<_>>())?)
    .fetch_all(conn)
    .await;
    let found = mine(found, "looking for a free way (D2)")?;
    Ok(found.iter().map(|row| row.count("place").map(|n| n as usize)).collect::<Result<_, _>>()?)
}
