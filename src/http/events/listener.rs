//! One who listens: its place in the log, and what it wants.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::{Stream, stream};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::frame::{Frame, Why, alive, beginning, dropped, reset};
use super::hub::{Look, Read, Seat};
use crate::http::auth::{Auth, Caller, Pass};
use crate::http::{Door, Settings};
use crate::model::GroupName;
use crate::queue::{EventKind, Reach, StoreError};

/// Events that are taken out of the window at a time: what is taken is held until it is sent.
const SOME: usize = 16;

/// What one may see, and wants to.
pub(super) struct Wanted {
    /// `None`: all.
    pub(super) kinds: Option<Vec<EventKind>>,
    /// `None`: all, and what is of no group.
    pub(super) groups: Option<Vec<GroupName>>,
    pub(super) caller: Caller,
}

impl Wanted {
    /// As it is told to this one; `None`: not at all.
    fn bytes(&self, frame: &Frame) -> Option<Bytes> {
        if self.kinds.as_ref().is_some_and(|kinds| !kinds.contains(&frame.kind)) {
            return None;
        }
        if self.groups.as_ref().is_some_and(|groups| !frame.groups.iter().any(|group| groups.contains(group))) {
            return None;
        }
        if self.caller.groups.is_empty() {
            return Some(frame.whole());
        }
        let seen: Vec<_> = frame.groups.iter().filter(|group| self.caller.sees(group)).cloned().collect();
        (!seen.is_empty()).then(|| frame.with(&seen))
    }
}

pub(super) struct Listener {
    seat: Seat,
    wanted: Wanted,
    auth: Arc<Auth>,
    pass: Pass,
    settings: watch::Receiver<Arc<Settings>>,
    head: watch::Receiver<i64>,
    revoked: watch::Receiver<()>,
    ending: CancellationToken,
    /// To be sent, first.
    first: Option<Bytes>,
    /// Taken, and not looked at yet.
    taken: VecDeque<Arc<Frame>>,
    /// Everything up to this one was looked at, but for what is taken.
    last: i64,
    /// It has reached the window.
    live: bool,
    over: bool,
    /// When something was sent.
    sent: Instant,
}

impl Listener {
    /// From there on; without a place from now on.
    pub(super) fn new(door: &Door, seat: Seat, pass: Pass, wanted: Wanted, span: Reach, after: Option<i64>) -> Self {
        let last = after.unwrap_or(span.newest);
        let there = (span.oldest - 1..=span.newest).contains(&last);
        let (first, last) = if there { (beginning(last), last) } else { (reset(span), span.newest) };
        Self {
            wanted,
            auth: Arc::clone(&door.auth),
            pass,
            settings: door.settings.clone(),
            head: seat.0.head.subscribe(),
            revoked: door.auth.revoked(),
            ending: door.ending.clone(),
            seat,
            first: Some(first),
            taken: VecDeque::new(),
            last,
            live: false,
            over: false,
            sent: Instant::now(),
        }
    }

    /// What is sent, until it is over.
    pub(super) fn stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
        stream::unfold(self, |mut listener| async move {
            let bytes = listener.next().await?;
            listener.sent = Instant::now();
            Some((Ok(bytes), listener))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            if self.ending.is_cancelled() {
                return self.end(Why::Stopping);
            }
            if self.revoked.has_changed().unwrap_or(true) && !self.may_stay() {
                return self.end(Why::Token);
            }
            while let Some(frame) = self.taken.pop_front() {
                self.last = frame.id.max(self.last);
                if let Some(bytes) = self.wanted.bytes(&frame) {
                    return Some(bytes);
                }
            }
            self.head.mark_unchanged();
            match self.seat.0.after(self.last, SOME) {
                Look::Frames(frames) => {
                    self.live = true;
                    self.taken.extend(frames);
                }
                Look::Behind if self.live => return self.end(Why::Slow),
                Look::Behind => match self.read().await {
                    Ok(None) => continue,
                    Ok(reset) => return reset,
                    Err(err) => {
                        tracing::warn!(%err, "the log of events cannot be read");
                        return self.end(Why::Store);
                    }
                },
                Look::Empty => {}
            }
            if self.taken.is_empty()
                && let Some(bytes) = self.wait().await
            {
                return Some(bytes);
            }
        }
    }

    /// Takes up a page of the log. Where it has been trimmed meanwhile, what to say of that.
    async fn read(&mut self) -> Result<Option<Bytes>, StoreError> {
        let Read { frames, last, trimmed } = self.seat.0.read(self.last).await?;
        if trimmed {
            let span = self.seat.0.span().await?;
            self.last = span.newest;
            return Ok(Some(reset(span)));
        }
        self.taken.extend(frames);
        if self.taken.is_empty() {
            self.last = last;
        }
        Ok(None)
    }

    /// Until there may be something to do; something to be sent where that took long.
    async fn wait(&mut self) -> Option<Bytes> {
        let keep_alive = self.settings.borrow().events.keep_alive;
        let at = self.sent + keep_alive.max(Duration::from_millis(1));
        tokio::select! {
            () = self.ending.cancelled() => None,
            _ = self.revoked.changed() => {
                // Looked at next, whoever it was.
                self.revoked.mark_changed();
                None
            }
            _ = self.head.changed() => None,
            () = sleep_until(at) => if self.may_stay() { Some(alive(self.last)) } else { self.end(Why::Token) },
        }
    }

    fn may_stay(&mut self) -> bool {
        self.revoked.mark_unchanged();
        self.auth.lasts(&self.pass, Timestamp::now())
    }

    fn end(&mut self, why: Why) -> Option<Bytes> {
        self.over = true;
        Some(dropped(why))
    }
}
