//! Rows 23 and 26: a chat server that has no more room, or no more patience.

use std::time::Duration;

use crate::support::chat::{Kind, Options};
use crate::support::lab::{Lab, OPERATORS, group};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::oracle::Oracle;
use crate::support::outcome::all_in_state;
use crate::support::tmpfs::Tmpfs;
use crate::support::wait_for;
use crate::support::witness::Witness;

on_each_server!(row23_offline_quota_full, row23_disk_full_at_the_server, row26_throttled_in_a_storm);

/// Everything goes to alice, also while she is offline: the server is to keep it.
fn config(lab: &Lab) -> String {
    lab.base() + &lab.imap("inbox", "") + &group("ops", &["alice"], "offline = \"send\"") + OPERATORS
}

async fn row23_offline_quota_full(kind: Kind) {
    const QUOTA: usize = 2;
    let lab = Lab::with(&["alice"], &["inbox"], Options { offline_most: Some(QUOTA), ..Options::on(kind) });
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let mailbell = Mailbell::run(&config(&lab));
    let oracle = Oracle::new(23, "recipient offline, and the server keeps two messages for each").on(kind);
    oracle.mail(&lab, 1);
    mailbell.notified(&oracle.title(0), "alice", "delivered").await;
    alice.leave().await;
    oracle.mail(&lab, QUOTA + 3);
    refused(&mailbell, 3).await;
    oracle.over();
    alice.back().await;
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
}

/// Waits until nothing is on its way any more, and so many at least wait with the server's reason, and not only for a moment.
async fn refused(mailbell: &Mailbell, least: usize) {
    let refused = wait_for("the refusals", SOON * 2, async || {
        let waiting = mailbell.queue(&["--state", "queued,sending"]);
        (waiting.len() >= least && waiting.iter().all(|n| n["not_before"].is_string())).then_some(waiting)
    })
    .await;
    for one in refused {
        let reason = one["reason"].as_str().unwrap();
        let said = ["service-unavailable", "resource-constraint", "internal-server-error"];
        assert!(said.iter().any(|condition| reason.starts_with(condition)), "{one}");
        let wait = one["not_before"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap() - jiff::Timestamp::now();
        assert!(wait.get_seconds() > 1 || one["attempts"].as_i64() > Some(1), "in a hurry: {one}");
    }
}

async fn row23_disk_full_at_the_server(kind: Kind) {
    const MAILS: usize = 20;
    let Some(disk) = Tmpfs::mount(16) else { return };
    let data = Some(disk.path().join("data"));
    let lab = Lab::with(&["alice"], &["inbox"], Options { data, ..Options::on(kind) });
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let mailbell = Mailbell::run(&config(&lab).replace("[dispatch]\n", "[dispatch]\nreceipt_timeout = \"3s\"\n"));
    let oracle = Oracle::new(23, "recipient offline, and the disk of the server is full").on(kind);
    oracle.mail(&lab, 1);
    mailbell.notified(&oracle.title(0), "alice", "delivered").await;
    alice.leave().await;
    disk.fill(0);
    oracle.mail(&lab, MAILS);
    refused(&mailbell, if kind == Kind::Prosody { MAILS } else { 1 }).await;
    disk.clear();
    oracle.over();
    alice.back().await;
    all_in_state(&mailbell, "Oracle ", 1 + MAILS, "delivered,unconfirmed").await;
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    if kind == Kind::Prosody {
        return oracle.all_told(&verdict, 1);
    }
    // ejabberd says that it took as many as its buffers hold, and has nowhere to write them to.
    oracle.holds(&verdict, 1);
    assert!(verdict.visible().iter().all(|fate| fate.state == "unconfirmed"), "{verdict:#?}");
}

/// Bytes a second that the sample config of each lets through.
fn sample(kind: Kind) -> u32 {
    if kind == Kind::Prosody { 10_000 } else { 3000 }
}

/// `MAILBELL_STORM=5000` is the whole row.
async fn row26_throttled_in_a_storm(kind: Kind) {
    let usual = if kind == Kind::Prosody { 600 } else { 250 };
    let mails = std::env::var("MAILBELL_STORM").map_or(usual, |n| n.parse().unwrap());
    let lab = Lab::with(&["alice"], &["inbox"], Options { rate: Some(sample(kind)), ..Options::on(kind) });
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let mailbell = Mailbell::run(&lab.config());
    let injected =
        format!("server reads {} bytes a second; {mails} mails at once, and a critical one behind them", sample(kind));
    let patience = Duration::from_secs(120 + mails as u64);
    let oracle = Oracle::new(26, &injected).on(kind).severity("warning").patience(patience);
    oracle.mail(&lab, 1);
    oracle.settled(&mailbell, &[&alice]).await;
    let before = mailbell.rss();

    let storm: Vec<String> = (0..mails).map(|_| oracle.next().1).collect();
    lab.put("inbox", &storm);
    wait_for("the storm", patience, async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        (mailbell.count("alert").await > mails as i64).then_some(())
    })
    .await;
    let critical = oracle.count();
    oracle.mail_as(&lab, "critical", "");
    let title = oracle.title(critical);
    mailbell.alert(&title).await;
    // From now on only what is on its way already may come before it.
    let came = alice.messages().len();
    oracle.over();
    wait_for("the critical one", patience, async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        alice.has(&title).then_some(())
    })
    .await;
    let place = alice.messages().iter().position(|m| m.body().unwrap().contains(&title)).unwrap();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    let after = mailbell.rss();
    println!(
        "{place} messages before the critical one, {came} when it was fetched; {before} KiB before, {after} KiB after"
    );
    oracle.all_told(&verdict, 1);
    assert!(place < mails, "it did not overtake anything: there was no jam");
    assert!(place <= came + 2 * WINDOW, "{came} had come when it was fetched, and {place} came before it");
    assert!(after < before + 64 * 1024, "{before} KiB before, {after} KiB after");
    let log = mailbell.log();
    assert!(!log.contains("no XMPP session") && log.matches("signed in to XMPP").count() == 1, "{log}");
}

/// Most messages on the way to the server, as it is by default.
const WINDOW: usize = 128;
