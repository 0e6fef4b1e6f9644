//! XOAUTH2 over IMAP and POP3 against a real Dovecot, which asks the token endpoint of the test about each token.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use mailbell::mailbox::{self, Auth, ClientAuth, Endpoint, Failure, Mailbox, Protocol, Settings, TokenSource};
use mailbell::model::Secret;
use mailbell::net::TlsMode;
use tempfile::{NamedTempFile, TempDir};

use crate::mailbox_imap::{assert_failure, mail, settings, subjects};
use crate::support::ca::Ca;
use crate::support::dovecot::Dovecot;
use crate::support::lab::{Lab, OPERATORS, critical};
use crate::support::mailbell::Mailbell;
use crate::support::oauth::{self, CLIENT, CLIENT_SECRET, Manner, Oauth, REFRESH, SCOPE};

const BOTH: [Protocol; 2] = [Protocol::Imap, Protocol::Pop3];

/// Dovecot with one mail, and whom it asks.
struct Bed {
    oauth: Oauth,
    dovecot: Dovecot,
    _settings: NamedTempFile,
}

impl Bed {
    async fn start(ca: &Ca) -> Self {
        Self::with(ca, Oauth::start("alerts").await, "")
    }

    /// Without the penalty for failed logins, which would make the next one wait.
    fn with(ca: &Ca, oauth: Oauth, extra: &str) -> Self {
        let settings = NamedTempFile::new().unwrap();
        std::fs::write(settings.path(), oauth.dovecot_settings()).unwrap();
        std::fs::set_permissions(settings.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        let passdb = format!(
            "auth_mechanisms = plain login xoauth2\nservice anvil {{\n  unix_listener anvil-auth-penalty {{\n    mode = 0\n  }}\n}}\npassdb {{\n  driver = oauth2\n  mechanisms = xoauth2\n  args = {}\n}}\n{extra}",
            settings.path().display()
        );
        let dovecot = Dovecot::start_with(ca, &[], &passdb);
        dovecot.deliver("alerts", &mail(1, 100));
        Self { oauth, dovecot, _settings: settings }
    }

    fn open(&self, protocol: Protocol, source: TokenSource) -> Box<dyn Mailbox> {
        mailbox::open(self.settings(protocol, source)).unwrap()
    }

    fn settings(&self, protocol: Protocol, source: TokenSource) -> Settings {
        let port = if protocol == Protocol::Imap { self.dovecot.imap } else { self.dovecot.pop3 };
        Settings { auth: Auth::Xoauth2(source), ..settings(protocol, port, TlsMode::None, None) }
    }

    fn client(&self) -> Endpoint {
        Endpoint {
            token_url: self.oauth.token_url(),
            client_id: CLIENT.into(),
            client_secret: Some(Secret::new(CLIENT_SECRET.into())),
            client_auth: ClientAuth::Body,
            refresh_token: None,
            scope: Some(SCOPE.into()),
        }
    }

    /// A public client with a refresh token.
    fn refresh(&self) -> Endpoint {
        Endpoint { client_secret: None, refresh_token: Some(Secret::new(REFRESH.into())), ..self.client() }
    }

    /// What was asked for so far.
    fn grants(&self) -> Vec<String> {
        self.oauth.requests().iter().map(|(body, _)| oauth::form(body)["grant_type"].clone()).collect()
    }
}

fn from(endpoint: Endpoint) -> TokenSource {
    TokenSource::Endpoint(Box::new(endpoint))
}

/// The next login is a new session.
async fn again(mailbox: &mut dyn Mailbox) -> Vec<String> {
    mailbox.close().await;
    subjects(mailbox).await
}

#[tokio::test]
async fn the_clients_own_credentials_and_a_refresh_token_log_in() {
    let ca = Ca::new();
    let bed = Bed::start(&ca).await;
    for protocol in BOTH {
        let basic = Endpoint { client_auth: ClientAuth::Basic, ..bed.client() };
        for (endpoint, grant, id) in [
            (bed.client(), "client_credentials", Some(CLIENT)),
            (basic, "client_credentials", None),
            (bed.refresh(), "refresh_token", Some(CLIENT)),
        ] {
            let asked = bed.oauth.requests().len();
            let mut mailbox = bed.open(protocol, from(endpoint));
            assert_eq!(subjects(mailbox.as_mut()).await, ["mail 1"], "{protocol:?} {grant}");
            assert_eq!(again(mailbox.as_mut()).await, ["mail 1"], "{protocol:?} {grant}");
            let requests = bed.oauth.requests();
            let [(body, authorization)] = &requests[asked..] else { panic!("one token for both: {requests:?}") };
            let form = oauth::form(body);
            assert_eq!((form["grant_type"].as_str(), form["scope"].as_str()), (grant, SCOPE));
            assert_eq!((form.get("client_id").map(String::as_str), authorization.is_none()), (id, id.is_some()));
        }
    }
    assert_eq!(bed.oauth.refused(), 0);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires_and_no_login_fails() {
    let ca = Ca::new();
    let bed = Bed::start(&ca).await;
    // Good for an hour in truth, so that only the endpoint's word counts.
    bed.oauth.set(Manner { says: Some(1), ..Manner::default() });
    for protocol in BOTH {
        let asked = bed.oauth.requests().len();
        let mut mailbox = bed.open(protocol, from(bed.client()));
        let start = Instant::now();
        while bed.oauth.requests().len() < asked + 3 {
            assert_eq!(again(mailbox.as_mut()).await, ["mail 1"]);
            assert!(start.elapsed() < Duration::from_secs(30));
        }
        // Two lives less a tenth each.
        assert!(start.elapsed() >= Duration::from_millis(1800), "{:?}", start.elapsed());
    }
    assert_eq!(bed.oauth.refused(), 0, "no login failed");
}

#[tokio::test]
async fn a_token_that_was_revoked_is_replaced_at_once() {
    let ca = Ca::new();
    let bed = Bed::start(&ca).await;
    for (protocol, refused) in [(Protocol::Imap, 1), (Protocol::Pop3, 2)] {
        let mut mailbox = bed.open(protocol, from(bed.refresh()));
        assert_eq!(subjects(mailbox.as_mut()).await, ["mail 1"]);
        bed.oauth.revoke_all();
        assert_eq!(again(mailbox.as_mut()).await, ["mail 1"], "{protocol:?}");
        assert_eq!(bed.oauth.refused(), refused, "{protocol:?}: one login failed");
    }
}

#[tokio::test]
async fn a_token_that_the_mail_server_refuses_is_told_and_not_tried_twice() {
    let ca = Ca::new();
    let bed = Bed::start(&ca).await;
    bed.oauth.set(Manner { useless: true, ..Manner::default() });
    for (protocol, refused) in [(Protocol::Imap, 1), (Protocol::Pop3, 3)] {
        let mut mailbox = bed.open(protocol, from(bed.client()));
        let err = mailbox.list(None).await.unwrap_err();
        assert_eq!((err.failure, bed.oauth.refused()), (Failure::Auth, refused), "{protocol:?}: {err}");
        let told = err.to_string();
        assert!(told.contains("login as \"alerts\" by XOAUTH2 refused: "), "{told}");
        assert!(told.contains("(status ") && told.contains("check user, and that the token is one for"), "{told}");
        assert!(!told.contains("ya29"), "{told}");
        // The next attempt, minutes later, asks for another one.
        let asked = bed.oauth.requests().len();
        assert_failure(mailbox.list(None).await, Failure::Auth, "XOAUTH2");
        assert_eq!((bed.oauth.requests().len(), bed.oauth.refused()), (asked + 1, refused + 1));
    }
}

#[tokio::test]
async fn what_the_endpoint_says_decides_what_follows() {
    let ca = Ca::new();
    let bed = Bed::start(&ca).await;
    let html = "<html>busy</html>".to_owned();
    let refusal = |code: &str| format!("{{\"error\":\"{code}\"}}");
    for protocol in BOTH {
        for (status, body, failure, words) in [
            (503, html.clone(), Failure::Transient, "the endpoint answered 503"),
            (500, refusal("server_error"), Failure::Transient, "the endpoint answered 500"),
            (429, String::new(), Failure::RateLimited, "429"),
            (400, refusal("temporarily_unavailable"), Failure::Transient, "temporarily_unavailable"),
            (400, refusal("invalid_grant"), Failure::Auth, "the refresh token is refused: sign in again"),
            (401, refusal("invalid_client"), Failure::Auth, "check client_id and client_secret"),
            (400, refusal("invalid_scope"), Failure::Permanent, "check scope"),
            (404, html.clone(), Failure::Permanent, "the endpoint answered 404 Not Found; check token_url"),
            (302, html.clone(), Failure::Permanent, "check token_url"),
            (200, html.clone(), Failure::Permanent, "check token_url"),
            (200, "{\"token\":\"ya29\"}".into(), Failure::Permanent, "not that of a token endpoint"),
            (200, format!("{{\"access_token\":\"{}\"}}", "x".repeat(300_000)), Failure::Transient, "cannot be taken"),
        ] {
            bed.oauth.set(Manner { instead: Some((status, body)), ..Manner::default() });
            let mut mailbox = bed.open(protocol, from(bed.refresh()));
            let err = mailbox.list(None).await.unwrap_err();
            assert_eq!(err.failure, failure, "{status}: {err}");
            let told = err.to_string();
            assert!(told.starts_with(&bed.oauth.token_url()) && told.contains(words), "{status}: {told}");
            assert!(!told.contains("ya29") && !told.contains(REFRESH), "{told}");
            // It recovers by itself.
            bed.oauth.set(Manner::default());
            assert_eq!(subjects(mailbox.as_mut()).await, ["mail 1"], "{status}");
        }
    }
    assert_eq!(bed.oauth.refused(), 0, "nothing was tried at the mail server");
}

#[tokio::test]
async fn an_endpoint_that_is_down_or_silent_is_transient_and_not_asked_while_the_token_is_good() {
    let ca = Ca::new();
    let bed = Bed::start(&ca).await;
    let gone =
        Endpoint { token_url: format!("http://127.0.0.1:{}/token", crate::support::free_port()), ..bed.client() };
    for protocol in BOTH {
        let refused = bed.open(protocol, from(gone.clone())).list(None).await;
        assert_failure(refused, Failure::Transient, "cannot connect to 127.0.0.1");
    }
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let endpoint = Endpoint { token_url: format!("http://127.0.0.1:{port}/token"), ..bed.client() };
    let quick = Settings { timeout: Duration::from_millis(300), ..bed.settings(Protocol::Imap, from(endpoint)) };
    assert_failure(mailbox::open(quick).unwrap().list(None).await, Failure::Transient, "no answer within 0.3 s");

    let mut mailbox = bed.open(Protocol::Imap, from(bed.client()));
    assert_eq!(subjects(mailbox.as_mut()).await, ["mail 1"]);
    bed.oauth.set(Manner { instead: Some((503, String::new())), ..Manner::default() });
    assert_eq!(again(mailbox.as_mut()).await, ["mail 1"]);
}

#[tokio::test]
async fn a_refresh_token_that_is_replaced_each_time_is_kept_for_the_next() {
    let ca = Ca::new();
    let bed = Bed::start(&ca).await;
    bed.oauth.set(Manner { rotates: true, says: Some(0), ..Manner::default() });
    let mut mailbox = bed.open(Protocol::Pop3, from(bed.refresh()));
    for _ in 0..3 {
        assert_eq!(again(mailbox.as_mut()).await, ["mail 1"]);
    }
    let used: Vec<_> =
        bed.oauth.requests().iter().map(|(body, _)| oauth::form(body)["refresh_token"].clone()).collect();
    assert_eq!(used, [REFRESH, "refresh-1", "refresh-2"]);
    assert_eq!(bed.grants(), ["refresh_token"; 3]);
    // What was replaced is of no use any more: not to another process either.
    let err = bed.open(Protocol::Pop3, from(bed.refresh())).list(None).await.unwrap_err();
    assert_eq!(err.failure, Failure::Auth);
    assert!(err.to_string().contains("invalid_grant"), "{err}");
}

#[tokio::test]
async fn an_endpoint_behind_tls_is_checked_with_the_mailboxs_authorities() {
    let ca = Ca::new();
    let bed = Bed::start(&ca).await;
    let secure = Oauth::start_tls("alerts", &ca).await;
    let endpoint = Endpoint { token_url: secure.token_url(), ..bed.client() };
    let strange = bed.settings(Protocol::Imap, from(endpoint));
    assert_failure(mailbox::open(strange.clone()).unwrap().list(None).await, Failure::Permanent, "ca_file");
    assert!(secure.requests().is_empty(), "nothing was told to a stranger");
    let known = Settings { ca_file: Some(ca.ca()), ..strange };
    let refused = mailbox::open(known).unwrap().list(None).await;
    // Its tokens are not those that Dovecot's endpoint knows: that they are asked for is enough.
    assert_failure(refused, Failure::Auth, "XOAUTH2");
    assert_eq!(secure.requests().len(), 1);
}

/// A program that counts its runs.
fn program(dir: &TempDir, prints: &str) -> TokenSource {
    let path = dir.path().join("token");
    let runs = dir.path().join("runs");
    std::fs::write(&path, format!("#!/bin/sh\necho \"$1\" >> {}\n{prints}\n", runs.display())).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    TokenSource::Command(vec![path.to_str().unwrap().to_owned(), "two words; $(no shell)".into()])
}

fn runs(dir: &TempDir) -> usize {
    std::fs::read_to_string(dir.path().join("runs")).map_or(0, |text| {
        assert!(text.lines().all(|line| line == "two words; $(no shell)"), "{text}");
        text.lines().count()
    })
}

#[tokio::test]
async fn a_program_gives_the_token_for_each_login_or_for_as_long_as_it_says() {
    let ca = Ca::new();
    let bed = Bed::start(&ca).await;
    for protocol in BOTH {
        let token = bed.oauth.issue();
        let json = format!("echo '{{\"access_token\":\"{token}\",\"expires_in\":3600}}'");
        for (prints, want) in [(format!("echo {token}; echo more"), 3), (json, 1)] {
            let dir = TempDir::new().unwrap();
            let mut mailbox = bed.open(protocol, program(&dir, &prints));
            for _ in 0..3 {
                assert_eq!(again(mailbox.as_mut()).await, ["mail 1"]);
            }
            assert_eq!(runs(&dir), want, "{protocol:?}: {prints}");
        }
        let dir = TempDir::new().unwrap();
        let failing = bed.open(protocol, program(&dir, "echo 'no network' >&2; exit 1")).list(None).await;
        assert_failure(failing, Failure::Transient, "and says: no network");
        let wrong = bed.open(protocol, program(&dir, "echo ya29.wrong")).list(None).await;
        assert_failure(wrong, Failure::Auth, "XOAUTH2 refused");
    }
    assert!(bed.oauth.requests().is_empty());
}

#[tokio::test]
async fn tokens_longer_than_a_command_line_and_servers_without_sasl_ir() {
    let ca = Ca::new();
    // Without SASL-IR the token follows the server's `+`.
    let bed = Bed::with(&ca, Oauth::start("alerts").await, "imap_capability = IMAP4rev1 UIDPLUS");
    let mut mailbox = bed.open(Protocol::Imap, from(bed.client()));
    assert_eq!(subjects(mailbox.as_mut()).await, ["mail 1"]);
    let dir = TempDir::new().unwrap();
    for protocol in BOTH {
        // As long as those of real providers, and unknown: the server reads it to its end and refuses it.
        let long = program(&dir, "printf 'x%.0s' $(seq 3000)");
        let err = bed.open(protocol, long).list(None).await.unwrap_err();
        assert_eq!(err.failure, Failure::Auth, "{err}");
        assert!(!err.to_string().contains("xxxx"), "{err}");
    }
}

#[tokio::test]
async fn a_server_without_xoauth2_gets_no_token() {
    let ca = Ca::new();
    let oauth = Oauth::start("alerts").await;
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    let bed = Bed { oauth, dovecot, _settings: NamedTempFile::new().unwrap() };
    for protocol in BOTH {
        let refused = bed.open(protocol, from(bed.client())).list(None).await;
        assert_failure(refused, Failure::Permanent, "the server offers no XOAUTH2 on this connection");
    }
    let far = Settings { host: "192.0.2.1".into(), ..bed.settings(Protocol::Imap, from(bed.client())) };
    assert_failure(mailbox::open(far).unwrap().list(None).await, Failure::Permanent, "is not on this machine");
}

#[tokio::test]
async fn a_refused_refresh_token_is_told_to_the_operators_and_a_good_one_brings_the_alerts() {
    let lab = Lab::new(&["alice"]);
    let bed = Bed::start(&lab.ca).await;
    let alice = lab.online("alice").await;
    for (protocol, port) in [("imap", bed.dovecot.imaps), ("pop3", bed.dovecot.pop3s)] {
        bed.oauth.set(Manner { instead: Some((400, "{\"error\":\"invalid_grant\"}".into())), ..Manner::default() });
        let mailbox = format!(
            "[[mailbox]]\nname = \"{protocol}\"\nprotocol = \"{protocol}\"\nserver = \"127.0.0.1:{port}\"\ntls = \"direct\"\n\
             ca_file = \"{}\"\nuser = \"alerts\"\nauth = \"xoauth2\"\npoll = \"1s\"\n[mailbox.oauth2]\ntoken_url = \"{}\"\n\
             client_id = \"{CLIENT}\"\nrefresh_token = \"{REFRESH}\"\n",
            lab.ca.ca().display(),
            bed.oauth.token_url()
        );
        let mut mailbell = Mailbell::run(&(lab.base() + &mailbox + &lab.everybody("ops") + OPERATORS));
        alice.gets(&format!("mailbox {protocol} cannot be read: {}: no access token", bed.oauth.token_url())).await;
        bed.oauth.set(Manner::default());
        // Instead of waiting for the minutes of the backoff.
        mailbell.signal("USR1");
        let title = format!("Over {protocol}");
        bed.dovecot.deliver("alerts", critical(&title, &title).as_bytes());
        alice.gets(&title).await;
        let log = mailbell.log();
        assert!(log.contains("the refresh token is refused: sign in again"), "{log}");
        assert!(!log.contains(REFRESH) && !log.contains("ya29"), "{log}");
        mailbell.stop();
    }
}
