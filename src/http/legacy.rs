//! For pages that were written for an older family of products: is this group reachable, and how many of it are ready? Only with
//! `[http] legacy_open = true`, then without a token, and with nothing in the answer but a word or a number.
//!
//! | presence of the group | word |
//! | --- | --- |
//! | active | `STATUS_ACTIVE` |
//! | away | `STATUS_AWAY` |
//! | busy | `STATUS_DND`, that family's word for *do not disturb* |
//! | offline, unknown, no such group | `na`: not available |
//!
//! Those pages come from other servers than this one, so that every page may read the answers (`Access-Control-Allow-Origin: *`):
//! they hold nothing that depends on who asks.

use axum::extract::{Query, State};
use axum::http::{HeaderName, Method, header};
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;

use super::table::{Access, Endpoint, on};
use super::{Door, Group};
use crate::control::Problem;
use crate::model::{Availability, Severity};

/// Where the pages ask.
pub(super) const PATH: &str = "/webclient";

const STATUS: &str = "getSTStatus";
const READY: &str = "getQueueExpertsReady";

const HEADERS: [(HeaderName, &str); 2] =
    [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")];

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![on(Method::GET, PATH, Access::Legacy, webclient)]
}

/// This resource's part of the document.
#[derive(OpenApi)]
#[openapi(paths(webclient))]
pub(super) struct Written;

/// For old pages: is this group reachable, or how many of it are ready?
///
/// Without a token, and only with `[http] legacy_open = true`. One of the two parameters; others mean nothing. Status:
/// `STATUS_ACTIVE`, `STATUS_AWAY`, `STATUS_DND` (busy), or `na`: offline, unknown, or no such group. Ready: the number whom a
/// warning would reach now.
#[utoipa::path(get, path = "/webclient", tag = "people",
    params(
        ("getSTStatus" = Option<String>, Query, description = "Group whose status is asked for"),
        ("getQueueExpertsReady" = Option<String>, Query, description = "Group of which the number that is ready is asked for"),
    ),
    responses(
        (status = 200, description = "A word, or a number", body = String, content_type = "text/plain",
            headers(("Access-Control-Allow-Origin" = String, description = "`*`"))),
        (status = 400, description = "None of the two parameters, or both"),
        (status = 404, description = "It is switched off"),
    ))]
// Other parameters mean nothing: pages add a number of their own against caches.
async fn webclient(State(door): State<Door>, query: Query<Vec<(String, String)>>) -> Result<Response, Problem> {
    let of = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, group)| group.as_str());
    let answer = match (of(STATUS), of(READY)) {
        (Some(group), None) => word(find(&door, group)).to_owned(),
        (None, Some(group)) => find(&door, group).map_or(0, |group| group.availability.ready).to_string(),
        _ => return Err(Problem::bad(format!("write ?{STATUS}=GROUP or ?{READY}=GROUP"))),
    };
    Ok((HEADERS, answer).into_response())
}

fn find(door: &Door, name: &str) -> Option<Group> {
    door.people.group(&name.parse().ok()?, Severity::Warning)
}

fn word(group: Option<Group>) -> &'static str {
    match group.map(|group| group.availability.status) {
        Some(Availability::Active) => "STATUS_ACTIVE",
        Some(Availability::Away) => "STATUS_AWAY",
        Some(Availability::Busy) => "STATUS_DND",
        Some(Availability::Offline | Availability::Unknown) | None => "na",
    }
}
