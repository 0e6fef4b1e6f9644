//! IDLE.

use std::time::{Duration, Instant};

use mailbell::mailbox::{self, After, Failure, Settings, Woke};
use tokio::sync::Notify;

use super::{assert_failure, cursors, imap, mail, subjects, waiting};
use crate::support::ca::Ca;
use crate::support::dovecot::Dovecot;
use crate::support::proxy::{Proxy, Trouble, Way};

/// Lets the client get into IDLE: its command has passed the proxy, and the server's consent.
async fn idling(proxy: &Proxy) {
    let (up, down) = (proxy.bytes(Way::Up), proxy.bytes(Way::Down));
    crate::support::wait_for("IDLE", Duration::from_secs(5), async || {
        (proxy.bytes(Way::Up) > up && proxy.bytes(Way::Down) > down).then_some(())
    })
    .await;
}

#[tokio::test]
async fn idle_wakes_on_new_mail_and_at_once_on_a_poke() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    let proxy = Proxy::start(dovecot.imap).await;
    let mut mailbox = mailbox::open(Settings { port: proxy.port, ..imap(&dovecot) }).unwrap();
    let poke = Notify::new();
    mailbox.list(None).await.unwrap();
    let then = async {
        idling(&proxy).await;
        dovecot.deliver("alerts", &mail(1, 100));
    };
    let (woke, after) = waiting(mailbox.as_mut(), Some(Duration::from_secs(30)), &poke, then).await;
    assert_eq!(woke, Woke::Server);
    assert!(after < Duration::from_secs(2), "{after:?}");

    mailbox.list(None).await.unwrap();
    let then = async {
        idling(&proxy).await;
        poke.notify_one();
    };
    let (woke, after) = waiting(mailbox.as_mut(), None, &poke, then).await;
    assert_eq!(woke, Woke::Poked);
    assert!(after < Duration::from_millis(300), "{after:?}");

    let start = Instant::now();
    assert_eq!(mailbox.wait(Some(Duration::from_millis(200)), &poke).await.unwrap(), Woke::Time);
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!(subjects(mailbox.as_mut()).await, ["mail 1"], "the session is of use after IDLE");
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn mail_between_the_listing_and_the_wait_is_not_missed() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    let mut mailbox = mailbox::open(imap(&dovecot)).unwrap();
    mailbox.list(None).await.unwrap();
    dovecot.deliver("alerts", &mail(1, 100));
    let start = Instant::now();
    assert_eq!(mailbox.wait(Some(Duration::from_secs(30)), &Notify::new()).await.unwrap(), Woke::Server);
    assert!(start.elapsed() < Duration::from_secs(2));
    // A mail that comes while others are cleared is told in the reply to that.
    let listing = mailbox.list(None).await.unwrap();
    dovecot.deliver("alerts", &mail(2, 100));
    mailbox.clear(&cursors(&listing.entries), &After::Delete).await.unwrap();
    let start = Instant::now();
    assert_eq!(mailbox.wait(Some(Duration::from_secs(30)), &Notify::new()).await.unwrap(), Woke::Server);
    assert!(start.elapsed() < Duration::from_secs(2));
    // Seen and cleared: nothing to wake for any more.
    let listing = mailbox.list(None).await.unwrap();
    mailbox.clear(&cursors(&listing.entries), &After::Delete).await.unwrap();
    assert_eq!(mailbox.wait(Some(Duration::from_millis(1500)), &Notify::new()).await.unwrap(), Woke::Time);
}

#[tokio::test]
async fn idle_is_issued_again_and_a_server_without_it_is_only_waited_for() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    let proxy = Proxy::start(dovecot.imap).await;
    let short = Settings { idle_for: Duration::from_millis(100), port: proxy.port, ..imap(&dovecot) };
    let mut mailbox = mailbox::open(short).unwrap();
    mailbox.list(None).await.unwrap();
    let before = proxy.bytes(Way::Up);
    assert_eq!(mailbox.wait(Some(Duration::from_millis(1000)), &Notify::new()).await.unwrap(), Woke::Time);
    let rounds = (proxy.bytes(Way::Up) - before) / "M10 IDLE\r\nDONE\r\n".len() as u64;
    assert!((4..=11).contains(&rounds), "{rounds} times IDLE");

    let dovecot = Dovecot::start_with(&ca, &[("alerts", "pw-alerts")], "imap_capability = IMAP4rev1 UIDPLUS");
    let mut mailbox = mailbox::open(imap(&dovecot)).unwrap();
    mailbox.list(None).await.unwrap();
    dovecot.deliver("alerts", &mail(1, 100));
    assert_eq!(mailbox.wait(Some(Duration::from_millis(300)), &Notify::new()).await.unwrap(), Woke::Time);
    let poke = Notify::new();
    poke.notify_one();
    assert_eq!(mailbox.wait(Some(Duration::from_secs(30)), &poke).await.unwrap(), Woke::Poked);
    let deaf = mailbox.wait(None, &Notify::new()).await;
    assert_failure(deaf, Failure::Permanent, "the server has no IDLE, and with poll = \"never\" nothing else tells");
}

#[tokio::test]
async fn a_lost_idle_connection_is_an_error_and_the_next_listing_connects_again() {
    let ca = Ca::new();
    let mut dovecot = Dovecot::start(&ca, &["alerts"]);
    let proxy = Proxy::start(dovecot.imap).await;
    let mut mailbox = mailbox::open(Settings { port: proxy.port, ..imap(&dovecot) }).unwrap();
    let poke = Notify::new();
    for end in [Trouble::Cut(0), Trouble::Reset(0)] {
        mailbox.list(None).await.unwrap();
        let (woke, ()) = tokio::join!(mailbox.wait(Some(Duration::from_secs(30)), &poke), async {
            idling(&proxy).await;
            proxy.set(Way::Down, end);
        });
        assert_failure(woke, Failure::Transient, "127.0.0.1");
        proxy.heal();
    }
    mailbox.list(None).await.unwrap();
    let (woke, ()) = tokio::join!(mailbox.wait(Some(Duration::from_secs(30)), &poke), async {
        idling(&proxy).await;
        dovecot.stop();
    });
    assert_failure(woke, Failure::Transient, "127.0.0.1");
    dovecot.restart();
    dovecot.deliver("alerts", &mail(1, 100));
    assert_eq!(subjects(mailbox.as_mut()).await, ["mail 1"]);
    // A session that the server ended while nobody looked is renewed without a word.
    dovecot.restart();
    assert_eq!(mailbox.list(None).await.unwrap().entries.len(), 1);
}
