//! The quarantine: mails that could not be read, kept with the reason; and a second try.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

use super::asked;
use crate::control::Problem;
use crate::http::Door;
use crate::http::auth::Caller;
use crate::http::table::{Access, Endpoint, on};
use crate::model::{MessageId, Right};
use crate::queue::{Page, QuarantineView};

pub(super) fn endpoints() -> Vec<Endpoint> {
    const READ: Access = Access::Scope(Right::Read);
    vec![
        on(Method::GET, "/api/v1/quarantine", READ, list),
        on(Method::GET, "/api/v1/quarantine/{id}", READ, show),
        on(Method::GET, "/api/v1/quarantine/{id}/raw", READ, raw),
        on(Method::POST, "/api/v1/quarantine/{id}/replay", Access::Scope(Right::Act), replay),
    ]
}

/// This resource's part of the document.
#[derive(OpenApi)]
#[openapi(paths(list, show, raw, replay))]
pub(super) struct Written;

/// How the quarantine is asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct QuarantineQuery {
    /// `next` of the page before: the number of its last message.
    after: Option<String>,
    /// Rows of a page, up to 1000.
    limit: Option<String>,
}

/// Mails that could not be read, oldest first.
///
/// For tokens of all groups.
#[utoipa::path(get, path = "/api/v1/quarantine", tag = "quarantine", operation_id = "list_quarantine",
    params(QuarantineQuery),
    responses(
        (status = 200, description = "A page of them", body = Page<QuarantineView>),
        (status = 400, description = "A query parameter is not understood"),
    ))]
async fn list(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<QuarantineQuery>, QueryRejection>,
) -> Result<Json<Page<QuarantineView>>, Problem> {
    asked::sees_all(&caller)?;
    let QuarantineQuery { after, limit } = asked::query(query)?;
    let after = after.map(|text| asked::of("after", text.parse::<i64>())).transpose()?;
    let rows = match asked::rows(limit)? {
        0 => 100,
        rows => rows,
    };
    let items = door.desk.quarantine(after.map(MessageId), rows).await?;
    let last = items.last().filter(|_| items.len() == rows);
    let next = last.map(|message| message.id.to_string());
    Ok(Json(Page { items, next }))
}

async fn kept(door: &Door, caller: &Caller, id: &str) -> Result<(QuarantineView, Option<Vec<u8>>), Problem> {
    asked::sees_all(caller)?;
    let id = id.parse().map_err(|_| Problem::bad("the number of a message is digits alone").of("id"))?;
    let kept = door.desk.quarantined(MessageId(id)).await?;
    kept.ok_or_else(|| Problem::missing(format!("message {id} is not in quarantine")))
}

/// One mail that could not be read, and why.
///
/// For tokens of all groups.
#[utoipa::path(get, path = "/api/v1/quarantine/{id}", tag = "quarantine",
    operation_id = "show_quarantined",
    params(("id" = MessageId, Path, description = "Number of the message")),
    responses(
        (status = 200, description = "The message", body = QuarantineView),
        (status = 400, description = "The number is not understood"),
        (status = 404, description = "It is not in quarantine"),
    ))]
async fn show(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<QuarantineView>, Problem> {
    Ok(Json(kept(&door, &caller, &id).await?.0))
}

/// The mail itself, as it came.
///
/// For tokens of all groups.
#[utoipa::path(get, path = "/api/v1/quarantine/{id}/raw", tag = "quarantine",
    operation_id = "raw_quarantined",
    params(("id" = MessageId, Path, description = "Number of the message")),
    responses(
        (status = 200, description = "Its bytes, whatever they are", body = String, content_type = "text/plain"),
        (status = 400, description = "The number is not understood"),
        (status = 404, description = "It is not in quarantine"),
        (status = 410, description = "The mail itself was purged"),
    ))]
async fn raw(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (_, raw) = kept(&door, &caller, &id).await?;
    let raw = raw.ok_or_else(|| Problem::new(StatusCode::GONE, "the mail itself was purged (store.raw_for)"))?;
    // As text whatever it is: a browser runs nothing of it.
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], raw).into_response())
}

/// Read a mail again, by the config that is in force now.
///
/// For tokens of all groups.
#[utoipa::path(post, path = "/api/v1/quarantine/{id}/replay", tag = "quarantine",
    operation_id = "replay_quarantined",
    params(("id" = MessageId, Path, description = "Number of the message")),
    responses(
        (status = 202, description = "It is read again"),
        (status = 400, description = "The number is not understood"),
        (status = 404, description = "It is not in quarantine"),
        (status = 409, description = "It cannot be read again"),
        (status = 507, description = "The disk is full: nothing was done"),
    ))]
async fn replay(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let (view, _) = kept(&door, &caller, &id).await?;
    door.desk.replay(view.id).await?;
    door.stored.notify_one();
    Ok(StatusCode::ACCEPTED)
}
