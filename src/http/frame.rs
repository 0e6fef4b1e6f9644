//! What is the same for every request: who the client is, how large a header may be, and what every answer carries.

use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;

use super::{Door, legacy, nothing};
use crate::control::Problem;

/// The other end of the connection, as the listener sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Where the request is from; with a proxy before us: as that says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client(pub(super) IpAddr);

/// Largest header of a request, and largest path with its query, bytes.
const HEADER: usize = 16 << 10;
const TARGET: usize = 8 << 10;

/// Nothing from elsewhere, nothing inline, in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Headers of every answer, unless its handler gave another value.
const ALWAYS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Names the client, and refuses headers that are too large.
pub(super) async fn pass(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let Some(Peer(peer)) = request.extensions().get().copied() else {
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the connection has no address").into_response();
    };
    let behind_proxy = door.settings.borrow().behind_proxy;
    let client = client(peer.ip(), behind_proxy, request.headers());
    request.extensions_mut().insert(Client(client));
    // Whatever the method: what is switched off is not there.
    if request.uri().path() == legacy::PATH && !door.settings.borrow().legacy_open {
        return nothing().into_response();
    }
    if let Some(problem) = too_large(&request) {
        return problem.into_response();
    }
    tracing::debug!(%client, method = %request.method(), path = %request.uri().path().escape_debug(), "request");
    next.run(request).await
}

/// The last address that a proxy added (its own client), where there is one to be believed.
fn client(peer: IpAddr, behind_proxy: bool, headers: &HeaderMap) -> IpAddr {
    let last = || headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?.rsplit(',').next();
    let told = last().filter(|_| behind_proxy).and_then(|text| address(text.trim()));
    told.unwrap_or(peer).to_canonical()
}

/// An address, which some proxies write with its port or in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().ok().or_else(bare).or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

fn too_large(request: &Request) -> Option<Problem> {
    let size: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if size > HEADER {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Some(Problem::new(status, format!("the header has {size} bytes; at most {HEADER} are taken")));
    }
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let long = || Problem::new(StatusCode::URI_TOO_LONG, format!("{target} bytes; at most {TARGET} are taken"));
    (target > TARGET).then(long)
}

/// A handler that panicked is answered for.
pub(super) async fn caught(request: Request, next: Next) -> Response {
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    answered.unwrap_or_else(|_| {
        tracing::error!("a request failed by a fault of mailbell");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a fault of mailbell; its log says more").into_response()
    })
}

/// Puts on what every answer carries.
pub(super) async fn dress(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_whom_the_proxy_names_last() {
        let peer: IpAddr = "127.0.0.1".parse().unwrap();
        let of = |behind_proxy, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", HeaderValue::from_str(line).unwrap());
            }
            client(peer, behind_proxy, &headers).to_string()
        };
        assert_eq!(of(true, &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(of(true, &["203.0.113.9, 192.0.2.1"]), "192.0.2.1", "the first was written by the client");
        assert_eq!(of(true, &["203.0.113.9", "192.0.2.1"]), "192.0.2.1");
        assert_eq!(of(true, &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(of(true, &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(of(true, &["::ffff:192.0.2.1"]), "192.0.2.1");
        assert_eq!(of(true, &["unknown"]), "127.0.0.1");
        assert_eq!(of(true, &[]), "127.0.0.1");
        assert_eq!(of(false, &["192.0.2.1"]), "127.0.0.1", "without a proxy anybody could write it");
    }
}
