//! What POP3 and IMAP servers say, and a mailbox that has to bear it.

use std::collections::HashSet;
use std::time::Duration;

use mailbell::mailbox::{self, After, Auth, Entry, Listing, Mailbox, MailboxError, Mark, Protocol, Settings, Watch};
use mailbell::model::{Cursor, NewMessage, Secret};
use mailbell::net::TlsMode;
use tokio::sync::Notify;

use super::assert_told_well;
use super::peer::{End, Peer, block_on, within};

const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest an operation may take, but for the bytes that it moves: it may connect anew, twice.
const LIMIT: Duration = Duration::from_secs(50 * 4);
/// Slowest link that is of use, bytes a second.
const SLOWEST: u64 = 8 * 1024;
/// Most mails that are fetched at once.
const MAILS: usize = 40;

/// What a POP3 server says.
pub fn pop3(data: &[u8]) {
    run(Protocol::Pop3, data);
}

/// What an IMAP server says.
pub fn imap(data: &[u8]) {
    run(Protocol::Imap, data);
}

/// The first six bytes choose, each by its value: the end of a connection, TLS, size of reads, what happens to mails,
/// largest mail, and how it waits. The rest is the server's script.
fn run(protocol: Protocol, data: &[u8]) {
    let Some((&[end, tls, chunk, after, size, watch], script)) = data.split_first_chunk::<6>() else { return };
    let end = [End::Close, End::Silence, End::Drip][usize::from(end) % 3];
    let tls = [TlsMode::None, TlsMode::StartTls, TlsMode::Direct][usize::from(tls) % 3];
    let chunk = [usize::MAX, 1, 7, 100][usize::from(chunk) % 4];
    let after = match after % 4 {
        0 => After::Delete,
        1 if protocol == Protocol::Imap => After::Seen,
        2 if protocol == Protocol::Imap => After::Move("Done & dusted".to_owned()),
        _ => After::Keep,
    };
    let max_size = [1000, 20, 100_000][usize::from(size) % 3];
    let watch = [Watch::Idle, Watch::Poll, Watch::Noop(Duration::from_millis(50))][usize::from(watch) % 3];
    let settings = Settings {
        name: "ops".parse().expect("a name"),
        protocol,
        host: "mail.example.org".to_owned(),
        port: 143,
        tls,
        ca_file: None,
        tls_name: None,
        allow_plaintext: false,
        user: "alerts".to_owned(),
        auth: Auth::Password(Secret::new("pw-alerts".to_owned())),
        folder: "INBOX".to_owned(),
        watch,
        after: after.clone(),
        rejected: None,
        max_size,
        idle_for: Duration::from_secs(20),
        timeout: TIMEOUT,
    };
    let peer = Peer::new(script, end, chunk);
    block_on(visit(mailbox::open_over(settings, peer.road()), &after, max_size));
}

/// Looks, takes, clears, waits, and looks again.
async fn visit(mut mailbox: Box<dyn Mailbox>, after: &After, max_size: u64) {
    let listed = within("the first listing", LIMIT, mailbox.list(None)).await;
    let listing = listed.map_err(|err| told_well(&err)).ok();
    listing.iter().for_each(sound);
    if let Some(wanted) = listing.as_ref().map(|listing| &listing.entries[..listing.entries.len().min(MAILS)]) {
        let mails = take(&mut *mailbox, wanted, max_size).await;
        let stored: Vec<Cursor> = mails.into_iter().map(|mail| mail.cursor).collect();
        match within("clearing", LIMIT, mailbox.clear(&stored, after)).await {
            Ok(clearing) => {
                assert!(clearing.done.iter().all(|done| stored.contains(done)), "what was not asked for is cleared");
                clearing.warning.iter().for_each(|warning| assert_told_well("a warning", warning, 500));
            }
            Err(err) => told_well(&err),
        }
    }
    let (poke, at_most) = (Notify::new(), Duration::from_secs(60));
    if let Err(err) = within("waiting", at_most + LIMIT, mailbox.wait(Some(at_most), &poke)).await {
        told_well(&err);
    }
    let mark = listing.as_ref().and_then(|listing| listing.entries.last()).and_then(|last| match last.cursor {
        Cursor::Imap { uidvalidity, uid } => Some(Mark { uidvalidity, uid }),
        _ => None,
    });
    match within("the second listing", LIMIT, mailbox.list(mark)).await {
        Ok(listing) => sound(&listing),
        Err(err) => told_well(&err),
    }
    within("the end", Duration::from_secs(3), mailbox.close()).await;
}

async fn take(mailbox: &mut dyn Mailbox, wanted: &[Entry], max_size: u64) -> Vec<NewMessage> {
    let max_bytes = max_size * 3;
    let limit = LIMIT + Duration::from_secs((max_bytes + max_size) / SLOWEST);
    let mails = match within("fetching", limit, mailbox.fetch(wanted, max_bytes)).await {
        Ok(mails) => mails,
        Err(err) => {
            told_well(&err);
            return Vec::new();
        }
    };
    let mut seen = HashSet::new();
    let mut bytes = 0;
    for mail in &mails {
        assert!(wanted.iter().any(|entry| entry.cursor == mail.cursor), "{} was not asked for", mail.cursor);
        assert!(seen.insert(mail.cursor.clone()), "{} came twice", mail.cursor);
        let (length, most) = (mail.raw.len() as u64, if mail.oversize.is_some() { 64 * 1024 } else { max_size });
        assert!(length <= most, "{} has {length} bytes", mail.cursor);
        assert!(mail.oversize.is_none_or(|size| size > max_size));
        bytes += length;
    }
    assert!(bytes <= max_bytes + max_size.max(64 * 1024), "{bytes} bytes at once");
    mails
}

fn sound(listing: &Listing) {
    let mut seen = HashSet::new();
    for entry in &listing.entries {
        assert!(seen.insert(entry.cursor.clone()), "{} is listed twice", entry.cursor);
        if let Cursor::Pop3 { uidl } = &entry.cursor {
            assert!(!uidl.is_empty() && uidl.len() <= 2000, "{uidl:?} is no UIDL");
        }
    }
}

fn told_well(err: &MailboxError) {
    assert!(err.what.contains("mail.example.org"), "no server is named: {}", err.what);
    assert_told_well("an error", &err.what, 1000);
}
