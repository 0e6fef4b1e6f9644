//! The worker: one task that owns the way from the queue to the messenger.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::drift::Drift;
use super::letter::letter;
use super::notices::Bursts;
use super::record::{Record, recorder};
use super::{Event, Events, ExpressLane, Messenger, Settings};
use crate::model::{AlertId, BareJid, Epoch, GroupName, NotificationId, Presence};
use crate::presence::policy::{Decision, decide};
use crate::queue::{Content, Outbox, Outgoing, SKIPPED, StoreError, Unwritten, patiently};
use crate::route::Router;

/// Most notifications that one D3 commits: enough to fill the window, few enough to stay fair.
const CLAIM: usize = 256;
/// Most of them for one recipient.
const CLAIM_EACH: usize = 64;
/// So many times the room is looked at, spread over the recipients.
const CLAIM_MORE: usize = 4;
/// Without a timer or an event the worker still looks after this: a lost wake-up costs seconds, not an outage.
const LOOK: Duration = Duration::from_secs(10);
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
    /// Groups and their fallbacks.
    pub router: Arc<Router>,
    /// Settings.
    pub settings: Settings,
    /// Our own bare JID: errors are believed from it.
    pub own: BareJid,
    /// Notified when there may be something to do: after D2, after an operator's retry.
    pub poke: Arc<Notify>,
    /// Ends the messenger's session, once nothing of ours is on its way any more.
    pub farewell: CancellationToken,
}

/// Owns the way from the queue to the messenger.
pub struct Worker<Q: Outbox + ?Sized> {
    pub(super) queue: Arc<Q>,
    pub(super) messenger: Arc<dyn Messenger>,
    pub(super) lane: Arc<ExpressLane>,
    pub(super) router: Arc<Router>,
    pub(super) settings: Settings,
    pub(super) own: BareJid,
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
    pub(super) bursts: Bursts,
    /// Recipients who have not granted the subscription, and of whom the operators may not know it.
    pub(super) ungranted: BTreeSet<BareJid>,
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
}

/// Runs a worker until `cancel`; then until everything in flight is acknowledged or `grace` is over.
pub async fn run<Q>(parts: Parts<Q>, cancel: CancellationToken, grace: Duration) -> Result<(), StoreError>
where
    Q: Outbox + ?Sized + 'static,
{
    let Parts { queue, messenger, mut events, lane, router, settings, own, poke, farewell } = parts;
    let (records, recorder) = recorder(queue.clone());
    let recorder = tokio::spawn(recorder);
    let mut worker = Worker {
        queue,
        messenger,
        lane,
        router,
        settings,
        own,
        records,
        session: Session {
            epoch: None,
            up: false,
            settles: None,
            down_since: Instant::now(),
            why: "connecting".into(),
            commanded: false,
        },
        answered: HashMap::new(),
        drift: Drift::new(Timestamp::now(), Instant::now()),
        swept: None,
        sweep_owed: false,
        bursts: Bursts::default(),
        ungranted: BTreeSet::new(),
        watched_to: None,
    };
    let served = worker.serve(&mut events, &poke, &cancel).await;
    let served = match served {
        Ok(()) => worker.drain(&mut events, grace, &farewell).await,
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
            let sleep = self.until_next().await?;
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = poke.notified() => {}
                () = tokio::time::sleep(sleep) => {}
                n = events.recv_many(&mut told, CLAIM) => if n == 0 { return Ok(()) },
            }
            self.look_at_clock().await?;
            self.take(told.drain(..)).await?;
            self.round().await?;
        }
    }

    /// One round: what is over ends, what is due is sent or held, and then groups without anybody reachable fall back.
    async fn round(&mut self) -> Result<(), StoreError> {
        let swept = self.sweep().await?;
        let mut all = self.look_settled().await? || swept;
        loop {
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
        let now = Instant::now();
        let next = self.lane.tracker(|t| t.next_settle(now));
        let came = std::mem::replace(&mut self.session.settles, next).is_some_and(|at| at <= now);
        if came && self.session.up {
            self.on_return_of_all().await?;
        }
        Ok(came)
    }

    /// Sends what is due for everybody who can be reached, until the window is full or nothing is left.
    async fn send_due(&mut self) -> Result<(), StoreError> {
        loop {
            let room = self.lane.room().min(CLAIM);
            // With most of the window on its way, the next acknowledgement makes more room: a commit for a handful costs as much
            // as one for many.
            let worth_it = room > self.messenger.in_flight() / 4;
            let (Some(epoch), true, true) = (self.session.epoch, self.session.up, worth_it) else { return Ok(()) };
            let now = Timestamp::now();
            let mut recipients = self.queue.recipients_due(now).await?;
            recipients.retain(|who| self.lane.presence(who) != Presence::Unknown);
            self.set_rooms_aside(&mut recipients, epoch, now).await?;
            if recipients.is_empty() {
                return Ok(());
            }
            let due = self.due(&recipients, room, now).await?;
            if !self.send(due, epoch, now).await? {
                return Ok(());
            }
        }
    }

    /// What is due, at most `room` in all. A few for each recipient are enough to fill the window when many have something
    /// waiting; unless those few are all more urgent than what others would get in their stead.
    async fn due(&self, recipients: &[BareJid], room: usize, now: Timestamp) -> Result<Vec<Outgoing>, StoreError> {
        let each = (room * CLAIM_MORE).div_ceil(recipients.len().max(1)).min(CLAIM_EACH);
        let due = self.queue.due(recipients, each, room, now).await?;
        if each < CLAIM_EACH && cut_short(&due, each) {
            return self.queue.due(recipients, CLAIM_EACH, room, now).await;
        }
        Ok(due)
    }

    /// Decides on each and sends what may be sent. `false`: nothing changed, looking again is of no use.
    pub(super) async fn send(&mut self, due: Vec<Outgoing>, epoch: Epoch, now: Timestamp) -> Result<bool, StoreError> {
        let mut deliver = Vec::new();
        let mut hold: HashMap<(Timestamp, String), Vec<NotificationId>> = HashMap::new();
        let mut skip = Vec::new();
        for out in due {
            let n = &out.notification;
            let presence = self.lane.presence(&n.jid);
            match decide(&n.delivery, n.severity, presence, n.forced || out.in_doubt) {
                Decision::Deliver => deliver.push(out),
                Decision::Hold => hold.entry((held_until(&out, now), absence(presence))).or_default().push(n.id),
                Decision::Skip => skip.push(n.id),
                Decision::Wait => {}
            }
        }
        let changed = !deliver.is_empty() || !hold.is_empty() || !skip.is_empty();
        for ((until, why), ids) in hold {
            patiently("hold", || self.queue.hold(&ids, until, &why, now)).await?;
        }
        if !skip.is_empty() {
            patiently("skip", || self.queue.skip(&skip, SKIPPED, now)).await?;
        }
        let ids: Vec<_> = deliver.iter().map(|out| out.notification.id).collect();
        if !ids.is_empty() {
            let intended = patiently("commit the intent to send", || self.queue.d3_intend(&ids, epoch, now)).await?;
            deliver.retain(|out| intended.contains(&out.notification.id));
            self.write(deliver, now).await?;
        }
        Ok(changed)
    }

    /// Hands over what is committed as `sending`.
    async fn write(&mut self, sending: Vec<Outgoing>, now: Timestamp) -> Result<(), StoreError> {
        let mut unwritten = Vec::new();
        for out in sending {
            let letter = letter(&out, &self.router, self.settings.text_max, now);
            let Err(full) = self.messenger.send(letter) else { continue };
            // The session went away between the look at the window and now.
            let attempts = out.notification.attempts + 1;
            unwritten.push(Unwritten { stanza_id: full.0.stanza_id, attempts, in_doubt: out.in_doubt });
        }
        patiently("queue again", || self.queue.not_written(&unwritten)).await
    }

    /// Ends holds and alerts that are over, and accepted ones without a receipt; tells what the operators should hear.
    /// At most once a second; `true`: it did.
    async fn sweep(&mut self) -> Result<bool, StoreError> {
        let mono = Instant::now();
        if self.swept.is_some_and(|last| mono.duration_since(last) < SWEEP) {
            self.sweep_owed = true;
            return Ok(false);
        }
        self.swept = Some(mono);
        self.sweep_owed = false;
        let now = Timestamp::now();
        if self.drift.may_expire(mono) {
            let ended = patiently("expire", || self.queue.expire(now)).await?;
            self.tell_of_expired(&ended).await?;
            let before = self.ago(now, self.settings.receipt_timeout);
            patiently("end as unconfirmed", || self.queue.unconfirm(before, now)).await?;
        }
        self.note_ungranted().await?;
        self.send_notices(now).await?;
        self.watch_outage().await?;
        Ok(true)
    }

    /// Before anything is timed by a clock that jumped: what waits is moved along, and nothing ends for a while.
    async fn look_at_clock(&mut self) -> Result<(), StoreError> {
        let Some(jump) = self.drift.look(Timestamp::now(), Instant::now()) else { return Ok(()) };
        tracing::warn!(
            seconds = jump.as_secs(),
            "the clock jumped; timers are moved along, and nothing expires for 5 minutes"
        );
        patiently("move timers along with the clock", || self.queue.clock_jumped(jump)).await
    }

    /// How long to sleep unless something happens.
    async fn until_next(&self) -> Result<Duration, StoreError> {
        let wait = |at: Timestamp| Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO);
        let timer = self.queue.next_timer().await?.map_or(LOOK, wait);
        let settled = self.session.settles.map_or(LOOK, |at| at.saturating_duration_since(Instant::now()));
        // A deadline that is over but may not act yet (a clock that jumped, a full window) must not spin.
        let floor = Duration::from_millis(200);
        let look = if self.sweep_owed || self.bursts.waiting() {
            SWEEP
        } else {
            self.until_outage().map_or(LOOK, |left| left.min(LOOK))
        };
        Ok(timer.max(floor).min(look).min(settled))
    }

    /// At shutdown nothing new is sent: waits for what is in flight, at most `grace`, then ends the session and hears it out.
    /// Only the end of its events says that nothing it knows is left untold; what is not recorded is sent once more.
    async fn drain(
        &mut self,
        events: &mut Events,
        grace: Duration,
        farewell: &CancellationToken,
    ) -> Result<(), StoreError> {
        self.lane.set_epoch(None);
        let deadline = tokio::time::Instant::now() + grace;
        let mut told = Vec::new();
        while self.session.up && self.messenger.in_flight() > 0 {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => {
                    tracing::warn!(in_flight = self.messenger.in_flight(),
                        "shutdown_grace is over; what the server has not acknowledged is sent again at the next start");
                    break;
                }
                n = events.recv_many(&mut told, CLAIM) => if n == 0 { break },
            }
            self.take(told.drain(..)).await?;
        }
        farewell.cancel();
        let until = tokio::time::Instant::now() + LAST_WORDS;
        while let Ok(1..) = tokio::time::timeout_at(until, events.recv_many(&mut told, CLAIM)).await {
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

/// Did somebody get as many as were asked for, all of them more urgent than the least urgent of the others'?
fn cut_short(due: &[Outgoing], each: usize) -> bool {
    let Some(least) = due.iter().map(|out| out.notification.severity).min() else { return false };
    let mut urgent: HashMap<&BareJid, usize> = HashMap::new();
    for out in due.iter().filter(|out| out.notification.severity > least) {
        *urgent.entry(&out.notification.jid).or_default() += 1;
    }
    urgent.values().any(|n| *n >= each)
}

/// Why somebody is held for, as people read it in the queue.
fn absence(presence: Presence) -> String {
    match presence {
        Presence::Online(show) => format!("the recipient shows {}", show.as_str()),
        Presence::NotJoined => "mailbell is not in the room".to_owned(),
        Presence::NotShared => "the recipient has not granted the presence subscription".to_owned(),
        Presence::Offline | Presence::Unknown => "the recipient is offline".to_owned(),
    }
}

/// End of a hold that starts now: `hold_for` counts from when the notification was committed, or the alert took effect.
fn held_until(out: &Outgoing, now: Timestamp) -> Timestamp {
    let n = &out.notification;
    let effective = match &out.content {
        Content::Alert(record) => record.alert.effective,
        Content::Text(_) => None,
    };
    let from = n.created.max(effective.unwrap_or(n.created)).min(now);
    let hold = i64::try_from(n.delivery.hold_for_ms).map_or(SignedDuration::MAX, SignedDuration::from_millis);
    from.saturating_add(hold).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::render::tests::{alert, notification, record};
    use super::*;

    #[test]
    fn a_hold_counts_from_the_commit_or_from_when_the_alert_took_effect() {
        let at = |minutes: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
        let held = |effective, now| {
            let mut n = notification();
            (n.created, n.delivery.hold_for_ms) = (at(60), 10 * 60 * 1000);
            let content = Content::Alert(Arc::new(record(1, crate::model::Alert { effective, ..alert() })));
            held_until(&Outgoing { notification: n, content, in_doubt: false }, now)
        };
        assert_eq!(held(None, at(60)), at(70));
        assert_eq!(held(None, at(65)), at(70), "whoever comes and goes is not held for longer");
        assert_eq!(held(Some(at(30)), at(65)), at(70));
        assert_eq!(held(Some(at(90)), at(95)), at(100));
        assert_eq!(held(Some(at(9000)), at(65)), at(75), "told now: a wrong clock");
    }
}
