//! Probes its targets for ever, and commits what there is to tell.
//!
//! One task: probes that are due are started, outcomes taken, and while one commit is under way the next one gathers. What a commit
//! holds is decided when it begins, so that nothing piles up behind a store that is slow.

mod holds;
mod schedule;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{BoxFuture, OptionFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::engine::Engine;
use super::outcome::Outcome;
use super::report::alerts;
use super::settings::{Probe, Settings};
use super::state::{HostState, Saved, Step};
use super::target::{Host, Target};
use crate::queue::{Found, StoreError};
use holds::Holds;
use schedule::Schedule;

/// Most hosts in one commit.
const BATCH: usize = 256;
/// Who cannot probe for so long, by our own fault, is blind: somebody has to know.
const BLIND: Duration = Duration::from_secs(60);
/// Nobody waits for anything: the next look.
const IDLE: Duration = Duration::from_secs(60);

/// Who probes.
#[async_trait]
pub trait Prober: Send + Sync {
    /// Probes a target as its rules say.
    async fn probe(&self, probe: &Probe) -> Outcome;

    /// From now on by these settings.
    fn configure(&self, settings: &Settings);
}

#[async_trait]
impl Prober for Engine {
    async fn probe(&self, probe: &Probe) -> Outcome {
        Self::probe(self, &probe.target, probe.rules.timeout, probe.rules.talk.as_deref()).await
    }

    fn configure(&self, settings: &Settings) {
        Self::configure(self, settings);
    }
}

/// Where it is kept what was told, and who tells it.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The states that were committed last, by host.
    async fn load(&self) -> Result<Vec<(String, String)>, StoreError>;

    /// States and alerts, each finding whole. Waits while there is no room on the disk; any other failure ends the monitor.
    async fn commit(&self, found: Vec<Found>) -> Result<(), StoreError>;

    /// Tells whoever minds mailbell itself of something that is logged already. Where there is nobody, nothing.
    async fn warn(&self, _text: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

/// What a monitor is made of.
pub struct Monitor {
    /// Who probes.
    pub prober: Arc<dyn Prober>,
    /// Where it is kept.
    pub ledger: Arc<dyn Ledger>,
    /// What is probed; may be replaced while it runs.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// The wall clock, for what people read.
    pub clock: fn() -> Timestamp,
}

impl Monitor {
    /// Runs until `cancel`.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), StoreError> {
        let mut watch =
            Watch { schedule: Schedule::new(Instant::now()), ..Watch::of(self.ledger.load().await?, self.clock) };
        let Self { prober, ledger, mut settings, .. } = self;
        watch.configure(&settings.borrow_and_update().clone(), &*prober);
        let mut probes = FuturesUnordered::new();
        let mut commit: OptionFuture<BoxFuture<'static, Result<(), StoreError>>> = None.into();
        let mut committing: Option<Taken> = None;
        loop {
            watch.look_at_clock();
            for probe in watch.due(Instant::now()) {
                let prober = prober.clone();
                probes.push(async move {
                    let outcome = prober.probe(&probe).await;
                    (probe, outcome)
                });
            }
            if let Some(text) = watch.is_blind(Instant::now()) {
                ledger.warn(&text).await?;
            }
            if committing.is_none()
                && let Some((found, saved)) = watch.gather()
            {
                let ledger = ledger.clone();
                commit = Some(async move { ledger.commit(found).await }.boxed()).into();
                committing = Some(saved);
            }
            let next = watch.schedule.next().into_iter().chain(watch.next_look()).min();
            let next = next.unwrap_or_else(|| Instant::now() + IDLE);
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                Some((probe, outcome)) = probes.next() => watch.take(&probe, &outcome),
                Some(done) = &mut commit, if committing.is_some() => {
                    done?;
                    commit = None.into();
                    watch.committed(committing.take().unwrap_or_default());
                }
                // Who cannot replace them any more leaves them as they are.
                Ok(()) = settings.changed() => watch.configure(&settings.borrow_and_update().clone(), &*prober),
                () = sleep_until(next) => {}
            }
        }
    }
}

/// What was told of hosts once it is committed.
type Taken = Vec<(Host, Saved)>;

/// All hosts.
struct Watch {
    hosts: HashMap<Host, HostState>,
    probes: HashMap<Target, Arc<Probe>>,
    schedule: Schedule,
    holds: Holds,
    /// Hosts of which there may be something to tell.
    dirty: BTreeSet<Host>,
    /// Targets that could not be looked at, by our own fault.
    unclear: BTreeSet<Target>,
    /// Since when there are some, and whether somebody was told.
    blind: Option<(Instant, bool)>,
    remind: Duration,
    clock: fn() -> Timestamp,
}

impl Watch {
    fn of(states: Vec<(String, String)>, clock: fn() -> Timestamp) -> Self {
        let mut hosts = HashMap::new();
        for (name, state) in states {
            match (name.parse::<Host>(), serde_json::from_str(&state)) {
                (Ok(host), Ok(saved)) => _ = hosts.insert(host, HostState::new(saved)),
                (_, Err(err)) => {
                    tracing::error!(host = %name.escape_debug(), %err, "the state of this host cannot be read; it is begun anew");
                }
                (Err(err), _) => {
                    tracing::error!(host = %name.escape_debug(), %err, "a state is of no host; it is left alone")
                }
            }
        }
        Self {
            hosts,
            probes: HashMap::new(),
            schedule: Schedule::new(Instant::now()),
            holds: Holds::default(),
            dirty: BTreeSet::new(),
            unclear: BTreeSet::new(),
            blind: None,
            remind: Duration::MAX,
            clock,
        }
    }

    fn configure(&mut self, settings: &Settings, prober: &dyn Prober) {
        self.remind = settings.remind;
        let probes: Vec<Arc<Probe>> = settings.probes.iter().cloned().map(Arc::new).collect();
        let mut by_host: HashMap<Host, Vec<Arc<Probe>>> = HashMap::new();
        for probe in &probes {
            by_host.entry(probe.target.host.clone()).or_default().push(probe.clone());
        }
        for host in by_host.keys() {
            self.hosts.entry(host.clone()).or_default();
        }
        let at = (self.clock)();
        for (host, state) in &mut self.hosts {
            state.configure(by_host.remove(host).unwrap_or_default(), at);
            self.dirty.insert(host.clone());
        }
        self.holds = Holds::of(settings, &probes);
        let next: HashMap<Target, Arc<Probe>> = probes.into_iter().map(|probe| (probe.target.clone(), probe)).collect();
        let now = Instant::now();
        self.probes.keys().filter(|target| !next.contains_key(*target)).for_each(|target| self.schedule.forget(target));
        self.unclear.retain(|target| next.contains_key(target));
        for (target, probe) in &next {
            let same = self.probes.get(target).is_some_and(|known| known.rules.interval == probe.rules.interval);
            if !same {
                self.schedule.begin(target, probe.rules.interval, now);
            }
        }
        self.probes = next;
        self.holds.look(at);
        self.hold_all();
        prober.configure(settings);
    }

    /// Those to be probed now.
    fn due(&mut self, now: Instant) -> Vec<Arc<Probe>> {
        let due: Vec<_> =
            self.schedule.due(now).into_iter().filter_map(|target| self.probes.get(&target).cloned()).collect();
        for probe in &due {
            if let Some(state) = self.hosts.get_mut(&probe.target.host) {
                state.begins(probe.target.port);
            }
        }
        due
    }

    fn take(&mut self, probe: &Probe, outcome: &Outcome) {
        let Target { host, port } = &probe.target;
        let Some(state) = self.hosts.get_mut(host) else { return };
        let before = state.failure(*port).map(|failure| failure.since);
        let doubted = state.doubted().any(|doubted| doubted == *port);
        let flapped = state.is_flapping(*port);
        let step = state.observe(*port, outcome, (self.clock)());
        let flaps = state.is_flapping(*port);
        let Some(pause) = state.pause(*port) else { return };
        let now = Instant::now();
        self.schedule.done(&probe.target, pause, pause == probe.rules.interval, now);
        for port in state.doubted() {
            self.schedule.hurry(&Target { host: host.clone(), port }, now);
        }
        if step != Step::Same || state.is_troubled() {
            self.dirty.insert(host.clone());
        }
        log(probe, outcome, step, before, (self.clock)());
        match (flapped, flaps) {
            (false, true) => {
                tracing::warn!(probed = %probe.target, "flaps: its changes are not told one by one any more")
            }
            (true, false) => tracing::info!(probed = %probe.target, "does not flap any more"),
            _ => {}
        }
        self.log_unclear(probe, outcome, step);
        self.follow(probe, step, doubted);
    }

    /// That we could not look for a while, to be told once.
    fn is_blind(&mut self, now: Instant) -> Option<String> {
        if self.unclear.is_empty() {
            self.blind = None;
            return None;
        }
        let (since, told) = self.blind.get_or_insert((now, false));
        if *told || now.duration_since(*since) < BLIND {
            return None;
        }
        *told = true;
        let (some, n) = (self.unclear.first()?, self.unclear.len());
        Some(format!("targets that cannot be probed, by no fault of theirs: {n}, {some} among them; the log says why"))
    }

    /// Our own failure is told once, and that it is over.
    fn log_unclear(&mut self, probe: &Probe, outcome: &Outcome, step: Step) {
        let target = &probe.target;
        if step == Step::Unclear {
            if self.unclear.insert(target.clone()) {
                tracing::error!(probed = %target, reason = %outcome.reason, "could not be probed, by no fault of its own");
            }
        } else if self.unclear.remove(target) {
            tracing::info!(probed = %target, "can be probed again");
        }
    }

    /// What there is to tell now, of as many hosts as one commit holds.
    fn gather(&mut self) -> Option<(Vec<Found>, Taken)> {
        let now = (self.clock)();
        let (mut found, mut saved) = (Vec::new(), Vec::new());
        while found.len() < BATCH {
            let Some(host) = self.dirty.pop_first() else { break };
            let Some(state) = self.hosts.get(&host) else { continue };
            let Some(news) = state.news(now, self.remind) else {
                if state.is_over() {
                    self.hosts.remove(&host);
                }
                continue;
            };
            let state = (!news.saved.is_empty()).then(|| serde_json::to_string(&news.saved).unwrap_or_default());
            found.push(Found { name: host.to_string(), state, alerts: alerts(&host, &news) });
            saved.push((host, news.saved));
        }
        (!found.is_empty()).then_some((found, saved))
    }

    fn committed(&mut self, saved: Taken) {
        for (host, saved) in saved {
            if let Some(state) = self.hosts.get_mut(&host) {
                state.told(saved);
                // What came meanwhile, and ports that have their attempts again.
                self.dirty.insert(host);
            }
        }
    }
}

fn log(probe: &Probe, outcome: &Outcome, step: Step, before: Option<Timestamp>, now: Timestamp) {
    let (target, reason) = (&probe.target, &outcome.reason);
    match step {
        Step::WentDown => tracing::warn!(probed = %target, outcome = outcome.kind.as_str(), %reason, "down"),
        Step::Fails => {
            let attempts = probe.rules.attempts;
            tracing::info!(probed = %target, outcome = outcome.kind.as_str(), %reason, attempts, "fails; trying again before it counts");
        }
        Step::CameBack => {
            let lasted = before.map(|since| Duration::try_from(now.duration_since(since)).unwrap_or_default());
            let lasted = crate::model::human(lasted.unwrap_or_default());
            tracing::info!(probed = %target, lasted, "open again");
        }
        Step::FailsAgain | Step::Same | Step::Unclear => {}
    }
}

#[cfg(test)]
mod tests;
