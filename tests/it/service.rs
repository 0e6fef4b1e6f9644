//! The process as its supervisor sees it: signals, sd_notify, exit codes, secrets, memory.

use std::time::{Duration, Instant};

use crate::support::lab::{Lab, OPERATORS, critical};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::outcome::{SENT, all_in_state, came_with_one_id, notifications};
use crate::support::prosody::Options;
use crate::support::supervisor::Supervisor;
use crate::support::wait_for;

#[tokio::test]
async fn sigterm_under_load_drains_and_nothing_that_was_accepted_is_sent_again() {
    const MAILS: usize = 600;
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mails: Vec<_> = (0..MAILS).map(|n| critical(&format!("l/{n}"), &format!("Load {n:03}."))).collect();
    let mut mailbell = Mailbell::run(&lab.config());
    lab.mail(&critical("w", "Warm-up"));
    alice.gets("Warm-up").await;
    lab.put("inbox", &mails);
    for starts in 0..3 {
        alice.wait_count(1 + 20 * (starts + 1), SOON).await;
        let start = Instant::now();
        mailbell.signal("TERM");
        let status = wait_for("the end", SOON, async || mailbell.has_ended()).await;
        assert!(status.success(), "{status}:\n{}", mailbell.log());
        assert!(start.elapsed() < Duration::from_secs(14), "{:?}", start.elapsed());
        assert!(starts > 0 || alice.count() < MAILS, "it was not under load any more");
        mailbell.start();
    }
    all_in_state(&mailbell, "Load ", MAILS, SENT).await;
    lab.mail(&critical("m", "Marker"));
    alice.gets("Marker").await;
    for n in 0..MAILS {
        came_with_one_id(&alice, &format!("Load {n:03}."), 1);
    }
}

#[tokio::test]
async fn a_process_that_was_stopped_for_a_while_loses_nothing() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    for n in 0..30 {
        lab.mail(&critical(&format!("s/{n}"), &format!("Stopped {n:02}.")));
        if n == 10 {
            mailbell.signal("STOP");
        }
    }
    // Long enough for every timer of a second or two to be over when it goes on.
    tokio::time::sleep(Duration::from_secs(3)).await;
    mailbell.signal("CONT");
    all_in_state(&mailbell, "Stopped ", 30, "delivered").await;
    for n in 0..30 {
        came_with_one_id(&alice, &format!("Stopped {n:02}."), 1);
    }
}

#[test]
fn the_supervisor_is_told() {
    let lab = Lab::new(&["alice"]);
    let mut mailbell = Mailbell::new(&lab.config());
    let supervisor = Supervisor::of(&mut mailbell);
    mailbell.env("WATCHDOG_USEC", "400000");
    mailbell.spawn();
    supervisor.hears("READY=1");
    supervisor.hears("WATCHDOG=1");
    supervisor.hears("WATCHDOG=1");
    mailbell.stop();
    supervisor.hears("STOPPING=1");
}

#[test]
fn a_bad_config_ends_with_78_and_all_its_errors() {
    let lab = Lab::new(&["alice"]);
    let mut mailbell = Mailbell::new(&(lab.config() + "[serve]\nshutdown_grace = \"soon\"\nunknown = 1\n"));
    mailbell.spawn();
    let status = mailbell.ended();
    let said = mailbell.log();
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("shutdown_grace") && said.contains("unknown"), "{said}");
}

#[tokio::test]
async fn no_password_gets_into_the_log() {
    let lab = Lab::with(&["alice"], &["inbox", "pop", "wrong"], Options::default());
    let alice = lab.online("alice").await;
    let wrong = lab.imap("wrong", "").replace("pw-wrong", "canary-of-wrong");
    let config =
        lab.base() + &lab.imap("inbox", "") + &lab.pop3("pop", "") + &wrong + &lab.everybody("ops") + OPERATORS;
    let mut mailbell = Mailbell::run(&(config + "[log]\nfilter = \"trace\"\n"));
    for mailbox in ["inbox", "pop"] {
        let title = format!("Through {mailbox}");
        lab.mail_to(mailbox, &critical(&title, &title));
        alice.gets(&title).await;
    }
    alice.gets("mailbox wrong cannot be read").await;
    mailbell.stop();
    let log = mailbell.log();
    assert!(log.contains("DEBUG"), "the filter took");
    // As they are, and as SASL PLAIN and LOGIN would carry them.
    for secret in [
        "pw-alerts",
        "pw-inbox",
        "pw-pop",
        "canary",
        "cHctYWxlcnRz",
        "cHctaW5ib3g",
        "cHctcG9w",
        "AHB3LW",
        "AGNhbmFye",
        "Y2FuYXJ5",
    ] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}

#[tokio::test]
async fn it_is_small_while_nothing_happens() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    lab.mail(&critical("w", "Warm-up"));
    alice.gets("Warm-up").await;
    all_in_state(&mailbell, "Warm-up", 1, "delivered").await;
    println!("{} KiB resident while idle (this build)", mailbell.rss());
    // A debug build is larger than what is released; the bench holds that to its target.
    assert!(mailbell.rss() < 64 * 1024);
    assert_eq!(notifications(&mailbell, "").len(), 1);
}
