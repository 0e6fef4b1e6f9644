//! Is it alive, can it do its work, and what does it do: the same answers as on the control socket, see
//! [`metrics::web`](crate::metrics::web).

use std::sync::Arc;

use axum::http::Method;
use axum::{Extension, Json};

use super::auth::Caller;
use super::table::{Access, Endpoint, on};
use crate::metrics::{Metrics, Overview, web};
use crate::model::Right;

pub(super) fn endpoints() -> Vec<Endpoint> {
    const READ: Access = Access::Scope(Right::Read);
    vec![
        on(Method::GET, "/healthz", Access::Open, web::healthz),
        on(Method::GET, "/readyz", Access::Local(Right::Read), web::readyz),
        on(Method::GET, "/metrics", READ, web::metrics),
        on(Method::GET, "/api/v1/status", READ, status),
    ]
}

/// The newest alert is told to those only who see every group.
async fn status(metrics: Extension<Arc<Metrics>>, Extension(caller): Extension<Caller>) -> Json<Overview> {
    let Json(mut overview) = web::status(metrics).await;
    overview.last_alert = overview.last_alert.filter(|_| caller.groups.is_empty());
    Json(overview)
}
