//! Rows 15, 16 and 32: the store's disk fails, is full, or holds what a newer gateway wrote.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::Connection;

use crate::support::lab::{Lab, OPERATORS, in_state};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::oracle::Oracle;
use crate::support::outcome::all_in_state;
use crate::support::prosody::Options;
use crate::support::proxy::{Proxy, Trouble, Way};
use crate::support::strace::Strace;
use crate::support::tmpfs::Tmpfs;
use crate::support::wait_for;
use crate::support::witness::Witness;

/// With the store on that file system, and mails so small that the reserve is what the config says.
fn config(lab: &Lab, disk: &Tmpfs) -> String {
    let store = format!("path = \"{}/mailbell.db\"", disk.path().display());
    lab.base().replace("path = \"{dir}/mailbell.db\"", &store)
        + &lab.imap("inbox", "after = \"delete\"\nmax_size = \"400KiB\"\nbatch = 1")
        + &lab.everybody("ops")
        + OPERATORS
}

async fn cleared(lab: &Lab, mailbox: &str) {
    let what = format!("{mailbox} to be cleared");
    wait_for(&what, SOON, async || (lab.dovecot.count(mailbox, "INBOX") == 0).then_some(())).await;
}

/// The system call, and which of them fails first, counted from the arrival of a mail. SQLite syncs its log once for each commit.
/// The mailbox of that name is only for this.
const PLACES: [(&str, &str, u32); 7] = [
    ("fsync-1", "fsync", 1),
    ("fsync-2", "fsync", 2),
    ("fsync-3", "fsync", 3),
    ("fsync-4", "fsync", 4),
    ("fsync-5", "fsync", 5),
    ("write-1", "pwrite64", 1),
    ("write-40", "pwrite64", 40),
];

#[tokio::test]
async fn row15_eio_of_the_disk() {
    let mailboxes: Vec<&str> = PLACES.iter().map(|(mailbox, _, _)| *mailbox).collect();
    let lab = Lab::with(&["alice"], &mailboxes, Options::default());
    let alice = Witness::start(lab.login("alice"), "alice").await;
    for (mailbox, call, when) in PLACES {
        let inbox = lab.imap(mailbox, "after = \"delete\"");
        let mut mailbell = Mailbell::run(&(lab.base() + &inbox + &lab.everybody("ops") + OPERATORS));
        let oracle =
            Oracle::new(15, &format!("strace: EIO on {call} {when} of the log and later ones")).in_mailbox(mailbox);
        oracle.mail(&lab, 1);
        all_in_state(&mailbell, &oracle.title(0), 1, "delivered").await;
        cleared(&lab, mailbox).await;
        let fault = format!("{call}:error=EIO:when={when}+");
        let log = mailbell.path("mailbell.db-wal");
        let Some(strace) = Strace::inject(mailbell.pid(), &fault, &log) else { return };
        oracle.mail(&lab, 1);
        let status = wait_for("the end", SOON, async || mailbell.has_ended()).await;
        assert_eq!(status.code(), Some(74), "{mailbox}:\n{}", mailbell.log());
        assert!(strace.trace().contains("(INJECTED)"), "{mailbox}: it ended for another reason");
        if when == 1 {
            assert_eq!(lab.dovecot.count(mailbox, "INBOX"), 1, "{mailbox}: what is not stored is not cleared");
        }
        drop(strace);
        mailbell.start();
        oracle.over();
        let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
        oracle.all_told(&verdict, 2);
        cleared(&lab, mailbox).await;
    }
}

#[tokio::test]
async fn row16_disk_full_at_d1() {
    let Some(disk) = Tmpfs::mount(8) else { return };
    let lab = Lab::new(&["alice"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let proxy = Proxy::start(lab.dovecot.imaps).await;
    let config = config(&lab, &disk).replace(&format!(":{}\"", lab.dovecot.imaps), &format!(":{}\"", proxy.port));
    let mut mailbell = Mailbell::run(&config);
    let store = disk.path().join("mailbell.db");
    let oracle = Oracle::new(16, "tmpfs filled while a mail is fetched").with_text(200_000).store(store);
    oracle.mail(&lab, 1);
    all_in_state(&mailbell, &oracle.title(0), 1, "delivered").await;
    cleared(&lab, "inbox").await;
    // There was room when the fetch began, and none any more when the mail is here.
    proxy.set(Way::Down, Trouble::Stall(60_000));
    let so_far = proxy.bytes(Way::Down);
    oracle.mail(&lab, 1);
    wait_for("the fetch", SOON, async || (proxy.bytes(Way::Down) >= so_far + 60_000).then_some(())).await;
    disk.fill(0);
    proxy.heal();
    mailbell.logged("the disk is full: cannot store mails", 1).await;
    assert_eq!(lab.dovecot.count("inbox", "INBOX"), 1, "what is not stored is not touched");
    assert!(!alice.has(&oracle.title(1)));
    disk.clear();
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
    mailbell.logged("there is room on the disk again", 1).await;
    cleared(&lab, "inbox").await;
    assert_eq!(mailbell.has_ended(), None, "nobody had to restart it");
    mailbell.stop();
}

#[tokio::test]
async fn row16_disk_full_at_d4() {
    let Some(disk) = Tmpfs::mount(8) else { return };
    let lab = Lab::new(&["alice"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let proxy = Proxy::start(lab.chat.c2s).await;
    let config = config(&lab, &disk).replace(&format!(":{}\"", lab.chat.c2s), &format!(":{}\"", proxy.port));
    let mut mailbell = Mailbell::run(&config);
    let oracle = Oracle::new(16, "tmpfs filled before an acknowledgement").store(disk.path().join("mailbell.db"));
    oracle.mail(&lab, 1);
    all_in_state(&mailbell, &oracle.title(0), 1, "delivered").await;
    // The acknowledgement is on its way until the disk is full.
    proxy.set(Way::Down, Trouble::Stall(0));
    oracle.mail(&lab, 1);
    let title = oracle.title(1);
    wait_for("the message", SOON, async || alice.has(&title).then_some(())).await;
    in_state(&mailbell, "sending", 1).await;
    disk.fill(0);
    proxy.heal();
    mailbell.logged("the disk is full: cannot record what the server accepted", 1).await;
    // This one waits where it is.
    oracle.mail(&lab, 1);
    disk.clear();
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
    cleared(&lab, "inbox").await;
    assert_eq!(mailbell.has_ended(), None, "nobody had to restart it");
    mailbell.stop();
}

/// Every file of the store, by its name; but for the lock, which is what makes it sure that nobody else is there.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let name = |entry: &std::fs::DirEntry| entry.file_name().into_string().unwrap();
    let files = entries.filter(|entry| name(entry) != "mailbell.db.lock");
    files.map(|entry| (name(&entry), std::fs::read(entry.path()).unwrap())).collect()
}

#[tokio::test]
async fn row32_newer_schema() {
    let lab = Lab::new(&["alice"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let mut mailbell = Mailbell::new(&lab.config().replace("{dir}/mailbell.db", "{dir}/store/mailbell.db"));
    mailbell.start();
    let dir = mailbell.path("store");
    let oracle = Oracle::new(32, "started on a store of schema 99").store(dir.join("mailbell.db"));
    oracle.mail(&lab, 2);
    oracle.settled(&mailbell, &[&alice]).await;
    mailbell.stop();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("mailbell.db"));
    let mut newer = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let known = sqlx::query_scalar::<_, i64>("PRAGMA user_version").fetch_one(&mut newer).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99; PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut newer).await.unwrap();
    // The newer one died with something in its log.
    sqlx::raw_sql("CREATE TABLE newer (id INTEGER)").execute(&mut newer).await.unwrap();
    oracle.mail(&lab, 2);
    let before = files(&dir);
    assert!(before["mailbell.db-wal"].len() > 4096, "{:?}", before.keys());
    let logged = mailbell.log().len();
    mailbell.spawn();
    let status = wait_for("the refusal", SOON, async || mailbell.has_ended()).await;
    let said = mailbell.log()[logged..].to_owned();
    assert_eq!(status.code(), Some(74), "{said}");
    for part in ["schema 99", "newer mailbell", "nothing was changed"] {
        assert!(said.contains(part), "{part:?} is missing:\n{said}");
    }
    let after = files(&dir);
    let changed = before.keys().chain(after.keys()).find(|name| before.get(*name) != after.get(*name));
    assert_eq!(changed, None, "it was touched");
    assert_eq!(lab.dovecot.count("inbox", "INBOX"), 4);
    // As a backup from before the upgrade.
    let back = sqlx::AssertSqlSafe(format!("DROP TABLE newer; PRAGMA user_version = {known}"));
    sqlx::raw_sql(back).execute(&mut newer).await.unwrap();
    newer.close().await.unwrap();
    mailbell.start();
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
}
