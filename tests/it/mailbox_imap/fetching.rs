//! Listings and mails.

use std::time::{Duration, Instant};

use mailbell::mailbox::{self, After, Entry, Failure, Generation, Mark, Protocol, Settings};
use mailbell::model::Cursor;
use mailbell::net::TlsMode;

use super::{assert_failure, cursors, imap, mail, settings, subject};
use crate::support::ca::Ca;
use crate::support::dovecot::Dovecot;
use crate::support::proxy::{Proxy, Trouble, Way};

fn uid(entry: &Entry) -> u32 {
    match entry.cursor {
        Cursor::Imap { uid, .. } => uid,
        Cursor::Pop3 { .. } | Cursor::Lmtp { .. } => panic!("not an IMAP cursor"),
    }
}

fn uidvalidity(generation: Generation) -> u32 {
    match generation {
        Generation::UidValidity(n) => n,
        Generation::None => panic!("no UIDVALIDITY"),
    }
}

#[tokio::test]
async fn plain_starttls_and_direct_tls_fetch_the_same() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    let sent = mail(1, 3000);
    dovecot.deliver("alerts", &sent);
    for (port, tls) in
        [(dovecot.imap, TlsMode::None), (dovecot.imap, TlsMode::StartTls), (dovecot.imaps, TlsMode::Direct)]
    {
        let mut mailbox = mailbox::open(settings(Protocol::Imap, port, tls, Some(&ca))).unwrap();
        let listing = mailbox.list(None).await.unwrap();
        assert!(listing.complete);
        assert_eq!(listing.entries.len(), 1, "{tls:?}");
        let mails = mailbox.fetch(&listing.entries, u64::MAX).await.unwrap();
        assert_eq!(mails[0].cursor, listing.entries[0].cursor);
        assert_eq!(listing.entries[0].size, Some(mails[0].raw.len() as u64));
        assert!(mails[0].raw.ends_with(&sent), "the mail comes as it was sent, behind the server's own headers");
        let age = jiff::Timestamp::now().duration_since(mails[0].internal_date.unwrap());
        assert!(age.as_secs().abs() < 60, "INTERNALDATE is the delivery: {age:?}");
        assert_eq!(mails[0].oversize, None);
        mailbox.close().await;
    }
    assert!(dovecot.files("alerts", "INBOX")[0].ends_with(|c: char| c != 'S'), "fetching sets no \\Seen");
}

#[tokio::test]
async fn a_mark_of_the_same_uidvalidity_leaves_out_what_is_stored() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    let mut mailbox = mailbox::open(imap(&dovecot)).unwrap();
    let empty = mailbox.list(None).await.unwrap();
    assert!(empty.entries.is_empty() && empty.complete);
    for number in 1..=3 {
        dovecot.deliver("alerts", &mail(number, 100));
    }
    let all = mailbox.list(None).await.unwrap();
    assert_eq!(all.entries.iter().map(uid).collect::<Vec<_>>(), [1, 2, 3]);
    let mark = Mark { uidvalidity: uidvalidity(all.generation), uid: 2 };
    let some = mailbox.list(Some(mark)).await.unwrap();
    assert_eq!((some.entries.iter().map(uid).collect::<Vec<_>>(), some.complete), (vec![3], false));
    // `4:*` also names mail 3.
    let none = mailbox.list(Some(Mark { uid: 3, ..mark })).await.unwrap();
    assert!(none.entries.is_empty());
    assert!(mailbox.list(Some(Mark { uid: u32::MAX, ..mark })).await.unwrap().entries.is_empty());
    let other = mailbox.list(Some(Mark { uidvalidity: mark.uidvalidity + 1, uid: 3 })).await.unwrap();
    assert_eq!((other.entries.len(), other.complete), (3, true));
}

#[tokio::test]
async fn a_new_uidvalidity_shows_in_the_listing_and_stops_a_fetch_by_old_cursors() {
    let ca = Ca::new();
    let mut dovecot = Dovecot::start(&ca, &["alerts"]);
    dovecot.deliver("alerts", &mail(1, 100));
    let mut mailbox = mailbox::open(imap(&dovecot)).unwrap();
    let before = mailbox.list(None).await.unwrap();
    dovecot.stop();
    dovecot.reset_uidvalidity("alerts");
    dovecot.restart();
    let mark = Mark { uidvalidity: uidvalidity(before.generation), uid: 1 };
    let after = mailbox.list(Some(mark)).await.unwrap();
    assert_ne!(after.generation, before.generation);
    assert_eq!((after.entries.len(), after.complete), (1, true));
    assert_failure(mailbox.fetch(&before.entries, u64::MAX).await, Failure::Transient, "UIDVALIDITY changed");
    let cleared = mailbox.clear(&cursors(&before.entries), &After::Delete).await.unwrap();
    assert_eq!(cleared.done.len(), 1, "what an old cursor named is gone");
    assert_eq!(dovecot.count("alerts", "INBOX"), 1, "and nothing else is deleted for it");
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_of_a_fetch_is_an_error_never_an_empty_success() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    dovecot.put("alerts", (1..=20).map(|n| mail(n, 50_000)).collect::<Vec<_>>().iter().map(Vec::as_slice));
    let proxy = Proxy::start(dovecot.imap).await;
    let s = Settings { port: proxy.port, timeout: Duration::from_millis(700), ..imap(&dovecot) };
    let mut mailbox = mailbox::open(s).unwrap();
    let listing = mailbox.list(None).await.unwrap();
    for at in [0, 1, 30, 20_000, 50_120, 999_000] {
        for trouble in [Trouble::Cut(at), Trouble::Reset(at), Trouble::Stall(at)] {
            mailbox.list(None).await.unwrap();
            proxy.set(Way::Down, trouble);
            let start = Instant::now();
            let err = mailbox.fetch(&listing.entries, u64::MAX).await.unwrap_err();
            assert_eq!(err.failure, Failure::Transient, "{trouble:?}: {err}");
            assert!(!err.to_string().contains("battery"), "mail text in {err}");
            assert!(start.elapsed() < Duration::from_secs(5), "{trouble:?}");
            if let Trouble::Stall(_) = trouble {
                assert!(err.to_string().contains("sent nothing for 0.7 s"), "{err}");
            }
            proxy.heal();
        }
    }
    let listing = mailbox.list(None).await.unwrap();
    assert_eq!(mailbox.fetch(&listing.entries, u64::MAX).await.unwrap().len(), 20);
}

#[tokio::test]
async fn mails_over_the_limit_come_with_their_headers_only() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    let mails = [mail(1, 500), mail(2, 3_000_000), mail(3, 500), mail(4, 20_000)];
    dovecot.put("alerts", mails.iter().map(Vec::as_slice));
    let mut mailbox = mailbox::open(Settings { max_size: 10_000, ..imap(&dovecot) }).unwrap();
    let listing = mailbox.list(None).await.unwrap();
    let got = mailbox.fetch(&listing.entries, u64::MAX).await.unwrap();
    assert_eq!(got.iter().map(subject).collect::<Vec<_>>(), ["mail 1", "mail 2", "mail 3", "mail 4"]);
    assert_eq!(got[1].oversize, Some(mails[1].len() as u64));
    assert!(got[1].raw.ends_with(b"Subject: mail 2\r\n\r\n"));
    assert_eq!((got[0].oversize, got[2].oversize, got[3].oversize.is_some()), (None, None, true));
    // The budget ends a fetch early, but never before the first mail.
    let first = mailbox.fetch(&listing.entries, 1).await.unwrap();
    assert_eq!(first.iter().map(subject).collect::<Vec<_>>(), ["mail 1"]);
    let some = mailbox.fetch(&listing.entries[1..], 11_000).await.unwrap();
    assert_eq!(some.len(), 1, "64 KiB of headers are counted");
}

#[tokio::test]
async fn mails_that_vanished_meanwhile_are_left_out() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    for number in 1..=3 {
        dovecot.deliver("alerts", &mail(number, 100));
    }
    let mut mailbox = mailbox::open(imap(&dovecot)).unwrap();
    let mut other = mailbox::open(imap(&dovecot)).unwrap();
    let listing = mailbox.list(None).await.unwrap();
    let theirs = other.list(None).await.unwrap();
    other.clear(&cursors(&theirs.entries[1..2]), &After::Delete).await.unwrap();
    mailbox.list(None).await.unwrap();
    let got = mailbox.fetch(&listing.entries, u64::MAX).await.unwrap();
    assert_eq!(got.iter().map(subject).collect::<Vec<_>>(), ["mail 1", "mail 3"]);
}

#[tokio::test]
async fn a_thousand_mails_are_listed_fetched_and_moved_in_ranges() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    let mails: Vec<Vec<u8>> = (1..=1000).map(|n| mail(n, 2000)).collect();
    dovecot.put("alerts", mails.iter().map(Vec::as_slice));
    let proxy = Proxy::start(dovecot.imap).await;
    let mut mailbox = mailbox::open(Settings { port: proxy.port, ..imap(&dovecot) }).unwrap();
    let listing = mailbox.list(None).await.unwrap();
    assert_eq!(listing.entries.len(), 1000);
    let (asked, start) = (proxy.bytes(Way::Up), Instant::now());
    let mut seen = std::collections::HashSet::new();
    for range in listing.entries.chunks(100) {
        seen.extend(mailbox.fetch(range, u64::MAX).await.unwrap().iter().map(subject));
    }
    let took = start.elapsed();
    assert_eq!(seen.len(), 1000);
    assert!(took < Duration::from_secs(5), "{took:?}");
    mailbox.clear(&cursors(&listing.entries), &After::Move("Processed".into())).await.unwrap();
    assert_eq!((dovecot.count("alerts", "INBOX"), dovecot.count("alerts", "Processed")), (0, 1000));
    let asked = proxy.bytes(Way::Up) - asked;
    assert!(asked < 2000, "{asked} bytes of commands: ranges, never mail by mail");
    println!("1000 mails fetched in {took:?}");
}
