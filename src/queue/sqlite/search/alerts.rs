//! Alerts, newest first.

use sqlx::sqlite::SqliteRow;

use super::page;
use crate::model::{AlertId, GroupName, Severity};
use crate::queue::sqlite::conn::{Columns, Doing, json};
use crate::queue::sqlite::{Sqlite, story};
use crate::queue::{AlertFilter, AlertRow, Page, StoreError};

/// From `$1` to before (`$2`, `$3`), newest first.
macro_rules! window {
    () => {
        "SELECT a.id, a.created AS at FROM alert a WHERE a.created >= $1 AND a.created <= $2 \
         AND (a.created < $2 OR a.id < $3) ORDER BY a.created DESC, a.id DESC"
    };
}

const LIST: &str = concat!(
    "WITH w AS MATERIALIZED (",
    window!(),
    " LIMIT $4 + 0), f AS MATERIALIZED (SELECT w.id, w.at FROM w CROSS JOIN alert a ON a.id = w.id \
     WHERE ($5 = '[]' OR a.status IN (SELECT value FROM json_each($5))) \
       AND ($6 = '[]' OR a.severity IN (SELECT value FROM json_each($6))) \
       AND ($7 IS NULL OR a.source = $7) \
       AND ($8 IS NULL OR EXISTS (SELECT 1 FROM alert_group g WHERE g.alert = a.id AND g.name = $8)) \
       AND ($9 = '[]' OR EXISTS (SELECT 1 FROM alert_group g WHERE g.alert = a.id \
         AND g.name IN (SELECT value FROM json_each($9)))) \
       AND ($10 IS NULL OR a.title LIKE $10 ESCAPE '\\' OR a.sender LIKE $10 ESCAPE '\\' OR a.ident LIKE $10 ESCAPE '\\' \
         OR (a.body ->> 'key') LIKE $10 ESCAPE '\\' OR (a.body ->> 'text') LIKE $10 ESCAPE '\\') \
     ORDER BY w.at DESC, w.id DESC LIMIT $11 + 0) \
     SELECT a.id, a.created AS at, a.title, a.status, a.severity, a.source, a.sender, a.state, a.reason, a.received, \
       (SELECT json_group_array(g.name) FROM alert_group g WHERE g.alert = a.id) AS groups, \
       EXISTS (SELECT 1 FROM alert_condition ac JOIN condition c ON c.id = ac.condition \
         WHERE ac.alert = a.id AND c.open = 1) AS open \
     FROM f CROSS JOIN alert a ON a.id = f.id ORDER BY f.at DESC, f.id DESC"
);

/// The last row of the window, where it is full.
const END: &str = concat!(window!(), " LIMIT 1 OFFSET $4 - 1");

#[cfg(test)]
pub(super) const PLANNED: [&str; 5] = [LIST, END, story::GROUPS, story::LEFT_OUT, story::CONDITIONS];

pub(super) async fn list(store: &Sqlite, filter: &AlertFilter) -> Result<Page<AlertRow>, StoreError> {
    let AlertFilter { common, status, severity, source } = filter;
    let plain = status.is_empty() && severity.is_none() && source.is_none();
    let (before, window) = (common.before(), common.window(plain));
    let status: Vec<_> = status.iter().map(|status| status.as_str()).collect();
    let severity = severity.map(|least| Severity::ALL.into_iter().filter(move |severity| *severity >= least));
    let severity: Vec<_> = severity.into_iter().flatten().map(Severity::as_str).collect();
    let mut lease = store.desk().await?;
    let found = sqlx::query(LIST)
        .bind(common.from())
        .bind(before.at)
        .bind(before.id)
        .bind(window)
        .bind(json(&status)?)
        .bind(json(&severity)?)
        .bind(source.as_deref())
        .bind(common.group.as_ref().map(GroupName::as_str))
        .bind(json(&common.seen_by)?)
        .bind(common.pattern())
        .bind(common.fetch())
        .fetch_all(&mut lease.conn)
        .await
        .doing("listing alerts")?;
    let end = sqlx::query(END).bind(common.from()).bind(before.at).bind(before.id).bind(window);
    let end = end.fetch_optional(&mut lease.conn).await.doing("listing alerts")?;
    lease.keep();
    page(common, &found, end, row)
}

fn row(row: &SqliteRow) -> Result<AlertRow, StoreError> {
    Ok(AlertRow {
        id: AlertId(row.int("id")?).to_string(),
        title: row.text("title")?,
        status: row.word("status")?,
        severity: row.word("severity")?,
        source: row.text("source")?,
        sender: row.text("sender")?,
        state: row.word("state")?,
        reason: row.text("reason")?,
        received: row.time("received")?,
        created: row.time("at")?,
        groups: row.json("groups")?,
        open: row.flag("open")?,
    })
}

pub(super) async fn groups(store: &Sqlite, id: AlertId) -> Result<Option<Vec<GroupName>>, StoreError> {
    let mut lease = store.desk().await?;
    let sql = "SELECT 1 AS there FROM alert WHERE id = $1";
    let there = sqlx::query(sql).bind(id.0).fetch_optional(&mut lease.conn).await.doing("looking for an alert")?;
    let groups = story::groups(&mut lease.conn, id).await?;
    lease.keep();
    Ok(there.map(|_| groups))
}
