//! Alerts in: `POST /api/v1/alerts` takes our own JSON (see [`json`]), native XML and CAP; [`prometheus`] what its world sends.
//!
//! `202` is said once all alerts of the request are durable (D2), with what became of each. A request is done whole or not at all.
//! It is done once: by its `Idempotency-Key`, for 24 hours and within one token; and an alert with an id of its own counts once in
//! any case. Its source is `api:TOKEN`, within which keys name conditions.

mod json;
mod prometheus;

use async_trait::async_trait;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::Door;
use super::auth::{Caller, sha256};
use super::table::{Access, Endpoint, on};
use crate::control::Problem;
use crate::model::{Alert, AlertState, GroupName, Nature, Right, Source, StanzaId};
use crate::parse::{self, Limits};
use crate::queue::{Done, Once, Post, Posted};

/// Takes alerts to the queue.
#[async_trait]
pub trait Dispatch: Send + Sync {
    /// How much of an alert is taken.
    fn limits(&self) -> Limits;

    /// The alerts of an XML document: native, CAP, and whatever the config has a mapping for; all of them, or why not.
    fn read_xml(&self, document: &[u8], content_type: &str) -> Result<Vec<Alert>, String>;

    /// Makes them durable (D2).
    async fn hand_in(&self, post: Post) -> Result<Done, Problem>;
}

/// Said of an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest `Idempotency-Key`, bytes.
const KEY: usize = 255;

pub(super) fn endpoints() -> Vec<Endpoint> {
    const DISPATCH: Access = Access::Scope(Right::Dispatch);
    vec![
        on(Method::POST, "/api/v1/alerts", DISPATCH, alerts),
        on(Method::POST, "/api/v1/webhook/alertmanager", DISPATCH, prometheus::webhook),
        on(Method::POST, "/api/v2/alerts", DISPATCH, prometheus::alerts),
    ]
}

/// This resource's part of the document.
#[derive(OpenApi)]
#[openapi(paths(alerts, prometheus::alerts, prometheus::webhook))]
pub(super) struct Written;

/// What became of a request.
#[derive(Serialize, ToSchema)]
#[schema(as = Dispatched)]
struct Answer {
    /// In the order of the request.
    alerts: Vec<Became>,
}

/// What became of an alert.
#[derive(Serialize, ToSchema)]
#[schema(as = DispatchedAlert)]
struct Became {
    /// The short id that messages and commands name it by.
    alert: String,
    /// The sender's name of it, or the one that it was given.
    id: String,
    /// `routed`: people are told; `unsubscribed`: no route wants it; `recorded`: kept, and nobody is told, see the reason;
    /// `duplicate`: it was taken before.
    outcome: &'static str,
    /// Why.
    reason: String,
}

impl From<Posted> for Became {
    fn from(posted: Posted) -> Self {
        let Posted { alert, id, state, duplicate_of, reason } = posted;
        let outcome = match (duplicate_of, state) {
            (Some(_), _) => "duplicate",
            (None, AlertState::Routed) => "routed",
            (None, AlertState::Unsubscribed) => "unsubscribed",
            (None, AlertState::Recorded) => "recorded",
        };
        Self { alert, id, outcome, reason }
    }
}

/// Hand in alerts.
///
/// One alert or an array, which is taken whole or not at all; as JSON, as native XML, or as CAP. The answer comes when they are
/// durable. An alert with an id that came before is a duplicate: where an answer got lost, send it once more.
#[utoipa::path(post, path = "/api/v1/alerts", tag = "alerts", operation_id = "dispatch_alerts",
    params(("Idempotency-Key" = Option<String>, Header,
        description = "1 to 255 printable ASCII characters: the same request under the same key is done once in 24 hours")),
    request_body(description = "The words of JSON are those of native XML (config/alert.xsd)", content(
        (json::Written = "application/json"),
        (String = "application/xml"),
        (String = "text/xml"),
        (String = "application/cap+xml"),
    )),
    responses(
        (status = 202, description = "They are durable", body = Answer,
            headers(("Idempotency-Replayed" = Option<bool>, description = "`true`: the answer to an earlier request"))),
        (status = 400, description = "The body is no JSON, or the header Idempotency-Key is not understood"),
        (status = 415, description = "The type of the body is not known"),
        (status = 422, description = "An alert is not understood (`field` names the place), or the key was used for another \
            request: nothing was taken"),
        (status = 507, description = "The disk is full: nothing was taken"),
    ))]
async fn alerts(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let once = once(&headers, &body)?;
    let (mut alerts, many) = read(&door, &headers, &body)?;
    let at = |index: usize, field: &str| if many { format!("[{index}].{field}") } else { field.to_owned() };
    for (index, alert) in alerts.iter_mut().enumerate() {
        own(&caller, alert);
        to_groups(&caller, alert, |field| at(index, field))?;
    }
    let post = Post { alerts, once, ..post_of(caller) };
    let (posted, before) = match door.dispatch.hand_in(post).await? {
        Done::Now(posted) => (posted, false),
        Done::Before(posted) => (posted, true),
        done => return Err(refusal(done)),
    };
    let answer = Answer { alerts: posted.into_iter().map(Became::from).collect() };
    let mut response = (StatusCode::ACCEPTED, Json(answer)).into_response();
    if before {
        response.headers_mut().insert(REPLAYED, header::HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// A request of this token, with nothing in it.
fn post_of(caller: Caller) -> Post {
    let (source, groups) = (Source::Api(caller.name), caller.groups);
    Post { source, by_operator: false, groups, alerts: Vec::new(), posted: Vec::new(), once: None }
}

/// Why a request was not done.
fn refusal(done: Done) -> Problem {
    match done {
        Done::Other => {
            let detail = "another request was done under this key; a key is for one request and its repetitions";
            unprocessable(detail).of("Idempotency-Key")
        }
        Done::Refused(index, why) => unprocessable(why).of(format!("[{index}]")),
        Done::Now(_) | Done::Before(_) => unprocessable("it was done"),
    }
}

fn unprocessable(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}

/// The alerts of a body, by its type; and whether it is an array.
fn read(door: &Door, headers: &HeaderMap, body: &Bytes) -> Result<(Vec<Alert>, bool), Problem> {
    let whole = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = whole.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" {
        return json::read(body, &door.dispatch.limits());
    }
    if matches!(kind.as_str(), "application/xml" | "text/xml") || kind.ends_with("+xml") {
        let alerts = door.dispatch.read_xml(body, whole).map_err(unprocessable)?;
        return Ok((alerts, true));
    }
    let detail = "write Content-Type: application/json, application/xml (native alerts) or application/cap+xml";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).of("Content-Type"))
}

/// The draft of the IETF's HTTPAPI group writes it as a string in quotes; most clients leave them out.
fn once(headers: &HeaderMap, body: &[u8]) -> Result<Option<Once>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if key.is_empty() || key.len() > KEY {
        let detail = format!("write 1 to {KEY} printable ASCII characters, new for each request");
        return Err(Problem::bad(detail).of("Idempotency-Key"));
    }
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes()).unwrap_or_default();
    let sha256 = format!("{}{}", sha256(&String::from_utf8_lossy(kind)), super::auth::digest(body));
    Ok(Some(Once { key: key.to_owned(), sha256 }))
}

/// What it has of its own where its sender did not say.
fn own(caller: &Caller, alert: &mut Alert) {
    let token = caller.name.as_str().to_lowercase();
    if alert.sender.is_empty() || alert.sender == "unknown" {
        alert.sender.clone_from(&token);
    }
    // Who it is counted under is who handed it in, whatever it says of itself.
    alert.from = (alert.sender != token).then_some(token);
    if alert.id.is_empty() {
        alert.id = StanzaId::random().to_string();
        alert.sent.get_or_insert_with(Timestamp::now);
    }
    if alert.key.0.is_empty() {
        alert.key.0.clone_from(&alert.id);
    }
    parse::adjust_clock(alert, Timestamp::now());
}

/// A token of some groups asks for these alone; where the alert names none, for all of these.
fn to_groups(caller: &Caller, alert: &mut Alert, at: impl Fn(&str) -> String) -> Result<(), Problem> {
    if caller.groups.is_empty() {
        return Ok(());
    }
    let name = &caller.name;
    let forbidden = |detail: String, field| Err(Problem::new(StatusCode::FORBIDDEN, detail).of(at(field)));
    // Routes decide of them, whatever is asked for.
    if alert.nature != Nature::Actual {
        let nature = alert.nature.as_str();
        return forbidden(format!("token {name} is for some groups, and so not for what is {nature}"), "status");
    }
    let foreign = |group: &&String| !caller.groups.iter().any(|own| own.as_str() == group.as_str());
    if let Some(group) = alert.groups.iter().find(foreign) {
        let own: Vec<&str> = caller.groups.iter().map(GroupName::as_str).collect();
        let group = crate::model::quote(group);
        return forbidden(format!("token {name} may not dispatch to {group}, only to {}", own.join(", ")), "groups");
    }
    if alert.groups.is_empty() {
        alert.groups = caller.groups.iter().map(ToString::to_string).collect();
    }
    Ok(())
}
