//! Every path, with its method and what it takes to use it.

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter};

use super::{Door, api, console, dispatch, events, health, legacy, openapi};
use crate::model::Right;

/// What it takes to use an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Open,
    /// Nothing, with `[http] legacy_open`; without it there is nothing there.
    Legacy,
    /// Any token that is in force, or a session made with one.
    Known,
    /// A token of this scope, or a session made with one.
    Scope(Right),
    /// From this machine nothing (unless a proxy stands before us: then everybody comes from here), else this scope.
    Local(Right),
}

/// One line of the table.
pub struct Endpoint {
    /// Method; GET is also HEAD.
    pub method: Method,
    /// Path, with `{name}` for what varies.
    pub path: &'static str,
    /// What it takes.
    pub access: Access,
    pub(super) handler: MethodRouter<Door>,
}

/// A line of the table.
pub(super) fn on<H, T>(method: Method, path: &'static str, access: Access, handler: H) -> Endpoint
where
    H: Handler<T, Door>,
    T: 'static,
{
    let filter = match method {
        Method::POST => MethodFilter::POST,
        Method::PUT => MethodFilter::PUT,
        Method::PATCH => MethodFilter::PATCH,
        Method::DELETE => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    };
    Endpoint { method, path, access, handler: axum::routing::on(filter, handler) }
}

/// The table: a resource's lines stand with its handlers.
pub fn endpoints() -> Vec<Endpoint> {
    let parts = [
        health::endpoints(),
        api::endpoints(),
        dispatch::endpoints(),
        events::endpoints(),
        legacy::endpoints(),
        openapi::endpoints(),
        console::endpoints(),
    ];
    parts.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nothing_is_open_but_health_the_logins_and_what_pages_are_made_of() {
        let open: Vec<_> = endpoints().into_iter().filter(|e| e.access == Access::Open).map(|e| e.path).collect();
        assert_eq!(open, ["/healthz", "/api/v1/session", "/", "/console/assets/{file}", "/login", "/login"]);
        let legacy: Vec<_> = endpoints().into_iter().filter(|e| e.access == Access::Legacy).map(|e| e.path).collect();
        assert_eq!(legacy, ["/webclient"]);
    }

    #[test]
    fn each_stands_there_once() {
        let mut seen = HashSet::new();
        for endpoint in endpoints() {
            assert!(seen.insert((endpoint.method.clone(), endpoint.path)), "{} {}", endpoint.method, endpoint.path);
        }
    }
}
