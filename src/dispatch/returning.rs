//! A recipient is back: what is held for them goes out, critical ones one by one, many others as one digest.

use jiff::Timestamp;

use super::digest;
use super::worker::Worker;
use crate::model::{BareJid, NotificationId, Recipient, Severity};
use crate::presence::policy::{Decision, decide};
use crate::queue::{Outbox, Outgoing, Returning, StoreError, patiently};

/// Most held ones looked at, and covered by one digest, at a time.
const LOOK_AT: usize = 500;
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
        loop {
            let now = Timestamp::now();
            let returning = self.queue.returning(who, LOOK_AT).await?;
            let presence = self.lane.presence(who);
            let deliverable = |out: &&Outgoing| {
                let n = &out.notification;
                decide(&n.delivery, n.severity, presence, n.forced) == Decision::Deliver
            };
            let (critical, others): (Vec<&Outgoing>, Vec<&Outgoing>) = returning
                .held
                .iter()
                .filter(deliverable)
                .partition(|out| out.notification.severity == Severity::Critical);
            if critical.is_empty() && others.is_empty() {
                return Ok(());
            }
            let mut release: Vec<NotificationId> = critical.iter().map(|out| out.notification.id).collect();
            if others.len() > self.settings.digest_over {
                self.send_digest(who, &others, &returning, now).await?;
            } else {
                release.extend(others.iter().map(|out| out.notification.id));
            }
            if !release.is_empty() {
                patiently("release what was held", || self.queue.release_held(&release, now)).await?;
            }
            if critical.len() < LOOK_AT && others.len() < LOOK_AT {
                return Ok(());
            }
        }
    }

    async fn send_digest(
        &self,
        who: &BareJid,
        others: &[&Outgoing],
        returning: &Returning,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(recipient) = self.recipient(who, others) else { return Ok(()) };
        let covers: Vec<NotificationId> = others.iter().map(|out| out.notification.id).collect();
        let told = Returning {
            held: others.iter().copied().cloned().collect(),
            counts: by_severity(others),
            superseded: returning.superseded,
            expired: returning.expired,
        };
        let text = digest::text(&told, recipient.lang.as_deref(), TITLES);
        let made = patiently("queue a digest", || self.queue.digest(&recipient, &covers, &text, now)).await?;
        if made.is_some() {
            tracing::info!(recipient = %recipient.name, alerts = covers.len(), "held alerts are sent as one digest");
        }
        Ok(())
    }

    /// The configured recipient, or, where config no longer has them, as they were frozen at D2.
    fn recipient(&self, who: &BareJid, held: &[&Outgoing]) -> Option<Recipient> {
        self.router.recipient(who).cloned().or_else(|| {
            let n = &held.first()?.notification;
            Some(Recipient { name: n.recipient.clone(), jid: n.jid.clone(), lang: None })
        })
    }
}

/// How many there are of each severity, worst first.
fn by_severity(some: &[&Outgoing]) -> Vec<(Severity, u64)> {
    let count = |s: Severity| some.iter().filter(|out| out.notification.severity == s).map(|_| 1).sum();
    Severity::ALL.into_iter().map(|s| (s, count(s))).filter(|(_, n)| *n > 0).collect()
}
