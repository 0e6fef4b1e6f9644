//! What is written of alerts: collected as rows, and written in one trip to the database, however many they are.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::known::Known;
use super::{Arrival, Case, Fault, Work, mine};
use crate::model::{Alert, Epoch, Notification, Plan, Presence};
use crate::queue::sqlite::conn::{json, us};
use crate::queue::sqlite::watch::left_out;
use crate::queue::{StoreError, Wait};

/// The rows as they are bound: $1 alerts, $3 conditions, $4 notifications, $5 watches, $6 ends, $7 groups, $8 what an alert follows
/// on, $9 who is left out; $2 is now.
macro_rules! rows {
    () => {
        "INSERT INTO alert (id, message, source, scope, ident, sender, origin, format, status, severity, sent, title, \
           body, state, reason, received, created, resolves, open_for_ms) \
           SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> '$[14][3]', \
             value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, \
             value ->> '$[14][0]', $2, value ->> '$[14][1]', value ->> '$[14][2]' FROM jsonb_each($1); \
         INSERT INTO condition (id, scope, key, open, severity, last_sent, last_paged, opened_by, opened_at, said_title, \
           said_text) SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> '$[5][0]', \
             value ->> '$[5][1]', value ->> '$[5][2]', value ->> '$[5][3]', value ->> 6, value ->> 7 \
           FROM jsonb_each($3) WHERE true ON CONFLICT (id) DO UPDATE SET open = excluded.open, \
             severity = excluded.severity, last_sent = excluded.last_sent, last_paged = excluded.last_paged, \
             opened_by = excluded.opened_by, opened_at = excluded.opened_at, said_title = excluded.said_title, \
             said_text = excluded.said_text; \
         INSERT INTO alert_condition (alert, condition, paged) \
           SELECT value ->> 8, value ->> 0, value ->> 9 FROM jsonb_each($3); \
         INSERT INTO notification (id, kind, alert, condition, several, recipient, jid, lang, groups, delivery, \
           stanza_id, state, severity, rank, epoch, attempts, created, not_before, expires, first_intent, waits, follows, reason, presence) \
           SELECT value ->> 0, 'alert', value ->> '$[11][0]', value ->> '$[11][1]', value ->> '$[11][2]', value ->> 1, \
             value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> '$[11][3]', \
             value ->> '$[11][4]', value ->> 8, (value ->> 8) IS NOT NULL, $2, value ->> 9, value ->> 10, \
             CASE WHEN (value ->> 8) IS NULL THEN NULL ELSE $2 END, value ->> '$[11][5]', \
             (value ->> '$[11][5]') IS NOT NULL, value ->> '$[11][6]', value ->> '$[11][7]' FROM jsonb_each($4); \
         INSERT INTO intent (at, notification) \
           SELECT $2, value ->> 0 FROM jsonb_each($4) WHERE (value ->> 8) IS NOT NULL; \
         INSERT INTO watch (alert, name, fallback, fallback_when) \
           SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM jsonb_each($5) WHERE true \
           ON CONFLICT DO NOTHING; \
         INSERT INTO alert_group (alert, name) SELECT value ->> 0, value ->> 1 FROM jsonb_each($7) WHERE true \
           ON CONFLICT DO NOTHING; \
         INSERT INTO alert_group (alert, name) SELECT j.value ->> 0, g.name FROM jsonb_each($8) j \
           JOIN alert_condition c ON c.condition = (j.value ->> 1) AND c.paged = 1 AND c.alert >= (j.value ->> 2) \
           JOIN alert_group g ON g.alert = c.alert WHERE true ON CONFLICT DO NOTHING; \
         INSERT INTO left_out (alert, who, at, why) \
           SELECT value ->> 0, value ->> 1, $2, value ->> 2 FROM jsonb_each($9) WHERE true ON CONFLICT DO NOTHING"
    };
}

macro_rules! ends {
    () => {
        "UPDATE message SET state = 'parsed', parsed = $2, digest_id = j.value ->> 1, digest_date = j.value ->> 2, \
           digest_body = unhex(j.value ->> 3) FROM jsonb_each($6) j WHERE message.id = (j.value ->> 0); \
         RELEASE message"
    };
}

/// How the rows stand to what brought them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// A part of an arrival, inside its savepoint.
    Part,
    /// The last part, with the end of its message.
    Last,
    /// Whole arrivals.
    Whole,
}

impl Extent {
    const fn sql(self) -> &'static str {
        match self {
            Self::Part => rows!(),
            Self::Last => concat!(rows!(), "; ", ends!()),
            Self::Whole => concat!("SAVEPOINT message; ", rows!(), "; ", ends!()),
        }
    }
}

/// How a notification starts.
pub(super) struct Start {
    /// It is born `sending` under this.
    pub epoch: Option<Epoch>,
    /// It waits.
    pub wait: Option<Wait>,
    /// What was seen of its recipient.
    pub presence: Option<Presence>,
}

/// Rows, each as JSON.
#[derive(Debug, Default)]
pub(super) struct Rows {
    alerts: Vec<String>,
    conditions: Vec<String>,
    notifications: Vec<String>,
    watches: Vec<String>,
    ends: Vec<String>,
    groups: Vec<String>,
    follows: Vec<String>,
    left_out: Vec<String>,
}

impl Rows {
    /// The alert, its conditions as they are from now on, and the groups to be watched.
    pub(super) fn alert(&mut self, case: &Case<'_>, plan: &Plan, conditions: &[Known]) -> Result<(), StoreError> {
        let Case { arrival, alert, id, scope } = case;
        let (resolves, open_for) = plan.resolves.map(|(by, open_for)| (by.0, open_for.as_millis())).unzip();
        let open_for = open_for.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
        self.alerts.push(json(&(
            id.0,
            arrival.message.map(|message| message.id.0),
            arrival.source.to_string(),
            &scope.0,
            &alert.id,
            &alert.sender,
            &alert.format,
            alert.status.as_str(),
            alert.severity.as_str(),
            alert.sent.map(us),
            &alert.title,
            json(alert)?,
            plan.state.as_str(),
            &plan.reason,
            (us(arrival.received), resolves, open_for, origin(alert)),
        ))?);
        let paged = i64::from(plan.paged || !plan.notifications.is_empty());
        for Known { view, scope, key } in conditions {
            let (title, text) = view.last_said.as_ref().map(|(title, text)| (title, text)).unzip();
            let (by, at) = view.opened_by.map(|(by, at)| (by.0, us(at))).unzip();
            let times = (us(view.last_sent), view.last_paged.map(us), by, at);
            let open = i64::from(view.open);
            let row = (view.id.0, scope, key, open, view.severity.as_str(), times, title, text, id.0, paged);
            self.conditions.push(json(&row)?);
        }
        for (group, fallback) in &plan.groups {
            let (to, when) = fallback.as_ref().map(|(to, when)| (to, when)).unzip();
            self.watches.push(json(&(id.0, group, to, when))?);
        }
        for group in &plan.matched {
            self.groups.push(json(&(id.0, group))?);
        }
        for text in &plan.left_out {
            let (who, why) = left_out(text);
            self.left_out.push(json(&(id.0, who, why))?);
        }
        Ok(())
    }

    /// The conditions as they were before the alert: it is for whom they are for.
    pub(super) fn follows(&mut self, case: &Case<'_>, known: &[Known]) -> Result<(), StoreError> {
        for view in known.iter().map(|known| &known.view) {
            if let Some((opened_by, _)) = view.opened_by.filter(|_| view.open) {
                self.follows.push(json(&(case.id.0, view.id.0, opened_by.0))?);
            }
        }
        Ok(())
    }

    /// A notification of the case.
    pub(super) fn notification(
        &mut self,
        case: &Case<'_>,
        conditions: &[Known],
        n: &Notification,
        lang: Option<&str>,
        start: &Start,
    ) -> Result<(), StoreError> {
        let severity = case.alert.severity;
        let condition = conditions.first().map(|c| c.view.id.0);
        let several = i64::from(conditions.len() > 1);
        let Start { epoch, wait, presence } = start;
        self.notifications.push(json(&(
            n.id.0,
            n.recipient.as_str(),
            n.jid.as_str(),
            lang,
            json(&n.groups)?,
            json(&n.delivery)?,
            &n.stanza_id.0,
            n.state.as_str(),
            epoch.map(|e| e.0),
            n.not_before.map(us),
            n.expires.map(us),
            (
                case.id.0,
                condition,
                several,
                severity.as_str(),
                severity.rank(),
                wait.as_ref().map(|wait| us(wait.until)),
                wait.as_ref().map_or("", |wait| wait.why),
                presence.map(Presence::as_str),
            ),
        ))?);
        Ok(())
    }

    /// The message, where there is one, ends as parsed.
    pub(super) fn end(&mut self, arrival: &Arrival<'_>) -> Result<(), StoreError> {
        let Some(message) = arrival.message else { return Ok(()) };
        let digest = message.digest.as_ref();
        let body = digest.map(|d| hex(&d.body_sha256));
        let (id, date) = (digest.and_then(|d| d.message_id.as_deref()), digest.and_then(|d| d.date).map(us));
        self.ends.push(json(&(message.id.0, id, date, body))?);
        Ok(())
    }

    /// Writes them.
    pub(super) async fn write(self, conn: &mut SqliteConnection, work: &Work<'_>, extent: Extent) -> Result<(), Fault> {
        let now: Timestamp = work.now;
        let done = sqlx::query(extent.sql())
            .bind(array(&self.alerts))
            .bind(us(now))
            .bind(array(&self.conditions))
            .bind(array(&self.notifications))
            .bind(array(&self.watches))
            .bind(array(&self.ends))
            .bind(array(&self.groups))
            .bind(array(&self.follows))
            .bind(array(&self.left_out))
            .execute(conn)
            .await;
        mine(done, "writing alerts (D2)").map(drop)
    }
}

/// Where it comes from, as a digest counts it: the host it is about, else who sent it.
fn origin(alert: &Alert) -> &str {
    match alert.labels.get("host").first().map(|host| host.trim()) {
        Some(host) if !host.is_empty() => host,
        _ => &alert.sender,
    }
}

fn array(rows: &[String]) -> String {
    format!("[{}]", rows.join(","))
}

/// As `unhex` reads it.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
