//! SIGHUP and `mailbell reload`: what changed is in force, and all else goes on undisturbed.

use crate::storms::{limited, report, reports};
use crate::support::ca::Ca;
use crate::support::lab::{Lab, OPERATORS, alert, critical, group, severe};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::outcome::came_with_one_id;
use crate::support::prosody::Options;
use crate::support::proxy::Proxy;
use crate::support::supervisor::Supervisor;
use crate::support::tmpfs::Tmpfs;
use crate::support::wait_for;

/// Operators that get nothing else: every alert has to be routed.
const ALICE_OPERATES: &str = "[operators]\ngroup = \"alice\"\n";

/// Every alert to one group.
fn all_to(group: &str) -> String {
    format!("[[route]]\ngroups = [{group:?}]\n")
}

#[tokio::test]
async fn a_route_is_in_force_for_the_next_alert_and_no_connection_is_made_anew() {
    let lab = Lab::new(&["alice", "bob"]);
    let (alice, bob) = (lab.online("alice").await, lab.online("bob").await);
    let imap = Proxy::start(lab.dovecot.imaps).await;
    let xmpp = Proxy::start(lab.chat.c2s).await;
    let config = |route: &str| {
        let through = |text: String, from: u16, to: u16| text.replace(&format!("1:{from}\""), &format!("1:{to}\""));
        let config =
            lab.base() + &lab.imap("inbox", "") + &group("alice", &["alice"], "") + &group("bob", &["bob"], "");
        let config = through(through(config, lab.dovecot.imaps, imap.port), lab.chat.c2s, xmpp.port);
        config + ALICE_OPERATES + &all_to(route)
    };
    let mailbell = Mailbell::run(&config("alice"));
    lab.mail(&critical("1", "The first"));
    alice.gets("The first").await;
    let connections = || (imap.connections(), xmpp.connections());
    let before = connections();

    let said = mailbell.reload(&config("bob"));
    assert!(said.ends_with("mailbell.toml: in force\n1 mailbox unchanged\n"), "{said}");
    lab.mail(&critical("2", "The second"));
    bob.gets("The second").await;
    mailbell.reload(&config("alice"));
    lab.mail(&critical("3", "The third"));
    alice.gets("The third").await;
    assert_eq!((alice.copies("The second"), bob.copies("The third")), (0, 0));
    assert_eq!(connections(), before, "imap, xmpp");
}

#[tokio::test]
async fn a_bad_config_is_refused_with_every_error_and_the_old_one_stays() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    mailbell.configure(&(lab.config() + "colour = \"red\"\n[serve]\nshutdown_grace = \"soon\"\n"));
    let refused = mailbell.cli(&["reload"], true);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains("operators.colour") && said.contains("serve.shutdown_grace"), "{said}");
    assert!(said.contains("its old config stays in force"), "{said}");
    let json = mailbell.cli(&["reload", "--json"], true);
    let told: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((json.status.code(), told["errors"].as_array().unwrap().len()), (Some(78), 2), "{told}");

    mailbell.signal("HUP");
    mailbell.logged("the config is not reloaded; the old one stays in force", 3).await;
    let log = mailbell.log();
    assert_eq!(log.matches("shutdown_grace").count(), 3, "once a reload: {log}");
    lab.mail(&critical("1", "As before"));
    alice.gets("As before").await;

    // Without a readable [store] nobody knows where the service is; what is wrong is told all the same.
    mailbell.configure("[store]\npath = 7\ncolour = 1\n");
    let refused = mailbell.cli(&["reload"], true);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains("store.path") && said.contains("operators"), "{said}");

    mailbell.configure(&lab.config());
    mailbell.signal("HUP");
    mailbell.logged("the config is reloaded", 1).await;
}

#[test]
fn the_supervisor_is_told_of_a_reload() {
    let lab = Lab::new(&["alice"]);
    let mut mailbell = Mailbell::new(&lab.config());
    let supervisor = Supervisor::of(&mut mailbell);
    mailbell.start();
    assert_eq!(supervisor.told(), "READY=1");
    mailbell.signal("HUP");
    let reloading = supervisor.told();
    let lines: Vec<_> = reloading.lines().collect();
    assert!(lines.contains(&"RELOADING=1"), "{reloading}");
    let at = lines.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("when");
    assert!(at.parse::<u64>().unwrap() > 0, "{reloading}");
    assert_eq!(supervisor.told(), "READY=1\nSTATUS=the config is reloaded");
    mailbell.configure("[store]\ncolour = 1\n");
    mailbell.signal("HUP");
    assert!(supervisor.told().contains("RELOADING=1"));
    let refused = supervisor.told();
    assert!(refused.starts_with("READY=1\nSTATUS=the config was refused, "), "{refused}");
}

#[tokio::test]
async fn a_corrected_password_file_signs_in_and_the_other_mailbox_keeps_its_connection() {
    let lab = Lab::with(&["alice"], &["inbox", "other"], Options::default());
    let alice = lab.online("alice").await;
    let other = Proxy::start(lab.dovecot.imaps).await;
    let imap = |user: &str, secret: &str| lab.imap(user, "").replace(&format!("password = \"pw-{user}\""), secret);
    let config = lab.base()
        + &imap("inbox", "password_file = \"{dir}/inbox.secret\"")
        + &lab.imap("other", "").replace(&lab.dovecot.imaps.to_string(), &other.port.to_string())
        + &lab.everybody("ops")
        + OPERATORS;
    let mut mailbell = Mailbell::new(&config);
    secret(&mailbell, "inbox.secret", "not-it");
    mailbell.start();
    alice.gets("mailbox inbox cannot be read").await;
    lab.mail_to("inbox", &critical("1", "Behind the password"));
    lab.mail_to("other", &critical("2", "The other one works"));
    alice.gets("The other one works").await;
    let before = other.connections();
    // After a refused login the next try is a minute away.
    secret(&mailbell, "inbox.secret", "pw-inbox");
    let said = mailbell.reload(&config);
    assert!(said.contains("mailbox inbox: signs in anew\n1 mailbox unchanged\n"), "{said}");
    alice.gets("Behind the password").await;
    let said = mailbell.reload(&config);
    assert!(said.ends_with("in force\n2 mailboxes unchanged\n"), "{said}");
    assert_eq!(other.connections(), before);
}

fn secret(mailbell: &Mailbell, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(mailbell.path(name), text).unwrap();
    std::fs::set_permissions(mailbell.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn another_ca_in_the_same_file_is_trusted_after_a_reload() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let stranger = Ca::new();
    let config = lab.config().replace(lab.ca.ca().to_str().unwrap(), "{dir}/ca.pem");
    let mut mailbell = Mailbell::new(&config);
    std::fs::copy(stranger.ca(), mailbell.path("ca.pem")).unwrap();
    mailbell.start();
    mailbell.logged("the mailbox cannot be read", 1).await;
    mailbell.logged("XMPP: the login was refused", 1).await;
    lab.mail(&critical("1", "Behind the certificate"));
    // Both would try again in a minute.
    std::fs::copy(lab.ca.ca(), mailbell.path("ca.pem")).unwrap();
    let said = mailbell.reload(&config);
    assert!(
        said.contains("mailbox inbox: signs in anew\nxmpp: password and CA are used from the next sign-in on\n"),
        "{said}"
    );
    alice.gets("Behind the certificate").await;
}

#[tokio::test]
async fn mailboxes_come_and_go() {
    let lab = Lab::with(&["alice"], &["a", "b"], Options::default());
    let alice = lab.online("alice").await;
    let config = |mailboxes: &str| lab.base() + mailboxes + &lab.everybody("ops") + OPERATORS;
    let (a, b) = (lab.imap("a", ""), lab.imap("b", ""));
    let mailbell = Mailbell::run(&config(&a));
    lab.mail_to("a", &critical("1", "One of a"));
    alice.gets("One of a").await;
    let said = mailbell.reload(&config(&b));
    assert!(said.contains("mailbox b: added\nmailbox a: removed\n"), "{said}");
    lab.mail_to("a", &critical("2", "Two of a"));
    lab.mail_to("b", &critical("3", "One of b"));
    alice.gets("One of b").await;
    assert_eq!(alice.copies("Two of a"), 0, "nobody reads it");
    mailbell.reload(&config(&(a + &b)));
    alice.gets("Two of a").await;
    // A mailbox with other rules keeps its connection and works by them at once.
    let said = mailbell.reload(&config(&(lab.imap("a", "plain = \"alert\"\nplain_severity = \"critical\"") + &b)));
    assert!(said.contains("mailbox a: new rules, same connection\n1 mailbox unchanged\n"), "{said}");
    lab.mail_to("a", "From: x@example.test\nSubject: Plain words\nMessage-ID: <plain@x>\n\nA text.\n");
    alice.gets("Plain words").await;
    came_with_one_id(&alice, "One of a", 1);
}

#[tokio::test]
async fn another_poll_is_in_force_at_once_and_needs_no_other_connection() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let imap = Proxy::start(lab.dovecot.imaps).await;
    let config = |poll: &str| {
        let inbox = lab.imap("inbox", &format!("watch = \"poll\"\npoll = \"{poll}\""));
        let inbox = inbox.replace(&lab.dovecot.imaps.to_string(), &imap.port.to_string());
        lab.base() + &inbox + &lab.everybody("ops") + OPERATORS
    };
    lab.mail(&critical("1", "At the start"));
    let mailbell = Mailbell::run(&config("1h"));
    alice.gets("At the start").await;
    lab.mail(&critical("2", "In an hour"));
    let said = mailbell.reload(&config("1s"));
    assert!(said.contains("mailbox inbox: new rules, same connection\n"), "{said}");
    // It is looked at once; the next mail comes by the poll.
    alice.gets("In an hour").await;
    lab.mail(&critical("3", "By the poll"));
    alice.gets("By the poll").await;
    assert_eq!(imap.connections(), 1);
}

#[tokio::test]
async fn another_cap_is_in_force_at_once() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&limited(&lab, 0, "200ms"));
    let flood = |name: &str| {
        let one = |n| report(&format!("{name}/{n}"), "firing", "minor", &format!("{name} {n}."));
        reports("monitor", (0..20).map(one))
    };
    lab.mail(&flood("Free"));
    for n in 0..20 {
        alice.gets(&format!("MINOR: Free {n}.")).await;
    }
    mailbell.reload(&limited(&lab, 25, "200ms"));
    lab.mail(&flood("Capped"));
    // What was sent before counts.
    assert!(alice.gets("Storm: ").await.contains("Capped "));
}

#[tokio::test]
async fn the_length_of_messages_and_what_is_logged_are_in_force_at_once() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    let text = "word ".repeat(400);
    let long = |title: &str| alert("severity=\"critical\"", &format!("<title>{title}</title><text>{text}</text>"));
    lab.mail(&long("Whole"));
    assert!(alice.gets("Whole").await.len() > 1900);
    assert!(!mailbell.log().contains("DEBUG"));
    let shorter = lab.config().replace("[dispatch]\n", "[dispatch]\ntext_max = 200\n");
    mailbell.reload(&(shorter + "[log]\nfilter = \"debug\"\n"));
    lab.mail(&long("Cut"));
    assert!(alice.gets("Cut").await.len() < 500);
    assert!(mailbell.log().contains("DEBUG"));
}

#[tokio::test]
async fn larger_mails_need_more_room_on_the_disk_at_once() {
    let Some(disk) = Tmpfs::mount(24) else { return };
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let config = |max_size: &str| {
        let inbox = lab.imap("inbox", &format!("max_size = \"{max_size}\"\nbatch = 1"));
        let config = lab.base() + &inbox + &lab.everybody("ops") + OPERATORS;
        config.replace("{dir}/mailbell.db", disk.path().join("mailbell.db").to_str().unwrap())
    };
    let mailbell = Mailbell::run(&config("1MiB"));
    lab.mail(&critical("1", "There is room"));
    alice.gets("There is room").await;
    mailbell.reload(&config("20MiB"));
    mailbell.logged("disk space is below the reserve", 1).await;
    lab.mail(&critical("2", "Waits in the mailbox"));
    alice.gets("of disk space are free, the reserve is 30MiB").await;
    mailbell.reload(&config("1MiB"));
    alice.gets("Waits in the mailbox").await;
}

#[tokio::test]
async fn store_and_xmpp_need_a_restart_and_say_so() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mut mailbell = Mailbell::run(&lab.config());
    let other = lab
        .config()
        .replace("mailbell.db", "other.db")
        .replace("reserve = \"1MiB\"", "reserve = \"2MiB\"")
        .replace("[xmpp]\n", "[xmpp]\nwindow = 7\n");
    mailbell.configure(&other);
    let lost = mailbell.cli(&["reload"], true);
    assert_eq!(lost.status.code(), Some(69), "{lost:?}");
    assert!(String::from_utf8_lossy(&lost.stderr).contains("other.db.sock"), "{lost:?}");
    let socket = mailbell.path("mailbell.db.sock");
    for _ in 0..2 {
        let done = mailbell.cli(&["reload", "--socket", socket.to_str().unwrap()], false);
        let said = String::from_utf8(done.stdout).unwrap();
        let keys = ["store.path", "store.reserve", "xmpp.window"];
        assert!(
            keys.iter().all(|key| said.contains(&format!("{key}: changed; it is in force only after a restart"))),
            "{said}"
        );
        assert!(done.status.success());
    }
    mailbell.logged("changed in the config, but not in force before a restart", 2).await;
    lab.mail(&severe("1", "critical", "Still in the old store"));
    alice.gets("Still in the old store").await;
    assert!(!mailbell.path("other.db").exists());
    mailbell.stop();
    mailbell.start();
    wait_for("the other store", SOON, async || mailbell.path("other.db").exists().then_some(())).await;
}
