//! The task of one mailbox: list, fetch, D1, clear, wait.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::backoff::Backoff;
use super::disk::Disk;
use super::verdict::Rules;
use crate::live::Live;
use crate::mailbox::{self, After, Entry, Failure, Generation, Listing, Mailbox, MailboxError, Mark};
use crate::metrics::MailboxState;
use crate::model::{Cursor, MailboxName, MessageId, NewMessage};
use crate::parse;
use crate::queue::{Inbox, Outbox, StoreError, patiently};

/// Most bytes of mail that one turn holds in memory.
const TURN_BYTES: u64 = 8 << 20;
/// A mailbox with so many turns' worth of unparsed mails waits with the next.
const AHEAD: usize = 4;
/// Most different hints of a server that are remembered as said: its words may hold numbers that change each time.
const WARNED: usize = 32;
/// A mailbox that fails for so long is told to the operators, where it is not told at once.
const FAILING: Duration = Duration::from_secs(120);
/// Everything is listed again after this: what is gone from the mailbox needs no row for ever.
const COMPLETE: Duration = Duration::from_secs(24 * 3600);

/// What all watchers share.
pub struct Shared<Q: ?Sized> {
    /// The queue.
    pub queue: Arc<Q>,
    /// The turn token: one D1 at a time, granted in the order of asking, so that no flood keeps a quiet mailbox waiting.
    pub turn: Semaphore,
    /// Notified after D1.
    pub stored: Arc<Notify>,
}

/// One mailbox's task.
pub struct Watcher<Q: ?Sized> {
    pub(super) shared: Arc<Shared<Q>>,
    pub(super) name: MailboxName,
    live: Live<Settings>,
    /// As of the last look.
    settings: Settings,
    pub(super) connection: mailbox::Settings,
    pub(super) mailbox: Box<dyn Mailbox>,
    rules: Rules,
    disk: Disk,
    /// Notified: look now (SIGUSR1).
    poke: Arc<Notify>,
    mark: Option<Mark>,
    /// When everything was listed last.
    complete: Option<Instant>,
    /// There may be stored mails that were not cleared.
    pub(super) uncleared: bool,
    /// Listed in the last look, and not given.
    withheld: HashSet<Cursor>,
    /// The operators know that some are listed and never given.
    withheld_told: bool,
    backoff: Backoff,
    /// For what a look left undone: clearing, and mails that were not given.
    pub(super) again_backoff: Backoff,
    failing_since: Option<Instant>,
    told: bool,
    warned: HashSet<String>,
    state: Arc<MailboxState>,
}

pub(super) enum Fault {
    Mailbox(MailboxError),
    Store(StoreError),
}

impl From<MailboxError> for Fault {
    fn from(err: MailboxError) -> Self {
        Self::Mailbox(err)
    }
}

impl From<StoreError> for Fault {
    fn from(err: StoreError) -> Self {
        Self::Store(err)
    }
}

impl<Q: Inbox + Outbox + ?Sized> Watcher<Q> {
    /// A watcher that has not looked yet.
    pub fn new(
        shared: Arc<Shared<Q>>,
        live: Live<Settings>,
        connection: mailbox::Settings,
        mailbox: Box<dyn Mailbox>,
        disk: Disk,
        poke: Arc<Notify>,
    ) -> Self {
        let settings = Settings::clone(&live.get());
        Self {
            shared,
            name: connection.name.clone(),
            rules: Rules::new(&settings, connection.max_size),
            live,
            settings,
            connection,
            mailbox,
            disk,
            poke,
            mark: None,
            complete: None,
            uncleared: true,
            withheld: HashSet::new(),
            withheld_told: false,
            backoff: Backoff::default(),
            again_backoff: Backoff::default(),
            failing_since: None,
            told: false,
            warned: HashSet::new(),
            state: Arc::default(),
        }
    }

    /// With somebody who is told how the mailbox is.
    pub fn seen_by(self, state: Arc<MailboxState>) -> Self {
        Self { state, ..self }
    }

    /// Runs until `leave`: then the look that is under way goes on to its end, but begins no further turn; or until
    /// `cancel`, which cuts it off (what is committed then is safe, what is not is still in the mailbox). Only a broken store
    /// ends it otherwise.
    #[tracing::instrument(skip_all, fields(mailbox = %self.name))]
    pub async fn run(mut self, leave: CancellationToken, cancel: CancellationToken) -> Result<(), StoreError> {
        self.state.polled(self.settings.poll);
        // With polling off and nothing to be told by, the first look waits for a poke as well.
        if self.settings.poll.is_none() && self.connection.watch == mailbox::Watch::Poll {
            self.state.waits(true);
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = leave.cancelled() => return Ok(()),
                () = self.poke.notified() => {}
            }
        }
        while !leave.is_cancelled() {
            let looked = tokio::select! {
                () = cancel.cancelled() => break,
                looked = self.look_and_wait(&leave) => looked,
            };
            match looked {
                Ok(()) => {}
                Err(Fault::Store(err)) => return Err(err),
                Err(Fault::Mailbox(err)) => {
                    let pause = self.backoff.next(err.failure, rand::random());
                    self.ill(&err, pause).await?;
                    tokio::select! {
                        () = cancel.cancelled() => break,
                        () = leave.cancelled() => break,
                        () = self.poke.notified() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
        self.mailbox.close().await;
        Ok(())
    }

    /// One look, then the wait for the next.
    async fn look_and_wait(&mut self, leave: &CancellationToken) -> Result<(), Fault> {
        tokio::select! { () = leave.cancelled() => return Ok(()), () = self.disk.room() => {} }
        self.refresh();
        self.look(leave).await?;
        self.well();
        self.mailbox.rest().await?;
        let undone = self.uncleared || !self.withheld.is_empty();
        let again = undone.then(|| self.again_backoff.next(Failure::Transient, rand::random()));
        let wait = [self.settings.poll, again].into_iter().flatten().min();
        tokio::select! {
            () = leave.cancelled() => {}
            woke = self.mailbox.wait(wait, &self.poke) => { woke?; }
        }
        Ok(())
    }

    /// A look is made by one set of settings.
    fn refresh(&mut self) {
        let live = self.live.get();
        if self.settings != *live {
            self.settings = Settings::clone(&live);
            self.rules = Rules::new(&self.settings, self.connection.max_size);
            self.state.polled(self.settings.poll);
        }
    }

    /// Lists, stores what is new, and clears what is stored.
    async fn look(&mut self, leave: &CancellationToken) -> Result<(), Fault> {
        let mark = self.mark.filter(|_| self.complete.is_some_and(|at| at.elapsed() < COMPLETE));
        let listing = self.mailbox.list(mark).await?;
        let cursors: Vec<Cursor> = listing.entries.iter().map(|e| e.cursor.clone()).collect();
        if listing.complete {
            self.complete = Some(Instant::now());
        }
        // Before what is unknown is looked for: a UIDL that is there again is a new mail.
        if listing.complete && listing.generation == Generation::None {
            patiently("retire UIDLs", || self.shared.queue.retire_absent(&self.name, None, &cursors)).await?;
        }
        let unknown: HashSet<Cursor> = self.shared.queue.unknown(&self.name, &cursors).await?.into_iter().collect();
        let new: Vec<Entry> = listing.entries.iter().filter(|e| unknown.contains(&e.cursor)).cloned().collect();
        let withheld = self.store(&new, &listing, leave).await?;
        if self.uncleared {
            self.clear(&listing).await?;
        }
        if listing.complete
            && let Generation::UidValidity(uidvalidity) = listing.generation
        {
            let retire = || self.shared.queue.retire_absent(&self.name, Some(uidvalidity), &cursors);
            patiently("retire mails that are gone", retire).await?;
        }
        if withheld.is_empty() && !leave.is_cancelled() {
            self.mark = mark_of(&listing, self.mark);
        }
        self.tell_of_withheld(withheld).await?;
        Ok(())
    }

    /// Fetches and stores in turns. Returns those of the listed that did not come.
    async fn store(
        &mut self,
        new: &[Entry],
        listing: &Listing,
        leave: &CancellationToken,
    ) -> Result<HashSet<Cursor>, Fault> {
        let mut rest = new;
        let mut withheld = HashSet::new();
        while !rest.is_empty() {
            tokio::select! { () = leave.cancelled() => break, () = self.disk.room() => {} }
            let asked = rest.get(..self.settings.batch).unwrap_or(rest);
            let mails = self.mailbox.fetch(asked, TURN_BYTES).await?;
            // In order: what stands before the last one that came and did not come is gone from the mailbox.
            let reached = match mails.last() {
                Some(last) => asked.iter().position(|e| e.cursor == last.cursor).map_or(asked.len(), |at| at + 1),
                None => asked.len(),
            };
            if mails.len() < reached {
                let came: HashSet<&Cursor> = mails.iter().map(|m| &m.cursor).collect();
                let asked = asked.iter().take(reached).map(|e| &e.cursor);
                withheld.extend(asked.filter(|cursor| !came.contains(cursor)).cloned());
            }
            rest = rest.get(reached..).unwrap_or_default();
            if mails.is_empty() {
                continue;
            }
            if clears_too_early() {
                let cursors: Vec<Cursor> = mails.iter().map(|m| m.cursor.clone()).collect();
                self.mailbox.clear(&cursors, &self.connection.after).await?;
            }
            if self.commit(mails).await? {
                self.clear(listing).await?;
            }
            // Not before the commit: the first mails of a look need not wait for it.
            tokio::select! { () = leave.cancelled() => {}, caught_up = self.let_parser_catch_up() => caught_up? }
        }
        Ok(withheld)
    }

    /// A mail that did not come was gone by then. If it is listed again and does not come again, the server cannot read it:
    /// it may be an alert, and only a person can look.
    async fn tell_of_withheld(&mut self, withheld: HashSet<Cursor>) -> Result<(), StoreError> {
        let mut again: Vec<&Cursor> = withheld.intersection(&self.withheld).collect();
        again.sort();
        let text = again.first().map(|first| {
            let (name, n) = (&self.name, again.len());
            format!(
                "mailbox {name}: the server lists mails and does not give them: {n}, the first is {first}; look there yourself"
            )
        });
        self.withheld = withheld;
        let Some(text) = text else {
            self.withheld_told &= !self.withheld.is_empty();
            return Ok(());
        };
        if std::mem::replace(&mut self.withheld_told, true) {
            return Ok(());
        }
        tracing::error!("{text}; they are asked for again at each look");
        self.note(&format!("withheld:{}", self.name), &text).await
    }

    /// D1, in this mailbox's turn. `true`: there is something to clear.
    async fn commit(&mut self, mails: Vec<NewMessage>) -> Result<bool, StoreError> {
        let (now, shared) = (Timestamp::now(), self.shared.clone());
        let refused = self.refused(&mails);
        let keep = self.connection.after == After::Keep && refused.is_empty();
        let turn = shared.turn.acquire().await;
        let (queue, name) = (&shared.queue, &self.name);
        let ids = if keep {
            patiently("store mails", || queue.d1_keep(name, mails.clone(), now)).await?
        } else {
            patiently("store mails", || queue.d1_store(name, mails.clone(), now)).await?
        };
        self.mark_rejected(&refused).await?;
        drop(turn);
        shared.stored.notify_one();
        tracing::debug!(mails = ids.len(), "stored");
        self.uncleared |= !keep;
        Ok(!keep)
    }

    /// Bounds what is stored and not parsed: the mailbox is the better place for a backlog.
    async fn let_parser_catch_up(&mut self) -> Result<(), StoreError> {
        let most = u64::try_from(self.settings.batch.saturating_mul(AHEAD)).unwrap_or(u64::MAX);
        let mut pause = Duration::from_millis(2);
        while self.shared.queue.waiting(&self.name).await? > most {
            self.shared.stored.notify_one();
            tokio::time::sleep(pause).await;
            // A parser that waits for disk space waits for long.
            pause = (pause * 2).min(Duration::from_millis(100));
        }
        Ok(())
    }

    fn refused(&self, mails: &[NewMessage]) -> HashSet<Cursor> {
        if self.connection.rejected.is_none() {
            return HashSet::new();
        }
        mails
            .iter()
            .filter(|m| self.rules.refuses(&m.raw, &parse::header_caught(&m.raw)).is_some())
            .map(|m| m.cursor.clone())
            .collect()
    }

    /// Durable, so that they are cleared as `rejected` says after a restart too.
    async fn mark_rejected(&mut self, refused: &HashSet<Cursor>) -> Result<(), StoreError> {
        if refused.is_empty() {
            return Ok(());
        }
        let stored = self.shared.queue.uncleared(&self.name).await?;
        let ids: Vec<MessageId> = stored.iter().filter(|u| refused.contains(&u.cursor)).map(|u| u.id).collect();
        patiently("mark rejected mails", || self.shared.queue.mark_rejected(&ids)).await
    }

    /// Was this not said before?
    pub(super) fn first_time(&mut self, what: &str) -> bool {
        self.warned.len() < WARNED && self.warned.insert(what.to_owned())
    }

    fn well(&mut self) {
        if self.failing_since.take().is_some() {
            tracing::info!("the mailbox is read again");
        }
        self.backoff.reset();
        self.told = false;
        self.state.well();
    }

    async fn ill(&mut self, err: &MailboxError, pause: Duration) -> Result<(), StoreError> {
        tracing::warn!(%err, failures = self.backoff.failures(), seconds = pause.as_secs(), "the mailbox cannot be read; tried again after a pause");
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        let at_once = matches!(err.failure, Failure::Auth | Failure::Permanent);
        self.state.ill(err.to_string(), at_once);
        if self.told || !(at_once || since.elapsed() > FAILING) {
            return Ok(());
        }
        self.told = true;
        let text = format!("mailbox {} cannot be read: {err}", self.name);
        self.note(&format!("mailbox:{}", self.name), &text).await
    }

    pub(super) async fn note(&mut self, topic: &str, text: &str) -> Result<(), StoreError> {
        let now = Timestamp::now();
        patiently("note for the operators", || self.shared.queue.note(topic, text, now)).await
    }
}

/// For the test of the fault matrix's oracle: a gateway that clears what it has not stored.
fn clears_too_early() -> bool {
    fail::fail_point!("clear_before_d1", |_| true);
    false
}

/// Everything listed is stored: the next listing need not hold it.
fn mark_of(listing: &Listing, old: Option<Mark>) -> Option<Mark> {
    let Generation::UidValidity(uidvalidity) = listing.generation else { return None };
    let greatest = listing.entries.iter().filter_map(|e| match e.cursor {
        Cursor::Imap { uid, .. } => Some(uid),
        Cursor::Pop3 { .. } | Cursor::Lmtp { .. } => None,
    });
    let old = old.filter(|m| m.uidvalidity == uidvalidity).map(|m| m.uid);
    greatest.chain(old).max().map(|uid| Mark { uidvalidity, uid })
}
