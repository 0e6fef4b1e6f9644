//! Receipts that do not come: who is told in their stead, what is sent once more, and what is not.

use std::time::Duration;

use crate::support::chat::{Kind, Options};
use crate::support::client::Client;
use crate::support::lab::{Lab, asks, critical, group, in_state};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::outcome::{all_in_state, came_with_one_id, copies_of, notifications};
use crate::support::wait_for;

on_each_server!(
    what_the_server_lost_is_sent_once_more,
    a_critical_alert_without_a_receipt_falls_back,
    who_is_away_gets_the_stored_copy_and_no_other,
    who_never_sends_receipts_gets_one_copy,
    killed_before_the_second_copy_it_sends_one,
);

/// A receipt is missed after a second; what misses one is sent again after `resend_after`.
fn quick(config: &str, resend_after: &str) -> String {
    let keys = format!("receipt_timeout = \"1s\"\nresend_after = \"{resend_after}\"\nsettle = ");
    config.replacen("settle = ", &keys, 1)
}

/// A lab whose server keeps the session of a dead connection for longer than any test takes.
fn lab(kind: Kind, people: &[&str]) -> Lab {
    Lab::with(people, &["inbox"], Options { hibernation: 300, ..Options::on(kind) })
}

/// Somebody who is online, and of whom a receipt was seen; on a connection that can die.
async fn answering(lab: &Lab, mailbell: &Mailbell, who: &str, group: &str) -> Client {
    let client = lab.login(who).resumable().connect().await;
    let title = format!("First for {who}");
    lab.mail(&asks(group, "critical", &title));
    client.gets(&title).await;
    all_in_state(mailbell, &title, 1, "delivered").await;
    client
}

/// Waits until the queue says that the receipt of this one is missing.
async fn missed(mailbell: &Mailbell, title: &str) {
    wait_for(&format!("the missing receipt of {title}"), SOON * 2, async || {
        let found = notifications(mailbell, title);
        found.iter().any(|n| n["reason"] == "no receipt yet: to be sent again").then_some(())
    })
    .await;
}

/// Each step of the alert's way, as `mailbell queue show` tells it.
fn way(mailbell: &Mailbell, title: &str) -> Vec<String> {
    let alert = notifications(mailbell, title)[0]["alert"].as_str().unwrap().to_owned();
    let shown = mailbell.cli(&["queue", "show", "--json", &alert], true);
    assert!(shown.status.success(), "{shown:?}");
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    let steps = shown["timeline"].as_array().unwrap();
    steps.iter().map(|step| step["event"].as_str().unwrap().to_owned()).collect()
}

/// The second copy says so, and when the first one was sent.
fn is_marked(client: &Client, title: &str) {
    let copy = copies_of(client, title).pop().unwrap();
    assert!(copy.body().unwrap().contains("Sent again: the copy of "), "{copy:?}");
    let delay = copy.element.get_child("delay", "urn:xmpp:delay").expect("the time of the first copy");
    assert!(delay.attr("stamp").is_some_and(|stamp| stamp.parse::<jiff::Timestamp>().is_ok()), "{copy:?}");
}

async fn what_the_server_lost_is_sent_once_more(kind: Kind) {
    let mut lab = lab(kind, &["alice", "bob"]);
    let mailbell = Mailbell::run(&(quick(&lab.operated_by("alice"), "8s") + &group("bobs", &["bob"], "")));
    answering(&lab, &mailbell, "bob", "bobs").await.cut();
    // His server does not know yet that nobody reads any more: it takes the message, and dies with it.
    lab.mail(&asks("bobs", "major", "Lost with the server"));
    missed(&mailbell, "Lost with the server").await;
    lab.chat.kill();
    lab.chat.run();
    let bob = lab.online("bob").await;
    bob.gets("Lost with the server").await;
    all_in_state(&mailbell, "Lost with the server", 1, "delivered").await;
    is_marked(&bob, "Lost with the server");
    lab.mail(&asks("bobs", "major", "Marker"));
    bob.gets("Marker").await;
    came_with_one_id(&bob, "Lost with the server", 1);
    let way = way(&mailbell, "Lost with the server");
    let from = way.iter().position(|step| step == "accepted").unwrap();
    assert_eq!(way[from..], ["accepted", "no receipt", "sent again", "delivered"]);
}

async fn a_critical_alert_without_a_receipt_falls_back(kind: Kind) {
    let lab = lab(kind, &["alice", "bob", "carol"]);
    let config = quick(&lab.operated_by("alice"), "8s")
        + &group("bobs", &["bob"], "fallback = \"@carols\"")
        + &group("carols", &["carol"], "")
        + &group("alone", &["bob"], "");
    let mailbell = Mailbell::run(&config);
    let (alice, carol) = (lab.online("alice").await, lab.online("carol").await);
    let bob = answering(&lab, &mailbell, "bob", "bobs").await;
    bob.cut();
    lab.mail(&asks("bobs", "major", "Not critical"));
    lab.mail(&asks("bobs", "critical", "To nobody"));
    lab.mail(&asks("alone", "critical", "Nobody else"));
    let told = "nobody of alone, who was told, has confirmed it, and there is no fallback";
    tokio::join!(carol.gets("To nobody"), alice.gets(told));
    in_state(&mailbell, "accepted", 3).await;
    // The second copies go to a session that nobody reads, too: that is visible in the end, and nobody is told twice.
    all_in_state(&mailbell, "Nobody else", 1, "unconfirmed").await;
    let ended = all_in_state(&mailbell, "Not critical", 1, "unconfirmed").await;
    assert_eq!(
        (&ended[0]["attempts"], &ended[0]["reason"]),
        (&2.into(), &"no receipt, of the second copy neither".into())
    );
    came_with_one_id(&carol, "To nobody", 1);
    assert_eq!(carol.copies("Not critical"), 0);
    assert_eq!(alice.copies(told), 1);
    assert!(way(&mailbell, "To nobody").contains(&"fallback".to_owned()));
}

async fn who_is_away_gets_the_stored_copy_and_no_other(kind: Kind) {
    let lab = lab(kind, &["alice", "bob"]);
    // Time enough for a receipt on a busy machine.
    let config =
        quick(&lab.operated_by("alice"), "10s").replace("receipt_timeout = \"1s\"", "receipt_timeout = \"10s\"");
    let mailbell = Mailbell::run(&(config + &group("bobs", &["bob"], "offline = \"send\"")));
    answering(&lab, &mailbell, "bob", "bobs").await.logout().await;
    lab.mail(&asks("bobs", "major", "Stored"));
    missed(&mailbell, "Stored").await;
    // It would be sent again by now, if he were there.
    lab.mail(&asks("bobs", "major", "Stored as well"));
    missed(&mailbell, "Stored as well").await;
    assert_eq!(notifications(&mailbell, "Stored")[0]["attempts"], 1);
    let bob = lab.online("bob").await;
    all_in_state(&mailbell, "Stored", 2, "delivered").await;
    lab.mail(&asks("bobs", "major", "Marker"));
    bob.gets("Marker").await;
    assert_eq!((bob.copies("Stored"), bob.copies("Sent again")), (2, 0));
}

async fn who_never_sends_receipts_gets_one_copy(kind: Kind) {
    let lab = lab(kind, &["alice"]);
    let alice = lab.login("alice").without_receipts().connect().await;
    let mailbell = Mailbell::run(&quick(&lab.config(), "2s"));
    lab.mail(&critical("a", "Silence"));
    alice.gets("Silence").await;
    let ended = all_in_state(&mailbell, "Silence", 1, "unconfirmed").await;
    assert_eq!((&ended[0]["reason"], &ended[0]["attempts"]), (&"no receipt".into(), &1.into()));
    // By the time that a later one is unconfirmed as well, a second copy of the first would have come.
    tokio::time::sleep(Duration::from_secs(2)).await;
    lab.mail(&critical("b", "Marker"));
    all_in_state(&mailbell, "Marker", 1, "unconfirmed").await;
    came_with_one_id(&alice, "Silence", 1);
    assert!(!way(&mailbell, "Silence").contains(&"no receipt".to_owned()));
}

async fn killed_before_the_second_copy_it_sends_one(kind: Kind) {
    let mut lab = lab(kind, &["alice", "bob"]);
    let config = quick(&lab.operated_by("alice"), "8s") + &group("bobs", &["bob"], "");
    let mut mailbell = Mailbell::run(&config);
    answering(&lab, &mailbell, "bob", "bobs").await.cut();
    lab.mail(&asks("bobs", "critical", "Lost with the server"));
    missed(&mailbell, "Lost with the server").await;
    mailbell.kill();
    lab.chat.kill();
    lab.chat.run();
    // A client that sends no receipts: whatever else could come does.
    let bob = lab.login("bob").without_receipts().connect().await;
    mailbell.start();
    bob.gets("Lost with the server").await;
    mailbell.kill();
    mailbell.start();
    let ended = all_in_state(&mailbell, "Lost with the server", 1, "unconfirmed").await;
    assert_eq!(ended[0]["reason"], "no receipt, of the second copy neither", "{ended:?}");
    lab.mail(&asks("bobs", "critical", "Marker"));
    bob.gets("Marker").await;
    came_with_one_id(&bob, "Lost with the server", 1);
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn an_abort_around_the_intent_to_send_again_makes_no_third_copy() {
    use crate::support::outcome::aborted;
    for (point, copies) in [("before_resend", 1), ("after_resend", 0)] {
        let mut lab = lab(Kind::Prosody, &["alice", "bob"]);
        let mut mailbell = Mailbell::new(&(quick(&lab.operated_by("alice"), "8s") + &group("bobs", &["bob"], "")));
        mailbell.env("FAILPOINTS", &format!("{point}=panic"));
        mailbell.start();
        answering(&lab, &mailbell, "bob", "bobs").await.cut();
        lab.mail(&asks("bobs", "critical", "Lost with the server"));
        missed(&mailbell, "Lost with the server").await;
        lab.chat.kill();
        lab.chat.run();
        let bob = lab.login("bob").without_receipts().connect().await;
        aborted(&mut mailbell).await;
        mailbell.env("FAILPOINTS", "");
        mailbell.start();
        all_in_state(&mailbell, "Lost with the server", 1, "unconfirmed").await;
        lab.mail(&asks("bobs", "critical", "Marker"));
        bob.gets("Marker").await;
        assert_eq!(bob.copies("Lost with the server"), copies, "{point}");
    }
}
