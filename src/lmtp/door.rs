//! One listener and its connections.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::Settings;
use super::commit::{Commits, commits};
use super::connection::{Connection, UNIT};
use super::protocol::{Book, Mailbox};
use super::room::Room;
use super::socket::{Listener, Stream};
use crate::intake::Disk;
use crate::metrics::DoorMeter;
use crate::queue::{Inbox, Outbox, StoreError};

/// After an error of accept(2): most often there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(500);
/// For the word to a connection that is too many.
const FAREWELL: Duration = Duration::from_secs(1);

/// What all doors share.
pub struct Shared<Q: ?Sized> {
    /// The queue.
    pub(super) queue: Arc<Q>,
    /// Notified after D1.
    pub(super) stored: Arc<Notify>,
    /// Below the reserve no mail is begun.
    pub(super) disk: Disk,
    /// Which address belongs to which mailbox.
    pub(super) book: Arc<Book>,
    /// By place in the book.
    pub(super) rooms: Vec<Room>,
    /// Counts.
    pub(super) meter: Arc<DoorMeter>,
}

impl<Q: ?Sized> Shared<Q> {
    /// `stored` is notified after D1; below the reserve that `disk` minds no mail is begun.
    pub fn new(queue: Arc<Q>, stored: Arc<Notify>, disk: Disk, mailboxes: Vec<Mailbox>) -> Self {
        let rooms = mailboxes.iter().map(|_| Room::default()).collect();
        Self { queue, stored, disk, book: Arc::new(Book::new(mailboxes)), rooms, meter: Arc::default() }
    }

    /// With somebody who counts.
    pub fn seen_by(self, meter: Arc<DoorMeter>) -> Self {
        Self { meter, ..self }
    }
}

/// One `[[lmtp]]`, bound.
pub struct Door<Q: ?Sized> {
    settings: Settings,
    listener: Listener,
    shared: Arc<Shared<Q>>,
}

impl<Q: Inbox + Outbox + ?Sized + 'static> Door<Q> {
    /// A door that does not answer yet; who connects waits.
    pub fn new(settings: Settings, listener: Listener, shared: Arc<Shared<Q>>) -> Self {
        Self { settings, listener, shared }
    }

    /// Answers until `cancel`: then it takes no more connections, ends those between two mails, and waits for mails that are
    /// coming in. Dropped, it cuts them off: without a reply their senders keep them.
    ///
    /// # Errors
    /// A broken store.
    #[tracing::instrument(skip_all, fields(listen = %self.settings.listen))]
    pub async fn run(self, cancel: CancellationToken) -> Result<(), StoreError> {
        let (commits, task) = commits(self.shared.queue.clone(), self.shared.stored.clone());
        let (accept, task) = (self.accept(commits, cancel), std::pin::pin!(task));
        tokio::pin!(accept);
        let mut task = task;
        // Committing is over when the last connection is, or the store is broken: then nobody is waited for.
        tokio::select! {
            accepted = &mut accept => {
                accepted?;
                task.await
            }
            committed = &mut task => {
                committed?;
                accept.await
            }
        }
    }

    async fn accept(self, commits: Commits, cancel: CancellationToken) -> Result<(), StoreError> {
        let Self { settings, listener, shared } = self;
        let places = Arc::new(Semaphore::new(settings.max_connections));
        let units = usize::try_from(settings.in_flight / UNIT).unwrap_or(Semaphore::MAX_PERMITS);
        let memory = Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS)));
        let mut connections = JoinSet::new();
        let mut crowded = false;
        let listen = settings.listen.to_string();
        shared.meter.open(&listen);
        loop {
            let accepted = tokio::select! {
                () = cancel.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    outcome(ended)?;
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(err) => {
                    tracing::warn!(%err, "no connection can be taken; tried again");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                if !std::mem::replace(&mut crowded, true) {
                    tracing::warn!(max = settings.max_connections, %peer, "too many connections: further ones are refused");
                }
                shared.meter.connected(&listen, false);
                turn_away(stream).await;
                continue;
            };
            shared.meter.connected(&listen, true);
            crowded &= places.available_permits() == 0;
            let connection = Connection::new(shared.clone(), commits.clone(), memory.clone(), stream, &settings);
            let (cancel, span) = (cancel.clone(), tracing::debug_span!("connection", %peer));
            let talk = async move {
                let _place = place;
                connection.run(cancel).await
            };
            connections.spawn(talk.instrument(span));
        }
        drop((listener, commits));
        while let Some(ended) = connections.join_next().await {
            outcome(ended)?;
        }
        Ok(())
    }
}

/// A connection that panicked was ours to get right, and ends alone: its sender got no reply, and keeps the mail.
fn outcome(ended: Result<Result<(), StoreError>, tokio::task::JoinError>) -> Result<(), StoreError> {
    ended.unwrap_or_else(|err| {
        tracing::error!(%err, "a connection failed");
        Ok(())
    })
}

async fn turn_away(mut stream: Box<dyn Stream>) {
    let said = async {
        stream.write_all(b"421 4.3.2 too many connections; come again\r\n").await?;
        stream.shutdown().await
    };
    // A fresh socket has room for one line: this does not wait.
    if let Ok(Err(err)) = timeout(FAREWELL, said).await {
        tracing::debug!(%err, "it was gone already");
    }
}
