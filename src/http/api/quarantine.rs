//! The quarantine: mails that could not be read, kept with the reason; and a second try.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;

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

/// How the quarantine is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct QuarantineQuery {
    /// `next` of the page before: the number of its last message.
    after: Option<String>,
    /// Rows of a page, up to 1000.
    limit: Option<String>,
}

/// Oldest first.
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

async fn show(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<QuarantineView>, Problem> {
    Ok(Json(kept(&door, &caller, &id).await?.0))
}

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
