//! The log of events: read a page at a time, with what stands in the rows that they are about.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use tokio::sync::Notify;

use super::Sqlite;
use super::conn::{Columns, Doing, json};
use crate::model::{
    AlertId, Availability, ConditionId, GroupName, MessageId, NotificationId, Presence, RecipientName, Show,
};
use crate::queue::{
    AlertEvent, ConditionEvent, Event, EventPage, Events, Happened, MailboxEvent, MessageEvent, NotificationEvent,
    PresenceEvent, ProbeEvent, Reach, StoreError,
};

/// Numbers go on where they ended: the newest row is never removed.
const SPAN: &str = "SELECT coalesce(min(id), 1) AS oldest, coalesce(max(id), 0) AS newest FROM feed";

/// An alert is of the groups that were told of it, or of what it ends; a condition of those of its last alerts; the message about
/// an end is of the groups of what it ends.
pub(super) const PAGE: &str = "\
    SELECT f.id, f.at, f.kind, f.subject, f.name, f.state, f.detail, m.mailbox, m.size, c.key, n.recipient, \
      n.kind AS n_kind, n.severity AS n_severity, a.id AS alert, a.title, a.severity, a.status, a.source, \
      CASE f.kind \
        WHEN 'alert' THEN (SELECT json_group_array(DISTINCT g.value) FROM notification x, json_each(x.groups) g \
          WHERE x.alert IN (a.id, a.resolves)) \
        WHEN 'condition' THEN (SELECT json_group_array(DISTINCT g.value) FROM notification x, json_each(x.groups) g \
          WHERE x.alert IN (SELECT ac.alert FROM alert_condition ac WHERE ac.condition = c.id AND ac.paged = 1 \
            ORDER BY ac.alert DESC LIMIT 20)) \
        WHEN 'notification' THEN coalesce(nullif(n.groups, '[]'), \
          (SELECT x.groups FROM notification x WHERE x.alert = a.resolves AND x.jid = n.jid), '[]') \
        ELSE f.groups END AS groups, \
      CASE WHEN $3 > 0 AND m.id IS NOT NULL AND f.state = 'stored' \
        THEN (SELECT substr(r.bytes, 1, $3 + 65536) FROM raw r WHERE r.message = m.id) END AS bytes \
    FROM feed f \
    LEFT JOIN message m ON f.kind = 'message' AND m.id = f.subject \
    LEFT JOIN condition c ON f.kind = 'condition' AND c.id = f.subject \
    LEFT JOIN notification n ON f.kind = 'notification' AND n.id = f.subject \
    LEFT JOIN alert a ON a.id = CASE f.kind WHEN 'alert' THEN f.subject WHEN 'notification' THEN n.alert END \
    WHERE f.id > $1 ORDER BY f.id LIMIT $2 + 0";

#[async_trait]
impl Events for Sqlite {
    async fn span(&self) -> Result<Reach, StoreError> {
        let mut lease = self.lend(&self.feed, &self.reading).await?;
        let span = span(&mut lease.conn).await?;
        lease.keep();
        Ok(span)
    }

    async fn events(&self, after: i64, limit: usize, body: usize) -> Result<EventPage, StoreError> {
        let mut lease = self.lend(&self.feed, &self.reading).await?;
        let rows = sqlx::query(PAGE)
            .bind(after)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .bind(i64::try_from(body).unwrap_or(0))
            .fetch_all(&mut lease.conn)
            .await
            .doing("reading events")?;
        lease.keep();
        let first = rows.first().map_or(Ok(after + 1), |row| row.int("id"))?;
        let last = rows.last().map_or(Ok(after), |row| row.int("id"))?;
        Ok(EventPage { events: rows.iter().filter_map(|row| event(row, body)).collect(), first, last })
    }

    async fn tell(&self, news: &[(Happened, Vec<GroupName>)]) -> Result<(), StoreError> {
        let rows: Vec<_> = news.iter().filter_map(|(what, groups)| told(what, groups)).collect();
        if rows.is_empty() {
            return Ok(());
        }
        self.written(tell(self, &json(&rows)?).await)
    }

    async fn trim(&self, keep: u64, limit: u64) -> Result<u64, StoreError> {
        self.written(trim(self, keep, limit).await)
    }

    fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }
}

async fn span(conn: &mut SqliteConnection) -> Result<Reach, StoreError> {
    let row = sqlx::query(SPAN).fetch_one(conn).await.doing("looking how far the events reach")?;
    Ok(Reach { oldest: row.int("oldest")?, newest: row.int("newest")? })
}

async fn tell(store: &Sqlite, rows: &str) -> Result<(), StoreError> {
    let mut lease = store.begin().await?;
    sqlx::query(
        "INSERT INTO feed (kind, name, state, detail, groups) SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, \
         value ->> 4 FROM json_each($1)",
    )
    .bind(rows)
    .execute(&mut lease.conn)
    .await
    .doing("writing events")?;
    lease.commit().await
}

async fn trim(store: &Sqlite, keep: u64, limit: u64) -> Result<u64, StoreError> {
    let mut lease = store.begin().await?;
    let Reach { oldest, newest } = span(&mut lease.conn).await?;
    let over = u64::try_from(newest - oldest + 1).unwrap_or(0).saturating_sub(keep.max(1));
    if over > 0 {
        let before = oldest.saturating_add_unsigned(over.min(limit));
        let done = sqlx::query("DELETE FROM feed WHERE id < $1").bind(before).execute(&mut lease.conn).await;
        done.doing("trimming events")?;
    }
    lease.commit().await?;
    Ok(over.saturating_sub(limit))
}

/// The row of what no trigger writes.
fn told<'a>(what: &'a Happened, groups: &[GroupName]) -> Option<(&'a str, &'a str, &'a str, &'a str, String)> {
    let groups = json(groups).ok()?;
    let kind = what.kind().as_str();
    match what {
        Happened::Presence(p) => {
            Some((kind, p.recipient.as_str(), p.show.as_deref().unwrap_or(p.presence.as_str()), "", groups))
        }
        Happened::Mailbox(m) => Some((kind, &m.mailbox, &m.state, m.error.as_deref().unwrap_or_default(), groups)),
        _ => None,
    }
}

/// `None`: what it is about was purged since, or cannot be read: nobody waits for that.
fn event(row: &SqliteRow, body: usize) -> Option<Event> {
    let read = || -> Result<Option<Event>, StoreError> {
        let Some(what) = what(row, body)? else { return Ok(None) };
        Ok(Some(Event { id: row.int("id")?, at: row.time("at")?, groups: row.json("groups")?, what }))
    };
    read().unwrap_or_else(|err| {
        tracing::debug!(%err, "an event was left out");
        None
    })
}

fn what(row: &SqliteRow, body: usize) -> Result<Option<Happened>, StoreError> {
    let (state, detail) = (row.text("state")?, row.text("detail")?);
    let subject = || row.int("subject");
    let alert = row.maybe_int("alert")?.map(|id| AlertId(id).to_string());
    let why = Some(detail.clone()).filter(|why| !why.is_empty());
    Ok(match row.text("kind")?.as_str() {
        "message" if row.maybe_text("mailbox")?.is_some() => {
            let (header, beginning) = beginning(row, body)?;
            let (message, mailbox, size) = (MessageId(subject()?), row.word("mailbox")?, row.count("size")?);
            let event = MessageEvent { message, mailbox, state, reason: detail, size, header, body: beginning };
            Some(Happened::Message(event))
        }
        "alert" => match alert {
            Some(alert) => Some(Happened::Alert(AlertEvent {
                alert,
                title: row.text("title")?,
                severity: row.word("severity")?,
                status: row.word("status")?,
                source: row.text("source")?,
                state: row.word("state")?,
                reason: detail,
            })),
            None => None,
        },
        "condition" => match row.maybe_text("key")? {
            Some(key) => {
                let severity = serde_json::from_value(Value::String(detail)).doing("severity")?;
                let condition = ConditionId(subject()?);
                Some(Happened::Condition(ConditionEvent { condition, key, state, severity }))
            }
            None => None,
        },
        "notification" if row.maybe_text("recipient")?.is_some() => Some(Happened::Notification(NotificationEvent {
            notification: NotificationId(subject()?),
            kind: row.word("n_kind")?,
            alert,
            title: row.maybe_text("title")?,
            severity: row.word("n_severity")?,
            recipient: row.word("recipient")?,
            state: row.word("state")?,
            reason: detail,
        })),
        "presence" => Some(Happened::Presence(presence(row.word("name")?, state))),
        "mailbox" => Some(Happened::Mailbox(MailboxEvent { mailbox: row.text("name")?, state, error: why })),
        "probe" => Some(Happened::Probe(probe(row.text("name")?, state, &detail))),
        _ => None,
    })
}

/// In the log there is one word: what they show; where they show nothing, how they are. Older versions wrote `not shared` and
/// `not in the room` as well.
fn presence(recipient: RecipientName, word: String) -> PresenceEvent {
    if let Some(show) = Show::ALL.into_iter().find(|show| show.as_str() == word) {
        return PresenceEvent { recipient, presence: Presence::Online(show).into(), show: Some(word) };
    }
    let known = Availability::ALL.into_iter().find(|known| known.as_str() == word);
    let old = if word == "not in the room" { Availability::Offline } else { Availability::Unknown };
    PresenceEvent { recipient, presence: known.unwrap_or(old), show: None }
}

/// What the engine keeps of a host, in a word.
fn probe(host: String, state: String, detail: &str) -> ProbeEvent {
    let told: Value = serde_json::from_str(detail).unwrap_or_default();
    let state = match (state.as_str(), told.get("host"), told.get("ports")) {
        ("up", ..) => "up",
        (_, Some(_), _) => "down",
        (_, None, Some(_)) => "partly down",
        (_, None, None) => "warning",
    };
    ProbeEvent { host, state: state.to_owned(), told }
}

/// The beginning of a mail's header and of what follows.
fn beginning(row: &SqliteRow, most: usize) -> Result<(Option<String>, Option<String>), StoreError> {
    let bytes: Option<Vec<u8>> = row.try_get("bytes").doing("bytes")?;
    let Some(bytes) = bytes else { return Ok((None, None)) };
    let text = |bytes: &[u8]| {
        let cut = bytes.get(..most).unwrap_or(bytes);
        Some(String::from_utf8_lossy(cut).into_owned())
    };
    let end = |pattern: &[u8]| Some(bytes.windows(pattern.len()).position(|found| found == pattern)? + pattern.len());
    let split = end(b"\r\n\r\n").or_else(|| end(b"\n\n")).and_then(|at| bytes.split_at_checked(at));
    Ok(match split {
        Some((header, body)) => (text(header), text(body)),
        None => (text(&bytes), None),
    })
}
