//! Connections: how many, TLS, and an end to those that are slow.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::frame::Peer;
use super::patient::Patient;
use super::{Door, router};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// Between two tries to accept, after one that failed.
const PAUSE: Duration = Duration::from_millis(100);
/// A header larger than this is refused before it is looked at; see also the frame.
const BUFFER: usize = 64 << 10;
const HEADERS: usize = 100;

const CROWDED: &str = "{\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"too many connections; come again\",\
    \"retry_after\":1}";

/// Bound, and listening.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Binds it.
    ///
    /// # Errors
    /// The address is in use, or not of this machine; the text names it.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let bound = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // A restart does not wait for the connections of the last run to be forgotten.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        let named = |err: io::Error| io::Error::new(err.kind(), format!("cannot listen on {address}: {err}"));
        bound().map(Self).map_err(named)
    }
}

/// What a listener serves with.
pub struct Parts {
    /// Where.
    pub listener: Listener,
    /// Connections at a time: `max_connections`, where the process may have so many open files.
    pub places: usize,
    /// What requests are answered with.
    pub door: Door,
    /// TLS, for each connection as it is then.
    pub tls: watch::Receiver<Option<Arc<ServerConfig>>>,
}

/// Answers until cancelled, and then until what is under way is answered.
pub async fn serve(parts: Parts, cancel: CancellationToken) {
    let Parts { listener: Listener(listener), places, door, tls } = parts;
    let router = router(door.clone());
    let places = Arc::new(Semaphore::new(places));
    let mut connections = JoinSet::new();
    let mut crowded = false;
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            // What has ended makes room.
            Some(ended) = connections.join_next() => {
                told(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(err) => {
                tracing::warn!(%err, "no HTTP connection can be taken; tried again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let acceptor = tls.borrow().clone().map(TlsAcceptor::from);
        let Ok(place) = places.clone().try_acquire_owned() else {
            if !std::mem::replace(&mut crowded, true) {
                tracing::warn!(%peer, "too many HTTP connections: further ones are refused (http.max_connections)");
            }
            turn_away(stream, acceptor.is_some()).await;
            continue;
        };
        crowded &= places.available_permits() == 0;
        // Comfort: a socket that refuses it still works.
        let _ = stream.set_nodelay(true);
        let (router, cancel) = (router.clone(), cancel.clone());
        let limit = door.settings.borrow().timeout;
        connections.spawn(async move {
            let _place = place;
            match acceptor {
                None => talk(stream, peer, router, limit, cancel).await,
                Some(acceptor) => match timeout(limit, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => talk(stream, peer, router, limit, cancel).await,
                    Ok(Err(err)) => tracing::debug!(%peer, %err, "no TLS handshake"),
                    Err(_) => tracing::debug!(%peer, "no TLS handshake in time"),
                },
            }
        });
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        told(ended);
    }
}

async fn talk<S>(stream: S, peer: SocketAddr, router: Router, limit: Duration, cancel: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let answer = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| named(&answer, request, peer));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limit).max_buf_size(BUFFER).max_headers(HEADERS);
    let stream = TokioIo::new(Patient::new(stream, limit));
    let mut connection = pin!(builder.serve_connection(stream, service));
    let done = tokio::select! {
        done = connection.as_mut() => done,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(err) = done {
        tracing::debug!(%peer, %err, "a connection ended early");
    }
}

/// The request with the address that it is from.
fn named(
    answer: &TowerToHyperService<Router>,
    mut request: Request<Incoming>,
    peer: SocketAddr,
) -> impl Future<Output = Result<Response, Infallible>> + use<> {
    request.extensions_mut().insert(Peer(peer));
    answer.call(request)
}

/// A connection that panicked ends alone.
fn told(ended: Result<(), tokio::task::JoinError>) {
    if let Err(err) = ended {
        tracing::error!(%err, "an HTTP connection failed");
    }
}

/// Inside TLS nothing is said: that would take a handshake.
async fn turn_away(mut stream: TcpStream, tls: bool) {
    if tls {
        return;
    }
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{CROWDED}",
        CROWDED.len()
    );
    // A fresh socket has room for it: this does not wait.
    if let Err(err) = stream.write_all(answer.as_bytes()).await {
        tracing::debug!(%err, "it was gone already");
    }
}
