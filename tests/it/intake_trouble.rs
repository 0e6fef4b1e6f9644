//! Mail servers that fail: alerts still arrive, once, other mailboxes do not notice, and the operators are told.

use std::time::Duration;

use crate::support::ca::Ca;
use crate::support::dovecot::Dovecot;
use crate::support::lab::{Lab, OPERATORS, alert, critical};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::outcome::copies_of;
use crate::support::prosody::Options;
use crate::support::proxy::{Proxy, Trouble, Way};
use crate::support::wait_for;

fn config(lab: &Lab, mailboxes: &[String]) -> String {
    lab.base() + &mailboxes.concat() + &lab.everybody("ops") + OPERATORS
}

/// The mailbox as the lab has it, but reached through a proxy.
fn through(proxy: &Proxy, port: u16, mailbox: &str) -> String {
    mailbox.replace(&format!(":{port}\""), &format!(":{}\"", proxy.port))
}

/// An alert of so many bytes.
fn large(title: &str, bytes: usize) -> String {
    alert(
        &format!("key=\"{title}\" severity=\"critical\""),
        &format!("<title>{title}</title><text>{}</text>", "word ".repeat(bytes / 5)),
    )
}

#[tokio::test]
async fn a_stall_in_one_mailbox_leaves_the_other_alone() {
    let lab = Lab::with(&["alice"], &["stalled", "other"], Options::default());
    let alice = lab.online("alice").await;
    let proxy = Proxy::start(lab.dovecot.imaps).await;
    // The connection stalls in the middle of a literal.
    proxy.set(Way::Down, Trouble::Stall(60_000));
    lab.mail_to("stalled", &large("Behind the stall", 200_000));
    let stalled = through(&proxy, lab.dovecot.imaps, &lab.imap("stalled", "timeout = \"2s\""));
    let mailbell = Mailbell::run(&config(&lab, &[stalled, lab.imap("other", "")]));
    wait_for("the stall", SOON, async || (proxy.bytes(Way::Down) >= 60_000).then_some(())).await;
    lab.mail_to("other", &critical("o", "In the other"));
    alice.gets("In the other").await;
    assert_eq!(alice.copies("Behind the stall"), 0);
    mailbell.logged("the mailbox cannot be read", 1).await;
    proxy.heal();
    alice.gets("Behind the stall").await;
    assert_eq!(alice.count(), 2, "{:#?}", alice.messages());
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_of_a_mail_or_of_idle_is_made_anew() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let proxy = Proxy::start(lab.dovecot.imaps).await;
    proxy.set(Way::Down, Trouble::Reset(60_000));
    lab.mail(&critical("s", "Before it"));
    lab.mail(&large("Cut in the middle", 200_000));
    let mailbell =
        Mailbell::run(&config(&lab, &[through(&proxy, lab.dovecot.imaps, &lab.imap("inbox", "poll = \"1h\""))]));
    mailbell.logged("the mailbox cannot be read", 2).await;
    proxy.heal();
    alice.gets("Before it").await;
    alice.gets("Cut in the middle").await;
    // Now it idles; a mail that comes while the connection is down is found when it is back.
    proxy.refuse(true);
    proxy.sever();
    mailbell.logged("the mailbox cannot be read", 3).await;
    lab.mail(&critical("m", "Meanwhile"));
    proxy.heal();
    alice.gets("Meanwhile").await;
    assert_eq!(alice.count(), 3, "{:#?}", alice.messages());
}

#[tokio::test]
async fn a_mail_server_that_restarts_is_found_again() {
    let mut lab = Lab::with(&["alice"], &["inbox", "pop"], Options::default());
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&config(&lab, &[lab.imap("inbox", ""), lab.pop3("pop", "")]));
    lab.mail(&critical("b", "Before"));
    alice.gets("Before").await;
    lab.dovecot.kill();
    mailbell.logged("the mailbox cannot be read", 2).await;
    lab.dovecot.restart();
    for mailbox in ["inbox", "pop"] {
        let title = format!("After in {mailbox}");
        lab.mail_to(mailbox, &critical(&title, &title));
        alice.gets(&title).await;
    }
    assert_eq!(alice.count(), 3, "{:#?}", alice.messages());
}

#[tokio::test]
async fn a_pop3_session_cut_at_any_stage_pages_once() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let proxy = Proxy::start(lab.dovecot.pop3).await;
    let mailbox = lab.pop3("inbox", "after = \"delete\"\ntimeout = \"5s\"");
    let mailbox = mailbox
        .replace("tls = \"direct\"", "tls = \"none\"")
        .replace("poll = \"1s\"", "poll = \"never\"")
        .replace(&format!(":{}\"", lab.dovecot.pop3s), &format!(":{}\"", proxy.port));
    let mailbell = Mailbell::run(&config(&lab, &[mailbox]));
    lab.mail(&alert("severity=\"critical\"", "<title>Cut here</title>"));
    // Each session gets a little further than the one before: to the login, the listing, RETR, DELE, and in the end to QUIT.
    let mut sent = 0;
    while lab.dovecot.count("inbox", "INBOX") > 0 {
        sent += 3;
        assert!(sent < 1_000, "no session came through:\n{}", mailbell.log());
        proxy.set(Way::Up, Trouble::Reset(sent));
        let (sessions, failures) = (proxy.connections(), mailbell.log().matches("cannot be read").count());
        mailbell.signal("USR1");
        wait_for("the end of a session", SOON, async || {
            let failed = mailbell.log().matches("cannot be read").count() > failures;
            let done = lab.dovecot.count("inbox", "INBOX") == 0;
            (proxy.connections() > sessions && failed || done).then_some(())
        })
        .await;
    }
    proxy.heal();
    lab.mail(&critical("m", "Marker"));
    mailbell.signal("USR1");
    alice.gets("Marker").await;
    assert_eq!(copies_of(&alice, "Cut here").len(), 1);
    assert!(sent > 45, "cut only {} times", sent / 3);
}

#[tokio::test]
async fn a_refused_password_and_an_unknown_certificate_are_told_and_not_hurried() {
    let lab = Lab::with(&["alice"], &["inbox", "locked", "stranger"], Options::default());
    let alice = lab.online("alice").await;
    let proxy = Proxy::start(lab.dovecot.imaps).await;
    let other = Ca::new();
    let locked = through(&proxy, lab.dovecot.imaps, &lab.imap("locked", "")).replace("pw-locked", "s3cret-and-wrong");
    let stranger = through(&proxy, lab.dovecot.imaps, &lab.imap("stranger", ""))
        .replace(lab.ca.ca().to_str().unwrap(), other.ca().to_str().unwrap());
    let mailbell = Mailbell::run(&config(&lab, &[locked, stranger, lab.imap("inbox", "")]));
    let refused = alice.gets("mailbox locked cannot be read").await;
    assert!(refused.contains("login") && !refused.contains("s3cret"), "{refused}");
    let untrusted = alice.gets("mailbox stranger cannot be read").await;
    assert!(untrusted.contains("certificate") && untrusted.contains("ca_file"), "{untrusted}");
    lab.mail(&critical("o", "The good one goes on"));
    alice.gets("The good one goes on").await;
    assert_eq!(proxy.connections(), 2, "one try each");
    assert!(!mailbell.log().contains("s3cret"));
}

#[tokio::test]
async fn a_full_folder_stops_clearing_but_no_alert() {
    // Without MOVE: Dovecot counts nothing where a mail only moves.
    let quota = "mail_plugins = $mail_plugins quota
imap_capability = IMAP4rev1 LITERAL+ IDLE UIDPLUS
plugin {
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:bytes=100
  quota_rule2 = INBOX:ignore
}
";
    let mut lab = Lab::new(&["alice"]);
    lab.dovecot = Dovecot::start_with(&lab.ca, &[("inbox", "pw-inbox")], quota);
    let alice = lab.online("alice").await;
    let proxy = Proxy::start(lab.dovecot.imaps).await;
    let mailbox = through(&proxy, lab.dovecot.imaps, &lab.imap("inbox", "after = \"move:Done\""));
    let _mailbell = Mailbell::run(&config(&lab, &[mailbox]));
    for n in 1..=3 {
        let title = format!("Mail {n}");
        lab.mail(&critical(&title, &title));
        alice.gets(&title).await;
    }
    let told = alice.gets("cannot be cleared").await;
    assert!(told.to_lowercase().contains("quota"), "{told}");
    assert_eq!(lab.dovecot.count("inbox", "INBOX"), 3, "what could not be moved is where it was");
    assert_eq!(alice.count(), 4, "{:#?}", alice.messages());
    assert_eq!(proxy.connections(), 1, "the refusal is no reason to connect again");
}

#[tokio::test]
async fn mails_that_wait_for_a_mailbox_to_come_back_are_delivered_in_order() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let proxy = Proxy::start(lab.dovecot.imaps).await;
    proxy.refuse(true);
    let mailbell = Mailbell::run(&config(&lab, &[through(&proxy, lab.dovecot.imaps, &lab.imap("inbox", ""))]));
    mailbell.logged("the mailbox cannot be read", 1).await;
    for n in 1..=5 {
        let title = format!("Waiting {n}");
        lab.mail(&critical(&title, &title));
    }
    proxy.heal();
    alice.wait_count(5, Duration::from_secs(30)).await;
    let order: Vec<_> = alice.messages().iter().map(|m| m.body().unwrap().lines().next().unwrap().to_owned()).collect();
    assert_eq!(order, (1..=5).map(|n| format!("CRITICAL: Waiting {n}")).collect::<Vec<_>>());
}
