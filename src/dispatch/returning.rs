//! A recipient is back: what is held for them goes out, critical ones one by one, many others as one digest.

use jiff::Timestamp;

use super::digest;
use super::worker::Worker;
use crate::model::{BareJid, NotificationId, Presence, Recipient, Severity};
use crate::presence::policy::{Decision, decide};
use crate::queue::{Held, Outbox, Outgoing, Returning, StoreError, patiently};

/// Titles that a digest lists; the rest is counted.
const TITLES: usize = 20;

impl<Q: Outbox + ?Sized> Worker<Q> {
    /// After a new session: everybody for whom something is held and who can be reached.
    pub(super) async fn on_return_of_all(&mut self) -> Result<(), StoreError> {
        for who in self.queue.recipients_held().await? {
            self.on_return(&who).await?;
        }
        Ok(())
    }

    /// Releases what may be delivered to this recipient now. Does nothing where nothing may.
    pub(super) async fn on_return(&mut self, who: &BareJid) -> Result<(), StoreError> {
        let presence = self.lane.presence(who);
        if presence == Presence::Unknown {
            return Ok(());
        }
        let held = self.queue.held(who).await?;
        if held.is_empty() {
            return self.forget_ended(who, presence).await;
        }
        let now = (self.wall)();
        let deliverable = |n: &&Held| decide(&n.delivery, n.severity, presence, n.forced) == Decision::Deliver;
        let (critical, others): (Vec<&Held>, Vec<&Held>) =
            held.iter().filter(deliverable).partition(|n| n.severity == Severity::Critical);
        let mut release: Vec<NotificationId> = critical.iter().map(|n| n.id).collect();
        if others.len() > self.settings.digest_over {
            self.send_digest(who, &others, now).await?;
        } else {
            release.extend(others.iter().map(|n| n.id));
        }
        if !release.is_empty() {
            patiently("release what was held", || self.queue.release_held(&release, now)).await?;
        }
        Ok(())
    }

    /// What ended while they were away is a line of a digest; there is none, and it is no news the next time.
    async fn forget_ended(&self, who: &BareJid, presence: Presence) -> Result<(), StoreError> {
        let Presence::Online(_) = presence else { return Ok(()) };
        let ended = self.queue.returning(who, 0).await?;
        if ended.superseded + ended.expired == 0 {
            return Ok(());
        }
        patiently("forget what ended", || self.queue.forget_ended(who)).await
    }

    async fn send_digest(&self, who: &BareJid, others: &[&Held], now: Timestamp) -> Result<(), StoreError> {
        let covers: Vec<NotificationId> = others.iter().map(|n| n.id).collect();
        let listed: Vec<NotificationId> = covers.iter().take(TITLES).copied().collect();
        let listed = self.queue.outgoing(&listed).await?;
        let Some(recipient) = self.recipient(who, &listed) else { return Ok(()) };
        let told = Returning { held: listed, counts: by_severity(others), ..self.queue.returning(who, 0).await? };
        let text = digest::text(&told, recipient.lang.as_deref(), TITLES);
        let made = patiently("queue a digest", || self.queue.digest(&recipient, &covers, &text, now)).await?;
        if made.is_some() {
            tracing::info!(recipient = %recipient.name, alerts = covers.len(), "held alerts are sent as one digest");
        }
        Ok(())
    }

    /// The configured recipient, or, where config no longer has them, as they were frozen at D2.
    fn recipient(&self, who: &BareJid, held: &[Outgoing]) -> Option<Recipient> {
        self.router.recipient(who).cloned().or_else(|| {
            let n = &held.first()?.notification;
            Some(Recipient { name: n.recipient.clone(), jid: n.jid.clone(), lang: None, room: false })
        })
    }
}

/// How many there are of each severity, worst first.
fn by_severity(some: &[&Held]) -> Vec<(Severity, u64)> {
    let count = |s: Severity| some.iter().filter(|n| n.severity == s).map(|_| 1).sum();
    Severity::ALL.into_iter().map(|s| (s, count(s))).filter(|(_, n)| *n > 0).collect()
}
