//! The parser task: what is stored becomes alerts, conditions and notifications (D2).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::committed::{hand_over, log_unsubscribed};
use super::verdict::Rules;
use super::verify::{Held, Verify};
use crate::live::{Current, Live};
use crate::metrics::Beat;
use crate::model::{MailboxName, MessageState};
use crate::parse::{Limits, Mappings};
use crate::queue::{D2Message, Express, Inbox, Outbox, StoreError, StoredMessage, Verdict, patiently};
use crate::route::Router;

/// Most mails in one D2, and most bytes of them held in memory.
const BATCH: usize = 128;
const BATCH_BYTES: u64 = 8 << 20;
/// Without a wake-up it still looks after this.
const LOOK: Duration = Duration::from_secs(10);

/// What the config says about mails and their alerts.
#[derive(Debug, Clone)]
pub struct Rulebook {
    /// The rules of D2.
    pub router: Arc<Router>,
    /// Rules by mailbox; also of those that were removed while mails of theirs wait.
    pub mailboxes: HashMap<MailboxName, Rules>,
    /// How much of a hostile mail is looked at.
    pub limits: Limits,
    /// How XML of other vocabularies is read.
    pub mappings: Mappings,
}

/// What the parser is made of.
pub struct Parser<Q: ?Sized> {
    /// The queue.
    pub queue: Arc<Q>,
    /// What the config says; one of them for a whole turn.
    pub rules: Live<Rulebook>,
    /// Writes what is born `sending`.
    pub express: Arc<dyn Express>,
    /// Looks at ports, where a route says so.
    pub verify: Arc<dyn Verify>,
    /// Notified after D1.
    pub stored: Arc<Notify>,
    /// Notified after D2: dispatch may have something to do.
    pub poke: Arc<Notify>,
    /// The wall clock.
    pub wall: fn() -> Timestamp,
    /// It goes on.
    pub beat: Arc<Beat>,
}

impl<Q: Inbox + Outbox + ?Sized + 'static> Parser<Q> {
    /// Runs until `cancel`.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), StoreError> {
        // What is in it when this ends is still `ready` in the store.
        let mut held = Held::default();
        loop {
            // Registered before the look, so that a D1 in between is not missed.
            let woken = self.stored.notified();
            self.beat.beat();
            if self.turn(&mut held, &cancel).await? {
                if cancel.is_cancelled() {
                    return Ok(());
                }
                continue;
            }
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = woken => {}
                () = held.news() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Parses and commits one batch; `false`: nothing was waiting.
    async fn turn(&self, held: &mut Held, cancel: &CancellationToken) -> Result<bool, StoreError> {
        let ready = self.queue.ready(BATCH, BATCH_BYTES, &held.ids()).await?;
        let rules = self.rules.get();
        if held.forget_unless_by(&rules) {
            // They are read again, before whatever came after them.
            return Ok(true);
        }
        let mut batch = held.released();
        if ready.is_empty() && batch.is_empty() {
            return Ok(false);
        }
        let sizes: Vec<u64> = ready.iter().map(|mail| mail.raw.len() as u64).collect();
        for (message, size) in parse(rules.clone(), ready, (self.wall)()).await?.into_iter().zip(sizes) {
            batch.extend(held.take(message, size, &rules, &self.verify));
        }
        while !batch.is_empty() && !cancel.is_cancelled() {
            self.beat.beat();
            let now = (self.wall)();
            let epoch = self.express.epoch();
            let report =
                patiently("commit alerts", || self.queue.d2_commit(batch.clone(), &*rules.router, &*self.express, now))
                    .await?;
            let done = report.messages.len().clamp(1, batch.len());
            log_ends(batch.get(..done).unwrap_or_default());
            batch.drain(..done);
            log_unsubscribed(&report.unsubscribed);
            hand_over(&*self.queue, &*self.express, epoch, report.born, now).await?;
            self.poke.notify_one();
        }
        Ok(true)
    }
}

/// Parsing is CPU work: it runs beside the event loops.
async fn parse(
    rules: Current<Rulebook>,
    ready: Vec<StoredMessage>,
    now: Timestamp,
) -> Result<Vec<D2Message>, StoreError> {
    let parsed = tokio::task::spawn_blocking(move || {
        let strict = Rules::strict();
        let of = |mailbox: &MailboxName| rules.mailboxes.get(mailbox).unwrap_or(&strict);
        let judge = |m: &StoredMessage| of(&m.mailbox).judge(m, &rules.limits, &rules.mappings, now);
        ready.iter().map(judge).collect::<Vec<_>>()
    });
    // The parser's own panics are caught one by one; this one is a fault of ours, and restarting is the way on.
    parsed.await.map_err(|err| StoreError {
        what: format!("the parser task failed: {err}"),
        fault: crate::queue::StoreFault::Broken,
    })
}

fn log_ends(batch: &[D2Message]) {
    for message in batch {
        let id = message.id;
        match &message.verdict {
            Verdict::Alerts { alerts, bad } => {
                tracing::info!(mail = %id, source = %message.source, alerts = alerts.len(), bad = bad.len(), "parsed");
            }
            Verdict::Ends(MessageState::Quarantined, reason) => {
                tracing::warn!(mail = %id, source = %message.source, reason = %reason.escape_debug(), "quarantined");
            }
            Verdict::Ends(state, reason) => {
                tracing::info!(mail = %id, source = %message.source, state = state.as_str(),
                    reason = %reason.escape_debug(), "no alert");
            }
        }
    }
}
