//! What the operators hear and how often; receipts; and the bot's one line back.

use crate::support::client::Client;
use crate::support::lab::{Lab, asks, critical, group};
use crate::support::mailbell::Mailbell;
use crate::support::{DOMAIN, wait_for};

/// Everything that must happen does so within this.
use crate::support::mailbell::SOON;

const BOT: &str = "alerts@example.test/mailbell";

#[tokio::test]
async fn what_cannot_be_read_is_one_notice_in_a_while_with_its_number() {
    let lab = Lab::new(&["olga"]);
    let olga = lab.online("olga").await;
    let config = lab.operated_by("olga").replace("[operators]", "[operators]\nnotice_every = \"3s\"");
    let mailbell = Mailbell::run(&config);
    let bad = critical("x", "Bad").replace("</alert>", "");
    lab.mail(&bad);
    let first = olga.wait_message(|m| m.body().unwrap().contains("message 1 is in quarantine: "), SOON).await;
    for _ in 0..3 {
        lab.mail(&bad.replace("Message-ID: <", &format!("Message-ID: <{}", rand::random::<u32>())));
    }
    mailbell.judged(4).await;
    let more = |m: &crate::support::client::Received| m.body().unwrap().contains("(3 times since the last notice");
    let second = olga.wait_message(more, SOON).await;
    assert!(second.at.duration_since(first.at).as_secs_f32() > 2.9, "at most one in notice_every");
    assert_eq!(olga.count(), 2);
}

#[tokio::test]
async fn our_own_notice_mailed_back_is_no_alert() {
    let lab = Lab::new(&["olga"]);
    let olga = lab.online("olga").await;
    let mailbell = Mailbell::run(&lab.operated_by("olga"));
    let with = |header: &str, title: &str| critical(title, title).replace("Subject: alert", header);
    lab.mail(&with("Subject: alert\nX-Mailbell-Notice: here", "Our own"));
    lab.mail(&with("Subject: alert\nAuto-Submitted: auto-replied", "An auto-reply"));
    lab.mail(&with("Subject: alert\nAuto-Submitted: auto-generated", "Legitimate"));
    olga.gets("Legitimate").await;
    let states: Vec<_> = mailbell.judged(3).await.into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["ignored", "ignored", "parsed"]);
    assert_eq!(olga.count(), 1);
}

#[tokio::test]
async fn a_recipient_who_writes_gets_one_line_and_a_stranger_none() {
    let lab = Lab::new(&["alice"]);
    lab.chat.add_user("mallory");
    let (alice, mallory) = (lab.online("alice").await, lab.online("mallory").await);
    let mailbell = Mailbell::run(&lab.config());
    lab.mail(&critical("a", "Hello"));
    alice.gets("Hello").await;
    for client in [&alice, &mallory] {
        client.chat(BOT, "who are you?").await;
        client.chat(&format!("alerts@{DOMAIN}"), "hello?").await;
    }
    alice.gets("cannot read answers yet").await;
    // The bot has read all four: it answers this behind them.
    for client in [&alice, &mallory] {
        client.iq(BOT, "get", "<ping xmlns='urn:xmpp:ping'/>").await;
    }
    lab.mail(&critical("b", "Marker"));
    alice.gets("Marker").await;
    assert_eq!((alice.count(), mallory.count()), (3, 0));
    drop(mailbell);
}

#[tokio::test]
async fn a_missing_subscription_is_told_once_until_it_is_granted() {
    let lab = Lab::new(&["olga"]);
    lab.chat.add_user("shy");
    let (olga, shy) = (lab.online("olga").await, lab.login("shy").without_accepting().connect().await);
    let config = lab.operated_by("olga").replace("[operators]", "[operators]\nnotice_every = \"1s\"")
        + "[[recipient]]\nname = \"shy\"\njid = \"shy@example.test\"\n";
    let mut mailbell = Mailbell::run(&config);
    let notice = "no presence subscription from shy@example.test";
    olga.gets(notice).await;
    for start in 1..=2 {
        mailbell.stop();
        mailbell.start();
        mark(&lab, &olga, start).await;
    }
    assert_eq!(olga.copies(notice), 1);
    shy.raw("<presence type='subscribed' to='alerts@example.test'/>").await;
    // Granted, and known: what is not critical goes to her.
    lab.mail(&critical("both", "For her").replace("severity=\"critical\"", "severity=\"info\""));
    olga.gets("For her").await;
    wait_for("the subscription to be known", SOON, async || mailbell.marks().await.is_empty().then_some(())).await;
    shy.raw("<presence type='unsubscribed' to='alerts@example.test'/>").await;
    wait_for("the second notice", SOON, async || (olga.copies(notice) == 2).then_some(())).await;
}

/// Waits for a sign that presence has settled, and that what would have been noted was told.
async fn mark(lab: &Lab, olga: &Client, n: usize) {
    let bad = critical("x", "Bad").replace("</alert>", "");
    lab.mail(&bad);
    wait_for("the notice of a bad mail", SOON, async || (olga.copies(" is in quarantine: ") == n).then_some(())).await;
}

#[tokio::test]
async fn what_comes_back_is_tried_again_or_dead_and_only_its_recipient_is_believed() {
    let lab = Lab::new(&["olga", "alice"]);
    let (olga, alice) = (lab.online("olga").await, lab.login("alice").without_receipts().connect().await);
    let config = lab.operated_by("olga").replace("[dispatch]", "[dispatch]\nreceipt_timeout = \"1s\"");
    let mailbell = Mailbell::run(&(config + &group("hers", &["alice"], "")));
    let sent = async |title: &str| {
        lab.mail(&asks("hers", "major", title));
        let message = alice.wait_message(|m| m.body().unwrap().contains(title), SOON).await;
        message.id().unwrap().to_owned()
    };

    let gone = sent("Gone").await;
    olga.bounce(BOT, &gone, "cancel", "item-not-found").await;
    mailbell.logged("none of its business", 1).await;
    alice.bounce(BOT, &gone, "cancel", "item-not-found").await;
    let dead = mailbell.notified("Gone", "alice", "dead").await;
    assert_eq!(dead.reason, "item-not-found from alice@example.test/pc");
    olga.gets("could not be sent to alice (alice@example.test): item-not-found").await;

    // Proof that it did not arrive counts also when nobody waits for a receipt any more.
    let refused = sent("Refused").await;
    mailbell.notified("Refused", "alice", "unconfirmed").await;
    alice.bounce(BOT, &refused, "cancel", "service-unavailable").await;
    let again = mailbell.notified("Refused", "alice", "queued").await;
    assert_eq!(again.reason, "service-unavailable from alice@example.test/pc");
}
