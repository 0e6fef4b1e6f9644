//! Messages that have nothing to do with each other, nor with anything before: what a storm is made of. They are looked up, and
//! written, in a few trips to the database for all of them. If anything is wrong with one they go one by one.

use std::collections::{HashMap, HashSet};

use sqlx::SqliteConnection;

use super::alert::{guarded, is_all, plan, settle};
use super::find::Found;
use super::notify::one_each;
use super::rows::{Extent, Rows};
use super::ways::Ways;
use super::{Case, Fault, Outcome, Work};
use crate::model::{Alert, AlertId, MessageId, MessageState, Planner, Scope};
use crate::queue::sqlite::conn::{Columns, Doing, json, us};
use crate::queue::{D2Message, StoreError, Verdict};

/// Most messages written together, and most bytes of their alerts' texts.
const MOST: usize = 64;
const MOST_BYTES: usize = 1 << 18;

/// A message with its only alert.
pub(super) struct Member<'a> {
    pub message: &'a D2Message,
    alert: &'a Alert,
    scope: Scope,
}

/// Those at the front of the batch that have nothing to do with each other.
pub(super) fn front<'a>(
    planner: &dyn Planner,
    batch: &'a [D2Message],
    found: &HashMap<MessageId, Found>,
    again: &HashSet<MessageId>,
) -> Vec<Member<'a>> {
    let (mut keys, mut idents) = (HashSet::new(), HashSet::new());
    let mut bytes = 0;
    let mut members: Vec<Member<'a>> = Vec::new();
    for message in batch.iter().take(MOST) {
        let new = found.get(&message.id).is_some_and(|f| f.state == MessageState::Ready && f.same.is_none());
        let Some(alert) = only_alert(message).filter(|_| new && !again.contains(&message.id)) else { break };
        let Ok(scope) = guarded(|| planner.scope(alert, &message.source)) else { break };
        bytes += alert.text.len();
        let apart = keys.insert((scope.0.clone(), &alert.key)) & idents.insert((scope.0.clone(), &alert.id));
        if !apart || bytes > MOST_BYTES {
            break;
        }
        members.push(Member { message, alert, scope });
    }
    members
}

/// What refers to others may be about any condition.
fn only_alert(message: &D2Message) -> Option<&Alert> {
    match &message.verdict {
        Verdict::Alerts { alerts, .. } if is_all(message) => alerts.first().filter(|alert| alert.references.is_empty()),
        _ => None,
    }
}

/// Which of them are new: neither the alert nor its condition was seen before.
pub(super) async fn new_ones(
    conn: &mut SqliteConnection,
    members: &[Member<'_>],
) -> Result<HashSet<MessageId>, StoreError> {
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
    let mut new = HashSet::new();
    for (row, member) in found.iter().zip(members) {
        if row.flag("new")? {
            new.insert(member.message.id);
        }
    }
    Ok(new)
}

/// Commits messages whose alerts are all new: as many from the front as are enough for this D2, and says how many. An error
/// of a message's own leaves nothing of any of them.
pub(super) async fn commit(
    conn: &mut SqliteConnection,
    work: &mut Work<'_>,
    members: &[Member<'_>],
) -> Result<(usize, Outcome), Fault> {
    let before = (work.alert, work.condition, work.notification, work.reserved.places.len());
    let mut begun = false;
    let done = write(conn, work, members, &mut begun).await;
    if let Err(Fault::Message(_)) = &done {
        if begun {
            let undo = "ROLLBACK TO message; RELEASE message";
            sqlx::query(undo).execute(conn).await.doing("undoing messages").map_err(Fault::Store)?;
        }
        work.reserved.give_back(before.3);
        (work.alert, work.condition, work.notification) = (before.0, before.1, before.2);
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
        let plan = plan(work, member.message, member.alert, None, &[])?;
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
            Case { message: member.message, alert: member.alert, id: AlertId(work.alert), scope: member.scope.clone() };
        work.alert += 1;
        let each = one_each(&plan.notifications);
        settle(work, &case, &plan, &[], None, each, &mut ways, &mut rows, &mut outcome)?;
        rows.end(member.message)?;
    }
    *begun = true;
    rows.write(conn, work, Extent::Whole).await?;
    Ok((done, outcome))
}
