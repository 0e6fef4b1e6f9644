//! Notifications: what waits and what became of it; send one now, or end it.

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method};
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::Deserialize;

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

/// How notifications are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
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
