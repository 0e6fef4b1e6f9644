//! The event stream: what happens, as it happens (Server-Sent Events, WHATWG HTML §9.2).
//!
//! One task reads the log and puts what it finds, ready to be sent, into a window in memory that all listeners share; each of them
//! is hardly more than its place in it. Who comes back reads from the log until it has reached the window. Who has been in the window
//! and fell out of it is too slow and is let go; nobody waits for it.

mod frame;
mod hub;
mod listener;
#[cfg(test)]
mod tests;

pub use hub::Feed;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi, ToSchema};

use self::listener::{Listener, Wanted};
use super::Door;
use super::auth::{Caller, Pass};
use super::table::{Access, Endpoint, on};
use crate::control::Problem;
use crate::model::{GroupName, Right};
use crate::queue::{EventKind, Happened};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![on(Method::GET, "/api/v1/events", Access::Scope(Right::Read), stream)]
}

/// This resource's part of the document.
#[derive(OpenApi)]
#[openapi(paths(stream), components(schemas(Data)))]
pub(super) struct Written;

/// The `data` of an event, whose `event` names its type: message, alert, condition, notification, presence, mailbox or probe. Two
/// more are of the stream itself: `reset` (`oldest`, `newest`: what was asked for is not there any more; it goes on after the newest)
/// and, at its end, `dropped` (`reason`, `detail`).
#[expect(dead_code, reason = "never made: it describes what `frame` writes")]
#[derive(ToSchema)]
#[schema(as = EventData)]
struct Data {
    /// When it was written down.
    at: Timestamp,
    /// The groups that it concerns, of those that the token sees.
    groups: Vec<GroupName>,
    /// What happened.
    #[serde(flatten)]
    what: Happened,
}

/// What is asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Only these types, by comma.
    r#type: Option<String>,
    /// Only these groups, by comma.
    group: Option<String>,
    /// The number after which it begins; the header `Last-Event-ID` comes first.
    after: Option<String>,
}

/// What happens, as it happens.
///
/// Server-Sent Events. `id` is the number of an event: they rise without a gap, and who was cut off goes on where it was by
/// `Last-Event-ID`. Who reads too slowly is let go with a last event. A token of some groups gets what concerns one of these.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", operation_id = "events",
    params(Asked, ("Last-Event-ID" = Option<u64>, Header, description = "The last event that was had; comes before `after`")),
    responses(
        (status = 200, description = "A stream that goes on; the schema is that of the `data` of each event", body = Data,
            content_type = "text/event-stream"),
        (status = 400, description = "A query parameter or the header Last-Event-ID is not understood"),
        (status = 503, description = "Too many listen already; see the header Retry-After"),
    ))]
async fn stream(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Extension(pass): Extension<Pass>,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(asked) = asked.map_err(|err| Problem::bad(err.body_text()))?;
    let wanted =
        Wanted { kinds: kinds(asked.r#type.as_deref())?, groups: groups(asked.group.as_deref(), &caller)?, caller };
    let after = after(&headers, asked.after.as_deref())?;
    let most = door.settings.borrow().events.subscribers;
    let Some(seat) = door.feed.seat(most) else {
        let detail = format!("{most} listen already (http.events_subscribers); try again later");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(5));
    };
    let span = door.feed.span().await?;
    let listener = Listener::new(&door, seat, pass, wanted, span, after);
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // nginx would collect what it should pass on.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((head, Body::from_stream(listener.stream())).into_response())
}

/// `None`: all.
fn kinds(text: Option<&str>) -> Result<Option<Vec<EventKind>>, Problem> {
    let one = |word: &str| {
        EventKind::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| {
            let all = EventKind::ALL.map(EventKind::as_str).join(", ");
            Problem::bad(format!("there is no such type of event; allowed: {all}, several by comma")).of("type")
        })
    };
    text.map(|text| text.split(',').map(|word| one(word.trim())).collect()).transpose()
}

/// `None`: all, and what is of no group.
fn groups(text: Option<&str>, caller: &Caller) -> Result<Option<Vec<GroupName>>, Problem> {
    text.map(|text| text.split(',').map(|word| caller.group(word.trim())).collect()).transpose()
}

/// A browser that connects again asks for the same address, and says in the header how far it came.
fn after(headers: &HeaderMap, query: Option<&str>) -> Result<Option<i64>, Problem> {
    const HEADER: &str = "Last-Event-ID";
    let by_header = headers.get(HEADER).map(|value| (HEADER, value.to_str().unwrap_or("?")));
    let Some((field, text)) = by_header.filter(|(_, text)| !text.is_empty()).or(query.map(|text| ("after", text)))
    else {
        return Ok(None);
    };
    let number = text.parse::<u64>().ok().and_then(|number| i64::try_from(number).ok());
    let wrong = || Problem::bad(format!("{field} is not the id of an event: a whole number, 0 or more")).of(field);
    number.map(Some).ok_or_else(wrong)
}
