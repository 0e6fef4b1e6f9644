//! IMAP.

use std::time::Duration;

use mailbell::mailbox::{self, After, Entry, Failure, Protocol, Settings, Woke};
use tokio::sync::Notify;

use super::{CAPS, imap_begin, imap_listed, imap_uid, list, open, quick, with};
use crate::mailbox_imap::{assert_failure, password};
use crate::support::script::{Script, Step, expect, send};

#[tokio::test]
async fn imap_logins_and_their_refusals() {
    let begin = |caps: &str| {
        vec![send("* OK\r\n"), expect("CAPABILITY"), send(format!("* CAPABILITY {caps}\r\n{{tag}} OK\r\n"))]
    };
    let refused = |reply: &'static str| with(begin(CAPS), [expect("AUTHENTICATE"), send(reply)]);
    for (steps, failure, words) in [
        (refused("{tag} NO [AUTHENTICATIONFAILED] no\r\n"), Failure::Auth, "check user and password"),
        (refused("{tag} NO wrong\r\n"), Failure::Auth, "wrong"),
        (refused("{tag} NO [UNAVAILABLE] later\r\n"), Failure::Transient, "later"),
        (refused("{tag} NO [LIMIT] enough\r\n"), Failure::RateLimited, "enough"),
        (refused("* BYE [ALERT] maintenance\r\n"), Failure::Transient, "maintenance"),
        (refused("{tag} BAD AUTHENTICATE PLAIN AGFsZXJ0cwBwdy1hbGVydHM=\r\n"), Failure::Transient, "left out"),
        (begin("IMAP4rev1 LOGINDISABLED"), Failure::Permanent, "use TLS"),
        (vec![send("* BYE [UNAVAILABLE] full\r\n")], Failure::Transient, "full"),
        (vec![send("+OK POP3\r\n")], Failure::Transient, "not an IMAP greeting"),
        (vec![send("SSH-2.0-x\r\n")], Failure::Transient, "127.0.0.1"),
    ] {
        let (script, listed) = list(Protocol::Imap, steps).await;
        assert_failure(listed, failure, words);
        let logins = script.lines().iter().filter(|line| line.contains("AUTHENTICATE")).count();
        assert!(logins <= 1, "one attempt: {:?}", script.lines());
    }
}

#[tokio::test]
async fn imap_login_by_login_with_literals() {
    let steps = vec![
        send("* OK\r\n"),
        expect("CAPABILITY"),
        send("* CAPABILITY IMAP4rev1\r\n{tag} OK\r\n"),
        expect("LOGIN \"alerts\" {6}"),
        send("+ go on\r\n"),
        expect("grüß"),
        send("M2 OK\r\n"),
        expect("CAPABILITY"),
        send("* CAPABILITY IMAP4rev1\r\n{tag} OK\r\n"),
        expect("SELECT"),
        send("* 0 EXISTS\r\n* OK [UIDVALIDITY 1]\r\n{tag} OK\r\n"),
        expect("NOOP"),
        send("{tag} OK\r\n"),
    ];
    let script = Script::start(vec![steps]).await;
    let s = Settings { auth: password("grüß"), ..quick(Protocol::Imap, &script) };
    let listing = mailbox::open(s).unwrap().list(None).await.unwrap();
    assert!(listing.entries.is_empty());
}

#[tokio::test]
async fn imap_folders_without_lasting_uids_are_refused() {
    let no_uidvalidity = with(imap_begin(CAPS, 0)[..8].to_vec(), [send("* 0 EXISTS\r\n{tag} OK\r\n")]);
    let not_sticky =
        with(imap_begin(CAPS, 0)[..8].to_vec(), [send("* OK [UIDVALIDITY 7]\r\n* OK [UIDNOTSTICKY]\r\n{tag} OK\r\n")]);
    for steps in [no_uidvalidity, not_sticky] {
        assert_failure(list(Protocol::Imap, steps).await.1, Failure::Permanent, "keeps no lasting UIDs");
    }
    for (reply, failure) in [
        ("{tag} NO [NONEXISTENT] none\r\n", Failure::Permanent),
        ("{tag} NO [UNAVAILABLE] later\r\n", Failure::Transient),
        ("{tag} NO mailbox is temporarily unavailable\r\n", Failure::Transient),
    ] {
        let steps = with(imap_begin(CAPS, 0)[..8].to_vec(), [send(reply)]);
        assert_failure(list(Protocol::Imap, steps).await.1, failure, "the folder \"INBOX\"");
    }
}

/// Replies to the listing, or to the fetch, that would hurt; whatever they are, they end in an error that tells no mail text.
#[tokio::test]
async fn imap_replies_that_would_hurt() {
    let deep = format!("* 1 FETCH (BODYSTRUCTURE {}\r\n", "(".repeat(100_000));
    for (reply, words) in [
        ("* 1 FETCH (UID 1 BODY[] {536000000}\r\nsecret".to_owned(), "larger than what was asked for"),
        ("* LIST () \"/\" {536000000}\r\n".to_owned(), "a literal where none belongs"),
        ("* OK [BADCHARSET ({536000000}\r\n".to_owned(), "a literal where none belongs"),
        (deep, "nested too deep"),
        ("* OK ".to_owned() + &"secret".repeat(100_000), "too long"),
        ("* 1 FETCH (UID 1 INTERNALDATE NIL)\r\n{tag} OK\r\n".to_owned(), "cannot take"),
        ("* 1 FETCH secret\r\n".to_owned(), "not IMAP"),
        ("secret mail text\r\n\r\n".to_owned(), "not IMAP"),
        ("* 1 FETCH (UID 1 BODY[] {500}\r\nsecret".to_owned(), "sent nothing for 0.5 s"),
        ("{tag} BAD what?\r\n".to_owned(), "did not understand"),
        ("{tag} NO [SERVERBUG] oops\r\n".to_owned(), "oops"),
        ("+ more\r\n".to_owned(), "nothing more to say"),
        ("* BYE shutting down\r\n".to_owned(), "ended the session: shutting down"),
    ] {
        let steps =
            with(imap_begin(CAPS, 1), [expect("NOOP"), send("{tag} OK\r\n"), expect("UID FETCH"), send(&reply)]);
        let (_script, listed) = list(Protocol::Imap, steps).await;
        let err = listed.unwrap_err();
        assert!(err.to_string().contains(words), "{words:?} is not in {err:?}");
        assert!(!err.to_string().contains("secret"), "{err}");
        assert_eq!(err.failure, Failure::Transient, "{err}");
    }
}

#[tokio::test]
async fn imap_that_drips_is_ended_by_the_overall_limit() {
    let drip = Step::Drip(b"* OK still here\r\n".to_vec(), Duration::from_millis(100));
    let steps = with(imap_begin(CAPS, 1), [expect("NOOP"), send("{tag} OK\r\n"), expect("UID FETCH"), drip]);
    let (_script, listed) = list(Protocol::Imap, steps).await;
    assert_failure(listed, Failure::Transient, "too slow");
}

#[tokio::test]
async fn imap_listing_with_noise_is_sorted_and_the_last_mail_of_a_star_is_left_out() {
    let steps = with(
        imap_begin(CAPS, 3),
        [
            expect("NOOP"),
            send("* 3 EXISTS\r\n* 1 RECENT\r\n{tag} OK\r\n"),
            expect("UID FETCH 6:*"),
            send(
                "* 3 FETCH (RFC822.SIZE 30 UID 9)\r\n* 2 FETCH (FLAGS (\\Seen))\r\n* 2 FETCH (UID 8 RFC822.SIZE 20)\r\n\
                  * 2 FETCH (UID 8 RFC822.SIZE 20)\r\n* 1 FETCH (UID 5 RFC822.SIZE 10)\r\n* 4 FETCH (UID 10)\r\n{tag} OK\r\n",
            ),
        ],
    );
    let (_script, mut mailbox) = open(Protocol::Imap, steps).await;
    let listing = mailbox.list(Some(mailbox::Mark { uidvalidity: 7, uid: 5 })).await.unwrap();
    let found: Vec<_> = listing.entries.iter().map(|entry| (entry.cursor.clone(), entry.size)).collect();
    assert_eq!(found, [(imap_uid(8), Some(20)), (imap_uid(9), Some(30)), (imap_uid(10), None)]);
}

#[tokio::test]
async fn imap_sizes_that_lie_and_mails_in_any_order() {
    let big = format!("Subject: big\r\n\r\n{}", "x".repeat(985));
    assert_eq!(big.len(), 1001);
    let steps = with(
        imap_listed(CAPS, &[(1, 10), (2, 10), (3, 5000), (4, 0)]),
        [
            expect("UID FETCH 1:2,4 (UID RFC822.SIZE INTERNALDATE BODY.PEEK[]<0.1001>)"),
            send("* 2 FETCH (UID 2 INTERNALDATE \"17-Jul-2026 02:44:25 +0200\" RFC822.SIZE 4 BODY[]<0> \"abcd\")\r\n"),
            send(format!("* 1 FETCH (BODY[]<0> {{1001}}\r\n{big} UID 1 RFC822.SIZE 10)\r\n")),
            // Flags of another client, a mail that nobody asked for, one without text: none is a mail.
            send(
                "* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n* 9 FETCH (UID 77 BODY[]<0> \"other\")\r\n* 4 FETCH (UID 4 RFC822.SIZE 0 BODY[]<0> NIL)\r\n",
            ),
            send("{tag} OK\r\n"),
            expect("UID FETCH 3 (UID RFC822.SIZE INTERNALDATE BODY.PEEK[HEADER]<0.65536>)"),
            send("* 3 FETCH (UID 3 RFC822.SIZE 5000 BODY[HEADER]<0> {14}\r\nSubject: c\r\n\r\n)\r\n{tag} OK\r\n"),
        ],
    );
    let (_script, mut mailbox) = open(Protocol::Imap, steps).await;
    let listing = mailbox.list(None).await.unwrap();
    let got = mailbox.fetch(&listing.entries, u64::MAX).await.unwrap();
    let got: Vec<_> = got.iter().map(|m| (m.cursor.clone(), m.raw.as_slice(), m.oversize)).collect();
    assert_eq!(
        got,
        [
            (imap_uid(1), &b"Subject: big\r\n\r\n"[..], Some(1001)),
            (imap_uid(2), b"abcd", None),
            (imap_uid(3), b"Subject: c\r\n\r\n", Some(5000)),
        ]
    );
}

#[tokio::test]
async fn imap_keeps_within_its_budget_when_all_sizes_lie() {
    let body = "y".repeat(900);
    let replies: String =
        (1..=5).map(|n| format!("* {n} FETCH (UID {n} RFC822.SIZE 1 BODY[]<0> {{900}}\r\n{body})\r\n")).collect();
    let steps = with(
        imap_listed(CAPS, &[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]),
        [expect("UID FETCH 1:5"), send(replies + "{tag} OK\r\n")],
    );
    let (_script, mut mailbox) = open(Protocol::Imap, steps).await;
    let listing = mailbox.list(None).await.unwrap();
    let got = mailbox.fetch(&listing.entries, 1500).await.unwrap();
    assert_eq!(got.len(), 2, "the rest comes with the next call");
}

#[tokio::test]
async fn imap_mail_that_the_server_cannot_read_does_not_hide_the_others() {
    let entries: Vec<Entry> = (1..=3).map(|uid| Entry { cursor: imap_uid(uid), size: Some(4) }).collect();
    let one = |uid: u32| send(format!("* {uid} FETCH (UID {uid} RFC822.SIZE 4 BODY[]<0> \"abcd\")\r\n{{tag}} OK\r\n"));
    let no = || send("{tag} NO [SERVERBUG] cannot read\r\n");
    let steps = with(
        imap_begin(CAPS, 3),
        [
            expect("UID FETCH 1:3"),
            no(),
            expect("UID FETCH 1 "),
            no(),
            expect("UID FETCH 2 "),
            one(2),
            expect("UID FETCH 3 "),
            one(3),
        ],
    );
    let (_script, mut mailbox) = open(Protocol::Imap, steps).await;
    let got = mailbox.fetch(&entries, u64::MAX).await.unwrap();
    assert_eq!(got.into_iter().map(|mail| mail.cursor).collect::<Vec<_>>(), [imap_uid(2), imap_uid(3)]);
    let steps = with(imap_begin(CAPS, 1), [expect("UID FETCH 1"), no()]);
    let (_script, mut mailbox) = open(Protocol::Imap, steps).await;
    assert_failure(mailbox.fetch(&entries[..1], u64::MAX).await, Failure::Transient, "cannot read");
}

#[tokio::test]
async fn imap_clearing_that_is_refused_is_not_done() {
    for (how, steps, failure, words) in [
        (
            After::Seen,
            vec![expect("UID STORE 1:2 +FLAGS.SILENT (\\Seen)"), send("{tag} NO [READ-ONLY] no\r\n")],
            Failure::Permanent,
            "to set \\Seen",
        ),
        (
            After::Move("Done".into()),
            vec![
                expect("UID MOVE 1:2 \"Done\""),
                send("{tag} NO [TRYCREATE] none\r\n"),
                expect("CREATE \"Done\""),
                send("{tag} NO bad name\r\n"),
            ],
            Failure::Permanent,
            "perhaps with INBOX. in front",
        ),
        (
            After::Move("Done".into()),
            vec![
                expect("UID MOVE"),
                send("{tag} NO [OVERQUOTA] full\r\n"),
                expect("CREATE"),
                send("{tag} OK\r\n"),
                expect("SUBSCRIBE"),
                send("{tag} NO\r\n"),
                expect("UID MOVE"),
                send("{tag} NO [OVERQUOTA] full\r\n"),
            ],
            Failure::Permanent,
            "full",
        ),
        (
            After::Delete,
            vec![expect("\\Deleted"), send("{tag} OK\r\n"), expect("UID EXPUNGE 1:2"), send("* BYE\r\n")],
            Failure::Transient,
            "ended the session",
        ),
    ] {
        let script = Script::start(vec![with(imap_begin(CAPS, 2), steps)]).await;
        let mut mailbox = mailbox::open(quick(Protocol::Imap, &script)).unwrap();
        assert_failure(mailbox.clear(&[imap_uid(1), imap_uid(2)], &how).await, failure, words);
    }
}

#[tokio::test]
async fn imap_idle_ends_with_bye_or_silence_as_errors_and_counts_growth_only() {
    let idle = |more: Vec<Step>| {
        let steps = with(imap_listed(CAPS, &[(1, 1), (2, 1)]), [expect("IDLE"), send("+ idling\r\n")]);
        with(steps, more)
    };
    let wait = async |steps: Vec<Step>| {
        let (script, mut mailbox) = open(Protocol::Imap, steps).await;
        mailbox.list(None).await.unwrap();
        (mailbox.wait(Some(Duration::from_millis(1500)), &Notify::new()).await, script)
    };
    let done = || [expect("DONE"), send("M7 OK\r\n")];
    assert_failure(
        wait(idle(vec![send("* BYE restart\r\n")])).await.0,
        Failure::Transient,
        "ended the session: restart",
    );
    assert_failure(wait(idle(vec![Step::Close])).await.0, Failure::Transient, "closed the connection");
    assert_failure(wait(idle(vec![send("{tag} OK over\r\n")])).await.0, Failure::Transient, "ended IDLE by itself");
    // Silence behind DONE is a dead link.
    assert_failure(wait(idle(vec![])).await.0, Failure::Transient, "sent nothing for 0.5 s");
    // Flags and expunges, with the count that some servers tell behind them, are no news.
    let noise = "* OK still here\r\n* 1 FETCH (FLAGS (\\Seen))\r\n* 1 EXPUNGE\r\n* 1 EXISTS\r\n";
    let steps = idle(with(vec![send(noise)], done()));
    let (woke, _script) = wait(steps).await;
    assert_eq!(woke.unwrap(), Woke::Time);
    // One gone and one new: the count is the same, and yet there is news.
    let steps = idle(with(vec![send("* 1 EXPUNGE\r\n* 2 EXISTS\r\n")], done()));
    let (woke, _script) = wait(steps).await;
    assert_eq!(woke.unwrap(), Woke::Server);
    // A server that offers IDLE and refuses it is waited for.
    let steps = with(imap_listed(CAPS, &[(1, 1)]), [expect("IDLE"), send("{tag} BAD no\r\n")]);
    assert_eq!(wait(steps).await.0.unwrap(), Woke::Time);
}
