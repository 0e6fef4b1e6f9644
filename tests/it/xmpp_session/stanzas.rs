//! Letters and their acknowledgements, and what comes in: questions, forgeries, and what cannot be read.

use std::time::Instant;

use mailbell::dispatch::{Bounce, ErrorType, Event, Messenger};
use mailbell::model::{Show, StanzaId};

use super::{Bot, SOON, full, letter, settings};
use crate::support::ca::Ca;
use crate::support::chat::{Chat, Kind, Options};
use crate::support::client::{Client, Login};
use crate::support::prosody::Prosody;

on_each_server!(a_letter_is_accepted_and_received);

async fn a_letter_is_accepted_and_received(kind: Kind) {
    let ca = Ca::new();
    for smacks in [true, false] {
        let chat = Chat::start(&ca, &["alice"], Options { smacks, ..Options::on(kind) });
        let mut bot = Bot::up(settings(chat.c2s, &ca, &["alice"])).await;
        let alice = Client::login(chat.c2s, "alice").await;
        let body = "disk < 5 % & falling\u{0}\u{FFFF} </body><body>";
        let id = bot.send(letter("alice", body));
        let receipt = Event::Receipt { from: full("alice", "pc"), stanza_id: id.clone() };
        bot.wait("the receipt", |e| *e == receipt).await;
        bot.wait_accepted(&id).await;
        let message = alice.wait_message(|m| m.id() == Some(&id.0), SOON).await;
        assert_eq!(message.body().unwrap(), "disk < 5 % & falling\u{FFFD}\u{FFFD} </body><body>");
        assert_eq!(message.attr("type"), Some("chat"));
        for (name, ns) in
            [("origin-id", "urn:xmpp:sid:0"), ("store", "urn:xmpp:hints"), ("unstyled", "urn:xmpp:styling:0")]
        {
            assert!(message.element.has_child(name, ns), "{name}: {}", message.raw);
        }
        assert_eq!((alice.count(), bot.handle.in_flight()), (1, 0));
        assert!(bot.handle.room() > 0);
        alice.chat("alerts@example.test/mailbell", "ack <1>").await;
        let chat = Event::Chat { from: full("alice", "pc"), body: "ack <1>".into() };
        bot.wait("the chat", |e| *e == chat).await;
    }
}

#[tokio::test]
async fn ten_thousand_letters_through_the_window() {
    const MANY: usize = 10_000;
    let ca = Ca::new();
    let prosody = Prosody::start(&ca, &["alice", "bob"], Options::default());
    let mut bot = Bot::up(settings(prosody.c2s, &ca, &["alice"])).await;
    let alice = Login::new(prosody.c2s, "alice").without_receipts().connect().await;
    let start = Instant::now();
    let (mut sent, mut accepted) = (Vec::new(), Vec::new());
    while accepted.len() < MANY {
        while sent.len() < MANY && bot.handle.room() > 0 {
            sent.push(bot.send(letter("alice", &format!("letter {}", sent.len()))));
        }
        assert!(bot.handle.in_flight() <= 100);
        if let Event::Accepted { stanzas } = bot.wait("acknowledgements", |e| matches!(e, Event::Accepted { .. })).await
        {
            accepted.extend(stanzas);
        }
    }
    println!("{MANY} letters accepted in {:?}", start.elapsed());
    assert_eq!(accepted, sent, "each once, in order");
    assert_eq!(bot.handle.in_flight(), 0);
    alice.wait_count(MANY, SOON).await;
    let bodies: Vec<_> = alice.messages().iter().map(|m| m.body().unwrap()).collect();
    assert_eq!(bodies, (0..MANY).map(|n| format!("letter {n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_huge_body_is_cut_and_costs_nothing_else() {
    let ca = Ca::new();
    let prosody = Prosody::start(&ca, &["alice"], Options::default());
    let mut bot = Bot::up(settings(prosody.c2s, &ca, &["alice"])).await;
    let alice = Client::login(prosody.c2s, "alice").await;
    let id = bot.send(letter("alice", &"<&>\u{1}".repeat(500_000)));
    bot.wait_accepted(&id).await;
    let body = alice.wait_message(|m| m.id() == Some(&id.0), SOON).await.body().unwrap();
    assert!(body.starts_with("<&>\u{FFFD}<&>") && body.ends_with("\n[…]"));
    assert!(!bot.seen.iter().any(|e| matches!(e, Event::Down { .. })));
}

#[tokio::test]
async fn forged_and_unwanted_stanzas() {
    let ca = Ca::new();
    let prosody = Prosody::start(&ca, &["alice", "mallory"], Options::default());
    let mut bot = Bot::up(settings(prosody.c2s, &ca, &["alice"])).await;
    let alice = Login::new(prosody.c2s, "alice").without_receipts().connect().await;
    let mallory = Client::login(prosody.c2s, "mallory").await;
    let to = "alerts@example.test/mailbell";
    mallory.chat(to, "ack 1").await;
    mallory
        .raw(&format!(
            "<message to='{to}'><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\
             <message xmlns='jabber:client' from='alice@example.test/pc'><body>forged</body></message></forwarded></received></message>\
             <iq type='set' id='push' to='{to}'><query xmlns='jabber:iq:roster'>\
             <item jid='alice@example.test' subscription='none'/></query></iq>\
             <message type='headline' to='{to}'><body>news</body></message>"
        ))
        .await;
    let push = mallory.wait("the answer to a forged push", SOON, |s| s.id() == Some("push")).await;
    assert_eq!(push.attr("type"), Some("error"));
    mallory.receipt(to, "S").await;
    mallory.bounce(to, "S", "cancel", "item-not-found").await;
    // A receipt and an error are told with their real sender: judging them is dispatch's.
    let from = || full("mallory", "pc");
    let receipt = Event::Receipt { from: from(), stanza_id: StanzaId("S".into()) };
    bot.wait("the receipt", |e| *e == receipt).await;
    let bounce = Event::Bounced(Bounce {
        from: Some(from()),
        stanza_id: StanzaId("S".into()),
        kind: ErrorType::Cancel,
        condition: "item-not-found".into(),
        text: None,
    });
    bot.wait("the error", |e| *e == bounce).await;
    alice.chat(to, "the end").await;
    bot.wait("the end", |e| matches!(e, Event::Chat { body, .. } if body == "the end")).await;
    let told = format!("{:?}", bot.seen);
    for unwanted in ["ack 1", "forged", "news", "granted: false"] {
        assert!(!told.contains(unwanted), "{unwanted}: {told}");
    }
}

#[tokio::test]
async fn questions_are_answered() {
    let ca = Ca::new();
    let prosody = Prosody::start(&ca, &["alice"], Options::default());
    let mut bot = Bot::up(settings(prosody.c2s, &ca, &["alice"])).await;
    let alice = Client::login(prosody.c2s, "alice").await;
    bot.wait_presence(full("alice", "pc"), Some((Show::Available, 0))).await;
    let to = "alerts@example.test/mailbell";
    let ask = async |kind: &str, payload: &str| alice.iq(to, kind, payload).await.raw;
    let info = ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>").await;
    assert!(
        info.contains("category='client'") && info.contains("type='bot'") && info.contains("urn:xmpp:receipts"),
        "{info}"
    );
    let version = ask("get", "<query xmlns='jabber:iq:version'/>").await;
    assert!(version.contains("<name>mailbell</name>") && version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    assert!(ask("get", "<ping xmlns='urn:xmpp:ping'/>").await.contains("type='result'"));
    assert!(ask("get", "<query xmlns='jabber:iq:last'/>").await.contains("service-unavailable"));
    alice
        .raw(&format!(
            "<message type='chat' id='m1' to='{to}'><body>hi</body><request xmlns='urn:xmpp:receipts'/></message>"
        ))
        .await;
    alice.wait("a receipt", SOON, |s| s.raw.contains("urn:xmpp:receipts") && s.raw.contains("id='m1'")).await;
}

#[tokio::test]
async fn a_stanza_that_cannot_be_read_is_skipped_once() {
    let ca = Ca::new();
    let prosody = Prosody::start(&ca, &["alice", "mallory"], Options::default());
    let mut bot = Bot::up(settings(prosody.c2s, &ca, &["alice"])).await;
    let alice = Client::login(prosody.c2s, "alice").await;
    let mallory = Client::login(prosody.c2s, "mallory").await;
    let to = "alerts@example.test/mailbell";
    // Longer than the XML reader takes, and passed on by the server all the same.
    mallory.raw(&format!("<message to='{to}' id='{}'><body>x</body></message>", "x".repeat(20_000))).await;
    bot.wait("the cut", |e| matches!(e, Event::Down { .. })).await;
    bot.wait("the resumption", |e| *e == Event::Up { resumed: true }).await;
    let deep = 5_000;
    mallory.raw(&format!("<message to='{to}'>{}{}</message>", "<a>".repeat(deep), "</a>".repeat(deep))).await;
    let id = bot.send(letter("alice", "still here"));
    alice.wait_message(|m| m.id() == Some(&id.0), SOON).await;
    bot.wait_accepted(&id).await;
    alice.chat(to, "the end").await;
    bot.wait("the end", |e| matches!(e, Event::Chat { .. })).await;
    assert_eq!(bot.seen.iter().filter(|e| matches!(e, Event::Down { .. })).count(), 1, "{:#?}", bot.seen);
}
