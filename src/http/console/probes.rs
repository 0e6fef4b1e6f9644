//! The probe board.

use askama::Template;
use axum::extract::State;
use axum::http::Method;
use axum::response::Response;

use super::show::{Chip, When, severity};
use super::{Frame, READ, page};
use crate::control::Problem;
use crate::http::table::{Endpoint, on};
use crate::http::{Door, ProbeRow};

/// Most targets of a page that answer as they should.
const MOST: usize = 500;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![on(Method::GET, "/console/probes", READ, show)]
}

/// `probes.html`
#[derive(Template)]
#[template(path = "probes.html", config = "src/http/console/askama.toml")]
struct Page {
    frame: Frame,
    all: usize,
    bad: Vec<Row>,
    well: Vec<String>,
    more: usize,
}

/// A target of which something was told.
struct Row {
    target: String,
    state: Chip,
    severity: Chip,
    since: Option<When>,
    reason: String,
    classes: String,
}

async fn show(State(door): State<Door>, frame: Frame) -> Result<Response, Problem> {
    frame.everything()?;
    let rows = door.watched.probes().await?;
    let (well, bad): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.state == "ok");
    page(&Page {
        all: rows.len(),
        bad: bad.into_iter().map(|row| told(&frame, row)).collect(),
        more: well.len().saturating_sub(MOST),
        well: well.into_iter().take(MOST).map(target).collect(),
        frame,
    })
}

fn told(frame: &Frame, row: &ProbeRow) -> Row {
    let state = match row.state.as_str() {
        "host_down" => Chip::new("host down", "bad"),
        "flapping" => Chip::new("flapping", "warn"),
        "certificate_expires" => Chip::new("certificate expires", "warn"),
        _ => Chip::new("down", "bad"),
    };
    Row {
        target: target(row),
        state,
        severity: severity(row.severity.as_str()),
        since: frame.maybe(row.since),
        reason: row.reason.clone(),
        classes: row.classes.join(", "),
    }
}

fn target(row: &ProbeRow) -> String {
    let ProbeRow { host, port, .. } = row;
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
