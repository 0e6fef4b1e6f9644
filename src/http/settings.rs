//! `[http]` of the config.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `[http]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// Certificate chain and key, PEM.
    pub tls: Option<TlsFiles>,
    /// Requests come through a proxy of ours: it speaks TLS with the clients, and `X-Forwarded-For` names them.
    pub behind_proxy: bool,
    /// Old pages may ask for the status of groups without a token.
    pub legacy_open: bool,
    /// Largest body of a request, bytes.
    pub max_body: usize,
    /// Requests a second that one token may make; 0: any number.
    pub rate: u32,
    /// Connections at a time.
    pub max_connections: usize,
    /// Longest wait for a handshake, for a request's header, for its body, and for a client that takes nothing of the answer.
    pub timeout: Duration,
    /// The event stream.
    pub events: EventSettings,
}

/// The event stream, and its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSettings {
    /// Events that are kept for who comes back.
    pub kept: u64,
    /// Listeners at a time.
    pub subscribers: usize,
    /// A sign of life after so long without an event.
    pub keep_alive: Duration,
    /// So much of the header and of the body of a mail is told, bytes; 0: nothing.
    pub body: usize,
}

/// Where the certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Settings {
    /// Do clients reach it by `https://`?
    pub fn is_https(&self) -> bool {
        self.tls.is_some() || self.behind_proxy
    }
}
