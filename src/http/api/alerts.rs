//! Alerts: which there are, one with its delivery timeline, and an end to it.

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method};
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::asked::{self, Fields};
use super::{people, resolve};
use crate::control::Problem;
use crate::http::Door;
use crate::http::auth::Caller;
use crate::http::table::{Access, Endpoint, on};
use crate::model::{AlertId, AlertState, Format, GroupName, Labels, RecipientName, Right, Severity, Status};
use crate::queue::{
    AboutCondition, AlertFilter, AlertRow, Answer, LeftOut, MessageView, NotificationView, Page, Resolved, Subject,
    TimelineRow,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        on(Method::GET, "/api/v1/alerts", Access::Scope(Right::Read), list),
        on(Method::GET, "/api/v1/alerts/{id}", Access::Scope(Right::Read), show),
        on(Method::POST, "/api/v1/alerts/{id}/resolve", Access::Scope(Right::Act), end),
    ]
}

/// This resource's part of the document.
#[derive(OpenApi)]
#[openapi(paths(list, show, end))]
pub(super) struct Written;

/// How alerts are asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct AlertQuery {
    /// firing, update, resolved, recorded; several are separated by commas.
    pub(in crate::http) status: Option<String>,
    /// At least that bad.
    pub(in crate::http) severity: Option<String>,
    /// Only those for this group.
    pub(in crate::http) group: Option<String>,
    /// mailbox:NAME, probe, api:TOKEN.
    pub(in crate::http) source: Option<String>,
    /// Only those whose title, text, sender, id or key holds this.
    pub(in crate::http) text: Option<String>,
    /// Committed not before this.
    pub(in crate::http) since: Option<String>,
    /// Committed before this.
    pub(in crate::http) until: Option<String>,
    /// `next` of the page before.
    pub(in crate::http) after: Option<String>,
    /// Rows of a page, up to 1000.
    pub(in crate::http) limit: Option<String>,
}

/// Alerts, newest first.
///
/// A token of some groups sees those that are for one of these.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts", operation_id = "list_alerts", params(AlertQuery), responses(
    (status = 200, description = "A page of them", body = Page<AlertRow>),
    (status = 400, description = "A query parameter is not understood"),
))]
async fn list(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<AlertQuery>, QueryRejection>,
) -> Result<Json<Page<AlertRow>>, Problem> {
    find(&door, &caller, asked::query(query)?).await.map(Json)
}

/// Those that the caller may see.
pub(in crate::http) async fn find(door: &Door, caller: &Caller, query: AlertQuery) -> Result<Page<AlertRow>, Problem> {
    let AlertQuery { status, severity, group, source, text, since, until, after, limit } = query;
    let filter = AlertFilter {
        common: Fields { group, text, since, until, after, limit }.common(caller)?,
        status: asked::words("status", status, of_status)?,
        severity: severity.map(|text| asked::of("severity", text.parse())).transpose()?,
        source: source
            .map(|text| asked::of("source", text.parse::<crate::model::Source>()).map(|_| text))
            .transpose()?,
    };
    let mut page = door.search.alerts(&filter).await?;
    for row in page.items.iter_mut().filter(|row| !caller.sees_whole(&row.groups)) {
        // It names the groups.
        row.reason.clear();
        caller.only_seen(&mut row.groups);
    }
    Ok(page)
}

fn of_status(word: &str) -> Result<Status, String> {
    Status::ALL.into_iter().find(|status| status.as_str() == word).ok_or_else(|| {
        let all: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
        format!("`{word}` is no status; allowed: {}", all.join(", "))
    })
}

/// One alert, with all that came of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Alert)]
pub(in crate::http) struct AlertShown {
    /// Short id, `#1a3f`.
    pub(in crate::http) id: String,
    /// One line.
    pub(in crate::http) title: String,
    /// More of it.
    pub(in crate::http) text: String,
    /// What it says about its condition.
    pub(in crate::http) status: Status,
    /// How bad.
    pub(in crate::http) severity: Severity,
    /// Who reports it.
    pub(in crate::http) sender: String,
    /// The sender's identifier of this report.
    pub(in crate::http) ident: String,
    /// What names its condition.
    pub(in crate::http) key: String,
    /// How it was written.
    pub(in crate::http) format: Format,
    /// mailbox:NAME, probe, api:TOKEN.
    pub(in crate::http) source: String,
    /// Labels.
    pub(in crate::http) labels: Labels,
    /// Where more is to be found.
    pub(in crate::http) links: Vec<String>,
    /// What was bent to read it.
    pub(in crate::http) warnings: Vec<String>,
    /// When it was sent, as it says.
    pub(in crate::http) sent: Option<Timestamp>,
    /// When it begins to hold.
    pub(in crate::http) effective: Option<Timestamp>,
    /// When it holds no longer.
    pub(in crate::http) expires: Option<Timestamp>,
    /// When its mail was received; without a mail, when it was raised.
    pub(in crate::http) received: Timestamp,
    /// Number of the mail that it came in.
    pub(in crate::http) message: Option<i64>,
    /// What came of it.
    pub(in crate::http) state: AlertState,
    /// Why it is in that state: which routes, which groups.
    pub(in crate::http) reason: String,
    /// Of an end: the alert that opened the condition.
    pub(in crate::http) resolves: Option<String>,
    /// The groups that it is for.
    pub(in crate::http) groups: Vec<GroupName>,
    /// What it is about.
    pub(in crate::http) conditions: Vec<AboutCondition>,
    /// Whom it would have come to, but for this.
    pub(in crate::http) left_out: Vec<LeftOut>,
    /// Who got it, or why not.
    pub(in crate::http) answers: Vec<Answer>,
    /// Its notifications.
    pub(in crate::http) notifications: Vec<NotificationView>,
    /// Its way, step by step.
    pub(in crate::http) timeline: Vec<TimelineRow>,
}

impl AlertShown {
    /// As this caller may see it; with a recipient only what concerns them. `known`: the config has them, and the caller sees it.
    fn of(mut view: MessageView, caller: &Caller, recipient: Option<&RecipientName>, known: bool) -> Self {
        let whole = caller.sees_whole(&view.groups);
        let groups = view.groups.clone();
        view.notifications.retain(|n| caller.sees_notification(n, &groups));
        // Whether there is somebody in groups of others is not for them to know.
        let tells = whole && (known || caller.groups.is_empty());
        let mut answers = match recipient {
            Some(name) if tells || view.notifications.iter().any(|n| n.recipient == *name) => {
                vec![view.answer(name, known)]
            }
            Some(name) => vec![not_seen(caller, name)],
            None => view.answers(),
        };
        if !whole {
            let seen: Vec<_> = view.notifications.iter().map(|n| n.recipient.clone()).collect();
            view.left_out.clear();
            view.timeline.retain(|step| step.recipient.as_ref().is_none_or(|who| seen.contains(who)));
            // Alone, they tell of groups and people of others.
            view.timeline.retain(|step| !matches!(step.event.as_str(), "left out" | "fallback" | "forced" | "nobody"));
            for step in view.timeline.iter_mut().filter(|step| step.event == view.state.as_str()) {
                step.detail.clear();
            }
            for n in &mut view.notifications {
                caller.only_seen(&mut n.groups);
            }
            answers.retain(|answer| recipient.is_some() || seen.iter().any(|who| who.as_str() == answer.recipient));
            caller.only_seen(&mut view.groups);
        }
        if let Some(name) = recipient {
            view.notifications.retain(|n| n.recipient == *name);
            view.timeline.retain(|step| step.recipient.as_ref().is_none_or(|who| who == name));
            view.left_out.retain(|left| left.who == name.as_str() || left.who.starts_with('@'));
        }
        let MessageView { alert: record, state, reason, message, groups, left_out, conditions, .. } = view;
        let alert = record.alert;
        Self {
            id: record.id.to_string(),
            title: alert.title,
            text: alert.text,
            status: alert.status,
            severity: alert.severity,
            sender: alert.sender,
            ident: alert.id,
            key: alert.key.0,
            format: alert.format,
            source: record.source,
            labels: alert.labels,
            links: alert.links,
            warnings: alert.warnings,
            sent: alert.sent,
            effective: alert.effective,
            expires: alert.expires,
            received: record.received,
            message: message.map(|id| id.0),
            state,
            reason: if whole { reason } else { String::new() },
            resolves: record.resolves.map(|(first, _)| first.to_string()),
            groups,
            conditions,
            left_out,
            answers,
            notifications: view.notifications,
            timeline: view.timeline,
        }
    }
}

fn not_seen(caller: &Caller, name: &RecipientName) -> Answer {
    let why = format!("token {} sees no notification of {name}; what is for other groups it does not see", caller.name);
    Answer { recipient: name.to_string(), told: false, state: None, why }
}

/// Of whom it is asked.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Whom {
    /// Only what concerns this recipient: why they got it, or why not.
    recipient: Option<String>,
}

/// One alert with its delivery timeline: why somebody got it, or why not.
#[utoipa::path(get, path = "/api/v1/alerts/{id}", tag = "alerts", operation_id = "show_alert",
    params(("id" = String, Path, description = "Its short id, without the `#`", example = "1a3f"), Whom),
    responses(
        (status = 200, description = "The alert", body = AlertShown),
        (status = 400, description = "The id or a query parameter is not understood"),
        (status = 404, description = "There is no such alert, or the token does not see it"),
    ))]
async fn show(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    query: Result<Query<Whom>, QueryRejection>,
) -> Result<Json<AlertShown>, Problem> {
    let Whom { recipient } = asked::query(query)?;
    let recipient = recipient.map(|name| asked::of("recipient", name.parse::<RecipientName>())).transpose()?;
    see(&door, &caller, &id, recipient.as_ref()).await.map(Json)
}

/// One, as far as the caller may see it.
pub(in crate::http) async fn see(
    door: &Door,
    caller: &Caller,
    id: &str,
    recipient: Option<&RecipientName>,
) -> Result<AlertShown, Problem> {
    let id = number(id)?;
    let view = door.desk.show_alert(id).await?.filter(|view| caller.sees_any(&view.groups));
    let view = view.ok_or_else(|| Problem::missing(format!("there is no alert {id}")))?;
    let mut people = recipient.map(|_| door.people.people()).into_iter().flatten();
    let known = people.any(|person| Some(&person.name) == recipient && people::seen(caller, person).is_some());
    Ok(AlertShown::of(view, caller, recipient, known))
}

/// By short id, with or without the `#`.
pub(in crate::http) fn number(text: &str) -> Result<AlertId, Problem> {
    asked::of("id", text.parse())
}

/// Resolve the open conditions that an alert is about.
///
/// It is committed as an alert of whoever reported the beginning, and whoever was told of that is told of the end.
#[utoipa::path(post, path = "/api/v1/alerts/{id}/resolve", tag = "alerts", operation_id = "resolve_alert",
    params(("id" = String, Path, description = "Its short id, without the `#`", example = "1a3f")),
    request_body(content = Option<resolve::Why>, description = "It may be left out"),
    responses(
        (status = 200, description = "They are closed", body = Resolved),
        (status = 400, description = "The id or the body is not understood"),
        (status = 404, description = "There is no such alert, or the token does not see it"),
        (status = 409, description = "It is about no condition that is open"),
        (status = 415, description = "There is a body, and it is not said to be JSON"),
        (status = 507, description = "The disk is full: nothing was done"),
    ))]
async fn end(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Resolved>, Problem> {
    let reason = resolve::reason(&headers, &body)?;
    resolve::resolve(&door, &caller, Subject::Alert(number(&id)?), &reason).await.map(Json)
}
