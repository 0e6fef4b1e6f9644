//! Requests and answers.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::office::{self, Office};
use super::problem::Problem;
use super::reload::{Kept, Reload, Reloaded};
use super::tokens;
use crate::model::{AlertId, MessageId, NotificationId, NotificationState};
use crate::queue::{
    self, Archive, ArchiveRow, Desk, ListFilter, MessageView, NotificationView, QuarantineView, SentFilter, Tokens,
};

/// Largest request body, bytes.
const BODY: usize = 4096;

/// What requests are answered with.
#[derive(Clone)]
pub struct Door {
    /// The queue, for people.
    pub desk: Arc<dyn Desk>,
    /// Everything that was sent.
    pub archive: Arc<dyn Archive>,
    /// Tokens of the HTTP API.
    pub tokens: Arc<dyn Tokens>,
    /// What is done by the config in force.
    pub office: Arc<dyn Office>,
    /// Reads the config again.
    pub reload: Arc<dyn Reload>,
    /// Notified after whatever dispatch should look at.
    pub poke: Arc<Notify>,
    /// Notified where a mail is to be parsed.
    pub stored: Arc<Notify>,
}

/// The requests that the module's table lists.
pub fn router(door: Door) -> Router {
    Router::new()
        .route("/v1/notifications", get(list))
        .route("/v1/notifications/{id}", get(show))
        .route("/v1/notifications/{id}/retry", post(retry))
        .route("/v1/notifications/{id}/expire", post(expire))
        .route("/v1/alerts/{id}", get(alert))
        .route("/v1/alerts/{id}/resolve", post(office::alert))
        .route("/v1/conditions/{id}/resolve", post(office::condition))
        .route("/v1/recipients/{name}", get(office::recipient))
        .route("/v1/quarantine", get(quarantine))
        .route("/v1/quarantine/{id}", get(quarantined))
        .route("/v1/quarantine/{id}/raw", get(raw))
        .route("/v1/quarantine/{id}/replay", post(replay))
        .route("/v1/archive", post(archive))
        .route("/v1/reload", post(reload_config))
        .route("/v1/tokens", get(tokens::list).post(tokens::add))
        .route("/v1/tokens/{name}", delete(tokens::revoke))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
        })
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(door)
}

type Answer<T> = Result<T, Problem>;

fn bad(detail: impl Into<String>) -> Problem {
    Problem::bad(detail)
}

fn missing(detail: impl Into<String>) -> Problem {
    Problem::missing(detail)
}

pub(super) fn number(text: &str) -> Answer<i64> {
    text.parse().map_err(|_| bad(format!("`{text}` is no number")))
}

/// A filter as it stands in a query.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ListQuery {
    /// Several are separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl From<&ListFilter> for ListQuery {
    fn from(filter: &ListFilter) -> Self {
        let states: Vec<_> = filter.states.iter().map(|s| s.as_str()).collect();
        Self {
            state: (!states.is_empty()).then(|| states.join(",")),
            recipient: filter.recipient.as_ref().map(ToString::to_string),
            alert: filter.alert.map(|id| id.to_string()),
            after: filter.after.map(|id| id.0),
            limit: (filter.limit > 0).then_some(filter.limit),
        }
    }
}

impl TryFrom<ListQuery> for ListFilter {
    type Error = Problem;

    fn try_from(query: ListQuery) -> Answer<Self> {
        let states = query.state.as_deref().unwrap_or_default().split(',').filter(|s| !s.is_empty());
        Ok(Self {
            states: states.map(|s| s.parse::<NotificationState>().map_err(bad)).collect::<Answer<_>>()?,
            recipient: query.recipient.map(|name| name.parse().map_err(|err| bad(format!("{err}")))).transpose()?,
            alert: query.alert.map(|id| id.parse().map_err(|err| bad(format!("{err}")))).transpose()?,
            after: query.after.map(NotificationId),
            limit: query.limit.unwrap_or(0),
        })
    }
}

async fn list(
    State(door): State<Door>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Answer<Json<Vec<NotificationView>>> {
    let Query(query) = query.map_err(|err| bad(err.body_text()))?;
    Ok(Json(door.desk.list(&query.try_into()?).await?))
}

async fn show(State(door): State<Door>, Path(id): Path<String>) -> Answer<Json<NotificationView>> {
    let id = NotificationId(number(&id)?);
    found(&door, id).await.map(Json)
}

async fn found(door: &Door, id: NotificationId) -> Answer<NotificationView> {
    door.desk.show(id).await?.ok_or_else(|| missing(format!("there is no notification {id}")))
}

async fn retry(State(door): State<Door>, Path(id): Path<String>) -> Answer<Json<NotificationView>> {
    let id = NotificationId(number(&id)?);
    found(&door, id).await?;
    door.desk.retry_now(id, Timestamp::now()).await?;
    door.poke.notify_one();
    found(&door, id).await.map(Json)
}

/// A body as JSON.
pub(super) fn body<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Answer<T> {
    let body = body.map_err(|err| Problem::new(err.status(), err.body_text()))?;
    serde_json::from_slice(&body).map_err(|err| bad(format!("the body: {err}")))
}

/// Body of a request that ends something.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expire {
    pub reason: String,
}

async fn expire(
    State(door): State<Door>,
    Path(id): Path<String>,
    given: Result<Bytes, BytesRejection>,
) -> Answer<Json<NotificationView>> {
    let id = NotificationId(number(&id)?);
    let Expire { reason } = body(given)?;
    found(&door, id).await?;
    door.desk.expire_now(id, &reason, Timestamp::now()).await?;
    door.poke.notify_one();
    found(&door, id).await.map(Json)
}

async fn alert(State(door): State<Door>, Path(id): Path<String>) -> Answer<Json<MessageView>> {
    let id: AlertId = id.parse().map_err(|err| bad(format!("{err}")))?;
    let view = door.desk.show_alert(id).await?;
    view.map(Json).ok_or_else(|| missing(format!("there is no alert {id}")))
}

/// Paging of the quarantine.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Page {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

async fn quarantine(
    State(door): State<Door>,
    page: Result<Query<Page>, QueryRejection>,
) -> Answer<Json<Vec<QuarantineView>>> {
    let Query(page) = page.map_err(|err| bad(err.body_text()))?;
    Ok(Json(door.desk.quarantine(page.after.map(MessageId), page.limit.unwrap_or(0)).await?))
}

async fn kept(door: &Door, id: &str) -> Answer<(QuarantineView, Option<Vec<u8>>)> {
    let id = MessageId(number(id)?);
    door.desk.quarantined(id).await?.ok_or_else(|| missing(format!("message {id} is not in quarantine")))
}

async fn quarantined(State(door): State<Door>, Path(id): Path<String>) -> Answer<Json<QuarantineView>> {
    Ok(Json(kept(&door, &id).await?.0))
}

async fn replay(State(door): State<Door>, Path(id): Path<String>) -> Answer<StatusCode> {
    let (view, _) = kept(&door, &id).await?;
    door.desk.replay(view.id).await?;
    door.stored.notify_one();
    Ok(StatusCode::NO_CONTENT)
}

async fn raw(State(door): State<Door>, Path(id): Path<String>) -> Answer<Response> {
    let (_, raw) = kept(&door, &id).await?;
    let raw = raw.ok_or_else(|| Problem::new(StatusCode::GONE, "the mail itself was purged (store.raw_for)"))?;
    // Never a type that a browser would show.
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], raw).into_response())
}

/// The filter is the body: it may be long.
async fn archive(
    State(door): State<Door>,
    given: Result<Bytes, BytesRejection>,
) -> Answer<Json<queue::Page<ArchiveRow>>> {
    let filter: SentFilter = body(given)?;
    Ok(Json(door.archive.archive(&filter).await?))
}

/// Problem details with the errors of the file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    #[serde(flatten)]
    problem: Problem,
    #[serde(flatten)]
    pub kept: Kept,
}

async fn reload_config(State(door): State<Door>) -> Result<Json<Reloaded>, (StatusCode, Json<Refusal>)> {
    door.reload.reload().await.map(Json).map_err(|kept| {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let problem = Problem::new(status, "the new config is bad; the old one stays in force");
        (status, Json(Refusal { problem, kept }))
    })
}
