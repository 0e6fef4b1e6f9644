//! POP3.

use mailbell::mailbox::{After, Failure, Protocol};
use mailbell::model::Cursor;

use super::{list, open, with};
use crate::mailbox_imap::{assert_failure, cursors};
use crate::support::script::{Step, expect, send};

const CAPA: &str = "+OK\r\nUSER\r\nPIPELINING\r\nUIDL\r\nTOP\r\n.\r\n";

fn pop3_begin(capa: &str) -> Vec<Step> {
    vec![
        send("+OK ready\r\n"),
        expect("CAPA"),
        send(capa),
        expect("USER alerts"),
        send("+OK\r\n"),
        expect("PASS pw-alerts"),
        send("+OK in\r\n"),
    ]
}

pub(super) fn pop3_listed(uidl: &str, list: &str) -> Vec<Step> {
    with(pop3_begin(CAPA), [expect("UIDL"), send(uidl), expect("LIST"), send(list)])
}

fn pop3_uid(uidl: &str) -> Cursor {
    Cursor::Pop3 { uidl: uidl.into() }
}

#[tokio::test]
async fn pop3_listings_as_servers_write_them() {
    let steps = pop3_listed(
        "+OK 2 messages\r\n1 !\"#$%~\r\n2 same\r\n\r\nnoise\r\n3 same\r\n4  b é c\r\n.\r\n",
        "+OK 4 messages (320 octets)\r\n1 120 more info\r\n2 200\r\n3 200\r\n.\r\n",
    );
    let (_script, listed) = list(Protocol::Pop3, steps).await;
    let found: Vec<_> = listed.unwrap().entries.into_iter().map(|entry| (entry.cursor, entry.size)).collect();
    let odd: String = "b \u{c3}\u{a9} c".into();
    assert_eq!(found, [(pop3_uid("!\"#$%~"), Some(120)), (pop3_uid("same"), Some(200)), (pop3_uid(&odd), None)]);
}

#[tokio::test]
async fn pop3_capabilities_of_all_kinds_or_none() {
    let odd = "+OK\r\nSASL SCRAM-SHA-256-PLUS\r\nEXPIRE 31 USER\r\nUTF8 USER\r\nX-ÿ\r\n\r\n.\r\n";
    for capa in [odd, "-ERR unknown command\r\n", "+OK\r\n.\r\n"] {
        let steps =
            with(pop3_begin(capa), [expect("UIDL"), send("+OK\r\n.\r\n"), expect("LIST"), send("+OK\r\n.\r\n")]);
        assert!(list(Protocol::Pop3, steps).await.1.unwrap().entries.is_empty(), "{capa:?}");
    }
}

#[tokio::test]
async fn pop3_refusals_are_told_apart() {
    let login = |reply: &'static str| {
        vec![
            send("+OK\r\n"),
            expect("CAPA"),
            send("-ERR\r\n"),
            expect("USER"),
            send("+OK\r\n"),
            expect("PASS"),
            send(reply),
        ]
    };
    let sasl = vec![
        send("+OK\r\n"),
        expect("CAPA"),
        send("+OK\r\nSASL LOGIN PLAIN\r\n.\r\n"),
        expect("AUTH PLAIN"),
        send("+ \r\n"),
        expect("AGFsZXJ0cwBwdy1hbGVydHM="),
        send("-ERR [AUTH] no\r\n"),
    ];
    // A `+` is no `+OK`.
    let more = with(sasl[..6].to_vec(), [send("+ and?\r\n")]);
    for (steps, failure, words) in [
        (login("+ and?\r\n"), Failure::Transient, "asks for more than there is to a login"),
        (more, Failure::Transient, "asks for more than there is to a login"),
        (login("-ERR [AUTH] wrong\r\n"), Failure::Auth, "check user and password"),
        (login("-ERR invalid\r\n"), Failure::Auth, "invalid"),
        (login("-ERR [IN-USE] locked\r\n"), Failure::Transient, "locked"),
        (login("-ERR maildrop already locked\r\n"), Failure::Transient, "locked"),
        (login("-ERR [LOGIN-DELAY] wait\r\n"), Failure::RateLimited, "wait"),
        (login("-ERR [SYS/TEMP] disk\r\n"), Failure::Transient, "disk"),
        (login("-ERR PASS pw-alerts?\r\n"), Failure::Auth, "left out"),
        (sasl, Failure::Auth, "check user"),
        (vec![send("-ERR [SYS/TEMP] later\r\n")], Failure::Transient, "later"),
        (vec![send("* OK IMAP\r\n")], Failure::Transient, "not POP3"),
        (
            with(pop3_begin(CAPA), [expect("UIDL"), send("-ERR unknown\r\n")]),
            Failure::Permanent,
            "use protocol = \"imap\"",
        ),
        (
            with(pop3_begin(CAPA), [expect("UIDL"), send("+OK\r\n1 \r\n.\r\n"), expect("LIST"), send("-ERR\r\n")]),
            Failure::Permanent,
            "no usable UIDL",
        ),
    ] {
        let (script, listed) = list(Protocol::Pop3, steps).await;
        assert_failure(listed, failure, words);
        let attempts = script.lines().iter().filter(|l| l.starts_with("PASS") || l.starts_with("AUTH")).count();
        assert!(attempts <= 1, "one attempt: {:?}", script.lines());
    }
}

#[tokio::test]
async fn pop3_end_of_the_connection_anywhere_is_an_error() {
    let whole = pop3_listed("+OK\r\n1 a\r\n.\r\n", "+OK\r\n1 10\r\n.\r\n");
    for cut in 0..whole.len() {
        for part in 0..3 {
            let mut steps = whole[..cut].to_vec();
            if let Step::Send(bytes) = &whole[cut] {
                steps.push(send(&bytes[..part.min(bytes.len() - 1)]));
            }
            steps.push(Step::Close);
            let (_script, listed) = list(Protocol::Pop3, steps).await;
            assert_eq!(listed.unwrap_err().failure, Failure::Transient, "cut at step {cut}");
        }
    }
}

#[tokio::test]
async fn pop3_mails_empty_stuffed_lying_and_gone() {
    let lying = "x".repeat(5000);
    let steps = with(
        pop3_listed(
            "+OK\r\n1 a\r\n2 b\r\n3 c\r\n4 d\r\n5 e\r\n.\r\n",
            "+OK\r\n1 0\r\n2 9\r\n3 9\r\n4 9\r\n5 2000\r\n.\r\n",
        ),
        [
            expect("RETR 1"),
            send("+OK\r\n.\r\n"),
            expect("RETR 2"),
            send(b"+OK\r\n..\r\n...\xff\0\r\n.\r\n"),
            expect("RETR 3"),
            send(format!("+OK 9 octets\r\nA: b\r\n\r\n{lying}\r\n.\r\n")),
            expect("RETR 4"),
            send("-ERR no such message\r\n"),
            expect("TOP 5 0"),
            send("-ERR no TOP\r\n"),
        ],
    );
    let (_script, mut mailbox) = open(Protocol::Pop3, steps).await;
    let listing = mailbox.list(None).await.unwrap();
    let got = mailbox.fetch(&listing.entries, u64::MAX).await.unwrap();
    let got: Vec<_> = got.iter().map(|m| (m.cursor.clone(), m.raw.as_slice(), m.oversize)).collect();
    assert_eq!(
        got,
        [
            (pop3_uid("a"), &b""[..], None),
            (pop3_uid("b"), b".\r\n..\xff\0\r\n", None),
            (pop3_uid("c"), b"A: b\r\n\r\n", Some(5010)),
            (pop3_uid("e"), b"", Some(2000)),
        ]
    );
}

#[tokio::test]
async fn pop3_deletes_what_shares_a_uidl_and_believes_only_quit() {
    let listed = || pop3_listed("+OK\r\n1 a\r\n2 b\r\n3 a\r\n.\r\n", "+OK\r\n.\r\n");
    let dele =
        [expect("DELE 1"), send("+OK\r\n"), expect("DELE 3"), send("+OK\r\n"), expect("DELE 2"), send("-ERR no\r\n")];
    for (quit, done) in
        [(Some("+OK\r\n"), Some(2)), (Some("-ERR some deleted messages not removed\r\n"), None), (None, None)]
    {
        let mut steps = with(listed(), dele.clone());
        steps.push(expect("QUIT"));
        steps.push(quit.map_or(Step::Close, send));
        let (_script, mut mailbox) = open(Protocol::Pop3, steps).await;
        let mut wanted = cursors(&mailbox.list(None).await.unwrap().entries);
        wanted.push(pop3_uid("gone"));
        let cleared = mailbox.clear(&wanted, &After::Delete).await;
        match done {
            Some(_) => assert_eq!(cleared.unwrap().done, [pop3_uid("a"), pop3_uid("gone")]),
            None => assert_eq!(cleared.unwrap_err().failure, Failure::Transient),
        }
    }
}

#[tokio::test]
async fn pop3_without_pipelining_asks_one_by_one() {
    let mails = [
        expect("UIDL"),
        send("+OK\r\n1 a\r\n2 b\r\n.\r\n"),
        expect("LIST"),
        send("-ERR\r\n"),
        expect("RETR 1"),
        send("+OK\r\nx\r\n.\r\n"),
        expect("RETR 2"),
        send("+OK\r\ny\r\n.\r\n"),
    ];
    let (script, mut mailbox) = open(Protocol::Pop3, with(pop3_begin("-ERR\r\n"), mails)).await;
    let listing = mailbox.list(None).await.unwrap();
    assert_eq!(mailbox.fetch(&listing.entries, u64::MAX).await.unwrap().len(), 2);
    drop(script);
}
