//! What intake asks of a mailbox.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::After;
use crate::model::{Cursor, NewMessage};

/// What tells a folder's UIDs from those of another time; POP3 has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// IMAP UIDVALIDITY.
    UidValidity(u32),
    /// POP3: UIDLs stand for themselves.
    None,
}

/// Everything up to here is stored: a listing may leave it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The UIDVALIDITY that it is of; a listing under another one is complete again.
    pub uidvalidity: u32,
    /// Greatest UID up to which all are stored.
    pub uid: u32,
}

/// One mail in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub cursor: Cursor,
    /// Size in bytes as the server says (RFC822.SIZE, LIST); it can lie. `None`: it did not say.
    pub size: Option<u64>,
}

/// What is in the mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Generation of the cursors.
    pub generation: Generation,
    /// Mails, oldest first.
    pub entries: Vec<Entry>,
    /// Does it hold every mail, or only those after the mark?
    pub complete: bool,
}

/// What clearing did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clearing {
    /// Cleared, or gone already: nothing is left to do.
    pub done: Vec<Cursor>,
    /// A hint for the log, once: `no UIDPLUS: mails are flagged \Deleted and left for the server to expunge`.
    pub warning: Option<String>,
}

/// Why `wait` came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woke {
    /// The server told of something.
    Server,
    /// The time is over.
    Time,
    /// The caller's `Notify`.
    Poked,
}

/// Kind of a failure: what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Try again, with backoff: connection lost, time-out, `[IN-USE]`, `[SYS/TEMP]`.
    Transient,
    /// The server asked to come back later: `[LOGIN-DELAY]`, too many logins.
    RateLimited,
    /// The login was refused.
    Auth,
    /// Trying again will not help until somebody changes something: certificate refused, no UIDL, folder missing.
    Permanent,
}

/// A mailbox operation failed. The text names the server and the fix, and never holds mail text raw.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct MailboxError {
    /// What follows from it.
    pub failure: Failure,
    /// What happened, for people.
    pub what: String,
}

/// One mailbox: connects when it is first asked for something, and again after an error. Any error drops the connection,
/// but for a refusal to clear. Every operation is bounded in time and memory.
#[async_trait]
pub trait Mailbox: Send {
    /// Lists the mails; with a mark of the same UIDVALIDITY only those after it.
    async fn list(&mut self, mark: Option<Mark>) -> Result<Listing, MailboxError>;

    /// Fetches these of the last listing, in order, in ranges; stops early once `max_bytes` were fetched (but fetches at
    /// least one). A mail over `max_size`, by the listing or by what arrives, comes with its headers only and `oversize`
    /// set. A mail that is gone meanwhile is left out.
    async fn fetch(&mut self, wanted: &[Entry], max_bytes: u64) -> Result<Vec<NewMessage>, MailboxError>;

    /// Clears these from the mailbox, in ranges, as `how` says. They are durable in the store.
    async fn clear(&mut self, stored: &[Cursor], how: &After) -> Result<Clearing, MailboxError>;

    /// Ends the session where the protocol needs that between polls: POP3 says QUIT (only then is what DELE marked gone).
    async fn rest(&mut self) -> Result<(), MailboxError>;

    /// Waits for more: until the server tells of something, `poke` is notified, or the time is over (`None`: never).
    /// Where the server cannot tell, it only waits. What came between the last listing and this call counts.
    async fn wait(&mut self, at_most: Option<Duration>, poke: &Notify) -> Result<Woke, MailboxError>;

    /// Logs out, politely and within a second or two.
    async fn close(&mut self);
}
