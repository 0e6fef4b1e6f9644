//! The HTTP door of the service, for other systems and for people with a browser.
//!
//! [`table`] lists every path with its method and what it takes to use it; the router is made of that list and of nothing else.
//! A request passes, in this order: the listener (connections, TLS, slow clients), the frame (who the client is, the size of the
//! header, what every answer carries), the guard (token or session, scope, rate, CSRF, the body whole and in time), its handler.
//!
//! Errors are problem details (RFC 9457) wherever they arise, with `field` where one is at fault; a browser gets them as a page.

mod api;
mod auth;
mod console;
mod dispatch;
mod events;
mod frame;
mod guard;
mod health;
mod legacy;
mod limits;
mod listener;
mod openapi;
mod patient;
mod people;
mod settings;
mod table;

pub use api::{Asked, ProbeRow, Watched};
pub use auth::{Auth, Caller, Session, new_token, sha256};
pub use dispatch::Dispatch;
pub use events::Feed;
pub use listener::{Listener, Parts, serve};
pub use openapi::openapi;
pub use people::{Group, People, Person};
pub use settings::{EventSettings, Settings, TlsFiles};
pub use table::{Access, Endpoint, endpoints};

pub use crate::control::Problem;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::{Extension, Router};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::queue::{Desk, Search};

/// Bytes of request bodies that are held at a time, in KiB.
const BODIES: usize = 64 << 10;

/// What requests are answered with.
#[derive(Clone)]
pub struct Door {
    /// The config in force.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Who may do what.
    pub auth: Arc<Auth>,
    /// Takes alerts.
    pub dispatch: Arc<dyn Dispatch>,
    /// Knows who is told, and where they are.
    pub people: Arc<dyn People>,
    /// How the service is.
    pub metrics: Arc<Metrics>,
    /// The queue, for people.
    pub desk: Arc<dyn Desk>,
    /// What is asked of the store.
    pub search: Arc<dyn Search>,
    /// The mailboxes and the probes.
    pub watched: Arc<dyn Watched>,
    /// Notified after whatever dispatch should look at.
    pub poke: Arc<Notify>,
    /// Notified where a mail is to be parsed.
    pub stored: Arc<Notify>,
    /// What happens, as it happens.
    pub feed: Arc<Feed>,
    /// The service ends: what would go on for long ends as well.
    pub ending: CancellationToken,
}

/// No path of the table.
fn nothing() -> Problem {
    Problem::missing("there is nothing at this path")
}

/// Everything that the table lists.
pub fn router(door: Door) -> Router {
    let bodies = Arc::new(Semaphore::new(BODIES));
    let mut router = Router::new();
    for endpoint in endpoints() {
        let guard = guard::Guard { door: door.clone(), access: endpoint.access, bodies: bodies.clone() };
        router = router.route(endpoint.path, endpoint.handler.route_layer(from_fn_with_state(guard, guard::pass)));
    }
    router
        .fallback(async || nothing())
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method; see the header Allow")
        })
        .layer(Extension(door.metrics.clone()))
        .layer(from_fn_with_state(door.clone(), frame::pass))
        .layer(from_fn(frame::caught))
        .layer(from_fn(console::for_people))
        .layer(from_fn(frame::dress))
        .with_state(door)
}
