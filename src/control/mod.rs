//! The door of the running service for people's commands: HTTP on a Unix socket beside the store, for its owner alone.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /v1/notifications?state=&recipient=&alert=&after=&limit=` | notifications, by number; `state` may list several |
//! | `GET /v1/notifications/{id}` | one of them |
//! | `POST /v1/notifications/{id}/retry` | send it now |
//! | `POST /v1/notifications/{id}/expire` | end it; body `{"reason": "…"}` |
//! | `GET /v1/alerts/{id}` | an alert by short id, with its notifications and timeline |
//! | `POST /v1/alerts/{id}/resolve`, `/v1/conditions/{id}/resolve` | end what is open of it; body `{"reason": "…"}`; `null`: it is not there |
//! | `GET /v1/recipients/{name}` | whether the config in force has them |
//! | `GET /v1/quarantine?after=&limit=` | quarantined messages |
//! | `GET /v1/quarantine/{id}` | one of them |
//! | `GET /v1/quarantine/{id}/raw` | its mail |
//! | `POST /v1/quarantine/{id}/replay` | parse it anew |
//! | `POST /v1/archive` | a page of everything that was sent; body: what is looked for |
//! | `GET /v1/tokens` | the HTTP API's tokens, as they are kept |
//! | `POST /v1/tokens` | keep another one; body: the same, with its SHA-256 |
//! | `DELETE /v1/tokens/{name}` | revoke it |
//! | `GET /v1/metrics`, `/v1/healthz`, `/v1/readyz`, `/v1/status` | see [`metrics::web`](crate::metrics::web) |
//! | `POST /v1/reload` | read the config again: what changed, or 422 with all its errors |
//!
//! Errors are problem details (RFC 9457). [`Remote`] is the other end: the same [`Desk`](crate::queue::Desk), over the socket.

mod client;
mod office;
mod problem;
mod reload;
mod router;
mod tokens;

pub use client::Remote;
pub use office::Office;
pub use problem::Problem;
pub use reload::{Change, Kept, MailboxChange, Reload, Reloaded, RemovedRecipient};
pub use router::{Door, router};

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

/// After the end was asked for, requests in progress have so long.
const GRACE: Duration = Duration::from_secs(1);

/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;

/// Where the socket of a store stands: `PATH.sock`.
pub fn socket_path(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".sock");
    name.into()
}

/// The socket, listening. Removed when dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    listener: Option<UnixListener>,
}

impl Socket {
    /// Binds it, 0600 from its first moment. What a dead process left there is replaced: whoever calls this holds the
    /// store's lock, so no living one can be behind it.
    ///
    /// # Errors
    /// The directory is not writable, or the path is longer than a socket's may be (107 bytes).
    pub fn bind(path: &Path) -> io::Result<Self> {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
        let named = |err: io::Error| io::Error::new(err.kind(), format!("control socket {}: {err}", path.display()));
        match std::fs::remove_file(path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(named(err)),
            _ => {}
        }
        let bound = || -> io::Result<UnixListener> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let fd: OwnedFd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            // Before the bind: Linux gives the file the mode of the socket.
            rustix::fs::fchmod(&fd, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
            rustix::net::bind(&fd, &SocketAddrUnix::new(path)?)?;
            rustix::net::listen(&fd, BACKLOG)?;
            UnixListener::from_std(fd.into())
        };
        Ok(Self { path: path.to_owned(), listener: Some(bound().map_err(named)?) })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(err) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %err, "the control socket was gone already");
        }
    }
}

/// Answers with these until cancelled: [`router`]'s, and what is merged into them.
///
/// # Errors
/// None in the course of things: a connection that fails ends alone.
pub async fn serve(mut socket: Socket, answers: axum::Router, cancel: CancellationToken) -> io::Result<()> {
    let Some(listener) = socket.listener.take() else { return Ok(()) };
    let asked = cancel.clone();
    let served = axum::serve(listener, answers).with_graceful_shutdown(async move { asked.cancelled().await });
    let overdue = async {
        cancel.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        done = served.into_future() => done,
        () = overdue => Ok(()),
    }
}
