//! Rows as the domain's types.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::conn::{Columns, Doing, broken, json};
use crate::model::{AlertId, BareJid, ConditionId, Cursor, Notification, NotificationId, NotificationState, StanzaId};
use crate::queue::{AlertRecord, Content, Outgoing, StoreError};

/// A notification's columns, of the table or alias `n`.
macro_rules! notification_columns {
    () => {
        concat!(
            "n.id, n.kind, n.alert, n.condition, n.recipient, n.jid, n.groups, n.delivery, n.stanza_id, n.state, n.severity, n.forced, \
         n.in_doubt, n.attempts, n.text, n.created, n.not_before, n.expires, n.held_until, n.first_intent, \
         n.folds + (SELECT count(*) FROM notification f WHERE f.condition = n.condition AND f.jid = n.jid AND f.id < n.id \
           AND (f.state = 'queued' OR f.state = 'held' OR f.in_doubt = 1) AND ",
            crate::queue::sqlite::storm::gives_way!("f"),
            ") AS folds"
        )
    };
}
pub(super) use notification_columns;

/// An alert's columns, of the table or alias `a`.
macro_rules! alert_columns {
    () => {
        "a.id, a.body, a.source, a.received, a.resolves, a.open_for_ms"
    };
}
pub(super) use alert_columns;

pub(super) fn bare(text: &str) -> Result<BareJid, StoreError> {
    text.parse().map_err(|err| broken(format!("reading a JID: {err}")))
}

pub(super) fn notification(row: &SqliteRow) -> Result<Notification, StoreError> {
    Ok(Notification {
        id: NotificationId(row.int("id")?),
        kind: row.word("kind")?,
        alert: row.maybe_int("alert")?.map(AlertId),
        condition: row.maybe_int("condition")?.map(ConditionId),
        recipient: row.word("recipient")?,
        jid: bare(&row.text("jid")?)?,
        groups: row.json("groups")?,
        stanza_id: StanzaId(row.text("stanza_id")?),
        state: row.word("state")?,
        severity: row.word("severity")?,
        delivery: row.json("delivery")?,
        forced: row.flag("forced")?,
        created: row.time("created")?,
        not_before: row.maybe_time("not_before")?,
        expires: row.maybe_time("expires")?,
        held_until: row.maybe_time("held_until")?,
        first_intent: row.maybe_time("first_intent")?,
        attempts: u32::try_from(row.int("attempts")?).unwrap_or(u32::MAX),
        folds: u32::try_from(row.int("folds")?).unwrap_or(u32::MAX),
    })
}

pub(super) fn alert(row: &SqliteRow) -> Result<AlertRecord, StoreError> {
    let open_for =
        Duration::from_millis(row.maybe_int("open_for_ms")?.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0));
    Ok(AlertRecord {
        id: AlertId(row.int("id")?),
        alert: row.json("body")?,
        source: row.text("source")?,
        received: row.time("received")?,
        resolves: row.maybe_int("resolves")?.map(|id| (AlertId(id), open_for)),
    })
}

/// Rows of notifications with what they say: each alert is read once.
pub(super) async fn outgoing(conn: &mut SqliteConnection, rows: &[SqliteRow]) -> Result<Vec<Outgoing>, StoreError> {
    let mut ids = BTreeSet::new();
    for row in rows {
        ids.extend(row.maybe_int("alert")?);
    }
    let mut alerts = BTreeMap::new();
    if !ids.is_empty() {
        let sql = concat!("SELECT ", alert_columns!(), " FROM json_each($1) j JOIN alert a ON a.id = j.value");
        let found = sqlx::query(sql).bind(json(&ids)?).fetch_all(conn).await.doing("reading alerts")?;
        for row in &found {
            alerts.insert(row.int("id")?, Arc::new(alert(row)?));
        }
    }
    rows.iter()
        .map(|row| {
            let content = match row.maybe_int("alert")?.and_then(|id| alerts.get(&id)) {
                Some(alert) => Content::Alert(Arc::clone(alert)),
                None => Content::Text(row.maybe_text("text")?.unwrap_or_default()),
            };
            let notification = notification(row)?;
            let in_doubt = notification.state == NotificationState::Sending && row.flag("in_doubt")?;
            Ok(Outgoing { notification, content, in_doubt })
        })
        .collect()
}

pub(super) fn cursor(row: &SqliteRow) -> Result<Cursor, StoreError> {
    let part = |name| row.maybe_int(name).map(|n| n.and_then(|n| u32::try_from(n).ok()));
    match (part("uidvalidity")?, part("uid")?, row.maybe_text("uidl")?, row.maybe_text("delivery")?) {
        (Some(uidvalidity), Some(uid), None, None) => Ok(Cursor::Imap { uidvalidity, uid }),
        (None, None, Some(uidl), None) => Ok(Cursor::Pop3 { uidl }),
        (None, None, None, Some(delivery)) => Ok(Cursor::Lmtp { delivery }),
        _ => Err(broken("reading a cursor: it is neither IMAP nor POP3 nor LMTP")),
    }
}

pub(super) fn notification_ids(rows: &[SqliteRow]) -> Result<Vec<NotificationId>, StoreError> {
    rows.iter().map(|row| row.int("id").map(NotificationId)).collect()
}
