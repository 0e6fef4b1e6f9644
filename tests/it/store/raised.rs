//! What an internal source finds, where the disk is full or the store fails.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mailbell::intake::{Raised, Rulebook};
use mailbell::live::{Setter, live};
use mailbell::model::*;
use mailbell::parse::{Limits, Mappings};
use mailbell::queue::sqlite::Sqlite;
use mailbell::queue::*;
use mailbell::route::{self, Group, Member, Router};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::{alert, settings};
use crate::support::mailbell::SOON;
use crate::support::tmpfs::Tmpfs;
use crate::support::wait_for;

/// Sends everything at once; counts what was reserved, given back and written.
#[derive(Default)]
struct Lane {
    reserved: AtomicUsize,
    released: AtomicUsize,
    written: AtomicUsize,
}

impl Express for Lane {
    fn epoch(&self) -> Option<Epoch> {
        Some(Epoch(1))
    }

    fn reserve(&self, _: &Ask<'_>) -> Way {
        self.reserved.fetch_add(1, Ordering::SeqCst);
        Way::Now
    }

    fn release(&self, places: &[Place]) {
        self.released.fetch_add(places.len(), Ordering::SeqCst);
    }

    fn hand_over(&self, _: Option<Epoch>, born: Vec<Outgoing>, _: jiff::Timestamp) -> Vec<StanzaId> {
        self.written.fetch_add(born.len(), Ordering::SeqCst);
        Vec::new()
    }
}

/// Everything goes to ann.
async fn raised(dir: &Path) -> (Arc<Sqlite>, Arc<Lane>, Raised<Sqlite>, Setter<Rulebook>) {
    let store = Sqlite::open(&settings(dir)).await.unwrap();
    let (ann, ops): (RecipientName, GroupName) = ("ann".parse().unwrap(), "ops".parse().unwrap());
    let jid = "ann@example.test".parse().unwrap();
    let members = vec![Member::Recipient(ann.clone())];
    let router = Router::new(&route::Settings {
        recipients: vec![Recipient { name: ann, jid, lang: None, room: false }],
        groups: vec![Group { name: ops.clone(), members, public: false, policy: Vec::new() }],
        routes: Vec::new(),
        walls: Vec::new(),
        disclaimers: Vec::new(),
        default_group: Some(ops),
        operators: None,
        repeat_after: Duration::from_secs(3600),
        key_scopes: BTreeMap::new(),
    });
    let router = Arc::new(router.unwrap_or_else(|faults| panic!("{faults:?}")));
    let (limits, mappings) = (Limits::default(), Mappings::default());
    let (setter, rules) = live(Rulebook { router, mailboxes: HashMap::new(), limits, mappings });
    let lane = Arc::new(Lane::default());
    let raised = Raised { queue: store.clone(), rules, express: lane.clone(), poke: Arc::new(Notify::new()) };
    (store, lane, raised, setter)
}

fn down(host: &str) -> Found {
    // Large enough that a page or two are not enough.
    let alerts = vec![Alert { text: "refused ".repeat(5000), ..alert(host) }];
    Found { name: host.into(), state: Some("down".into()), alerts }
}

#[tokio::test]
async fn a_full_disk_is_waited_for_and_nothing_is_told_twice() {
    let Some(disk) = Tmpfs::mount(8) else { return };
    let (store, lane, raised, _rules) = raised(disk.path()).await;
    raised.commit(&Source::Probe, vec![down("db1")]).await.unwrap();
    disk.fill(0);
    let found = (2..5).map(|n| down(&format!("db{n}"))).collect();
    let caller = tokio::spawn(async move { raised.commit(&Source::Probe, found).await });
    wait_for("a try that fails", SOON, async || (lane.released.load(Ordering::SeqCst) == 3).then_some(())).await;
    assert!(!caller.is_finished());
    assert_eq!(store.probe_states().await.unwrap().len(), 1);
    disk.clear();
    caller.await.unwrap().unwrap();
    assert_eq!(store.probe_states().await.unwrap().len(), 4);
    let states = vec![NotificationState::Sending];
    let sending = store.list(&ListFilter { states, ..ListFilter::default() }).await.unwrap();
    assert_eq!((sending.len(), lane.written.load(Ordering::SeqCst)), (4, 4));
    assert_eq!(lane.reserved.load(Ordering::SeqCst) - lane.released.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_store_that_fails_is_an_error_and_tells_nobody() {
    let dir = TempDir::new().unwrap();
    let (store, lane, raised, _rules) = raised(dir.path()).await;
    raised.commit(&Source::Probe, vec![down("db1")]).await.unwrap();
    store.close().await;
    std::fs::write(store.path(), "my diary").unwrap();
    let err = raised.commit(&Source::Probe, vec![down("db2")]).await.unwrap_err();
    assert_eq!(err.fault, StoreFault::Broken, "{err}");
    assert_eq!(lane.written.load(Ordering::SeqCst), 1);
}
