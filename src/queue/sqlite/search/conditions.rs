//! Conditions, and what an operator may end.

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::page;
use crate::model::{AlertId, ConditionId, GroupName};
use crate::queue::sqlite::Sqlite;
use crate::queue::sqlite::conn::{Columns, Doing, json};
use crate::queue::sqlite::rows::{self, alert_columns};
use crate::queue::{Common, ConditionRow, Open, OpenCondition, Page, StoreError};

/// The groups of the condition `c`: while it is open those of all that paged, else those of its last alert.
macro_rules! groups {
    () => {
        "(SELECT json_group_array(name) FROM (SELECT DISTINCT g.name FROM alert_condition ac \
           JOIN alert_group g ON g.alert = ac.alert WHERE c.open = 1 AND ac.condition = c.id AND ac.paged = 1 \
           AND ac.alert >= c.opened_by \
         UNION SELECT g.name FROM alert_group g WHERE c.open = 0 AND g.alert = max( \
           coalesce((SELECT max(ac.alert) FROM alert_condition ac WHERE ac.condition = c.id AND ac.paged = 1), 0), \
           coalesce((SELECT max(ac.alert) FROM alert_condition ac WHERE ac.condition = c.id AND ac.paged = 0), 0))))"
    };
}

macro_rules! window {
    ($open:literal) => {
        concat!("SELECT c.id, 0 AS at FROM condition c WHERE ", $open, "c.id < $1 ORDER BY c.id DESC")
    };
}

macro_rules! list {
    ($window:expr) => {
        concat!(
            "WITH w AS MATERIALIZED (",
            $window,
            " LIMIT $2 + 0), f AS MATERIALIZED (SELECT c.id, c.scope, c.key, c.open, c.severity, c.opened_by, c.opened_at, \
               c.last_paged, coalesce(c.said_title, (SELECT a.title FROM alert a WHERE a.id = c.opened_by), '') AS title, ",
            groups!(),
            " AS groups FROM w CROSS JOIN condition c ON c.id = w.id) \
             SELECT f.*, 0 AS at FROM f WHERE ($3 IS NULL OR EXISTS (SELECT 1 FROM json_each(f.groups) g WHERE g.value = $3)) \
             AND ($4 = '[]' OR EXISTS (SELECT 1 FROM json_each(f.groups) g JOIN json_each($4) s ON s.value = g.value)) \
             AND ($5 IS NULL OR f.title LIKE $5 ESCAPE '\\' OR f.key LIKE $5 ESCAPE '\\' OR f.scope LIKE $5 ESCAPE '\\') \
             AND ($6 IS NULL OR f.opened_at >= $6) AND ($7 IS NULL OR f.opened_at < $7) \
             ORDER BY f.id DESC LIMIT $8 + 0"
        )
    };
}

const LIST: &str = list!(window!(""));
const LIST_OPEN: &str = list!(window!("c.open = 1 AND "));
const END: &str = concat!(window!(""), " LIMIT 1 OFFSET $2 - 1");
const END_OPEN: &str = concat!(window!("c.open = 1 AND "), " LIMIT 1 OFFSET $2 - 1");

macro_rules! open {
    () => {
        concat!(
            "SELECT c.id AS condition, c.key, c.last_sent, ",
            alert_columns!(),
            " FROM condition c JOIN alert a ON a.id = c.opened_by WHERE c.open = 1 AND "
        )
    };
}

const OPEN_OF: &str =
    concat!(open!(), "c.id IN (SELECT ac.condition FROM alert_condition ac WHERE ac.alert = $1) ORDER BY c.id");
const OPEN_ONE: &str = concat!(open!(), "c.id = $1");
const ONE: &str = concat!("SELECT c.id, ", groups!(), " AS groups FROM condition c WHERE c.id = $1");

#[cfg(test)]
pub(super) const PLANNED: [&str; 7] = [LIST, LIST_OPEN, END, END_OPEN, OPEN_OF, OPEN_ONE, ONE];

/// What groups are looked for, for each: fewer than of what stands in a row.
const WINDOW: i64 = 2_000;

pub(super) async fn list(store: &Sqlite, open: bool, common: &Common) -> Result<Page<ConditionRow>, StoreError> {
    let before = common.after.map_or(i64::MAX, |mark| mark.id);
    let (list, end) = if open { (LIST_OPEN, END_OPEN) } else { (LIST, END) };
    let mut lease = store.desk().await?;
    let found = sqlx::query(list)
        .bind(before)
        .bind(WINDOW)
        .bind(common.group.as_ref().map(GroupName::as_str))
        .bind(json(&common.seen_by)?)
        .bind(common.pattern())
        .bind(common.since.map(|at| at.as_microsecond()))
        .bind(common.until.map(|at| at.as_microsecond()))
        .bind(common.fetch())
        .fetch_all(&mut lease.conn)
        .await
        .doing("listing conditions")?;
    let end = sqlx::query(end).bind(before).bind(WINDOW);
    let end = end.fetch_optional(&mut lease.conn).await.doing("listing conditions")?;
    lease.keep();
    page(common, &found, end, row)
}

fn row(row: &SqliteRow) -> Result<ConditionRow, StoreError> {
    Ok(ConditionRow {
        id: row.int("id")?,
        scope: row.text("scope")?,
        key: row.text("key")?,
        open: row.flag("open")?,
        severity: row.word("severity")?,
        opened_by: row.maybe_int("opened_by")?.map(|id| AlertId(id).to_string()),
        opened_at: row.maybe_time("opened_at")?,
        last_paged: row.maybe_time("last_paged")?,
        title: row.text("title")?,
        groups: row.json("groups")?,
    })
}

fn open(row: &SqliteRow) -> Result<OpenCondition, StoreError> {
    Ok(OpenCondition {
        id: row.int("condition")?,
        key: row.text("key")?,
        last_sent: row.time("last_sent")?,
        opened_by: rows::alert(row)?,
    })
}

pub(super) async fn open_of(store: &Sqlite, id: AlertId) -> Result<Option<Open>, StoreError> {
    let Some(groups) = super::alerts::groups(store, id).await? else { return Ok(None) };
    let mut lease = store.desk().await?;
    let found = ask(&mut lease.conn, OPEN_OF, id.0).await?;
    lease.keep();
    Ok(Some(Open { conditions: found.iter().map(open).collect::<Result<_, _>>()?, groups }))
}

pub(super) async fn one(store: &Sqlite, id: ConditionId) -> Result<Option<Open>, StoreError> {
    let mut lease = store.desk().await?;
    let there = ask(&mut lease.conn, ONE, id.0).await?;
    let found = ask(&mut lease.conn, OPEN_ONE, id.0).await?;
    lease.keep();
    let Some(there) = there.first() else { return Ok(None) };
    Ok(Some(Open { conditions: found.iter().map(open).collect::<Result<_, _>>()?, groups: there.json("groups")? }))
}

async fn ask(conn: &mut SqliteConnection, sql: &'static str, id: i64) -> Result<Vec<SqliteRow>, StoreError> {
    sqlx::query(sql).bind(id).fetch_all(conn).await.doing("reading a condition")
}
