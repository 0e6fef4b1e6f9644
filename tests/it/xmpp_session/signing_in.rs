//! Signing in: servers, certificates, passwords, and who else has our place.

use std::time::Duration;

use mailbell::dispatch::{Event, Messenger};
use mailbell::model::{Secret, Show};
use mailbell::net::TlsMode;
use mailbell::xmpp::{self, Settings, StartError};
use tokio_util::sync::CancellationToken;

use super::{Bot, SOON, full, letter, settings};
use crate::support::ca::Ca;
use crate::support::chat::{Auth, BOT, Chat, Kind, Options};
use crate::support::client::{Client, Login};
use crate::support::prosody::Prosody;

on_each_server!(signs_in_by_starttls_and_by_direct_tls, a_second_session_with_our_resource_is_reported);

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
