//! The door under trouble: crashes, full disks, slow, greedy and hasty senders, and the end of the service. What was answered
//! with 250 is never lost, and what was not is kept by its sender.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mailbell::intake::watch_disk;
use mailbell::lmtp;
use mailbell::model::MessageState;
use mailbell::queue::sqlite::Sqlite;
use mailbell::queue::{Inbox, Verdict};
use tokio_util::sync::CancellationToken;

#[cfg(feature = "failpoints")]
use crate::lmtp_door::without_key;
use crate::lmtp_door::{address, config, door, lab, mailbox};
use crate::store;
use crate::support::lab::{Lab, alert, critical, severe};
use crate::support::lmtp::{Session, stuffed};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::outcome::came_with_one_id;
use crate::support::tmpfs::Tmpfs;
use crate::support::{free_port, wait_for};

/// Says the line until it is answered so.
async fn until_answered(port: u16, line: &str, want: &str) {
    wait_for(&format!("{want} to {line:?}"), SOON, async || {
        let reply = Session::connect(port).ok()?.ask(line).ok()?;
        reply.starts_with(want).then_some(())
    })
    .await;
}

fn on_disk(lab: &Lab, disk: &Tmpfs, parts: &[String]) -> String {
    config(lab, parts).replace("{dir}/mailbell.db", disk.path().join("mailbell.db").to_str().unwrap())
}

#[tokio::test]
async fn on_a_full_disk_the_sender_keeps_its_mail() {
    let Some(disk) = Tmpfs::mount(8) else { return };
    let lab = lab();
    let alice = lab.online("alice").await;
    let port = free_port();
    let parts = [door(port, "in_flight = \"512KiB\""), mailbox("direct", "max_size = \"400KiB\"")];
    let mailbell = Mailbell::run(&on_disk(&lab, &disk, &parts));
    let mut session = Session::connect(port).unwrap();
    session.hand_in(&[&address("direct")], &critical("w", "Warm-up")).unwrap();
    alice.gets("Warm-up").await;
    // There was room when it began, and none any more when it is here.
    let text = "word ".repeat(40_000);
    let large = alert("severity=\"critical\"", &format!("<title>On a full disk</title><text>{text}</text>"));
    session.begin(&[&address("direct")]).unwrap();
    disk.fill(0);
    session.send(&stuffed(large.as_bytes())).unwrap();
    assert_eq!(session.reply().unwrap(), "451 4.3.0 it could not be stored; come again");
    mailbell.logged("the disk is full: mails are refused for now", 1).await;
    // As soon as it is seen, before DATA.
    until_answered(port, "MAIL FROM:<a@b>\r\n", "452 4.3.1").await;
    disk.clear();
    until_answered(port, "MAIL FROM:<a@b>\r\n", "250 2.1.0").await;
    let replies = session.hand_in(&[&address("direct")], &large).unwrap();
    assert!(replies[0].starts_with("250 2.0.0"), "{replies:?}");
    alice.gets("On a full disk").await;
    mailbell.logged("there is room on the disk again; mails are taken", 1).await;
    came_with_one_id(&alice, "On a full disk", 1);
}

#[tokio::test]
async fn too_large_is_refused_before_it_comes_or_when_it_is_read_off() {
    let lab = lab();
    let alice = lab.online("alice").await;
    let port = free_port();
    let parts = [door(port, ""), mailbox("small", "max_size = \"10KiB\""), mailbox("large", "max_size = \"1MiB\"")];
    let _mailbell = Mailbell::run(&config(&lab, &parts));
    let mut session = Session::connect(port).unwrap();
    assert_eq!(session.ask("MAIL FROM:<a@b> SIZE=1048577\r\n").unwrap(), "552 5.3.4 it is too large: at most 1MiB");
    assert_eq!(session.ask("MAIL FROM:<a@b> SIZE=10241\r\n").unwrap(), "250 2.1.0 ok");
    let refused = session.ask(&format!("RCPT TO:<{}>\r\n", address("small"))).unwrap();
    assert_eq!(refused, "552 5.3.4 it is too large: at most 10KiB");
    session.ask("RSET\r\n").unwrap();
    // It says nothing of its size: 20 MB are read off, and the session goes on.
    session.begin(&[&address("small"), &address("large")]).unwrap();
    let megabyte = "word word word word\r\n".repeat(50_000);
    for _ in 0..20 {
        session.send(megabyte.as_bytes()).unwrap();
    }
    session.send(b".\r\n").unwrap();
    assert_eq!(session.reply().unwrap(), "552 5.3.4 it is too large: at most 10KiB");
    assert_eq!(session.reply().unwrap(), "552 5.3.4 it is too large: at most 1MiB");
    session.hand_in(&[&address("small")], &critical("s", "Small enough")).unwrap();
    alice.gets("Small enough").await;
    alice.gets("mailbox small: a mail of").await;
    alice.gets("mailbox large: a mail of").await;
}

#[tokio::test]
async fn slow_senders_are_cut_off_and_too_many_are_turned_away() {
    let lab = lab();
    let alice = lab.online("alice").await;
    let port = free_port();
    let limits = "max_connections = 2\ntimeout = \"2s\"";
    let mailbell = Mailbell::run(&config(&lab, &[door(port, limits), mailbox("direct", "")]));
    let mut idle = Session::connect(port).unwrap();
    let mut slow = Session::connect(port).unwrap();
    let mut third = Session::silent(port).unwrap();
    assert_eq!(third.reply().unwrap(), "421 4.3.2 too many connections; come again");
    mailbell.logged("too many connections", 1).await;
    // Byte by byte it never comes to an end of the line.
    let dripping = Instant::now();
    while dripping.elapsed() < SOON && slow.send(b"N").is_ok() {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(dripping.elapsed() < SOON, "a sender that drips was not cut off");
    assert_eq!(idle.reply().unwrap(), "421 4.4.2 nothing came of it in time");
    // Nor does a mail that drips.
    let mut mail = wait_for("a place", SOON, async || Session::connect(port).ok()).await;
    mail.begin(&[&address("direct")]).unwrap();
    let dripping = Instant::now();
    while dripping.elapsed() < SOON && mail.send(b"line\r\n").is_ok() {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(dripping.elapsed() < SOON, "a mail that drips was not cut off");
    let mut fourth = wait_for("a place", SOON, async || Session::connect(port).ok()).await;
    fourth.hand_in(&[&address("direct")], &critical("f", "After all that")).unwrap();
    alice.gets("After all that").await;
    assert_eq!(alice.count(), 1, "{:#?}", alice.messages());
}

#[tokio::test]
async fn no_more_mail_is_taken_into_memory_than_allowed() {
    let lab = lab();
    let alice = lab.online("alice").await;
    let port = free_port();
    let parts = [door(port, "in_flight = \"2MiB\""), mailbox("direct", "max_size = \"1MiB\"")];
    let _mailbell = Mailbell::run(&config(&lab, &parts));
    let mut first: Vec<Session> = (0..2).map(|_| Session::connect(port).unwrap()).collect();
    for session in &mut first {
        session.begin(&[&address("direct")]).unwrap();
    }
    // The next one is asked to wait, and gets its turn when one of the others is done.
    let mut next = Session::connect(port).unwrap();
    next.ask("MAIL FROM:<a@b>\r\n").unwrap();
    next.ask(&format!("RCPT TO:<{}>\r\n", address("direct"))).unwrap();
    next.send(b"DATA\r\n").unwrap();
    let waits = std::thread::spawn(move || {
        let answer = next.reply().unwrap();
        (next, answer, Instant::now())
    });
    let mut other = Session::connect(port).unwrap();
    assert_eq!(other.ask("NOOP\r\n").unwrap(), "250 2.0.0 ok");
    assert!(!waits.is_finished(), "a third mail was let in");
    let done = Instant::now();
    first[0].send(&stuffed(critical("1", "The first").as_bytes())).unwrap();
    assert!(first[0].reply().unwrap().starts_with("250"));
    let (mut next, answer, at) = waits.join().unwrap();
    assert!(answer.starts_with("354") && at >= done, "{answer}");
    next.send(&stuffed(critical("2", "The next").as_bytes())).unwrap();
    assert!(next.reply().unwrap().starts_with("250"));
    // One that goes away in the middle gives back what it held.
    drop(first);
    for n in 0..4 {
        let title = format!("Later {n}");
        next.hand_in(&[&address("direct")], &critical(&title, &title)).unwrap();
    }
    alice.gets("Later 3").await;
    assert_eq!(alice.count(), 6, "{:#?}", alice.messages());
}

#[tokio::test]
async fn a_flood_is_bounded_and_does_not_delay_another_mailbox() {
    const SENDERS: usize = 8;
    const MOST: usize = 300;
    let lab = lab();
    let alice = lab.online("alice").await;
    let port = free_port();
    let mailbell = Mailbell::run(&config(&lab, &[door(port, ""), mailbox("flood", ""), mailbox("quiet", "")]));
    let mut quiet = Session::connect(port).unwrap();
    let enough = Arc::new(AtomicBool::new(false));
    let flood = |sender| {
        let enough = enough.clone();
        std::thread::spawn(move || {
            let mut session = Session::connect(port).unwrap();
            let title = |n| format!("Flood {sender}/{n:03}.");
            let on = |_: &usize| !enough.load(Ordering::Relaxed);
            let handed = (0..MOST).take_while(on).map(|n| {
                let mail = severe(&title(n), "warning", &title(n));
                let replies = session.hand_in(&[&address("flood")], &mail).unwrap();
                assert!(replies[0].starts_with("250"), "{replies:?}");
            });
            handed.count()
        })
    };
    let senders: Vec<_> = (0..SENDERS).map(flood).collect();
    alice.wait_count(10, SOON * 3).await;
    quiet.hand_in(&[&address("quiet")], &critical("q", "Quiet")).unwrap();
    let mut most = 0;
    wait_for("the alert of the quiet mailbox", SOON * 3, async || {
        most = most.max(mailbell.messages().await.iter().filter(|(state, _)| state == "ready").count());
        (alice.copies("Quiet") > 0).then_some(())
    })
    .await;
    assert!(senders.iter().any(|sender| !sender.is_finished()), "it came after the flood only");
    enough.store(true, Ordering::Relaxed);
    let handed: Vec<usize> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
    assert!(most <= 400 + 2 * SENDERS, "{most} mails waited");
    // Nothing of it is lost.
    alice.wait_count(handed.iter().sum::<usize>() + 1, SOON * 6).await;
    for (sender, handed) in handed.iter().enumerate() {
        came_with_one_id(&alice, &format!("Flood {sender}/{:03}.", handed - 1), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_too_many_mails_wait_to_be_parsed_the_next_one_is_made_to_wait() {
    // A door and a store, and nobody who parses.
    let (dir, cancel) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let store = Sqlite::open(&store::settings(dir.path())).await.unwrap();
    let (disk, _) = watch_disk(store.clone(), Arc::default(), cancel.clone()).await.unwrap();
    let taken_by = |name: &str| lmtp::Mailbox {
        name: name.parse().unwrap(),
        addresses: vec![address(name).parse().unwrap()],
        max_size: 10_000,
    };
    let mailboxes = vec![taken_by("flood"), taken_by("quiet")];
    let port = free_port();
    let settings = lmtp::Settings {
        listen: lmtp::Listen::Tcp(([127, 0, 0, 1], port).into()),
        allow_public: false,
        max_connections: 10,
        max_recipients: 100,
        timeout: SOON,
        in_flight: 1 << 20,
    };
    let shared = Arc::new(lmtp::Shared::new(store.clone(), Arc::default(), disk, mailboxes));
    let listener = lmtp::Listener::bind(&settings.listen).unwrap();
    let door = tokio::spawn(lmtp::Door::new(settings, listener, shared).run(cancel.clone()));

    let mut flood = Session::connect(port).unwrap();
    for _ in 0..400 {
        flood.hand_in(&[&address("flood")], "Subject: x\n\nx\n").unwrap();
    }
    flood.ask("MAIL FROM:<a@b>\r\n").unwrap();
    flood.send(format!("RCPT TO:<{}>\r\n", address("flood")).as_bytes()).unwrap();
    let waits = std::thread::spawn(move || flood.reply().unwrap());
    // Others are not: their mails are stored meanwhile.
    let mut quiet = Session::connect(port).unwrap();
    for _ in 0..5 {
        quiet.hand_in(&[&address("quiet")], "Subject: x\n\nx\n").unwrap();
    }
    assert!(!waits.is_finished(), "one more than 400 was let in");
    let first = store.ready(1, u64::MAX, &[]).await.unwrap().remove(0);
    let ended = Verdict::Ends(MessageState::Ignored, "enough".into());
    let batch = vec![store::message(first.id, ended)];
    store.d2_commit(batch, &store::Both, &store::Closed, jiff::Timestamp::now()).await.unwrap();
    assert_eq!(waits.join().unwrap(), "250 2.1.5 ok");
    cancel.cancel();
    door.await.unwrap().unwrap();
}

#[tokio::test]
async fn at_the_end_a_mail_that_is_coming_in_is_still_taken() {
    let lab = lab();
    let alice = lab.online("alice").await;
    let port = free_port();
    let mut mailbell = Mailbell::run(&config(&lab, &[door(port, ""), mailbox("direct", "")]));
    let mut idle = Session::connect(port).unwrap();
    let mut busy = Session::connect(port).unwrap();
    busy.begin(&[&address("direct")]).unwrap();
    // So large that what comes after the signal is read in several pieces.
    let text = format!("<title>The last one</title><text>{}</text>", "word ".repeat(40_000));
    let mail = stuffed(alert("key=\"l\" severity=\"critical\"", &text).as_bytes());
    let (half, rest) = mail.split_at(mail.len() / 2);
    busy.send(half).unwrap();
    mailbell.signal("TERM");
    assert_eq!(idle.reply().unwrap(), "421 4.3.2 the service stops; come again");
    wait_for("the door to be shut", SOON, async || Session::silent(port).is_err().then_some(())).await;
    busy.send(rest).unwrap();
    assert!(busy.reply().unwrap().starts_with("250 2.0.0 stored"));
    assert_eq!(busy.reply().unwrap(), "421 4.3.2 the service stops; come again");
    let status = mailbell.ended();
    assert!(status.success(), "{status}:\n{}", mailbell.log());
    mailbell.start();
    alice.gets("The last one").await;
    Session::connect(port).unwrap().hand_in(&[&address("direct")], &critical("m", "Marker")).unwrap();
    alice.gets("Marker").await;
    came_with_one_id(&alice, "The last one", 1);
}

#[tokio::test]
async fn at_the_end_a_mail_that_never_comes_is_not_waited_for() {
    let lab = lab();
    let alice = lab.online("alice").await;
    let port = free_port();
    let config = config(&lab, &[door(port, ""), mailbox("direct", "")]) + "[serve]\nshutdown_grace = \"1s\"\n";
    let mut mailbell = Mailbell::run(&config);
    let mut stuck = Session::connect(port).unwrap();
    stuck.begin(&[&address("direct")]).unwrap();
    stuck.send(b"Subject: never").unwrap();
    let mut session = Session::connect(port).unwrap();
    session.hand_in(&[&address("direct")], &critical("b", "Before")).unwrap();
    alice.gets("Before").await;
    mailbell.stop();
    // No reply: its sender keeps it.
    assert!(stuck.reply().map_or(true, |reply| reply.is_empty()));
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn killed_around_d1_it_loses_nothing_and_pages_once() {
    use crate::support::outcome::aborted;
    let lab = lab();
    let alice = lab.online("alice").await;
    for commit in ["before_d1", "after_d1"] {
        let port = free_port();
        let mut mailbell = Mailbell::new(&config(&lab, &[door(port, ""), mailbox("direct", "")]));
        mailbell.env("FAILPOINTS", &format!("{commit}=panic"));
        mailbell.start();
        let title = format!("Killed {commit}");
        let mail = without_key(&title);
        let mut session = Session::connect(port).unwrap();
        session.begin(&[&address("direct")]).unwrap();
        session.send(&stuffed(mail.as_bytes())).unwrap();
        // The connection dies without an answer, so that its sender comes again.
        assert!(session.reply().map_or(true, |reply| reply.is_empty()), "it was answered before D1 was safe");
        aborted(&mut mailbell).await;
        mailbell.env("FAILPOINTS", "");
        mailbell.start();
        let mut session = Session::connect(port).unwrap();
        let replies = session.hand_in(&[&address("direct")], &mail).unwrap();
        assert!(replies[0].starts_with("250 2.0.0"), "{replies:?}");
        let marker = format!("Marker {commit}");
        session.hand_in(&[&address("direct")], &critical(&marker, &marker)).unwrap();
        alice.gets(&title).await;
        alice.gets(&marker).await;
        let states: Vec<_> = mailbell.messages().await.into_iter().map(|(state, _)| state).collect();
        let want = if commit == "after_d1" { vec!["parsed", "duplicate", "parsed"] } else { vec!["parsed", "parsed"] };
        assert_eq!(states, want, "{commit}");
        came_with_one_id(&alice, &title, 1);
        mailbell.stop();
    }
}
