//! Connections that are cut, stall or end, and servers that restart: what was sent is accepted or lost once.

use std::time::{Duration, Instant};

use mailbell::dispatch::{Event, Messenger};
use mailbell::model::Show;
use mailbell::xmpp::Settings;

use super::forwarder::Forwarder;
use super::{Bot, SOON, full, letter, settings};
use crate::support::ca::Ca;
use crate::support::chat::Options;
use crate::support::client::{Client, Login};
use crate::support::prosody::Prosody;

#[tokio::test]
async fn a_cut_connection_is_resumed_without_a_second_copy() {
    let ca = Ca::new();
    let prosody = Prosody::start(&ca, &["alice"], Options::default());
    let forwarder = Forwarder::start(prosody.c2s).await;
    let mut bot = Bot::up(settings(forwarder.port, &ca, &["alice"])).await;
    let alice = Client::login(prosody.c2s, "alice").await;
    for round in 0..3 {
        for n in 0..40 {
            if n == 20 {
                forwarder.cut();
            }
            match bot.handle.send(letter("alice", &format!("{round}.{n}"))) {
                Ok(()) => {}
                Err(_) => break,
            }
        }
        forwarder.cut();
        bot.wait("the cut", |e| matches!(e, Event::Down { .. })).await;
        assert_eq!(bot.handle.room(), 0, "nothing is taken while the session is down");
        bot.wait("the resumption", |e| matches!(e, Event::Up { .. })).await;
        assert_eq!(bot.seen.last(), Some(&Event::Up { resumed: true }));
        let id = bot.send(letter("alice", &format!("after {round}")));
        bot.wait_accepted(&id).await;
    }
    assert_eq!(bot.handle.in_flight(), 0);
    alice.wait_message(|m| m.body().as_deref() == Some("after 2"), SOON).await;
    let mut bodies: Vec<_> = alice.messages().iter().map(|m| m.body().unwrap()).collect();
    let all = bodies.len();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), all, "one copy each");
    let accepted: usize =
        bot.seen.iter().map(|e| if let Event::Accepted { stanzas } = e { stanzas.len() } else { 0 }).sum();
    assert_eq!(accepted, all, "each accepted once");
    assert!(!bot.seen.iter().any(|e| matches!(e, Event::Lost { .. })), "{:#?}", bot.seen);
}

#[tokio::test]
async fn a_clean_restart_accepts_or_loses_each_letter_once() {
    restart(|prosody| prosody.stop()).await;
}

#[tokio::test]
async fn a_killed_server_is_found_again_in_seconds() {
    restart(|prosody| prosody.kill()).await;
}

async fn restart(end: impl Fn(&mut Prosody)) {
    let ca = Ca::new();
    let mut prosody = Prosody::start(&ca, &["alice"], Options::default());
    let mut bot = Bot::up(settings(prosody.c2s, &ca, &["alice"])).await;
    let alice = Client::login(prosody.c2s, "alice").await;
    let ids: Vec<_> = (0..100).map(|n| bot.send(letter("alice", &format!("{n}")))).collect();
    alice.wait_count(1, SOON).await;
    end(&mut prosody);
    bot.wait("the end of the session", |e| matches!(e, Event::Down { .. })).await;
    prosody.run();
    let back = Instant::now();
    let up = bot.wait("a new session", |e| matches!(e, Event::Up { .. })).await;
    assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
    if up == (Event::Up { resumed: false }) {
        for id in &ids {
            assert_eq!(bot.accepted(id) + bot.lost(id), 1, "{id} before Up: {:#?}", bot.seen);
        }
    }
    let alice = Client::login(prosody.c2s, "alice").await;
    let id = bot.send(letter("alice", "after"));
    alice.wait_message(|m| m.id() == Some(&id.0), SOON).await;
    bot.wait_accepted(&id).await;
    for id in &ids {
        assert_eq!(bot.accepted(id) + bot.lost(id), 1, "{id}: {:#?}", bot.seen);
    }
    assert_eq!(bot.handle.in_flight(), 0);
}

#[tokio::test]
async fn a_half_open_link_is_noticed_and_left() {
    let ca = Ca::new();
    let prosody = Prosody::start(&ca, &["alice"], Options::default());
    let forwarder = Forwarder::start(prosody.c2s).await;
    let quick = Settings { ping_after: Duration::from_millis(500), ..settings(forwarder.port, &ca, &["alice"]) };
    let mut bot = Bot::up(quick).await;
    let alice = Client::login(prosody.c2s, "alice").await;
    // An idle but living link outlives several of these periods.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let id = bot.send(letter("alice", "before"));
    bot.wait_accepted(&id).await;
    assert!(!bot.seen.iter().any(|e| matches!(e, Event::Down { .. })), "{:#?}", bot.seen);
    forwarder.stall();
    let stalled = Instant::now();
    let id = bot.send(letter("alice", "into the void"));
    let down = bot.wait("the dead link to be noticed", |e| matches!(e, Event::Down { .. })).await;
    assert!(stalled.elapsed() < Duration::from_millis(2500), "{:?}: {down:?}", stalled.elapsed());
    forwarder.pass();
    bot.wait("the resumption", |e| *e == Event::Up { resumed: true }).await;
    bot.wait_accepted(&id).await;
    let message = alice.wait_message(|m| m.id() == Some(&id.0), SOON).await;
    assert_eq!(message.body().as_deref(), Some("into the void"));
    assert_eq!(alice.count(), 2);
}

#[tokio::test]
async fn a_server_that_reads_nothing_does_not_stop_our_reading() {
    let ca = Ca::new();
    let prosody = Prosody::start(&ca, &["alice"], Options::default());
    let forwarder = Forwarder::start(prosody.c2s).await;
    let large = Settings { window: 1000, ..settings(forwarder.port, &ca, &["alice"]) };
    let mut bot = Bot::up(large).await;
    let alice = Login::new(prosody.c2s, "alice").connect().await;
    bot.wait_presence(full("alice", "pc"), Some((Show::Available, 0))).await;
    forwarder.stall_upstream();
    while bot.handle.room() > 0 {
        bot.send(letter("alice", &"x".repeat(20_000)));
    }
    alice.chat("alerts@example.test/mailbell", "do you hear me?").await;
    bot.wait("the chat", |e| matches!(e, Event::Chat { .. })).await;
    forwarder.pass();
    let id = bot.wait("room", |e| matches!(e, Event::Accepted { .. })).await;
    assert!(!bot.seen.iter().any(|e| matches!(e, Event::Down { .. })), "{id:?}");
}

#[tokio::test]
async fn a_slow_dispatch_does_not_stop_the_stream() {
    let ca = Ca::new();
    let prosody = Prosody::start(&ca, &["alice"], Options::default());
    let mut bot = Bot::up(settings(prosody.c2s, &ca, &["alice"])).await;
    let alice = Client::login(prosody.c2s, "alice").await;
    // More events than the channel holds, and nobody fetches them.
    for n in 0..3000 {
        alice.chat("alerts@example.test/mailbell", &format!("{n}")).await;
    }
    let pong = alice.iq("alerts@example.test/mailbell", "get", "<ping xmlns='urn:xmpp:ping'/>").await;
    assert_eq!(pong.attr("type"), Some("result"));
    for n in 0..3000 {
        let event = bot.wait("the chats", |e| matches!(e, Event::Chat { .. })).await;
        assert!(matches!(event, Event::Chat { body, .. } if body == n.to_string()));
    }
}

#[tokio::test]
async fn what_is_in_flight_at_the_end_is_still_written() {
    let ca = Ca::new();
    let prosody = Prosody::start(&ca, &["alice"], Options::default());
    let bot = Bot::up(settings(prosody.c2s, &ca, &["alice"])).await;
    let alice = Client::login(prosody.c2s, "alice").await;
    for n in 0..50 {
        bot.send(letter("alice", &format!("{n}")));
    }
    assert!(bot.stop().await < Duration::from_secs(2));
    alice.wait_count(50, SOON).await;
}
