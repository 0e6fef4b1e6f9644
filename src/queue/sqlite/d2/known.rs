//! The conditions that an alert is about: as they were, and as the plan leaves them.

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::{Case, Fault, Work, mine};
use crate::model::{
    Alert, AlertId, ConditionId, ConditionView, Delivery, Plan, Recipient, RecipientName, Scope, Severity, Status, Told,
};
use crate::queue::StoreError;
use crate::queue::sqlite::conn::{Columns, Doing, json, us};
use crate::queue::sqlite::rows::bare;

/// A condition's columns, and who was told since it opened. What came back and waits for its next attempt counts: one of the
/// recipient's clients may have shown it, and another one refused it.
macro_rules! condition {
    () => {
        "SELECT c.id, c.scope, c.key, c.open, c.severity, c.last_sent, c.last_paged, c.said_title, c.said_text, \
         c.opened_by, c.opened_at, (SELECT json_group_array(json_array(t.recipient, t.jid, t.lang, t.delivery)) FROM \
           (SELECT n.recipient, n.jid, n.lang, n.delivery, max(n.id) FROM alert_condition ac \
             JOIN notification n ON n.alert = ac.alert WHERE ac.condition = c.id AND ac.paged = 1 \
             AND ac.alert >= c.opened_by AND (n.state IN ('sending', 'accepted', 'delivered', 'acknowledged', \
               'unconfirmed') OR (n.carrier IS NOT NULL AND n.state = 'queued') \
               OR (n.attempts > 0 AND n.state IN ('queued', 'held'))) GROUP BY n.jid) t) AS told \
         FROM condition c WHERE "
    };
}

const BY_KEY: &str = concat!(
    "SELECT (SELECT min(a.id) FROM alert a WHERE a.scope = $1 AND a.ident = $2 AND a.sent = $3 \
       AND (a.status = $4 OR (a.format = 'cap' AND $5 = 'cap' AND a.sender = $6))) AS duplicate; ",
    condition!(),
    "c.scope = $1 AND c.key = $7"
);

const BY_REFERENCE: &str = concat!(
    condition!(),
    "c.id IN (SELECT ac.condition FROM json_each($3) r JOIN alert a ON a.scope = $1 AND a.ident = (r.value ->> 0) \
       AND a.sent = (r.value ->> 1) AND a.sender = $2 JOIN alert_condition ac ON ac.alert = a.id) ORDER BY c.id"
);

/// A condition, with what names it.
#[derive(Clone)]
pub(super) struct Known {
    pub view: ConditionView,
    pub scope: String,
    pub key: String,
}

/// The earlier alert that is the same one, and the conditions: those of the alert's references where they are known, else
/// that of its key.
pub(super) async fn look_up(
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
        found.split_first().ok_or_else(|| Fault::Content("looking up an alert: no answer".to_owned()))?;
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
            let delivery: Delivery = serde_json::from_str(&delivery).doing("reading a delivery")?;
            // Whether it is a room is for the config to say.
            Ok(Told { recipient: Recipient { name, jid: bare(&jid)?, lang, room: false }, delivery })
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
pub(super) fn after(
    work: &mut Work<'_>,
    case: &Case<'_>,
    duplicate_of: Option<AlertId>,
    known: &[Known],
    plan: &Plan,
) -> Vec<Known> {
    let alert = case.alert;
    let sent = alert.sent.unwrap_or(case.arrival.received);
    let mut next = known.to_vec();
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
        next.push(Known { view, scope: case.scope.0.clone(), key: alert.key.0.clone() });
    }
    for Known { view, .. } in &mut next {
        if !case.arrival.by_operator {
            view.last_sent = view.last_sent.max(sent);
        }
        match plan.open {
            Some(true) if !view.open => {
                view.open = true;
                view.opened_by = Some((case.id, case.arrival.received));
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
