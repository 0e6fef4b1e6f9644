//! The store's disk: full, too full, read-only, of another version, in use, and readable by nobody else.

use std::os::unix::fs::PermissionsExt;

use crate::support::lab::{Lab, OPERATORS, alert, critical, in_state};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::outcome::{SENT, all_in_state, came_with_one_id};
use crate::support::proxy::{Proxy, Trouble, Way};
use crate::support::tmpfs::Tmpfs;
use crate::support::wait_for;

/// With the store on that file system, and mails so small that the reserve is what the config says.
fn config(lab: &Lab, disk: &Tmpfs, reserve: &str) -> String {
    let store = format!("path = \"{}/mailbell.db\"\nreserve = \"{reserve}\"", disk.path().display());
    lab.base().replace("path = \"{dir}/mailbell.db\"\nreserve = \"1MiB\"", &store)
        + &lab.imap("inbox", "after = \"delete\"\nmax_size = \"400KiB\"\nbatch = 1")
        + &lab.everybody("ops")
        + OPERATORS
}

#[tokio::test]
async fn a_full_disk_at_d1_deletes_nothing_and_passes() {
    let Some(disk) = Tmpfs::mount(8) else { return };
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let proxy = Proxy::start(lab.dovecot.imaps).await;
    let config =
        config(&lab, &disk, "1MiB").replace(&format!(":{}\"", lab.dovecot.imaps), &format!(":{}\"", proxy.port));
    let mut mailbell = Mailbell::run(&config);
    lab.mail(&critical("w", "Warm-up"));
    alice.gets("Warm-up").await;
    all_in_state(&mailbell, "Warm-up", 1, "delivered").await;
    wait_for("the first mail to be cleared", SOON, async || (lab.dovecot.count("inbox", "INBOX") == 0).then_some(()))
        .await;
    // There was room when the fetch began, and none any more when the mail is here.
    let text = "word ".repeat(40_000);
    let content = format!("<title>On a full disk</title><text>{text}</text>");
    proxy.set(Way::Down, Trouble::Stall(60_000));
    let so_far = proxy.bytes(Way::Down);
    lab.mail(&alert("severity=\"critical\"", &content));
    wait_for("the fetch", SOON, async || (proxy.bytes(Way::Down) >= so_far + 60_000).then_some(())).await;
    disk.fill(0);
    proxy.heal();
    mailbell.logged("the disk is full: cannot store mails", 1).await;
    assert_eq!(lab.dovecot.count("inbox", "INBOX"), 1, "what is not stored is not touched");
    assert_eq!(alice.copies("On a full disk"), 0);
    disk.clear();
    alice.gets("On a full disk").await;
    wait_for("the mail to be cleared", SOON, async || (lab.dovecot.count("inbox", "INBOX") == 0).then_some(())).await;
    mailbell.logged("there is room on the disk again", 1).await;
    came_with_one_id(&alice, "On a full disk", 1);
    mailbell.stop();
}

#[tokio::test]
async fn a_full_disk_at_d4_sends_nothing_twice() {
    let Some(disk) = Tmpfs::mount(8) else { return };
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let proxy = Proxy::start(lab.chat.c2s).await;
    let config = config(&lab, &disk, "1MiB").replace(&format!(":{}\"", lab.chat.c2s), &format!(":{}\"", proxy.port));
    let mut mailbell = Mailbell::run(&config);
    lab.mail(&critical("w", "Warm-up"));
    alice.gets("Warm-up").await;
    all_in_state(&mailbell, "Warm-up", 1, "delivered").await;
    // The acknowledgement is on its way until the disk is full.
    proxy.set(Way::Down, Trouble::Stall(0));
    lab.mail(&critical("f", "Accepted on a full disk"));
    alice.gets("Accepted on a full disk").await;
    in_state(&mailbell, "sending", 1).await;
    disk.fill(0);
    proxy.heal();
    mailbell.logged("the disk is full: cannot record what the server accepted", 1).await;
    disk.clear();
    all_in_state(&mailbell, "Accepted on a full disk", 1, "delivered").await;
    lab.mail(&critical("m", "Marker"));
    alice.gets("Marker").await;
    came_with_one_id(&alice, "Accepted on a full disk", 1);
    mailbell.stop();
}

#[tokio::test]
async fn a_full_disk_does_not_keep_it_from_stopping() {
    let Some(disk) = Tmpfs::mount(8) else { return };
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let proxy = Proxy::start(lab.chat.c2s).await;
    let config = config(&lab, &disk, "1MiB").replace(&format!(":{}\"", lab.chat.c2s), &format!(":{}\"", proxy.port))
        + "[serve]\nshutdown_grace = \"1s\"\n";
    let mut mailbell = Mailbell::run(&config);
    lab.mail(&critical("w", "Warm-up"));
    alice.gets("Warm-up").await;
    all_in_state(&mailbell, "Warm-up", 1, "delivered").await;
    proxy.set(Way::Down, Trouble::Stall(0));
    lab.mail(&critical("f", "In flight"));
    alice.gets("In flight").await;
    in_state(&mailbell, "sending", 1).await;
    disk.fill(0);
    proxy.heal();
    mailbell.logged("the disk is full: cannot record what the server accepted", 1).await;
    mailbell.signal("TERM");
    let status = wait_for("the end", SOON, async || mailbell.has_ended()).await;
    assert!(status.success(), "{status}");
    // What could not be recorded is in doubt: once more, and under the same id.
    disk.clear();
    mailbell.start();
    all_in_state(&mailbell, "In flight", 1, SENT).await;
    came_with_one_id(&alice, "In flight", 2);
}

#[tokio::test]
async fn below_the_reserve_no_mail_is_fetched_until_there_is_room() {
    let Some(disk) = Tmpfs::mount(16) else { return };
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    disk.fill(1024);
    lab.mail(&critical("a", "Safe in the mailbox"));
    let mailbell = Mailbell::run(&config(&lab, &disk, "8MiB"));
    let told = alice.gets("no mail is fetched").await;
    assert!(told.contains("the reserve is 8MiB"), "{told}");
    mailbell.logged("disk space is below the reserve", 1).await;
    assert_eq!(alice.copies("Safe in the mailbox"), 0);
    assert_eq!(lab.dovecot.count("inbox", "INBOX"), 1);
    disk.clear();
    alice.gets("Safe in the mailbox").await;
    mailbell.logged("there is disk space again", 1).await;
}

/// It must end by itself, with this exit code, and say this.
fn refused(mailbell: &mut Mailbell, code: i32, says: &[&str]) {
    let before = mailbell.log().len();
    mailbell.spawn();
    let status = mailbell.ended();
    let said = mailbell.log()[before..].to_owned();
    assert_eq!(status.code(), Some(code), "{said}");
    for part in says {
        assert!(said.contains(part), "{part:?} is missing:\n{said}");
    }
}

#[test]
fn a_second_instance_is_refused_and_names_the_first() {
    let lab = Lab::new(&["alice"]);
    let first = Mailbell::run(&lab.config());
    let mut second =
        Mailbell::new(&lab.config().replace("{dir}/mailbell.db", first.path("mailbell.db").to_str().unwrap()));
    refused(&mut second, 74, &["is in use by", &first.pid().to_string()]);
    drop(first);
    second.start();
}

#[test]
fn a_directory_that_cannot_be_written_is_refused_with_the_fix() {
    let Some(disk) = Tmpfs::mount(8) else { return };
    let lab = Lab::new(&["alice"]);
    disk.read_only();
    let mut mailbell = Mailbell::new(&config(&lab, &disk, "1MiB"));
    refused(&mut mailbell, 74, &["mailbell.db", "must be able to write"]);
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused_and_left_alone() {
    use sqlx::Connection;
    let lab = Lab::new(&["alice"]);
    let mut mailbell = Mailbell::run(&lab.config());
    mailbell.stop();
    let file = mailbell.path("mailbell.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
    let mut store = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99; PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut store).await.unwrap();
    store.close().await.unwrap();
    let before = std::fs::read(&file).unwrap();
    refused(&mut mailbell, 74, &["schema 99", "newer mailbell", "nothing was changed"]);
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn store_and_socket_are_for_their_owner_only() {
    let lab = Lab::new(&["alice"]);
    let mailbell = Mailbell::run(&lab.config());
    let mut sockets = 0;
    for entry in std::fs::read_dir(mailbell.path("")).unwrap() {
        use std::os::unix::fs::FileTypeExt;
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if !name.starts_with("mailbell.db") {
            continue;
        }
        let found = entry.metadata().unwrap();
        sockets += usize::from(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(sockets, 1);
}
