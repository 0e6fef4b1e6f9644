//! An operator's end to what is open.

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use super::json;
use crate::control::Problem;
use crate::http::Door;
use crate::http::auth::Caller;
use crate::queue::{LONGEST_REASON, Resolved, Subject};

/// The body of what ends something; it may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = Reason)]
pub(super) struct Why {
    /// Why, for those who are told and for the timeline.
    reason: String,
}

pub(super) fn reason(headers: &HeaderMap, body: &Bytes) -> Result<String, Problem> {
    if body.is_empty() {
        return Ok(String::new());
    }
    let Why { reason } = json(headers, body)?;
    short(reason)
}

/// A reason that is not too long.
pub(in crate::http) fn short(reason: String) -> Result<String, Problem> {
    if reason.chars().count() > LONGEST_REASON {
        return Err(Problem::bad(format!("it is longer than {LONGEST_REASON} characters")).of("reason"));
    }
    Ok(reason)
}

/// Ends it, where the caller may.
pub(in crate::http) async fn resolve(
    door: &Door,
    caller: &Caller,
    what: Subject,
    reason: &str,
) -> Result<Resolved, Problem> {
    let open = door.search.open(what).await?.filter(|open| caller.sees_any(&open.groups));
    let open = open.ok_or_else(|| Problem::missing(format!("there is no {what}")))?;
    // Who ends it must see all of it: others would be told as well.
    if !caller.sees_whole(&open.groups) {
        let detail =
            format!("it is for groups that token {} does not see, and these would be told as well", caller.name);
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    let post = open.end(what, caller.name.as_str(), reason, Timestamp::now())?;
    let done = door.dispatch.hand_in(post).await?;
    Ok(open.ended(&*door.search, done).await?)
}
