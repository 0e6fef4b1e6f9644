//! Passwords, certificates, and servers that are away.

use std::time::{Duration, Instant};

use mailbell::mailbox::{self, After, Failure, Protocol, Settings};
use mailbell::net::TlsMode;

use super::{assert_failure, cursors, imap, mail, password, settings};
use crate::support::ca::Ca;
use crate::support::dovecot::Dovecot;
use crate::support::proxy::Proxy;

#[tokio::test]
async fn a_refused_login_is_told_at_once_and_no_password_is_shown() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    let wrong = Settings { auth: password("wr0ng-pass"), ..imap(&dovecot) };
    let mut mailbox = mailbox::open(wrong).unwrap();
    let start = Instant::now();
    let err = mailbox.list(None).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(err.failure, Failure::Auth);
    assert!(err.to_string().contains("check user and password"), "{err}");
    assert!(!err.to_string().contains("wr0ng-pass"), "{err}");
}

#[tokio::test]
async fn passwords_may_hold_what_they_like() {
    let ca = Ca::new();
    let accounts = [("quotes", "a\"b\\c {5}"), ("umlaut", "grüße-日本"), ("spaces", " x  y ")];
    let login_only = "imap_capability = IMAP4rev1\nauth_mechanisms = plain login";
    for extra in ["", login_only] {
        let dovecot = Dovecot::start_with(&ca, &accounts, extra);
        for (user, secret) in accounts {
            let s = Settings { user: user.into(), auth: password(secret), ..imap(&dovecot) };
            let listed = mailbox::open(s).unwrap().list(None).await;
            assert!(listed.is_ok(), "{user}: {listed:?}");
        }
    }
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    let s = Settings { auth: password("pw-alerts\r\n"), ..imap(&dovecot) };
    assert_failure(mailbox::open(s).map(|_| ()), Failure::Permanent, "line break");
}

#[tokio::test]
async fn certificates_that_do_not_fit_are_refused_with_the_fix() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    let tls = |ca: Option<&Ca>| settings(Protocol::Imap, dovecot.imaps, TlsMode::Direct, ca);
    let mut strange = mailbox::open(tls(None)).unwrap();
    assert_failure(strange.list(None).await, Failure::Permanent, "give the authority's certificate as ca_file");
    let mut misnamed = mailbox::open(Settings { tls_name: Some("other.test".into()), ..tls(Some(&ca)) }).unwrap();
    assert_failure(misnamed.list(None).await, Failure::Permanent, "set tls_name to the name in the certificate");
    let old = Ca::with(|cert| {
        cert.not_before = rcgen::date_time_ymd(2020, 1, 1);
        cert.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let expired = Dovecot::start(&old, &["alerts"]);
    for (port, tls) in [(expired.imaps, TlsMode::Direct), (expired.imap, TlsMode::StartTls)] {
        let mut mailbox = mailbox::open(settings(Protocol::Imap, port, tls, Some(&old))).unwrap();
        assert_failure(mailbox.list(None).await, Failure::Permanent, "expired; renew it");
    }
    let mut swapped = mailbox::open(settings(Protocol::Imap, dovecot.imap, TlsMode::Direct, Some(&ca))).unwrap();
    assert_failure(swapped.list(None).await, Failure::Transient, "use tls = \"starttls\"");
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_each_time_and_no_reason_to_give_up() {
    let ca = Ca::new();
    let mut dovecot = Dovecot::start(&ca, &["alerts"]);
    dovecot.deliver("alerts", &mail(1, 100));
    let proxy = Proxy::start(dovecot.imap).await;
    let mut mailbox = mailbox::open(Settings { port: proxy.port, ..imap(&dovecot) }).unwrap();
    proxy.refuse(true);
    for _ in 0..2 {
        assert_failure(mailbox.list(None).await, Failure::Transient, &format!("127.0.0.1:{}", proxy.port));
    }
    proxy.heal();
    let listing = mailbox.list(None).await.unwrap();
    dovecot.kill();
    assert_failure(mailbox.fetch(&listing.entries, u64::MAX).await, Failure::Transient, "127.0.0.1");
    assert_failure(mailbox.clear(&cursors(&listing.entries), &After::Seen).await, Failure::Transient, "127.0.0.1");
    dovecot.restart();
    assert_eq!(mailbox.fetch(&listing.entries, u64::MAX).await.unwrap().len(), 1, "without another listing, too");
}
