//! Mailboxes and probes: what is watched, and how that goes.

use async_trait::async_trait;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::asked;
use crate::control::Problem;
use crate::http::Door;
use crate::http::auth::Caller;
use crate::http::table::{Access, Endpoint, on};
use crate::metrics::{Mailbox, Overview};
use crate::model::{MailboxName, Right, Severity};
use crate::queue::{Page, StoreError};

/// The mailboxes and the probes of the running service.
#[async_trait]
pub trait Watched: Send + Sync {
    /// Looks into a mailbox now.
    fn poll(&self, mailbox: &str) -> Asked;

    /// Every target that is probed, by host and port.
    async fn probes(&self) -> Result<Vec<ProbeRow>, StoreError>;
}

/// What came of the wish to look into a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It is looked into.
    Now,
    /// Mails are handed in: there is nothing to look into.
    Handed,
    /// There is none of that name.
    Unknown,
}

/// A target that is probed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Probe)]
pub struct ProbeRow {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The classes that it belongs to.
    pub classes: Vec<String>,
    /// Severity of its outage.
    pub severity: Severity,
    /// What is told of it: `ok` (nothing), `down`, `host_down` (all of its host is), `flapping`, `certificate_expires`.
    pub state: String,
    /// Since when that is so.
    pub since: Option<Timestamp>,
    /// Why.
    pub reason: String,
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    const READ: Access = Access::Scope(Right::Read);
    vec![
        on(Method::GET, "/api/v1/mailboxes", READ, list),
        on(Method::POST, "/api/v1/mailboxes/{name}/poll", Access::Scope(Right::Act), poll),
        on(Method::GET, "/api/v1/probes", READ, probes),
    ]
}

/// This resource's part of the document.
#[derive(OpenApi)]
#[openapi(paths(list, poll, probes))]
pub(super) struct Written;

/// Mailboxes, with the last look into each and its error.
///
/// For tokens of all groups.
#[utoipa::path(get, path = "/api/v1/mailboxes", tag = "watch", operation_id = "list_mailboxes", responses(
    (status = 200, description = "All of them", body = Page<Mailbox>),
))]
async fn list(State(door): State<Door>, Extension(caller): Extension<Caller>) -> Result<Json<Page<Mailbox>>, Problem> {
    asked::sees_all(&caller)?;
    let items = Overview::look(&door.metrics).await.mailboxes;
    Ok(Json(Page { items, next: None }))
}

/// What a poll came to: it is under way.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Polled {
    /// The mailbox.
    mailbox: String,
}

/// Look into a mailbox now.
///
/// For tokens of all groups.
#[utoipa::path(post, path = "/api/v1/mailboxes/{name}/poll", tag = "watch", operation_id = "poll_mailbox",
    params(("name" = MailboxName, Path, description = "Its name in the config")),
    responses(
        (status = 202, description = "It is looked into", body = Polled),
        (status = 404, description = "There is no mailbox of this name"),
        (status = 409, description = "Mails are handed in to it: there is nothing to look into"),
    ))]
async fn poll(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<Polled>), Problem> {
    asked::sees_all(&caller)?;
    match door.watched.poll(&name) {
        Asked::Now => Ok((StatusCode::ACCEPTED, Json(Polled { mailbox: name }))),
        Asked::Handed => {
            let detail = "mails are handed in to this mailbox (LMTP): there is nothing to look into";
            Err(Problem::new(StatusCode::CONFLICT, detail))
        }
        Asked::Unknown => Err(Problem::missing("there is no mailbox of this name")),
    }
}

/// What is probed, and how that goes.
///
/// For tokens of all groups.
#[utoipa::path(get, path = "/api/v1/probes", tag = "watch", operation_id = "list_probes", responses(
    (status = 200, description = "All targets, by host and port", body = Page<ProbeRow>),
))]
async fn probes(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Page<ProbeRow>>, Problem> {
    asked::sees_all(&caller)?;
    Ok(Json(Page { items: door.watched.probes().await?, next: None }))
}
