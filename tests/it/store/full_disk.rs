//! Disks without room, and those that cannot be written to.

use mailbell::model::{Epoch, NotificationState};
use mailbell::queue::sqlite::Sqlite;
use mailbell::queue::{Desk, Inbox, ListFilter, Outbox, StoreFault};

use super::{Both, Closed, alerts, at, message, settings, take_in};
use crate::support::tmpfs::Tmpfs;

#[tokio::test]
async fn a_full_disk_loses_nothing_and_ends_by_itself() {
    let Some(disk) = Tmpfs::mount(8) else { return };
    let store = Sqlite::open(&settings(disk.path())).await.unwrap();
    let mut stored = 0u32;
    let err = loop {
        match take_in(&store, stored + 1).await {
            Ok(()) => stored += 1,
            Err(err) => break err,
        }
    };
    assert_eq!(err.fault, StoreFault::Full, "{err}");
    assert!(stored > 50, "{stored}");
    disk.resize(16);
    // What failed can be done now, and nothing of it was done before.
    let left = store.ready(10, u64::MAX, &[]).await.unwrap();
    for m in left {
        store.d2_commit(vec![message(m.id, alerts("left"))], &Both, &Closed, at(1)).await.unwrap();
    }
    take_in(&store, stored + 2).await.unwrap();

    // D3 and D4 meet a full disk.
    let who = ["ann@example.test".parse().unwrap()];
    let due = store.due(&who, 500, 500, at(2)).await.unwrap();
    disk.fill(0);
    let (mut intended, mut full) = (Vec::new(), false);
    for out in &due {
        match store.d3_intend(&[out.notification.id], Epoch(1), at(2)).await {
            Ok(ids) => intended.extend(ids),
            Err(err) => {
                assert_eq!(err.fault, StoreFault::Full, "{err}");
                full = true;
                break;
            }
        }
    }
    assert!(full, "the disk was not full");
    disk.clear();
    assert!(store.room().await.unwrap().free > 1 << 20);
    let sending = ListFilter { states: vec![NotificationState::Sending], limit: 1000, ..ListFilter::default() };
    let sending: Vec<_> = store.list(&sending).await.unwrap().iter().map(|n| n.id).collect();
    assert_eq!(sending, intended, "what failed did not happen");
    let rest: Vec<_> = due.iter().map(|o| o.notification.id).filter(|id| !intended.contains(id)).collect();
    assert_eq!(store.d3_intend(&rest, Epoch(1), at(3)).await.unwrap(), rest);
    let stanzas: Vec<_> = due.iter().map(|o| o.notification.stanza_id.clone()).collect();
    store.d4_accepted(&stanzas, at(3)).await.unwrap();
    store.close().await;
    drop(store);
    Sqlite::open(&settings(disk.path())).await.unwrap();
}

#[tokio::test]
async fn a_read_only_disk_is_named() {
    let Some(disk) = Tmpfs::mount(8) else { return };
    disk.read_only();
    let err = Sqlite::open(&settings(disk.path())).await.err().unwrap();
    assert!(err.what.contains("cannot open") && err.what.contains("must be able to write"), "{err}");
    disk.writable();
    let store = Sqlite::open(&settings(disk.path())).await.unwrap();
    take_in(&store, 1).await.unwrap();
    store.close().await;
    drop(store);
    disk.read_only();
    let err = Sqlite::open(&settings(disk.path())).await.err().unwrap();
    assert!(err.what.contains("must be able to write"), "{err}");
}
