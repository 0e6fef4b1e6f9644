//! Rows 21, 22, 24 and 25: recipients who leave, are in two places, say nothing, or are somebody else.

use std::time::Duration;

use crate::receipts::{quick, way};
use crate::support::chat::{Kind, Options};
use crate::support::lab::Lab;
use crate::support::mailbell::Mailbell;
use crate::support::oracle::Oracle;
use crate::support::outcome::all_in_state;
use crate::support::proxy::{Proxy, Trouble, Way};
use crate::support::wait_for;
use crate::support::witness::Witness;

on_each_server!(
    row21_leaves_between_check_and_send_and_the_server_stores_it,
    row21_leaves_between_check_and_send_and_the_server_sends_it_back,
    row21_out_of_range_and_the_server_sends_it_back_when_the_session_ends,
    row22_pc_and_dead_phone,
    row24_no_receipts,
    row25_forged_stanzas,
);

const BOT: &str = "alerts@example.test/mailbell";

/// A server gives up on a dead session within this, after the few seconds that the test tells it.
const GIVEN_UP: Duration = Duration::from_secs(60);

/// The recipient signs out while nothing that the server says gets through to us: three mails are sent to somebody who is
/// believed to be there. She is back when all of them are in that state.
async fn leaves(kind: Kind, offline: bool, injected: &str, then: &str) {
    let lab = Lab::with(&["alice"], &["inbox"], Options { offline, ..Options::on(kind) });
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let proxy = Proxy::start(lab.chat.c2s).await;
    let mailbell = Mailbell::run(&lab.through(&proxy));
    let oracle = Oracle::new(21, injected).on(kind);
    oracle.mail(&lab, 1);
    mailbell.notified(&oracle.title(0), "alice", "delivered").await;

    proxy.set(Way::Down, Trouble::Stall(0));
    alice.leave().await;
    oracle.mail(&lab, 3);
    all_in_state(&mailbell, "Oracle ", 4, "delivered,sending").await;
    proxy.heal();
    for number in 1..=3 {
        let found = mailbell.notified(&oracle.title(number), "alice", then).await;
        assert_eq!(found.reason.contains("service-unavailable"), !offline, "{found:?}");
    }
    oracle.over();
    alice.back().await;
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
}

async fn row21_leaves_between_check_and_send_and_the_server_stores_it(kind: Kind) {
    let injected = "recipient signs out while presence is held back by a proxy; the server stores messages";
    leaves(kind, true, injected, "accepted").await;
}

async fn row21_leaves_between_check_and_send_and_the_server_sends_it_back(kind: Kind) {
    let injected = "recipient signs out while presence is held back by a proxy; the server stores nothing";
    leaves(kind, false, injected, "queued").await;
}

async fn row21_out_of_range_and_the_server_sends_it_back_when_the_session_ends(kind: Kind) {
    let options = Options { offline: false, hibernation: 4, ..Options::on(kind) };
    let lab = Lab::with(&["alice"], &["inbox"], options);
    let alice = Witness::start(lab.login("alice").resumable().without_receipts(), "alice").await;
    let mailbell = Mailbell::run(&quick(&lab.config(), "11m"));
    let oracle = Oracle::new(21, "recipient's phone out of range; the server returns what it took when it gives up");
    let oracle = oracle.on(kind);
    oracle.mail(&lab, 1);
    mailbell.notified(&oracle.title(0), "alice", "unconfirmed").await;
    // The server does not know that yet: she looks online, and her messages are taken.
    alice.vanish();
    oracle.mail(&lab, 3);
    // Long after nobody expects a receipt any more they come back.
    let returned = wait_for("the messages to come back", GIVEN_UP, async || {
        let waiting = mailbell.queue(&["--state", "queued"]);
        (waiting.len() == 3).then_some(waiting)
    })
    .await;
    for one in &returned {
        assert_eq!(one["attempts"], 1, "{one}");
        assert!(one["not_before"].is_string() && one["reason"] != "", "{one}");
    }
    oracle.over();
    alice.back().await;
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
}

async fn row22_pc_and_dead_phone(kind: Kind) {
    let lab = Lab::with(&["alice"], &["inbox"], Options { hibernation: 4, ..Options::on(kind) });
    let pc = Witness::start(lab.login("alice"), "alice").await;
    let phone = lab.login("alice").resource("phone").resumable().without_receipts().connect().await;
    let mailbell = Mailbell::run(&lab.config());
    let oracle =
        Oracle::new(22, "two devices, one of them dead: its session ends after the other one's receipt").on(kind);
    oracle.mail(&lab, 1);
    phone.gets(&oracle.title(0)).await;
    phone.cut();
    oracle.mail(&lab, 3);
    for number in 1..=3 {
        mailbell.notified(&oracle.title(number), "alice", "delivered").await;
    }
    // Of the first as well where the phone died before it had told the server that it has it.
    let late = async || (mailbell.log().matches("delivered already").count() >= 3).then_some(());
    wait_for("the late errors", GIVEN_UP, late).await;
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&pc]).await;
    oracle.all_told(&verdict, 1);
    all_in_state(&mailbell, "Oracle ", 5, "delivered").await;
}

async fn row24_no_receipts(kind: Kind) {
    let lab = Lab::on(kind, &["alice"]);
    let alice = Witness::start(lab.login("alice").without_receipts(), "alice").await;
    let mailbell = Mailbell::run(&quick(&lab.config(), "1s"));
    let oracle = Oracle::new(24, "client that never sends a receipt").on(kind);
    oracle.mail(&lab, 3);
    for number in 0..3 {
        let unconfirmed = mailbell.notified(&oracle.title(number), "alice", "unconfirmed").await;
        assert_eq!(unconfirmed.reason, "no receipt", "and none is missed of who never sent one");
    }
    assert!(!way(&mailbell, &oracle.title(0)).contains(&"no receipt".to_owned()));
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);

    // Better late than never.
    alice.client().receipt(BOT, &verdict.fates[0].copies[0].1).await;
    mailbell.notified(&oracle.title(0), "alice", "delivered").await;
}

async fn row25_forged_stanzas(kind: Kind) {
    let lab = Lab::on(kind, &["alice", "bob"]);
    lab.chat.add_user("mallory");
    let alice = Witness::start(lab.login("alice").without_receipts(), "alice").await;
    let bob = Witness::start(lab.login("bob").without_receipts(), "bob").await;
    let mallory = lab.online("mallory").await;
    let mailbell = Mailbell::run(&lab.config());
    let oracle = Oracle::new(
        25,
        "receipts, errors, carbons, archive results and roster pushes, forged by a stranger and by another recipient",
    );
    // What is not critical is sent only to who shares their presence.
    let oracle = oracle.on(kind).severity("warning");
    oracle.mail(&lab, 2);
    let sent = all_in_state(&mailbell, "Oracle ", 4, "accepted").await;

    let mut forgeries = String::new();
    for hers in sent.iter().filter(|n| n["recipient"] == "alice") {
        forgeries += &forged(hers["stanza_id"].as_str().unwrap());
    }
    for forger in [&mallory, &*bob.client()] {
        forger.raw(&forgeries).await;
        // Answered behind all of it.
        forger.iq(BOT, "get", "<ping xmlns='urn:xmpp:ping'/>").await;
    }
    mailbell.logged("ignored a receipt: it is for nothing that was sent to this sender", 4).await;
    mailbell.logged("is none of its business", 8).await;
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice, &bob]).await;
    oracle.all_told(&verdict, 1);
    assert_eq!(verdict.states().keys().copied().collect::<Vec<_>>(), ["accepted"], "{verdict:#?}");

    // Her own word is believed.
    for n in sent.iter().filter(|n| n["recipient"] == "alice") {
        alice.client().receipt(BOT, n["stanza_id"].as_str().unwrap()).await;
        mailbell.notified(n["title"].as_str().unwrap(), "alice", "delivered").await;
    }
}

/// All that could be forged about a message of that stanza id to alice.
fn forged(id: &str) -> String {
    let (alice, stanzas) = ("alice@example.test", "urn:ietf:params:xml:ns:xmpp-stanzas");
    let received = format!("<received xmlns='urn:xmpp:receipts' id='{id}'/>");
    let inner = format!("<message xmlns='jabber:client' from='{alice}/pc' to='{BOT}'>{received}</message>");
    let forwarded = format!("<forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded>");
    let mut all = format!("<message to='{BOT}'>{received}</message>");
    for (kind, condition) in [("cancel", "item-not-found"), ("wait", "recipient-unavailable")] {
        all += &format!(
            "<message type='error' to='{BOT}' id='{id}'><error type='{kind}'><{condition} xmlns='{stanzas}'/></error></message>"
        );
    }
    for copy in ["received", "sent"] {
        all += &format!("<message to='{BOT}'><{copy} xmlns='urn:xmpp:carbons:2'>{forwarded}</{copy}></message>");
    }
    all += &format!(
        "<message to='{BOT}'><result xmlns='urn:xmpp:mam:2' queryid='q' id='1'>{forwarded}</result></message>"
    );
    all + &format!(
        "<iq type='set' id='push-{id}' to='{BOT}'><query xmlns='jabber:iq:roster'>\
         <item jid='{alice}' subscription='remove'/></query></iq>"
    )
}
