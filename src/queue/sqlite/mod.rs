//! The queue on embedded SQLite: WAL, `synchronous=FULL`, one connection that writes, one process.
//!
//! * Every commit is one transaction on the writing connection. A connection on which anything failed, or whose caller went
//!   away in the middle, is closed (which rolls back) and opened anew.
//! * After a failure that leaves open what is on disk nothing is written any more: each later call fails as well.
//! * A limit is written `LIMIT $1 + 0`: SQLite plans with the value of a bare parameter, and so plans anew each time.
//! * Statements work on whole batches (`json_each`), since each one is a trip to the connection's thread.
//!   Parameters are written `$1`, not `?1`: sqlx miscounts the latter where one query is several statements.
//! * A notification that a digest carries (`carrier`) is queued with it and follows its way; it is never due by itself,
//!   counts as told, and is not superseded.

mod backlog;
mod clock;
mod conn;
mod d1;
mod d2;
mod desk;
mod digest;
mod doubt;
mod ends;
mod feed;
mod findings;
mod inbox;
mod notices;
mod open;
mod outbox;
mod posted;
mod purge;
mod receipts;
mod removed;
mod retire;
mod rows;
mod search;
mod steps;
mod storm;
mod story;
#[cfg(test)]
mod tests;
mod timeline;
mod tokens;
mod watch;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{Mutex, MutexGuard, Notify};

use self::conn::{Lease, broken};
use super::files::{Lock, lock, prepare_directory};
use super::{Settings, StoreError, StoreFault};
use crate::metrics::{Step, StoreMeter};

/// The store. Dropped or closed, it gives its lock back.
pub struct Sqlite {
    path: PathBuf,
    writing: open::Options,
    reading: open::Options,
    purging: open::Options,
    writer: Mutex<Option<SqliteConnection>>,
    /// For the loops.
    reader: Mutex<Option<SqliteConnection>>,
    /// For people, whose questions may take longer.
    desk: Mutex<Option<SqliteConnection>>,
    /// For the event stream.
    feed: Mutex<Option<SqliteConnection>>,
    /// For the purge, in the writer's turn.
    purger: Mutex<Option<SqliteConnection>>,
    broken: AtomicBool,
    /// How many of each topic the notice that is being written speaks of: what is noted meanwhile stays for the next.
    offered: std::sync::Mutex<HashMap<String, u64>>,
    meter: Arc<StoreMeter>,
    /// Notified after each commit.
    news: Arc<Notify>,
    // Last: given back after the connections are closed.
    _lock: Lock,
}

impl Sqlite {
    /// Opens the store, creating it (0600) where there is none.
    ///
    /// # Errors
    /// `Refused`: another process holds it; the error names its pid. `Full`: no space to begin with. `Broken`: not a store,
    /// a newer schema (nothing is touched), not writable, or a setting that the promise depends on did not take.
    pub async fn open(settings: &Settings) -> Result<Arc<Self>, StoreError> {
        let path = std::path::absolute(&settings.path)
            .map_err(|err| broken(format!("{} is no path: {err}", settings.path.display())))?;
        prepare_directory(&path)?;
        let lock = lock(&path).await?;
        open::prepare_file(&path)?;
        let (writing, reading, purging) = (open::writing(&path), open::reading(&path), open::purging(&path));
        let mut conn = open::connect(&writing).await?;
        open::migrate(&mut conn, &path).await?;
        Ok(Arc::new(Self {
            path,
            writing,
            reading,
            purging,
            writer: Mutex::new(Some(conn)),
            reader: Mutex::default(),
            desk: Mutex::default(),
            feed: Mutex::default(),
            purger: Mutex::default(),
            broken: AtomicBool::new(false),
            offered: std::sync::Mutex::default(),
            meter: Arc::default(),
            news: Arc::default(),
            _lock: lock,
        }))
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Counts what is committed.
    pub fn meter(&self) -> Arc<StoreMeter> {
        Arc::clone(&self.meter)
    }

    /// Closes the connections, so that the log is folded into the file. Calls that come later open them again.
    pub async fn close(&self) {
        for slot in [&self.reader, &self.desk, &self.feed, &self.purger, &self.writer] {
            if let Some(conn) = slot.lock().await.take()
                && let Err(err) = conn.close().await
            {
                tracing::warn!(%err, "the store did not close cleanly; it is recovered at the next start");
            }
        }
    }

    /// The connection that writes, with nothing begun.
    async fn writer(&self) -> Result<Lease<'_>, StoreError> {
        let mut slot = self.turn().await?;
        let conn = match slot.take() {
            Some(conn) => conn,
            None => open::connect(&self.writing).await?,
        };
        Ok(Lease::new(slot, conn).writing(&self.news))
    }

    /// The turn to write: nobody else does while it is held.
    async fn turn(&self) -> Result<MutexGuard<'_, Option<SqliteConnection>>, StoreError> {
        let slot = self.writer.lock().await;
        if self.broken.load(Ordering::Acquire) {
            return Err(broken("an earlier write failed: what is on disk is unknown, nothing more is written"));
        }
        Ok(slot)
    }

    /// The connection that writes, in a transaction.
    async fn begin(&self) -> Result<Lease<'_>, StoreError> {
        let mut lease = self.writer().await?;
        lease.begin().await?;
        Ok(lease)
    }

    async fn reader(&self) -> Result<Lease<'_>, StoreError> {
        self.lend(&self.reader, &self.reading).await
    }

    async fn desk(&self) -> Result<Lease<'_>, StoreError> {
        self.lend(&self.desk, &self.reading).await
    }

    async fn lend<'a>(
        &'a self,
        slot: &'a Mutex<Option<SqliteConnection>>,
        options: &open::Options,
    ) -> Result<Lease<'a>, StoreError> {
        let mut slot = slot.lock().await;
        let conn = match slot.take() {
            Some(conn) => conn,
            None => open::connect(options).await?,
        };
        Ok(Lease::new(slot, conn))
    }

    /// A commit that is counted, and timed from the wish to the end.
    async fn step<T>(&self, step: Step, commit: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let begun = Instant::now();
        let done = self.written(commit.await)?;
        self.meter.committed(step, begun.elapsed());
        Ok(done)
    }

    /// Remembers that a write left open what is on disk.
    fn written<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError { fault: StoreFault::Broken, .. }) = &result {
            self.broken.store(true, Ordering::Release);
        }
        result
    }
}
