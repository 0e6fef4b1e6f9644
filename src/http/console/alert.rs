//! Alerts: which there were, and of each what it says and what became of it for each person.

use askama::Template;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Path, Query, State};
use axum::http::Method;
use axum::response::{Redirect, Response};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::queue::Row as Fate;
use super::show::{Chip, When, is_link, severity};
use super::{ACT, Frame, READ, asked, done, filled, page};
use crate::control::Problem;
use crate::http::Door;
use crate::http::api::alerts::{self, AlertQuery, AlertShown};
use crate::http::api::resolve;
use crate::http::table::{Endpoint, on};
use crate::model::{AlertState, GroupName, Severity, Status};
use crate::queue::{AlertRow, Subject};

const PATH: &str = "/console/alerts";
/// Most alerts of a page.
const MOST: usize = 100;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        on(Method::GET, PATH, READ, list),
        on(Method::GET, "/console/alerts/{id}", READ, show),
        on(Method::POST, "/console/alerts/{id}/resolve", ACT, end),
    ]
}

/// `alerts.html`
#[derive(Template)]
#[template(path = "alerts.html", config = "src/http/console/askama.toml")]
struct List {
    frame: Frame,
    filter: Filter,
    groups: Vec<GroupName>,
    /// Those that have a name of their own, for who sees everything.
    sources: Vec<String>,
    rows: Vec<Row>,
    next: Option<String>,
}

/// What the form of the list says; empty: any.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Filter {
    status: String,
    severity: String,
    group: String,
    source: String,
    text: String,
    since: String,
    until: String,
    after: String,
}

impl Filter {
    fn query(&self) -> Result<AlertQuery, Problem> {
        let given = |field: &String| Some(field.trim().to_owned()).filter(|text| !text.is_empty());
        Ok(AlertQuery {
            status: given(&self.status),
            severity: given(&self.severity),
            group: given(&self.group),
            source: given(&self.source),
            text: given(&self.text),
            since: given(&self.since).map(|text| in_utc("From (UTC)", &text)).transpose()?,
            until: given(&self.until).map(|text| in_utc("Until (UTC)", &text)).transpose()?,
            after: given(&self.after),
            limit: Some(MOST.to_string()),
        })
    }

    /// What it looks for.
    fn fields(&self) -> [(&'static str, &str); 7] {
        [
            ("status", &self.status),
            ("severity", &self.severity),
            ("group", &self.group),
            ("source", &self.source),
            ("text", &self.text),
            ("since", &self.since),
            ("until", &self.until),
        ]
    }

    fn is_empty(&self) -> bool {
        self.fields().iter().all(|(_, field)| field.trim().is_empty()) && self.after.trim().is_empty()
    }

    /// The page that begins there.
    fn at(&self, after: &str) -> String {
        let fields = self.fields().into_iter().chain([("after", after)]).filter(|(_, value)| !value.is_empty());
        let query: Vec<_> =
            fields.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))).collect();
        format!("{PATH}?{}", query.join("&"))
    }
}

/// What `<input type="datetime-local">` gives (WHATWG HTML §2.3.5.5, to the minute): it knows no time zone, and ours is UTC.
fn in_utc(label: &str, text: &str) -> Result<String, Problem> {
    let read = DateTime::strptime("%Y-%m-%dT%H:%M", text).and_then(|time| time.to_zoned(TimeZone::UTC));
    let wrong = "this is no day with a time of day; write it in UTC, like 2026-11-22T14:00";
    read.map(|time| time.timestamp().to_string()).map_err(|_| Problem::bad(wrong).of(label))
}

/// An alert, as lists show it.
pub(super) struct Row {
    pub id: String,
    pub severity: Chip,
    pub status: Chip,
    pub state: Option<Chip>,
    pub title: String,
    pub source: String,
    pub sender: String,
    pub groups: String,
    pub at: When,
    pub open: bool,
}

impl Row {
    pub fn of(frame: &Frame, of: AlertRow) -> Self {
        Self {
            id: of.id.trim_start_matches('#').to_owned(),
            severity: severity(of.severity.as_str()),
            status: status(of.status),
            state: (of.state != AlertState::Routed).then(|| state(of.state)),
            title: of.title,
            source: of.source,
            sender: of.sender,
            groups: joined(&of.groups),
            at: frame.when(of.created),
            open: of.open,
        }
    }
}

async fn list(
    State(door): State<Door>,
    frame: Frame,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Response, Problem> {
    let filter = asked(filter)?;
    let found = alerts::find(&door, &frame.caller, filter.query()?).await?;
    let groups = door.people.groups().into_iter().filter(|group| frame.caller.sees(group));
    let mailboxes = door.metrics.mailboxes().into_iter().filter(|_| frame.sees_all);
    page(&List {
        groups: groups.collect(),
        sources: mailboxes.map(|one| format!("mailbox:{}", one.name)).chain(["probe".to_owned()]).collect(),
        rows: found.items.into_iter().map(|row| Row::of(&frame, row)).collect(),
        next: found.next.map(|after| filter.at(&after)),
        filter,
        frame,
    })
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
    received: When,
    groups: String,
    /// May they end what it is about?
    resolves: bool,
    times: Vec<(&'static str, When)>,
    fates: Vec<(Fate, String)>,
    /// Who has no notification, and why.
    others: Vec<(String, String)>,
    steps: Vec<Step>,
    links: Vec<Link>,
    labels: Vec<(String, String)>,
    alert: AlertShown,
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

fn status(status: Status) -> Chip {
    match status {
        Status::Firing => Chip::new("firing", "calm"),
        Status::Update => Chip::new("update", "calm"),
        Status::Resolved => Chip::new("resolved", "good"),
        Status::Recorded => Chip::new("recorded", "calm"),
    }
}

/// What came of it.
fn state(state: AlertState) -> Chip {
    match state {
        AlertState::Routed => Chip::new("routed", "calm"),
        AlertState::Unsubscribed => Chip::new("nobody wants it", "warn"),
        AlertState::Recorded => Chip::new("kept only", "calm"),
    }
}

async fn show(State(door): State<Door>, frame: Frame, Path(id): Path<String>) -> Result<Response, Problem> {
    let mut alert = alerts::see(&door, &frame.caller, &id, None).await?;
    let of = [("Sent", alert.sent), ("Effective", alert.effective), ("Expires", alert.expires)];
    let links = alert.links.iter().map(|text| Link { works: is_link(text), text: text.clone() });
    let labels = alert.labels.iter().map(|(name, values)| (name.to_owned(), values.join(", ")));
    let steps = std::mem::take(&mut alert.timeline).into_iter().map(|step| Step {
        at: frame.when(step.at),
        clock: step.at.strftime("%H:%M:%S%.3f").to_string(),
        who: step.recipient.map(|name| name.to_string()).unwrap_or_default(),
        event: step.event,
        detail: step.detail,
    });
    let why =
        |name: &str| alert.answers.iter().find(|answer| answer.recipient == name).map(|answer| answer.why.clone());
    let others = alert.answers.iter().filter(|answer| answer.state.is_none());
    let others = others.map(|answer| (answer.recipient.clone(), answer.why.clone())).collect();
    let fates = alert.notifications.iter().cloned();
    let fates = fates.map(|one| (why(one.recipient.as_str()).unwrap_or_default(), one));
    page(&Page {
        id: alert.id.trim_start_matches('#').to_owned(),
        severity: severity(alert.severity.as_str()),
        status: status(alert.status),
        state: state(alert.state),
        received: frame.when(alert.received),
        groups: joined(&alert.groups),
        resolves: frame.acts && alert.conditions.iter().any(|condition| condition.open),
        times: of.into_iter().filter_map(|(what, at)| Some((what, frame.when(at?)))).collect(),
        fates: fates.map(|(why, one)| (Fate::of(&frame, one), why)).collect(),
        others,
        steps: steps.collect(),
        links: links.collect(),
        labels: labels.collect(),
        alert,
        frame,
    })
}

fn joined(groups: &[GroupName]) -> String {
    groups.iter().map(|group| group.as_str()).collect::<Vec<_>>().join(", ")
}

#[derive(Deserialize)]
struct Why {
    #[serde(default)]
    reason: String,
}

async fn end(
    State(door): State<Door>,
    frame: Frame,
    Path(id): Path<String>,
    form: Result<Form<Why>, FormRejection>,
) -> Result<Redirect, Problem> {
    let reason = resolve::short(filled(form)?.reason)?;
    let what = Subject::Alert(alerts::number(&id)?);
    resolve::resolve(&door, &frame.caller, what, reason.trim()).await?;
    let back = format!("{PATH}/{}", id.trim_start_matches('#'));
    Ok(done(&back, PATH, "resolved"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_form_is_one_in_utc() {
        assert_eq!(in_utc("From (UTC)", "2026-11-22T14:05").unwrap(), "2026-11-22T14:05:00Z");
        for text in ["yesterday", "2026-11-22", "2026-02-30T10:00", "2026-11-22T14:05+02:00", "12026-11-22T14:05", "\0"]
        {
            let problem = in_utc("From (UTC)", text).unwrap_err();
            assert_eq!((problem.status, problem.field.as_deref()), (400, Some("From (UTC)")), "{text}");
        }
    }

    #[test]
    fn the_next_page_looks_for_the_same() {
        let word = || "a b&c=d".to_owned();
        let filter = Filter {
            status: word(),
            severity: word(),
            group: word(),
            source: word(),
            text: word(),
            since: word(),
            until: word(),
            after: "7".to_owned(),
        };
        let next = filter.at("8");
        for (name, value) in filter.fields() {
            assert_eq!(value, "a b&c=d", "{name}");
            assert_eq!(next.matches(&format!("{name}=a%20b%26c%3Dd")).count(), 1, "{name} in {next}");
        }
        assert!(next.ends_with("&after=8"), "{next}");
        assert!(!filter.is_empty() && Filter::default().is_empty());
    }
}
