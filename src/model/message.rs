//! One raw mail, as fetched and stored.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{MailboxName, TokenName};

/// Where an alert came in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// A monitored mailbox.
    Mailbox(MailboxName),
    /// The probe engine.
    Probe,
    /// The HTTP API, by the token that was used.
    Api(TokenName),
}

/// `mailbox:NAME`, `probe`, `api:TOKEN`: what the `source` matcher of a route sees.
impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mailbox(name) => write!(f, "mailbox:{name}"),
            Self::Probe => f.write_str("probe"),
            Self::Api(token) => write!(f, "api:{token}"),
        }
    }
}

/// As it is shown.
impl std::str::FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "probe" => Ok(Self::Probe),
            _ => match (text.strip_prefix("mailbox:").map(str::parse), text.strip_prefix("api:").map(str::parse)) {
                (Some(Ok(name)), _) => Ok(Self::Mailbox(name)),
                (_, Some(Ok(name))) => Ok(Self::Api(name)),
                _ => Err(format!("`{text}` is no source; allowed: mailbox:NAME, probe, api:TOKEN")),
            },
        }
    }
}

/// Where a mail stands in its mailbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cursor {
    /// RFC 3501 §2.3.1.1: unique while UIDVALIDITY stays.
    Imap {
        /// Generation of the folder's UIDs.
        uidvalidity: u32,
        /// UID in it.
        uid: u32,
    },
    /// RFC 1939 §7. Servers may use content hashes, so the store retires a UIDL that is gone from a listing.
    Pop3 {
        /// Unique-id listing, 1 to 70 printable characters.
        uidl: String,
    },
    /// Handed in (RFC 2033), not fetched: there is no place that it could be found in again.
    Lmtp {
        /// Made up at random for each mail; the rows that it was stored as for several mailboxes share it.
        delivery: String,
    },
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Imap { uidvalidity, uid } => write!(f, "{uidvalidity}/{uid}"),
            Self::Pop3 { uidl } => write!(f, "{}", uidl.escape_default()),
            Self::Lmtp { delivery } => write!(f, "lmtp/{}", delivery.escape_default()),
        }
    }
}

/// One mail as a mailbox gives it: what D1 stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Where it stands.
    pub cursor: Cursor,
    /// The raw mail; only its headers where `oversize` says so.
    pub raw: Vec<u8>,
    /// INTERNALDATE; POP3 has none.
    pub internal_date: Option<Timestamp>,
    /// Over `max_size`: its size in bytes as far as it is known. Such a mail is quarantined.
    pub oversize: Option<u64>,
}

/// What tells that a mail was seen before, whatever its cursor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MailDigest {
    /// Message-ID without angle brackets; `None` where there is none, and then only the same raw mail counts, and only
    /// after a UIDVALIDITY change.
    pub message_id: Option<String>,
    /// Date header, as an instant.
    pub date: Option<Timestamp>,
    /// SHA-256 of the body (everything after the header).
    pub body_sha256: [u8; 32],
}

/// State of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageState {
    /// Stored (D1), not parsed yet.
    Ready,
    /// Its alerts are committed (D2).
    Parsed,
    /// No alert by its nature: a bounce, an auto-reply, our own notice.
    Ignored,
    /// From a sender who is not allowed.
    Rejected,
    /// Older than `max_age` when it was found.
    Stale,
    /// Could not be parsed; kept raw, with the reason.
    Quarantined,
    /// Seen before.
    Duplicate,
}

impl MessageState {
    /// The name used in the store and in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Parsed => "parsed",
            Self::Ignored => "ignored",
            Self::Rejected => "rejected",
            Self::Stale => "stale",
            Self::Quarantined => "quarantined",
            Self::Duplicate => "duplicate",
        }
    }
}
