//! Notifications: in a list, and as the archive of everything that was sent.

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::page;
use crate::model::{AlertId, GroupName, NotificationState};
use crate::queue::sqlite::Sqlite;
use crate::queue::sqlite::conn::{Columns, Doing, json};
use crate::queue::sqlite::desk::{shown, view};
use crate::queue::{ArchiveRow, Mark, NotificationView, Page, SentFilter, StoreError};

/// From `$1` to before (`$2`, `$3`), newest first.
macro_rules! newest {
    () => {
        "SELECT n.id, n.created AS at FROM notification n WHERE n.created >= $1 AND n.created <= $2 \
         AND (n.created < $2 OR n.id < $3) ORDER BY n.created DESC, n.id DESC"
    };
}

/// The same of what has not ended, through the index of exactly that.
macro_rules! active {
    () => {
        "SELECT n.id, n.created AS at FROM notification n \
         WHERE n.id IN (SELECT s.id FROM notification s WHERE s.state IN ('queued', 'held', 'sending', 'accepted')) \
         AND n.created >= $1 AND +n.created <= $2 AND (n.created < $2 OR n.id < $3) ORDER BY +n.created DESC, n.id DESC"
    };
}

/// The same of the alert `$9`.
macro_rules! newest_of {
    () => {
        "SELECT n.id, n.created AS at FROM notification n WHERE n.alert = $9 AND +n.created >= $1 AND +n.created <= $2 \
         AND (+n.created < $2 OR n.id < $3) ORDER BY +n.created DESC, n.id DESC"
    };
}

/// From behind (`$2`, `$3`) to before `$1`, oldest first.
macro_rules! oldest {
    () => {
        "SELECT n.id, n.created AS at FROM notification n WHERE n.created >= $2 AND n.created < $1 \
         AND (n.created > $2 OR n.id > $3) ORDER BY n.created, n.id"
    };
}

/// What is asked of each. Who sees some groups only sees what came by way of these, and all of an alert that is for no other.
macro_rules! fits {
    () => {
        "n.id IN (SELECT w.id FROM w) AND ($5 = '[]' OR n.state IN (SELECT value FROM json_each($5))) \
         AND ($6 IS NULL OR n.recipient = $6) \
         AND ($7 IS NULL OR EXISTS (SELECT 1 FROM json_each(n.groups) g WHERE g.value = $7)) \
         AND ($8 = '[]' OR EXISTS (SELECT 1 FROM json_each(n.groups) g JOIN json_each($8) s ON s.value = g.value) \
           OR (n.groups = '[]' AND EXISTS (SELECT 1 FROM alert_group g WHERE g.alert = n.alert) \
             AND NOT EXISTS (SELECT 1 FROM alert_group g WHERE g.alert = n.alert \
               AND g.name NOT IN (SELECT value FROM json_each($8))))) \
         AND ($9 IS NULL OR n.alert = $9) \
         AND ($10 IS NULL OR a.title LIKE $10 ESCAPE '\\' OR n.text LIKE $10 ESCAPE '\\' OR a.sender LIKE $10 ESCAPE '\\' \
           OR (a.body ->> 'text') LIKE $10 ESCAPE '\\')"
    };
}

macro_rules! list {
    ($window:expr) => {
        concat!(
            "WITH w AS MATERIALIZED (",
            $window,
            " LIMIT $4 + 0), f AS MATERIALIZED (SELECT n.id FROM notification n LEFT JOIN alert a ON a.id = n.alert WHERE ",
            fits!(),
            " ORDER BY +n.created DESC, +n.id DESC LIMIT $11 + 0) ",
            view!(),
            "n.id IN (SELECT f.id FROM f) ORDER BY +n.created DESC, +n.id DESC"
        )
    };
}

const LIST: &str = list!(newest!());
const LIST_ACTIVE: &str = list!(active!());
const LIST_OF: &str = list!(newest_of!());

macro_rules! archive {
    ($window:expr) => {
        concat!(
            "WITH w AS MATERIALIZED (",
            $window,
            " LIMIT $4 + 0), f AS MATERIALIZED (SELECT n.id FROM notification n LEFT JOIN alert a ON a.id = n.alert WHERE ",
            fits!(),
            " ORDER BY +n.created, +n.id LIMIT $11 + 0) \
             SELECT n.id, n.created AS at, n.kind, n.alert, coalesce(a.source, '') AS source, coalesce(a.sender, '') AS sender, \
               coalesce(a.status, '') AS status, n.severity, coalesce(a.title, '') AS title, \
               coalesce(a.body ->> 'text', n.text, '') AS text, n.recipient, n.jid, n.groups, n.state, n.reason, n.attempts, \
               n.first_intent, n.accepted, n.delivered, n.ended, n.carrier \
             FROM notification n LEFT JOIN alert a ON a.id = n.alert WHERE n.id IN (SELECT f.id FROM f) \
             ORDER BY +n.created, +n.id"
        )
    };
}

const ARCHIVE: &str = archive!(oldest!());

/// The last row of a window, where it is full.
const END: &str = concat!(newest!(), " LIMIT 1 OFFSET $4 - 1");
const END_ACTIVE: &str = concat!(active!(), " LIMIT 1 OFFSET $4 - 1");
const END_OF: &str = concat!(newest_of!(), " LIMIT 1 OFFSET $4 - 1");
const END_ARCHIVE: &str = concat!(oldest!(), " LIMIT 1 OFFSET $4 - 1");

#[cfg(test)]
pub(super) const PLANNED: [&str; 8] = [LIST, LIST_ACTIVE, LIST_OF, ARCHIVE, END, END_ACTIVE, END_OF, END_ARCHIVE];

pub(super) async fn notifications(store: &Sqlite, filter: &SentFilter) -> Result<Page<NotificationView>, StoreError> {
    let active = !filter.states.is_empty() && filter.states.iter().all(|state| !state.ended());
    let (list, end) = match filter.alert {
        Some(_) => (LIST_OF, END_OF),
        None if active => (LIST_ACTIVE, END_ACTIVE),
        None => (LIST, END),
    };
    let (common, mut lease) = (&filter.common, store.desk().await?);
    let (found, end) = ask(&mut lease.conn, filter, list, end, common.from(), common.before()).await?;
    lease.keep();
    page(common, &found, end, shown)
}

pub(super) async fn archive(store: &Sqlite, filter: &SentFilter) -> Result<Page<ArchiveRow>, StoreError> {
    let (common, mut lease) = (&filter.common, store.desk().await?);
    let (found, end) = ask(&mut lease.conn, filter, ARCHIVE, END_ARCHIVE, common.to(), common.behind()).await?;
    lease.keep();
    page(common, &found, end, archived)
}

/// What fits, and the end of the window.
async fn ask(
    conn: &mut SqliteConnection,
    filter: &SentFilter,
    list: &'static str,
    end: &'static str,
    bound: i64,
    mark: Mark,
) -> Result<(Vec<SqliteRow>, Option<SqliteRow>), StoreError> {
    let SentFilter { common, states, recipient, alert } = filter;
    let states: Vec<_> = states.iter().map(|state: &NotificationState| state.as_str()).collect();
    let plain = states.is_empty() && recipient.is_none();
    let mut answers = Vec::new();
    for sql in [list, end] {
        let query = sqlx::query(sql)
            .bind(bound)
            .bind(mark.at)
            .bind(mark.id)
            .bind(common.window(plain))
            .bind(json(&states)?)
            .bind(recipient.as_ref().map(|name| name.as_str()))
            .bind(common.group.as_ref().map(GroupName::as_str))
            .bind(json(&common.seen_by)?)
            .bind(alert.map(|id| id.0))
            .bind(common.pattern())
            .bind(common.fetch());
        answers.push(query.fetch_all(&mut *conn).await.doing("searching notifications")?);
    }
    let end = answers.pop().and_then(|rows| rows.into_iter().next());
    Ok((answers.pop().unwrap_or_default(), end))
}

fn archived(row: &SqliteRow) -> Result<ArchiveRow, StoreError> {
    let (title, text) = (row.text("title")?, row.text("text")?);
    // A digest or a notice has no title of its own.
    let title = if title.is_empty() { text.lines().next().unwrap_or_default().to_owned() } else { title };
    Ok(ArchiveRow {
        id: row.int("id")?,
        created: row.time("at")?,
        kind: row.word("kind")?,
        alert: row.maybe_int("alert")?.map(|id| AlertId(id).to_string()),
        source: row.text("source")?,
        sender: row.text("sender")?,
        status: row.text("status")?,
        severity: row.word("severity")?,
        title,
        text,
        recipient: row.word("recipient")?,
        jid: row.text("jid")?,
        groups: row.json("groups")?,
        state: row.word("state")?,
        reason: row.text("reason")?,
        attempts: u32::try_from(row.int("attempts")?).unwrap_or(u32::MAX),
        intended: row.maybe_time("first_intent")?,
        accepted: row.maybe_time("accepted")?,
        delivered: row.maybe_time("delivered")?,
        ended: row.maybe_time("ended")?,
        digest: row.maybe_int("carrier")?,
    })
}
