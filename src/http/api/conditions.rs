//! Conditions: what is open, and an end to one.

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method};
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

use super::asked::{self, Fields};
use super::resolve;
use crate::control::Problem;
use crate::http::Door;
use crate::http::auth::Caller;
use crate::http::table::{Access, Endpoint, on};
use crate::model::{ConditionId, Right};
use crate::queue::{ConditionRow, Page, Resolved, Subject};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        on(Method::GET, "/api/v1/conditions", Access::Scope(Right::Read), list),
        on(Method::POST, "/api/v1/conditions/{id}/resolve", Access::Scope(Right::Act), end),
    ]
}

/// This resource's part of the document.
#[derive(OpenApi)]
#[openapi(paths(list, end))]
pub(super) struct Written;

/// How conditions are asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
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

/// Conditions, newest first.
///
/// A token of some groups sees those that are for one of these.
#[utoipa::path(get, path = "/api/v1/conditions", tag = "alerts", operation_id = "list_conditions", params(ConditionQuery),
    responses(
        (status = 200, description = "A page of them", body = Page<ConditionRow>),
        (status = 400, description = "A query parameter is not understood"),
    ))]
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

/// Resolve a condition; whoever was told of its beginning is told of the end.
#[utoipa::path(post, path = "/api/v1/conditions/{id}/resolve", tag = "alerts", operation_id = "resolve_condition",
    params(("id" = i64, Path, description = "Its number")),
    request_body(content = Option<resolve::Why>, description = "It may be left out"),
    responses(
        (status = 200, description = "It is closed", body = Resolved),
        (status = 400, description = "The number or the body is not understood"),
        (status = 404, description = "There is no such condition, or the token does not see it"),
        (status = 409, description = "It is closed already"),
        (status = 415, description = "There is a body, and it is not said to be JSON"),
        (status = 507, description = "The disk is full: nothing was done"),
    ))]
async fn end(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Resolved>, Problem> {
    let reason = resolve::reason(&headers, &body)?;
    let id = id.parse().map_err(|_| Problem::bad("the number of a condition is digits alone").of("id"))?;
    resolve::resolve(&door, &caller, Subject::Condition(ConditionId(id)), &reason).await.map(Json)
}
