//! The LMTP door (RFC 2033): a mail server on this machine or network hands mails straight to the queue.
//!
//! * `250` is said only after D1; what cannot be stored gets `451`, and the mail server keeps it and comes again.
//! * Each address belongs to one `[[mailbox]]` with `protocol = "lmtp"`, whose settings apply. One mail for several addresses
//!   of one mailbox is one message; for several mailboxes it is one message each, in one commit, and each recipient gets an
//!   answer of its own.
//! * Whatever waits is bounded: connections, time for a line or a mail, bytes of mail held in memory, messages that wait to be
//!   parsed. A sender that is too fast is made to wait first, and refused for now (`452`) only then.
//! * A mail whose `250` got lost comes again, and is found to be a duplicate like one that was fetched twice.
//!
//! [`protocol`] is the conversation: pure, fed with bytes. The rest is the loops around it.

mod commit;
mod connection;
mod door;
pub mod protocol;
mod room;
mod socket;

pub use door::{Door, Shared};
pub use protocol::{Address, BadAddress, Book, Mailbox};
pub use socket::{Listen, Listener};

use std::time::Duration;

/// One `[[lmtp]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub listen: Listen,
    /// May that be an address that the whole Internet can reach?
    pub allow_public: bool,
    /// Most connections at a time; further ones are refused with `421`.
    pub max_connections: usize,
    /// Most recipients of one mail; further ones are refused for now.
    pub max_recipients: usize,
    /// Longest wait for the whole of a command, or of a mail.
    pub timeout: Duration,
    /// Most bytes of mail held in memory, over all connections.
    pub in_flight: u64,
}
