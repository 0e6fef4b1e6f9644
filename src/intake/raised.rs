//! Alerts without a mail: what an internal source found is committed, and what follows from it is sent.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::Rulebook;
use super::committed::{hand_over, log_unsubscribed};
use crate::live::Live;
use crate::model::Source;
use crate::queue::{Express, Findings, Found, Outbox, StoreError, StoreFault, patiently};

/// Takes what internal sources find. The parser's sibling: it shares the rules and the express lane with it.
pub struct Raised<Q: ?Sized> {
    /// The queue.
    pub queue: Arc<Q>,
    /// What the config says; one of them for each D2.
    pub rules: Live<Rulebook>,
    /// Writes what is born `sending`.
    pub express: Arc<dyn Express>,
    /// Notified after D2: dispatch may have something to do.
    pub poke: Arc<Notify>,
}

impl<Q: Findings + Outbox + ?Sized + 'static> Raised<Q> {
    /// Commits all of it, in order (D2). While the disk is full it waits.
    ///
    /// Dropped before it ends, it leaves the rest undone, from some finding on; [`Findings::probe_states`] tells what was done.
    ///
    /// # Errors
    /// The store failed; how much of it was committed is not known.
    pub async fn commit(&self, source: &Source, found: Vec<Found>) -> Result<(), StoreError> {
        let found: Arc<[Found]> = found.into();
        let mut done = 0;
        while done < found.len() {
            let step =
                patiently("commit what was found", || self.step(source.clone(), Arc::clone(&found), done)).await?;
            let end = (done + step.max(1)).min(found.len());
            log(source, found.get(done..end).unwrap_or_default());
            done = end;
        }
        Ok(())
    }

    /// One D2 of what is left after the first `done`; says how many it committed. A task of its own: whoever waits for it may go
    /// away, and yet what was born `sending` is written.
    async fn step(&self, source: Source, found: Arc<[Found]>, done: usize) -> Result<usize, StoreError> {
        let (queue, express, poke) = (Arc::clone(&self.queue), Arc::clone(&self.express), Arc::clone(&self.poke));
        let rules = self.rules.get();
        let step = tokio::spawn(async move {
            let (left, now, epoch) = (found.get(done..).unwrap_or_default(), Timestamp::now(), express.epoch());
            let report = queue.d2_found(&source, left, &*rules.router, &*express, now).await?;
            log_unsubscribed(&report.unsubscribed);
            hand_over(&*queue, &*express, epoch, report.born, now).await?;
            poke.notify_one();
            Ok(report.done)
        });
        step.await.map_err(|err| StoreError {
            what: format!("committing what was found failed: {err}"),
            fault: StoreFault::Broken,
        })?
    }
}

fn log(source: &Source, found: &[Found]) {
    for Found { name, alerts, .. } in found.iter().filter(|found| !found.alerts.is_empty()) {
        tracing::info!(%source, name = %name.escape_debug(), alerts = alerts.len(), "found");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::live::{Setter, live};
    use crate::model::*;
    use crate::parse::{Limits, Mappings};
    use crate::queue::sqlite::Sqlite;
    use crate::queue::{self, Ask, Desk, ListFilter, NotificationView, Outgoing, Place, Way};
    use crate::route::{self, Group, Member, Router};

    const SOON: Duration = Duration::from_secs(10);

    /// Sends at once, and remembers what it was handed.
    #[derive(Default)]
    struct Lane {
        written: Mutex<Vec<StanzaId>>,
        /// The session goes down before anything is written.
        down: bool,
        /// Says that a D2 is under way, and waits to be told to go on with it.
        pause: Option<Mutex<(SyncSender<()>, Receiver<()>)>>,
    }

    impl Express for Lane {
        fn epoch(&self) -> Option<Epoch> {
            Some(Epoch(7))
        }

        fn reserve(&self, _: &Ask<'_>) -> Way {
            if let Some(pause) = &self.pause {
                let (inside, go_on) = &*pause.lock().unwrap();
                inside.send(()).unwrap();
                go_on.recv_timeout(SOON).unwrap();
            }
            Way::Now
        }

        fn release(&self, _: &[Place]) {}

        fn hand_over(&self, epoch: Option<Epoch>, born: Vec<Outgoing>, _: Timestamp) -> Vec<StanzaId> {
            assert_eq!(epoch, Some(Epoch(7)));
            let stanzas = born.into_iter().map(|out| out.notification.stanza_id).collect();
            if self.down {
                return stanzas;
            }
            self.written.lock().unwrap().extend(stanzas);
            Vec::new()
        }
    }

    struct Bed {
        store: Arc<Sqlite>,
        lane: Arc<Lane>,
        raised: Arc<Raised<Sqlite>>,
        _rules: Setter<Rulebook>,
        _dir: TempDir,
    }

    /// Ann and Bob are `ops`, and are told of everything.
    fn router() -> Router {
        let names = ["ann", "bob"].map(|name| name.parse::<RecipientName>().unwrap());
        let recipient = |name: &RecipientName| {
            let jid = format!("{name}@example.org").parse().unwrap();
            Recipient { name: name.clone(), jid, lang: None, room: false }
        };
        let ops: GroupName = "ops".parse().unwrap();
        let members = names.iter().cloned().map(Member::Recipient).collect();
        Router::new(&route::Settings {
            recipients: names.iter().map(recipient).collect(),
            groups: vec![Group { name: ops.clone(), members, public: false, policy: Vec::new() }],
            routes: Vec::new(),
            walls: Vec::new(),
            disclaimers: Vec::new(),
            default_group: Some(ops),
            operators: None,
            repeat_after: Duration::from_hours(4),
            key_scopes: BTreeMap::new(),
        })
        .unwrap_or_else(|faults| panic!("{faults:?}"))
    }

    impl Bed {
        async fn new(lane: Lane) -> Self {
            let dir = TempDir::new().unwrap();
            let day = Duration::from_hours(24);
            let path = dir.path().join("mailbell.db");
            let settings = queue::Settings { path, raw_for: day, history_for: day, history_max: 0, reserve: 0 };
            let store = Sqlite::open(&settings).await.unwrap();
            let (rules, live) = live(Rulebook {
                router: Arc::new(router()),
                mailboxes: HashMap::new(),
                limits: Limits::default(),
                mappings: Mappings::default(),
            });
            let lane = Arc::new(lane);
            let raised = Arc::new(Raised {
                queue: Arc::clone(&store),
                rules: live,
                express: Arc::clone(&lane) as Arc<dyn Express>,
                poke: Arc::new(Notify::new()),
            });
            Self { store, lane, raised, _rules: rules, _dir: dir }
        }

        async fn all(&self) -> Vec<NotificationView> {
            let states = NotificationState::ALL.to_vec();
            self.store.list(&ListFilter { states, limit: 1000, ..ListFilter::default() }).await.unwrap()
        }

        async fn poked(&self) {
            tokio::time::timeout(SOON, self.raised.poke.notified()).await.unwrap();
        }
    }

    fn down(host: &str) -> Found {
        let alert = Alert {
            id: format!("{host}-1"),
            key: Key(host.to_owned()),
            sender: host.to_owned(),
            severity: Severity::Critical,
            title: format!("{host} is down"),
            sent: Some(Timestamp::now()),
            ..Alert::empty(Format::Native)
        };
        Found { name: host.to_owned(), state: Some("down".into()), alerts: vec![alert] }
    }

    fn quiet(n: usize) -> Found {
        Found { name: format!("quiet{n:03}"), state: Some("soft".into()), alerts: Vec::new() }
    }

    #[tokio::test]
    async fn all_that_was_found_is_committed_and_sent_in_order() {
        let bed = Bed::new(Lane::default()).await;
        let found: Vec<_> = (0..200).map(|n| down(&format!("db{n:03}"))).collect();
        bed.raised.commit(&Source::Probe, found).await.unwrap();
        bed.poked().await;
        let all = bed.all().await;
        assert_eq!((all.len(), bed.store.probe_states().await.unwrap().len()), (400, 200));
        assert!(all.iter().all(|n| n.state == NotificationState::Sending));
        let told: Vec<_> = all.iter().map(|n| n.stanza_id.clone()).collect();
        assert_eq!(*bed.lane.written.lock().unwrap(), told);
        let titles: Vec<_> = all.iter().map(|n| n.title.as_str()).collect();
        assert!(titles.is_sorted() && titles[0] == "db000 is down", "{titles:?}");
        bed.raised.commit(&Source::Probe, Vec::new()).await.unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_queued_again() {
        let bed = Bed::new(Lane { down: true, ..Lane::default() }).await;
        bed.raised.commit(&Source::Probe, vec![down("db1")]).await.unwrap();
        bed.poked().await;
        let all = bed.all().await;
        assert_eq!(all.iter().map(|n| (n.state, n.attempts)).collect::<Vec<_>>(), [(NotificationState::Queued, 0); 2]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_caller_who_goes_away_leaves_the_rest_undone_and_nothing_unsent() {
        let (inside, is_inside) = sync_channel(9);
        let (go_on, goes_on) = sync_channel(9);
        let bed = Bed::new(Lane { pause: Some(Mutex::new((inside, goes_on))), ..Lane::default() }).await;
        let raised = Arc::clone(&bed.raised);
        let found = std::iter::once(down("db1")).chain((0..600).map(quiet)).collect();
        let caller = tokio::spawn(async move { raised.commit(&Source::Probe, found).await });
        tokio::task::block_in_place(|| is_inside.recv_timeout(SOON)).unwrap();
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        assert!(bed.lane.written.lock().unwrap().is_empty());
        go_on.send(()).unwrap();
        go_on.send(()).unwrap();
        bed.poked().await;
        let told: Vec<_> = bed.all().await.iter().map(|n| n.stanza_id.clone()).collect();
        assert_eq!(told.len(), 2);
        assert_eq!(*bed.lane.written.lock().unwrap(), told);
        let states = bed.store.probe_states().await.unwrap();
        assert!(states.len() < 300 && states[0].0 == "db1", "one D2 and no other: {}", states.len());
    }
}
