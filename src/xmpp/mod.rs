//! The XMPP session: an adapter of dispatch's [`Messenger`](crate::dispatch::Messenger) port on tokio-xmpp's stream layer.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::{BareJid, Secret, Show};
use crate::net::TlsMode;

/// `[xmpp]` of the config, and who the recipients are.
#[derive(Debug, Clone)]
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
}
