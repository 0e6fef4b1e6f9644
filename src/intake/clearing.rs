//! Clearing the mailbox of what is stored.

use std::collections::HashSet;

use super::watcher::{Fault, Watcher};
use crate::mailbox::{After, Failure, Generation, Listing};
use crate::model::{Cursor, MessageId};
use crate::queue::{Inbox, Outbox, Uncleared, patiently};

impl<Q: Inbox + Outbox + ?Sized> Watcher<Q> {
    /// Clears what is stored. A mailbox that refuses to be cleared is still read: the failure is told, and tried again.
    pub(super) async fn clear(&mut self, listing: &Listing) -> Result<(), Fault> {
        let stored = self.shared.queue.uncleared(&self.name).await?;
        let (present, gone): (Vec<Uncleared>, Vec<Uncleared>) =
            stored.into_iter().partition(|u| addressable(&u.cursor, listing));
        let gone: Vec<MessageId> = gone.iter().map(|u| u.id).collect();
        patiently("mark mails as cleared", || self.shared.queue.cleared(&gone)).await?;
        let mut failed = None;
        for rejected in [false, true] {
            let some: Vec<&Uncleared> = present.iter().filter(|u| u.rejected == rejected).collect();
            let how = match (&self.connection.rejected, rejected) {
                (Some(folder), true) => After::Move(folder.clone()),
                _ => self.connection.after.clone(),
            };
            match self.clear_some(&some, &how).await {
                Ok(()) => {}
                Err(Fault::Mailbox(err)) => failed = Some(err),
                Err(store) => return Err(store),
            }
        }
        let Some(err) = failed else {
            self.uncleared = false;
            self.again_backoff.reset();
            return Ok(());
        };
        if self.first_time(&err.what) {
            tracing::error!(%err, "stored mails cannot be cleared from the mailbox; tried again");
            let text = format!("mailbox {}: stored mails cannot be cleared from it: {err}", self.name);
            self.note(&format!("clear:{}", self.name), &text).await?;
        }
        // A lost connection is for the caller: it must list again before it waits.
        if err.failure == Failure::Transient { Err(err.into()) } else { Ok(()) }
    }

    async fn clear_some(&mut self, some: &[&Uncleared], how: &After) -> Result<(), Fault> {
        if some.is_empty() {
            return Ok(());
        }
        let done: Vec<MessageId> = if *how == After::Keep {
            some.iter().map(|u| u.id).collect()
        } else {
            let cursors: Vec<Cursor> = some.iter().map(|u| u.cursor.clone()).collect();
            let clearing = self.mailbox.clear(&cursors, how).await?;
            if let Some(warning) = clearing.warning
                && self.first_time(&warning)
            {
                tracing::warn!("{warning}");
            }
            let done: HashSet<Cursor> = clearing.done.into_iter().collect();
            some.iter().filter(|u| done.contains(&u.cursor)).map(|u| u.id).collect()
        };
        patiently("mark mails as cleared", || self.shared.queue.cleared(&done)).await?;
        Ok(())
    }
}

/// Can this mail still be addressed in the mailbox? Not under another UIDVALIDITY, and not if a complete listing lacks it.
fn addressable(cursor: &Cursor, listing: &Listing) -> bool {
    match (cursor, listing.generation) {
        (Cursor::Imap { uidvalidity, .. }, Generation::UidValidity(now)) => *uidvalidity == now,
        (Cursor::Pop3 { .. }, Generation::None) => {
            !listing.complete || listing.entries.iter().any(|e| e.cursor == *cursor)
        }
        _ => false,
    }
}
