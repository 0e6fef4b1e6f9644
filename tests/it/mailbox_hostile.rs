//! Mail servers as no real one should be: scripted transcripts for IMAP and POP3.

use std::time::{Duration, Instant};

use mailbell::mailbox::{self, After, Entry, Failure, Listing, Mailbox, MailboxError, Protocol, Settings, Watch, Woke};
use mailbell::model::Cursor;
use mailbell::net::TlsMode;
use tokio::sync::Notify;

use crate::mailbox_imap::{assert_failure, cursors, password, settings};
use crate::support::script::{Script, Step, expect, send};

pub const CAPS: &str = "IMAP4rev1 AUTH=PLAIN SASL-IR IDLE MOVE UIDPLUS";

/// Greeting, capabilities, login, SELECT of a folder with so many mails.
fn imap_begin(caps: &str, exists: u32) -> Vec<Step> {
    vec![
        send("* OK ready\r\n"),
        expect("CAPABILITY"),
        send(format!("* CAPABILITY {caps}\r\n{{tag}} OK done\r\n")),
        expect("AUTHENTICATE PLAIN AGFsZXJ0cwBwdy1hbGVydHM="),
        send("{tag} OK in\r\n"),
        expect("CAPABILITY"),
        send(format!("* CAPABILITY {caps}\r\n{{tag}} OK done\r\n")),
        expect("SELECT \"INBOX\""),
        send(format!("* {exists} EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n{{tag}} OK [READ-WRITE] selected\r\n")),
    ]
}

/// The same, with the listing (UID, size).
pub fn imap_listed(caps: &str, mails: &[(u32, u32)]) -> Vec<Step> {
    let lines: Vec<String> = mails
        .iter()
        .enumerate()
        .map(|(at, (uid, size))| format!("* {} FETCH (UID {uid} RFC822.SIZE {size})\r\n", at + 1))
        .collect();
    let mut steps = imap_begin(caps, mails.len() as u32);
    steps.extend([
        expect("NOOP"),
        send("{tag} OK\r\n"),
        expect("UID FETCH 1:* (UID RFC822.SIZE)"),
        send(format!("{}{{tag}} OK done\r\n", lines.concat())),
    ]);
    steps
}

pub fn with(mut steps: Vec<Step>, more: impl IntoIterator<Item = Step>) -> Vec<Step> {
    steps.extend(more);
    steps
}

pub fn quick(protocol: Protocol, script: &Script) -> Settings {
    let timeout = Duration::from_millis(500);
    Settings { timeout, max_size: 1000, ..settings(protocol, script.port, TlsMode::None, None) }
}

pub async fn open(protocol: Protocol, steps: Vec<Step>) -> (Script, Box<dyn Mailbox>) {
    let script = Script::start(vec![steps]).await;
    let mailbox = mailbox::open(quick(protocol, &script)).unwrap();
    (script, mailbox)
}

async fn list(protocol: Protocol, steps: Vec<Step>) -> (Script, Result<Listing, MailboxError>) {
    let (script, mut mailbox) = open(protocol, steps).await;
    let start = Instant::now();
    let listed = mailbox.list(None).await;
    assert!(start.elapsed() < Duration::from_secs(6), "it took {:?}", start.elapsed());
    (script, listed)
}

fn imap_uid(uid: u32) -> Cursor {
    Cursor::Imap { uidvalidity: 7, uid }
}

// ---- before TLS ----

#[tokio::test]
async fn bytes_behind_the_ok_to_starttls_end_the_connection() {
    let imap = vec![send("* OK hi\r\n"), expect("STARTTLS"), send("{tag} OK go\r\n* CAPABILITY IMAP4rev1\r\n")];
    let pop3 = vec![send("+OK hi\r\n"), expect("STLS"), send("+OK go\r\n+OK more\r\n")];
    for (protocol, steps) in [(Protocol::Imap, imap), (Protocol::Pop3, pop3)] {
        let script = Script::start(vec![steps]).await;
        let s = Settings { tls: TlsMode::StartTls, ..quick(protocol, &script) };
        assert_failure(mailbox::open(s).unwrap().list(None).await, Failure::Permanent, "bytes came behind the OK");
        assert!(!script.saw("AUTH") && !script.saw("LOGIN") && !script.saw("USER"));
    }
}

#[tokio::test]
async fn greetings_that_make_starttls_impossible() {
    for (protocol, steps, failure, words) in [
        (Protocol::Imap, vec![send("* PREAUTH welcome\r\n")], Failure::Permanent, "PREAUTH"),
        (Protocol::Imap, vec![send("* BYE too many connections\r\n")], Failure::RateLimited, "turns us away"),
        (
            Protocol::Imap,
            vec![send("* OK\r\n"), expect("STARTTLS"), send("{tag} BAD what?\r\n")],
            Failure::Permanent,
            "tls = \"direct\"",
        ),
        (Protocol::Imap, vec![], Failure::Transient, "no answer within 0.5 s"),
        (Protocol::Imap, vec![send(vec![b'x'; 9000])], Failure::Transient, "a line of over"),
        (Protocol::Imap, vec![Step::Close], Failure::Transient, "closed the connection"),
        (Protocol::Pop3, vec![send("-ERR [IN-USE] busy\r\n")], Failure::Transient, "turns us away"),
        (
            Protocol::Pop3,
            vec![send("+OK\r\n"), expect("STLS"), send("-ERR unknown\r\n")],
            Failure::Permanent,
            "tls = \"direct\"",
        ),
    ] {
        let script = Script::start(vec![steps]).await;
        let s = Settings { tls: TlsMode::StartTls, ..quick(protocol, &script) };
        assert_failure(mailbox::open(s).unwrap().list(None).await, failure, words);
        assert!(script.lines().len() <= 1, "no password was sent: {:?}", script.lines());
    }
}

#[tokio::test]
async fn plaintext_goes_to_loopback_only() {
    for protocol in [Protocol::Imap, Protocol::Pop3] {
        let s = Settings { host: "192.0.2.1".into(), ..settings(protocol, 143, TlsMode::None, None) };
        assert_failure(mailbox::open(s).unwrap().list(None).await, Failure::Permanent, "allow_plaintext = true");
    }
}

// ---- IMAP ----

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

// ---- POP3 ----

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

fn pop3_listed(uidl: &str, list: &str) -> Vec<Step> {
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
    for (steps, failure, words) in [
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

#[tokio::test]
async fn forty_thousand_mails_are_listed_in_good_time() {
    let many = 40_000;
    let uidl: String = (1..=many).map(|n| format!("{n} 0000000{n:010}abcdef\r\n")).collect();
    let list: String = (1..=many).map(|n| format!("{n} 5000000\r\n")).collect();
    let pop3 = pop3_listed(&format!("+OK\r\n{uidl}.\r\n"), &format!("+OK\r\n{list}.\r\n"));
    let sizes: Vec<(u32, u32)> = (1..=many).map(|n| (n, 5_000_000)).collect();
    let imap = imap_listed(CAPS, &sizes);
    for (protocol, steps) in [(Protocol::Pop3, pop3), (Protocol::Imap, imap)] {
        let script = Script::start(vec![steps]).await;
        let s = Settings { watch: Watch::Poll, timeout: Duration::from_secs(60), ..quick(protocol, &script) };
        let mut mailbox = mailbox::open(s).unwrap();
        let start = Instant::now();
        let listing = mailbox.list(None).await.unwrap();
        let took = start.elapsed();
        assert_eq!(listing.entries.len(), many as usize);
        // A second or two; anything quadratic takes minutes.
        assert!(took < Duration::from_secs(60), "{protocol:?}: {took:?}");
        println!("{many} mails listed over {protocol:?} in {took:?}");
    }
}
