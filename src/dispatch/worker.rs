//! The worker: one task that owns the way from the queue to the messenger.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::clock::{Wall, mono};
use super::doubt::LookingUp;
use super::notices::Bursts;
use super::receipts::Hearing;
use super::record::{Record, recorder};
use super::{Event, Events, ExpressLane, Messenger, Rules, Settings};
use crate::live::{Current, Live};
use crate::metrics::{Beat, SessionState};
use crate::model::{AlertId, BareJid, Drift, Epoch, GroupName};
use crate::queue::{Outbox, StoreError, patiently};
use crate::route::Router;

/// Most events taken at a time.
const EVENTS: usize = 256;
/// Without a timer or an event the worker still looks after this: a lost wake-up costs seconds, not an outage.
const LOOK: Duration = Duration::from_secs(10);
/// Nothing expires for so long after the clock jumped.
const GRACE: Duration = Duration::from_secs(300);
/// Least time between two sweeps.
const SWEEP: Duration = Duration::from_secs(1);
/// At the end the messenger tells what it still knows within this.
const LAST_WORDS: Duration = Duration::from_millis(1500);

/// What the worker is made of.
pub struct Parts<Q: Outbox + ?Sized> {
    /// The queue.
    pub queue: Arc<Q>,
    /// The sending side.
    pub messenger: Arc<dyn Messenger>,
    /// The telling side.
    pub events: Events,
    /// Presence, and the window.
    pub lane: Arc<ExpressLane>,
    /// What the config says: one of them from one wake-up to the next.
    pub rules: Live<Rules>,
    /// Our own bare JID: errors are believed from it.
    pub own: BareJid,
    /// Notified when there may be something to do: after D2, after an operator's retry.
    pub poke: Arc<Notify>,
    /// Ends the messenger's session, once nothing of ours is on its way any more.
    pub farewell: CancellationToken,
    /// The wall clock; timers are monotonic.
    pub wall: Wall,
    /// Told how the session is.
    pub seen: Arc<SessionState>,
    /// It goes on.
    pub beat: Arc<Beat>,
}

/// Owns the way from the queue to the messenger.
pub struct Worker<Q: Outbox + ?Sized> {
    pub(super) queue: Arc<Q>,
    pub(super) messenger: Arc<dyn Messenger>,
    pub(super) lane: Arc<ExpressLane>,
    live: Live<Rules>,
    /// Whose router and settings the next two are.
    rules: Current<Rules>,
    pub(super) router: Arc<Router>,
    pub(super) settings: Settings,
    pub(super) own: BareJid,
    pub(super) wall: Wall,
    pub(super) records: mpsc::Sender<Record>,
    pub(super) session: Session,
    /// When a recipient was last answered in person.
    pub(super) answered: HashMap<BareJid, Instant>,
    /// Watches up to here were looked at.
    pub(super) watched_to: Option<(AlertId, GroupName)>,
    drift: Drift,
    swept: Option<Instant>,
    /// Something happened since the last sweep, too soon after it for another.
    sweep_owed: bool,
    pub(super) hearing: Hearing,
    /// Since when a recipient has been online.
    pub(super) online_since: HashMap<BareJid, Instant>,
    pub(super) bursts: Bursts,
    /// Recipients who have not granted the subscription, and of whom the operators may not know it.
    pub(super) ungranted: BTreeSet<BareJid>,
    pub(super) seen: Arc<SessionState>,
    beat: Arc<Beat>,
}

/// The XMPP session as the worker sees it.
pub(super) struct Session {
    /// Epoch of the session that is up, or may yet resume.
    pub epoch: Option<Epoch>,
    pub up: bool,
    /// When offline is believed next, of all or of one.
    pub settles: Option<Instant>,
    /// Since when it is down, and why.
    pub down_since: Instant,
    pub why: String,
    /// The operators' command ran for this outage.
    pub commanded: bool,
    /// What the server's archive is asked for.
    pub looking_up: LookingUp,
}

/// Runs a worker until `cancel`; then until everything in flight is acknowledged or the grace of its rules is over.
pub async fn run<Q>(parts: Parts<Q>, cancel: CancellationToken) -> Result<(), StoreError>
where
    Q: Outbox + ?Sized + 'static,
{
    let Parts { queue, messenger, mut events, lane, rules: live, own, poke, farewell, wall, seen, beat } = parts;
    lane.remember(&queue.intents(lane.remembers_since()).await?);
    let (records, recorder) = recorder(queue.clone(), wall);
    let recorder = tokio::spawn(recorder);
    let rules = live.get();
    let mut worker = Worker {
        queue,
        messenger,
        lane,
        router: rules.router.clone(),
        settings: rules.settings.clone(),
        rules,
        live,
        own,
        wall,
        records,
        session: Session {
            epoch: None,
            up: false,
            settles: None,
            down_since: mono(),
            why: "connecting".into(),
            commanded: false,
            looking_up: LookingUp::default(),
        },
        answered: HashMap::new(),
        drift: Drift::new(wall(), mono()),
        swept: None,
        sweep_owed: false,
        hearing: Hearing::new(mono()),
        online_since: HashMap::new(),
        bursts: Bursts::default(),
        ungranted: BTreeSet::new(),
        watched_to: None,
        seen,
        beat,
    };
    let served = worker.serve(&mut events, &poke, &cancel).await;
    let served = match served {
        Ok(()) => worker.drain(&mut events, &farewell).await,
        broken => broken,
    };
    // Without the worker's sender the recorder writes what it has, and ends.
    drop(worker);
    let recorded = recorder.await.unwrap_or_else(|err| {
        Err(StoreError { what: format!("the recorder failed: {err}"), fault: crate::queue::StoreFault::Broken })
    });
    served.and(recorded)
}

impl<Q: Outbox + ?Sized> Worker<Q> {
    async fn serve(
        &mut self,
        events: &mut Events,
        poke: &Notify,
        cancel: &CancellationToken,
    ) -> Result<(), StoreError> {
        let mut told = Vec::new();
        loop {
            self.beat.beat();
            let sleep = self.until_next().await?;
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = poke.notified() => {}
                () = tokio::time::sleep(sleep) => {}
                n = events.recv_many(&mut told, EVENTS) => if n == 0 { return Ok(()) },
            }
            self.refresh().await?;
            self.look_at_clock().await?;
            self.take(told.drain(..)).await?;
            self.round().await?;
        }
    }

    /// What the config says now. After a reload the worker is poked, so that nobody waits for it to let the old one go.
    async fn refresh(&mut self) -> Result<(), StoreError> {
        let rules = self.live.get();
        if rules.is(&self.rules) {
            return Ok(());
        }
        let old = std::mem::replace(&mut self.router, rules.router.clone());
        self.settings = rules.settings.clone();
        self.rules = rules;
        self.forget_removed(&old).await
    }

    /// One round: what is over ends, what is due is sent or held, and then groups without anybody reachable fall back.
    async fn round(&mut self) -> Result<(), StoreError> {
        let swept = self.sweep().await?;
        let mut all = self.look_settled().await? || swept;
        loop {
            self.beat.beat();
            self.send_waited().await?;
            self.send_due().await?;
            if !self.settle_watches(all).await? {
                return Ok(());
            }
            // A fallback group is watched in turn, under the number of its alert: that may be an old one.
            all = true;
        }
    }

    /// Once offline is believed of somebody, what waits for them is looked at again. `true`: it was.
    async fn look_settled(&mut self) -> Result<bool, StoreError> {
        let now = mono();
        let next = self.lane.tracker(|t| t.next_settle(now));
        let came = std::mem::replace(&mut self.session.settles, next).is_some_and(|at| at <= now);
        if came && self.session.up {
            self.on_return_of_all().await?;
        }
        Ok(came)
    }

    /// Ends holds and alerts that are over; looks for receipts that are missing; tells what the operators should hear.
    /// At most once a second; `true`: it did.
    async fn sweep(&mut self) -> Result<bool, StoreError> {
        let mono = mono();
        if self.swept.is_some_and(|last| mono.duration_since(last) < SWEEP) {
            self.sweep_owed = true;
            return Ok(false);
        }
        self.hearing.slept(self.swept.map_or(Duration::ZERO, |last| mono.duration_since(last)), mono);
        self.swept = Some(mono);
        self.sweep_owed = false;
        self.hearing.next = None;
        let now = (self.wall)();
        if self.drift.steady(mono, GRACE) {
            let ended = patiently("expire", || self.queue.expire(now)).await?;
            self.tell_of_expired(&ended).await?;
            self.look_for_receipts(now).await?;
        }
        self.note_ungranted().await?;
        self.send_notices(now).await?;
        self.watch_outage().await?;
        Ok(true)
    }

    /// Before anything is timed by a clock that jumped: what waits is moved along, and nothing ends for a while.
    async fn look_at_clock(&mut self) -> Result<(), StoreError> {
        let Some(jump) = self.drift.look((self.wall)(), mono()) else { return Ok(()) };
        tracing::warn!(
            seconds = jump.as_secs(),
            "the clock jumped; timers are moved along, and nothing expires for 5 minutes"
        );
        patiently("move timers along with the clock", || self.queue.clock_jumped(jump)).await
    }

    /// How long to sleep unless something happens.
    async fn until_next(&self) -> Result<Duration, StoreError> {
        let wait = |at: Timestamp| Duration::try_from(at.duration_since((self.wall)())).unwrap_or(Duration::ZERO);
        let timer = self.queue.next_timer().await?.map_or(LOOK, wait).min(self.hearing.next.map_or(LOOK, wait));
        let settled = self.session.settles.map_or(LOOK, |at| at.saturating_duration_since(mono()));
        // A deadline that is over but may not act yet (a clock that jumped, a full window) must not spin.
        let floor = Duration::from_millis(200);
        let waits = if self.session.up { self.queue.next_wait().await?.map_or(LOOK, wait) } else { LOOK };
        let look = if self.sweep_owed || self.bursts.waiting() {
            SWEEP
        } else {
            self.until_outage().map_or(LOOK, |left| left.min(LOOK))
        };
        Ok(timer.min(waits).max(floor).min(look).min(settled))
    }

    /// At shutdown nothing new is sent: waits for what is in flight, at most `grace`, then ends the session and hears it out.
    /// Only the end of its events says that nothing it knows is left untold; what is not recorded is sent once more.
    async fn drain(&mut self, events: &mut Events, farewell: &CancellationToken) -> Result<(), StoreError> {
        self.lane.set_epoch(None);
        let deadline = tokio::time::Instant::now() + self.live.get().grace;
        let mut told = Vec::new();
        while self.session.up && self.messenger.in_flight() > 0 {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => {
                    tracing::warn!(in_flight = self.messenger.in_flight(),
                        "shutdown_grace is over; what the server has not acknowledged is sent again at the next start");
                    break;
                }
                n = events.recv_many(&mut told, EVENTS) => if n == 0 { break },
            }
            self.take(told.drain(..)).await?;
        }
        farewell.cancel();
        let until = tokio::time::Instant::now() + LAST_WORDS;
        while let Ok(1..) = tokio::time::timeout_at(until, events.recv_many(&mut told, EVENTS)).await {
            self.take(told.drain(..)).await?;
        }
        Ok(())
    }

    async fn take(&mut self, told: impl Iterator<Item = Event>) -> Result<(), StoreError> {
        for event in told {
            self.on_event(event).await?;
        }
        Ok(())
    }
}
