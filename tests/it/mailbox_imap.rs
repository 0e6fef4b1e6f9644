//! The IMAP mailbox against a real Dovecot. Here what other tests of mailboxes use as well.

mod clearing;
mod fetching;
mod signing_in;
mod waiting;

use std::time::{Duration, Instant};

use mailbell::mailbox::{After, Auth, Entry, Failure, Mailbox, MailboxError, Protocol, Settings, Watch, Woke};
use mailbell::model::{Cursor, NewMessage, Secret};
use mailbell::net::TlsMode;
use tokio::sync::Notify;

use crate::support::DOMAIN;
use crate::support::ca::Ca;
use crate::support::dovecot::Dovecot;

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
