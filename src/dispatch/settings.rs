//! `[dispatch]` of the config, and how the operators are told.

use std::sync::Arc;
use std::time::Duration;

use super::budget::Limits;
use crate::route::Router;

/// How notifications are sent, and when the operators hear of trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How much a recipient is sent.
    pub limits: Limits,
    /// A receipt (XEP-0184) that has not come so long after the message was accepted is missing.
    pub receipt_timeout: Duration,
    /// Where the recipient sends receipts otherwise, it is sent once more so long after it was accepted.
    pub resend_after: Duration,
    /// After so many failed attempts a notification is dead.
    pub max_attempts: u32,
    /// Someone who comes back gets more than so many waiting notifications as one digest (criticals never).
    pub digest_over: usize,
    /// Presence stays unknown for so long after a login: until then the server may still be telling who is online.
    pub settle: Duration,
    /// Longest message, in characters; the rest is cut, with a note.
    pub text_max: usize,
    /// At most one notice of each kind to the operators in this time.
    pub notice_every: Duration,
    /// Program and arguments that are run, with JSON on stdin, while XMPP itself is down; empty: none.
    pub command: Vec<String>,
    /// XMPP has to be down for so long before it is run.
    pub command_after: Duration,
}

/// What the config says about sending; may be replaced by a reload.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Groups and their fallbacks, recipients and their languages.
    pub router: Arc<Router>,
    /// Settings.
    pub settings: Settings,
    /// At shutdown, longest wait for what is in flight.
    pub grace: Duration,
}
