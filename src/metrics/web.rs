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

use super::page::CONTENT_TYPE;
use super::{Disk, Mailbox, Metrics, Overview, Session, render};

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
pub async fn metrics(Extension(metrics): Extension<Arc<Metrics>>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], render(&metrics).await).into_response()
}

/// Is it alive? What is wrong with the world is no reason to restart it: see [`readyz`] for that.
pub async fn healthz(Extension(metrics): Extension<Arc<Metrics>>) -> Response {
    let stuck = metrics.stuck();
    if stuck.is_empty() {
        return (StatusCode::OK, "ok\n").into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("stuck: {}\n", stuck.join(", "))).into_response()
}

/// What [`readyz`] answers: of the [`Overview`] what decides.
#[derive(Debug, Serialize)]
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
pub async fn readyz(Extension(metrics): Extension<Arc<Metrics>>) -> (StatusCode, Json<Readiness>) {
    let Overview { ready, reasons, mailboxes, xmpp, store, disk, .. } = Overview::look(&metrics).await;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, reasons, mailboxes, xmpp, store, disk }))
}

/// How things are.
pub async fn status(Extension(metrics): Extension<Arc<Metrics>>) -> Json<Overview> {
    Json(Overview::look(&metrics).await)
}
