//! The window by itself: nobody falls out of it but who is too slow.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::hub::{Feed, Look};
use crate::http::{EventSettings, Settings};
use crate::model::{GroupName, Timestamp};
use crate::queue::{Event, EventPage, Events, Happened, MailboxEvent, Reach, StoreError};

/// A log in memory, which counts how often a page of it was read.
#[derive(Default)]
struct Log {
    rows: Mutex<(i64, i64)>,
    read: Mutex<Vec<i64>>,
    news: Arc<Notify>,
}

impl Log {
    fn grow(&self, by: i64) {
        self.rows.lock().unwrap().1 += by;
        self.news.notify_one();
    }
}

#[async_trait]
impl Events for Log {
    async fn span(&self) -> Result<Reach, StoreError> {
        let (gone, newest) = *self.rows.lock().unwrap();
        Ok(Reach { oldest: gone + 1, newest })
    }

    async fn events(&self, after: i64, limit: usize, _: usize) -> Result<EventPage, StoreError> {
        self.read.lock().unwrap().push(after);
        let (gone, newest) = *self.rows.lock().unwrap();
        let first = after.max(gone) + 1;
        let last = newest.min(first - 1 + i64::try_from(limit).unwrap());
        let event = |id| {
            let what = MailboxEvent { mailbox: "ops".into(), state: "ok".into(), error: None };
            Event { id, at: Timestamp::UNIX_EPOCH, groups: Vec::new(), what: Happened::Mailbox(what) }
        };
        Ok(EventPage { events: (first..=last).map(event).collect(), first, last: last.max(after) })
    }

    async fn tell(&self, _: &[(Happened, Vec<GroupName>)]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn trim(&self, keep: u64, _: u64) -> Result<u64, StoreError> {
        let mut rows = self.rows.lock().unwrap();
        rows.0 = rows.0.max(rows.1 - i64::try_from(keep).unwrap());
        Ok(0)
    }

    fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }
}

struct Bed {
    log: Arc<Log>,
    feed: Arc<Feed>,
    cancel: CancellationToken,
    _settings: watch::Sender<Arc<Settings>>,
}

impl Bed {
    /// A window of ten events over a log that is this long.
    fn new(newest: i64) -> Self {
        let log = Arc::new(Log::default());
        log.grow(newest);
        let second = std::time::Duration::from_secs(1);
        let settings = Settings {
            listen: None,
            tls: None,
            behind_proxy: false,
            legacy_open: false,
            max_body: 0,
            rate: 0,
            max_connections: 1,
            timeout: second,
            events: EventSettings { kept: 100, subscribers: 2, keep_alive: second, body: 0 },
        };
        let (set, settings) = watch::channel(Arc::new(settings));
        let feed = Feed::sized(log.clone(), settings, 10);
        let cancel = CancellationToken::new();
        tokio::spawn(Arc::clone(&feed).run(cancel.clone()));
        Self { log, feed, cancel, _settings: set }
    }

    /// Waits until the window has come this far.
    async fn reaches(&self, id: i64) {
        let mut head = self.feed.head.subscribe();
        head.wait_for(|head| *head >= id).await.unwrap();
    }

    fn ids(&self, after: i64) -> Option<Vec<i64>> {
        match self.feed.after(after, 100) {
            Look::Frames(frames) => Some(frames.iter().map(|frame| frame.id).collect()),
            Look::Behind => None,
            Look::Empty => panic!("the window is not filled"),
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn while_nobody_listens_nothing_is_read() {
    let bed = Bed::new(50);
    for _ in 0..100 {
        bed.log.grow(1);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(bed.log.read.lock().unwrap().is_empty());
    let seat = bed.feed.seat(1).unwrap();
    bed.reaches(150).await;
    assert_eq!(bed.ids(150), Some(vec![]), "it begins where the log is then");
    assert_eq!(bed.ids(149), None);
    assert!(bed.feed.seat(1).is_none(), "there is only one place");
    drop(seat);
    let _seat = bed.feed.seat(1).unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_keeps_up_gets_all_and_who_does_not_falls_out() {
    let bed = Bed::new(50);
    let _seat = bed.feed.seat(2).unwrap();
    bed.reaches(50).await;
    let mut fast = 50;
    for round in 1..=10 {
        bed.log.grow(4);
        bed.reaches(50 + round * 4).await;
        let ids = bed.ids(fast).unwrap();
        assert_eq!(ids, (fast + 1..=fast + 4).collect::<Vec<_>>());
        fast += 4;
    }
    assert_eq!(bed.ids(79), None);
    assert_eq!(bed.ids(80).map(|ids| ids.len()), Some(10));
    // However many listen: one reads.
    assert!(bed.log.read.lock().unwrap().len() <= 2 * 11, "{:?}", bed.log.read);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_trimmed_before_it_is_read_leaves_nobody_in_the_belief_that_it_was_all() {
    let bed = Bed::new(50);
    let _seat = bed.feed.seat(2).unwrap();
    bed.reaches(50).await;
    bed.log.rows.lock().unwrap().1 = 1000;
    bed.log.trim(5, 0).await.unwrap();
    bed.log.news.notify_one();
    bed.reaches(1000).await;
    assert_eq!(bed.ids(50), None);
    assert_eq!(bed.ids(995), Some(vec![996, 997, 998, 999, 1000]));
    assert!(bed.feed.read(50).await.unwrap().trimmed);
}
