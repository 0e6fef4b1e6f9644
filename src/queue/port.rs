//! The queue as its users see it, one trait for each of them.

mod desk;
mod events;
mod posted;
mod search;
mod tokens;

pub use desk::Desk;
pub use events::Events;
pub use posted::{Done, Holding, Once, Post, Posted, PostedReport, Posts};
pub use search::{
    AlertFilter, AlertRow, Archive, ArchiveRow, Common, ConditionRow, Mark, OpenCondition, Page, Search, SentFilter,
};
pub use tokens::Tokens;

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::{
    AlertRecord, Ask, D2Message, D2Report, DigestText, Ended, Found, FoundReport, Handed, Held, Intent, NoticeDue,
    Outgoing, Place, Receipt, Receipts, Removed, Returning, Room, StoreError, StoredMessage, Uncleared, Unwritten,
    Wait, Waited, Watch, WatchEnd, Way,
};
use crate::model::{
    AlertId, BareJid, Cursor, Delivery, Doubt, Epoch, GroupName, MailboxName, MessageId, NewMessage, NotificationId,
    Planner, Presence, Recipient, Source, StanzaId,
};

/// Everything, for who composes.
pub trait Queue: Inbox + Findings + Outbox + Retention + Desk + Search + Tokens + Posts {}

impl<T: Inbox + Findings + Outbox + Retention + Desk + Search + Tokens + Posts> Queue for T {}

/// Asked inside D2: may a notification be born `sending`, so that it needs no third commit before it is written?
pub trait Express: Send + Sync {
    /// The epoch under which it would be sent; `None`: no session, nothing may be born `sending`.
    fn epoch(&self) -> Option<Epoch>;

    /// Is the recipient reachable for it right now, the send window not full, and the recipient's cap not reached?
    fn reserve(&self, ask: &Ask<'_>) -> Way;

    /// What is seen of the recipient right now, for the timeline; `None`: nobody looks.
    fn presence(&self, _: &BareJid) -> Option<Presence> {
        None
    }

    /// Gives back what was reserved in a D2 that failed.
    fn release(&self, places: &[Place]);

    /// Writes what was born `sending` under `epoch`; each had a place reserved. Returns the stanza ids of those that were not
    /// written, because the session changed meanwhile.
    fn hand_over(&self, epoch: Option<Epoch>, born: Vec<Outgoing>, now: Timestamp) -> Vec<StanzaId>;
}

/// What intake needs: from the mailbox to the queue.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Those of `listed` that the store does not hold, in the order given.
    async fn unknown(&self, mailbox: &MailboxName, listed: &[Cursor]) -> Result<Vec<Cursor>, StoreError>;

    /// D1: stores raw mails with their SHA-256 and cursors, in one commit. Those whose cursor is known already are left
    /// out. Returns what was stored, in order.
    async fn d1_store(
        &self,
        mailbox: &MailboxName,
        batch: Vec<NewMessage>,
        now: Timestamp,
    ) -> Result<Vec<MessageId>, StoreError>;

    /// The same for mails that stay in their mailbox as they are: they count as cleared.
    async fn d1_keep(
        &self,
        mailbox: &MailboxName,
        batch: Vec<NewMessage>,
        now: Timestamp,
    ) -> Result<Vec<MessageId>, StoreError>;

    /// D1 of mails that were handed in and not fetched: each for all its mailboxes, all in one commit. They count as
    /// cleared. Returns the numbers of each mail's messages, in the order of its mailboxes.
    async fn d1_handed(&self, batch: &[Handed], now: Timestamp) -> Result<Vec<Vec<MessageId>>, StoreError>;

    /// Stored messages of the mailbox that were not cleared from it yet.
    async fn uncleared(&self, mailbox: &MailboxName) -> Result<Vec<Uncleared>, StoreError>;

    /// Marks messages whose sender is not allowed, so that they are cleared as `rejected` says, after a restart too.
    async fn mark_rejected(&self, ids: &[MessageId]) -> Result<(), StoreError>;

    /// These were cleared from their mailbox.
    async fn cleared(&self, ids: &[MessageId]) -> Result<(), StoreError>;

    /// Retires cleared mails that a complete listing does not hold any more, of IMAP also those of another UIDVALIDITY than
    /// the listing's. The same POP3 UIDL is a new mail next time; the row of a retired mail can be purged.
    async fn retire_absent(
        &self,
        mailbox: &MailboxName,
        uidvalidity: Option<u32>,
        listed: &[Cursor],
    ) -> Result<(), StoreError>;

    /// How many messages of the mailbox wait to be parsed.
    async fn waiting(&self, mailbox: &MailboxName) -> Result<u64, StoreError>;

    /// Messages that wait to be parsed: oldest first within a mailbox, fair between mailboxes; at most `limit`, and no
    /// more than `max_bytes` of raw mail unless the first alone is larger. None of those in `except`.
    async fn ready(&self, limit: usize, max_bytes: u64, except: &[MessageId])
    -> Result<Vec<StoredMessage>, StoreError>;

    /// D2: alerts, conditions, routing and notifications of a batch, in one commit; each message whole or not at all.
    /// Whatever is quarantined or unsubscribed is noted for the operators in the same commit. Where many are to be told it
    /// commits only as many from the front as keep it short, at least one: the report names them.
    async fn d2_commit(
        &self,
        batch: Vec<D2Message>,
        planner: &dyn Planner,
        express: &dyn Express,
        now: Timestamp,
    ) -> Result<D2Report, StoreError>;

    /// Free space where the store stands.
    async fn room(&self) -> Result<Room, StoreError>;
}

/// What an internal source of alerts needs: its states, and D2 of what follows from them.
#[async_trait]
pub trait Findings: Send + Sync {
    /// The states of the probe engine as they were committed last, by name.
    async fn probe_states(&self) -> Result<Vec<(String, String)>, StoreError>;

    /// D2 of what an internal source found, in order: each finding's state and alerts, in one commit. Where many are to be told
    /// it commits only as many from the front as keep it short, at least one: the report says how many.
    ///
    /// Where an alert cannot be committed for what is in it, its finding's state is kept, its alerts are lost, and that is noted
    /// for the operators: found anew it would come to the same.
    async fn d2_found(
        &self,
        source: &Source,
        found: &[Found],
        planner: &dyn Planner,
        express: &dyn Express,
        now: Timestamp,
    ) -> Result<FoundReport, StoreError>;
}

/// What dispatch needs: from the queue to the person.
#[async_trait]
pub trait Outbox: Receipts {
    /// The next epoch: a start counter, durable.
    async fn next_epoch(&self) -> Result<Epoch, StoreError>;

    /// Everything `sending` is in doubt: a new process, or a session that did not resume. It becomes due again, with the
    /// same stanza id. Returns how many.
    async fn in_doubt(&self, now: Timestamp) -> Result<u64, StoreError>;

    /// What is in doubt and not due for being put off for too long, the newest first, at most `limit`. What a digest carries is
    /// not listed beside it.
    async fn doubts(&self, limit: usize, now: Timestamp) -> Result<Vec<Doubt>, StoreError>;

    /// What is in doubt is not due before then, or before it was put off to at first where that is sooner; `None`: it is due now.
    /// What is no longer in doubt is left alone.
    async fn put_off(&self, stanzas: &[StanzaId], until: Option<Timestamp>) -> Result<(), StoreError>;

    /// Recipients who have something queued, or in doubt, that is due now.
    async fn recipients_due(&self, now: Timestamp) -> Result<Vec<BareJid>, StoreError>;

    /// What is due for these recipients: at most `per_recipient` each and `limit` in all; critical first, then oldest.
    /// Within (recipient, condition) only the oldest that was not sent yet; of those that had to [wait](Self::wait) only the
    /// newest, and the older ones end with its D3.
    async fn due(
        &self,
        recipients: &[BareJid],
        per_recipient: usize,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Outgoing>, StoreError>;

    /// When something that waits for a time is next due: a retry, an effective time, the end of a hold or of an alert.
    async fn next_timer(&self) -> Result<Option<Timestamp>, StoreError>;

    /// D3: queued (or in doubt) → sending. Returns those that were; the others changed meanwhile and must not be sent.
    async fn d3_intend(
        &self,
        ids: &[NotificationId],
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<Vec<NotificationId>, StoreError>;

    /// The same, with the presence that was seen of each recipient, for the timeline.
    async fn d3_seen(
        &self,
        seen: &[(NotificationId, Presence)],
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<Vec<NotificationId>, StoreError> {
        let ids: Vec<_> = seen.iter().map(|(id, _)| *id).collect();
        self.d3_intend(&ids, epoch, now).await
    }

    /// These wait: for the pause after a message about their condition, or for a digest.
    async fn wait(&self, ids: &[NotificationId], wait: &Wait) -> Result<(), StoreError>;

    /// When the next that waits is to be looked at again.
    async fn next_wait(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Recipients with something that has waited long enough.
    async fn waited(&self, now: Timestamp) -> Result<Vec<Waited>, StoreError>;

    /// What has waited long enough for this recipient is due again.
    async fn wait_no_more(&self, jid: &BareJid, now: Timestamp) -> Result<(), StoreError>;

    /// One digest of alerts that have waited long enough. The oldest `spared` critical ones are due again instead, each by
    /// itself, and so is what no digest can carry; alerts beyond what one digest carries wait until `rest`. The digest is
    /// queued, and what it covers follows its way (D3, D4, D5). Without a `text` there is no digest now. `None`: there is
    /// none.
    async fn fold(
        &self,
        recipient: &Recipient,
        spared: usize,
        listed: usize,
        text: Option<DigestText<'_>>,
        rest: &Wait,
        now: Timestamp,
    ) -> Result<Option<NotificationId>, StoreError>;

    /// What was intended since then, each copy by itself, oldest first.
    async fn intents(&self, since: Timestamp) -> Result<Vec<Intent>, StoreError>;

    /// D4: sending → accepted, for a digest also all that it covers. Others are left as they are.
    async fn d4_accepted(&self, stanzas: &[StanzaId], now: Timestamp) -> Result<(), StoreError>;

    /// D5: sending, accepted or unconfirmed → delivered, where the receipt is from the recipient's bare JID, of whom is then known
    /// that they send receipts. Returns the receipts that are for nothing of that recipient.
    async fn d5_delivered(&self, receipts: &[Receipt], now: Timestamp) -> Result<Vec<Receipt>, StoreError>;

    /// The notification that this stanza carries.
    async fn by_stanza(&self, stanza: &StanzaId) -> Result<Option<Outgoing>, StoreError>;

    /// sending → as it was before the intent: the session went away before anything was written. Left alone is what was
    /// intended again since.
    async fn not_written(&self, letters: &[Unwritten]) -> Result<(), StoreError>;

    /// sending, accepted or unconfirmed → queued, not before then: it was refused for now.
    async fn retry(
        &self,
        stanza: &StanzaId,
        not_before: Timestamp,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// sending → in doubt: it may have arrived, and is sent again, not before then.
    async fn doubt(
        &self,
        stanza: &StanzaId,
        not_before: Timestamp,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// sending, accepted or unconfirmed → dead.
    async fn dead(&self, stanza: &StanzaId, reason: &str, now: Timestamp) -> Result<(), StoreError>;

    /// queued → held until then, with the reason.
    async fn hold(
        &self,
        ids: &[NotificationId],
        until: Timestamp,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// queued → expired, with the reason: the policy says skip.
    async fn skip(&self, ids: &[NotificationId], reason: &str, now: Timestamp) -> Result<(), StoreError>;

    /// All that is held for a recipient, oldest first, without what it says.
    async fn held(&self, recipient: &BareJid) -> Result<Vec<Held>, StoreError>;

    /// These notifications with what they say, by number.
    async fn outgoing(&self, ids: &[NotificationId]) -> Result<Vec<Outgoing>, StoreError>;

    /// What is held for a recipient: at most `limit` critical ones and `limit` others.
    async fn returning(&self, recipient: &BareJid, limit: usize) -> Result<Returning, StoreError>;

    /// Recipients for whom something is held.
    async fn recipients_held(&self) -> Result<Vec<BareJid>, StoreError>;

    /// The recipient is back and nothing is held: what ended meanwhile is not worth a word any more.
    async fn forget_ended(&self, recipient: &BareJid) -> Result<(), StoreError>;

    /// held → queued.
    async fn release_held(&self, ids: &[NotificationId], now: Timestamp) -> Result<(), StoreError>;

    /// One digest instead of all that is held for the recipient and not critical: it is queued, and what it covers follows
    /// its way (D3, D4, D5). Returns its number; `None` where nothing was held any more.
    async fn digest(
        &self,
        recipient: &Recipient,
        covers: &[NotificationId],
        text: &str,
        now: Timestamp,
    ) -> Result<Option<NotificationId>, StoreError>;

    /// Ends holds that are over, and what is of no use any more.
    async fn expire(&self, now: Timestamp) -> Result<Vec<Ended>, StoreError>;

    /// Ends what is queued or held for whoever is not among `known` (by address), with that as the reason, in one commit. What
    /// was sent already goes its way. Where something critical is among it, the same commit notes it for the operators.
    /// Returns for whom something ended.
    async fn end_removed(&self, known: &[Recipient], now: Timestamp) -> Result<Vec<Removed>, StoreError>;

    /// The wall clock jumped by so much (positive: forward): what waits for a span of time waits as long as it would have.
    async fn clock_jumped(&self, by: SignedDuration) -> Result<(), StoreError>;

    /// One alert.
    async fn alert(&self, id: AlertId) -> Result<Option<AlertRecord>, StoreError>;

    /// Groups of alerts of which is not known yet whether somebody can be told, by (alert, group); at most `limit`, and
    /// only those after `after`. Left out are those with a member of whom has not been decided yet: what waits for its
    /// turn, or to become effective, is looked at when it was sent or held.
    async fn watches(&self, after: Option<(AlertId, GroupName)>, limit: usize) -> Result<Vec<Watch>, StoreError>;

    /// The last of all watches, by (alert, group).
    async fn newest_watch(&self) -> Result<Option<(AlertId, GroupName)>, StoreError>;

    /// Ends watches, in one commit. What they add is committed with them.
    async fn end_watches(&self, ends: Vec<(AlertId, GroupName, WatchEnd)>, now: Timestamp) -> Result<(), StoreError>;

    /// Notes something that the operators are to be told.
    async fn note(&self, topic: &str, text: &str, now: Timestamp) -> Result<(), StoreError>;

    /// Those of `marks` of which the operators were not told.
    async fn untold(&self, marks: &[String]) -> Result<Vec<String>, StoreError>;

    /// Notes something that is told once for each of its `marks`, until [`unmark`](Self::unmark).
    async fn note_once(&self, topic: &str, text: &str, marks: &[String]) -> Result<(), StoreError>;

    /// What the mark stands for is over: the next time is told again.
    async fn unmark(&self, mark: &str) -> Result<(), StoreError>;

    /// Topics with something untold whose last notice was before `told_before`.
    async fn notices_due(&self, told_before: Timestamp) -> Result<Vec<NoticeDue>, StoreError>;

    /// Queues a notice for each of the operators, and counts its topic as told.
    async fn notice(
        &self,
        topic: &str,
        text: &str,
        operators: &[(Recipient, Delivery)],
        now: Timestamp,
    ) -> Result<(), StoreError>;
}

/// What is kept only for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    /// Raw mails. That they were seen, and what came of them, stays.
    Raw,
    /// Alerts with their notifications and timelines, and closed conditions without another alert. What an open condition
    /// stands on stays: its recovery goes to who was told.
    Alerts,
    /// Digests and notices.
    Letters,
    /// That a mail was seen: only of mails that no mailbox lists any more, and that have no alert any more.
    Messages,
}

/// What one step of a purge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    /// So many mails, alerts, digests and notices, or messages are gone.
    pub rows: usize,
    /// So long nobody else could write.
    pub held: Duration,
    /// The number after which the next step looks on; `None`: there are no others that old.
    pub next: Option<i64>,
}

/// What the purge needs.
#[async_trait]
pub trait Retention: Send + Sync {
    /// Purges at most `limit` of these, numbered above `after`, that are older than `before` and done with, in one short
    /// commit.
    async fn purge(&self, what: Old, before: Timestamp, after: i64, limit: usize) -> Result<Purged, StoreError>;

    /// When the oldest of so many newest alerts was committed; `None`: there are no more than these.
    async fn oldest_of_newest(&self, count: u64) -> Result<Option<Timestamp>, StoreError>;

    /// When a mail was stored last.
    async fn newest(&self) -> Result<Option<Timestamp>, StoreError>;
}
