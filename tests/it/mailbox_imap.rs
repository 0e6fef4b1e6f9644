//! The IMAP mailbox against a real Dovecot.

use std::time::{Duration, Instant};

use mailbell::mailbox::{
    self, After, Auth, Entry, Failure, Generation, Mailbox, MailboxError, Mark, Protocol, Settings, Watch, Woke,
};
use mailbell::model::{Cursor, NewMessage, Secret};
use mailbell::net::TlsMode;
use tokio::sync::Notify;

use crate::support::DOMAIN;
use crate::support::ca::Ca;
use crate::support::dovecot::Dovecot;
use crate::support::proxy::{Proxy, Trouble, Way};

pub fn password(text: &str) -> Auth {
    Auth::Password(Secret::new(text.into()))
}

pub fn settings(protocol: Protocol, port: u16, tls: TlsMode, ca: Option<&Ca>) -> Settings {
    Settings {
        name: "ops".parse().unwrap(),
        protocol,
        host: "127.0.0.1".into(),
        port,
        tls,
        ca_file: ca.map(Ca::ca),
        tls_name: Some(DOMAIN.into()),
        allow_plaintext: false,
        user: "alerts".into(),
        auth: password("pw-alerts"),
        folder: "INBOX".into(),
        watch: if protocol == Protocol::Imap { Watch::Idle } else { Watch::Poll },
        after: After::Keep,
        rejected: None,
        max_size: 2 * 1024 * 1024,
        idle_for: Duration::from_secs(240),
        timeout: Duration::from_secs(10),
    }
}

pub fn imap(dovecot: &Dovecot) -> Settings {
    settings(Protocol::Imap, dovecot.imap, TlsMode::None, None)
}

/// A mail with this number, of about `size` bytes.
pub fn mail(number: usize, size: usize) -> Vec<u8> {
    let mut mail = format!(
        "From: ups@example.test\r\nTo: alerts@example.test\r\nMessage-ID: <{number}@example.test>\r\n\
         Subject: mail {number}\r\n\r\n"
    )
    .into_bytes();
    while mail.len() < size {
        mail.extend(b"The battery of the UPS in the second rack is low: 12 % are left.\r\n");
    }
    mail
}

/// The subject of a fetched mail.
pub fn subject(mail: &NewMessage) -> String {
    let text = String::from_utf8_lossy(&mail.raw);
    text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default().to_owned()
}

pub fn cursors(entries: &[Entry]) -> Vec<Cursor> {
    entries.iter().map(|entry| entry.cursor.clone()).collect()
}

pub async fn subjects(mailbox: &mut dyn Mailbox) -> Vec<String> {
    let listing = mailbox.list(None).await.unwrap();
    mailbox.fetch(&listing.entries, u64::MAX).await.unwrap().iter().map(subject).collect()
}

pub fn assert_failure<T: std::fmt::Debug>(result: Result<T, MailboxError>, failure: Failure, words: &str) {
    let err = result.unwrap_err();
    assert_eq!(err.failure, failure, "{err}");
    assert!(err.to_string().contains(words), "{words:?} is not in {err:?}");
}

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
async fn each_way_to_clear_does_what_it_says() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    dovecot.put("alerts", (1..=8).map(|n| mail(n, 100)).collect::<Vec<_>>().iter().map(Vec::as_slice));
    let mut mailbox = mailbox::open(imap(&dovecot)).unwrap();
    let all = cursors(&mailbox.list(None).await.unwrap().entries);
    let count = |folder| dovecot.count("alerts", folder);

    let kept = mailbox.clear(&all[..2], &After::Keep).await.unwrap();
    assert_eq!((kept.done.as_slice(), count("INBOX")), (&all[..2], 8));

    mailbox.clear(&all[2..4], &After::Seen).await.unwrap();
    let seen = dovecot.files("alerts", "INBOX").iter().filter(|name| name.ends_with('S')).count();
    assert_eq!((seen, count("INBOX")), (2, 8));

    let moved = mailbox.clear(&all[4..6], &After::Move("Processed".into())).await.unwrap();
    assert_eq!((moved.done.len(), moved.warning), (2, None));
    assert_eq!((count("INBOX"), count("Processed")), (6, 2), "the folder was created");

    mailbox.clear(&all[6..], &After::Delete).await.unwrap();
    assert_eq!(count("INBOX"), 4);
    // What is gone already needs no clearing.
    let again = mailbox.clear(&all[4..], &After::Move("Processed".into())).await.unwrap();
    assert_eq!(again.done.as_slice(), &all[4..]);
    assert_eq!(subjects(mailbox.as_mut()).await.len(), 4);
}

#[tokio::test]
async fn folders_may_have_any_name() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    dovecot.deliver("alerts", &mail(1, 100));
    let name = "Verärgert & \"Co\"";
    let mut mailbox = mailbox::open(imap(&dovecot)).unwrap();
    let all = cursors(&mailbox.list(None).await.unwrap().entries);
    mailbox.clear(&all, &After::Move(name.into())).await.unwrap();
    let mut there = mailbox::open(Settings { folder: name.into(), ..imap(&dovecot) }).unwrap();
    assert_eq!(subjects(there.as_mut()).await, ["mail 1"]);
    let mut missing = mailbox::open(Settings { folder: "Nowhere".into(), ..imap(&dovecot) }).unwrap();
    assert_failure(missing.list(None).await, Failure::Permanent, "create it, or correct `folder`");
}

#[tokio::test]
async fn without_move_it_copies_and_without_uidplus_it_never_expunges() {
    let ca = Ca::new();
    let uidplus = "imap_capability = IMAP4rev1 IDLE UIDPLUS";
    for (capability, left, warned) in [(uidplus, 1, false), ("imap_capability = IMAP4rev1", 4, true)] {
        let dovecot = Dovecot::start_with(&ca, &[("alerts", "pw-alerts")], capability);
        for number in 1..=4 {
            dovecot.deliver("alerts", &mail(number, 100));
        }
        let mut mailbox = mailbox::open(imap(&dovecot)).unwrap();
        let all = cursors(&mailbox.list(None).await.unwrap().entries);
        let moved = mailbox.clear(&all[..2], &After::Move("Processed".into())).await.unwrap();
        let deleted = mailbox.clear(&all[2..3], &After::Delete).await.unwrap();
        assert_eq!((moved.done.len(), deleted.done.len()), (2, 1));
        assert_eq!((moved.warning.is_some(), deleted.warning.is_some()), (warned, warned), "{capability}");
        assert_eq!(dovecot.count("alerts", "Processed"), 2);
        assert_eq!(dovecot.count("alerts", "INBOX"), left, "{capability}");
        let flagged = dovecot.files("alerts", "INBOX").iter().filter(|name| name.ends_with('T')).count();
        assert_eq!(flagged, if warned { 3 } else { 0 });
    }
}

/// Waits in the background; `then` runs once the wait has surely begun, which the server's log or a proxy tells.
pub async fn waiting(
    mailbox: &mut dyn Mailbox,
    at_most: Option<Duration>,
    poke: &Notify,
    then: impl Future<Output = ()>,
) -> (Woke, Duration) {
    let acted = std::cell::Cell::new(Instant::now());
    let (woke, ()) = tokio::join!(mailbox.wait(at_most, poke), async {
        then.await;
        acted.set(Instant::now());
    });
    (woke.unwrap(), acted.get().elapsed())
}

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
