//! The store's disk: full, too full, read-only, of another version, in use, and readable by nobody else.

use std::os::unix::fs::PermissionsExt;

use crate::support::lab::{Lab, OPERATORS, critical, in_state};
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
fn a_directory_that_cannot_be_written_is_refused_with_the_fix() {
    let Some(disk) = Tmpfs::mount(8) else { return };
    let lab = Lab::new(&["alice"]);
    disk.read_only();
    let mut mailbell = Mailbell::new(&config(&lab, &disk, "1MiB"));
    refused(&mut mailbell, 74, &["mailbell.db", "must be able to write"]);
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
