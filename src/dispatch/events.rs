//! What the messenger tells, and what follows from it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::clock::mono;
use super::notices::ungranted_mark;
use super::record::Record;
use super::retry::{self, Failure, Next, Verdict};
use super::worker::Worker;
use super::{Bounce, Event, Letter};
use crate::model::{Jid, Notification, StanzaId};
use crate::queue::{Outbox, Receipt, StoreError, patiently};

/// One answer to a recipient's message in this time.
const ANSWER_EVERY: Duration = Duration::from_secs(60);

impl<Q: Outbox + ?Sized> Worker<Q> {
    pub(super) async fn on_event(&mut self, event: Event) -> Result<(), StoreError> {
        match event {
            Event::Up { resumed } => self.on_up(resumed).await,
            Event::Down { reason } => {
                self.seen.down(&reason, false);
                self.on_down(reason);
                Ok(())
            }
            Event::Refused { reason } => self.on_refused(reason).await,
            Event::Lost { stanzas } => {
                tracing::info!(count = stanzas.len(), "the session cannot be resumed; what was in flight is in doubt");
                self.lane.set_epoch(None);
                self.session.epoch = None;
                self.lane.tracker(|t| t.lost());
                Ok(())
            }
            Event::Subscription { who, granted } => {
                let news = self.lane.tracker(|t| t.subscription(&who, granted, mono()));
                if granted && news {
                    self.ungranted.remove(&who);
                    let mark = ungranted_mark(&who);
                    patiently("note for the operators", || self.queue.unmark(&mark)).await?;
                } else if !granted {
                    self.ungranted.insert(who.clone());
                }
                // What is critical is sent to who does not share as well.
                self.on_return(&who).await
            }
            Event::Presence { who, state } => {
                self.lane.tracker(|t| t.presence(&who, state, mono()));
                self.note_online(&who.to_bare());
                match state {
                    Some(_) => self.on_return(&who.to_bare()).await,
                    None => Ok(()),
                }
            }
            Event::Accepted { stanzas } => {
                self.accepted(stanzas).await;
                Ok(())
            }
            // Of an occupant, that is: it says nothing of the others.
            Event::Receipt { from, .. } if self.router.is_room(&from.to_bare()) => {
                tracing::info!(%from, "ignored a receipt: rooms give none");
                Ok(())
            }
            Event::Receipt { from, stanza_id } => {
                self.record(Record::Receipt(Receipt { from: from.to_bare(), stanza_id })).await;
                Ok(())
            }
            Event::Bounced(bounce) => self.on_bounce(bounce).await,
            Event::Room { room, state } => self.on_room(&room, state).await,
            Event::Unreflected { stanzas } => self.on_unreflected(&stanzas).await,
            Event::LookedUp { epoch, found, trouble } => self.on_looked_up(epoch, found, trouble).await,
            Event::Chat { from, .. } => {
                self.answer(&from);
                Ok(())
            }
        }
    }

    async fn on_up(&mut self, resumed: bool) -> Result<(), StoreError> {
        let same = resumed && self.session.epoch.is_some();
        if !same {
            // What the old session still had to tell is recorded first: only then is the rest in doubt.
            self.flush_records().await;
            let epoch = patiently("begin an epoch", || self.queue.next_epoch()).await?;
            let now = (self.wall)();
            let doubtful = patiently("take up what was in flight", || self.queue.in_doubt(now)).await?;
            if doubtful > 0 {
                tracing::info!(count = doubtful, "notifications are in doubt: they may have arrived or not");
            }
            self.session.epoch = Some(epoch);
            self.online_since.clear();
            self.look_up(epoch, now).await?;
        }
        self.session.up = true;
        self.seen.up(resumed);
        self.hearing.up(mono());
        self.session.commanded = false;
        let now = mono();
        self.session.settles = self.lane.tracker(|t| {
            t.up(same, now);
            t.next_settle(now)
        });
        self.lane.set_epoch(self.session.epoch);
        tracing::info!(resumed, "XMPP session is up");
        self.on_return_of_all().await
    }

    fn on_down(&mut self, reason: String) {
        if self.session.up {
            self.session.down_since = mono();
        }
        self.session.up = false;
        self.session.why = reason;
        self.lane.set_epoch(None);
        self.lane.tracker(|t| t.down(mono()));
    }

    /// A refused login or certificate does not mend itself: the operators' command tells somebody, since no IM can.
    async fn on_refused(&mut self, reason: String) -> Result<(), StoreError> {
        self.seen.down(&reason, true);
        self.on_down(reason);
        self.watch_outage().await
    }

    async fn on_bounce(&mut self, bounce: Bounce) -> Result<(), StoreError> {
        // Its D4 may still wait in the recorder.
        self.flush_records().await;
        let Some(out) = self.queue.by_stanza(&bounce.stanza_id).await? else {
            tracing::info!(stanza = %bounce.stanza_id.0.escape_debug(), "ignored an error for a stanza that we did not send");
            return Ok(());
        };
        let n = out.notification;
        let now = (self.wall)();
        let why = retry::describe(&bounce);
        let again = |failure| retry::next(n.attempts, failure, now, rand::random(), self.settings.max_attempts);
        let next = match retry::classify(&bounce, &self.own, &n.jid, self.router.is_room(&n.jid), n.state) {
            Verdict::Ignore(reason) => {
                tracing::info!(notification = %n.id, condition = %bounce.condition.escape_debug(), reason, "ignored an error");
                return Ok(());
            }
            Verdict::Dead(reason) => Next::Dead(reason),
            Verdict::Retry => again(Failure::Later),
            Verdict::RetryLimited => again(Failure::Refused),
        };
        match next {
            Next::At(at) => {
                tracing::warn!(notification = %n.id, recipient = %n.recipient, why = %why.escape_debug(), again = %at,
                    "the server refused a notification for now");
                patiently("retry later", || self.queue.retry(&n.stanza_id, at, &why, now)).await
            }
            Next::Dead(reason) => self.give_up(&n, &reason, now).await,
        }
    }

    /// A notification cannot be sent, ever.
    pub(super) async fn give_up(&self, n: &Notification, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        tracing::error!(notification = %n.id, recipient = %n.recipient, reason = %reason.escape_debug(),
            "a notification is dead");
        patiently("end as dead", || self.queue.dead(&n.stanza_id, reason, now)).await?;
        let what = n.alert.map_or_else(|| n.kind.as_str().to_owned(), |id| format!("alert {id}"));
        let text = format!("{what} could not be sent to {} ({}): {reason}", n.recipient, n.jid);
        self.note("dead", &text).await
    }

    /// One line back, so that somebody who writes to the bot knows what it is.
    fn answer(&mut self, from: &Jid) {
        let who = from.to_bare();
        let now = mono();
        if self.answered.get(&who).is_some_and(|last| now.duration_since(*last) < ANSWER_EVERY) {
            return;
        }
        self.answered.insert(who.clone(), now);
        let body = "I send alerts and cannot read answers yet. Your message was not passed on to anybody.".to_owned();
        let letter = Letter { to: who, stanza_id: StanzaId::random(), body, tracked: false, first_sent: None, copy: 1 };
        if self.messenger.send(letter).is_err() {
            tracing::debug!("no room for an answer");
        }
    }

    pub(super) async fn accepted(&self, stanzas: Vec<StanzaId>) {
        self.record(Record::Accepted(stanzas)).await;
    }

    async fn record(&self, record: Record) {
        if self.records.send(record).await.is_err() {
            // The recorder ends only on a broken store; its error is what the worker returns.
            tracing::debug!("the recorder is gone");
        }
    }

    /// Waits until everything told so far is durable.
    pub(super) async fn flush_records(&self) {
        let (done, flushed) = tokio::sync::oneshot::channel();
        self.record(Record::Barrier(done)).await;
        // An error means that the recorder is gone: see `record`.
        let _ = flushed.await;
    }

    pub(super) async fn note(&self, topic: &str, text: &str) -> Result<(), StoreError> {
        let now = (self.wall)();
        patiently("note for the operators", || self.queue.note(topic, text, now)).await
    }

    pub(super) fn ago(&self, now: Timestamp, ago: Duration) -> Timestamp {
        let ago = SignedDuration::try_from(ago).unwrap_or(SignedDuration::MAX);
        now.saturating_sub(ago).unwrap_or(Timestamp::MIN)
    }
}
