//! Problems, for people: whoever asks for a page gets them as one; and who is not logged in gets the login.

use askama::Template;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{HOME, assets, page};
use crate::control::Problem;

/// Largest problem, bytes: most of it is a sentence.
const LARGEST: usize = 64 << 10;

/// Makes a page of a problem.
pub(in crate::http) async fn for_people(request: Request, next: Next) -> Response {
    let is_page = wants_page(request.uri(), request.headers());
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
    if !is_page || kind != Some(b"application/problem+json") {
        return response;
    }
    if response.status() == StatusCode::UNAUTHORIZED && matches!(method, Method::GET | Method::HEAD) {
        return login(&uri);
    }
    told(response).await
}

/// Programs ask the API, and get what they can read.
fn wants_page(uri: &Uri, headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accepted.contains("text/html") && !uri.path().starts_with("/api/")
}

fn login(uri: &Uri) -> Response {
    let wanted = uri.path_and_query().map_or(HOME, |path| path.as_str());
    let to = match super::local(wanted) {
        HOME => "/login".to_owned(),
        wanted => format!("/login?next={}", utf8_percent_encode(wanted, NON_ALPHANUMERIC)),
    };
    Redirect::to(&to).into_response()
}

/// `error.html`
#[derive(Template)]
#[template(path = "error.html", config = "src/http/console/askama.toml")]
struct Told {
    style: String,
    icon: String,
    problem: Problem,
    /// What a person does about it.
    advice: &'static str,
    /// Logging in may help.
    login: bool,
}

async fn told(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    let read = to_bytes(body, LARGEST).await.ok().and_then(|bytes| serde_json::from_slice::<Problem>(&bytes).ok());
    let problem = read.unwrap_or_else(|| Problem::new(head.status, "there is nothing more to say about it"));
    let advice = advice(problem.status);
    let login = problem.status == 401;
    let told = Told { style: assets::href("style.css"), icon: assets::href("icon.svg"), problem, advice, login };
    let Ok(page) = page(&told) else { return head.status.into_response() };
    let (new, body) = page.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.extend(new.headers);
    Response::from_parts(head, body)
}

/// What to do next.
fn advice(status: u16) -> &'static str {
    match status {
        401 => "Log in, and do it again.",
        403 => "Ask whoever runs mailbell for a token that may do this, or log in again.",
        404 | 410 => "It may have been purged, or the address is mistyped.",
        409 => "It has changed meanwhile. Look at it again.",
        429 | 503 => "Wait a little, and load the page again.",
        507 => "Make room on the disk of the store.",
        500..=599 => "The log of mailbell says more; `mailbell status` tells how it is.",
        _ => "Go back, and mend what it says.",
    }
}
