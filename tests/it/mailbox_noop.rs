//! `watch = "noop:…"`: NOOPs instead of IDLE.

use std::time::{Duration, Instant};

use mailbell::mailbox::{self, After, Failure, Mailbox, Protocol, Settings, Watch, Woke};
use tokio::sync::Notify;

use crate::mailbox_hostile::{CAPS, imap_listed, quick, with};
use crate::mailbox_imap::{assert_failure, cursors, imap, mail, subjects, waiting};
use crate::support::ca::Ca;
use crate::support::dovecot::Dovecot;
use crate::support::lab::{Lab, OPERATORS, critical};
use crate::support::mailbell::Mailbell;
use crate::support::proxy::{Proxy, Trouble, Way};
use crate::support::script::{Script, Step, expect, send};
use crate::support::wait_for;

const EVERY: Duration = Duration::from_millis(50);

fn noop(dovecot: &Dovecot) -> Settings {
    Settings { watch: Watch::Noop(EVERY), ..imap(dovecot) }
}

/// Lets so many bytes of commands pass: the wait has begun.
async fn asked(proxy: &Proxy, bytes: u64) {
    let before = proxy.bytes(Way::Up);
    wait_for("a NOOP", Duration::from_secs(10), async || (proxy.bytes(Way::Up) >= before + bytes).then_some(())).await;
}

/// Lists, however slow the machine is: the mailbox's time-out is short.
async fn listed(mailbox: &mut dyn Mailbox) {
    wait_for("a listing", Duration::from_secs(30), async || mailbox.list(None).await.ok()).await;
}

#[tokio::test]
async fn a_mail_is_seen_long_before_idle_would_tell_of_it() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    let mut mailbox = mailbox::open(noop(&dovecot)).unwrap();
    let mut took = Vec::new();
    for number in 1..=7 {
        mailbox.list(None).await.unwrap();
        let then = async { dovecot.deliver("alerts", &mail(number, 100)) };
        let (woke, after) = waiting(mailbox.as_mut(), Some(Duration::from_secs(30)), &Notify::new(), then).await;
        assert_eq!(woke, Woke::Server);
        took.push(after);
    }
    took.sort();
    // By IDLE it is never less than 480 ms.
    assert!(took[3] < Duration::from_millis(300), "{took:?}");
    assert_eq!(subjects(mailbox.as_mut()).await.len(), 7);
}

#[tokio::test]
async fn it_asks_no_more_often_than_told_and_ends_with_the_poll_or_a_poke() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    let proxy = Proxy::start(dovecot.imap).await;
    let mut mailbox = mailbox::open(Settings { port: proxy.port, ..noop(&dovecot) }).unwrap();
    mailbox.list(None).await.unwrap();
    let (before, start) = (proxy.bytes(Way::Up), Instant::now());
    assert_eq!(mailbox.wait(Some(Duration::from_secs(1)), &Notify::new()).await.unwrap(), Woke::Time);
    let (asked_for, took) = (proxy.bytes(Way::Up) - before, start.elapsed());
    assert!(took >= Duration::from_secs(1));
    let noops = asked_for / "M5 NOOP\r\n".len() as u64;
    let most = took.as_millis() / EVERY.as_millis() + 1;
    assert!(noops >= 3 && u128::from(noops) <= most, "{noops} NOOPs in {took:?}");

    // An interval longer than the poll is cut short by it.
    let slow = Settings { watch: Watch::Noop(Duration::from_secs(600)), ..imap(&dovecot) };
    let mut mailbox = mailbox::open(slow).unwrap();
    mailbox.list(None).await.unwrap();
    dovecot.deliver("alerts", &mail(1, 100));
    assert_eq!(mailbox.wait(Some(Duration::from_millis(100)), &Notify::new()).await.unwrap(), Woke::Time);
    assert_eq!(subjects(mailbox.as_mut()).await, ["mail 1"], "the poll sees what no NOOP told of");
    let poke = Notify::new();
    poke.notify_one();
    assert_eq!(mailbox.wait(None, &poke).await.unwrap(), Woke::Poked);
}

#[tokio::test]
async fn mails_that_go_are_no_news_and_mails_that_come_at_once_are() {
    let (one, two) = ((1, 100), (2, 100));
    let steps = with(
        imap_listed(CAPS, &[one, two]),
        [
            expect("NOOP"),
            send("* 1 EXPUNGE\r\n* 1 EXISTS\r\n{tag} OK\r\n"),
            expect("NOOP"),
            send("* 1 FETCH (FLAGS (\\Seen))\r\n* 0 RECENT\r\n{tag} OK\r\n"),
            expect("NOOP"),
            // One goes while one comes: as many as before, and news.
            send("* 1 EXPUNGE\r\n* 1 EXISTS\r\n{tag} OK\r\n"),
            expect("UID FETCH 1:* (UID RFC822.SIZE)"),
            send("* 1 FETCH (UID 3 RFC822.SIZE 100)\r\n{tag} OK\r\n"),
        ],
    );
    let script = Script::start(vec![steps]).await;
    let settings = Settings { watch: Watch::Noop(EVERY), ..quick(Protocol::Imap, &script) };
    let mut mailbox = mailbox::open(settings).unwrap();
    mailbox.list(None).await.unwrap();
    assert_eq!(mailbox.wait(None, &Notify::new()).await.unwrap(), Woke::Server);
    // The NOOP told it all: the listing asks for no other.
    assert_eq!(mailbox.list(None).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn with_a_real_server_too_a_deletion_wakes_nobody() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    for number in 1..=2 {
        dovecot.deliver("alerts", &mail(number, 100));
    }
    let mut mailbox = mailbox::open(noop(&dovecot)).unwrap();
    let mut other = mailbox::open(imap(&dovecot)).unwrap();
    mailbox.list(None).await.unwrap();
    let theirs = other.list(None).await.unwrap();
    other.clear(&cursors(&theirs.entries), &After::Delete).await.unwrap();
    assert_eq!(mailbox.wait(Some(Duration::from_millis(500)), &Notify::new()).await.unwrap(), Woke::Time);
    dovecot.deliver("alerts", &mail(3, 100));
    assert_eq!(mailbox.wait(Some(Duration::from_secs(30)), &Notify::new()).await.unwrap(), Woke::Server);
    assert_eq!(subjects(mailbox.as_mut()).await, ["mail 3"]);
}

#[tokio::test]
async fn a_connection_that_ends_or_stalls_is_an_error_and_the_next_listing_connects_again() {
    let ca = Ca::new();
    let mut dovecot = Dovecot::start(&ca, &["alerts"]);
    let proxy = Proxy::start(dovecot.imap).await;
    let s = Settings { port: proxy.port, timeout: Duration::from_millis(700), ..noop(&dovecot) };
    let mut mailbox = mailbox::open(s).unwrap();
    let poke = Notify::new();
    for trouble in [Trouble::Cut(0), Trouble::Reset(3), Trouble::Stall(0), Trouble::Stall(5)] {
        listed(mailbox.as_mut()).await;
        let start = Instant::now();
        let (woke, ()) = tokio::join!(mailbox.wait(None, &poke), async {
            asked(&proxy, 1).await;
            proxy.set(Way::Down, trouble);
        });
        assert_failure(woke, Failure::Transient, "127.0.0.1");
        assert!(start.elapsed() < Duration::from_secs(10), "{trouble:?}");
        proxy.heal();
    }
    listed(mailbox.as_mut()).await;
    let (woke, ()) = tokio::join!(mailbox.wait(None, &poke), async {
        asked(&proxy, 1).await;
        dovecot.stop();
    });
    assert_failure(woke, Failure::Transient, "127.0.0.1");
    dovecot.restart();
    dovecot.deliver("alerts", &mail(1, 100));
    listed(mailbox.as_mut()).await;
    assert_eq!(subjects(mailbox.as_mut()).await, ["mail 1"]);
}

#[tokio::test]
async fn a_server_that_drips_words_into_a_noop_does_not_hold_it_for_ever() {
    let steps = with(
        imap_listed(CAPS, &[(1, 100)]),
        [expect("NOOP"), Step::Drip(b"* OK wait\r\n".to_vec(), Duration::from_millis(20))],
    );
    let script = Script::start(vec![steps]).await;
    let timeout = Duration::from_millis(300);
    let settings = Settings { watch: Watch::Noop(EVERY), timeout, ..quick(Protocol::Imap, &script) };
    let mut mailbox = mailbox::open(settings).unwrap();
    listed(mailbox.as_mut()).await;
    assert_failure(mailbox.wait(None, &Notify::new()).await, Failure::Transient, "too slow");
}

#[tokio::test]
async fn alerts_come_through_it_also_after_a_cut_and_a_restart_of_the_server() {
    let mut lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let proxy = Proxy::start(lab.dovecot.imaps).await;
    let mailbox =
        lab.imap("inbox", "watch = \"noop:50ms\"").replace(&lab.dovecot.imaps.to_string(), &proxy.port.to_string());
    let mailbell = Mailbell::run(&(lab.base() + &mailbox + &lab.everybody("ops") + OPERATORS));
    let titles = ["By the first look or a NOOP", "By a NOOP", "After a cut", "After a restart"];
    for title in titles {
        match title {
            "After a cut" => proxy.sever(),
            "After a restart" => lab.dovecot.restart(),
            _ => {}
        }
        lab.mail(&critical(title, title));
        alice.gets(title).await;
    }
    for title in titles {
        assert_eq!(alice.copies(title), 1, "{title}: {:#?}", alice.messages());
    }
    assert!(!mailbell.log().contains("private network"), "loopback is one:\n{}", mailbell.log());
}
