//! Rows 10 to 13: the mail server stalls, cuts, ends, and forgets.

use crate::support::lab::{Lab, OPERATORS};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::oracle::Oracle;
use crate::support::prosody::Options;
use crate::support::proxy::{Proxy, Trouble, Way};
use crate::support::wait_for;
use crate::support::witness::Witness;

fn config(lab: &Lab, mailboxes: &[String]) -> String {
    lab.base() + &mailboxes.concat() + &lab.everybody("ops") + OPERATORS
}

/// The mailbox as the lab has it, but reached through a proxy.
fn through(proxy: &Proxy, port: u16, mailbox: &str) -> String {
    mailbox.replace(&format!(":{port}\""), &format!(":{}\"", proxy.port))
}

/// Failures of a mailbox in the log so far.
fn failures(mailbell: &Mailbell) -> usize {
    mailbell.log().matches("the mailbox cannot be read").count()
}

#[tokio::test]
async fn row10_imap_stalls_in_the_middle_of_a_literal() {
    let lab = Lab::with(&["alice"], &["stalled", "inbox"], Options::default());
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let proxy = Proxy::start(lab.dovecot.imaps).await;
    proxy.set(Way::Down, Trouble::Stall(60_000));
    let oracle = Oracle::new(10, "IMAP stalls after 60,000 bytes, timeout 2 s").with_text(200_000);
    oracle.mail_to(&lab, "stalled", 1);
    let stalled = through(&proxy, lab.dovecot.imaps, &lab.imap("stalled", "timeout = \"2s\""));
    let mailbell = Mailbell::run(&config(&lab, &[stalled, lab.imap("inbox", "")]));
    wait_for("the stall", SOON, async || (proxy.bytes(Way::Down) >= 60_000).then_some(())).await;
    oracle.mail(&lab, 3);
    let last = oracle.title(3);
    wait_for("the mails of the other mailbox", SOON, async || alice.has(&last).then_some(())).await;
    assert!(!alice.has(&oracle.title(0)), "it did not stall");
    mailbell.logged("the mailbox cannot be read", 1).await;
    proxy.heal();
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
}

#[tokio::test]
async fn row11_cut_in_the_middle_of_a_fetch_and_of_idle() {
    let lab = Lab::new(&["alice"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let proxy = Proxy::start(lab.dovecot.imaps).await;
    let oracle = Oracle::new(11, "FETCH cut at several bytes (RST, FIN), then IDLE").with_text(200_000);
    // So long that only IDLE tells of a mail.
    let inbox = through(&proxy, lab.dovecot.imaps, &lab.imap("inbox", "poll = \"1h\"\nafter = \"delete\""));
    let mailbell = Mailbell::run(&config(&lab, &[inbox]));
    for trouble in [Trouble::Reset(5_000), Trouble::Cut(60_000), Trouble::Reset(150_000), Trouble::Cut(390_000)] {
        oracle.settled(&mailbell, &[&alice]).await;
        let failed = failures(&mailbell);
        proxy.set(Way::Down, trouble);
        // Of the last trouble the first comes through, and the second does not.
        oracle.mail(&lab, 2);
        mailbell.logged("the mailbox cannot be read", failed + 1).await;
        proxy.heal();
    }
    oracle.settled(&mailbell, &[&alice]).await;
    // Now it idles; a mail that comes while the connection is down is found when it is back.
    let failed = failures(&mailbell);
    proxy.refuse(true);
    proxy.sever();
    mailbell.logged("the mailbox cannot be read", failed + 1).await;
    oracle.mail(&lab, 1);
    proxy.heal();
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
    assert_eq!(mailbell.count("message").await, oracle.count() as i64, "a mail was taken in twice");
}

#[tokio::test]
async fn row11_bye_and_a_killed_mail_server() {
    let mut lab = Lab::with(&["alice"], &["inbox", "pop"], Options::default());
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let mailbell = Mailbell::run(&config(&lab, &[lab.imap("inbox", ""), lab.pop3("pop", "")]));
    let oracle = Oracle::new(11, "mail server stopped (BYE), then killed");
    for kill in [false, true] {
        oracle.mail(&lab, 2);
        oracle.mail_to(&lab, "pop", 2);
        oracle.settled(&mailbell, &[&alice]).await;
        let failed = failures(&mailbell);
        // These are in the mailbox and not fetched, or are being fetched.
        oracle.mail(&lab, 1);
        oracle.mail_to(&lab, "pop", 1);
        if kill {
            lab.dovecot.kill()
        } else {
            lab.dovecot.stop()
        }
        mailbell.logged("the mailbox cannot be read", failed + 2).await;
        lab.dovecot.restart();
    }
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
}

#[tokio::test]
async fn row12_uidvalidity_reset() {
    let mut lab = Lab::new(&["alice"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let mailbell = Mailbell::run(&lab.config());
    let oracle = Oracle::new(12, "the index removed: a new UIDVALIDITY, mails kept");
    oracle.mail(&lab, 5);
    oracle.settled(&mailbell, &[&alice]).await;
    lab.dovecot.stop();
    lab.dovecot.reset_uidvalidity("inbox");
    lab.dovecot.restart();
    oracle.over();
    // The marker is the last of the six that are fetched.
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
    let again = mailbell.messages().await.iter().filter(|(state, _)| state == "duplicate").count();
    assert_eq!(again, 5, "they were not fetched again");
}

#[tokio::test]
async fn row13_pop3_dropped_at_any_stage_between_login_and_quit() {
    let lab = Lab::new(&["alice"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let proxy = Proxy::start(lab.dovecot.pop3).await;
    let polled = lab
        .pop3("inbox", "after = \"delete\"\ntimeout = \"5s\"")
        .replace("tls = \"direct\"", "tls = \"none\"")
        .replace(&format!(":{}\"", lab.dovecot.pop3s), &format!(":{}\"", proxy.port));
    let asked = polled.replace("poll = \"1s\"", "poll = \"never\"");
    let mailbell = Mailbell::run(&config(&lab, &[asked]));
    let oracle = Oracle::new(13, "POP3 reset every 3 bytes: after RETR, DELE, before QUIT");
    oracle.mail(&lab, 1);
    // Each session gets a little further than the one before: to the login, the listing, RETR, DELE, and in the end to QUIT.
    let mut sent = 0;
    while lab.dovecot.count("inbox", "INBOX") > 0 {
        sent += 3;
        assert!(sent < 1_000, "no session came through:\n{}", mailbell.log());
        proxy.set(Way::Up, Trouble::Reset(sent));
        let (sessions, failed) = (proxy.connections(), failures(&mailbell));
        mailbell.signal("USR1");
        wait_for("the end of a session", SOON, async || {
            let done = lab.dovecot.count("inbox", "INBOX") == 0;
            (proxy.connections() > sessions && failures(&mailbell) > failed || done).then_some(())
        })
        .await;
    }
    assert!(sent > 45, "cut only {} times", sent / 3);
    proxy.heal();
    oracle.over();
    mailbell.reload(&config(&lab, &[polled]));
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
    assert_eq!(mailbell.count("message").await, oracle.count() as i64, "a mail was taken in twice");
}
