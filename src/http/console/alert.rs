//! One alert: what it says, and what became of it for each person.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::Response;

use super::queue::{Row, sees};
use super::show::{Chip, When, is_link, severity};
use super::{Frame, READ, page};
use crate::control::Problem;
use crate::http::Door;
use crate::http::table::{Endpoint, on};
use crate::model::{Alert, AlertId, AlertState, Nature, Status};
use crate::queue::MessageView;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![on(Method::GET, "/console/alerts/{id}", READ, show)]
}

/// `alert.html`
#[derive(Template)]
#[template(path = "alert.html", config = "src/http/console/askama.toml")]
struct Page {
    frame: Frame,
    id: String,
    severity: Chip,
    status: Chip,
    state: Chip,
    reason: String,
    source: String,
    received: When,
    times: Vec<(&'static str, When)>,
    fates: Vec<Row>,
    steps: Vec<Step>,
    links: Vec<Link>,
    labels: Vec<(String, String)>,
    alert: Alert,
}

/// A link of the alert.
struct Link {
    text: String,
    /// May it be followed?
    works: bool,
}

/// One step of the way.
struct Step {
    at: When,
    clock: String,
    who: String,
    event: String,
    detail: String,
}

/// Status of an alert.
pub(super) fn status(status: Status) -> Chip {
    match status {
        Status::Firing => Chip::new("firing", "warn"),
        Status::Update => Chip::new("update", "info"),
        Status::Resolved => Chip::new("resolved", "good"),
        Status::Recorded => Chip::new("recorded", "calm"),
    }
}

/// What came of an alert.
pub(super) fn state(state: AlertState) -> Chip {
    match state {
        AlertState::Routed => Chip::new("routed", "calm"),
        AlertState::Unsubscribed => Chip::new("nobody wants it", "warn"),
        AlertState::Recorded => Chip::new("kept only", "calm"),
    }
}

async fn show(State(door): State<Door>, frame: Frame, Path(id): Path<String>) -> Result<Response, Problem> {
    let missing = || Problem::missing("there is no alert of this id");
    let id: AlertId = id.parse().map_err(|_| missing())?;
    let mut view = door.desk.show_alert(id).await?.ok_or_else(missing)?;
    if !frame.sees_all {
        limit(&frame, &mut view);
        if view.notifications.is_empty() {
            return Err(missing());
        }
    }
    let MessageView { alert: record, state: became, reason, notifications, timeline, .. } = view;
    let alert = record.alert;
    let of = [("Sent", alert.sent), ("Effective", alert.effective), ("Expires", alert.expires)];
    let links = alert.links.iter().map(|text| Link { works: is_link(text), text: text.clone() });
    let labels = alert.labels.iter().map(|(name, values)| (name.to_owned(), values.join(", ")));
    let steps = timeline.into_iter().map(|step| Step {
        at: frame.when(step.at),
        clock: step.at.strftime("%H:%M:%S%.3f").to_string(),
        who: step.recipient.map(|name| name.to_string()).unwrap_or_default(),
        event: step.event,
        detail: step.detail,
    });
    page(&Page {
        id: id.to_string().trim_start_matches('#').to_owned(),
        severity: severity(alert.severity.as_str()),
        status: status(alert.status),
        state: state(became),
        reason,
        source: record.source,
        received: frame.when(record.received),
        times: of.into_iter().filter_map(|(what, at)| Some((what, frame.when(at?)))).collect(),
        fates: notifications.into_iter().map(|one| Row::of(&frame, one)).collect(),
        steps: steps.collect(),
        links: links.collect(),
        labels: labels.collect(),
        alert,
        frame,
    })
}

/// Leaves what is for groups that they see.
fn limit(frame: &Frame, view: &mut MessageView) {
    view.notifications.retain(|one| sees(frame, one));
    let theirs: Vec<_> = view.notifications.iter().map(|one| one.recipient.clone()).collect();
    view.timeline.retain(|step| step.recipient.as_ref().is_none_or(|name| theirs.contains(name)));
}
