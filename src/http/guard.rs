//! What stands before each handler: who asks, whether they may, how often, and the body whole and in time.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::auth::{Caller, Pass, Session};
use super::frame::Client;
use super::table::Access;
use super::{Door, Settings};
use crate::control::Problem;

/// Cookie of a session; over TLS the browser sees to it that nobody but us sets it.
const COOKIE: &str = "mailbell_session";
const COOKIE_HTTPS: &str = "__Host-mailbell_session";

/// Header that repeats the CSRF token of a session.
const CSRF: &str = "x-csrf-token";

/// Largest body where nobody has to be known, bytes.
const OPEN_BODY: usize = 4096;

/// One endpoint's.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) door: Door,
    pub(super) access: Access,
    /// KiB of bodies that may still be held.
    pub(super) bodies: Arc<Semaphore>,
}

/// The cookie of a request's session, for who ends it.
#[derive(Debug, Clone)]
pub(super) struct Cookie(pub(super) String);

/// Handlers get [`Caller`], of a session also [`Session`] and [`Cookie`], as extensions, and the whole body.
pub(super) async fn pass(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let Guard { door, access, bodies } = guard;
    let settings = door.settings.borrow().clone();
    match admit(&door, &settings, access, &bodies, request).await {
        // What was held of the body counts until it is answered.
        Ok((request, _held)) => {
            panics_on_demand();
            next.run(request).await
        }
        Err(problem) => {
            // Whoever has not sent all of it is not listened to any more.
            let close = matches!(problem.status, 408 | 413);
            let mut response = problem.into_response();
            if close {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }
}

/// For a test: a mistake of ours, which no request is known to find.
#[allow(clippy::panic)]
fn panics_on_demand() {
    fail::fail_point!("handler_panics", |_| panic!("on demand"));
}

async fn admit<'a>(
    door: &Door,
    settings: &Settings,
    access: Access,
    bodies: &'a Arc<Semaphore>,
    mut request: Request,
) -> Result<(Request, Option<tokio::sync::SemaphorePermit<'a>>), Problem> {
    let Some(Client(client)) = request.extensions().get().copied() else {
        return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the client is not known"));
    };
    if access == Access::Legacy {
        door.auth.openly(client)?;
    }
    let known = !matches!(access, Access::Open | Access::Legacy);
    let pass = pass_of(request.headers(), settings.is_https());
    let session = match known {
        true => who(door, settings, access, client, request.headers())?,
        false => None,
    };
    if let Some((caller, _)) = &session {
        may(caller, access)?;
        if settings.rate > 0 {
            door.auth.within_rate(&caller.name, settings.rate)?;
        }
    }
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let most = if known { settings.max_body } else { OPEN_BODY.min(settings.max_body) };
    let (parts, body) = request.into_parts();
    let (body, held) = match changes {
        true => whole(body, &parts.headers, most, settings, bodies).await?,
        // RFC 9110 §9.3.1: a body of these means nothing.
        false => (Bytes::new(), None),
    };
    if let Some((_, Some((session, _)))) = &session
        && changes
    {
        unforged(session, &parts.headers, &body)?;
    }
    request = Request::from_parts(parts, Body::from(body));
    if let Some((caller, of_cookie)) = session {
        request.extensions_mut().insert(caller);
        if let Some(pass) = pass {
            request.extensions_mut().insert(pass);
        }
        if let Some((session, cookie)) = of_cookie {
            request.extensions_mut().insert(session);
            request.extensions_mut().insert(cookie);
        }
    }
    Ok((request, held))
}

type Who = Option<(Caller, Option<(Session, Cookie)>)>;

/// Who asks; `None`: somebody of this machine, where that is enough.
fn who(door: &Door, settings: &Settings, access: Access, client: IpAddr, headers: &HeaderMap) -> Result<Who, Problem> {
    let now = Timestamp::now();
    if let Some(header) = headers.get(header::AUTHORIZATION) {
        let token = header.to_str().ok().and_then(bearer).ok_or_else(|| {
            let detail = "the header Authorization is not understood; write Authorization: Bearer TOKEN";
            door.auth.failed(client, Problem::new(StatusCode::UNAUTHORIZED, detail).of("Authorization"))
        })?;
        return Ok(Some((door.auth.by_token(token, client, now)?, None)));
    }
    if let Some(cookie) = cookie(headers, settings.is_https()) {
        let (caller, session) = door.auth.by_cookie(cookie, client, now)?;
        return Ok(Some((caller, Some((session, Cookie(cookie.to_owned()))))));
    }
    if matches!(access, Access::Local(_)) && client.is_loopback() && !settings.behind_proxy {
        return Ok(None);
    }
    let detail = "this needs a token: Authorization: Bearer TOKEN; `mailbell token create` makes one";
    Err(door.auth.failed(client, Problem::new(StatusCode::UNAUTHORIZED, detail)))
}

/// What [`who`] looks at.
fn pass_of(headers: &HeaderMap, https: bool) -> Option<Pass> {
    match headers.get(header::AUTHORIZATION) {
        Some(header) => header.to_str().ok().and_then(bearer).map(Pass::token),
        None => cookie(headers, https).map(Pass::session),
    }
}

/// RFC 6750 §2.1; the scheme in any case.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The session's cookie (RFC 6265 §4.2).
fn cookie(headers: &HeaderMap, https: bool) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == cookie_name(https)).map(|(_, value)| value)
}

fn cookie_name(https: bool) -> &'static str {
    if https { COOKIE_HTTPS } else { COOKIE }
}

/// RFC 6265bis §4.1: no script reads it, no other site sends it, and where there is TLS it goes nowhere else.
pub(super) fn set_cookie(https: bool, value: &str) -> Result<HeaderValue, Problem> {
    cookie_header(https, value, "")
}

/// The session has ended: the browser forgets its cookie.
pub(super) fn no_cookie(https: bool) -> Result<HeaderValue, Problem> {
    cookie_header(https, "", "; Max-Age=0")
}

fn cookie_header(https: bool, value: &str, more: &str) -> Result<HeaderValue, Problem> {
    let secure = if https { "; Secure" } else { "" };
    let text = format!("{}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{more}", cookie_name(https));
    HeaderValue::from_str(&text).map_err(|err| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, err.to_string()))
}

fn may(caller: &Caller, access: Access) -> Result<(), Problem> {
    match access {
        Access::Scope(right) | Access::Local(right) if !caller.may(right) => {
            let Caller { name, rights, .. } = caller;
            let detail = format!("token {name} has scope {rights}; this needs {right}");
            Err(Problem::new(StatusCode::FORBIDDEN, detail))
        }
        _ => Ok(()),
    }
}

/// Reads the whole body, which has to come in time; what all bodies together may take is bounded.
async fn whole<'a>(
    body: Body,
    headers: &HeaderMap,
    most: usize,
    settings: &Settings,
    bodies: &'a Arc<Semaphore>,
) -> Result<(Bytes, Option<tokio::sync::SemaphorePermit<'a>>), Problem> {
    let too_large = || {
        let detail = format!("the body is larger than {most} bytes; send less at a time, or raise http.max_body");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    let told = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if told.is_some_and(|told| told > most) {
        return Err(too_large());
    }
    let size = u32::try_from(told.unwrap_or(most).div_ceil(1024)).unwrap_or(u32::MAX);
    let Ok(held) = bodies.try_acquire_many(size) else {
        let detail = "too many requests are being read; try again in a second";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(1));
    };
    match timeout(settings.timeout, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok((body.to_bytes(), Some(held))),
        Ok(Err(err)) if err.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(err)) => Err(Problem::bad(format!("the body broke off: {err}"))),
        Err(_) => {
            let seconds = settings.timeout.as_secs_f32();
            let detail = format!("the body was not there within {seconds} s");
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail).retry_after(1))
        }
    }
}

/// A browser adds the cookie also to what another site makes it send; the CSRF token it does not.
fn unforged(session: &Session, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    let by_header = headers.get(CSRF).and_then(|value| value.to_str().ok());
    let is_form = headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.to_str().is_ok_and(|kind| kind.split(';').next() == Some("application/x-www-form-urlencoded"))
    });
    let form = std::str::from_utf8(body).ok().filter(|_| is_form).unwrap_or_default();
    let by_form = form.split('&').find_map(|pair| pair.strip_prefix("csrf="));
    if by_header.or(by_form).is_some_and(|text| session.is_csrf(text)) {
        return Ok(());
    }
    let detail = "a session needs its CSRF token for this, in the header X-CSRF-Token or the field csrf of a form";
    Err(Problem::new(StatusCode::FORBIDDEN, detail).of("X-CSRF-Token"))
}
