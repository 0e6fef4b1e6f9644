//! Notifications: what waits and what became of it; send one now, or end it.

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method};
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

use super::asked::{self, Fields};
use super::{alerts, resolve};
use crate::control::Problem;
use crate::http::Door;
use crate::http::auth::Caller;
use crate::http::table::{Access, Endpoint, on};
use crate::model::{NotificationId, Right};
use crate::queue::{NotificationView, Page, SentFilter};

pub(super) fn endpoints() -> Vec<Endpoint> {
    const READ: Access = Access::Scope(Right::Read);
    const ACT: Access = Access::Scope(Right::Act);
    vec![
        on(Method::GET, "/api/v1/notifications", READ, list),
        on(Method::GET, "/api/v1/notifications/{id}", READ, show),
        on(Method::POST, "/api/v1/notifications/{id}/retry", ACT, retry),
        on(Method::POST, "/api/v1/notifications/{id}/expire", ACT, expire),
    ]
}

/// This resource's part of the document.
#[derive(OpenApi)]
#[openapi(paths(list, show, retry, expire))]
pub(super) struct Written;

/// How notifications are asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct SentQuery {
    /// queued, held, sending, accepted, delivered, acknowledged, unconfirmed, expired, superseded, dead; several are separated by commas.
    pub state: Option<String>,
    /// Only this recipient's.
    pub recipient: Option<String>,
    /// Only this alert's, by short id.
    pub alert: Option<String>,
    /// Only those that came by way of this group.
    pub group: Option<String>,
    /// Only those whose title, text or sender holds this.
    pub text: Option<String>,
    /// Committed not before this.
    pub since: Option<String>,
    /// Committed before this.
    pub until: Option<String>,
    /// `next` of the page before.
    pub after: Option<String>,
    /// Rows of a page, up to 1000.
    pub limit: Option<String>,
    /// Of the archive alone: json, jsonl or csv.
    pub format: Option<String>,
}

impl SentQuery {
    /// As the store is asked.
    pub(super) fn filter(self, caller: &Caller) -> Result<SentFilter, Problem> {
        let Self { state, recipient, alert, group, text, since, until, after, limit, format: _ } = self;
        Ok(SentFilter {
            common: Fields { group, text, since, until, after, limit }.common(caller)?,
            states: asked::states(state)?,
            recipient: recipient.map(|name| asked::of("recipient", name.parse())).transpose()?,
            alert: alert.map(|id| asked::of("alert", id.parse())).transpose()?,
        })
    }
}

/// Notifications, newest first.
///
/// A token of some groups sees those that came by way of one of these.
#[utoipa::path(get, path = "/api/v1/notifications", tag = "notifications", operation_id = "list_notifications",
    params(SentQuery),
    responses(
        (status = 200, description = "A page of them", body = Page<NotificationView>),
        (status = 400, description = "A query parameter is not understood"),
    ))]
async fn list(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<SentQuery>, QueryRejection>,
) -> Result<Json<Page<NotificationView>>, Problem> {
    let query = asked::query(query)?;
    if query.format.is_some() {
        return Err(Problem::bad("only the archive comes in other formats").of("format"));
    }
    let mut page = door.search.notifications(&query.filter(&caller)?).await?;
    page.items.iter_mut().for_each(|n| caller.only_seen(&mut n.groups));
    Ok(Json(page))
}

/// One notification.
#[utoipa::path(get, path = "/api/v1/notifications/{id}", tag = "notifications", operation_id = "show_notification",
    params(("id" = NotificationId, Path, description = "Its number")),
    responses(
        (status = 200, description = "The notification", body = NotificationView),
        (status = 400, description = "The number is not understood"),
        (status = 404, description = "There is no such notification, or the token does not see it"),
    ))]
async fn show(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<NotificationView>, Problem> {
    found(&door, &caller, number(&id)?).await.map(Json)
}

fn number(text: &str) -> Result<NotificationId, Problem> {
    let number = text.parse().map(NotificationId);
    number.map_err(|_| Problem::bad("the number of a notification is digits alone").of("id"))
}

/// Where the caller may see it.
pub(in crate::http) async fn found(
    door: &Door,
    caller: &Caller,
    id: NotificationId,
) -> Result<NotificationView, Problem> {
    let missing = || Problem::missing(format!("there is no notification {id}"));
    let mut n = door.desk.show(id).await?.ok_or_else(missing)?;
    if caller.groups.is_empty() {
        return Ok(n);
    }
    let groups = match n.alert.as_deref().map(alerts::number).transpose()? {
        Some(alert) if n.groups.is_empty() => door.search.alert_groups(alert).await?.unwrap_or_default(),
        _ => Vec::new(),
    };
    if !caller.sees_notification(&n, &groups) {
        return Err(missing());
    }
    caller.only_seen(&mut n.groups);
    Ok(n)
}

/// Send a notification now, whatever the presence says.
#[utoipa::path(post, path = "/api/v1/notifications/{id}/retry", tag = "notifications",
    operation_id = "retry_notification",
    params(("id" = NotificationId, Path, description = "Its number")),
    responses(
        (status = 200, description = "It is sent next", body = NotificationView),
        (status = 400, description = "The number is not understood"),
        (status = 404, description = "There is no such notification, or the token does not see it"),
        (status = 409, description = "Its state does not allow it"),
        (status = 507, description = "The disk is full: nothing was done"),
    ))]
async fn retry(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<NotificationView>, Problem> {
    let id = number(&id)?;
    found(&door, &caller, id).await?;
    door.desk.retry_now(id, Timestamp::now()).await?;
    door.poke.notify_one();
    found(&door, &caller, id).await.map(Json)
}

/// End a notification: it is not sent any more.
#[utoipa::path(post, path = "/api/v1/notifications/{id}/expire", tag = "notifications",
    operation_id = "expire_notification",
    params(("id" = NotificationId, Path, description = "Its number")),
    request_body(content = Option<resolve::Why>, description = "It may be left out"),
    responses(
        (status = 200, description = "It has ended", body = NotificationView),
        (status = 400, description = "The number or the body is not understood"),
        (status = 404, description = "There is no such notification, or the token does not see it"),
        (status = 409, description = "Its state does not allow it"),
        (status = 415, description = "There is a body, and it is not said to be JSON"),
        (status = 507, description = "The disk is full: nothing was done"),
    ))]
async fn expire(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<NotificationView>, Problem> {
    let why = resolve::reason(&headers, &body)?;
    let why = if why.is_empty() { format!("ended by {}", caller.name) } else { format!("{} ({})", why, caller.name) };
    let id = number(&id)?;
    found(&door, &caller, id).await?;
    door.desk.expire_now(id, &why, Timestamp::now()).await?;
    door.poke.notify_one();
    found(&door, &caller, id).await.map(Json)
}
