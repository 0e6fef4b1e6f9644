//! Servers that misbehave, by a script.

use std::time::{Duration, Instant};

use mailbell::dispatch::{Event, Messenger};
use mailbell::net::TlsMode;
use mailbell::xmpp::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Bot, first_failure, letter, settings};
use crate::support::ca::Ca;

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' version='1.0' id='1' from='example.test'>";

pub(super) type Script = Vec<(&'static str, String)>;

/// A server that says each of these lines once the client has sent something that contains its key.
pub(super) async fn scripted(script: Script) -> u16 {
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
pub(super) const ROSTER: &str = "<iq type='result' id='{id}'/>";

/// The login, as far as the features behind it; PLAIN, for which a script needs no arithmetic.
pub(super) fn login_script() -> Script {
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
pub(super) fn session_script(enabled: &str) -> Script {
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

pub(super) fn scripted_settings(port: u16, ca: &Ca) -> Settings {
    Settings { tls: TlsMode::None, allow_plain: true, ..settings(port, ca, &["alice"]) }
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
