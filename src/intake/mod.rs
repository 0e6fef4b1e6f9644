//! From the mailbox to the queue: fetch → D1 → clear → parse → route → D2.

use std::time::Duration;

use crate::parse::Plain;

/// The intake part of a `[[mailbox]]`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// From the end of one look to the next; `None`: only when told to (SIGUSR1).
    pub poll: Option<Duration>,
    /// Most mails in one turn.
    pub batch: usize,
    /// Older mails are stale: archived, not paged.
    pub max_age: Duration,
    /// Patterns of allowed From addresses; empty: anyone.
    pub senders: Vec<String>,
    /// May a sender choose the group?
    pub sender_may_choose_group: bool,
    /// What a mail without XML becomes.
    pub plain: Plain,
}
