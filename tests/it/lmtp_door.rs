//! Mails that are handed in by LMTP: from the door to the person, each address with its mailbox's settings.

use std::os::unix::fs::PermissionsExt;

use crate::support::lab::{Lab, OPERATORS, alert, critical};
use crate::support::lmtp::Session;
use crate::support::mailbell::Mailbell;
use crate::support::outcome::{all_in_state, came_with_one_id, copies_of};
use crate::support::prosody::Options;
use crate::support::{DOMAIN, free_port};

/// A lab in which nothing is fetched.
pub fn lab() -> Lab {
    Lab::with(&["alice"], &[], Options::default())
}

/// `[[lmtp]]` on a port.
pub fn door(port: u16, more: &str) -> String {
    format!("[[lmtp]]\nlisten = \"127.0.0.1:{port}\"\n{more}\n")
}

/// A mailbox that takes `NAME@example.test`.
pub fn mailbox(name: &str, more: &str) -> String {
    format!("[[mailbox]]\nname = \"{name}\"\nprotocol = \"lmtp\"\naddresses = [\"{}\"]\n{more}\n", address(name))
}

pub fn address(name: &str) -> String {
    format!("{name}@{DOMAIN}")
}

/// The lab's config with these doors and mailboxes.
pub fn config(lab: &Lab, parts: &[String]) -> String {
    lab.base() + &parts.concat() + &lab.everybody("ops") + OPERATORS
}

/// An alert without a key: nothing but the mail itself tells that it was seen before.
pub fn without_key(title: &str) -> String {
    alert("severity=\"critical\"", &format!("<title>{title}</title>"))
}

#[tokio::test]
async fn a_mail_is_handed_in_by_tcp_and_by_a_unix_socket() {
    let lab = lab();
    let alice = lab.online("alice").await;
    let port = free_port();
    let unix = "[[lmtp]]\nlisten = \"unix:lmtp.sock\"\nmode = \"0666\"\n".to_owned();
    let mut mailbell = Mailbell::run(&config(&lab, &[door(port, ""), unix, mailbox("direct", "")]));
    mailbell.logged("mails can be handed in (LMTP)", 2).await;
    let socket = mailbell.path("lmtp.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o666);

    let mut tcp = Session::connect(port).unwrap();
    assert_eq!(
        tcp.hand_in(&[&address("direct")], &critical("t", "By TCP")).unwrap(),
        ["250 2.0.0 stored as message 1"]
    );
    alice.gets("By TCP").await;
    let mut unix = Session::unix(&socket).unwrap();
    for n in 1..=2 {
        let title = format!("By socket {n}");
        let replies = unix.hand_in(&["DIRECT@Example.TEST"], &critical(&title, &title)).unwrap();
        assert_eq!(replies, [format!("250 2.0.0 stored as message {}", n + 1)]);
        alice.gets(&title).await;
    }
    assert_eq!(tcp.ask("QUIT\r\n").unwrap(), "221 2.0.0 goodbye");
    assert_eq!(alice.count(), 3, "{:#?}", alice.messages());
    all_in_state(&mailbell, "By ", 3, "delivered").await;

    // What idles at the end is told; the socket is gone.
    mailbell.stop();
    assert_eq!(unix.reply().unwrap(), "421 4.3.2 the service stops; come again");
    assert!(!socket.exists());
    mailbell.start();
    let title = "After a restart";
    Session::unix(&socket).unwrap().hand_in(&[&address("direct")], &critical("r", title)).unwrap();
    alice.gets(title).await;
}

#[tokio::test]
async fn the_address_chooses_the_mailbox_and_each_recipient_gets_an_answer() {
    let lab = lab();
    let alice = lab.online("alice").await;
    let port = free_port();
    let parts = [
        door(port, ""),
        mailbox("strict", "senders = [\"boss@example.test\"]"),
        mailbox("plain", "plain = \"alert\"\nplain_severity = \"major\""),
        mailbox("short", "max_size = \"1KiB\""),
        "[[mailbox]]\nname = \"rest\"\nprotocol = \"lmtp\"\naddresses = [\"*@rest.test\"]\n".to_owned(),
    ];
    let mailbell = Mailbell::run(&config(&lab, &parts));
    let mut session = Session::connect(port).unwrap();
    // One mail: rejected in one mailbox, an alert in the next, too large for the third, without XML in quarantine in the last.
    let mail = format!("From: monitor@example.test\nSubject: Disk full\nMessage-ID: <1@x>\n\n{}", "text\n".repeat(300));
    let to = [&*address("strict"), &address("plain"), &address("short"), "anyone@rest.test", "Plain@example.test"];
    let mut replies = session.hand_in(&to, &mail).unwrap();
    assert_eq!(replies.remove(2), "552 5.3.4 it is too large: at most 1KiB");
    let stored = |n: u32| format!("250 2.0.0 stored as message {n}");
    assert_eq!(replies, [stored(1), stored(2), stored(3), stored(2)]);
    let judged = mailbell.judged(3).await;
    let states: Vec<_> = judged.iter().map(|(state, _)| state.as_str()).collect();
    assert_eq!(states, ["rejected", "parsed", "quarantined"]);
    assert!(judged[0].1.contains("monitor@example.test is not among the allowed senders"), "{judged:?}");
    let im = alice.gets("Disk full").await;
    assert!(im.starts_with("MAJOR: Disk full"), "{im}");
    // The operators are told of what nobody else would see.
    let told = alice.gets("mailbox short").await;
    assert!(told.contains("was refused, max_size is 1KiB"), "{told}");
    alice.gets("mailbox rest").await;
    assert_eq!(copies_of(&alice, "Disk full").len(), 1);

    // An address that nobody has, and a sender whose address is odd but real.
    assert_eq!(session.ask("MAIL FROM:<root@[192.0.2.1]>\r\n").unwrap(), "250 2.1.0 ok");
    let unknown = session.ask("RCPT TO:<who@example.test>\r\n").unwrap();
    assert_eq!(unknown, "550 5.1.1 no mailbox here has this address");
    assert_eq!(session.ask("DATA\r\n").unwrap(), "503 5.5.1 no recipient was accepted");
}

#[tokio::test]
async fn pipelined_mails_are_answered_in_order() {
    let lab = lab();
    let alice = lab.online("alice").await;
    let port = free_port();
    let _mailbell = Mailbell::run(&config(&lab, &[door(port, ""), mailbox("direct", "")]));
    let mut session = Session::silent(port).unwrap();
    let mail =
        |title: &str| String::from_utf8(crate::support::lmtp::stuffed(critical(title, title).as_bytes())).unwrap();
    let envelope =
        format!("MAIL FROM:<a@b> BODY=8BITMIME\r\nRCPT TO:<no@one>\r\nRCPT TO:<{}>\r\nDATA\r\n", address("direct"));
    let all = format!("LHLO x\r\n{envelope}{}{envelope}{}QUIT\r\n", mail("Piped 1"), mail("Piped 2"));
    // In pieces of odd sizes, as a network may cut it.
    for piece in all.as_bytes().chunks(97) {
        session.send(piece).unwrap();
    }
    let codes: Vec<String> = (0..13).map(|_| session.reply().unwrap().chars().take(3).collect()).collect();
    assert_eq!(codes, ["220", "250", "250", "550", "250", "354", "250", "250", "550", "250", "354", "250", "221"]);
    alice.gets("Piped 1").await;
    alice.gets("Piped 2").await;
}

#[tokio::test]
async fn a_mail_inside_a_mail_stays_inside() {
    let lab = lab();
    let alice = lab.online("alice").await;
    let port = free_port();
    let mailbell = Mailbell::run(&config(&lab, &[door(port, ""), mailbox("direct", "")]));
    let mut session = Session::connect(port).unwrap();
    let smuggled = format!(
        "MAIL FROM:<evil@example.test>\r\nRCPT TO:<{}>\r\nDATA\r\n{}",
        address("direct"),
        critical("evil", "Smuggled").replace('\n', "\r\n")
    );
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r\r\n"] {
        session.begin(&[&address("direct")]).unwrap();
        session.send(format!("Subject: outer\r\n\r\nhello{end}{smuggled}\r\n.\r\nNOOP\r\n").as_bytes()).unwrap();
        assert!(session.reply().unwrap().starts_with("250 2.0.0 stored as message"), "{end:?}");
        assert_eq!(session.reply().unwrap(), "250 2.0.0 ok", "{end:?}");
    }
    session.hand_in(&[&address("direct")], &critical("m", "Marker")).unwrap();
    alice.gets("Marker").await;
    assert_eq!(mailbell.judged(6).await.len(), 6);
    assert_eq!(alice.copies("Smuggled"), 0);
}

#[tokio::test]
async fn a_mail_that_comes_again_pages_once() {
    let lab = lab();
    let alice = lab.online("alice").await;
    let port = free_port();
    let mailbell = Mailbell::run(&config(&lab, &[door(port, ""), mailbox("direct", ""), mailbox("other", "")]));
    let again = without_key("Once only");
    // The sender leaves before it could read its 250.
    let mut session = Session::connect(port).unwrap();
    session.begin(&[&address("direct")]).unwrap();
    session.send(&crate::support::lmtp::stuffed(again.as_bytes())).unwrap();
    drop(session);
    alice.gets("Once only").await;
    let mut session = Session::connect(port).unwrap();
    session.hand_in(&[&address("direct")], &again).unwrap();
    // Without a Message-ID, but as a mail server passed it on.
    let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S +0000");
    let bare = |title: &str| {
        let lines = without_key(title);
        lines.lines().filter(|l| !l.starts_with("Message-ID")).map(|l| format!("{l}\n")).collect::<String>()
    };
    let passed_on = format!("Received: by mx.example.test id 4X2; {date}\n{}", bare("Passed on"));
    session.hand_in(&[&address("direct")], &passed_on).unwrap();
    session.hand_in(&[&address("direct")], &passed_on).unwrap();
    // Nobody can tell two such mails from one that came twice: in doubt each is looked at.
    session.hand_in(&[&address("direct")], &bare("Who knows")).unwrap();
    session.hand_in(&[&address("direct")], &bare("Who knows")).unwrap();
    session.hand_in(&[&address("other")], &critical("m", "Marker")).unwrap();
    alice.gets("Marker").await;
    let states: Vec<_> = mailbell.judged(7).await.into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["parsed", "duplicate", "parsed", "duplicate", "parsed", "parsed", "parsed"]);
    came_with_one_id(&alice, "Once only", 1);
    came_with_one_id(&alice, "Passed on", 1);
}

#[tokio::test]
async fn a_mail_that_waited_too_long_at_the_mail_server_pages_nobody() {
    let lab = lab();
    let alice = lab.online("alice").await;
    let port = free_port();
    let mailbell = Mailbell::run(&config(&lab, &[door(port, ""), mailbox("direct", "")]));
    let mut session = Session::connect(port).unwrap();
    let hours_ago = |hours: i64| {
        let then = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(hours);
        format!("Received: by mx.example.test; {}\n", then.strftime("%a, %d %b %Y %H:%M:%S +0000"))
    };
    for (hours, title) in [(25, "Too old"), (23, "Late")] {
        session.hand_in(&[&address("direct")], &(hours_ago(hours) + &critical(title, title))).unwrap();
    }
    alice.gets("Late").await;
    let states: Vec<_> = mailbell.judged(2).await.into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["stale", "parsed"]);
    assert_eq!(alice.copies("CRITICAL: Too old"), 0);
}
