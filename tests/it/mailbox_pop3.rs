//! The POP3 mailbox against a real Dovecot.

use std::time::{Duration, Instant};

use mailbell::mailbox::{self, After, Failure, Generation, Protocol, Settings, Woke};
use mailbell::model::Cursor;
use mailbell::net::TlsMode;
use tokio::sync::Notify;

use crate::mailbox_imap::{assert_failure, cursors, mail, password, settings, subject, subjects};
use crate::support::ca::Ca;
use crate::support::dovecot::Dovecot;
use crate::support::proxy::{Proxy, Trouble, Way};
use crate::support::wait_for;

fn pop3(dovecot: &Dovecot) -> Settings {
    settings(Protocol::Pop3, dovecot.pop3, TlsMode::None, None)
}

#[tokio::test]
async fn plain_stls_and_direct_tls_fetch_the_same() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    let mut sent = mail(1, 3000);
    sent.extend("\r\n.\r\n..two dots\r\n.one\r\nTür 8-bit: \r\n".as_bytes());
    dovecot.deliver("alerts", &sent);
    for (port, tls) in
        [(dovecot.pop3, TlsMode::None), (dovecot.pop3, TlsMode::StartTls), (dovecot.pop3s, TlsMode::Direct)]
    {
        let mut mailbox = mailbox::open(settings(Protocol::Pop3, port, tls, Some(&ca))).unwrap();
        let listing = mailbox.list(None).await.unwrap();
        assert_eq!((listing.generation, listing.complete, listing.entries.len()), (Generation::None, true, 1));
        let mails = mailbox.fetch(&listing.entries, u64::MAX).await.unwrap();
        assert_eq!(mails[0].cursor, listing.entries[0].cursor);
        assert_eq!(listing.entries[0].size, Some(mails[0].raw.len() as u64), "{tls:?}");
        assert!(mails[0].raw.ends_with(&sent), "dots and 8-bit text come as they were sent");
        assert_eq!((mails[0].internal_date, mails[0].oversize), (None, None));
        mailbox.rest().await.unwrap();
        mailbox.close().await;
    }
}

#[tokio::test]
async fn uidls_stay_and_a_new_listing_sees_new_mail() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    dovecot.deliver("alerts", &mail(1, 100));
    let mut mailbox = mailbox::open(pop3(&dovecot)).unwrap();
    let first = mailbox.list(None).await.unwrap();
    dovecot.deliver("alerts", &mail(2, 100));
    let second = mailbox.list(None).await.unwrap();
    assert_eq!((second.entries.len(), &second.entries[0]), (2, &first.entries[0]));
    mailbox.rest().await.unwrap();
    // A fetch after the session's end connects again, and finds the mail by its UIDL.
    let got = mailbox.fetch(&second.entries[1..], u64::MAX).await.unwrap();
    assert_eq!(got.iter().map(subject).collect::<Vec<_>>(), ["mail 2"]);
    // What is not there is left out.
    let mut gone = second.entries[0].clone();
    gone.cursor = Cursor::Pop3 { uidl: "gone".into() };
    assert!(mailbox.fetch(&[gone], u64::MAX).await.unwrap().is_empty());
}

#[tokio::test]
async fn deleting_is_done_when_quit_is_answered() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    for number in 1..=3 {
        dovecot.deliver("alerts", &mail(number, 100));
    }
    let mut mailbox = mailbox::open(pop3(&dovecot)).unwrap();
    let all = cursors(&mailbox.list(None).await.unwrap().entries);
    assert_eq!(mailbox.clear(&all, &After::Keep).await.unwrap().done, all);
    assert_eq!(dovecot.count("alerts", "INBOX"), 3);
    let cleared = mailbox.clear(&all[..2], &After::Delete).await.unwrap();
    assert_eq!(cleared.done, &all[..2]);
    assert_eq!(dovecot.count("alerts", "INBOX"), 1, "at once, not only with rest()");
    assert_eq!(mailbox.clear(&all[..2], &After::Delete).await.unwrap().done.len(), 2, "gone: nothing is left to do");
    assert_eq!(subjects(mailbox.as_mut()).await, ["mail 3"]);
    assert_failure(mailbox.clear(&all, &After::Seen).await, Failure::Permanent, "neither flags nor folders");
}

#[tokio::test]
async fn a_connection_lost_between_dele_and_quit_keeps_the_mail() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    for number in 1..=2 {
        dovecot.deliver("alerts", &mail(number, 100));
    }
    let proxy = Proxy::start(dovecot.pop3).await;
    let mut mailbox = mailbox::open(Settings { port: proxy.port, ..pop3(&dovecot) }).unwrap();
    let all = cursors(&mailbox.list(None).await.unwrap().entries);
    // Both DELE pass, QUIT does not.
    proxy.set(Way::Up, Trouble::Cut("DELE 1\r\nDELE 2\r\n".len() as u64));
    assert_failure(mailbox.clear(&all, &After::Delete).await, Failure::Transient, "127.0.0.1");
    proxy.heal();
    assert_eq!(subjects(mailbox.as_mut()).await, ["mail 1", "mail 2"]);
    assert_eq!(mailbox.clear(&all, &After::Delete).await.unwrap().done.len(), 2);
    assert_eq!(dovecot.count("alerts", "INBOX"), 0);
}

#[tokio::test]
async fn a_connection_cut_or_stalled_is_an_error_within_its_time() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    dovecot.put("alerts", (1..=20).map(|n| mail(n, 50_000)).collect::<Vec<_>>().iter().map(Vec::as_slice));
    let proxy = Proxy::start(dovecot.pop3).await;
    let s = Settings { port: proxy.port, timeout: Duration::from_millis(700), ..pop3(&dovecot) };
    let mut mailbox = mailbox::open(s).unwrap();
    for at in [0, 1, 20_000, 999_000] {
        for trouble in [Trouble::Cut(at), Trouble::Reset(at), Trouble::Stall(at)] {
            let listing = mailbox.list(None).await.unwrap();
            proxy.set(Way::Down, trouble);
            let start = Instant::now();
            let err = mailbox.fetch(&listing.entries, u64::MAX).await.unwrap_err();
            assert_eq!(err.failure, Failure::Transient, "{trouble:?}: {err}");
            assert!(start.elapsed() < Duration::from_secs(3), "{trouble:?}");
            proxy.heal();
        }
    }
    assert_eq!(subjects(mailbox.as_mut()).await.len(), 20);
}

#[tokio::test]
async fn logins_refused_and_logins_with_odd_passwords() {
    let ca = Ca::new();
    let accounts = [("quotes", "a\"b\\c {5}"), ("umlaut", "grüße-日本"), ("spaces", " x  y ")];
    let dovecot = Dovecot::start_with(&ca, &accounts, "");
    for (user, secret) in accounts {
        let s = Settings { user: user.into(), auth: password(secret), ..pop3(&dovecot) };
        let listed = mailbox::open(s).unwrap().list(None).await;
        assert!(listed.is_ok(), "{user}: {listed:?}");
    }
    let wrong = Settings { user: "quotes".into(), auth: password("wr0ng"), ..pop3(&dovecot) };
    let start = Instant::now();
    let err = mailbox::open(wrong).unwrap().list(None).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(err.failure, Failure::Auth);
    assert!(err.to_string().contains("check user and password") && !err.to_string().contains("wr0ng"), "{err}");
    let told = async || dovecot.log().contains("auth failed").then_some(());
    wait_for("the server's note of the attempt", Duration::from_secs(5), told).await;
    assert!(dovecot.log().contains("auth failed, 1 attempts"), "one attempt only:\n{}", dovecot.log());
}

#[tokio::test]
async fn certificates_that_do_not_fit_are_refused() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    for (port, tls) in [(dovecot.pop3s, TlsMode::Direct), (dovecot.pop3, TlsMode::StartTls)] {
        let mut strange = mailbox::open(settings(Protocol::Pop3, port, tls, None)).unwrap();
        assert_failure(strange.list(None).await, Failure::Permanent, "ca_file");
    }
}

#[tokio::test]
async fn mails_over_the_limit_come_with_their_headers_only() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    let mails = [mail(1, 500), mail(2, 3_000_000), mail(3, 500)];
    dovecot.put("alerts", mails.iter().map(Vec::as_slice));
    let mut mailbox = mailbox::open(Settings { max_size: 10_000, ..pop3(&dovecot) }).unwrap();
    let listing = mailbox.list(None).await.unwrap();
    let got = mailbox.fetch(&listing.entries, u64::MAX).await.unwrap();
    assert_eq!(got.iter().map(subject).collect::<Vec<_>>(), ["mail 1", "mail 2", "mail 3"]);
    assert_eq!(got[1].oversize, Some(mails[1].len() as u64));
    assert!(got[1].raw.ends_with(b"Subject: mail 2\r\n\r\n"));
    assert_eq!(mailbox.fetch(&listing.entries, 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn waiting_ends_the_session_first() {
    let ca = Ca::new();
    let dovecot = Dovecot::start_with(&ca, &[("alerts", "pw-alerts")], "protocol pop3 {\n  pop3_lock_session = yes\n}");
    dovecot.deliver("alerts", &mail(1, 100));
    let mut mailbox = mailbox::open(pop3(&dovecot)).unwrap();
    mailbox.list(None).await.unwrap();
    assert_eq!(mailbox.wait(Some(Duration::from_millis(50)), &Notify::new()).await.unwrap(), Woke::Time);
    let mut other = mailbox::open(pop3(&dovecot)).unwrap();
    assert_eq!(subjects(other.as_mut()).await, ["mail 1"], "the maildrop is not locked");
    let poke = Notify::new();
    poke.notify_one();
    assert_eq!(mailbox.wait(None, &poke).await.unwrap(), Woke::Poked);
}

#[tokio::test]
async fn a_thousand_mails_take_few_round_trips() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    let mails: Vec<Vec<u8>> = (1..=1000).map(|n| mail(n, 2000)).collect();
    dovecot.put("alerts", mails.iter().map(Vec::as_slice));
    let proxy = Proxy::start(dovecot.pop3).await;
    let mut mailbox = mailbox::open(Settings { port: proxy.port, ..pop3(&dovecot) }).unwrap();
    let listing = mailbox.list(None).await.unwrap();
    proxy.set(Way::Up, Trouble::Delay(Duration::from_millis(20)));
    let start = Instant::now();
    let mut got = Vec::new();
    for range in listing.entries.chunks(100) {
        got.extend(mailbox.fetch(range, u64::MAX).await.unwrap());
    }
    let took = start.elapsed();
    assert_eq!(got.iter().map(subject).collect::<std::collections::HashSet<_>>().len(), 1000);
    assert_eq!(cursors(&listing.entries), got.iter().map(|mail| mail.cursor.clone()).collect::<Vec<_>>());
    // Mail by mail it were 20 s for the delay alone.
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(mailbox.clear(&cursors(&listing.entries), &After::Delete).await.unwrap().done.len(), 1000);
    assert_eq!(dovecot.count("alerts", "INBOX"), 0);
}
