//! Log in with a token, and log out.

use askama::Template;
use axum::Extension;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use jiff::Timestamp;
use serde::Deserialize;

use super::{assets, filled, local, page};
use crate::control::Problem;
use crate::http::Door;
use crate::http::frame::Client;
use crate::http::guard::{Cookie, no_cookie, set_cookie};
use crate::http::table::{Access, Endpoint, on};
use crate::model::Secret;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        on(Method::GET, "/login", Access::Open, show),
        on(Method::POST, "/login", Access::Open, log_in),
        on(Method::POST, "/logout", Access::Known, log_out),
    ]
}

/// `login.html`
#[derive(Template)]
#[template(path = "login.html", config = "src/http/console/askama.toml")]
struct Login<'a> {
    style: String,
    icon: String,
    /// Where to go then.
    next: &'a str,
    /// Why it did not work.
    refused: Option<&'a str>,
    /// Is there any token at all?
    has_tokens: bool,
    /// They logged out.
    out: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    next: String,
    out: bool,
}

fn login<'a>(door: &Door, next: &'a str, refused: Option<&'a str>, out: bool) -> Result<Response, Problem> {
    let has_tokens = door.auth.has_tokens();
    let (style, icon) = (assets::href("style.css"), assets::href("icon.svg"));
    page(&Login { style, icon, next: local(next), refused, has_tokens, out })
}

async fn show(State(door): State<Door>, asked: Result<Query<Asked>, QueryRejection>) -> Result<Response, Problem> {
    let Asked { next, out } = asked.map(|query| query.0).unwrap_or_default();
    login(&door, &next, None, out)
}

#[derive(Deserialize)]
struct Filled {
    token: String,
    #[serde(default)]
    next: String,
}

async fn log_in(
    State(door): State<Door>,
    Extension(Client(client)): Extension<Client>,
    headers: HeaderMap,
    form: Result<Form<Filled>, FormRejection>,
) -> Result<Response, Problem> {
    of_this_site(&headers)?;
    let Filled { token, next } = filled(form)?;
    let token = Secret::new(token);
    match door.auth.log_in(token.expose().trim(), client, Timestamp::now()) {
        Ok((_, _, cookie)) => {
            let https = door.settings.borrow().is_https();
            let cookie = set_cookie(https, cookie.expose())?;
            Ok(([(header::SET_COOKIE, cookie)], Redirect::to(local(&next))).into_response())
        }
        Err(problem) => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::UNAUTHORIZED);
            let retry = problem.retry_after.map(|seconds| [(header::RETRY_AFTER, seconds.to_string())]);
            Ok((status, retry, login(&door, &next, Some(&problem.detail), false)?).into_response())
        }
    }
}

/// Another site must not log a person in as somebody else. Browsers say whose form it is wherever the connection can be trusted
/// (Fetch Metadata, `Sec-Fetch-Site`).
fn of_this_site(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get("sec-fetch-site").map(|site| site.as_bytes()) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(Problem::new(StatusCode::FORBIDDEN, "another site sent this form; log in at this page")),
    }
}

async fn log_out(State(door): State<Door>, cookie: Option<Extension<Cookie>>) -> Result<Response, Problem> {
    let Some(Extension(Cookie(cookie))) = cookie else {
        return Err(Problem::bad("there is no session to end: this request came with a token"));
    };
    door.auth.log_out(&cookie);
    let https = door.settings.borrow().is_https();
    Ok(([(header::SET_COOKIE, no_cookie(https)?)], Redirect::to("/login?out=true")).into_response())
}
