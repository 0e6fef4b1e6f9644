//! What had to wait has waited long enough: it is sent by itself where that may be now, and the rest as one digest.

use jiff::Timestamp;

use super::digest;
use super::worker::Worker;
use crate::model::{Presence, Recipient};
use crate::queue::{DigestText, Folded, Outbox, StoreError, Waited, patiently};

/// Titles that a digest lists; the rest is counted.
const TITLES: usize = 10;

impl<Q: Outbox + ?Sized> Worker<Q> {
    /// Looks at everybody for whom something has waited long enough. Without a session, and while it is not known where
    /// somebody is, it waits on: there will be one digest then, not many.
    pub(super) async fn send_waited(&mut self) -> Result<(), StoreError> {
        if !self.session.up || self.session.epoch.is_none() {
            return Ok(());
        }
        let now = (self.wall)();
        for waited in self.queue.waited(now).await? {
            if self.lane.presence(&waited.jid) != Presence::Unknown {
                self.fold(&waited, now).await?;
            }
        }
        Ok(())
    }

    async fn fold(&self, waited: &Waited, now: Timestamp) -> Result<(), StoreError> {
        let (free, rest) = self.lane.free(&waited.jid, now);
        if waited.alerts <= free.any {
            return patiently("send what waited", || self.queue.wait_no_more(&waited.jid, now)).await;
        }
        let recipient = self.router.recipient(&waited.jid).cloned().unwrap_or_else(|| Recipient {
            name: waited.recipient.clone(),
            jid: waited.jid.clone(),
            lang: None,
            room: false,
        });
        let text = |folded: &Folded| digest::storm(folded, recipient.lang.as_deref());
        let text: Option<DigestText<'_>> = if free.digest { Some(&text) } else { None };
        let spared = free.critical.min(waited.critical);
        let made =
            patiently("queue a digest", || self.queue.fold(&recipient, spared, TITLES, text, &rest, now)).await?;
        if let Some(id) = made {
            tracing::info!(recipient = %recipient.name, notification = %id, "alerts over the cap are sent as one digest");
        }
        Ok(())
    }
}
