//! Conditions: what is open, and an end to one.

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method};
use axum::{Extension, Json};
use serde::Deserialize;

use super::asked::{self, Fields};
use super::resolve::{self, Resolved};
use crate::control::Problem;
use crate::http::Door;
use crate::http::auth::Caller;
use crate::http::table::{Access, Endpoint, on};
use crate::model::Right;
use crate::queue::{ConditionRow, Page};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        on(Method::GET, "/api/v1/conditions", Access::Scope(Right::Read), list),
        on(Method::POST, "/api/v1/conditions/{id}/resolve", Access::Scope(Right::Act), end),
    ]
}

/// How conditions are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ConditionQuery {
    /// `true` (only those that are open) or `false` (all; as by default).
    open: Option<bool>,
    /// Only those for this group.
    group: Option<String>,
    /// Only those whose title, key or scope holds this.
    text: Option<String>,
    /// Opened not before this.
    since: Option<String>,
    /// Opened before this.
    until: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
    /// Rows of a page, up to 1000.
    limit: Option<String>,
}

async fn list(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<ConditionQuery>, QueryRejection>,
) -> Result<Json<Page<ConditionRow>>, Problem> {
    let ConditionQuery { open, group, text, since, until, after, limit } = asked::query(query)?;
    let common = Fields { group, text, since, until, after, limit }.common(&caller)?;
    let mut page = door.search.conditions(open.unwrap_or(false), &common).await?;
    page.items.iter_mut().for_each(|row| caller.only_seen(&mut row.groups));
    Ok(Json(page))
}

async fn end(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Resolved>, Problem> {
    let reason = resolve::reason(&headers, &body)?;
    let id: i64 = id.parse().map_err(|_| Problem::bad("the number of a condition is digits alone").of("id"))?;
    let found = door.search.condition(id).await?.filter(|(_, groups)| caller.sees_any(groups));
    let (open, groups) = found.ok_or_else(|| Problem::missing(format!("there is no condition {id}")))?;
    resolve::may(&caller, &groups)?;
    let open = open.ok_or_else(|| resolve::conflict(format!("condition {id} is closed already")))?;
    resolve::resolve(&door, &caller, vec![open], &reason).await.map(Json)
}
