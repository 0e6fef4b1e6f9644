//! The real store behind a gate: counts what is under way, and lets the process die before or after a commit.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use mailbell::model::*;
use mailbell::queue::sqlite::Sqlite;
use mailbell::queue::*;
use tokio::sync::Notify;

/// What only looks: dying before one of these is dying after the last commit.
const LOOKS: [&str; 24] = [
    "doubts",
    "unknown",
    "uncleared",
    "waiting",
    "ready",
    "room",
    "recipients_due",
    "due",
    "next_timer",
    "next_wait",
    "waited",
    "intents",
    "by_stanza",
    "held",
    "outgoing",
    "returning",
    "recipients_held",
    "alert",
    "watches",
    "newest_watch",
    "untold",
    "notices_due",
    "awaited",
    "recipients_unanswered",
];

/// When the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// At which commit from now, from 0.
    pub commit: u8,
    /// That commit has happened, or has not.
    pub after: bool,
}

#[derive(Default)]
struct State {
    dead: bool,
    death: Option<Death>,
    under_way: usize,
    /// Mails that were read and are being parsed, which happens beside the runtime.
    parsing: bool,
    done: u64,
    /// What was committed since it was asked last.
    commits: BTreeSet<&'static str>,
    /// What was to be sent again for want of a receipt, since it was asked last.
    resent: Vec<i64>,
}

pub struct Gate {
    pub store: Arc<Sqlite>,
    state: Mutex<State>,
    pub progress: Notify,
}

impl Gate {
    pub fn new(store: Arc<Sqlite>) -> Arc<Self> {
        Arc::new(Self { store, state: Mutex::default(), progress: Notify::new() })
    }

    pub fn arm(&self, death: Option<Death>) {
        self.state.lock().unwrap().death = death;
    }

    pub fn dead(&self) -> bool {
        self.state.lock().unwrap().dead
    }

    /// Nothing goes on any more.
    pub fn kill(&self) {
        self.state.lock().unwrap().dead = true;
    }

    pub fn busy(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.under_way > 0 || (state.parsing && !state.dead)
    }

    /// How many operations were done.
    pub fn done(&self) -> u64 {
        self.state.lock().unwrap().done
    }

    pub fn commits(&self) -> BTreeSet<&'static str> {
        std::mem::take(&mut self.state.lock().unwrap().commits)
    }

    pub fn resent(&self) -> Vec<i64> {
        std::mem::take(&mut self.state.lock().unwrap().resent)
    }

    async fn through<T>(&self, what: &'static str, work: impl Future<Output = T>) -> T {
        if !self.enter(what) {
            self.progress.notify_one();
            return std::future::pending().await;
        }
        let done = work.await;
        let alive = self.leave(what);
        self.progress.notify_one();
        if !alive {
            return std::future::pending().await;
        }
        done
    }

    fn enter(&self, what: &'static str) -> bool {
        let mut state = self.state.lock().unwrap();
        state.dead |= !LOOKS.contains(&what) && state.death == Some(Death { commit: 0, after: false });
        if state.dead {
            return false;
        }
        state.parsing &= what != "d2_commit" && what != "ready";
        state.under_way += 1;
        true
    }

    fn leave(&self, what: &'static str) -> bool {
        let mut state = self.state.lock().unwrap();
        state.under_way -= 1;
        state.done += 1;
        if !LOOKS.contains(&what) {
            state.commits.insert(what);
            state.dead |= state.death == Some(Death { commit: 0, after: true });
            if let Some(death) = &mut state.death {
                death.commit = death.commit.saturating_sub(1);
            }
        }
        !state.dead
    }
}

/// Passes these operations on.
macro_rules! passed {
    ($port:ident: $($name:ident($($arg:ident: $type:ty),*) -> $done:ty;)+) => {
        #[async_trait]
        impl $port for Gate {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$done, StoreError> {
                self.through(stringify!($name), self.store.$name($($arg),*)).await
            })+
        }
    };
}

#[async_trait]
impl Receipts for Gate {
    async fn awaited(&self) -> Result<Awaited, StoreError> {
        self.through("awaited", self.store.awaited()).await
    }

    async fn unconfirm(&self, before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        self.through("unconfirm", self.store.unconfirm(before, now)).await
    }

    async fn miss(&self, before: Timestamp, patience: SignedDuration, now: Timestamp) -> Result<Missed, StoreError> {
        self.through("miss", self.store.miss(before, patience, now)).await
    }

    async fn recipients_unanswered(&self, before: Timestamp) -> Result<Vec<BareJid>, StoreError> {
        self.through("recipients_unanswered", self.store.recipients_unanswered(before)).await
    }

    async fn unanswered(
        &self,
        who: &BareJid,
        before: Timestamp,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Outgoing>, StoreError> {
        self.through("unanswered", self.store.unanswered(who, before, limit, now)).await
    }

    async fn never_again(&self, who: &BareJid, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        self.through("never_again", self.store.never_again(who, reason, now)).await
    }

    async fn d3_resend(
        &self,
        ids: &[NotificationId],
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<Vec<NotificationId>, StoreError> {
        let resend = async {
            let taken = self.store.d3_resend(ids, epoch, now).await;
            self.state.lock().unwrap().resent.extend(taken.iter().flatten().map(|id| id.0));
            taken
        };
        self.through("d3_resend", resend).await
    }

    async fn not_resent(&self, stanzas: &[StanzaId]) -> Result<(), StoreError> {
        self.through("not_resent", self.store.not_resent(stanzas)).await
    }
}

#[async_trait]
impl Inbox for Gate {
    async fn unknown(&self, mailbox: &MailboxName, listed: &[Cursor]) -> Result<Vec<Cursor>, StoreError> {
        self.through("unknown", self.store.unknown(mailbox, listed)).await
    }

    async fn d1_store(
        &self,
        mailbox: &MailboxName,
        batch: Vec<NewMessage>,
        now: Timestamp,
    ) -> Result<Vec<MessageId>, StoreError> {
        self.through("d1_store", self.store.d1_store(mailbox, batch, now)).await
    }

    async fn d1_keep(
        &self,
        mailbox: &MailboxName,
        batch: Vec<NewMessage>,
        now: Timestamp,
    ) -> Result<Vec<MessageId>, StoreError> {
        self.through("d1_keep", self.store.d1_keep(mailbox, batch, now)).await
    }

    async fn d1_handed(&self, batch: &[Handed], now: Timestamp) -> Result<Vec<Vec<MessageId>>, StoreError> {
        self.through("d1_handed", self.store.d1_handed(batch, now)).await
    }

    async fn uncleared(&self, mailbox: &MailboxName) -> Result<Vec<Uncleared>, StoreError> {
        self.through("uncleared", self.store.uncleared(mailbox)).await
    }

    async fn mark_rejected(&self, ids: &[MessageId]) -> Result<(), StoreError> {
        self.through("mark_rejected", self.store.mark_rejected(ids)).await
    }

    async fn cleared(&self, ids: &[MessageId]) -> Result<(), StoreError> {
        self.through("cleared", self.store.cleared(ids)).await
    }

    async fn retire_absent(
        &self,
        mailbox: &MailboxName,
        uidvalidity: Option<u32>,
        listed: &[Cursor],
    ) -> Result<(), StoreError> {
        self.through("retire_absent", self.store.retire_absent(mailbox, uidvalidity, listed)).await
    }

    async fn waiting(&self, mailbox: &MailboxName) -> Result<u64, StoreError> {
        self.through("waiting", self.store.waiting(mailbox)).await
    }

    async fn ready(&self, limit: usize, max: u64, except: &[MessageId]) -> Result<Vec<StoredMessage>, StoreError> {
        let ready = self.through("ready", self.store.ready(limit, max, except)).await?;
        self.state.lock().unwrap().parsing = !ready.is_empty();
        Ok(ready)
    }

    async fn d2_commit(
        &self,
        batch: Vec<D2Message>,
        planner: &dyn Planner,
        express: &dyn Express,
        now: Timestamp,
    ) -> Result<D2Report, StoreError> {
        self.through("d2_commit", self.store.d2_commit(batch, planner, express, now)).await
    }

    async fn room(&self) -> Result<Room, StoreError> {
        self.through("room", self.store.room()).await
    }
}

passed! { Outbox:
    next_epoch() -> Epoch;
    in_doubt(now: Timestamp) -> u64;
    doubts(limit: usize, now: Timestamp) -> Vec<Doubt>;
    put_off(stanzas: &[StanzaId], until: Option<Timestamp>) -> ();
    recipients_due(now: Timestamp) -> Vec<BareJid>;
    due(who: &[BareJid], each: usize, limit: usize, now: Timestamp) -> Vec<Outgoing>;
    next_timer() -> Option<Timestamp>;
    d3_intend(ids: &[NotificationId], epoch: Epoch, now: Timestamp) -> Vec<NotificationId>;
    wait(ids: &[NotificationId], wait: &Wait) -> ();
    next_wait() -> Option<Timestamp>;
    waited(now: Timestamp) -> Vec<Waited>;
    wait_no_more(jid: &BareJid, now: Timestamp) -> ();
    fold(
        who: &Recipient, spared: usize, listed: usize, text: Option<DigestText<'_>>, rest: &Wait, now: Timestamp
    ) -> Option<NotificationId>;
    intents(since: Timestamp) -> Vec<Intent>;
    d4_accepted(stanzas: &[StanzaId], now: Timestamp) -> ();
    d5_delivered(receipts: &[Receipt], now: Timestamp) -> Vec<Receipt>;
    by_stanza(stanza: &StanzaId) -> Option<Outgoing>;
    not_written(letters: &[Unwritten]) -> ();
    retry(stanza: &StanzaId, not_before: Timestamp, reason: &str, now: Timestamp) -> ();
    doubt(stanza: &StanzaId, not_before: Timestamp, reason: &str, now: Timestamp) -> ();
    dead(stanza: &StanzaId, reason: &str, now: Timestamp) -> ();
    hold(ids: &[NotificationId], until: Timestamp, reason: &str, now: Timestamp) -> ();
    skip(ids: &[NotificationId], reason: &str, now: Timestamp) -> ();
    held(who: &BareJid) -> Vec<Held>;
    outgoing(ids: &[NotificationId]) -> Vec<Outgoing>;
    returning(who: &BareJid, limit: usize) -> Returning;
    recipients_held() -> Vec<BareJid>;
    forget_ended(who: &BareJid) -> ();
    release_held(ids: &[NotificationId], now: Timestamp) -> ();
    digest(who: &Recipient, covers: &[NotificationId], text: &str, now: Timestamp) -> Option<NotificationId>;
    expire(now: Timestamp) -> Vec<Ended>;
    end_removed(known: &[Recipient], now: Timestamp) -> Vec<Removed>;
    clock_jumped(by: SignedDuration) -> ();
    alert(id: AlertId) -> Option<AlertRecord>;
    watches(after: Option<(AlertId, GroupName)>, limit: usize) -> Vec<Watch>;
    newest_watch() -> Option<(AlertId, GroupName)>;
    end_watches(ends: Vec<(AlertId, GroupName, WatchEnd)>, now: Timestamp) -> ();
    note(topic: &str, text: &str, now: Timestamp) -> ();
    untold(marks: &[String]) -> Vec<String>;
    note_once(topic: &str, text: &str, marks: &[String]) -> ();
    unmark(mark: &str) -> ();
    notices_due(told_before: Timestamp) -> Vec<NoticeDue>;
    notice(topic: &str, text: &str, operators: &[(Recipient, Delivery)], now: Timestamp) -> ();
}
