//! The XMPP session against a real Prosody, and against servers that misbehave.

mod archive;
mod forwarder;
mod resumption;
mod scripted;
mod signing_in;
mod stanzas;
mod subscriptions;

use std::time::{Duration, Instant};

use mailbell::dispatch::{Event, Events, Letter, Messenger};
use mailbell::model::{BareJid, Jid, Secret, Show, StanzaId};
use mailbell::net::TlsMode;
use mailbell::xmpp::{self, Handle, Settings};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::DOMAIN;
use crate::support::ca::Ca;
use crate::support::chat::BOT;

/// For what takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(30);

pub fn settings(port: u16, ca: &Ca, contacts: &[&str]) -> Settings {
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

/// Why no session comes up.
pub async fn first_failure(settings: Settings) -> Event {
    Bot::start(settings).wait("a failure", |e| matches!(e, Event::Down { .. } | Event::Refused { .. })).await
}

fn jid(user: &str) -> BareJid {
    format!("{user}@{DOMAIN}").parse().unwrap()
}

fn full(user: &str, resource: &str) -> Jid {
    format!("{user}@{DOMAIN}/{resource}").parse().unwrap()
}

fn letter(to: &str, body: &str) -> Letter {
    Letter { to: jid(to), stanza_id: StanzaId::random(), body: body.into(), tracked: true, first_sent: None, copy: 1 }
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
