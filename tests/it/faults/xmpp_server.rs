//! Rows 18, 19 and 27: the chat server ends, in one way or another, and comes back.

use std::time::{Duration, Instant};

use crate::support::chat::{Kind, Options};
use crate::support::lab::{Lab, alert, in_state};
use crate::support::mailbell::Mailbell;
use crate::support::oracle::{Oracle, Verdict};
use crate::support::proxy::{Proxy, Trouble, Way};
use crate::support::wait_for;
use crate::support::witness::Witness;

on_each_server!(
    row18_killed_under_load,
    row18_killed_after_the_ack_while_the_recipient_is_out_of_range,
    row19_clean_restart_under_load,
    row19_clean_restart_before_the_ack_is_back,
    row27_down_for_long,
);

/// Mails flow while the server goes and comes back, three times; `end` ends it.
async fn restarted(kind: Kind, oracle: &Oracle, end: impl Fn(&mut Lab)) -> Verdict {
    let mut lab = Lab::on(kind, &["alice"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let mailbell = Mailbell::run(&lab.config());
    for _ in 0..3 {
        oracle.mail(&lab, 12);
        alice.gets(&oracle.title(oracle.count() - 12)).await;
        end(&mut lab);
        oracle.mail(&lab, 4);
        lab.chat.run();
        oracle.over();
        oracle.mail(&lab, 4);
        oracle.settled(&mailbell, &[&alice]).await;
    }
    oracle.verdict(&mailbell, &lab, &[&alice]).await
}

async fn row18_killed_under_load(kind: Kind) {
    let oracle = Oracle::new(18, "chat server killed (SIGKILL) three times while mails flow").on(kind);
    let verdict = restarted(kind, &oracle, |lab| lab.chat.kill()).await;
    oracle.all_told(&verdict, 2);
}

async fn row18_killed_after_the_ack_while_the_recipient_is_out_of_range(kind: Kind) {
    let options = Options { hibernation: 300, ..Options::on(kind) };
    let mut lab = Lab::with(&["alice"], &["inbox"], options);
    let alice = Witness::start(lab.login("alice").resumable(), "alice").await;
    let mailbell = Mailbell::run(&lab.config().replace("[dispatch]\n", "[dispatch]\nreceipt_timeout = \"1s\"\n"));
    let oracle = Oracle::new(18, "chat server killed after its ack, with the recipient's dead session").on(kind);
    oracle.mail(&lab, 1);
    mailbell.notified(&oracle.title(0), "alice", "delivered").await;
    // Her phone is out of range: the server takes what is for her, and keeps it in memory.
    alice.vanish();
    oracle.mail(&lab, 3);
    for number in 1..=3 {
        mailbell.notified(&oracle.title(number), "alice", "unconfirmed").await;
    }
    lab.chat.kill();
    lab.chat.run();
    oracle.over();
    alice.back().await;
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.holds(&verdict, 1);
    let untold: Vec<_> = verdict.visible().iter().map(|fate| (fate.number, fate.state.clone())).collect();
    assert_eq!(untold, [1, 2, 3].map(|number| (number, "unconfirmed".to_owned())));
}

async fn row19_clean_restart_under_load(kind: Kind) {
    let oracle = Oracle::new(19, "chat server stopped (SIGTERM) and started three times while mails flow").on(kind);
    let verdict = restarted(kind, &oracle, |lab| lab.chat.stop()).await;
    oracle.all_told(&verdict, most_after_a_restart(kind));
}

async fn row19_clean_restart_before_the_ack_is_back(kind: Kind) {
    const HANDLED: usize = 5;
    let mut lab = Lab::on(kind, &["alice"]);
    // A receipt that waits for us at the server would settle the doubt as well.
    let alice = Witness::start(lab.login("alice").without_receipts(), "alice").await;
    let proxy = Proxy::start(lab.chat.c2s).await;
    let mailbell = Mailbell::run(&lab.through(&proxy));
    let oracle = Oracle::new(19, "chat server stopped and started while its acks are held back by a proxy").on(kind);
    oracle.mail(&lab, 1);
    oracle.settled(&mailbell, &[&alice]).await;
    proxy.set(Way::Down, Trouble::Stall(0));
    oracle.mail(&lab, HANDLED);
    alice.gets(&oracle.title(HANDLED)).await;
    in_state(&mailbell, "sending", HANDLED).await;
    lab.chat.stop();
    proxy.sever();
    proxy.heal();
    oracle.mail(&lab, 3);
    lab.chat.run();
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, most_after_a_restart(kind));
    // The rest was never in doubt.
    let twice: Vec<usize> = verdict.fates.iter().filter(|fate| fate.copies.len() > 1).map(|fate| fate.number).collect();
    assert!(twice.iter().all(|number| (1..=HANDLED).contains(number)), "{twice:?}");
}

/// ejabberd does not say after its start what it had handled before (`<failed/>` without `h`): what was on its way is in doubt,
/// and sent once more.
fn most_after_a_restart(kind: Kind) -> usize {
    if kind == Kind::Prosody { 1 } else { 2 }
}

/// So long is long: the gateway waits longer and longer between its tries meanwhile.
const LONG: Duration = Duration::from_secs(20);

async fn row27_down_for_long(kind: Kind) {
    let mut lab = Lab::on(kind, &["alice"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    // Whoever comes back is told one by one here, so that the order is seen.
    let mailbell = Mailbell::run(&lab.config().replace("[dispatch]\n", "[dispatch]\ndigest_over = 1000\n"));
    let oracle = Oracle::new(27, "chat server down for 20 s; of the mails some expire and some are resolved meanwhile");
    let oracle = oracle.on(kind).severity("major");
    oracle.mail(&lab, 1);
    oracle.settled(&mailbell, &[&alice]).await;

    lab.chat.kill();
    let down = Instant::now();
    oracle.mail(&lab, 6);
    let soon = (jiff::Timestamp::now() + Duration::from_secs(8)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let expiring = oracle.count()..oracle.count() + 3;
    expiring.clone().for_each(|_| oracle.mail_as(&lab, "major", &format!("<expires>{soon}</expires>")));
    let resolved = oracle.count()..oracle.count() + 3;
    oracle.mail(&lab, 3);
    for number in resolved.clone() {
        lab.mail(&alert(&format!("key=\"oracle/{number}\" status=\"resolved\""), "<title>It is over</title>"));
    }
    oracle.mail(&lab, 6);
    for number in expiring.clone() {
        mailbell.notified(&oracle.title(number), "alice", "expired").await;
    }
    for number in resolved.clone() {
        mailbell.notified(&oracle.title(number), "alice", "superseded").await;
    }
    wait_for("a long outage", LONG * 2, async || (down.elapsed() >= LONG).then_some(())).await;
    lab.chat.run();
    oracle.over();

    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.holds(&verdict, 1);
    for fate in verdict.visible() {
        let expected = if expiring.contains(&fate.number) { "expired" } else { "superseded" };
        assert_eq!(fate.state, expected, "{fate:?}");
    }
    assert_eq!(verdict.visible().len(), expiring.len() + resolved.len(), "{verdict:#?}");
    let came: Vec<_> = verdict.fates.iter().filter_map(|fate| Some((fate.copies.first()?.0, fate.number))).collect();
    assert!(came.is_sorted(), "in the order in which they were mailed: {came:?}");
    assert!(!alice.has("It is over"), "who was told nothing hears nothing of its end");
}
