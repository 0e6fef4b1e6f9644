//! Receipts that do not come: who is told in their stead, what is sent once more, and what ends as unconfirmed.
//!
//! Rooms give no receipts, and their posts are never sent again; nor are the one-line answers, of which the queue knows
//! nothing. Notices to the operators are sent again as alerts are: there is nobody else who hears of it.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::letter::letter;
use super::worker::Worker;
use crate::model::{BareJid, Epoch, Presence};
use crate::queue::{Outbox, Outgoing, StoreError, patiently};

/// Receipts that came while nobody listened are here so long after the session is up.
const CATCH_UP: Duration = Duration::from_secs(10);
/// Longer than the worker ever sleeps: it was stopped, and receipts may lie in its socket.
const STOPPED: Duration = Duration::from_secs(30);
/// Most that is sent again to one recipient at a time.
const EACH: usize = 64;

/// What the worker remembers for receipts.
#[derive(Debug)]
pub(super) struct Hearing {
    /// Since when receipts can reach us.
    since: Instant,
    /// When the next receipt is due, or something to be sent again.
    pub(super) next: Option<Timestamp>,
}

impl Hearing {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, next: None }
    }

    /// A session is up, from now on.
    pub(super) fn up(&mut self, now: Instant) {
        self.since = now;
    }

    /// The time since the last look was so long: the process was stopped.
    pub(super) fn slept(&mut self, span: Duration, now: Instant) {
        if span >= STOPPED {
            self.since = now;
        }
    }

    /// How long until the silence of others means something.
    fn until(&self, receipt_timeout: Duration, now: Instant) -> Duration {
        CATCH_UP.min(receipt_timeout).saturating_sub(now.saturating_duration_since(self.since))
    }
}

impl<Q: Outbox + ?Sized> Worker<Q> {
    /// Looks for receipts that are missing. Without a session none can come, and none is missed; what is not expected to have one
    /// ends all the same.
    pub(super) async fn look_for_receipts(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let (timeout, resend_after) = (self.settings.receipt_timeout, self.settings.resend_after);
        let (before, again) = (self.ago(now, timeout), self.ago(now, resend_after));
        let awaited = self.queue.awaited().await?;
        let missing = awaited.receipt.is_some_and(|since| since < before);
        let late = awaited.until.is_some_and(|until| until <= now);
        let unanswered = awaited.again.is_some_and(|since| since < again);
        if missing || late || unanswered {
            // What came is recorded first.
            self.flush_records().await;
        }
        if missing {
            let ended = patiently("end as unconfirmed", || self.queue.unconfirm(before, now)).await?;
            self.remind_of_more(ended, now);
        }
        let mono = Instant::now();
        let deaf = self.hearing.until(timeout, mono);
        if self.session.up && deaf.is_zero() {
            if missing || late {
                let patience = span(resend_after.saturating_add(timeout));
                let missed = patiently("note missing receipts", || self.queue.miss(before, patience, now)).await?;
                self.remind_of_more(missed.again + missed.unconfirmed, now);
                if missed.again > 0 {
                    tracing::warn!(count = missed.again, "no receipt came, though their recipients send some");
                }
            }
            if unanswered && let Some(epoch) = self.session.epoch {
                self.resend(again, epoch, now).await?;
            }
        } else if self.session.up {
            self.remind(now, deaf);
        }
        for (since, wait) in
            [(awaited.receipt, timeout), (awaited.again, resend_after), (awaited.until, Duration::ZERO)]
        {
            let left = since.map(|since| span(wait).saturating_sub(now.duration_since(since)));
            if let Some(left) = left.and_then(|left| Duration::try_from(left).ok()).filter(|left| !left.is_zero()) {
                self.remind(now, left);
            }
        }
        Ok(())
    }

    /// Where there was something there may be more: one commit takes only so many.
    fn remind_of_more(&mut self, done: u64, now: Timestamp) {
        if done > 0 {
            self.remind(now, Duration::from_secs(1));
        }
    }

    /// Looks again after so long, if not sooner.
    fn remind(&mut self, now: Timestamp, after: Duration) {
        let at = now.saturating_add(span(after)).unwrap_or(now);
        self.hearing.next = Some(self.hearing.next.map_or(at, |next| next.min(at)));
    }

    /// Sends again what was accepted before `before`, to everybody who can be reached.
    async fn resend(&mut self, before: Timestamp, epoch: Epoch, now: Timestamp) -> Result<(), StoreError> {
        for who in self.queue.recipients_unanswered(before).await? {
            if self.router.recipient(&who).is_none_or(|recipient| recipient.room) {
                let why = "no receipt; not sent again: no person of the config has this address any more";
                patiently("end as unconfirmed", || self.queue.never_again(&who, why, now)).await?;
            } else if self.is_back(&who, now) {
                let room = self.lane.room().min(EACH);
                if room == 0 {
                    return Ok(());
                }
                let due = patiently("look what is to be sent again", || self.queue.unanswered(&who, before, EACH, now))
                    .await?;
                self.send_again(due, room, epoch, now).await?;
            }
        }
        Ok(())
    }

    /// Can they be reached, and had they the time to send receipts of what their server stored? Of who does not share their
    /// presence nothing better will be known.
    fn is_back(&mut self, who: &BareJid, now: Timestamp) -> bool {
        match self.lane.presence(who) {
            Presence::Unknown | Presence::NotJoined | Presence::Offline => false,
            Presence::NotShared => true,
            Presence::Online(_) => {
                let mono = Instant::now();
                let since = *self.online_since.entry(who.clone()).or_insert(mono);
                let left = self.settings.receipt_timeout.saturating_sub(mono.saturating_duration_since(since));
                if !left.is_zero() {
                    self.remind(now, left);
                }
                left.is_zero()
            }
        }
    }

    /// Who is online, since when: told after each presence.
    pub(super) fn note_online(&mut self, who: &BareJid) {
        match self.lane.presence(who) {
            Presence::Online(_) => drop(self.online_since.entry(who.clone()).or_insert_with(Instant::now)),
            _ => drop(self.online_since.remove(who)),
        }
    }

    async fn send_again(
        &mut self,
        due: Vec<Outgoing>,
        room: usize,
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let wanted = |out: &Outgoing| match self.lane.presence(&out.notification.jid) {
            Presence::Online(show) => out.notification.forced || out.notification.delivery.shows.contains(show),
            _ => true,
        };
        // What would be too much for them now is looked at again with the next sweep.
        let mut due: Vec<Outgoing> =
            due.into_iter().filter(wanted).filter(|out| self.lane.take(out, now).is_ok()).take(room).collect();
        let ids: Vec<_> = due.iter().map(|out| out.notification.id).collect();
        let intended = patiently("commit the intent to send again", || self.queue.d3_resend(&ids, epoch, now)).await?;
        let taken = |out: &Outgoing| intended.contains(&out.notification.id);
        due.iter().filter(|out| !taken(out)).for_each(|out| self.lane.give_back(&out.notification));
        due.retain(taken);
        let mut unwritten = Vec::new();
        for out in due {
            tracing::info!(notification = %out.notification.id, recipient = %out.notification.recipient,
                "sent again: no receipt came");
            // The intent counted this one.
            let copy = out.notification.attempts + 1;
            let letter = letter(&out, copy, &self.router, self.settings.text_max, now);
            if let Err(full) = self.messenger.send(letter) {
                // The session went away meanwhile.
                self.lane.give_back(&out.notification);
                unwritten.push(full.0.stanza_id);
            }
        }
        patiently("take back the intent", || self.queue.not_resent(&unwritten)).await
    }
}

fn span(of: Duration) -> SignedDuration {
    SignedDuration::try_from(of).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_means_something_only_after_a_while_of_listening() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let minute = Duration::from_secs(60);
        let mut hearing = Hearing::new(start);
        assert_eq!(hearing.until(minute, at(4)), Duration::from_secs(6));
        assert_eq!(
            hearing.until(Duration::from_secs(1), at(1)),
            Duration::ZERO,
            "short where receipts are waited for shortly"
        );
        assert_eq!(hearing.until(minute, at(10)), Duration::ZERO);
        hearing.up(at(100));
        assert_eq!(hearing.until(minute, at(105)), Duration::from_secs(5));
        hearing.slept(Duration::from_secs(10), at(120));
        assert_eq!(hearing.until(minute, at(120)), Duration::ZERO, "an idle worker");
        hearing.slept(Duration::from_secs(300), at(420));
        assert_eq!(hearing.until(minute, at(420)), Duration::from_secs(10), "a stopped process");
    }
}
