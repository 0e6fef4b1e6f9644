//! Is it alive, and can it do its work?

use async_trait::async_trait;
use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Door;
use super::table::{Access, Endpoint, on};
use crate::model::Right;

/// A part of the service that may be unable to do its work.
#[async_trait]
pub trait Ready: Send + Sync {
    /// Why it cannot, one line each; empty: it can.
    async fn reasons(&self) -> Vec<String>;
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        on(Method::GET, "/healthz", Access::Open, alive),
        on(Method::GET, "/readyz", Access::Local(Right::Read), ready),
    ]
}

async fn alive() -> &'static str {
    "ok\n"
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    reasons: Vec<String>,
}

/// 200, or 503 with the reasons.
async fn ready(State(door): State<Door>) -> Response {
    let mut reasons = Vec::new();
    for part in door.ready.iter() {
        reasons.extend(part.reasons().await);
    }
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready: reasons.is_empty(), reasons })).into_response()
}
