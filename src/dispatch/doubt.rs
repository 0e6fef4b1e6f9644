//! After a session that was lost: what was on its way is in doubt. Where our server archives what we send, it knows.
//!
//! What is in doubt is `sending` and marked as such; the archive's answer decides: there, and it is accepted; not there, or no
//! answer, and it is sent again. Meanwhile it is not due, so that it is not sent; and since a later one of its condition never
//! goes before one that is in doubt, the order of a condition is kept. Nothing else waits. A new session asks anew, but what has
//! waited long enough is sent.
//!
//! **Which copy counts.** A notification can have been sent before: it came back, no receipt came, or it was in doubt already.
//! All copies have one stanza id, so an id in the archive does not say that the last one arrived; nor does its time, which is of
//! another clock. Each copy after the first therefore carries its number, D3's count of attempts, in the stanza, and only the
//! copy in question or a later one counts. A copy that was already in doubt when the next was intended is thus not believed:
//! at worst the person gets one more.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;

use super::worker::Worker;
use crate::model::{Epoch, StanzaId};
use crate::queue::{Outbox, StoreError, patiently};

/// What is in doubt waits so long for the answer: longer than the messenger takes for it. Should none come, it is sent again. It is
/// counted from the first question, over restarts too: where no process lives until the answer, it would be asked for ever.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most that are looked up; many times what can be on its way at once.
const MOST: usize = 10_000;
/// After so many sessions that were lost over it the archive is not asked again: an answer of it may be what ends them.
const TRIES: u32 = 3;

/// What the server's archive is asked for.
#[derive(Debug, Default)]
pub(super) struct LookingUp {
    asked: Vec<StanzaId>,
    /// Look-ups begun since the last answer.
    tries: u32,
}

impl<Q: Outbox + ?Sized> Worker<Q> {
    /// Asks the messenger which of those in doubt arrived, if any is. Rooms see to theirs themselves.
    pub(super) async fn look_up(&mut self, epoch: Epoch, now: Timestamp) -> Result<(), StoreError> {
        let mut doubts = self.queue.doubts(MOST, now).await?;
        doubts.retain(|doubt| !self.router.is_room(&doubt.to));
        let asked: Vec<StanzaId> = doubts.iter().map(|doubt| doubt.stanza_id.clone()).collect();
        let LookingUp { tries, .. } = std::mem::take(&mut self.session.looking_up);
        if doubts.is_empty() {
            return Ok(());
        }
        if tries >= TRIES {
            tracing::warn!(
                tries,
                count = asked.len(),
                "no session lived until its server's archive had answered; what is in doubt is sent again"
            );
            return self.due_again(&asked).await;
        }
        let until = now.saturating_add(PATIENCE).unwrap_or(Timestamp::MAX);
        patiently("wait for the archive", || self.queue.put_off(&asked, Some(until))).await?;
        self.session.looking_up = LookingUp { asked, tries: tries + 1 };
        self.messenger.look_up(epoch, doubts);
        Ok(())
    }

    /// The answer. What was found is accepted, the rest is due again.
    pub(super) async fn on_looked_up(
        &mut self,
        epoch: Epoch,
        found: Vec<StanzaId>,
        trouble: Option<String>,
    ) -> Result<(), StoreError> {
        if self.session.epoch != Some(epoch) {
            // Of a session that is gone: the next one asks for all of it.
            return Ok(());
        }
        let LookingUp { asked, .. } = std::mem::take(&mut self.session.looking_up);
        let there: HashSet<&StanzaId> = found.iter().collect();
        let again: Vec<StanzaId> = asked.into_iter().filter(|stanza| !there.contains(stanza)).collect();
        tracing::info!(
            found = found.len(),
            again = again.len(),
            trouble,
            "the server's archive was searched for what is in doubt; what it does not have is sent again, with the same stanza ids"
        );
        self.accepted(found).await;
        self.due_again(&again).await
    }

    async fn due_again(&self, stanzas: &[StanzaId]) -> Result<(), StoreError> {
        patiently("send again what is in doubt", || self.queue.put_off(stanzas, None)).await
    }
}
