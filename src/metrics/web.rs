//! The handlers: each needs an `Extension<Arc<Metrics>>` and nothing else.
//!
//! | handler | answer |
//! | --- | --- |
//! | [`metrics`] | everything, in the text format of Prometheus |
//! | [`healthz`] | 200 while the loops go on, else 503 with those that do not; needs no token |
//! | [`readyz`] | 200 or 503, and what makes it so, as JSON |
//! | [`status`] | the [`Overview`] as JSON |

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::page::CONTENT_TYPE;
use super::{Disk, Mailbox, Metrics, Overview, Session, render};

/// As the HTTP door serves them.
#[derive(OpenApi)]
#[openapi(paths(metrics, healthz, readyz, status))]
pub struct Written;

/// For the control socket.
pub fn router(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/v1/metrics", get(self::metrics))
        .route("/v1/healthz", get(healthz))
        .route("/v1/readyz", get(readyz))
        .route("/v1/status", get(status))
        .layer(Extension(metrics))
}

/// Everything, for Prometheus.
///
/// Every metric is described in config/metrics.md.
#[utoipa::path(get, path = "/metrics", tag = "watch", responses(
    (status = 200, description = "The text format of Prometheus, 0.0.4", body = String, content_type = "text/plain"),
))]
pub async fn metrics(Extension(metrics): Extension<Arc<Metrics>>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], render(&metrics).await).into_response()
}

/// Is it alive?
///
/// What is wrong with the world is no reason to restart it: see `/readyz` for that.
#[utoipa::path(get, path = "/healthz", tag = "watch", responses(
    (status = 200, description = "`ok`: its loops go on", body = String, content_type = "text/plain"),
    (status = 503, description = "These loops are stuck", body = String, content_type = "text/plain"),
))]
pub async fn healthz(Extension(metrics): Extension<Arc<Metrics>>) -> Response {
    let stuck = metrics.stuck();
    if stuck.is_empty() {
        return (StatusCode::OK, "ok\n").into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("stuck: {}\n", stuck.join(", "))).into_response()
}

/// Whether what comes in now would go out now, and what decides it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    ready: bool,
    reasons: Vec<String>,
    mailboxes: Vec<Mailbox>,
    xmpp: Session,
    /// What is wrong with it.
    store: Option<String>,
    disk: Option<Disk>,
}

/// Would what comes in now go out now?
#[utoipa::path(get, path = "/readyz", tag = "watch", responses(
    (status = 200, description = "It would", body = Readiness),
    (status = 503, description = "It would not, for these reasons", body = Readiness),
))]
pub async fn readyz(Extension(metrics): Extension<Arc<Metrics>>) -> (StatusCode, Json<Readiness>) {
    let Overview { ready, reasons, mailboxes, xmpp, store, disk, .. } = Overview::look(&metrics).await;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, reasons, mailboxes, xmpp, store, disk }))
}

/// How things are.
///
/// What `mailbell status` prints. The newest alert is told to those only who see every group.
#[utoipa::path(get, path = "/api/v1/status", tag = "watch", responses(
    (status = 200, description = "The overview", body = Overview),
))]
pub async fn status(Extension(metrics): Extension<Arc<Metrics>>) -> Json<Overview> {
    Json(Overview::look(&metrics).await)
}
