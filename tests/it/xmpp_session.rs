//! The XMPP session against a real Prosody, and against servers that misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mailbell::dispatch::{Bounce, ErrorType, Event, Events, Letter, Messenger};
use mailbell::model::{BareJid, Jid, Secret, Show, StanzaId};
use mailbell::net::TlsMode;
use mailbell::xmpp::{self, Change, Handle, Settings, StartError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::DOMAIN;
use crate::support::ca::Ca;
use crate::support::chat::{Auth, BOT, Chat, Kind, Options, Roster};
use crate::support::client::{Client, Login};
use crate::support::prosody::Prosody;
use crate::support::proxy::Proxy;

/// For what takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(30);

fn settings(port: u16, ca: &Ca, contacts: &[&str]) -> Settings {
    Settings {
        jid: jid(BOT),
        password: Secret::new(format!("pw-{BOT}")),
        servers: vec![("127.0.0.1".into(), port)],
        tls: TlsMode::StartTls,
        allow_plaintext: false,
        ca_file: Some(ca.ca()),
        tls_name: None,
        allow_plain: false,
        show: Show::Dnd,
        status: "Alert gateway".into(),
        resource: "mailbell".into(),
        window: 100,
        ping_after: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(20),
        contacts: contacts.iter().map(|c| jid(c)).collect(),
        rooms: Vec::new(),
    }
}

fn jid(user: &str) -> BareJid {
    format!("{user}@{DOMAIN}").parse().unwrap()
}

fn full(user: &str, resource: &str) -> Jid {
    format!("{user}@{DOMAIN}/{resource}").parse().unwrap()
}

fn letter(to: &str, body: &str) -> Letter {
    Letter { to: jid(to), stanza_id: StanzaId::random(), body: body.into(), tracked: true, first_sent: None }
}

/// A running session, and everything that it told.
struct Bot {
    handle: Handle,
    events: Events,
    task: JoinHandle<()>,
    cancel: CancellationToken,
    seen: Vec<Event>,
}

impl Bot {
    fn start(settings: Settings) -> Self {
        let cancel = CancellationToken::new();
        let (handle, events, task) = xmpp::start(settings, cancel.clone()).unwrap();
        Self { handle, events, task, cancel, seen: Vec::new() }
    }

    /// Started, and up.
    async fn up(settings: Settings) -> Self {
        let mut bot = Self::start(settings);
        bot.wait("the session to come up", |e| *e == Event::Up { resumed: false }).await;
        bot
    }

    /// The next event that fits, from here on.
    async fn wait(&mut self, what: &str, fits: impl Fn(&Event) -> bool) -> Event {
        let found = tokio::time::timeout(SOON, async {
            loop {
                let event = self.events.recv().await.expect("the session lives");
                self.seen.push(event.clone());
                if fits(&event) {
                    return event;
                }
            }
        });
        match found.await {
            Ok(event) => event,
            Err(_) => panic!("waited in vain for {what}; seen: {:#?}", self.seen),
        }
    }

    async fn wait_presence(&mut self, who: Jid, state: Option<(Show, i8)>) {
        let wanted = Event::Presence { who, state };
        self.wait(&format!("{wanted:?}"), |e| *e == wanted).await;
    }

    async fn wait_accepted(&mut self, id: &StanzaId) {
        if self.accepted(id) == 0 {
            self.wait("an acknowledgement", |e| matches!(e, Event::Accepted { stanzas } if stanzas.contains(id))).await;
        }
    }

    fn accepted(&self, id: &StanzaId) -> usize {
        let count = |e: &Event| match e {
            Event::Accepted { stanzas } => stanzas.iter().filter(|s| *s == id).count(),
            _ => 0,
        };
        self.seen.iter().map(count).sum()
    }

    fn lost(&self, id: &StanzaId) -> usize {
        let count = |e: &Event| match e {
            Event::Lost { stanzas } => stanzas.iter().filter(|s| *s == id).count(),
            _ => 0,
        };
        self.seen.iter().map(count).sum()
    }

    fn send(&self, letter: Letter) -> StanzaId {
        let id = letter.stanza_id.clone();
        assert!(self.handle.send(letter).is_ok(), "no room; seen: {:#?}", self.seen);
        id
    }

    /// Asks it to end, and says how long that took.
    async fn stop(mut self) -> Duration {
        let start = Instant::now();
        self.cancel.cancel();
        tokio::time::timeout(SOON, &mut self.task).await.expect("it ends").unwrap();
        start.elapsed()
    }
}

impl Drop for Bot {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

// ---- Signing in

on_each_server!(
    signs_in_by_starttls_and_by_direct_tls,
    a_letter_is_accepted_and_received,
    a_second_session_with_our_resource_is_reported,
);

async fn signs_in_by_starttls_and_by_direct_tls(kind: Kind) {
    let ca = Ca::new();
    for (hash, tls) in [("SHA-256", TlsMode::StartTls), ("SHA-1", TlsMode::Direct)] {
        let options = Options { auth: Auth::Hashed(hash), ..Options::on(kind) };
        let chat = Chat::start(&ca, &["alice"], options);
        let port = if tls == TlsMode::Direct { chat.c2s_tls } else { chat.c2s };
        let mut bot = Bot::up(Settings { tls, ..settings(port, &ca, &["alice"]) }).await;
        let alice = Client::login(chat.c2s, "alice").await;
        bot.wait_presence(full("alice", "pc"), Some((Show::Available, 0))).await;
        let seen =
            alice.wait("the bot's presence", SOON, |s| s.element.name() == "presence" && s.from().starts_with(BOT));
        let presence = seen.await.raw;
        assert!(
            presence.contains("<show>dnd</show>") && presence.contains("<status>Alert gateway</status>"),
            "{presence}"
        );
        assert!(presence.contains("http://jabber.org/protocol/caps"), "{presence}");
        assert!(bot.stop().await < Duration::from_secs(2));
        let gone =
            |s: &crate::support::client::Received| s.from().starts_with(BOT) && s.attr("type") == Some("unavailable");
        alice.wait("the bot's leave", SOON, gone).await;
    }
}

#[tokio::test]
async fn the_first_server_that_answers_is_taken() {
    let ca = Ca::new();
    let prosody = Prosody::start(&ca, &["alice"], Options::default());
    let servers = vec![("127.0.0.1".into(), crate::support::free_port()), ("localhost".into(), prosody.c2s)];
    Bot::up(Settings { servers, ..settings(prosody.c2s, &ca, &["alice"]) }).await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_in_plain_words() {
    let ca = Ca::new();
    let prosody = Prosody::start(&ca, &["alice"], Options::default());
    let wrong = Settings { password: Secret::new("wrong".into()), ..settings(prosody.c2s, &ca, &["alice"]) };
    let mut bot = Bot::start(wrong);
    let Event::Refused { reason } = bot.wait("a refusal", |e| matches!(e, Event::Refused { .. })).await else {
        panic!()
    };
    let start = "alerts@example.test: the server refused the password (not-authorized); correct [xmpp] password";
    assert!(reason.starts_with(start), "{reason}");
    assert_eq!(bot.handle.room(), 0);
    assert!(bot.handle.send(letter("alice", "x")).is_err());
    assert!(bot.stop().await < Duration::from_secs(2), "it also ends while it waits");
}

#[tokio::test]
async fn certificates_must_be_trusted_and_for_the_domain() {
    let ca = Ca::new();
    let prosody = Prosody::start(&ca, &["alice"], Options::default());
    let refused = async |settings: Settings| {
        let mut bot = Bot::start(settings);
        let event = bot.wait("a refusal", |e| matches!(e, Event::Refused { .. })).await;
        let Event::Refused { reason } = event else { panic!("{event:?}") };
        reason
    };
    let good = || settings(prosody.c2s, &ca, &["alice"]);
    let reason = refused(Settings { ca_file: None, ..good() }).await;
    assert!(reason.contains("an authority that this machine does not trust"), "{reason}");
    let reason = refused(Settings { tls_name: Some("other.test".into()), ..good() }).await;
    assert!(reason.contains("the certificate of other.test was refused: it is for another name"), "{reason}");
    // The name is the domain's, whatever host is dialled; tls_name overrides it.
    Bot::up(Settings { tls_name: Some("localhost".into()), ..good() }).await;
}

#[tokio::test]
async fn plain_is_used_only_where_allowed() {
    let ca = Ca::new();
    let extra =
        r#"disable_sasl_mechanisms = { "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS" }"#;
    let prosody = Prosody::start(&ca, &["alice"], Options { extra: extra.into(), ..Options::default() });
    let mut bot = Bot::start(settings(prosody.c2s, &ca, &["alice"]));
    let event = bot.wait("a refusal", |e| matches!(e, Event::Refused { .. })).await;
    assert!(format!("{event:?}").contains("allow_plain = true"), "{event:?}");
    Bot::up(Settings { allow_plain: true, ..settings(prosody.c2s, &ca, &["alice"]) }).await;
    Bot::up(Settings { allow_plain: true, tls: TlsMode::None, ..settings(prosody.c2s, &ca, &["alice"]) }).await;
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_at_once() {
    let ca = Ca::new();
    let start = |settings| xmpp::start(settings, CancellationToken::new()).map(|_| ()).unwrap_err();
    let err = start(Settings { ca_file: Some("/nonexistent/ca.pem".into()), ..settings(1, &ca, &[]) });
    assert!(matches!(err, StartError::Tls(_)), "{err}");
    assert!(err.to_string().starts_with("[xmpp] ca_file /nonexistent/ca.pem: cannot be read as PEM"), "{err}");
    let err = start(Settings { jid: "example.test".parse().unwrap(), ..settings(1, &ca, &[]) });
    assert_eq!(err.to_string(), "[xmpp] jid = \"example.test\" has no user; it looks like alerts@example.org");
}

// ---- Presence and subscriptions

#[tokio::test]
async fn contacts_presence_is_told_and_nobody_elses() {
    let ca = Ca::new();
    let prosody = Prosody::start(&ca, &["alice", "mallory"], Options::default());
    let mut bot = Bot::up(settings(prosody.c2s, &ca, &["alice"])).await;
    assert_eq!(bot.seen[0], Event::Subscription { who: jid("alice"), granted: true });
    let _mallory = Client::login(prosody.c2s, "mallory").await;
    let pc = Login::new(prosody.c2s, "alice").show("away").connect().await;
    bot.wait_presence(full("alice", "pc"), Some((Show::Away, 0))).await;
    let phone = Login::new(prosody.c2s, "alice").resource("phone").show("xa").priority(-1).connect().await;
    bot.wait_presence(full("alice", "phone"), Some((Show::Xa, -1))).await;
    pc.set_presence(Some("chat"), 5).await;
    bot.wait_presence(full("alice", "pc"), Some((Show::Chat, 5))).await;
    pc.cut();
    bot.wait_presence(full("alice", "pc"), None).await;
    phone.logout().await;
    bot.wait_presence(full("alice", "phone"), None).await;
    assert!(!format!("{:?}", bot.seen).contains("mallory"), "{:?}", bot.seen);
}

#[tokio::test]
async fn subscriptions_grow_from_empty_rosters_with_contacts_only() {
    let ca = Ca::new();
    let options = Options { roster: Roster::Empty, ..Options::default() };
    let prosody = Prosody::start(&ca, &["alice", "bob", "mallory"], options);
    // Bob asked before the bot ever signed in; Alice is asked by it.
    let bob = Login::new(prosody.c2s, "bob").connect().await;
    bob.raw("<presence type='subscribe' to='alerts@example.test'/>").await;
    let mut bot = Bot::up(settings(prosody.c2s, &ca, &["alice", "bob"])).await;
    assert_eq!(bot.seen[..2], ["alice", "bob"].map(|c| Event::Subscription { who: jid(c), granted: false }));
    let alice = Client::login(prosody.c2s, "alice").await;
    let mut wanted = vec![jid("alice"), jid("bob")];
    while !wanted.is_empty() {
        let event = bot.wait("the grants", |e| matches!(e, Event::Subscription { granted: true, .. })).await;
        let Event::Subscription { who, .. } = event else { panic!("{event:?}") };
        wanted.retain(|w| *w != who);
    }
    for client in [&alice, &bob] {
        client
            .wait("the bot's grant", SOON, |s| {
                s.attr("type") == Some("subscribed") && s.from() == "alerts@example.test"
            })
            .await;
    }
    let mallory = Client::login(prosody.c2s, "mallory").await;
    mallory.raw("<presence type='subscribe' to='alerts@example.test'/>").await;
    mallory.wait("a denial", SOON, |s| s.attr("type") == Some("unsubscribed")).await;
    alice.raw("<presence type='unsubscribed' to='alerts@example.test'/>").await;
    bot.wait("the withdrawal", |e| *e == Event::Subscription { who: jid("alice"), granted: false }).await;
    assert!(!format!("{:?}", bot.seen).contains("mallory"), "{:?}", bot.seen);
}

#[tokio::test]
async fn a_shared_roster_group_counts_as_granted() {
    let ca = Ca::new();
    let options = Options { roster: Roster::Groups, ..Options::default() };
    let prosody = Prosody::start(&ca, &["alice"], options);
    let mut bot = Bot::up(settings(prosody.c2s, &ca, &["alice"])).await;
    assert_eq!(bot.seen[0], Event::Subscription { who: jid("alice"), granted: true });
    let _alice = Client::login(prosody.c2s, "alice").await;
    bot.wait_presence(full("alice", "pc"), Some((Show::Available, 0))).await;
}

// ---- Messages

#[tokio::test]
async fn new_contacts_are_looked_up_in_the_session_that_is_up_and_in_one_that_is_resumed() {
    let ca = Ca::new();
    let users = ["alice", "bob", "carol"];
    let prosody = Prosody::start(&ca, &users, Options { roster: Roster::Empty, ..Options::default() });
    let proxy = Proxy::start(prosody.c2s).await;
    let _bob = Client::login(prosody.c2s, "bob").await;
    let _carol = Client::login(prosody.c2s, "carol").await;
    let mut settings = settings(prosody.c2s, &ca, &["alice"]);
    settings.servers = vec![("127.0.0.1".into(), proxy.port)];
    let mut bot = Bot::up(settings).await;
    let change =
        |who: &[&str]| Change { contacts: who.iter().map(|c| jid(c)).collect(), rooms: Vec::new(), credentials: None };
    bot.handle.change(change(&["alice", "bob"]));
    bot.wait("what the roster says of bob", |e| *e == Event::Subscription { who: jid("bob"), granted: false }).await;
    bot.wait("bob's consent", |e| *e == Event::Subscription { who: jid("bob"), granted: true }).await;
    bot.wait_presence(full("bob", "pc"), Some((Show::Available, 0))).await;

    // While the connection is cut; bob is a stranger from then on.
    proxy.refuse(true);
    proxy.sever();
    bot.wait("the cut", |e| matches!(e, Event::Down { .. })).await;
    bot.handle.change(change(&["carol"]));
    proxy.refuse(false);
    bot.wait("a resumption", |e| *e == Event::Up { resumed: true }).await;
    bot.wait("carol's consent", |e| *e == Event::Subscription { who: jid("carol"), granted: true }).await;
    bot.wait_presence(full("carol", "pc"), Some((Show::Available, 0))).await;
    bot.handle.change(change(&["bob"]));
    // He was on the roster all along: no question, just a look where he is.
    bot.wait("bob again", |e| *e == Event::Subscription { who: jid("bob"), granted: true }).await;
    bot.wait_presence(full("bob", "pc"), Some((Show::Available, 0))).await;
    bot.stop().await;
}

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

// ---- Faults

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

async fn a_second_session_with_our_resource_is_reported(kind: Kind) {
    let ca = Ca::new();
    let chat = Chat::start(&ca, &["alice"], Options::on(kind));
    let mut bot = Bot::up(settings(chat.c2s, &ca, &["alice"])).await;
    let _other = Login::new(chat.c2s, BOT).resource("mailbell").connect().await;
    let event = bot.wait("the loss of our place", |e| matches!(e, Event::Down { .. })).await;
    assert!(format!("{event:?}").contains("is a second mailbell running"), "{event:?}");
    let again =
        tokio::time::timeout(Duration::from_secs(3), bot.wait("no fight for it", |e| matches!(e, Event::Up { .. })));
    assert!(again.await.is_err(), "it waits before it takes the place back");
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

// ---- Servers that misbehave

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' version='1.0' id='1' from='example.test'>";

type Script = Vec<(&'static str, String)>;

/// A server that says each of these lines once the client has sent something that contains its key.
async fn scripted(script: Script) -> u16 {
    scripted_each(vec![script]).await
}

/// The same, with a script for each connection in turn; the last one serves all that follow.
async fn scripted_each(scripts: Vec<Script>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut scripts = scripts.into_iter().peekable();
        while let Ok((stream, _)) = listener.accept().await {
            let script = scripts.next().unwrap();
            if scripts.peek().is_none() {
                scripts = vec![script.clone()].into_iter().peekable();
            }
            tokio::spawn(play(stream, script));
        }
    });
    port
}

async fn play(mut stream: TcpStream, script: Script) {
    let mut heard = Vec::new();
    for (key, answer) in script {
        let asked = loop {
            if let Some(at) = heard.windows(key.len()).position(|w| w == key.as_bytes()) {
                break heard.drain(..at + key.len()).collect::<Vec<u8>>();
            }
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk).await {
                Ok(n) if n > 0 => heard.extend_from_slice(&chunk[..n]),
                _ => return,
            }
        };
        let asked = String::from_utf8_lossy(&asked).replace('"', "'");
        let id = asked.rsplit_once(" id='").and_then(|(_, rest)| rest.split('\'').next());
        let answer = answer.replace("{id}", id.unwrap_or_default());
        if answer == CLOSE || stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
    // Silent, but there.
    let mut rest = [0; 4096];
    while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {}
}

/// As an answer: the connection ends.
const CLOSE: &str = "close";
/// An empty roster; `{id}` is the last id that was heard.
const ROSTER: &str = "<iq type='result' id='{id}'/>";

/// The login, as far as the features behind it; PLAIN, for which a script needs no arithmetic.
fn login_script() -> Script {
    let features = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
        <mechanism>PLAIN</mechanism></mechanisms></stream:features>";
    let bound = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/>\
        <session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></stream:features>";
    vec![
        ("version='1.0'", format!("{HEADER}{features}")),
        ("</auth>", "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".into()),
        ("version='1.0'", format!("{HEADER}{bound}")),
    ]
}

/// From the features to stream management.
fn session_script(enabled: &str) -> Script {
    vec![
        (
            "</iq>",
            "<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <jid>alerts@example.test/mailbell</jid></bind></iq>"
                .into(),
        ),
        ("</iq>", "<iq type='result' id='session'/>".into()),
        ("<enable", format!("<enabled xmlns='urn:xmpp:sm:3' {enabled}/>")),
    ]
}

fn scripted_settings(port: u16, ca: &Ca) -> Settings {
    Settings { tls: TlsMode::None, allow_plain: true, ..settings(port, ca, &["alice"]) }
}

async fn first_failure(settings: Settings) -> Event {
    Bot::start(settings).wait("a failure", |e| matches!(e, Event::Down { .. } | Event::Refused { .. })).await
}

#[tokio::test]
async fn nothing_behind_the_consent_to_tls_is_believed() {
    let ca = Ca::new();
    let features =
        format!("{HEADER}<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>");
    let proceed = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
    let injected = format!(
        "{proceed}{HEADER}<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
         <mechanism>PLAIN</mechanism></mechanisms></stream:features>"
    );
    let port = scripted(vec![("version='1.0'", features), ("<starttls", injected)]).await;
    let event = first_failure(Settings { allow_plain: true, ..settings(port, &ca, &[]) }).await;
    assert!(format!("{event:?}").contains("sent data in the clear behind its consent to TLS"), "{event:?}");
}

#[tokio::test]
async fn a_server_without_starttls_is_refused() {
    let ca = Ca::new();
    let features = format!(
        "{HEADER}<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
         <mechanism>SCRAM-SHA-256</mechanism></mechanisms></stream:features>"
    );
    let port = scripted(vec![("version='1.0'", features)]).await;
    let event = first_failure(settings(port, &ca, &[])).await;
    assert!(matches!(&event, Event::Refused { reason } if reason.contains("offers no STARTTLS")), "{event:?}");
}

#[tokio::test]
async fn a_server_that_hangs_is_left_in_time() {
    let ca = Ca::new();
    for tls in [TlsMode::StartTls, TlsMode::Direct] {
        let port = scripted(vec![]).await;
        let start = Instant::now();
        let limit = Duration::from_millis(500);
        let event = first_failure(Settings { tls, connect_timeout: limit, ..settings(port, &ca, &[]) }).await;
        assert!(matches!(event, Event::Down { .. }), "{event:?}");
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_server_that_cannot_prove_itself_is_not_believed() {
    let ca = Ca::new();
    let features = format!(
        "{HEADER}<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
         <mechanism>SCRAM-SHA-256</mechanism></mechanisms></stream:features>"
    );
    let port = scripted(vec![
        ("version='1.0'", features),
        ("</auth>", "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".into()),
    ])
    .await;
    let event = first_failure(Settings { tls: TlsMode::None, ..settings(port, &ca, &[]) }).await;
    assert!(matches!(&event, Event::Refused { reason } if reason.contains("may be an impostor")), "{event:?}");
}

#[tokio::test]
async fn an_impossible_acknowledgement_ends_the_session_for_good() {
    let ca = Ca::new();
    let roster = vec![("jabber:iq:roster", ROSTER.into()), ("</message>", "<a xmlns='urn:xmpp:sm:3' h='99'/>".into())];
    let first = [login_script(), session_script("resume='true' id='s1'"), roster].concat();
    // The second time it must bind anew, not resume.
    let again = vec![("jabber:iq:roster", ROSTER.into())];
    let second = [login_script(), session_script("resume='true' id='s2'"), again].concat();
    let mut bot = Bot::up(scripted_settings(scripted_each(vec![first, second]).await, &ca)).await;
    let id = bot.send(letter("alice", "x"));
    let down = bot.wait("the end", |e| matches!(e, Event::Down { .. })).await;
    assert!(format!("{down:?}").contains("acknowledged 99 stanzas; between 0 and"), "{down:?}");
    bot.wait("a new session", |e| *e == Event::Up { resumed: false }).await;
    assert_eq!((bot.lost(&id), bot.accepted(&id)), (1, 0));
    assert_eq!(bot.handle.in_flight(), 0);
}

#[tokio::test]
async fn a_refused_resumption_accepts_what_was_handled_and_loses_the_rest() {
    let ca = Ca::new();
    let gone = "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>";
    // Roster, presence, subscription, then the letters: four stanzas handled are one letter.
    for (failed, accepted) in [
        (format!("<failed xmlns='urn:xmpp:sm:3'>{gone}</failed>"), 0),
        (format!("<failed xmlns='urn:xmpp:sm:3' h='4'>{gone}<text xmlns='x'>?</text></failed>"), 1),
        ("<failed xmlns='urn:xmpp:sm:3' h='99'/>".to_owned(), 0),
    ] {
        let cut = vec![("jabber:iq:roster", ROSTER.into()), ("</message>", CLOSE.into())];
        let first = [login_script(), session_script("resume='1' id='s1'"), cut].concat();
        let refused = vec![("previd='s1'", failed)];
        let again = vec![("jabber:iq:roster", ROSTER.into())];
        let second = [login_script(), refused, session_script("resume='true' id='s2'"), again].concat();
        let mut bot = Bot::up(scripted_settings(scripted_each(vec![first, second]).await, &ca)).await;
        let ids: Vec<_> = (0..3).map(|_| bot.send(letter("alice", "x"))).collect();
        bot.wait("a new session", |e| *e == Event::Up { resumed: false }).await;
        for (n, id) in ids.iter().enumerate() {
            let handled = usize::from(n < accepted);
            assert_eq!((bot.accepted(id), bot.lost(id)), (handled, 1 - handled), "{n}: {:#?}", bot.seen);
        }
        assert_eq!(bot.handle.in_flight(), 0);
    }
}

#[tokio::test]
async fn a_resumption_first_tries_where_the_server_points() {
    let ca = Ca::new();
    let resumed = vec![("previd='s1'", "<resumed xmlns='urn:xmpp:sm:3' previd='s1' h='2'/>".into())];
    let other = scripted([login_script(), resumed].concat()).await;
    let cut = vec![("jabber:iq:roster", ROSTER.into()), ("</message>", CLOSE.into())];
    let enabled = format!("resume='true' id='s1' location='127.0.0.1:{other}'");
    let first = scripted([login_script(), session_script(&enabled), cut].concat()).await;
    let mut bot = Bot::up(scripted_settings(first, &ca)).await;
    bot.send(letter("alice", "x"));
    bot.wait("the resumption", |e| *e == Event::Up { resumed: true }).await;
}

#[tokio::test]
async fn a_server_that_sends_us_elsewhere_is_followed_once() {
    let moved = |port: u16| {
        format!(
            "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>127.0.0.1:{port}\
             </see-other-host></stream:error></stream:stream>"
        )
    };
    let ca = Ca::new();
    let up = [login_script(), session_script(""), vec![("jabber:iq:roster", ROSTER.into())]].concat();
    let home = scripted(up).await;
    let away = scripted(vec![("version='1.0'", format!("{HEADER}{}", moved(home)))]).await;
    Bot::up(scripted_settings(away, &ca)).await;

    // A session that is ended so goes on there.
    let session = [login_script(), session_script(""), vec![("jabber:iq:roster", format!("{ROSTER}{}", moved(home)))]];
    let first = scripted(session.concat()).await;
    let mut bot = Bot::up(scripted_settings(first, &ca)).await;
    bot.wait("the end", |e| matches!(e, Event::Down { .. })).await;
    bot.wait("the session elsewhere", |e| *e == Event::Up { resumed: false }).await;

    // Nobody is sent round in circles.
    let circle = scripted(vec![("version='1.0'", format!("{HEADER}{}", moved(away)))]).await;
    let event = first_failure(scripted_settings(circle, &ca)).await;
    assert_eq!(format!("{event:?}").matches("see-other-host").count(), 2, "{event:?}");
}

// ---- A forwarder that cuts and stalls

struct Forwarder {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    up: AtomicBool,
    down: AtomicBool,
    cuts: AtomicUsize,
    changed: Notify,
}

impl Forwarder {
    async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { continue };
                let (client, server) = (client.into_split(), server.into_split());
                tokio::spawn(forward(client.0, server.1, shared.clone(), |s| &s.up));
                tokio::spawn(forward(server.0, client.1, shared.clone(), |s| &s.down));
            }
        });
        Self { port, state }
    }

    /// Ends all connections.
    fn cut(&self) {
        self.state.cuts.fetch_add(1, Ordering::SeqCst);
        self.state.changed.notify_waiters();
    }

    /// Holds everything back, connections open.
    fn stall(&self) {
        self.state.down.store(true, Ordering::SeqCst);
        self.stall_upstream();
    }

    /// Holds back what goes to the server.
    fn stall_upstream(&self) {
        self.state.up.store(true, Ordering::SeqCst);
    }

    /// Lets everything through again.
    fn pass(&self) {
        self.state.up.store(false, Ordering::SeqCst);
        self.state.down.store(false, Ordering::SeqCst);
        self.state.changed.notify_waiters();
    }
}

async fn forward(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    state: Arc<State>,
    held: fn(&State) -> &AtomicBool,
) {
    let cuts = state.cuts.load(Ordering::SeqCst);
    let mut chunk = vec![0; 16_384];
    loop {
        let changed = state.changed.notified();
        if state.cuts.load(Ordering::SeqCst) != cuts {
            return;
        }
        if held(&state).load(Ordering::SeqCst) {
            changed.await;
            continue;
        }
        tokio::select! {
            () = changed => {}
            read = from.read(&mut chunk) => match read {
                Ok(n) if n > 0 => {
                    // What was read just as the stall began waits as well.
                    while held(&state).load(Ordering::SeqCst) && state.cuts.load(Ordering::SeqCst) == cuts {
                        state.changed.notified().await;
                    }
                    if to.write_all(&chunk[..n]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}
