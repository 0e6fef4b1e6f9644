//! One alert inside D2: what is known of it, what the planner says, and that written down.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use sqlx::SqliteConnection;

use super::known::{self, Known};
use super::{Case, Fault, Outcome, Work, Written, mine, notify};
use crate::model::{Alert, AlertId, AlertState, ConditionView, Plan, Seen};
use crate::queue::sqlite::conn::{json, us};
use crate::queue::{AlertRecord, D2Message, Verdict};

/// An alert with all that follows from it, in one trip to the database.
macro_rules! one {
    () => {
        "INSERT INTO alert (id, message, source, scope, ident, sender, format, status, severity, sent, title, body, \
           state, reason, received, created, resolves, open_for_ms) \
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18); \
         INSERT INTO condition (id, scope, key, open, severity, last_sent, last_paged, opened_by, opened_at, said_title, \
           said_text) SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> '$[5][0]', \
             value ->> '$[5][1]', value ->> '$[5][2]', value ->> '$[5][3]', value ->> 6, value ->> 7 \
           FROM json_each($19) WHERE true ON CONFLICT (id) DO UPDATE SET open = excluded.open, \
             severity = excluded.severity, last_sent = excluded.last_sent, last_paged = excluded.last_paged, \
             opened_by = excluded.opened_by, opened_at = excluded.opened_at, said_title = excluded.said_title, \
             said_text = excluded.said_text; \
         INSERT INTO alert_condition (alert, condition, paged) SELECT $1, value ->> 0, $20 FROM json_each($19); \
         INSERT INTO notification (id, kind, alert, condition, several, recipient, jid, lang, groups, delivery, \
           stanza_id, state, severity, rank, epoch, attempts, created, not_before, expires, first_intent) \
           SELECT value ->> 0, 'alert', $1, $22, $23, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, \
             value ->> 6, value ->> 7, $9, $24, value ->> 8, (value ->> 8) IS NOT NULL, $16, value ->> 9, value ->> 10, \
             CASE WHEN (value ->> 8) IS NULL THEN NULL ELSE $16 END FROM json_each($21); \
         INSERT INTO watch (alert, name, fallback, fallback_when) SELECT $1, value ->> 0, value ->> 1, value ->> 2 \
           FROM json_each($25) WHERE true ON CONFLICT DO NOTHING"
    };
}

macro_rules! end {
    () => {
        "UPDATE message SET state = 'parsed', parsed = $16, digest_id = $26, digest_date = $27, digest_body = $28 \
           WHERE id = $2; \
         RELEASE message"
    };
}

/// One of several alerts of a message.
const ONE: &str = one!();
/// The only one: with the message's end.
const LAST: &str = concat!(one!(), "; ", end!());
/// The only one, and the first that is written of the message.
const WHOLE: &str = concat!("SAVEPOINT message; ", one!(), "; ", end!());

/// Is the one alert all that there is in the message?
fn is_all(message: &D2Message) -> bool {
    matches!(&message.verdict, Verdict::Alerts { alerts, bad } if alerts.len() == 1 && bad.is_empty())
}

/// What is written from here on can be undone alone.
async fn begin(conn: &mut SqliteConnection, work: &mut Work<'_>) -> Result<(), Fault> {
    if work.written == Written::Nothing {
        mine(sqlx::query("SAVEPOINT message").execute(conn).await, "beginning a message (D2)")?;
        work.written = Written::Begun;
    }
    Ok(())
}

pub(super) async fn commit(
    conn: &mut SqliteConnection,
    work: &mut Work<'_>,
    message: &D2Message,
    alert: &Alert,
    outcome: &mut Outcome,
) -> Result<(), Fault> {
    let planner = work.planner;
    let scope = guarded(|| planner.scope(alert, &message.source))?;
    let (duplicate_of, known) = known::look_up(conn, &scope, alert).await?;
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
    let case = Case { message, alert, id: AlertId(work.alert), scope };
    work.alert += 1;
    let after = known::after(work, &case, duplicate_of, &known, &plan);
    let recipients = notify::one_each(&plan.notifications);
    if !views.is_empty() || !is_all(message) {
        begin(conn, work).await?;
    }
    if !views.is_empty() {
        notify::settle_earlier(conn, work.now, &case, &views, &plan, &recipients).await?;
    }
    let record = Arc::new(AlertRecord {
        id: case.id,
        alert: alert.clone(),
        source: message.source.to_string(),
        received: message.received,
        resolves: plan.resolves,
    });
    let rows = notify::rows(conn, work, &record, &views, &plan, recipients, outcome).await?;
    write(conn, work, &case, &plan, &after, &rows).await?;
    if plan.state == AlertState::Unsubscribed {
        outcome.unsubscribed.push((case.id, alert.title.clone()));
        outcome
            .notes
            .push(("unsubscribed".to_owned(), format!("{} from {}: {}", case.id, message.source, alert.title)));
    }
    outcome.notes.extend(
        plan.tell_operators.map(|text| ("alert".to_owned(), format!("{} from {}: {text}", case.id, message.source))),
    );
    Ok(())
}

/// The planner is ours, the alert is not: whatever it makes the planner do stops this message only.
fn guarded<T>(decide: impl FnOnce() -> T) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(decide)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Fault::Message(format!("internal error in routing: {}", text.unwrap_or("panic")))
    })
}

/// The alert, its conditions as they are now, its notifications and watches: one trip for all of them.
async fn write(
    conn: &mut SqliteConnection,
    work: &mut Work<'_>,
    case: &Case<'_>,
    plan: &Plan,
    conditions: &[Known],
    rows: &notify::Rows,
) -> Result<(), Fault> {
    let Case { message, alert, id, scope } = case;
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
    let digest = message.digest.as_ref();
    let done = sqlx::query(match (work.written, is_all(message)) {
        (Written::Nothing, true) => WHOLE,
        (_, true) => LAST,
        (_, false) => ONE,
    })
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
    .bind(us(work.now))
    .bind(resolves)
    .bind(open_for.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX)))
    .bind(json(&lines)?)
    .bind(i64::from(plan.paged || !plan.notifications.is_empty()))
    .bind(&rows.notifications)
    .bind(conditions.first().map(|c| c.view.id.0))
    .bind(i64::from(conditions.len() > 1))
    .bind(i64::from(alert.severity.rank()))
    .bind(&rows.watches)
    .bind(digest.and_then(|d| d.message_id.as_deref()))
    .bind(digest.and_then(|d| d.date).map(us))
    .bind(digest.map(|d| d.body_sha256.to_vec()))
    .execute(conn)
    .await;
    // Before the result: what failed may have begun.
    work.written = Written::Begun;
    mine(done, "writing an alert (D2)")?;
    if is_all(message) {
        work.written = Written::Ended;
    }
    Ok(())
}
