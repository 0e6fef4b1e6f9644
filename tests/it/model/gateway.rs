//! The gateway itself, as the service composes it, on a clock that stands still: its store is real, its mailbox and its chat
//! server are played. One runtime is one process: dropped, all that was in memory is gone.

use std::cell::Cell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mailbell::config::{Config, MailboxConfig};
use mailbell::dispatch::{self, ExpressLane, Messenger};
use mailbell::intake::{self, Parser, Rulebook, Shared, Verify, Watcher, watch_disk};
use mailbell::live::live;
use mailbell::model::{Labels, PortCheck};
use mailbell::presence::Tracker;
use mailbell::queue::sqlite::Sqlite;
use mailbell::queue::{self, StoreError};
use mailbell::route::Router;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::chat::{Chat, Phone};
use super::gate::Gate;
use super::post::{Post, Postbox};

const DAY: Duration = Duration::from_secs(86_400);
/// Nothing takes that long.
const STUCK: Duration = Duration::from_secs(120);

thread_local! {
    /// The gateway's wall clock.
    static WALL: Cell<Timestamp> = const { Cell::new(Timestamp::UNIX_EPOCH) };
}

pub fn wall() -> Timestamp {
    WALL.get()
}

pub fn set_wall(to: Timestamp) {
    WALL.set(to);
}

/// Nobody looks at ports here.
struct NoLook;

#[async_trait::async_trait]
impl Verify for NoLook {
    fn names_port(&self, _: &Labels) -> bool {
        false
    }

    async fn verify(&self, _: &Labels) -> PortCheck {
        unreachable!("no route asks for it")
    }
}

/// One process.
pub struct Process {
    /// Dropped, it lets the clock's guard go: before the runtime, which waits for that.
    guard: Option<Sender<()>>,
    tasks: JoinSet<Result<(), StoreError>>,
    runtime: Runtime,
    pub gate: Arc<Gate>,
    poke: Arc<Notify>,
    look: Arc<Notify>,
}

/// The config of the gateway. `capped`: with the recipients' cap and the pause.
fn config(capped: bool) -> Config {
    let mut text = include_str!("gateway.toml").to_owned();
    if capped {
        text = text.replace("max_per_minute = 0", "max_per_minute = 10").replace("\"0s\"", "\"30s\"");
    }
    Config::of(&text, Path::new("gateway.toml"), |_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

impl Process {
    pub fn start(path: &Path, capped: bool, post: &Arc<Mutex<Post>>, chat: &Arc<Mutex<Chat>>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (guard, gone) = channel::<()>();
        let entered = runtime.enter();
        let store =
            queue::Settings { path: path.to_owned(), raw_for: DAY, history_for: DAY, history_max: 0, reserve: 0 };
        let store = runtime.block_on(Sqlite::open(&store)).unwrap();
        let gate = Gate::new(store);
        // While something runs beside the runtime its clock does not go on by itself. And nothing may hang unseen.
        let watched = gate.clone();
        tokio::task::spawn_blocking(move || {
            while gone.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                watched.progress.notify_one();
            }
        });
        let (poke, look, stored) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(Notify::new()));
        let config = config(capped);
        let router = Arc::new(Router::new(&config.route).unwrap());
        let (events, life) = chat.lock().unwrap().begin();
        let messenger: Arc<dyn Messenger> = Arc::new(Phone { chat: chat.clone(), life });
        let settings = config.dispatch.clone();
        let tracker = Tracker::new(config.xmpp.contacts.clone(), settings.settle);
        let rules = live(dispatch::Rules { router: router.clone(), settings, grace: Duration::ZERO }).1;
        let lane = Arc::new(ExpressLane::new(messenger.clone(), tracker, rules.clone(), wall));
        let MailboxConfig { mailbox: connection, intake, .. } = config.mailboxes[0].clone();
        let mailboxes = HashMap::from([(connection.name.clone(), intake::Rules::new(&intake, connection.max_size))]);
        let (limits, mappings) = (config.parse, config.mappings);
        let parser = Parser {
            queue: gate.clone(),
            rules: live(Rulebook { router, mailboxes, limits, mappings }).1,
            express: lane.clone(),
            verify: Arc::new(NoLook),
            stored: stored.clone(),
            poke: poke.clone(),
            wall,
            beat: Arc::default(),
        };
        let disk = runtime.block_on(watch_disk(gate.clone(), Arc::default(), CancellationToken::new())).unwrap().0;
        let shared = Arc::new(Shared { queue: gate.clone(), turn: Semaphore::new(1), stored });
        let mailbox = Box::new(Postbox(post.clone()));
        let watcher = Watcher::new(shared, live(intake).1, connection, mailbox, disk, look.clone());
        let parts = dispatch::Parts {
            queue: gate.clone(),
            messenger,
            events,
            lane,
            rules,
            own: config.xmpp.jid.clone(),
            poke: poke.clone(),
            farewell: CancellationToken::new(),
            wall,
            seen: Arc::default(),
            beat: Arc::default(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(watcher.run(CancellationToken::new(), CancellationToken::new()));
        tasks.spawn(parser.run(CancellationToken::new()));
        tasks.spawn(dispatch::run(parts, CancellationToken::new()));
        drop(entered);
        Self { runtime, gate, tasks, poke, look, guard: Some(guard) }
    }

    /// Runs until nothing moves any more. `false`: it died.
    pub fn settle(&mut self) -> bool {
        let Self { runtime, gate, tasks, .. } = self;
        runtime.block_on(quiet(gate));
        if gate.dead() {
            return false;
        }
        if let Some(ended) = runtime.block_on(async {
            tokio::select! { biased; end = tasks.join_next() => end, () = std::future::ready(()) => None }
        }) {
            panic!("a task of the gateway ended: {ended:?}");
        }
        true
    }

    pub fn look(&self) {
        self.look.notify_one();
    }

    pub fn poke(&self) {
        self.poke.notify_one();
    }

    /// Time passes, for all timers; the wall clock is the caller's.
    pub fn pass(&self, span: Duration) {
        self.runtime.block_on(tokio::time::advance(span));
    }

    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// What is in memory is gone.
    pub fn kill(mut self) {
        self.gate.kill();
        // What the store was doing is done: it happened before.
        self.runtime.block_on(quiet(&self.gate));
        self.guard.take();
        drop(self.tasks);
        drop(self.runtime);
        let Ok(gate) = Arc::try_unwrap(self.gate).map_err(|gate| Arc::strong_count(&gate)) else {
            panic!("somebody still has the store")
        };
        assert_eq!(Arc::strong_count(&gate.store), 1);
    }
}

/// Waits until the store does nothing, and nobody wants anything of it. No timer moves meanwhile.
async fn quiet(gate: &Gate) {
    let start = Instant::now();
    let mut calm = 0;
    while calm < 5 {
        let before = gate.done();
        if gate.busy() {
            gate.progress.notified().await;
        } else {
            tokio::task::yield_now().await;
        }
        calm = if gate.busy() || gate.done() != before { 0 } else { calm + 1 };
        assert!(start.elapsed() < STUCK, "nothing comes to an end");
    }
}
