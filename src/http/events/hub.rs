//! The window: the newest events, ready to be sent, and the task that fills it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::frame::Frame;
use crate::http::Settings;
use crate::queue::{EventPage, Events, Reach, StoreError};

/// The window holds so many events, and no more than so many bytes: who is further behind than that is too slow.
const WINDOW: usize = 4096;
const BYTES: usize = 16 << 20;
/// Events read at a time.
const PAGE: usize = 256;
/// Between two looks into the log: what is committed meanwhile is read together.
const PACE: Duration = Duration::from_millis(10);
/// Between two tries to read a log that cannot be read.
const AGAIN: Duration = Duration::from_secs(1);
/// Between two looks at how long the log has become; and how much is removed in one commit, and the pause after it.
const TRIM: Duration = Duration::from_secs(5);
const STEP: u64 = 512;
const PAUSE: Duration = Duration::from_millis(20);
/// Listeners who read the log at a time.
const READERS: usize = 4;

/// The newest events, and who listens.
pub struct Feed {
    log: Arc<dyn Events>,
    settings: watch::Receiver<Arc<Settings>>,
    state: Mutex<State>,
    /// The number of the newest event in the window.
    pub(super) head: watch::Sender<i64>,
    came: Notify,
    readers: Semaphore,
    size: usize,
}

#[derive(Default)]
struct State {
    seats: usize,
    /// `None`: nobody listens, or nobody did until a moment ago.
    window: Option<Window>,
}

/// All events above `floor`, up to the head.
struct Window {
    floor: i64,
    head: i64,
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
}

/// What is in the window.
pub(super) enum Look {
    /// It is not filled yet.
    Empty,
    /// It begins later.
    Behind,
    /// This.
    Frames(Vec<Arc<Frame>>),
}

/// A page of the log.
pub(super) struct Read {
    pub(super) frames: Vec<Arc<Frame>>,
    /// The last number that was looked at.
    pub(super) last: i64,
    /// What came before is not there any more.
    pub(super) trimmed: bool,
}

/// One of those who listen; dropped, it leaves its place to another.
pub(super) struct Seat(pub(super) Arc<Feed>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.lock().seats -= 1;
    }
}

impl Feed {
    /// Over this log.
    pub fn new(log: Arc<dyn Events>, settings: watch::Receiver<Arc<Settings>>) -> Arc<Self> {
        Self::sized(log, settings, WINDOW)
    }

    pub(super) fn sized(log: Arc<dyn Events>, settings: watch::Receiver<Arc<Settings>>, size: usize) -> Arc<Self> {
        Arc::new(Self {
            log,
            settings,
            state: Mutex::default(),
            head: watch::Sender::new(0),
            came: Notify::new(),
            readers: Semaphore::new(READERS),
            size,
        })
    }

    /// A place among at most so many.
    pub(super) fn seat(self: &Arc<Self>, most: usize) -> Option<Seat> {
        let mut state = self.lock();
        if state.seats >= most {
            return None;
        }
        state.seats += 1;
        drop(state);
        self.came.notify_one();
        Some(Seat(Arc::clone(self)))
    }

    /// What the log holds.
    pub(super) async fn span(&self) -> Result<Reach, StoreError> {
        self.log.span().await
    }

    /// At most `limit` events of the window after that one.
    pub(super) fn after(&self, last: i64, limit: usize) -> Look {
        let state = self.lock();
        let Some(window) = &state.window else { return Look::Empty };
        if last < window.floor {
            return Look::Behind;
        }
        let from = window.frames.partition_point(|frame| frame.id <= last);
        Look::Frames(window.frames.range(from..).take(limit).cloned().collect())
    }

    /// Events of the log after that one. Few read at a time: the others wait.
    pub(super) async fn read(&self, after: i64) -> Result<Read, StoreError> {
        // It is never closed.
        let _permit = self.readers.acquire().await.ok();
        self.page(after).await
    }

    async fn page(&self, after: i64) -> Result<Read, StoreError> {
        let body = self.settings.borrow().events.body;
        let EventPage { events, first, last } = self.log.events(after, PAGE, body).await?;
        let frames = events.iter().map(|event| Arc::new(Frame::new(event))).collect();
        Ok(Read { frames, last, trimmed: first > after + 1 })
    }

    /// Fills the window while somebody listens, and keeps the log from growing, until cancelled.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) -> Result<(), StoreError> {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = async { tokio::join!(self.fill(), self.trim()).0 } => {}
        }
        Ok(())
    }

    async fn fill(&self) {
        let news = self.log.news();
        loop {
            if self.nobody_listens() {
                self.came.notified().await;
                continue;
            }
            let begun = Instant::now();
            match self.look().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(err) => {
                    tracing::warn!(%err, "the log of events cannot be read; tried again");
                    sleep(AGAIN).await;
                    continue;
                }
            }
            tokio::select! {
                () = news.notified() => {}
                // Somebody may have come while the window was being emptied.
                () = self.came.notified() => {}
            }
            sleep(PACE.saturating_sub(begun.elapsed())).await;
        }
    }

    /// Then the window is emptied.
    fn nobody_listens(&self) -> bool {
        let mut state = self.lock();
        if state.seats == 0 {
            state.window = None;
        }
        state.seats == 0
    }

    /// Takes up what is new. `true`: there may be more.
    async fn look(&self) -> Result<bool, StoreError> {
        let head = self.lock().window.as_ref().map(|window| window.head);
        let Some(head) = head else {
            let newest = self.log.span().await?.newest;
            let window = Window { floor: newest, head: newest, frames: VecDeque::new(), bytes: 0 };
            self.lock().window = Some(window);
            self.head.send_replace(newest);
            return Ok(true);
        };
        let Read { frames, last, trimmed } = self.page(head).await?;
        if last == head {
            return Ok(false);
        }
        if let Some(window) = &mut self.lock().window {
            window.take(frames, last, trimmed, self.size);
        }
        self.head.send_replace(last);
        // Those who keep up can take it before the next comes.
        tokio::task::yield_now().await;
        Ok(true)
    }

    async fn trim(&self) {
        loop {
            sleep(TRIM).await;
            if let Err(err) = self.trimmed().await {
                tracing::warn!(%err, "the log of events is not trimmed; tried again later");
            }
        }
    }

    async fn trimmed(&self) -> Result<(), StoreError> {
        let kept = self.settings.borrow().events.kept;
        let Reach { oldest, newest } = self.log.span().await?;
        let there = u64::try_from(newest - oldest + 1).unwrap_or(0);
        if there <= kept + kept / 10 {
            return Ok(());
        }
        while self.log.trim(kept, STEP).await? > 0 {
            sleep(PAUSE).await;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What it guards is whole after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn take(&mut self, frames: Vec<Arc<Frame>>, last: i64, trimmed: bool, size: usize) {
        if trimmed {
            // The log itself was faster than we: nobody has all of it.
            (self.bytes, self.floor) = (0, frames.first().map_or(last, |frame| frame.id - 1));
            self.frames.clear();
        }
        self.bytes += frames.iter().map(|frame| frame.size()).sum::<usize>();
        self.frames.extend(frames);
        self.head = last;
        while self.frames.len() > size || self.bytes > BYTES {
            let Some(gone) = self.frames.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(gone.size());
            self.floor = gone.id;
        }
    }
}
