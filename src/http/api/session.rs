//! Log in, log out, and who am I.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::json;
use crate::control::Problem;
use crate::http::Door;
use crate::http::auth::{Caller, Session};
use crate::http::frame::Client;
use crate::http::guard::{Cookie, no_cookie, set_cookie};
use crate::http::table::{Access, Endpoint, on};
use crate::model::{GroupName, Rights, Secret, TokenName};

pub(super) fn endpoints() -> Vec<Endpoint> {
    const PATH: &str = "/api/v1/session";
    vec![
        on(Method::POST, PATH, Access::Open, log_in),
        on(Method::GET, PATH, Access::Known, show),
        on(Method::DELETE, PATH, Access::Known, log_out),
    ]
}

/// This resource's part of the document.
#[derive(OpenApi)]
#[openapi(paths(log_in, show, log_out))]
pub(super) struct Written;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    /// A token that is in force.
    token: String,
}

/// Who asks, and of a session what it needs to change something.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
struct Shown {
    /// Name of the token.
    token: TokenName,
    /// What it may do.
    scopes: Rights,
    /// The only groups that it dispatches to and sees; empty: all.
    groups: Vec<GroupName>,
    /// Of a session: for the header `X-CSRF-Token` of whatever changes something.
    #[serde(skip_serializing_if = "Option::is_none")]
    csrf: Option<String>,
    /// Of a session: when it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    ends: Option<Timestamp>,
}

impl Shown {
    fn of(caller: Caller, session: Option<Session>) -> Self {
        let Caller { name, rights, groups } = caller;
        let (csrf, ends) = session.map(|session| (session.csrf, session.ends)).unzip();
        Self { token: name, scopes: rights, groups, csrf, ends }
    }
}

/// Log in with a token: begins a session for a browser.
///
/// After several failures an address waits, also with a good token.
#[utoipa::path(post, path = "/api/v1/session", tag = "access", request_body = Login, responses(
    (status = 200, description = "A session has begun", body = Shown,
        headers(("Set-Cookie" = String, description = "`mailbell_session`, over TLS `__Host-mailbell_session`"))),
    (status = 400, description = "The body is no such JSON"),
    (status = 401, description = "The token is unknown, was revoked, or has expired"),
    (status = 415, description = "The body is not said to be JSON"),
    (status = 429, description = "Too many logins failed from this address"),
))]
async fn log_in(
    State(door): State<Door>,
    Extension(Client(client)): Extension<Client>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let Login { token } = json(&headers, &body)?;
    let token = Secret::new(token);
    let (caller, session, cookie) = door.auth.log_in(token.expose().trim(), client, Timestamp::now())?;
    let https = door.settings.borrow().is_https();
    let cookie = set_cookie(https, cookie.expose())?;
    Ok(([(header::SET_COOKIE, cookie)], Json(Shown::of(caller, Some(session)))).into_response())
}

/// Who asks.
#[utoipa::path(get, path = "/api/v1/session", tag = "access", responses(
    (status = 200, description = "The token, and what it may do", body = Shown),
))]
async fn show(caller: Extension<Caller>, session: Option<Extension<Session>>) -> Json<Shown> {
    Json(Shown::of(caller.0, session.map(|session| session.0)))
}

/// Log out: ends the session.
#[utoipa::path(delete, path = "/api/v1/session", tag = "access", responses(
    (status = 204, description = "It has ended", headers(("Set-Cookie" = String, description = "Takes the cookie away"))),
    (status = 400, description = "There is no session: the request came with a token"),
))]
async fn log_out(State(door): State<Door>, cookie: Option<Extension<Cookie>>) -> Result<Response, Problem> {
    let Some(Extension(Cookie(cookie))) = cookie else {
        return Err(Problem::bad("there is no session to end: this request came with a token"));
    };
    door.auth.log_out(&cookie);
    let https = door.settings.borrow().is_https();
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, no_cookie(https)?)]).into_response())
}
