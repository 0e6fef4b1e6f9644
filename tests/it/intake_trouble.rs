//! Mail servers that fail: alerts still arrive, once, other mailboxes do not notice, and the operators are told.

use std::time::Duration;

use crate::support::ca::Ca;
use crate::support::dovecot::Dovecot;
use crate::support::lab::{Lab, OPERATORS, critical};
use crate::support::mailbell::Mailbell;
use crate::support::prosody::Options;
use crate::support::proxy::Proxy;

fn config(lab: &Lab, mailboxes: &[String]) -> String {
    lab.base() + &mailboxes.concat() + &lab.everybody("ops") + OPERATORS
}

/// The mailbox as the lab has it, but reached through a proxy.
fn through(proxy: &Proxy, port: u16, mailbox: &str) -> String {
    mailbox.replace(&format!(":{port}\""), &format!(":{}\"", proxy.port))
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
