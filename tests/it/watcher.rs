//! A mailbox's task with a mailbox that misbehaves in ways that no real server can be made to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use mailbell::intake::{self, Shared, Watcher, watch_disk};
use mailbell::mailbox::{
    self, After, Clearing, Entry, Generation, Listing, Mailbox, MailboxError, Mark, Protocol, Woke,
};
use mailbell::model::{Cursor, NewMessage, Secret};
use mailbell::net::TlsMode;
use mailbell::parse::Plain;
use mailbell::queue::sqlite::Sqlite;
use mailbell::queue::{Inbox, NoticeDue, Outbox, Settings};
use tempfile::TempDir;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::support::wait_for;

const DAY: Duration = Duration::from_secs(86_400);

fn cursor(uid: u32) -> Cursor {
    Cursor::Imap { uidvalidity: 1, uid }
}

/// Lists mails 1 to 3 and gives, in each look, those that the script names; the last line of the script stays in force.
struct Picky {
    gives: Mutex<VecDeque<Vec<u32>>>,
}

#[async_trait]
impl Mailbox for Picky {
    async fn list(&mut self, mark: Option<Mark>) -> Result<Listing, MailboxError> {
        let after = mark.map_or(0, |mark| mark.uid);
        let entries = (after + 1..=3).map(|uid| Entry { cursor: cursor(uid), size: Some(10) }).collect();
        Ok(Listing { generation: Generation::UidValidity(1), entries, complete: after == 0 })
    }

    async fn fetch(&mut self, wanted: &[Entry], _: u64) -> Result<Vec<NewMessage>, MailboxError> {
        let mut gives = self.gives.lock().unwrap();
        let given = if gives.len() > 1 { gives.pop_front().unwrap() } else { gives[0].clone() };
        let mail =
            |uid: &u32| NewMessage { cursor: cursor(*uid), raw: b"mail".to_vec(), internal_date: None, oversize: None };
        let asked = |mail: &NewMessage| wanted.iter().any(|entry| entry.cursor == mail.cursor);
        Ok(given.iter().map(mail).filter(asked).collect())
    }

    async fn clear(&mut self, stored: &[Cursor], _: &After) -> Result<Clearing, MailboxError> {
        Ok(Clearing { done: stored.to_vec(), warning: None })
    }

    async fn rest(&mut self) -> Result<(), MailboxError> {
        Ok(())
    }

    async fn wait(&mut self, at_most: Option<Duration>, _: &Notify) -> Result<Woke, MailboxError> {
        // Nothing is left to do: only the server could tell of more.
        let Some(_) = at_most else { return std::future::pending().await };
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(Woke::Time)
    }

    async fn close(&mut self) {}
}

struct Bed {
    store: Arc<Sqlite>,
    cancel: CancellationToken,
    _dir: TempDir,
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Bed {
    /// A watcher that is never to poll by itself, over such a mailbox.
    async fn start(gives: &[&[u32]]) -> Self {
        let dir = TempDir::new().unwrap();
        let settings = Settings {
            path: dir.path().join("mailbell.db"),
            raw_for: DAY,
            history_for: DAY,
            history_max: 0,
            reserve: 0,
        };
        let store = Sqlite::open(&settings).await.unwrap();
        let cancel = CancellationToken::new();
        let (disk, _) = watch_disk(store.clone(), Arc::default(), cancel.clone()).await.unwrap();
        let shared = Shared { queue: store.clone(), turn: Semaphore::new(1), stored: Arc::default() };
        let rules = intake::Settings {
            poll: None,
            batch: 100,
            max_age: Duration::from_secs(86_400),
            senders: Vec::new(),
            require_auth: None,
            sender_may_choose_group: false,
            plain: Plain::Quarantine,
            rules: Default::default(),
        };
        let connection = mailbox::Settings {
            name: "ops".parse().unwrap(),
            protocol: Protocol::Imap,
            host: "127.0.0.1".into(),
            port: 1,
            tls: TlsMode::None,
            ca_file: None,
            tls_name: None,
            allow_plaintext: false,
            user: "alerts".into(),
            auth: mailbox::Auth::Password(Secret::new("secret".into())),
            folder: "INBOX".into(),
            watch: mailbox::Watch::Idle,
            after: After::Keep,
            rejected: None,
            max_size: 1000,
            idle_for: Duration::from_secs(240),
            timeout: Duration::from_secs(30),
        };
        let gives = Mutex::new(gives.iter().map(|uids| uids.to_vec()).collect());
        let watcher = Watcher::new(
            Arc::new(shared),
            mailbell::live::live(rules).1,
            connection,
            Box::new(Picky { gives }),
            disk,
            Arc::default(),
        );
        tokio::spawn(watcher.run(CancellationToken::new(), cancel.clone()));
        Self { store, cancel, _dir: dir }
    }

    async fn stored(&self, uids: &[u32]) {
        let cursors: Vec<_> = uids.iter().map(|uid| cursor(*uid)).collect();
        wait_for("the mails in the store", Duration::from_secs(10), async || {
            self.store.unknown(&"ops".parse().unwrap(), &cursors).await.unwrap().is_empty().then_some(())
        })
        .await;
    }

    async fn notices(&self) -> Vec<NoticeDue> {
        self.store.notices_due(Timestamp::MAX).await.unwrap()
    }
}

#[tokio::test]
async fn mails_that_the_server_lists_and_never_gives_are_told_to_the_operators_once() {
    let bed = Bed::start(&[&[1, 3]]).await;
    bed.stored(&[1, 3]).await;
    let told = wait_for("a notice", Duration::from_secs(10), async || bed.notices().await.pop()).await;
    assert_eq!((told.topic.as_str(), told.count), ("withheld:ops", 1));
    assert_eq!(
        told.text,
        "mailbox ops: the server lists mails and does not give them: 1, the first is 1/2; look there yourself"
    );
}

#[tokio::test]
async fn a_mail_that_comes_at_the_second_time_of_asking_is_no_news() {
    let bed = Bed::start(&[&[1], &[2, 3]]).await;
    bed.stored(&[1, 2, 3]).await;
    assert_eq!(bed.notices().await, []);
}
