//! `[[mailbox]]`.

use std::time::Duration;

use super::connection::{Tls, server};
use super::item::{Item, LONG, SHORT};
use super::lmtp::{self, LmtpMailbox};
use super::login;
use super::names::Names;
use super::pattern;
use super::reader::Section;
use super::report::quote;
use super::rules;
use super::schema::{Law, Want, What};
use crate::intake::{self, RequireAuth};
use crate::mailbox::{After, NOOP, NOOP_AFAR, Protocol, Settings, Watch, is_near};
use crate::model::{MailboxName, Severity, Span};
use crate::net::TlsMode;
use crate::parse::Plain;
use crate::route::KeyScope;

/// One `[[mailbox]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxConfig {
    /// How it is read.
    pub mailbox: Settings,
    /// What is done with its mails.
    pub intake: intake::Settings,
    /// Within what a key names one condition.
    pub key_scope: KeyScope,
}

/// One `[[mailbox]]` of either kind.
pub(super) enum Entry {
    /// Over IMAP or POP3.
    Fetched(Option<Box<MailboxConfig>>),
    /// By LMTP.
    Handed(Option<LmtpMailbox>),
}

pub(super) const PROTOCOLS: [(&str, Protocol); 2] = [("imap", Protocol::Imap), ("pop3", Protocol::Pop3)];
const WAYS: [(&str, Option<Protocol>); 3] =
    [("imap", Some(Protocol::Imap)), ("pop3", Some(Protocol::Pop3)), ("lmtp", None)];
pub(super) const KEY_SCOPES: [(&str, KeyScope); 2] = [("sender", KeyScope::Sender), ("mailbox", KeyScope::Mailbox)];
pub(super) const REQUIRE_AUTHS: [(&str, bool); 2] = [("none", false), ("dmarc", true)];
pub(super) const NEVER: &str = "never";
/// Beside `noop:DURATION`.
const WATCHES: [(&str, Watch); 2] = [("idle", Watch::Idle), ("poll", Watch::Poll)];
/// Beside `move:FOLDER`.
const AFTERS: [(&str, After); 3] = [("keep", After::Keep), ("seen", After::Seen), ("delete", After::Delete)];

pub(super) fn read(section: &Section<'_, '_>, name: Option<MailboxName>, names: &Names) -> Entry {
    match section.value("protocol").and_then(|item| item.choice(&WAYS)) {
        Some(None) => {
            section.in_case("protocol", &["lmtp"]);
            Entry::Handed(lmtp::mailbox(section, name, names))
        }
        protocol => {
            section.in_case("protocol", &["imap", "pop3"]);
            Entry::Fetched(fetched(section, name, protocol.flatten(), names).map(Box::new))
        }
    }
}

fn fetched(
    section: &Section<'_, '_>,
    name: Option<MailboxName>,
    protocol: Option<Protocol>,
    names: &Names,
) -> Option<MailboxConfig> {
    section.law(Law::new(What::None(vec!["addresses"])));
    if let Some(item) = section.optional("addresses") {
        item.fail::<()>("is for a mailbox that mails are handed to", "leave it out, or set protocol = \"lmtp\"");
    }
    let intake = intake(section);
    let key_scope = section.value("key_scope").and_then(|item| item.choice(&KEY_SCOPES));
    let mailbox = connection(section, name, protocol, names);
    if let (Some(mailbox), Some(intake)) = (&mailbox, &intake) {
        refuse_noop_beside_poll(section, mailbox.watch, intake.poll);
    }
    Some(MailboxConfig { mailbox: mailbox?, intake: intake?, key_scope: key_scope? })
}

fn connection(
    section: &Section<'_, '_>,
    name: Option<MailboxName>,
    protocol: Option<Protocol>,
    names: &Names,
) -> Option<Settings> {
    let tls = Tls::read(section);
    let address = section.required("server", "server = \"mail.example.org\"").and_then(|item| {
        let (host, port) = server(&item, port_of(protocol, tls.mode))?;
        tls.check_plaintext(&item, &host);
        Some((host, port))
    });
    let user = section.required("user", "user = \"NAME\"").and_then(|item| item.some_text());
    let auth = login::read(section);
    let folder = section.value("folder").and_then(|item| item.some_text());
    let watch = watch(section, protocol, address.as_ref().map(|(host, _)| host.as_str()));
    let after = section.value("after").and_then(|item| after(&item));
    let rejected = section.optional("rejected").and_then(|item| rejected(&item));
    let max_size = max_size(section);
    let idle_for = section.value("idle_for").and_then(|item| item.span(SHORT..=Duration::from_secs(29 * 60)));
    let timeout = section.value("timeout").and_then(|item| item.span(SHORT..=Duration::from_secs(600)));

    pop3_laws(section);
    if protocol == Some(Protocol::Pop3) {
        refuse_imap_only(section);
    }
    refuse_own_folder(section, folder);
    if let (Some((host, port)), Some(user), Some(folder)) = (&address, user, folder) {
        names.one_mailbox_each(section, host, *port, user, folder);
    }
    let (host, port) = address?;
    Some(Settings {
        name: name?,
        protocol: protocol?,
        host,
        port,
        tls: tls.mode?,
        ca_file: tls.ca_file,
        tls_name: tls.tls_name,
        allow_plaintext: tls.allow_plaintext?,
        user: user?.to_owned(),
        auth: auth?,
        folder: folder?.to_owned(),
        watch: watch?,
        after: after?,
        rejected,
        max_size: max_size?,
        idle_for: idle_for?,
        timeout: timeout?,
    })
}

/// IANA's ports; `imap` and `starttls` meanwhile for what could not be read.
fn port_of(protocol: Option<Protocol>, tls: Option<TlsMode>) -> u16 {
    match (protocol, tls) {
        (Some(Protocol::Pop3), Some(TlsMode::Direct)) => 995,
        (Some(Protocol::Pop3), _) => 110,
        (_, Some(TlsMode::Direct)) => 993,
        _ => 143,
    }
}

fn watch(section: &Section<'_, '_>, protocol: Option<Protocol>, host: Option<&str>) -> Option<Watch> {
    if section.optional("watch").is_none() && protocol == Some(Protocol::Pop3) {
        return Some(Watch::Poll);
    }
    let item = section.value("watch")?;
    item.wants(Want::Like(format!("^noop:{}$", Span::form(false)).into()));
    if let Some(watch) = item.word(&WATCHES) {
        return Some(watch);
    }
    let text = item.text()?;
    match text.strip_prefix("noop") {
        Some(rest) => noop(&item, text, rest, host),
        None => item.fail(format!("{} is not allowed here", quote(text)), "allowed: idle, poll, noop:DURATION"),
    }
}

/// `noop:50ms`. What a host's name stands for is seen when it is dialled.
fn noop(item: &Item<'_, '_>, text: &str, rest: &str, host: Option<&str>) -> Option<Watch> {
    let Some(Span(every)) = rest.strip_prefix(':').and_then(|span| span.parse().ok()) else {
        return item.fail(
            format!("{} names no interval of NOOPs", quote(text)),
            "write a whole number and a unit: ms, s, m (\"noop:50ms\")",
        );
    };
    if !NOOP.contains(&every) {
        let (least, most) = (Span(*NOOP.start()), Span(*NOOP.end()));
        return item.fail(format!("{} is out of range", quote(text)), format!("write noop:{least} to noop:{most}"));
    }
    let far = host.and_then(|host| host.parse().ok()).filter(|address| !is_near(*address));
    if let Some(address) = far.filter(|_| every < NOOP_AFAR) {
        return item.fail(
            format!("{} is too often for {address}, which is in no private network", quote(text)),
            format!("write \"noop:{}\" or more, or \"idle\"", Span(NOOP_AFAR)),
        );
    }
    Some(Watch::Noop(every))
}

/// With the poll more often than the NOOP, the poll alone does it.
fn refuse_noop_beside_poll(section: &Section<'_, '_>, watch: Watch, poll: Option<Duration>) {
    if let (Watch::Noop(every), Some(poll), Some(item)) = (watch, poll, section.optional("watch"))
        && every > poll
    {
        item.fail::<()>(
            format!("`noop:{}` is less often than poll ({})", Span(every), Span(poll)),
            "shorten it, or write \"poll\"",
        );
    }
}

/// `move:FOLDER`.
const MOVE: &str = r"^move:.*\S";

fn after(item: &Item<'_, '_>) -> Option<After> {
    let allowed = "allowed: keep, seen, move:FOLDER, delete";
    item.wants(Want::like(MOVE));
    if let Some(after) = item.word(&AFTERS) {
        return Some(after);
    }
    let text = item.text()?;
    match text.strip_prefix("move:") {
        Some(folder) if !folder.trim().is_empty() => Some(After::Move(folder.to_owned())),
        Some(_) => item.fail(format!("{} names no folder", quote(text)), "write \"move:FOLDER\""),
        None => item.fail(format!("{} is not allowed here", quote(text)), allowed),
    }
}

fn rejected(item: &Item<'_, '_>) -> Option<String> {
    item.wants(Want::like(MOVE));
    let text = item.text()?;
    match text.strip_prefix("move:").filter(|folder| !folder.trim().is_empty()) {
        Some(folder) => Some(folder.to_owned()),
        None => item.fail(
            format!("{} is not allowed here", quote(text)),
            "write \"move:FOLDER\", or leave the key out: then such mails stay where they are",
        ),
    }
}

/// Keys that POP3 has no use for.
const IMAP_ONLY: [&str; 3] = ["folder", "rejected", "idle_for"];

/// What [`refuse_imap_only`] refuses, for a schema.
fn pop3_laws(section: &Section<'_, '_>) {
    let laws = [
        What::None(IMAP_ONLY.to_vec()),
        What::Only("watch", vec!["poll"]),
        What::Only("after", vec!["keep", "delete"]),
    ];
    laws.into_iter().for_each(|what| section.law(Law::when("protocol", &["pop3"], what)));
}

/// POP3 (RFC 1939) knows neither flags nor folders, and cannot tell of new mail.
fn refuse_imap_only(section: &Section<'_, '_>) {
    let pop3 = "is not possible with POP3";
    for key in IMAP_ONLY {
        if let Some(item) = section.optional(key) {
            item.fail::<()>(pop3, "leave it out, or set protocol = \"imap\"");
        }
    }
    if let Some(item) = section.optional("watch")
        && let Some(text) = item.raw_text()
        && (text == "idle" || text.starts_with("noop"))
    {
        item.fail::<()>(format!("{} {pop3}", quote(text)), "write \"poll\", or set protocol = \"imap\"");
    }
    if let Some(item) = section.optional("after")
        && let Some(text) = item.raw_text()
        && (text == "seen" || text.starts_with("move:"))
    {
        item.fail::<()>(format!("{} {pop3}", quote(text)), "write \"keep\" or \"delete\", or set protocol = \"imap\"");
    }
}

/// Moving a mail into the folder that is watched would bring it back as new.
fn refuse_own_folder(section: &Section<'_, '_>, watched: Option<&str>) {
    let same = |a: &str, b: &str| a == b || (a.eq_ignore_ascii_case("INBOX") && b.eq_ignore_ascii_case("INBOX"));
    for key in ["after", "rejected"] {
        let Some(item) = section.optional(key) else { continue };
        let target = item.raw_text().and_then(|text| text.strip_prefix("move:"));
        if let (Some(target), Some(watched)) = (target, watched)
            && same(target, watched)
        {
            item.fail::<()>(
                format!("moves into {}, the folder that is watched", quote(watched)),
                "name another folder",
            );
        }
    }
}

/// The largest mail that is taken, bytes.
pub(super) fn max_size(section: &Section<'_, '_>) -> Option<u64> {
    section.value("max_size").and_then(|item| item.size(1024..=256 << 20))
}

/// What is done with its mails: no more of the table is read.
pub(super) fn intake(section: &Section<'_, '_>) -> Option<intake::Settings> {
    let poll = section.value("poll").and_then(|item| poll(&item));
    let batch = section.value("batch").and_then(|item| item.number(1..=1000));
    let max_age = section.value("max_age").and_then(|item| item.span(Duration::from_secs(60)..=LONG));
    let senders = section.value("senders").and_then(|item| item.each(pattern::sender));
    let require_auth = vouched(section);
    let choose = section.value("sender_may_choose_group").and_then(|item| item.yes());
    let plain_severity = section.value("plain_severity").and_then(|item| item.choice(&severities()));
    let plain = section.value("plain").and_then(|item| item.choice(&[("quarantine", false), ("alert", true)]));
    let rules = rules::read(section, choose);
    let plain = match (plain?, plain_severity?) {
        (true, severity) => Plain::Alert(severity),
        (false, _) => Plain::Quarantine,
    };
    Some(intake::Settings {
        poll: poll?,
        batch: batch?,
        max_age: max_age?,
        senders: senders?,
        require_auth: require_auth?,
        sender_may_choose_group: choose?,
        plain,
        rules: rules?,
    })
}

/// `require_auth`, and whose word is taken for it.
fn vouched(section: &Section<'_, '_>) -> Option<Option<RequireAuth>> {
    let required = section.value("require_auth").and_then(|item| item.choice(&REQUIRE_AUTHS));
    let given = section.optional("authserv_id").map(|item| (authserv_id(&item), item));
    section.law(Law::when("require_auth", &["dmarc"], What::Needs("authserv_id")));
    section.law(Law::when("require_auth", &["none"], What::None(vec!["authserv_id"])));
    match (required?, given) {
        (false, None) => Some(None),
        (false, Some((_, item))) => {
            item.fail("is for require_auth = \"dmarc\" only", "set require_auth = \"dmarc\", or leave it out")
        }
        (true, Some((id, _))) => id.map(|authserv_id| Some(RequireAuth { authserv_id })),
        (true, None) => {
            let mend =
                "authserv_id = \"mx.example.org\", the name that your mail server puts first in Authentication-Results";
            section.missing("authserv_id", mend);
            None
        }
    }
}

/// RFC 8601 §2.2 allows any text; servers use their name, and that of Received has to be the same.
fn authserv_id(item: &Item<'_, '_>) -> Option<String> {
    item.wants(Want::like("^[A-Za-z0-9._:-]+$"));
    let text = item.some_text()?;
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-')) {
        return Some(text.to_owned());
    }
    let mend =
        "write it as your mail server does in Authentication-Results, before the first semicolon (\"mx.example.org\")";
    item.fail(format!("{} is no server's name", quote(text)), mend)
}

fn poll(item: &Item<'_, '_>) -> Option<Option<Duration>> {
    if let Some(never) = item.word(&[(NEVER, None)]) {
        return Some(never);
    }
    item.span(SHORT..=Duration::from_secs(7 * 86_400)).map(Some)
}

/// The words for [`Severity`].
pub(super) fn severities() -> [(&'static str, Severity); 5] {
    Severity::ALL.map(|severity| (severity.as_str(), severity))
}
