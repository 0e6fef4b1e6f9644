//! What an XMPP server says, from the first byte of a stream to its end, and strangers through it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use mailbell::dispatch::{Event, Events, Letter, Messenger};
use mailbell::model::{Doubt, Epoch, Secret, Show, StanzaId, Timestamp};
use mailbell::net::TlsMode;
use mailbell::xmpp::{self, Handle, Room, Settings};
use tokio_util::sync::CancellationToken;

use super::assert_told_well;
use super::peer::{End, Peer, block_on, within};

/// How long a session is watched.
const WATCHED: Duration = Duration::from_secs(300);
/// Letters that are sent each time a session is up.
const LETTERS: usize = 3;
const WINDOW: usize = 4;
/// A letter of a former process.
const OF_OLD: &str = "letter-of-old";

/// The first three bytes choose, each by its value: the end of a connection, TLS, size of reads. The rest is the server's
/// script.
pub fn run(data: &[u8]) {
    let Some((&[end, tls, chunk], script)) = data.split_first_chunk::<3>() else { return };
    let end = [End::Close, End::Silence, End::Drip][usize::from(end) % 3];
    let tls = [TlsMode::None, TlsMode::StartTls, TlsMode::Direct][usize::from(tls) % 3];
    let chunk = [usize::MAX, 1, 7, 100][usize::from(chunk) % 4];
    block_on(session(Peer::new(script, end, chunk), tls));
}

fn settings(tls: TlsMode) -> Settings {
    Settings {
        jid: "alerts@example.org".parse().expect("a JID"),
        password: Secret::new("pw-alerts".to_owned()),
        servers: vec![("xmpp.example.org".to_owned(), 5222)],
        tls,
        allow_plaintext: false,
        ca_file: None,
        tls_name: None,
        allow_plain: true,
        show: Show::Dnd,
        status: "Alert gateway".to_owned(),
        resource: "mailbell".to_owned(),
        window: WINDOW,
        ping_after: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(30),
        contacts: ["alice@example.org", "bob@example.org"].map(|jid| jid.parse().expect("a JID")).into(),
        rooms: vec![Room {
            jid: "room@rooms.example.org".parse().expect("a JID"),
            nick: "mailbell".to_owned(),
            password: None,
        }],
    }
}

async fn session(peer: Peer, tls: TlsMode) {
    let cancel = CancellationToken::new();
    let (handle, mut events, task) = xmpp::start_over(settings(tls), peer.road(), cancel.clone());
    let mut watch = Watch::default();
    let _ = tokio::time::timeout(WATCHED, watch.all(&mut events, &handle, &peer)).await;
    cancel.cancel();
    let ended = async {
        // Dispatch goes on taking what is told.
        watch.all(&mut events, &handle, &peer).await;
        task.await
    };
    within("the end", Duration::from_secs(10), ended).await.expect("the task ends in order");
    watch.ended(&handle);
    let heard = String::from_utf8(peer.heard()).expect("what is written is UTF-8");
    let odd = heard.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\u{7f}'..='\u{9f}'));
    assert_eq!(odd, None, "XML cannot carry that");
}

/// What was told so far.
#[derive(Default)]
struct Watch {
    /// Letters that were taken, and how often each was told of as accepted or lost.
    letters: HashMap<String, usize>,
    ups: usize,
    /// The look-ups that were answered.
    looked_up: HashSet<usize>,
}

impl Watch {
    async fn all(&mut self, events: &mut Events, handle: &Handle, peer: &Peer) {
        while let Some(event) = events.recv().await {
            self.one(event, handle);
            assert!(self.ups <= peer.begun(), "more sessions than connections");
            assert!(handle.in_flight() <= WINDOW, "{} letters in flight", handle.in_flight());
            while self.letters.len() < self.ups * LETTERS && handle.room() > 0 {
                self.send(handle);
            }
        }
    }

    /// Asks what became of the letters so far, and of one more.
    fn look_up(&mut self, handle: &Handle) {
        let asked = self.letters.keys().map(String::as_str).chain([OF_OLD]);
        let doubts = asked.map(|id| Doubt {
            to: "alice@example.org".parse().expect("a JID"),
            stanza_id: StanzaId(id.to_owned()),
            copy: 1,
            since: Timestamp::UNIX_EPOCH,
            after: None,
        });
        handle.look_up(Epoch(self.ups as i64), doubts.collect());
    }

    fn send(&mut self, handle: &Handle) {
        let id = format!("letter-{}", self.letters.len());
        let letter = Letter {
            to: "alice@example.org".parse().expect("a JID"),
            stanza_id: StanzaId(id.clone()),
            body: "CRITICAL: UPS 7 on battery\nInput < 200 V & \u{1b}falling.".to_owned(),
            tracked: true,
            first_sent: None,
            copy: 1,
        };
        assert!(handle.send(letter).is_ok(), "there was room");
        self.letters.insert(id, 0);
    }

    fn one(&mut self, event: Event, handle: &Handle) {
        match event {
            Event::Up { .. } => {
                self.ups += 1;
                self.look_up(handle);
            }
            Event::LookedUp { epoch: Epoch(epoch), found, trouble } => {
                assert!(
                    usize::try_from(epoch).is_ok_and(|n| n <= self.ups && self.looked_up.insert(n)),
                    "answered once"
                );
                found.iter().for_each(|id| {
                    assert!(id.0 == OF_OLD || self.letters.contains_key(&id.0), "{id} was not asked for")
                });
                trouble.iter().for_each(|trouble| assert_told_well("a reason", trouble, 2500));
            }
            Event::Down { reason } | Event::Refused { reason } => assert_told_well("a reason", &reason, 2500),
            Event::Accepted { stanzas } | Event::Lost { stanzas } => {
                for StanzaId(id) in stanzas {
                    let told = self.letters.get_mut(&id).expect("only what was sent is accepted or lost");
                    *told += 1;
                    assert_eq!(*told, 1, "{id} is told of twice");
                }
            }
            Event::Subscription { who, .. } => assert!(settings(TlsMode::None).contacts.contains(&who), "{who}"),
            Event::Presence { who, .. } => assert!(settings(TlsMode::None).contacts.contains(&who.to_bare()), "{who}"),
            Event::Chat { from, body } => {
                assert!(settings(TlsMode::None).contacts.contains(&from.to_bare()), "{from}");
                assert!(!body.trim().is_empty() && body.len() <= 64 * 1024, "{} bytes", body.len());
            }
            Event::Room { room, .. } => assert_eq!(room, settings(TlsMode::None).rooms[0].jid),
            Event::Unreflected { stanzas } => panic!("{stanzas:?}: nothing was posted to a room"),
            Event::Receipt { stanza_id: StanzaId(id), .. } => assert!(!id.is_empty() && id.len() <= 2000),
            Event::Bounced(bounce) => {
                assert!(bounce.condition.len() <= 64 && bounce.text.is_none_or(|text| text.len() <= 1000));
            }
        }
    }

    /// What is in flight was told of neither way; all else was.
    fn ended(&self, handle: &Handle) {
        let untold = self.letters.values().filter(|told| **told == 0).count();
        assert_eq!(handle.in_flight(), untold, "of {} letters", self.letters.len());
    }
}
