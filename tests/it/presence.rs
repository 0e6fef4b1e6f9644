//! Who gets an alert at once, who when they are back, and who never: presence and the policy of groups.

use std::time::{Duration, Instant};

use crate::support::chat::{Kind, Options, Roster};
use crate::support::lab::{Lab, OPERATORS, asks, critical, group, severe};
use crate::support::mailbell::{Mailbell, SOON};

on_each_server!(
    an_alert_goes_at_once_to_whom_it_may_and_to_the_others_when_it_may,
    who_comes_back_to_much_gets_one_digest,
    the_bot_asks_for_presence_and_strangers_get_none,
    a_shared_roster_needs_no_asking,
);

async fn an_alert_goes_at_once_to_whom_it_may_and_to_the_others_when_it_may(kind: Kind) {
    let lab = Lab::on(kind, &["anna", "away", "xaver", "dora", "otto", "lowe"]);
    lab.chat.add_user("shy");
    let anna = lab.online("anna").await;
    let away = lab.login("away").show("away").connect().await;
    let xaver = lab.login("xaver").show("xa").connect().await;
    let dora = lab.login("dora").show("dnd").connect().await;
    let lowe = lab.login("lowe").priority(-1).connect().await;
    // Connected, but not there.
    let otto = lab.login("otto").invisible().connect().await;
    let shy = lab.login("shy").without_accepting().connect().await;
    let mailbell = Mailbell::run(
        &(lab.base()
            + "[[recipient]]\nname = \"shy\"\njid = \"shy@example.test\"\n"
            + &lab.imap("inbox", "")
            + &group("ops", &["anna", "away", "xaver", "dora", "otto", "lowe", "shy"], "")
            + OPERATORS),
    );

    lab.mail(&critical("ups", "Fire"));
    for client in [&anna, &away, &xaver, &dora, &shy] {
        client.gets("CRITICAL: Fire").await;
    }
    for away in ["otto", "lowe"] {
        let held = mailbell.notified("Fire", away, "held").await;
        assert_eq!(held.reason, "the recipient is offline");
    }
    anna.gets("no presence subscription from shy@example.test: only critical alerts").await;

    lab.mail(&severe("disk", "warning", "Smoke"));
    for client in [&anna, &away, &xaver] {
        client.gets("WARNING: Smoke").await;
    }
    assert_eq!(mailbell.notified("Smoke", "dora", "held").await.reason, "the recipient shows dnd");
    assert_eq!(
        mailbell.notified("Smoke", "shy", "held").await.reason,
        "the recipient has not granted the presence subscription"
    );
    mailbell.notified("Smoke", "otto", "held").await;
    mailbell.notified("Smoke", "lowe", "held").await;

    otto.set_presence(None, 0).await;
    lowe.set_presence(None, 0).await;
    dora.set_presence(None, 0).await;
    shy.raw("<presence type='subscribed' to='alerts@example.test'/>").await;
    for client in [&otto, &lowe, &dora, &shy] {
        client.gets("WARNING: Smoke").await;
    }
    for (client, fires) in [(&otto, 1), (&lowe, 1), (&dora, 1), (&shy, 1), (&anna, 1)] {
        assert_eq!((client.copies("Fire"), client.copies("Smoke")), (fires, 1), "{}", client.jid);
    }
    assert_eq!(titles(&otto), ["CRITICAL: Fire", "WARNING: Smoke"], "critical first");
    assert_eq!(anna.copies("no presence subscription"), 1);
    anna.unavailable().await;
    // Answered behind it: the gateway has read it.
    anna.iq("alerts@example.test/mailbell", "get", "<ping xmlns='urn:xmpp:ping'/>").await;
    lab.mail(&severe("door", "info", "Door open"));
    away.gets("Door open").await;
    assert_eq!(mailbell.notified("Door open", "anna", "held").await.reason, "the recipient is offline");
}

#[tokio::test]
async fn a_policy_says_what_happens_to_who_is_not_reachable() {
    let lab = Lab::new(&["olga", "sam", "skip", "holly", "dora"]);
    let olga = lab.online("olga").await;
    let dora = lab.login("dora").show("dnd").connect().await;
    let mailbell = Mailbell::run(
        &(lab.operated_by("olga")
            + &group("senders", &["sam"], "offline = \"send\"")
            + &group("skippers", &["skip"], "offline = \"skip\"")
            + &group("holders", &["holly"], "hold_for = \"1s\"")
            + &group("dnd", &["dora"], "shows = [\"dnd\"]")),
    );
    lab.mail(&asks("senders", "info", "Sent"));
    lab.mail(&asks("skippers", "info", "Skipped"));
    lab.mail(&asks("holders", "info", "Held"));
    lab.mail(&asks("dnd", "info", "Disturbs"));
    dora.gets("Disturbs").await;
    mailbell.notified("Sent", "sam", "accepted").await;
    let skipped = mailbell.notified("Skipped", "skip", "expired").await;
    assert_eq!(skipped.reason, "not reachable, and the policy says skip");
    let ended = mailbell.notified("Held", "holly", "expired").await;
    assert_eq!(ended.reason, "the hold ended: the recipient is offline");
    olga.gets("expired, and nobody was told of it").await;

    // The server kept for sam what mailbell sent; for the others there is nothing but what comes now.
    let sam = lab.online("sam").await;
    sam.gets("Sent").await;
    for (person, group) in [("skip", "skippers"), ("holly", "holders")] {
        let client = lab.online(person).await;
        lab.mail(&asks(group, "critical", &format!("Marker for {person}")));
        client.gets("Marker").await;
        assert_eq!(client.count(), 1, "{person}");
    }
    assert_eq!(olga.copies("nobody was told"), 1, "a skip is meant, and no trouble");
}

async fn who_comes_back_to_much_gets_one_digest(kind: Kind) {
    let lab = Lab::on(kind, &["olga", "alice"]);
    let _olga = lab.online("olga").await;
    let mailbell = Mailbell::run(&(lab.operated_by("olga") + &group("both", &["olga", "alice"], "")));
    lab.mail(&asks("both", "critical", "First fire"));
    for n in 1..=6 {
        lab.mail(&asks("both", "warning", &format!("Small thing {n}")));
    }
    lab.mail(&asks("both", "warning", "Over soon"));
    lab.mail(&asks("both", "critical", "Second fire"));
    mailbell.notified("Second fire", "alice", "held").await;
    lab.mail(&resolves("both", "Over soon"));
    mailbell.notified("Over soon", "alice", "superseded").await;

    let alice = lab.online("alice").await;
    let digest = alice.gets("While you were away").await;
    let lines: Vec<&str> = digest.lines().collect();
    assert_eq!((lines.len(), lines[0]), (8, "While you were away: 6 warning"), "{digest}");
    // Oldest first, by the order in which Dovecot numbered them: mails of one moment may change places there.
    let ids: Vec<&str> = lines[1..7].iter().map(|line| line.rsplit_once('#').unwrap().1).collect();
    assert!(ids.is_sorted(), "{digest}");
    for n in 1..=6 {
        assert!(digest.contains(&format!("WARNING: Small thing {n} #")), "{digest}");
    }
    assert_eq!(lines[7], "Meanwhile 1 resolved before you could be told");
    assert_eq!(titles(&alice), ["CRITICAL: First fire", "CRITICAL: Second fire", "While you were away: 6 warning"]);
    mailbell.notified("Small thing 6", "alice", "delivered").await;

    // What the digest told of, she hears the end of; what she never heard of, not.
    lab.mail(&resolves("both", "Small thing 3"));
    alice.gets("RESOLVED: Small thing 3").await;
    assert_eq!((alice.count(), alice.copies("Over soon")), (4, 0));
}

#[tokio::test]
async fn few_held_alerts_come_one_by_one_and_what_ended_is_not_told_later() {
    let lab = Lab::new(&["olga", "alice"]);
    let _olga = lab.online("olga").await;
    let mailbell = Mailbell::run(&(lab.operated_by("olga") + &group("both", &["olga", "alice"], "")));
    lab.mail(&asks("both", "warning", "Over soon"));
    mailbell.notified("Over soon", "alice", "held").await;
    lab.mail(&resolves("both", "Over soon"));
    mailbell.notified("Over soon", "alice", "superseded").await;
    // Back for a moment: nothing to tell.
    lab.online("alice").await.logout().await;
    let alice = lab.online("alice").await;
    lab.mail(&asks("both", "warning", "Seen"));
    alice.gets("Seen").await;
    assert_eq!(alice.count(), 1);
    alice.logout().await;

    for n in 1..=6 {
        lab.mail(&asks("both", "warning", &format!("Small thing {n}")));
    }
    mailbell.notified("Small thing 6", "alice", "held").await;
    let alice = lab.online("alice").await;
    let digest = alice.gets("While you were away: 6 warning").await;
    assert!(!digest.contains("Meanwhile"), "{digest}");
}

#[tokio::test]
async fn one_digest_covers_everything_however_much() {
    let lab = Lab::new(&["olga", "alice"]);
    let _olga = lab.online("olga").await;
    let mailbell = Mailbell::run(&(lab.operated_by("olga") + &group("both", &["alice"], "")));
    let alerts: String = (1..=300)
        .map(|n| format!("<alert id=\"n{n}\" key=\"k{n}\"><title>Thing {n}</title><group>both</group></alert>"))
        .collect();
    for part in ["a", "b", "c"] {
        let alerts = alerts.replace("=\"k", &format!("=\"{part}")).replace("=\"n", &format!("=\"{part}"));
        lab.mail(&crate::support::lab::xml_mail(&format!("<alerts xmlns=\"urn:mailbell:alert:1\">{alerts}</alerts>")));
    }
    crate::support::wait_for("900 held alerts", SOON, async || {
        let all = mailbell.notifications().await;
        (all.iter().filter(|n| n.state == "held").count() == 900).then_some(())
    })
    .await;
    let alice = lab.online("alice").await;
    let digest = alice.gets("While you were away: 900 warning").await;
    assert!(digest.ends_with("+ 880 more"), "{digest}");
    mailbell.notified("Thing 300", "alice", "delivered").await;
    assert_eq!(alice.count(), 1);
}

#[tokio::test]
async fn nobody_there_brings_the_next_group_at_once() {
    let lab = Lab::new(&["olga", "alice", "bob", "carol"]);
    let (olga, carol) = (lab.online("olga").await, lab.online("carol").await);
    let mailbell = Mailbell::run(
        &(lab.operated_by("olga")
            + &group("front", &["alice"], "fallback = \"@managers\"")
            // Its name stands before the other's: the order of names must not matter.
            + &group("board", &["carol"], "")
            + &group("managers", &["bob"], "fallback = \"@board\"")),
    );
    for severity in ["info", "critical"] {
        lab.mail(&asks("front", severity, &format!("Nobody for {severity}")));
        let text = carol.gets(&format!("Nobody for {severity}")).await;
        assert!(text.contains("\nboard · "), "{text}");
        for person in ["alice", "bob"] {
            mailbell.notified(&format!("Nobody for {severity}"), person, "held").await;
        }
    }
    let alice = lab.online("alice").await;
    alice.gets("Nobody for critical").await;
    alice.gets("Nobody for info").await;
    // With her there, nobody else is bothered.
    lab.mail(&asks("front", "critical", "Somebody"));
    alice.gets("Somebody").await;
    lab.mail(&asks("board", "critical", "Marker"));
    carol.gets("Marker").await;
    assert_eq!((carol.count(), olga.count()), (3, 0));
}

#[tokio::test]
async fn a_fallback_may_wait_for_the_end_of_the_hold() {
    let lab = Lab::new(&["olga", "alice", "bob"]);
    let (olga, bob) = (lab.online("olga").await, lab.online("bob").await);
    let policy = "hold_for = \"2s\"\nfallback = \"@managers\"\nfallback_when = \"hold_expired\"";
    let mailbell = Mailbell::run(
        &(lab.operated_by("olga") + &group("front", &["alice"], policy) + &group("managers", &["bob"], "")),
    );
    lab.mail(&asks("front", "critical", "Patience"));
    mailbell.notified("Patience", "alice", "held").await;
    assert_eq!(bob.count(), 0);
    bob.gets("Patience").await;
    mailbell.notified("Patience", "alice", "expired").await;
    // A notice that comes for certain, behind the one that must not.
    lab.mail(&asks("operators", "info", "Marker").replace("</alert>", ""));
    olga.gets("message 2 is in quarantine").await;
    assert_eq!(olga.count(), 1, "somebody was told: no notice");
}

#[tokio::test]
async fn a_critical_alert_that_reaches_nobody_is_sent_anyway() {
    let lab = Lab::new(&["olga", "alice", "skip"]);
    let olga = lab.online("olga").await;
    let mailbell = Mailbell::run(
        &(lab.operated_by("olga")
            + &group("front", &["alice"], "")
            + &group("skippers", &["skip"], "offline = \"skip\"")),
    );
    for (group, person) in [("front", "alice"), ("skippers", "skip")] {
        lab.mail(&asks(group, "critical", &format!("Fire for {person}")));
        let notice = olga.gets(&format!("nobody of {group} is reachable; it was sent to all of them anyway")).await;
        assert!(notice.starts_with("mailbell: critical alert #"), "{notice}");
        mailbell.notified(&format!("Fire for {person}"), person, "accepted").await;
        // The server kept it.
        lab.online(person).await.gets("Fire for").await;
    }
}

#[tokio::test]
async fn unknown_is_not_offline() {
    let lab = Lab::new(&["olga", "alice", "bob", "carol"]);
    let (olga, alice, bob) = (lab.online("olga").await, lab.online("alice").await, lab.online("bob").await);
    let settle = Duration::from_millis(1500);
    let config = lab.operated_by("olga").replace("settle = \"1s\"", "settle = \"1500ms\"")
        + &group("here", &["alice"], "fallback = \"@managers\"")
        + &group("gone", &["carol"], "fallback = \"@managers\"")
        + &group("managers", &["bob"], "");
    // There before the session is.
    lab.mail(&asks("here", "critical", "For alice"));
    lab.mail(&asks("gone", "warning", "For carol"));
    assert!(config.contains("settle = \"1500ms\""), "{config}");
    let started = Instant::now();
    let mailbell = Mailbell::run(&config);
    alice.gets("For alice").await;
    let fallback = bob.wait_message(|m| m.body().unwrap().contains("For carol"), SOON).await;
    assert!(fallback.at.duration_since(started) >= settle, "offline was believed too soon");
    assert_eq!((bob.count(), alice.count(), olga.count()), (1, 1, 0));
    mailbell.notified("For carol", "carol", "held").await;
}

#[tokio::test]
async fn what_came_while_the_chat_server_was_down_is_decided_on_when_it_is_back() {
    let mut lab = Lab::new(&["olga", "alice", "bob"]);
    let (alice, _bob) = (lab.online("alice").await, lab.online("bob").await);
    let mailbell = Mailbell::run(
        &(lab.operated_by("olga")
            + &group("front", &["alice"], "fallback = \"@managers\"")
            + &group("managers", &["bob"], "")),
    );
    lab.mail(&asks("front", "major", "Before"));
    alice.gets("Before").await;
    lab.chat.kill();
    lab.mail(&asks("front", "major", "Meanwhile"));
    mailbell.notified("Meanwhile", "alice", "queued").await;
    // Only one of them comes back.
    lab.chat.run();
    let bob = lab.online("bob").await;
    let text = bob.gets("Meanwhile").await;
    assert!(text.contains("\nmanagers · "), "{text}");
    mailbell.notified("Meanwhile", "alice", "held").await;
    lab.online("alice").await.gets("Meanwhile").await;
    assert_eq!(bob.count(), 1);
}

async fn the_bot_asks_for_presence_and_strangers_get_none(kind: Kind) {
    let options = Options { roster: Roster::Empty, ..Options::on(kind) };
    let lab = Lab::with(&["alice"], &["inbox"], options);
    lab.chat.add_user("mallory");
    let (alice, mallory) = (lab.online("alice").await, lab.online("mallory").await);
    let mailbell = Mailbell::run(&lab.config());
    // Accepted by her client; her presence is known then, and the bot's to her.
    alice.wait("the bot's presence", SOON, |s| s.element.name() == "presence" && s.from().contains("/mailbell")).await;
    mallory.raw("<presence type='subscribe' to='alerts@example.test'/>").await;
    mallory.wait("a refusal", SOON, |s| s.attr("type") == Some("unsubscribed")).await;
    lab.mail(&severe("disk", "warning", "Smoke"));
    alice.gets("Smoke").await;
    mailbell.notified("Smoke", "alice", "delivered").await;
    assert!(!mallory.stanzas().iter().any(|s| s.from().contains("/mailbell")), "the bot's presence is for recipients");
    assert_eq!(alice.copies("no presence subscription"), 0, "she answered in time");
}

async fn a_shared_roster_needs_no_asking(kind: Kind) {
    let options = Options { roster: Roster::Groups, ..Options::on(kind) };
    let lab = Lab::with(&["alice", "bob"], &["inbox"], options);
    let alice = lab.login("alice").without_accepting().connect().await;
    let mailbell = Mailbell::run(&lab.config());
    lab.mail(&severe("disk", "warning", "Smoke"));
    alice.gets("Smoke").await;
    assert_eq!(mailbell.notified("Smoke", "bob", "held").await.reason, "the recipient is offline");
    assert!(!alice.stanzas().iter().any(|s| s.attr("type") == Some("subscribe")));
}

/// The end of a condition whose key is its title.
fn resolves(group: &str, title: &str) -> String {
    asks(group, "warning", title).replace(" severity=", " status=\"resolved\" severity=")
}

/// First lines of all messages, in the order in which they came.
fn titles(client: &crate::support::client::Client) -> Vec<String> {
    let bodies = client.messages().into_iter().map(|m| m.body().unwrap());
    bodies.map(|b| b.lines().next().unwrap_or_default().to_owned()).filter(|b| !b.starts_with("mailbell: ")).collect()
}
