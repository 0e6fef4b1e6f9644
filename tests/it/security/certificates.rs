//! Certificates that prove nothing: of another name, expired, not valid yet, of a stranger's authority, of no authority. For every
//! connection that carries a secret: each has to be refused before the secret, with words that say what to do.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mailbell::dispatch::Event;
use mailbell::mailbox::{self, Auth, ClientAuth, Endpoint, Protocol, Settings, TokenSource};
use mailbell::model::Secret;
use mailbell::net::TlsMode;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::mailbox_imap::settings;
use crate::support::ca::Ca;
use crate::support::dovecot::Dovecot;
use crate::support::oauth::acceptor;
use crate::support::prosody::{Options, Prosody};
use crate::xmpp_session;

/// What is wrong, the server's certificate, what the client trusts, and words of the error.
struct Bad {
    what: &'static str,
    ca: Ca,
    trusted: Option<PathBuf>,
    words: &'static str,
}

/// Every kind; `theirs` has to live as long as what is trusted.
fn all(theirs: &Ca) -> Vec<Bad> {
    let of = |change: fn(&mut rcgen::CertificateParams)| Ca::with(change);
    let by_own = |what, ca: Ca, words| Bad { what, trusted: Some(ca.ca()), ca, words };
    let name = of(|cert| {
        cert.subject_alt_names = vec![rcgen::SanType::DnsName("other.test".try_into().unwrap())];
    });
    let old = of(|cert| {
        cert.not_before = rcgen::date_time_ymd(2020, 1, 1);
        cert.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let early = of(|cert| {
        cert.not_before = rcgen::date_time_ymd(2090, 1, 1);
        cert.not_after = rcgen::date_time_ymd(2091, 1, 1);
    });
    let alone = of(|_| ());
    let key = rcgen::KeyPair::generate().unwrap();
    let names = ["example.test", "localhost", "127.0.0.1"].map(str::to_owned);
    let own = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    std::fs::write(alone.cert(), own.pem()).unwrap();
    std::fs::write(alone.key(), key.serialize_pem()).unwrap();
    vec![
        by_own("another name", name, "for another name"),
        by_own("expired", old, "has expired"),
        by_own("not valid yet", early, "not valid yet"),
        Bad { what: "an unknown authority", ca: Ca::new(), trusted: None, words: "authority" },
        // Throw-away authorities all have one name, as an authority that was made anew under its old one.
        Bad { what: "a stranger's authority", ca: Ca::new(), trusted: Some(theirs.ca()), words: "authority" },
        Bad { what: "self-signed", trusted: Some(theirs.ca()), ca: alone, words: "authority" },
    ]
}

#[tokio::test]
async fn no_mailbox_server_gets_a_password_by_such_a_certificate() {
    let theirs = Ca::new();
    for Bad { what, ca, trusted, words } in all(&theirs) {
        let dovecot = Dovecot::start(&ca, &["alerts"]);
        for (protocol, port, tls) in [
            (Protocol::Imap, dovecot.imaps, TlsMode::Direct),
            (Protocol::Imap, dovecot.imap, TlsMode::StartTls),
            (Protocol::Pop3, dovecot.pop3s, TlsMode::Direct),
            (Protocol::Pop3, dovecot.pop3, TlsMode::StartTls),
        ] {
            let with = Settings { ca_file: trusted.clone(), ..settings(protocol, port, tls, None) };
            let err = mailbox::open(with).unwrap().list(None).await.expect_err(what);
            assert!(err.to_string().contains(words), "{protocol:?} {tls:?}, {what}: {err}");
            assert!(err.failure != mailbox::Failure::Transient, "{what}: {err}");
        }
        let log = dovecot.log();
        assert!(!log.contains("Logged in") && !log.contains("auth failed"), "{what}: {log}");
    }
}

#[tokio::test]
async fn no_chat_server_gets_a_password_by_such_a_certificate() {
    let theirs = Ca::new();
    for Bad { what, ca, trusted, words } in all(&theirs) {
        let prosody = Prosody::start(&ca, &["alice"], Options::default());
        for (tls, port) in [(TlsMode::StartTls, prosody.c2s), (TlsMode::Direct, prosody.c2s_tls)] {
            let with = xmpp_session::settings(port, &ca, &["alice"]);
            let event =
                xmpp_session::first_failure(mailbell::xmpp::Settings { tls, ca_file: trusted.clone(), ..with }).await;
            let Event::Refused { reason } = &event else { panic!("{what}: {event:?}") };
            assert!(reason.contains(words), "{tls:?}, {what}: {reason}");
        }
    }
}

/// Something with TLS that counts what it hears inside.
async fn listening(ca: &Ca) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(AtomicUsize::new(0));
    let (count, acceptor) = (heard.clone(), acceptor(ca));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut inside) = acceptor.accept(stream).await else { continue };
            let mut bytes = [0; 1024];
            if let Ok(n) = inside.read(&mut bytes).await {
                count.fetch_add(n, Ordering::SeqCst);
            }
        }
    });
    (port, heard)
}

#[tokio::test]
async fn no_token_endpoint_gets_a_secret_by_such_a_certificate() {
    let theirs = Ca::new();
    let dovecot = Dovecot::start(&theirs, &["alerts"]);
    for Bad { what, ca, trusted, words } in all(&theirs) {
        let (port, heard) = listening(&ca).await;
        let endpoint = Endpoint {
            token_url: format!("https://127.0.0.1:{port}/token"),
            client_id: "mailbell".into(),
            client_secret: Some(Secret::new("canary".into())),
            client_auth: ClientAuth::Basic,
            refresh_token: None,
            scope: None,
        };
        let auth = Auth::Xoauth2(TokenSource::Endpoint(Box::new(endpoint)));
        let plain = settings(Protocol::Imap, dovecot.imap, TlsMode::None, None);
        let err =
            mailbox::open(Settings { auth, ca_file: trusted, ..plain }).unwrap().list(None).await.expect_err(what);
        assert!(err.to_string().contains(words), "{what}: {err}");
        assert!(!err.to_string().contains("canary"), "{what}: {err}");
        assert_eq!(heard.load(Ordering::SeqCst), 0, "{what}");
    }
}

#[tokio::test]
async fn no_mail_goes_to_a_server_with_such_a_certificate() {
    let theirs = Ca::new();
    for Bad { what, ca, trusted, words } in all(&theirs) {
        let (port, heard) = listening(&ca).await;
        let said = tokio::task::spawn_blocking(move || mailed(port, trusted.as_deref())).await.unwrap();
        assert!(said.contains(words) && said.contains("certificate was refused"), "{what}: {said}");
        assert_eq!(heard.load(Ordering::SeqCst), 0, "{what}");
    }
}

fn mailed(port: u16, ca: Option<&Path>) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailbell"));
    command.args(["send", "--to", "inbox@example.test", "--title", "T", "--text", "x", "--tls", "direct", "--smtp"]);
    command.arg(format!("localhost:{port}"));
    ca.iter().for_each(|ca| {
        command.arg("--ca-file").arg(ca);
    });
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}
