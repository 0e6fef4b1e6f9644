//! What goes in and out where alerts come without a mail.

use super::Outgoing;
use crate::model::{Alert, AlertId};

/// Something that an internal source found: committed whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What its state is kept under: of a probe the host.
    pub name: String,
    /// What the source has to know of it after a restart, in its own words; `None`: nothing is left to be known.
    pub state: Option<String>,
    /// What is to be told of it, in order; often nothing.
    pub alerts: Vec<Alert>,
}

/// What a D2 of findings did.
#[derive(Debug, Default)]
pub struct FoundReport {
    /// So many from the front are committed.
    pub done: usize,
    /// Notifications born `sending`: the places that [`super::Express`] reserved for them are theirs. Send them now.
    pub born: Vec<Outgoing>,
    /// Notifications that wait in the queue.
    pub queued: usize,
    /// Alerts that nobody subscribes to: id, title.
    pub unsubscribed: Vec<(AlertId, String)>,
}
