//! From the mailbox to the queue: fetch → D1 → clear → parse → route → D2.
//!
//! Each mailbox has a [`watcher`] task: it lists, fetches, commits the raw mails (D1) and only then clears them from the mailbox.
//! One [`parser`] task takes what is stored, in turn between the mailboxes, parses it and commits what follows (D2). Where a route
//! wants an alert [verified](verify), its mail waits for that, and nobody else does.
//! What an internal source finds comes without a mail: it is committed as it is [`Raised`].

mod backoff;
mod clearing;
mod committed;
mod disk;
mod parser;
mod raised;
mod verdict;
mod verify;
mod watcher;

pub use disk::{Disk, room_for_turn, watch_disk};
pub use parser::{Parser, Rulebook};
pub use raised::Raised;
pub use verdict::Rules;
pub use verify::Verify;
pub use watcher::{Shared, Watcher};

use std::time::Duration;

use crate::parse::{self, Plain};

/// The intake part of a `[[mailbox]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// From the end of one look to the next; `None`: only when told to (SIGUSR1).
    pub poll: Option<Duration>,
    /// Most mails in one turn.
    pub batch: usize,
    /// Older mails are stale: archived, not paged.
    pub max_age: Duration,
    /// Patterns of allowed From addresses; empty: anyone.
    pub senders: Vec<String>,
    /// Only mails for whose From address a mail server vouches.
    pub require_auth: Option<RequireAuth>,
    /// May a sender choose the group?
    pub sender_may_choose_group: bool,
    /// What a mail without XML becomes.
    pub plain: Plain,
    /// What mails without XML are alerts of what kind; tried before `plain`.
    pub rules: parse::Rules,
}

/// What is required of a mail before its From address is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequireAuth {
    /// Name by which our own mail server says (RFC 8601) that DMARC passed.
    pub authserv_id: String,
}
