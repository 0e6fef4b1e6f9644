//! Alerts that have nothing to do with each other, nor with anything before, each alone in what brought it: what a storm is made
//! of. They are looked up, and written, in a few trips to the database for all of them. If anything is wrong with one they go one
//! by one.

use std::collections::HashSet;

use sqlx::SqliteConnection;

use super::alert::{guarded, plan, settle};
use super::notify::one_each;
use super::rows::{Extent, Rows};
use super::ways::Ways;
use super::{Arrival, Case, Fault, Outcome, Told, Work};
use crate::model::{Alert, AlertId, Planner, Scope};
use crate::queue::StoreError;
use crate::queue::sqlite::conn::{Columns, Doing, json, us};

/// Most alerts written together, and most bytes of their texts.
const MOST: usize = 64;
const MOST_BYTES: usize = 1 << 18;

/// What brought one alert and nothing else.
pub(super) struct Member<'a> {
    pub arrival: Arrival<'a>,
    alert: &'a Alert,
    scope: Scope,
    /// Neither the alert nor its condition was seen before.
    pub new: bool,
}

/// Those at the front that have nothing to do with each other; it ends before the first that may not go together with others
/// (`None`).
pub(super) fn front<'a>(
    planner: &dyn Planner,
    arrivals: impl Iterator<Item = Option<(Arrival<'a>, &'a Alert)>>,
) -> Vec<Member<'a>> {
    let (mut keys, mut idents) = (HashSet::new(), HashSet::new());
    let mut bytes = 0;
    let mut members: Vec<Member<'a>> = Vec::new();
    for (arrival, alert) in arrivals.take(MOST).map_while(|arrival| arrival) {
        // What refers to others may be about any condition.
        if !arrival.single || !alert.references.is_empty() {
            break;
        }
        let Ok(scope) = guarded(|| planner.scope(alert, arrival.source)) else { break };
        bytes += alert.text.len();
        let apart = keys.insert((scope.0.clone(), &alert.key)) & idents.insert((scope.0.clone(), &alert.id));
        if !apart || bytes > MOST_BYTES {
            break;
        }
        members.push(Member { arrival, alert, scope, new: false });
    }
    members
}

/// Finds out which of them are new.
pub(super) async fn look_up(conn: &mut SqliteConnection, members: &mut [Member<'_>]) -> Result<(), StoreError> {
    let lines: Vec<_> =
        members.iter().map(|m| (&m.scope.0, &m.alert.key.0, &m.alert.id, m.alert.sent.map(us))).collect();
    let found = sqlx::query(
        "WITH j (place, scope, key, ident, sent) AS MATERIALIZED (SELECT key, value ->> 0, value ->> 1, value ->> 2, \
           value ->> 3 FROM json_each($1)) \
         SELECT NOT EXISTS (SELECT 1 FROM condition c WHERE c.scope = j.scope AND c.key = j.key) \
           AND NOT EXISTS (SELECT 1 FROM alert a WHERE a.scope = j.scope AND a.ident = j.ident AND a.sent = j.sent) AS new \
         FROM j ORDER BY j.place",
    )
    .bind(json(&lines)?)
    .fetch_all(conn)
    .await
    .doing("looking for what is known (D2)")?;
    for (row, member) in found.iter().zip(members) {
        member.new = row.flag("new")?;
    }
    Ok(())
}

/// Commits new ones together: as many from the front as are enough for this D2, and says how many. The others are to go one by
/// one: they are not new, or something is wrong with one of them.
pub(super) async fn commit(
    conn: &mut SqliteConnection,
    work: &mut Work<'_>,
    members: &[Member<'_>],
    told: &mut Told,
) -> Result<usize, StoreError> {
    let mut done = 0;
    while let Some(left) = members.get(done..).filter(|left| !left.is_empty() && work.goes_on()) {
        if !left.iter().all(|member| member.new) {
            break;
        }
        match at_once(conn, work, left).await {
            Ok((more, outcome)) => {
                told.take(outcome);
                done += more;
            }
            Err(Fault::Content(_)) => break,
            Err(Fault::Store(err)) => return Err(err),
        }
    }
    Ok(done)
}

/// An error of the content of one leaves nothing of any of them.
async fn at_once(
    conn: &mut SqliteConnection,
    work: &mut Work<'_>,
    members: &[Member<'_>],
) -> Result<(usize, Outcome), Fault> {
    let mark = work.mark();
    let mut begun = false;
    let done = write(conn, work, members, &mut begun).await;
    if let Err(Fault::Content(_)) = &done {
        if begun {
            let undo = "ROLLBACK TO message; RELEASE message";
            sqlx::query(undo).execute(conn).await.doing("undoing (D2)").map_err(Fault::Store)?;
        }
        work.back_to(mark);
    }
    done
}

async fn write(
    conn: &mut SqliteConnection,
    work: &mut Work<'_>,
    members: &[Member<'_>],
    begun: &mut bool,
) -> Result<(usize, Outcome), Fault> {
    let mut plans = Vec::with_capacity(members.len());
    let mut room = work.left();
    for member in members {
        let plan = plan(work, &member.arrival, member.alert, None, &[])?;
        room = room.saturating_sub(plan.notifications.len());
        plans.push(plan);
        if room == 0 {
            break;
        }
    }
    let done = plans.len();
    let recipients: HashSet<&str> =
        plans.iter().flat_map(|p| &p.notifications).map(|p| p.recipient.jid.as_str()).collect();
    let mut ways = match work.reserved.express.epoch() {
        Some(_) if !recipients.is_empty() => {
            Ways::look(conn, work.now, &recipients.into_iter().collect::<Vec<_>>(), &[]).await?
        }
        _ => Ways::default(),
    };
    let (mut rows, mut outcome) = (Rows::default(), Outcome::default());
    for (member, plan) in members.iter().zip(plans) {
        let case =
            Case { arrival: member.arrival, alert: member.alert, id: AlertId(work.alert), scope: member.scope.clone() };
        work.alert += 1;
        let each = one_each(&plan.notifications);
        settle(work, &case, &plan, &[], None, each, &mut ways, &mut rows, &mut outcome)?;
        rows.end(&member.arrival)?;
    }
    *begun = true;
    rows.write(conn, work, Extent::Whole).await?;
    Ok((done, outcome))
}
