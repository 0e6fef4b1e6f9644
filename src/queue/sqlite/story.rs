//! What else is known of an alert: its groups, who was left out, its conditions.

use sqlx::SqliteConnection;

use super::conn::{Columns, Doing};
use crate::model::{AlertId, GroupName};
use crate::queue::{AboutCondition, LeftOut, StoreError};

pub(super) const GROUPS: &str = "SELECT name FROM alert_group WHERE alert = $1 ORDER BY name";

pub(super) const LEFT_OUT: &str = "SELECT who, at, why FROM left_out WHERE alert = $1 ORDER BY who";

pub(super) const CONDITIONS: &str = "SELECT c.id, c.key, c.open FROM alert_condition ac JOIN condition c ON c.id = ac.condition \
    WHERE ac.alert = $1 ORDER BY c.id";

/// The groups that it is for, by name.
pub(super) async fn groups(conn: &mut SqliteConnection, id: AlertId) -> Result<Vec<GroupName>, StoreError> {
    let found = sqlx::query(GROUPS).bind(id.0).fetch_all(conn).await.doing("reading an alert's groups")?;
    found.iter().map(|row| row.word("name")).collect()
}

pub(super) async fn left_out(conn: &mut SqliteConnection, id: AlertId) -> Result<Vec<LeftOut>, StoreError> {
    let found = sqlx::query(LEFT_OUT).bind(id.0).fetch_all(conn).await.doing("reading who was left out")?;
    found.iter().map(|row| Ok(LeftOut { who: row.text("who")?, at: row.time("at")?, why: row.text("why")? })).collect()
}

pub(super) async fn conditions(conn: &mut SqliteConnection, id: AlertId) -> Result<Vec<AboutCondition>, StoreError> {
    let found = sqlx::query(CONDITIONS).bind(id.0).fetch_all(conn).await.doing("reading an alert's conditions")?;
    found
        .iter()
        .map(|row| Ok(AboutCondition { id: row.int("id")?, key: row.text("key")?, open: row.flag("open")? }))
        .collect()
}
