//! Log in, log out, and who am I.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    token: String,
}

/// Who asks, and of a session what it needs to change something.
#[derive(Serialize)]
struct Shown {
    token: TokenName,
    scopes: Rights,
    groups: Vec<GroupName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    csrf: Option<String>,
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

async fn show(caller: Extension<Caller>, session: Option<Extension<Session>>) -> Json<Shown> {
    Json(Shown::of(caller.0, session.map(|session| session.0)))
}

async fn log_out(State(door): State<Door>, cookie: Option<Extension<Cookie>>) -> Result<Response, Problem> {
    let Some(Extension(Cookie(cookie))) = cookie else {
        return Err(Problem::bad("there is no session to end: this request came with a token"));
    };
    door.auth.log_out(&cookie);
    let https = door.settings.borrow().is_https();
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, no_cookie(https)?)]).into_response())
}
