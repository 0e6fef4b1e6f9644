//! The API, one file a resource.

pub(super) mod alerts;
mod archive;
mod asked;
mod conditions;
mod mailboxes;
pub(super) mod notifications;
mod people;
mod quarantine;
pub(super) mod resolve;
mod session;
mod tokens;

pub use mailboxes::{Asked, ProbeRow, Watched};

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use utoipa::openapi::OpenApi;

use super::table::Endpoint;
use crate::control::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let all = [
        alerts::endpoints(),
        archive::endpoints(),
        conditions::endpoints(),
        mailboxes::endpoints(),
        notifications::endpoints(),
        people::endpoints(),
        quarantine::endpoints(),
        session::endpoints(),
        tokens::endpoints(),
    ];
    all.into_iter().flatten().collect()
}

/// Its part of the OpenAPI document.
pub(super) fn written() -> [OpenApi; 9] {
    use utoipa::OpenApi as _;
    [
        alerts::Written::openapi(),
        archive::Written::openapi(),
        conditions::Written::openapi(),
        mailboxes::Written::openapi(),
        notifications::Written::openapi(),
        people::Written::openapi(),
        quarantine::Written::openapi(),
        session::Written::openapi(),
        tokens::Written::openapi(),
    ]
}

/// The body as JSON. The type has to be said: a form of another site cannot say it without being asked first.
pub(super) fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &Bytes) -> Result<T, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::new(status, "write Content-Type: application/json").of("Content-Type"));
    }
    serde_json::from_slice(body).map_err(|err| Problem::bad(format!("the body: {err}")))
}
