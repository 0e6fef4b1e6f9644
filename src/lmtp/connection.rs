//! One connection: bytes to the session, its questions to the store, its replies back.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::commit::Commits;
use super::door::Shared;
use super::protocol::{Answer, Ask, Letter, Session};
use super::socket::Stream;
use crate::model::{Cursor, NewMessage, Size};
use crate::queue::{Handed, Inbox, Outbox, StoreError, StoreFault};

/// Bytes that are read at a time.
const PIECE: usize = 16 << 10;
/// A sender that is too fast is made to wait so long before it is refused for now: a mail server that is refused comes
/// again only after minutes. Well below what it waits for an answer (RFC 5321 §4.5.3.2: 5 and 2 minutes).
const PATIENCE: Duration = Duration::from_secs(30);
/// The unit in which memory is counted, bytes: a semaphore counts to 2³².
pub(super) const UNIT: u64 = 1 << 10;

/// Why a connection ended early.
enum Fault {
    /// It is gone, or does not take what it is told.
    Gone(io::Error),
    Store(StoreError),
}

impl From<io::Error> for Fault {
    fn from(err: io::Error) -> Self {
        Self::Gone(err)
    }
}

impl From<StoreError> for Fault {
    fn from(err: StoreError) -> Self {
        Self::Store(err)
    }
}

pub(super) struct Connection<Q: ?Sized> {
    shared: Arc<Shared<Q>>,
    commits: Commits,
    memory: Arc<tokio::sync::Semaphore>,
    stream: Box<dyn Stream>,
    session: Session,
    limit: Duration,
    /// Memory of the mail that is under way.
    held: Option<OwnedSemaphorePermit>,
}

impl<Q: Inbox + Outbox + ?Sized> Connection<Q> {
    pub(super) fn new(
        shared: Arc<Shared<Q>>,
        commits: Commits,
        memory: Arc<tokio::sync::Semaphore>,
        stream: Box<dyn Stream>,
        settings: &super::Settings,
    ) -> Self {
        let session = Session::new(shared.book.clone(), settings.max_recipients);
        Self { shared, commits, memory, stream, session, limit: settings.timeout, held: None }
    }

    /// Runs until either side ends it. After `cancel` a mail that is coming in is still taken, and nothing more.
    ///
    /// # Errors
    /// A broken store.
    pub(super) async fn run(mut self, cancel: CancellationToken) -> Result<(), StoreError> {
        match self.talk(&cancel).await {
            Ok(()) => Ok(()),
            Err(Fault::Gone(err)) => {
                tracing::debug!(%err, "the connection is gone");
                Ok(())
            }
            Err(Fault::Store(err)) => Err(err),
        }
    }

    async fn talk(&mut self, cancel: &CancellationToken) -> Result<(), Fault> {
        let mut piece = vec![0; PIECE];
        let mut deadline = Instant::now() + self.limit;
        loop {
            if cancel.is_cancelled() && !self.session.in_mail() {
                self.session.close("421 4.3.2 the service stops; come again");
            }
            self.write().await?;
            if self.session.is_closed() {
                let _ = timeout(Duration::from_secs(1), self.stream.shutdown()).await;
                return Ok(());
            }
            let read = tokio::select! {
                biased;
                () = cancel.cancelled(), if !self.session.in_mail() => continue,
                read = timeout_at(deadline, self.stream.read(&mut piece)) => read,
            };
            let Ok(read) = read else {
                self.session.close("421 4.4.2 nothing came of it in time");
                continue;
            };
            let read = read?;
            if read == 0 {
                return Ok(());
            }
            let steps = self.session.steps();
            self.take(piece.get(..read).unwrap_or_default(), cancel).await?;
            // Of the whole, not of each byte: drops of a command are no headway.
            if self.session.steps() != steps {
                deadline = Instant::now() + self.limit;
            }
        }
    }

    async fn take(&mut self, piece: &[u8], cancel: &CancellationToken) -> Result<(), Fault> {
        let mut rest = piece;
        while !rest.is_empty() && !self.session.is_closed() {
            self.session.set_full(!self.shared.disk.has_room());
            let (taken, ask) = self.session.feed(rest);
            rest = rest.get(taken..).unwrap_or_default();
            if let Some(ask) = ask {
                let answer = match ask {
                    Ask::Room(place) => self.room(place, cancel).await?,
                    Ask::Memory(bytes) => self.memory(bytes, cancel).await?,
                    Ask::Store(letter) => self.store(letter).await,
                };
                self.session.answer(answer);
            }
            if !self.session.in_mail() {
                self.held = None;
            }
        }
        self.tell_of_too_large().await?;
        Ok(())
    }

    /// Waits while too many mails of the mailbox are not parsed yet.
    async fn room(&mut self, place: usize, cancel: &CancellationToken) -> Result<Answer, Fault> {
        let shared = self.shared.clone();
        let (Some(mailbox), Some(room)) = (shared.book.get(place), shared.rooms.get(place)) else {
            return Ok(Answer::No);
        };
        let patience = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(2);
        loop {
            match room.take(&*shared.queue, &mailbox.name).await {
                Ok(true) => return Ok(Answer::Yes),
                Ok(false) => {}
                Err(err) if err.fault == StoreFault::Full => return Ok(Answer::No),
                Err(err) => return Err(err.into()),
            }
            // What was said before is not kept waiting.
            self.write().await?;
            shared.stored.notify_one();
            tokio::select! {
                () = cancel.cancelled() => return Ok(Answer::No),
                () = tokio::time::sleep(pause) => {}
            }
            if Instant::now() >= patience {
                tracing::warn!(mailbox = %mailbox.name, "mails come faster than they can be parsed: one is refused for now");
                return Ok(Answer::No);
            }
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// Waits for memory for the whole of a mail.
    async fn memory(&mut self, bytes: u64, cancel: &CancellationToken) -> Result<Answer, Fault> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        if let Ok(held) = self.memory.clone().try_acquire_many_owned(units) {
            self.held = Some(held);
            return Ok(Answer::Yes);
        }
        self.write().await?;
        let memory = self.memory.clone();
        let held = tokio::select! {
            () = cancel.cancelled() => return Ok(Answer::No),
            held = timeout(PATIENCE, memory.acquire_many_owned(units)) => held,
        };
        let Ok(Ok(held)) = held else {
            tracing::warn!("too many mails come in at a time: one is refused for now; raise in_flight if that lasts");
            return Ok(Answer::No);
        };
        self.held = Some(held);
        Ok(Answer::Yes)
    }

    async fn store(&mut self, letter: Letter) -> Answer {
        let name = |place: &usize| self.shared.book.get(*place).map(|mailbox| mailbox.name.clone());
        let mailboxes = letter.mailboxes.iter().filter_map(name).collect();
        let cursor = Cursor::Lmtp { delivery: format!("{:016x}", rand::random::<u64>()) };
        // No date: what the last mail server wrote into the mail tells how long it waited there.
        let mail = NewMessage { cursor, raw: letter.raw, internal_date: None, oversize: None };
        let stored = self.commits.store(Handed { mailboxes, mail }).await;
        self.shared.meter.mail(stored.is_some());
        match stored {
            Some(ids) => {
                tracing::debug!(messages = ?ids, "stored");
                Answer::Stored(ids)
            }
            None => Answer::No,
        }
    }

    /// The sender is told by the reply; the operators, since it may be an alert and its sender a machine, by a notice.
    async fn tell_of_too_large(&mut self) -> Result<(), StoreError> {
        for refused in self.session.take_too_large() {
            let mailbox = refused.mailbox.and_then(|place| self.shared.book.get(place));
            let (name, most) = mailbox.map_or_else(
                || ("lmtp".to_owned(), self.shared.book.max_size()),
                |mailbox| (format!("mailbox {}", mailbox.name), mailbox.max_size),
            );
            let text = format!(
                "{name}: a mail of {} was refused, max_size is {}; its sender was told",
                Size(refused.size),
                Size(most)
            );
            tracing::warn!("{text}");
            match self.shared.queue.note(&format!("too-large:{name}"), &text, Timestamp::now()).await {
                // Told by the log alone: a full disk is told of anyway, and the end of the service must not wait for it.
                Err(err) if err.fault == StoreFault::Full => tracing::warn!(%err, "the operators are not told of it"),
                noted => noted?,
            }
        }
        Ok(())
    }

    /// Writes the replies. Who does not read them in time is cut off.
    async fn write(&mut self) -> io::Result<()> {
        let replies = self.session.take_replies();
        if replies.is_empty() {
            return Ok(());
        }
        let written = timeout(self.limit, async {
            self.stream.write_all(&replies).await?;
            self.stream.flush().await
        });
        written.await.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it does not read its replies")))
    }
}
