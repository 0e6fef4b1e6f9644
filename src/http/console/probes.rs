//! The probe board.

use askama::Template;
use axum::extract::State;
use axum::http::Method;
use axum::response::Response;

use super::{Frame, READ, page};
use crate::control::Problem;
use crate::http::Door;
use crate::http::table::{Endpoint, on};
use crate::metrics::Overview;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![on(Method::GET, "/console/probes", READ, show)]
}

/// `probes.html`
#[derive(Template)]
#[template(path = "probes.html", config = "src/http/console/askama.toml")]
struct Page {
    frame: Frame,
    targets: u64,
    told: Vec<(String, u64)>,
}

async fn show(State(door): State<Door>, frame: Frame) -> Result<Response, Problem> {
    frame.everything()?;
    let o = Overview::look(&door.metrics).await;
    let told = o.probe_told.into_iter().filter(|(_, n)| *n > 0);
    let told = told.map(|(what, n)| (what.replace('_', " "), n)).collect();
    page(&Page { frame, targets: o.probe_targets, told })
}
