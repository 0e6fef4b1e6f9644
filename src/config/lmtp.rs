//! `[[lmtp]]`, and `[[mailbox]]` with `protocol = "lmtp"`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::item::{Formed, Item, SHORT};
use super::mailbox::{self, KEY_SCOPES};
use super::names::Names;
use super::reader::{Reader, Section};
use super::report::quote;
use super::schema::{Law, Want, What};
use crate::lmtp::{Address, Listen, Mailbox, Settings};
use crate::model::{MailboxName, Size};
use crate::route::KeyScope;
use crate::{intake, lmtp};

/// One `[[mailbox]]` with `protocol = "lmtp"`.
#[derive(Debug, Clone)]
pub struct LmtpMailbox {
    /// Its name, what it takes, and its largest mail.
    pub mailbox: Mailbox,
    /// What is done with its mails; `poll` and `batch` are without meaning.
    pub intake: intake::Settings,
    /// Within what a key names one condition.
    pub key_scope: KeyScope,
}

/// Mode of a Unix socket where none is given: the owner and the group.
const MODE: u32 = 0o660;

/// Keys of a `[[mailbox]]` that is fetched.
const FETCHED: [&str; 20] = [
    "server",
    "tls",
    "allow_plaintext",
    "ca_file",
    "tls_name",
    "user",
    "password",
    "password_file",
    "password_env",
    "auth",
    "token_command",
    "oauth2",
    "folder",
    "poll",
    "watch",
    "idle_for",
    "timeout",
    "batch",
    "after",
    "rejected",
];

pub(super) fn mailbox(section: &Section<'_, '_>, name: Option<MailboxName>, names: &Names) -> Option<LmtpMailbox> {
    section.law(Law::new(What::None(FETCHED.to_vec())));
    for item in FETCHED.into_iter().filter_map(|key| section.optional(key)) {
        item.fail::<()>("is for a mailbox that is fetched", "leave it out, or set protocol to \"imap\" or \"pop3\"");
    }
    let addresses =
        section.required("addresses", "addresses = [\"alerts@example.org\"]").and_then(|item| addresses(&item, names));
    let max_size = mailbox::max_size(section);
    let intake = mailbox::intake(section);
    let key_scope = section.value("key_scope").and_then(|item| item.choice(&KEY_SCOPES));
    let mailbox = Mailbox { name: name?, addresses: addresses?, max_size: max_size? };
    Some(LmtpMailbox { mailbox, intake: intake?, key_scope: key_scope? })
}

fn addresses(item: &Item<'_, '_>, names: &Names) -> Option<Vec<Address>> {
    let addresses = item.each(|item| {
        let address = item.parse()?;
        names.one_mailbox_an_address(item, &address)?;
        Some(address)
    })?;
    item.filled(addresses, "is empty: no mail could come in", "name at least one address")
}

impl Formed for Address {
    const FORM: Option<&'static str> = Some(Self::PATTERN);
}

pub(super) fn door(section: &Section<'_, '_>, names: &Names) -> Option<Settings> {
    let allow_public = section.value("allow_public").and_then(|item| item.yes());
    let mode = section.optional("mode").map(|item| (octal(&item), item));
    let listen = section.required("listen", "listen = \"127.0.0.1:2424\" or listen = \"unix:PATH\"").and_then(|item| {
        let listen = listen(&item, mode, allow_public?)?;
        names.one_door_each(&item, &listen.to_string())?;
        Some(listen)
    });
    let max_connections = section.value("max_connections").and_then(|item| item.number(1..=10_000));
    // RFC 5321 §4.5.3.1.8: no less than 100.
    let max_recipients = section.value("max_recipients").and_then(|item| item.number(100..=100_000));
    let timeout = section.value("timeout").and_then(|item| item.span(SHORT..=Duration::from_secs(3600)));
    let in_flight = section.value("in_flight").and_then(|item| item.size(64 << 10..=64 << 30));
    Some(Settings {
        listen: listen?,
        allow_public: allow_public?,
        max_connections: max_connections?,
        max_recipients: max_recipients?,
        timeout: timeout?,
        in_flight: in_flight?,
    })
}

fn listen(item: &Item<'_, '_>, mode: Option<(Option<u32>, Item<'_, '_>)>, allow_public: bool) -> Option<Listen> {
    item.wants(Want::like(r"^(unix:|/|[0-9.]+:0*[1-9]|\[[0-9A-Fa-f:.%]+\]:0*[1-9])"));
    let text = item.some_text()?;
    if let Some(path) = text.strip_prefix("unix:").or_else(|| Some(text).filter(|text| text.starts_with('/'))) {
        let path = item.reader.path(path);
        // sun_path of unix(7), with its final NUL.
        if path.as_os_str().len() > 107 {
            return item.fail("is longer than the path of a socket may be", "write a path of at most 107 bytes");
        }
        let mode = mode.map_or(Some(MODE), |(mode, _)| mode);
        return Some(Listen::Unix { path, mode: mode? });
    }
    if let Some((_, item)) = mode {
        item.fail::<()>("is for a Unix socket", "leave it out, or set listen = \"unix:PATH\"");
    }
    let Ok(address) = text.parse::<SocketAddr>() else {
        let allowed = "write \"ADDRESS:PORT\" with an address of this machine (\"127.0.0.1:2424\", \"[::1]:2424\"), or \"unix:PATH\"";
        return item.fail(format!("{} is no address to listen on", quote(text)), allowed);
    };
    if address.port() == 0 {
        return item
            .fail(format!("{} has no valid port", quote(text)), "write a number from 1 to 65535 after the colon");
    }
    if !allow_public && !is_near(address.ip()) {
        return item.fail(
            format!("{} is not an address of this machine's own network alone, and LMTP knows no login", quote(text)),
            "listen on 127.0.0.1 or a Unix socket, or set allow_public = true where a firewall says who may come",
        );
    }
    Some(Listen::Tcp(address))
}

/// Loopback, or an address that the Internet does not route (RFC 1918, 3927, 4193, 4291).
fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

fn octal(item: &Item<'_, '_>) -> Option<u32> {
    item.wants(Want::like("^0?[0-7]{3}$"));
    let text = item.text()?;
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if digits && mode <= 0o777 => Some(mode),
        _ => item.fail(format!("{} is no mode", quote(text)), "write three octal digits, such as \"0660\" or \"0666\""),
    }
}

/// What only doors and mailboxes together can tell.
pub(super) fn cross(
    reader: &Reader<'_>,
    doors: &[(Option<usize>, String, Option<Settings>)],
    mailboxes: &[(Option<usize>, String, Option<LmtpMailbox>)],
) {
    for (line, label, _) in mailboxes.iter().filter(|_| doors.is_empty()) {
        reader.error(
            *line,
            label,
            "no mail can come in: there is no [[lmtp]]",
            "add [[lmtp]] with listen = \"127.0.0.1:2424\"",
        );
    }
    let largest = mailboxes.iter().filter_map(|(.., mailbox)| Some(mailbox.as_ref()?.mailbox.max_size)).max();
    for (line, label, settings) in doors {
        if mailboxes.is_empty() {
            let wrong = "takes no mail: no [[mailbox]] has protocol = \"lmtp\"";
            reader.error(*line, label, wrong, "add one with the addresses that it takes");
        }
        if let (Some(settings), Some(largest)) = (settings, largest)
            && settings.in_flight < largest
        {
            let (in_flight, largest) = (Size(settings.in_flight), Size(largest));
            let wrong = format!("{in_flight} is less than the largest max_size of a mailbox ({largest})");
            reader.error(*line, &format!("{label}.in_flight"), wrong, "raise it, or lower max_size");
        }
    }
}

/// Free bytes that the mails under way may need: themselves, and half as much for the log of the database.
pub(super) fn room(door: &lmtp::Settings) -> u64 {
    intake::room_for_turn(door.in_flight, 1)
}
