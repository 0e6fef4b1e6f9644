//! The ways by which mails come in, and what becomes of them in the mailbox.

use std::time::{Duration, SystemTime};

use crate::support::lab::{Lab, OPERATORS, alert, critical, severe};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::outcome::{copies_of, notifications};
use crate::support::prosody::Options;
use crate::support::wait_for;

fn config(lab: &Lab, mailboxes: &[String]) -> String {
    lab.base() + &mailboxes.concat() + &lab.everybody("ops") + OPERATORS
}

/// An alert without a key is a condition of its own: only being the same mail can keep it from being sent.
fn without_key(title: &str) -> String {
    alert("severity=\"critical\"", &format!("<title>{title}</title>"))
}

#[tokio::test]
async fn idle_tells_of_a_mail_long_before_the_poll() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let _mailbell = Mailbell::run(&config(&lab, &[lab.imap("inbox", "poll = \"1h\"")]));
    lab.mail(&critical("a", "Found by the first look"));
    alice.gets("Found by the first look").await;
    for n in 1..=3 {
        let title = format!("Pushed {n}");
        lab.mail(&critical(&title, &title));
        alice.gets(&title).await;
    }
}

#[tokio::test]
async fn pop3_is_polled_and_cleared() {
    let lab = Lab::with(&["alice"], &["kept", "deleted"], Options::default());
    let alice = lab.online("alice").await;
    let mailboxes = [lab.pop3("kept", ""), lab.pop3("deleted", "after = \"delete\"")];
    let mut mailbell = Mailbell::run(&config(&lab, &mailboxes));
    for n in 1..=2 {
        for mailbox in ["kept", "deleted"] {
            let title = format!("Mail {n} of {mailbox}");
            lab.mail_to(mailbox, &without_key(&title));
            alice.gets(&title).await;
        }
    }
    wait_for("the mails to be deleted", SOON, async || (lab.dovecot.count("deleted", "INBOX") == 0).then_some(()))
        .await;
    assert_eq!(lab.dovecot.count("kept", "INBOX"), 2);
    mailbell.stop();
    mailbell.start();
    lab.mail_to("kept", &without_key("After the restart"));
    alice.gets("After the restart").await;
    assert_eq!(alice.count(), 5, "{:#?}", alice.messages());
}

#[tokio::test]
async fn a_backlog_is_delivered_once_at_the_start() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mails: Vec<_> = (0..200).map(|n| critical(&format!("b/{n}"), &format!("Backlog {n:03}."))).collect();
    lab.put("inbox", &mails);
    let mailbell = Mailbell::run(&lab.config());
    alice.wait_count(200, SOON * 3).await;
    lab.mail(&critical("m", "Marker"));
    alice.gets("Marker").await;
    for n in 0..200 {
        assert_eq!(copies_of(&alice, &format!("Backlog {n:03}.")).len(), 1, "of {n}");
    }
    assert_eq!(notifications(&mailbell, "Backlog").len(), 200);
}

#[tokio::test]
async fn an_old_backlog_pages_nobody_and_is_told_of_once() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let long_ago = SystemTime::now() - Duration::from_secs(25 * 3600);
    let mails: Vec<_> = (0..250).map(|n| critical(&format!("o/{n}"), &format!("Old {n}"))).collect();
    lab.dovecot.put_received("inbox", mails.iter().map(String::as_bytes), long_ago);
    let _mailbell = Mailbell::run(&lab.config());
    let summary = alice.gets("max_age").await;
    assert!(summary.contains("250 times"), "{summary}");
    lab.mail(&critical("n", "Fresh"));
    alice.gets("Fresh").await;
    assert_eq!(alice.count(), 2, "{:#?}", alice.messages());
}

#[tokio::test]
async fn a_flood_in_one_mailbox_does_not_delay_another() {
    const FLOOD: usize = 2_000;
    let lab = Lab::with(&["alice"], &["flood", "quiet"], Options::default());
    let alice = lab.online("alice").await;
    let mails: Vec<_> = (0..FLOOD).map(|n| severe(&format!("f/{n}"), "warning", &format!("Flood {n:04}."))).collect();
    lab.put("flood", &mails);
    let mailbell = Mailbell::run(&config(&lab, &[lab.imap("flood", ""), lab.imap("quiet", "")]));
    alice.wait_count(50, SOON).await;
    lab.mail_to("quiet", &critical("q", "Quiet"));
    alice.gets("Quiet").await;
    let before = alice.messages().iter().position(|m| m.body().unwrap().contains("Quiet")).unwrap();
    assert!(before < FLOOD * 3 / 4, "{before} of the flood came before it");
    // And nothing of the flood is lost.
    alice.wait_count(FLOOD + 1, SOON * 6).await;
    for n in [0, FLOOD / 2, FLOOD - 1] {
        assert_eq!(copies_of(&alice, &format!("Flood {n:04}.")).len(), 1, "of {n}");
    }
    drop(mailbell);
}

#[tokio::test]
async fn without_polling_a_signal_says_when_to_look() {
    let lab = Lab::with(&["alice"], &["manual", "other"], Options::default());
    let alice = lab.online("alice").await;
    let mailboxes = [lab.imap("manual", "poll = \"never\"\nwatch = \"poll\""), lab.imap("other", "")];
    let mailbell = Mailbell::run(&config(&lab, &mailboxes));
    for n in 1..=2 {
        let title = format!("Manual {n}");
        lab.mail_to("manual", &critical(&title, &title));
        let marker = format!("Other {n}");
        lab.mail_to("other", &critical(&marker, &marker));
        alice.gets(&marker).await;
        assert_eq!(alice.copies(&title), 0, "nobody asked for it yet");
        mailbell.signal("USR1");
        alice.gets(&title).await;
    }
}

#[tokio::test]
async fn what_is_stored_is_cleared_as_after_says_and_not_paged_again() {
    let lab = Lab::with(&["alice"], &["keep", "seen", "move", "delete"], Options::default());
    let alice = lab.online("alice").await;
    let afters = ["keep", "seen", "move:All done", "delete"];
    let names = ["keep", "seen", "move", "delete"];
    let mailboxes: Vec<_> =
        names.iter().zip(afters).map(|(name, after)| lab.imap(name, &format!("after = \"{after}\""))).collect();
    let mut mailbell = Mailbell::run(&config(&lab, &mailboxes));
    for name in names {
        lab.mail_to(name, &without_key(&format!("Mail in {name}")));
        alice.gets(&format!("Mail in {name}")).await;
    }
    let files = |mailbox, folder| lab.dovecot.files(mailbox, folder);
    wait_for("the mails to be cleared", SOON, async || {
        let seen = files("seen", "INBOX").iter().all(|file| file.ends_with(":2,S"));
        let moved = files("move", "INBOX").is_empty() && files("move", "All done").len() == 1;
        (seen && moved && files("delete", "INBOX").is_empty()).then_some(())
    })
    .await;
    assert!(files("keep", "INBOX").iter().all(|file| !file.ends_with('S')), "left as it was");
    mailbell.stop();
    mailbell.start();
    for name in names {
        lab.mail_to(name, &without_key(&format!("Another in {name}")));
        alice.gets(&format!("Another in {name}")).await;
    }
    assert_eq!(alice.count(), 8, "{:#?}", alice.messages());
}

#[tokio::test]
async fn the_same_mail_twice_pages_once() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    let mail = without_key("Twice");
    lab.mail(&mail);
    lab.mail(&mail);
    lab.mail(&without_key("Marker"));
    alice.gets("Marker").await;
    assert_eq!(alice.copies("Twice"), 1);
    assert_eq!(notifications(&mailbell, "Twice").len(), 1);
}
