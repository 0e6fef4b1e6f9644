//! Rows 18, 19 and 27: the chat server ends, in one way or another, and comes back.

use std::time::{Duration, Instant};

use crate::receipts::{quick, way};
use crate::support::chat::{Kind, Options};
use crate::support::lab::{Lab, alert, in_state};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::oracle::{Oracle, Verdict};
use crate::support::outcome::all_in_state;
use crate::support::proxy::{Proxy, Trouble, Way};
use crate::support::wait_for;
use crate::support::witness::Witness;

on_each_server!(
    row18_killed_under_load,
    row18_killed_after_the_ack_while_the_recipient_is_out_of_range,
    row19_clean_restart_under_load,
    row19_clean_restart_before_the_ack_is_back,
    row19_clean_restart_before_the_ack_is_back_of_a_server_that_archives,
    row27_down_for_long,
);

/// Mails flow while the server goes and comes back, three times; `end` ends it, while some are on their way to it.
///
/// What a server has acknowledged but not yet written out (ejabberd: what waits between two of its own processes) ends with it,
/// however cleanly. The second copy after `resend_after` is what saves it, and that is waited for.
async fn restarted(kind: Kind, oracle: &Oracle, end: impl Fn(&mut Lab)) -> Verdict {
    let mut lab = Lab::on(kind, &["alice"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let proxy = Proxy::start(lab.chat.c2s).await;
    let mailbell = Mailbell::run(&quick(&lab.through(&proxy), "20s"));
    // From now on her receipts are missed.
    oracle.mail(&lab, 1);
    mailbell.notified(&oracle.title(0), "alice", "delivered").await;
    let mut written = Vec::new();
    for _ in 0..3 {
        oracle.mail(&lab, 12);
        alice.gets(&oracle.title(oracle.count() - 12)).await;
        // Written, and not with the server when it ends.
        proxy.set(Way::Up, Trouble::Stall(0));
        oracle.mail(&lab, 1);
        let last = oracle.title(oracle.count() - 1);
        mailbell.notified(&last, "alice", "sending").await;
        written.push(last);
        end(&mut lab);
        proxy.sever();
        proxy.heal();
        oracle.mail(&lab, 4);
        lab.chat.run();
        oracle.over();
        oracle.mail(&lab, 4);
        oracle.settled(&mailbell, &[&alice]).await;
    }
    all_in_state(&mailbell, "Oracle ", oracle.count(), "delivered,unconfirmed").await;
    for title in &written {
        let way = way(&mailbell, title);
        assert!(way.iter().any(|step| step == "in doubt"), "only a missing receipt tells of {title}: {way:?}");
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
    let mut lab = Lab::with(&["alice", "bob"], &["inbox"], options);
    let alice = Witness::start(lab.login("alice").resumable(), "alice").await;
    let bob = Witness::start(lab.login("bob").resumable().without_receipts(), "bob").await;
    let mailbell = Mailbell::run(&quick(&lab.config(), "20s"));
    let oracle = Oracle::new(
        18,
        "chat server killed after its ack, with the dead sessions of two recipients, one of whom sends receipts",
    );
    let oracle = oracle.on(kind);
    oracle.mail(&lab, 1);
    mailbell.notified(&oracle.title(0), "alice", "delivered").await;
    // Their phones are out of range: the server takes what is for them, and keeps it in memory.
    alice.vanish();
    bob.vanish();
    oracle.mail(&lab, 3);
    let lost = [1, 2, 3].map(|number| oracle.title(number));
    for title in &lost {
        mailbell.notified(title, "bob", "unconfirmed").await;
        wait_for("the missing receipts", SOON, async || {
            let alices = mailbell.notified(title, "alice", "accepted").await;
            (alices.reason == "no receipt yet: to be sent again").then_some(())
        })
        .await;
    }
    lab.chat.kill();
    lab.chat.run();
    oracle.over();
    alice.back().await;
    bob.back().await;
    for title in &lost {
        mailbell.notified(title, "alice", "delivered").await;
    }
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice, &bob]).await;
    oracle.holds(&verdict, 1);
    let untold: Vec<_> =
        verdict.visible().into_iter().map(|f| (f.person.as_str(), f.number, f.state.as_str())).collect();
    assert_eq!(untold, [1, 2, 3].map(|number| ("bob", number, "unconfirmed")));

    // The second copy says that it is one, and when the first was sent.
    for title in &lost {
        let copy = alice.messages().into_iter().find(|m| m.body().unwrap().contains(title)).unwrap();
        assert!(copy.body().unwrap().contains("Sent again: the copy of "), "{copy:?}");
        let delay = copy.element.get_child("delay", "urn:xmpp:delay").expect("the time of the first copy");
        assert!(delay.attr("stamp").is_some_and(|stamp| stamp.parse::<jiff::Timestamp>().is_ok()), "{copy:?}");
        let way = way(&mailbell, title);
        for step in ["accepted", "no receipt", "sent again", "delivered"] {
            assert!(way.iter().any(|made| made == step), "{step}: {way:?}");
        }
    }
}

async fn row19_clean_restart_under_load(kind: Kind) {
    let oracle = Oracle::new(19, "chat server stopped (SIGTERM) and started three times while mails flow").on(kind);
    let verdict = restarted(kind, &oracle, |lab| lab.chat.stop()).await;
    // A receipt that ended with the server costs a copy too.
    oracle.all_told(&verdict, 2);
}

async fn row19_clean_restart_before_the_ack_is_back(kind: Kind) {
    let oracle = Oracle::new(19, "chat server stopped and started while its acks are held back by a proxy").on(kind);
    unacknowledged(kind, false, oracle, most_after_a_restart(kind)).await;
}

async fn row19_clean_restart_before_the_ack_is_back_of_a_server_that_archives(kind: Kind) {
    let injected = "chat server that archives stopped and started while its acks are held back by a proxy";
    unacknowledged(kind, true, Oracle::new(19, injected).on(kind), 1).await;
}

/// The server ends cleanly when it has handled what it has not acknowledged; no mail comes more than `most` times.
async fn unacknowledged(kind: Kind, archive: bool, oracle: Oracle, most: usize) {
    const HANDLED: usize = 5;
    let mut lab = Lab::with(&["alice"], &["inbox"], Options { archive, ..Options::on(kind) });
    // A receipt that waits for us at the server would settle the doubt as well.
    let alice = Witness::start(lab.login("alice").without_receipts(), "alice").await;
    let proxy = Proxy::start(lab.chat.c2s).await;
    let mailbell = Mailbell::run(&lab.through(&proxy));
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
    oracle.all_told(&verdict, most);
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
    resolved.clone().for_each(|_| oracle.mail_as(&lab, "major", ""));
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
