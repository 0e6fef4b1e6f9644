//! The gateway in its world: carries out the steps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mailbell::model::{NotificationId, Show, StanzaId};
use mailbell::queue::Desk;
use mailbell::queue::sqlite::Sqlite;
use tempfile::TempDir;

use super::PEOPLE;
use super::chat::{Chat, Pace, pick};
use super::eye::{Eye, Seen};
use super::gateway::{Process, set_wall, wall};
use super::holds::Holds;
use super::mails::{SENDERS, audience};
use super::post::Post;
use super::steps::{Step, What, World};

/// In seconds: longer than the gateway sleeps without looking, and than it listens before it misses a receipt.
const AWAKE: u32 = 11;

/// Looks of the healing in which no receipt comes; the last of them is over half an hour after the one before.
const SILENT: usize = 9;

/// What happened, as far as it explains what may be.
#[derive(Default)]
pub struct Book {
    /// How many steps there were, and how often the process died.
    pub step: usize,
    pub crashes: usize,
    /// The notifications after the last step.
    pub before: BTreeMap<i64, Seen>,
    /// Copies after which another may come: under way when the process or the session ended, and not found in the archive since.
    pub doubtful: BTreeMap<StanzaId, BTreeSet<usize>>,
    /// How often an operator asked for it.
    pub asked: BTreeMap<StanzaId, usize>,
    /// The last copy that was acknowledged before it was to be sent anew: it says nothing of the next.
    pub spent: BTreeMap<StanzaId, u32>,
    /// What was acknowledged after the last step.
    pub acked: BTreeMap<StanzaId, u32>,
    pub holds: Holds,
    /// When each mail came first.
    pub mailed: Vec<Timestamp>,
    /// The step in which an alert was first seen in the store.
    pub alerts: BTreeMap<i64, usize>,
    /// The step in which somebody first saw the text of so many that they saw.
    pub saw: BTreeMap<&'static str, Vec<usize>>,
    /// Whoever was not available at some time.
    pub away: BTreeSet<&'static str>,
    /// Notifications that an operator ended; that ended unsent, or were held, at some time.
    pub ended: BTreeSet<i64>,
    pub set_aside: BTreeSet<i64>,
    /// How often a notification was sent again for want of a receipt.
    pub resent: BTreeMap<i64, usize>,
    /// What the server refused in this step.
    pub refused: Option<StanzaId>,
    /// Commits since the last look.
    pub commits: BTreeSet<&'static str>,
}

pub struct Play {
    path: PathBuf,
    capped: bool,
    process: Option<Process>,
    post: Arc<Mutex<Post>>,
    chat: Arc<Mutex<Chat>>,
    pub eye: Eye,
    pub book: Book,
    /// The time of everybody else.
    pub truth: Timestamp,
    raws: Vec<Vec<u8>>,
    _dir: TempDir,
}

/// In memory where there is such a place: what is tried here is not the disk.
fn dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// An empty store, made once.
fn template() -> &'static [u8] {
    static EMPTY: OnceLock<Vec<u8>> = OnceLock::new();
    EMPTY.get_or_init(|| {
        let dir = dir();
        let path = dir.path().join("mailbell.db");
        let day = Duration::from_secs(86_400);
        let settings = mailbell::queue::Settings {
            path: path.clone(),
            raw_for: day,
            history_for: day,
            history_max: 0,
            reserve: 0,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { Sqlite::open(&settings).await.unwrap().close().await });
        std::fs::read(path).unwrap()
    })
}

impl Play {
    pub fn new(world: &World) -> Self {
        let dir = dir();
        let path = dir.path().join("mailbell.db");
        std::fs::write(&path, template()).unwrap();
        let truth = Timestamp::from_second(1_800_000_000).unwrap();
        set_wall(truth);
        let (post, chat) = (Post::new(), Arc::new(Mutex::new(Chat::new(&world.receipts, world.archive))));
        let process = Some(Process::start(&path, world.capped, &post, &chat));
        let eye = Eye::open(&path);
        let book = Book::default();
        let mut play =
            Self { path, capped: world.capped, process, post, chat, eye, book, truth, raws: Vec::new(), _dir: dir };
        play.run();
        play
    }

    pub fn chat(&self) -> MutexGuard<'_, Chat> {
        self.chat.lock().unwrap()
    }

    pub fn post(&self) -> MutexGuard<'_, Post> {
        self.post.lock().unwrap()
    }

    fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    pub fn step(&mut self, world: &World, step: &Step) {
        self.book.step += 1;
        let (crashes, up) = (self.book.crashes, self.chat().up());
        self.process().gate.arm(step.death);
        self.happens(world, &step.what);
        self.run();
        self.process().gate.arm(None);
        self.note();
        let looked = matches!(step.what, What::Pass { awake: true, .. }) && self.book.crashes == crashes;
        if looked {
            self.book.holds.seen();
        }
        self.check_step();
        if looked && up && self.chat().up() {
            self.check_fallbacks();
        }
    }

    /// Runs until nothing moves; where the process died, the next one is started.
    fn run(&mut self) {
        if !self.process.as_mut().unwrap().settle() {
            self.crash();
            let alive = self.process.as_mut().unwrap().settle();
            assert!(alive, "nothing kills the second one");
        }
        self.note_commits();
    }

    fn note_commits(&mut self) {
        let gate = self.process.as_ref().unwrap().gate.clone();
        let commits = gate.commits();
        if commits.contains("clock_jumped") {
            self.book.holds.seen();
        }
        self.book.commits.extend(commits);
        // The archive has it: that doubt explains no copy any more.
        let found = std::mem::take(&mut self.chat().archive.found);
        for (stanza, copy) in found {
            if let Some(doubtful) = self.book.doubtful.get_mut(&stanza) {
                doubtful.remove(&usize::try_from(copy).unwrap());
            }
        }
        gate.resent().into_iter().for_each(|id| *self.book.resent.entry(id).or_default() += 1);
    }

    fn crash(&mut self) {
        self.book.crashes += 1;
        // Whether it heard of that is not known.
        self.book.refused = None;
        self.process().gate.kill();
        self.note_commits();
        self.book.holds.died();
        let process = self.process.take().unwrap();
        self.chat().end();
        process.kill();
        self.excuse_what_is_under_way();
        self.process = Some(Process::start(&self.path, self.capped, &self.post, &self.chat));
    }

    /// What is `sending` may come once more.
    fn excuse_what_is_under_way(&mut self) {
        for n in self.eye.notifications().values() {
            if n.state.as_str() == "sending" {
                self.book.doubtful.entry(n.stanza.clone()).or_default().insert(n.attempts);
            }
        }
    }

    fn happens(&mut self, world: &World, what: &What) {
        match what {
            What::Mail(_) => {
                let raw = world.mails[self.raws.len()].raw(self.truth);
                self.raws.push(raw.clone());
                self.book.mailed.push(self.truth);
                self.post().arrive(raw, self.truth);
            }
            What::Again(nth) => {
                if let Some(raw) = pick(&self.raws, *nth) {
                    self.post().arrive(raw.clone(), self.truth);
                }
            }
            What::Look => self.process().look(),
            What::Renumber => self.post().renumber(),
            What::PostFails => self.post().fails = true,
            What::Pace(pace) => {
                let mut chat = self.chat();
                chat.pace = *pace;
                chat.flow();
            }
            What::Take(n) => self.chat().take(usize::from(*n)),
            What::Ack(n) => self.chat().ack(usize::from(*n)),
            What::Connect => self.chat().connect(),
            What::Cut => self.chat().cut(),
            What::Resume => self.chat().resume(),
            What::Lose { told } => {
                self.chat().lose(*told);
                self.run();
                self.excuse_what_is_under_way();
            }
            What::ServerKilled => {
                self.chat().killed();
                self.run();
                self.excuse_what_is_under_way();
            }
            What::Show(who, show) => self.chat().show(PEOPLE[usize::from(*who)], *show),
            What::Leave => audience(SENDERS[0]).iter().for_each(|name| self.chat().show(name, None)),
            What::Gone(who) => self.chat().people.get_mut(PEOPLE[usize::from(*who)]).unwrap().gone = true,
            What::Grant(who, granted) => self.chat().grant(PEOPLE[usize::from(*who)], *granted),
            What::Receipt(who) => self.chat().receipt(PEOPLE[usize::from(*who)]),
            What::Forged(nth) => self.chat().forge(*nth),
            What::Bounce { nth, late, kind, condition } => {
                let refused = self.chat().bounce(*nth, *late, *kind, condition);
                self.book.refused = refused;
            }
            What::Pass { seconds, awake } => {
                self.pass(*seconds);
                if *awake {
                    self.run();
                    self.pass(AWAKE);
                }
            }
            What::Answer { cut } => self.chat().answer_lookup(*cut),
            What::Clock(by) => {
                let by = SignedDuration::from_secs(i64::from(*by));
                set_wall(wall() + by);
                self.book.holds.jumped(by);
            }
            What::Retry(nth) => self.retry(*nth),
            What::Expire(nth) => self.expire(*nth),
            What::Crash => self.process().gate.kill(),
        }
    }

    fn pass(&mut self, seconds: u32) {
        self.chat().wait_for_lookup(seconds);
        let span = SignedDuration::from_secs(i64::from(seconds));
        self.truth += span;
        set_wall(wall() + span);
        self.process().pass(Duration::from_secs(seconds.into()));
    }

    fn retry(&mut self, nth: u8) {
        let all: Vec<_> = self.book.before.values().cloned().collect();
        let Some(n) = pick(&all, nth) else { return };
        let process = self.process();
        if process.run(process.gate.store.retry_now(NotificationId(n.id), wall())).is_ok() {
            process.poke();
            self.book.commits.insert("retry_now");
            *self.book.asked.entry(n.stanza.clone()).or_default() += 1;
        }
    }

    fn expire(&mut self, nth: u8) {
        let all: Vec<_> = self.book.before.values().cloned().collect();
        let Some(n) = pick(&all, nth) else { return };
        let process = self.process();
        if process.run(process.gate.store.expire_now(NotificationId(n.id), "an operator ended it", wall())).is_ok() {
            self.book.commits.insert("expire_now");
            let all = self.eye.notifications();
            self.book.ended.extend(all.values().filter(|c| c.id == n.id || c.carrier == Some(n.id)).map(|c| c.id));
        }
    }

    /// Remembers what cannot be seen later.
    fn note(&mut self) {
        let step = self.book.step;
        for alert in self.eye.alerts() {
            self.book.alerts.entry(alert.id).or_insert(step);
        }
        let chat = self.chat.lock().unwrap();
        for (name, person) in &chat.people {
            self.book.saw.entry(*name).or_default().resize(person.saw.len(), step);
            if person.show != Some(Show::Available) || !person.granted || person.gone {
                self.book.away.insert(name);
            }
        }
    }

    /// All is well again, and everybody is there, until nothing moves any more. `silent`: their clients send receipts only when
    /// it should not wait for them any more.
    pub fn heal(&mut self, silent: bool) {
        self.book.step += 1;
        {
            let mut chat = self.chat();
            chat.pace = Pace::Acked;
            chat.archive.heal();
            chat.resume();
            chat.connect();
            chat.answer_lookup(false);
            chat.flow();
            chat.ack(usize::MAX);
            for name in PEOPLE {
                chat.grant(name, true);
                chat.show(name, Some(Show::Available));
            }
        }
        self.post().fails = false;
        let all = [0, 6, 2, 70, 70, 300, 400, 70, 1000, 2000, 70, 3600, 70, 3600, 70, 15_000, 70, 70];
        for (nth, seconds) in all.into_iter().enumerate() {
            self.pass(seconds);
            self.process().look();
            self.run();
            self.pass(AWAKE);
            self.run();
            if !silent || nth > SILENT {
                PEOPLE.iter().for_each(|name| self.chat().receipt(name));
            }
            self.run();
            self.note();
            self.book.holds.seen();
            self.check_step();
            self.check_fallbacks();
            let still = self.eye.notifications().values().any(|n| !n.state.ended());
            let unread = self.eye.mails().iter().any(|mail| mail.state == "ready") || !self.post().is_empty();
            if !still && !unread && seconds > 300 {
                return;
            }
        }
    }
}
