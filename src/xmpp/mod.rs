//! The XMPP session: an adapter of dispatch's [`Messenger`](crate::dispatch::Messenger) port on tokio-xmpp's stream layer.
//!
//! ```text
//! Handle ── letters ──► actor: establish ─► session ─► wait ─► again         (actor.rs)
//!                         │        │           │
//!                         │        │           └ wire, stanza, inbound, answers, archive, roster, rooms (room)
//!                         │        └ targets, connect, login, bind
//!                         └ core: what outlives a stream: ledger (sm.rs), window (handle.rs), outbox
//! ```
//! One task owns the stream. It never ends before it is cancelled, never blocks the sender, and keeps the stream alive while
//! dispatch is slow. Letters in flight are told of as accepted or as lost, each exactly once.

mod actor;
mod answers;
mod archive;
mod bind;
mod connect;
mod core;
mod establish;
mod failure;
mod handle;
mod inbound;
mod login;
mod node;
mod outbox;
mod receive;
mod room;
mod rooms;
mod roster;
mod session;
mod sm;
mod stanza;
mod targets;
mod wire;
mod xml;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::dispatch::Events;
use crate::model::{BareJid, Secret, Show};
use crate::net::{self, Road, TlsError, TlsMode};

pub use handle::Handle;

/// Events that the channel to dispatch holds; more wait in the session.
const EVENTS: usize = 1024;

/// The settings cannot work.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address has no user part.
    #[error("[xmpp] jid = \"{0}\" has no user; it looks like alerts@example.org")]
    NoUser(BareJid),
    /// The resource cannot be one.
    #[error("[xmpp] resource = \"{0}\" cannot be a resource (RFC 7622)")]
    Resource(String),
    /// The CA file cannot be used, or TLS cannot be set up.
    #[error("[xmpp] {0}")]
    Tls(#[from] TlsError),
}

/// Starts the session keeper: the sending side, the telling side, and the task, which ends about a second after `cancel`.
pub fn start(settings: Settings, cancel: CancellationToken) -> Result<(Handle, Events, JoinHandle<()>), StartError> {
    if settings.jid.node().is_none() {
        return Err(StartError::NoUser(settings.jid));
    }
    if settings.jid.with_resource_str(&settings.resource).is_err() {
        return Err(StartError::Resource(settings.resource));
    }
    let road = Road::network(net::client_config(settings.ca_file.as_deref())?);
    Ok(start_over(settings, road, cancel))
}

/// As [`start`], without a check, and over another road than the settings' own: tests play the server.
pub fn start_over(settings: Settings, road: Road, cancel: CancellationToken) -> (Handle, Events, JoinHandle<()>) {
    let (handle, gate) = handle::window(settings.window);
    let (sender, events) = mpsc::channel(EVENTS);
    let core = core::Core::new(Arc::new(settings), road, gate, outbox::Outbox::new(sender));
    let task = tokio::spawn(actor::Actor::new(core, cancel).run());
    (handle, events, task)
}

/// What may change while the session lives.
#[derive(Debug, Clone)]
pub struct Change {
    /// The recipients.
    pub contacts: Vec<BareJid>,
    /// Those that are rooms.
    pub rooms: Vec<Room>,
    /// Where these changed: password and trust anchors from the next sign-in on.
    pub credentials: Option<Credentials>,
}

/// How the next session signs in.
#[derive(Debug, Clone)]
pub struct Credentials {
    password: Secret,
    tls: Arc<ClientConfig>,
}

impl Credentials {
    /// Those of the settings.
    ///
    /// # Errors
    /// The CA file cannot be used.
    pub fn of(settings: &Settings) -> Result<Self, TlsError> {
        Ok(Self { password: settings.password.clone(), tls: net::client_config(settings.ca_file.as_deref())? })
    }
}

/// `[xmpp]` of the config, and who the recipients are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Our account; its domain is what the certificate must be for.
    pub jid: BareJid,
    /// Its password.
    pub password: Secret,
    /// Servers tried in turn; empty: SRV records of the JID's domain.
    pub servers: Vec<(String, u16)>,
    /// STARTTLS, direct TLS, or none (loopback only unless `allow_plaintext`).
    pub tls: TlsMode,
    /// Allows `tls = "none"` beyond loopback.
    pub allow_plaintext: bool,
    /// Extra trust anchors, PEM.
    pub ca_file: Option<PathBuf>,
    /// Name for SNI and the certificate instead of the JID's domain.
    pub tls_name: Option<String>,
    /// Allows SASL PLAIN (inside TLS) where the server offers no SCRAM.
    pub allow_plain: bool,
    /// Presence that the bot shows.
    pub show: Show,
    /// Its status text.
    pub status: String,
    /// Fixed resource: a new session replaces the old one, and receipts still find us.
    pub resource: String,
    /// Most letters written and not acknowledged.
    pub window: usize,
    /// Silence after which the server is asked for a sign of life; as long again without one, the link is dead.
    pub ping_after: Duration,
    /// Longest wait for a connection to come up, TLS and login included.
    pub connect_timeout: Duration,
    /// Configured recipients: subscriptions are asked of them and accepted from nobody else.
    pub contacts: Vec<BareJid>,
    /// Configured recipients that are rooms: they are joined, and stay joined.
    pub rooms: Vec<Room>,
}

/// A room that is a recipient (XEP-0045).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Its address.
    pub jid: BareJid,
    /// Our name in it; where it is taken, a number is put behind it.
    pub nick: String,
    /// Its password, where it has one.
    pub password: Option<Secret>,
}
