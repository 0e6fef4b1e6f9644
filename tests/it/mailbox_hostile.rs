//! Mail servers as no real one should be: scripted transcripts for IMAP and POP3. Here what is the same for both.

mod imap;
mod pop3;

use std::time::{Duration, Instant};

use mailbell::mailbox::{self, Failure, Listing, Mailbox, MailboxError, Protocol, Settings, Watch};
use mailbell::model::Cursor;
use mailbell::net::TlsMode;

use crate::mailbox_imap::{assert_failure, settings};
use crate::support::script::{Script, Step, expect, send};

pub const CAPS: &str = "IMAP4rev1 AUTH=PLAIN SASL-IR IDLE MOVE UIDPLUS";

/// Greeting, capabilities, login, SELECT of a folder with so many mails.
pub fn imap_begin(caps: &str, exists: u32) -> Vec<Step> {
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

#[tokio::test]
async fn forty_thousand_mails_are_listed_in_good_time() {
    let many = 40_000;
    let uidl: String = (1..=many).map(|n| format!("{n} 0000000{n:010}abcdef\r\n")).collect();
    let list: String = (1..=many).map(|n| format!("{n} 5000000\r\n")).collect();
    let pop3 = pop3::pop3_listed(&format!("+OK\r\n{uidl}.\r\n"), &format!("+OK\r\n{list}.\r\n"));
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
