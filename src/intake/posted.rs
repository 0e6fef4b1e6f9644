//! Alerts that come over HTTP: whatever is handed in while one commit runs goes into the next one together, so that many senders
//! share an fsync and a single one waits for none but its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Rulebook;
use super::committed::{hand_over, log_unsubscribed};
use crate::live::{Current, Live};
use crate::metrics::Beat;
use crate::queue::{Done, Express, Outbox, Post, Posts, StoreError, StoreFault};

/// Requests that wait to be committed; and most in one commit.
const WAITING: usize = 256;
const BATCH: usize = 64;
/// Alerts that are ended in one go because nobody posted them again.
const OVERDUE: usize = 100;
/// Without anything to do it still looks after this.
const LOOK: Duration = Duration::from_secs(60);
/// After what is wrong with the disk.
const PAUSE: Duration = Duration::from_secs(5);

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotTaken {
    /// The disk is full.
    Full,
    /// The service ends, or too many wait.
    Busy,
}

/// The requests' end.
#[derive(Clone)]
pub struct Desk(mpsc::Sender<Job>);

struct Job {
    post: Post,
    done: oneshot::Sender<Result<Done, NotTaken>>,
}

impl Desk {
    /// D2. It is durable when this returns.
    pub async fn hand_in(&self, post: Post) -> Result<Done, NotTaken> {
        let (done, told) = oneshot::channel();
        self.0.try_send(Job { post, done }).map_err(|_| NotTaken::Busy)?;
        told.await.unwrap_or(Err(NotTaken::Busy))
    }
}

/// What commits them.
pub struct Poster<Q: ?Sized> {
    /// The queue.
    pub queue: Arc<Q>,
    /// What the config says; one of them for each D2.
    pub rules: Live<Rulebook>,
    /// Writes what is born `sending`.
    pub express: Arc<dyn Express>,
    /// Notified after D2: dispatch may have something to do.
    pub poke: Arc<Notify>,
    /// It goes on.
    beat: Arc<Beat>,
    /// The disk was full at the last commit: that is told once.
    full: AtomicBool,
    jobs: mpsc::Receiver<Job>,
    /// Without an HTTP door nobody else holds an end of the way; what was posted before is over all the same some time.
    _way: Desk,
}

impl<Q: Posts + Outbox + ?Sized + 'static> Poster<Q> {
    /// The task, and the way to it.
    pub fn new(
        queue: Arc<Q>,
        rules: Live<Rulebook>,
        express: Arc<dyn Express>,
        poke: Arc<Notify>,
        beat: Arc<Beat>,
    ) -> (Self, Desk) {
        let (sender, jobs) = mpsc::channel(WAITING);
        let desk = Desk(sender);
        let full = AtomicBool::new(false);
        (Self { queue, rules, express, poke, beat, full, jobs, _way: desk.clone() }, desk)
    }

    /// Runs until `cancel`; whatever was handed in until then is committed.
    ///
    /// # Errors
    /// The store failed; how much was committed is not known.
    pub async fn run(mut self, cancel: CancellationToken) -> Result<(), StoreError> {
        let mut look = Instant::now();
        loop {
            self.beat.beat();
            // However much is handed in, what is over is told.
            if look <= Instant::now() {
                look = Instant::now() + self.end_overdue().await?;
            }
            let first = tokio::select! {
                biased;
                job = self.jobs.recv() => job,
                () = cancel.cancelled() => {
                    self.jobs.close();
                    match self.jobs.recv().await {
                        None => return Ok(()),
                        job => job,
                    }
                }
                () = sleep_until(look) => continue,
            };
            let Some(first) = first else { return Ok(()) };
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(next) = self.jobs.try_recv()
            {
                batch.push(next);
            }
            let (posts, waiting): (Vec<Post>, Vec<_>) = batch.into_iter().map(|job| (job.post, job.done)).unzip();
            let mut waiting = waiting.into_iter();
            let mut left = posts.as_slice();
            while !left.is_empty() {
                let answers = self.commit(left).await?;
                left = left.get(answers.len().max(1)..).unwrap_or_default();
                for (answer, done) in answers.into_iter().zip(waiting.by_ref()) {
                    // Who is gone meanwhile asks again, and is told the same.
                    let _ = done.send(answer);
                }
            }
            // One of them may end sooner than the one that was waited for.
            if posts.iter().any(|post| !post.posted.is_empty()) {
                look = Instant::now();
            }
        }
    }

    /// One D2 of as many from the front as it takes; what became of each.
    async fn commit(&self, posts: &[Post]) -> Result<Vec<Result<Done, NotTaken>>, StoreError> {
        self.beat.beat();
        let (now, epoch, rules) = (Timestamp::now(), self.express.epoch(), self.rules.get());
        if let Some(answer) = posts.first().and_then(|post| outside(post, &rules)) {
            return Ok(vec![Ok(answer)]);
        }
        let inside = posts.iter().take_while(|post| outside(post, &rules).is_none()).count();
        let some = posts.get(..inside).unwrap_or_default();
        match self.queue.d2_posted(some, &*rules.router, &*self.express, now).await {
            Ok(report) => {
                fail::fail_point!("posted");
                if self.full.swap(false, Ordering::Relaxed) {
                    tracing::info!("there is room on the disk again: alerts over HTTP are taken");
                }
                log_unsubscribed(&report.unsubscribed);
                hand_over(&*self.queue, &*self.express, epoch, report.born, now).await?;
                self.poke.notify_one();
                Ok(report.done.into_iter().map(Ok).collect())
            }
            Err(err) if err.fault == StoreFault::Full => {
                if !self.full.swap(true, Ordering::Relaxed) {
                    tracing::error!(%err, "the disk is full: alerts over HTTP are refused for now");
                }
                Ok(some.iter().map(|_| Err(NotTaken::Full)).collect())
            }
            Err(err) => Err(err),
        }
    }

    /// Ends what nobody posted again; says when to look again.
    async fn end_overdue(&self) -> Result<Duration, StoreError> {
        let now = Timestamp::now();
        let (posts, next) = self.queue.overdue(now, OVERDUE).await?;
        let mut left = posts.as_slice();
        while !left.is_empty() {
            let answers = self.commit(left).await?;
            if answers.contains(&Err(NotTaken::Full)) {
                return Ok(PAUSE);
            }
            left = left.get(answers.len().max(1)..).unwrap_or_default();
        }
        let wait = next.map(|next| Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO));
        Ok(wait.map_or(LOOK, |wait| wait.min(LOOK)))
    }
}

/// A token of some groups reaches no others, also where none of its own is in the config any more: then routes would decide.
fn outside(post: &Post, rules: &Current<Rulebook>) -> Option<Done> {
    if post.groups.is_empty() {
        return None;
    }
    let known = |alert: &crate::model::Alert| {
        alert.groups.iter().any(|group| group.parse().is_ok_and(|group| rules.router.has_group(&group)))
    };
    let alerts = post.alerts.iter().chain(post.posted.iter().map(|held| &held.alert));
    let unknown = alerts.enumerate().find(|(_, alert)| !known(alert));
    unknown.map(|(index, _)| Done::Refused(index, "none of the groups of this token is in the config".to_owned()))
}
