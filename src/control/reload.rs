//! What a reload did, as it goes over the socket.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::model::{MailboxName, RecipientName};

/// Makes the service read its config again.
#[async_trait]
pub trait Reload: Send + Sync {
    /// Reads it, and puts it in force where it is good. Reloads are done one after the other; who asks during one gets the next.
    async fn reload(&self) -> Result<Reloaded, Kept>;
}

/// The old config stays in force.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Kept {
    /// The file.
    pub file: String,
    /// Why: every error of the file, one line each.
    pub errors: Vec<String>,
}

/// The new config is in force, and this is different now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reloaded {
    /// The file.
    pub file: String,
    /// What became of each mailbox.
    pub mailboxes: Vec<MailboxChange>,
    /// New recipients.
    pub added: Vec<RecipientName>,
    /// Recipients who are none any more, or have another address.
    pub removed: Vec<RemovedRecipient>,
    /// Keys that changed and are not in force before a restart: `store.path`.
    pub restart: Vec<String>,
    /// Password or CA of `[xmpp]` changed: used from the next sign-in on.
    pub next_sign_in: bool,
    /// What waits for removed recipients could not be ended yet (the disk is full, or busy); it is, as soon as that works.
    pub owed: bool,
    /// What looks like a mistake, one line each.
    pub warnings: Vec<String>,
}

/// What became of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxChange {
    /// Which.
    pub name: MailboxName,
    /// What.
    pub change: Change,
}

/// What became of a mailbox, or of another door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is read from now on.
    Added,
    /// It is not read any more.
    Removed,
    /// Its settings, password or CA changed: it signs in anew.
    Restarted,
    /// Only what is done with its mails changed; the connection is kept.
    Updated,
    /// Nothing changed.
    Unchanged,
}

impl Change {
    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Restarted => "signs in anew",
            Self::Updated => "new rules, same connection",
            Self::Unchanged => "unchanged",
        }
    }
}

/// A recipient who was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedRecipient {
    /// Who.
    pub name: RecipientName,
    /// Notifications that ended with that.
    pub expired: u64,
    /// Critical ones among them.
    pub critical: u64,
}
