//! `[dispatch]` and what `[operators]` has for it.

use std::time::Duration;

/// How notifications are sent and what the operators hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// An accepted notification without a receipt is unconfirmed after this.
    pub receipt_timeout: Duration,
    /// A refused notification is dead after so many attempts.
    pub max_attempts: u32,
    /// More held ones than this, beside the critical ones, come as one digest.
    pub digest_over: usize,
    /// Presence is unknown for so long after the session is up.
    pub settle: Duration,
    /// Longest text of an instant message, in characters.
    pub text_max: usize,
    /// One notice to the operators about one thing in this time.
    pub notice_every: Duration,
    /// Runs with JSON on stdin when XMPP itself is down; empty: nothing.
    pub command: Vec<String>,
    /// For so long XMPP must be down before it runs.
    pub command_after: Duration,
}
