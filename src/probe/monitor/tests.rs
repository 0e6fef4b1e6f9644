//! In paused time: hours pass in no time, and every time is exact.

mod holds;

use std::cell::Cell;
use std::sync::Mutex;

use super::*;
use crate::model::{Alert, Status};
use crate::probe::maintenance::{Covers, Maintenance, When};
use crate::probe::outcome::Kind;
use crate::probe::settings::Lists;
use crate::probe::settings::tests::rules;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

thread_local! {
    static START: Cell<Option<Instant>> = const { Cell::new(None) };
}

fn clock() -> Timestamp {
    clock_at_start() + (Instant::now() - START.get().unwrap())
}

fn clock_at_start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// A network whose state is set by hand.
#[derive(Default)]
struct World {
    /// Everything else is open.
    broken: Mutex<HashMap<Target, Kind>>,
    /// What is open says so after this; everything else at once.
    slow: Mutex<HashMap<Target, Duration>>,
    probed: Mutex<Vec<(Target, Instant)>>,
}

impl World {
    fn set(&self, target: &str, kind: Kind) {
        self.broken.lock().unwrap().insert(target.parse().unwrap(), kind);
    }

    fn times(&self, target: &str) -> Vec<Instant> {
        let target: Target = target.parse().unwrap();
        self.probed.lock().unwrap().iter().filter(|(probed, _)| *probed == target).map(|(_, at)| *at).collect()
    }
}

#[async_trait]
impl Prober for World {
    async fn probe(&self, probe: &Probe) -> Outcome {
        let (target, timeout) = (&probe.target, probe.rules.timeout);
        self.probed.lock().unwrap().push((target.clone(), Instant::now()));
        let kind = self.broken.lock().unwrap().get(target).copied().unwrap_or(Kind::Open);
        let slow = self.slow.lock().unwrap().get(target).copied().filter(|_| kind == Kind::Open);
        let took = if kind == Kind::TimedOut { timeout } else { slow.unwrap_or(Duration::from_millis(1)) };
        tokio::time::sleep(took).await;
        Outcome { kind, reason: format!("it was {}", kind.words()), took, certificate: None }
    }

    fn configure(&self, _: &Settings) {}
}

/// Keeps everything, at a speed that is set by hand.
#[derive(Default)]
struct Book {
    takes: Mutex<Duration>,
    told: Mutex<Vec<(Instant, Alert)>>,
    states: Mutex<HashMap<String, String>>,
    warned: Mutex<Vec<String>>,
}

impl Book {
    fn titles(&self) -> Vec<String> {
        self.told().into_iter().map(|(_, title)| title).collect()
    }

    /// What was told: seconds since the start, and the title.
    fn told(&self) -> Vec<(u64, String)> {
        let start = START.get().unwrap();
        let told = self.told.lock().unwrap();
        told.iter().map(|(at, alert)| ((*at - start).as_secs(), alert.title.clone())).collect()
    }
}

#[async_trait]
impl Ledger for Book {
    async fn load(&self) -> Result<Vec<(String, String)>, StoreError> {
        Ok(self.states.lock().unwrap().clone().into_iter().collect())
    }

    async fn commit(&self, found: Vec<Found>) -> Result<(), StoreError> {
        let takes = *self.takes.lock().unwrap();
        tokio::time::sleep(takes).await;
        for Found { name, state, alerts } in found {
            let mut states = self.states.lock().unwrap();
            _ = match state {
                Some(state) => states.insert(name, state),
                None => states.remove(&name),
            };
            self.told.lock().unwrap().extend(alerts.into_iter().map(|alert| (Instant::now(), alert)));
        }
        Ok(())
    }

    async fn warn(&self, text: &str) -> Result<(), StoreError> {
        self.warned.lock().unwrap().push(text.to_owned());
        Ok(())
    }
}

struct Bed {
    world: Arc<World>,
    book: Arc<Book>,
    settings: watch::Sender<Arc<Settings>>,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), StoreError>>,
}

impl Bed {
    fn start(targets: &[&str]) -> Self {
        START.set(Some(Instant::now()));
        Self::with(targets, Arc::default(), Arc::default())
    }

    /// The same with other settings.
    fn start_by(settings: Settings) -> Self {
        START.set(Some(Instant::now()));
        Self::by(settings, Arc::default(), Arc::default())
    }

    fn with(targets: &[&str], world: Arc<World>, book: Arc<Book>) -> Self {
        Self::by(settings(targets), world, book)
    }

    fn by(settings: Settings, world: Arc<World>, book: Arc<Book>) -> Self {
        let (sender, receiver) = watch::channel(Arc::new(settings));
        let cancel = CancellationToken::new();
        let monitor = Monitor { prober: world.clone(), ledger: book.clone(), settings: receiver, clock };
        let task = tokio::spawn(monitor.run(cancel.clone()));
        Self { world, book, settings: sender, cancel, task }
    }

    async fn stop(self) -> (Arc<World>, Arc<Book>) {
        self.cancel.cancel();
        self.task.await.unwrap().unwrap();
        (self.world, self.book)
    }
}

fn settings(targets: &[&str]) -> Settings {
    let rules = rules();
    let probe = |target: &&str| Probe { target: target.parse().unwrap(), classes: Vec::new(), rules: rules.clone() };
    Settings {
        allow: Default::default(),
        probes: targets.iter().map(probe).collect(),
        concurrency: 10,
        remind: 60 * MINUTE,
        defaults: rules.clone(),
        maintenance: Vec::new(),
        lists: Lists::default(),
    }
}

/// A window over one host, from that many minutes after the start until that many.
fn window(host: &str, from: u32, until: u32) -> Maintenance {
    let at = |minutes| clock_at_start() + minutes * MINUTE;
    let covers = Covers { hosts: vec![host.parse().unwrap()], ..Covers::default() };
    Maintenance { name: None, covers, when: When::Once { from: at(from), until: at(until) } }
}

/// The second depends on the first.
fn behind(child: &str, parent: &str, more: &[&str]) -> Settings {
    let mut settings = settings(&[&[child, parent], more].concat());
    settings.probes[0].rules.depends_on = vec![parent.parse().unwrap()];
    settings
}

async fn pass(span: Duration) {
    tokio::time::sleep(span).await;
}

#[tokio::test(start_paused = true)]
async fn every_target_is_probed_once_an_interval() {
    let bed = Bed::start(&["a:1", "b:1", "c:1"]);
    pass(60 * MINUTE).await;
    for target in ["a:1", "b:1", "c:1"] {
        let times = bed.world.times(target);
        assert!((60..=61).contains(&times.len()), "{}", times.len());
        assert!(times[0] - START.get().unwrap() <= 10 * SECOND, "the first one comes soon");
        assert!(times[1..].windows(2).all(|pair| pair[1] - pair[0] == MINUTE));
    }
    assert_eq!(bed.book.told(), []);
    bed.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_after_its_attempts_and_its_end_at_once() {
    let bed = Bed::start(&["a:1", "b:1"]);
    pass(5 * MINUTE).await;
    bed.world.set("a:1", Kind::Refused);
    pass(10 * MINUTE).await;
    bed.world.set("a:1", Kind::Open);
    pass(2 * MINUTE).await;
    let told = bed.book.told();
    assert_eq!(
        told.iter().map(|(_, title)| title.as_str()).collect::<Vec<_>>(),
        ["a:1 is down: refused", "a:1 answers again"]
    );
    let failing = bed.world.times("a:1").into_iter().filter(|at| *at - START.get().unwrap() > 5 * MINUTE);
    let failing: Vec<Instant> = failing.take(3).collect();
    assert_eq!(failing[1] - failing[0], 10 * SECOND + Duration::from_millis(1), "a probe takes a millisecond here");
    assert_eq!(told[0].0, (failing[2] - START.get().unwrap()).as_secs());
    assert!((15 * 60..16 * 60).contains(&told[1].0), "within an interval of its return: {told:?}");
    let alerts = bed.book.told.lock().unwrap();
    assert_eq!((alerts[1].1.status, &alerts[1].1.key), (Status::Resolved, &alerts[0].1.key));
}

#[tokio::test(start_paused = true)]
async fn a_blip_and_our_own_failure_are_told_to_nobody() {
    let bed = Bed::start(&["a:1"]);
    pass(5 * MINUTE).await;
    bed.world.set("a:1", Kind::Refused);
    let seen = bed.world.times("a:1").len();
    while bed.world.times("a:1").len() < seen + 2 {
        pass(SECOND).await;
    }
    bed.world.set("a:1", Kind::Local);
    pass(30 * MINUTE).await;
    assert_eq!(bed.book.told(), []);
    assert!(bed.world.times("a:1").len() > seen + 100, "it is tried again soon");
    bed.world.set("a:1", Kind::Open);
    pass(2 * MINUTE).await;
    assert_eq!(bed.book.told(), []);
}

#[tokio::test(start_paused = true)]
async fn a_dead_host_is_told_once_and_as_fast_as_one_port() {
    let ports = ["h:80", "h:389", "h:1352"];
    let bed = Bed::start(&ports);
    pass(5 * MINUTE).await;
    ports.iter().for_each(|port| bed.world.set(port, Kind::TimedOut));
    pass(3 * MINUTE).await;
    let told = bed.book.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].1, "h is down: none of its 3 ports answers: timed out");
    let first = bed.world.times("h:80").into_iter().find(|at| *at - START.get().unwrap() > 5 * MINUTE).unwrap();
    let after = told[0].0 - (first - START.get().unwrap()).as_secs();
    assert!(after <= 3 * 3 + 2 * 10 + 1, "three time-outs and two pauses, not {after} s");
    ports.iter().for_each(|port| bed.world.set(port, Kind::Open));
    pass(2 * MINUTE).await;
    assert_eq!(bed.book.told().len(), 2);
    assert!(bed.book.told()[1].1.starts_with("h answers again on port "));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_swallows_everything_holds_up_nobody() {
    let bed = Bed::start(&["hole:1", "fine:1"]);
    bed.world.set("hole:1", Kind::TimedOut);
    pass(30 * MINUTE).await;
    assert!((30..=31).contains(&bed.world.times("fine:1").len()));
}

#[tokio::test(start_paused = true)]
async fn a_restart_tells_nothing_twice_and_forgets_no_end() {
    let bed = Bed::start(&["a:1", "b:1"]);
    bed.world.set("a:1", Kind::Refused);
    bed.world.set("b:1", Kind::Refused);
    pass(5 * MINUTE).await;
    assert_eq!(bed.book.told().len(), 2);
    let (world, book) = bed.stop().await;
    world.set("b:1", Kind::Open);
    let bed = Bed::with(&["a:1", "b:1"], world, book);
    pass(5 * MINUTE).await;
    assert_eq!(bed.book.told()[2..].iter().map(|(_, title)| title.as_str()).collect::<Vec<_>>(), ["b:1 answers again"]);
    let (world, book) = bed.stop().await;
    // The config does not name it any more.
    let bed = Bed::with(&["b:1"], world, book);
    pass(MINUTE).await;
    assert_eq!(bed.book.told()[3].1, "a:1 is not probed any more");
    assert!(bed.book.states.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_reload_takes_what_is_new_and_ends_what_is_gone() {
    let bed = Bed::start(&["a:1", "b:1"]);
    bed.world.set("a:1", Kind::Refused);
    pass(5 * MINUTE).await;
    let before = bed.world.times("b:1").len();
    bed.settings.send(Arc::new(settings(&["b:1", "c:1"]))).unwrap();
    pass(10 * SECOND).await;
    assert_eq!(bed.book.told()[1].1, "a:1 is not probed any more");
    assert_eq!(bed.world.times("c:1").len(), 1);
    let probes = bed.world.times("a:1").len();
    pass(10 * MINUTE).await;
    assert_eq!(bed.world.times("a:1").len(), probes);
    assert!((9..=11).contains(&(bed.world.times("b:1").len() - before)), "a reload moves nothing");
}

#[tokio::test(start_paused = true)]
async fn nothing_piles_up_behind_a_slow_store() {
    let bed = Bed::start(&["a:1", "b:1"]);
    pass(5 * MINUTE).await;
    *bed.book.takes.lock().unwrap() = 60 * MINUTE;
    bed.world.set("a:1", Kind::Refused);
    pass(5 * MINUTE).await;
    // While that is being written, another one comes and goes, and the first one ends.
    bed.world.set("b:1", Kind::Refused);
    pass(10 * MINUTE).await;
    bed.world.set("b:1", Kind::Open);
    bed.world.set("a:1", Kind::Open);
    let probes = bed.world.times("a:1").len();
    pass(10 * MINUTE).await;
    assert!(bed.world.times("a:1").len() >= probes + 9, "probing goes on");
    *bed.book.takes.lock().unwrap() = Duration::ZERO;
    pass(60 * MINUTE).await;
    let titles: Vec<String> = bed.book.told().into_iter().map(|(_, title)| title).collect();
    assert_eq!(titles, ["a:1 is down: refused", "a:1 answers again"]);
}

#[tokio::test(start_paused = true)]
async fn what_lasts_is_told_again() {
    let bed = Bed::start(&["a:1"]);
    bed.world.set("a:1", Kind::Refused);
    pass(130 * MINUTE).await;
    let told = bed.book.told();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.windows(2).all(|pair| (60 * 60..61 * 60).contains(&(pair[1].0 - pair[0].0))), "{told:?}");
}

impl Bed {
    /// Each probe finds it in another state, so many times.
    async fn flap(&self, target: &str, times: usize) {
        for n in 0..times {
            self.world.set(target, if n % 2 == 0 { Kind::Refused } else { Kind::Open });
            let seen = self.world.times(target).len();
            while self.world.times(target).len() == seen {
                pass(100 * Duration::from_millis(1)).await;
            }
            pass(10 * Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_goes_up_and_down_with_each_probe_is_told_once_and_ends_once() {
    let bed = Bed::start(&["a:1", "b:1"]);
    pass(5 * MINUTE).await;
    bed.flap("a:1", 40).await;
    let titles = bed.book.titles();
    assert!(titles.len() == 1 && titles[0].starts_with("a:1 flaps: 6 changes in the last "), "{titles:?}");
    // It is still the same flapping after a restart.
    let (world, book) = bed.stop().await;
    let bed = Bed::with(&["a:1", "b:1"], world, book);
    bed.flap("a:1", 10).await;
    assert_eq!(bed.book.told().len(), 1);
    bed.world.set("a:1", Kind::Open);
    pass(30 * MINUTE).await;
    assert_eq!(bed.book.titles()[1..], ["a:1 answers steadily again"]);
    let alerts = bed.book.told.lock().unwrap();
    assert_eq!((alerts[1].1.status, &alerts[1].1.key), (Status::Resolved, &alerts[0].1.key));
    assert_eq!(alerts[0].1.labels.get("failure"), ["flapping"]);
}

#[tokio::test(start_paused = true)]
async fn what_flaps_and_stays_down_is_down_after_all() {
    let bed = Bed::start(&["a:1"]);
    pass(5 * MINUTE).await;
    bed.flap("a:1", 9).await;
    bed.world.set("a:1", Kind::Refused);
    pass(40 * MINUTE).await;
    let titles = bed.book.titles();
    assert_eq!(titles.len(), 2, "{titles:?}");
    assert!(titles[0].starts_with("a:1 flaps: ") && titles[1] == "a:1 is down: refused", "{titles:?}");
    bed.world.set("a:1", Kind::Open);
    pass(2 * MINUTE).await;
    assert_eq!(bed.book.titles()[2..], ["a:1 answers again"]);
}

#[tokio::test(start_paused = true)]
async fn who_is_blind_says_so_once() {
    let bed = Bed::start(&["a:1", "b:1"]);
    bed.world.set("a:1", Kind::Local);
    pass(MINUTE / 2).await;
    bed.world.set("a:1", Kind::Open);
    pass(5 * MINUTE).await;
    assert_eq!(*bed.book.warned.lock().unwrap(), [""; 0], "it was for a moment only");
    bed.world.set("a:1", Kind::Local);
    pass(20 * MINUTE).await;
    let warned = bed.book.warned.lock().unwrap().clone();
    assert_eq!(warned, ["targets that cannot be probed, by no fault of theirs: 1, a:1 among them; the log says why"]);
    assert_eq!(bed.book.told(), []);
}
