//! The process as its supervisor sees it: signals, sd_notify, exit codes, secrets, memory.

use crate::support::lab::{Lab, OPERATORS, critical};
use crate::support::mailbell::Mailbell;
use crate::support::outcome::{all_in_state, notifications};
use crate::support::prosody::Options;
use crate::support::supervisor::Supervisor;

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
