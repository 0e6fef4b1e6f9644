//! The monitored mailbox: a port with one value for each connection, and its adapters for IMAP and POP3.

mod check;
mod common;
mod connect;
mod failure;
mod imap;
mod imap_guard;
mod imap_login;
mod imap_session;
mod imap_wire;
mod imap_words;
mod imap_work;
mod login;
mod oauth;
mod pop3;
mod pop3_login;
mod pop3_session;
mod pop3_wire;
mod port;
mod watch;

pub use check::check;
pub use oauth::{ClientAuth, Endpoint, TokenSource, check_token_url};
pub use port::{Clearing, Entry, Failure, Generation, Listing, Mailbox, MailboxError, Mark, Woke};
pub use watch::{NOOP, NOOP_AFAR, Watch, is_near};

use std::path::PathBuf;
use std::time::Duration;

use crate::model::{MailboxName, Secret};
use crate::net::{Road, TlsMode};

/// Which protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 3501 / 9051.
    Imap,
    /// RFC 1939.
    Pop3,
}

/// What a mailbox is logged in to with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// A password.
    Password(Secret),
    /// An OAuth 2.0 access token, by SASL XOAUTH2.
    Xoauth2(TokenSource),
}

/// What happens in the mailbox to a mail that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    Keep,
    /// `\Seen`.
    Seen,
    /// To that folder, created where it is missing.
    Move(String),
    /// Deleted.
    Delete,
}

/// The connection part of a `[[mailbox]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its name.
    pub name: MailboxName,
    /// IMAP or POP3.
    pub protocol: Protocol,
    /// Host to dial.
    pub host: String,
    /// Port to dial.
    pub port: u16,
    /// TLS from the first byte, by STARTTLS/STLS, or none.
    pub tls: TlsMode,
    /// Extra trust anchors, PEM.
    pub ca_file: Option<PathBuf>,
    /// Name that the certificate must carry; the host where `None`.
    pub tls_name: Option<String>,
    /// Allows `tls = "none"` beyond loopback.
    pub allow_plaintext: bool,
    /// Login name.
    pub user: String,
    /// What it logs in with.
    pub auth: Auth,
    /// IMAP folder.
    pub folder: String,
    /// How a new mail is noticed.
    pub watch: Watch,
    /// What happens to a mail that is stored.
    pub after: After,
    /// Where mails of senders who are not allowed are moved.
    pub rejected: Option<String>,
    /// Larger mails are not fetched whole, bytes.
    pub max_size: u64,
    /// IDLE is issued again after this.
    pub idle_for: Duration,
    /// Longest wait for the server's next byte.
    pub timeout: Duration,
}

/// The mailbox of these settings. Nothing is dialled yet: the adapter connects when it is first asked for something, and again
/// after an error. Fails where the settings cannot work: what [`check`] says, or a `ca_file` that is no PEM.
pub fn open(settings: Settings) -> Result<Box<dyn Mailbox>, MailboxError> {
    if let Some(fault) = check(&settings).into_iter().next() {
        return Err(MailboxError::permanent(fault));
    }
    Ok(adapter(connect::Dialer::new(settings)?))
}

/// As [`open`], without a check, and over another road than the settings' own: tests play the server.
pub fn open_over(settings: Settings, road: Road) -> Box<dyn Mailbox> {
    adapter(connect::Dialer::over(settings, road))
}

fn adapter(dialer: connect::Dialer) -> Box<dyn Mailbox> {
    match dialer.settings.protocol {
        Protocol::Imap => Box::new(imap::ImapMailbox::new(dialer)),
        Protocol::Pop3 => Box::new(pop3::Pop3Mailbox::new(dialer)),
    }
}
