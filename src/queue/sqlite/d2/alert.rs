//! One alert inside D2: what is known of it, what the planner says, and that written down.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use sqlx::SqliteConnection;

use super::known::{self, Known};
use super::rows::{Extent, Rows};
use super::ways::Ways;
use super::{Arrival, Became, Case, Fault, Outcome, Work, Written, mine, notify};
use crate::model::{Alert, AlertId, AlertState, ConditionView, Plan, PlannedNotification, Seen};
use crate::queue::{AlertRecord, StoreError};

/// What is written from here on can be undone alone.
async fn begin(conn: &mut SqliteConnection, work: &mut Work<'_>) -> Result<(), Fault> {
    if work.written == Written::Nothing {
        mine(sqlx::query("SAVEPOINT message").execute(conn).await, "beginning a message (D2)")?;
        work.written = Written::Begun;
    }
    Ok(())
}

/// All alerts of an arrival. After an error what was written of them is to be undone.
pub(super) async fn all(
    conn: &mut SqliteConnection,
    work: &mut Work<'_>,
    arrival: Arrival<'_>,
    alerts: &[Alert],
    outcome: &mut Outcome,
) -> Result<(), Fault> {
    for alert in alerts {
        one(conn, work, arrival, alert, outcome).await?;
    }
    Ok(())
}

async fn one(
    conn: &mut SqliteConnection,
    work: &mut Work<'_>,
    arrival: Arrival<'_>,
    alert: &Alert,
    outcome: &mut Outcome,
) -> Result<(), Fault> {
    let planner = work.planner;
    let scope = guarded(|| planner.scope(alert, arrival.source))?;
    let (duplicate_of, known) = known::look_up(conn, &scope, alert).await?;
    let views: Vec<ConditionView> = known.iter().map(|k| k.view.clone()).collect();
    let plan = plan(work, &arrival, alert, duplicate_of, &views)?;
    let case = Case { arrival, alert, id: AlertId(work.alert), scope };
    work.alert += 1;
    let recipients = notify::one_each(&plan.notifications);
    if !views.is_empty() || !arrival.single {
        begin(conn, work).await?;
    }
    if !views.is_empty() {
        notify::settle_earlier(conn, work.now, &case, &views, &plan, &recipients).await?;
    }
    let mut ways = match work.reserved.express.epoch() {
        Some(_) if !recipients.is_empty() => {
            let jids: Vec<&str> = recipients.iter().map(|p| p.recipient.jid.as_str()).collect();
            Ways::look(conn, work.now, &jids, &views).await?
        }
        _ => Ways::default(),
    };
    let mut rows = Rows::default();
    settle(work, &case, &plan, &known, duplicate_of, recipients, &mut ways, &mut rows, outcome)?;
    let extent = match (work.written, arrival.single) {
        (Written::Nothing, true) => Extent::Whole,
        (_, true) => Extent::Last,
        (_, false) => Extent::Part,
    };
    if extent != Extent::Part {
        rows.end(&arrival)?;
    }
    let done = rows.write(conn, work, extent).await;
    // Before the result: what failed may have begun.
    work.written = Written::Begun;
    done?;
    if extent != Extent::Part {
        work.written = Written::Ended;
    }
    Ok(())
}

/// What the planner says of an alert.
pub(super) fn plan(
    work: &Work<'_>,
    arrival: &Arrival<'_>,
    alert: &Alert,
    duplicate_of: Option<AlertId>,
    conditions: &[ConditionView],
) -> Result<Plan, Fault> {
    guarded(|| {
        work.planner.plan(&Seen {
            alert,
            source: arrival.source,
            may_choose_group: arrival.may_choose_group,
            received: arrival.received,
            now: work.now,
            duplicate_of,
            conditions,
        })
    })
}

/// What follows from the plan: the rows of the alert, of its conditions and notifications, and what the report says of it.
#[expect(clippy::too_many_arguments, reason = "everything that is known of the alert, and where it goes")]
pub(super) fn settle(
    work: &mut Work<'_>,
    case: &Case<'_>,
    plan: &Plan,
    known: &[Known],
    duplicate_of: Option<AlertId>,
    recipients: Vec<PlannedNotification>,
    ways: &mut Ways,
    rows: &mut Rows,
    outcome: &mut Outcome,
) -> Result<(), StoreError> {
    let Case { arrival, alert, id, .. } = case;
    let conditions = known::after(work, case, duplicate_of, known, plan);
    rows.alert(case, plan, &conditions)?;
    rows.follows(case, known)?;
    let record = Arc::new(AlertRecord {
        id: *id,
        alert: (*alert).clone(),
        source: arrival.source.to_string(),
        received: arrival.received,
        resolves: plan.resolves,
    });
    outcome.alerts.push(Became {
        id: *id,
        ident: alert.id.clone(),
        severity: alert.severity,
        state: plan.state,
        duplicate_of,
        reason: plan.reason.clone(),
    });
    notify::settle(work, case, &conditions, &record, recipients, ways, rows, outcome)?;
    if plan.state == AlertState::Unsubscribed {
        outcome.unsubscribed.push((*id, alert.title.clone()));
        outcome.notes.push(("unsubscribed".to_owned(), format!("{id} from {}: {}", arrival.source, alert.title)));
    }
    let told = plan.tell_operators.as_ref();
    outcome.notes.extend(told.map(|text| ("alert".to_owned(), format!("{id} from {}: {text}", arrival.source))));
    Ok(())
}

/// The planner is ours, the alert is not: whatever it makes the planner do stops this arrival only.
pub(super) fn guarded<T>(decide: impl FnOnce() -> T) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(decide)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Fault::Content(format!("internal error in routing: {}", text.unwrap_or("panic")))
    })
}
