//! What `[xmpp]` and `[[mailbox]]` have in common: servers, TLS, trust anchors.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use super::item::Item;
use super::reader::Section;
use super::report::quote;
use super::schema::Want;
use crate::net::{self, TlsError, TlsMode};

/// The words for [`TlsMode`].
pub(super) const TLS: [(&str, TlsMode); 3] =
    [("direct", TlsMode::Direct), ("starttls", TlsMode::StartTls), ("none", TlsMode::None)];

/// The TLS part of a table.
pub(super) struct Tls {
    pub(super) mode: Option<TlsMode>,
    pub(super) allow_plaintext: Option<bool>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) tls_name: Option<String>,
}

impl Tls {
    pub(super) fn read(section: &Section<'_, '_>) -> Self {
        Self {
            mode: section.value("tls").and_then(|item| item.choice(&TLS)),
            allow_plaintext: section.value("allow_plaintext").and_then(|item| item.yes()),
            ca_file: section.optional("ca_file").and_then(|item| ca_file(&item)),
            tls_name: section.optional("tls_name").and_then(|item| host(&item, item.some_text()?)),
        }
    }

    /// Refuses passwords in the clear to a literal address that is not this machine; what a name stands for is seen when it
    /// is dialled.
    pub(super) fn check_plaintext(&self, item: &Item<'_, '_>, host: &str) {
        let foreign = host.parse::<IpAddr>().is_ok_and(|address| !address.is_loopback());
        if foreign && self.mode == Some(TlsMode::None) && self.allow_plaintext == Some(false) {
            item.fail::<()>(
                format!("{host} is not on this machine, and tls = \"none\" would send the password in the clear"),
                "set tls to \"direct\" or \"starttls\", or allow_plaintext = true",
            );
        }
    }
}

fn ca_file(item: &Item<'_, '_>) -> Option<PathBuf> {
    let path = item.reader.path(item.some_text()?);
    if item.reader.blind {
        return Some(path);
    }
    // Asked of the code that will use it, so that nothing passes here and fails there.
    match net::client_config(Some(&path)) {
        Ok(_) => Some(path),
        Err(TlsError::CaFile { path, why }) => {
            item.fail(format!("{} {why}", path.display()), "name a file with certificates in PEM form")
        }
        Err(err) => item.fail(err.to_string(), ""),
    }
}

/// Host and port of a server; `default_port` where none is written.
pub(super) fn server(item: &Item<'_, '_>, default_port: u16) -> Option<(String, u16)> {
    item.wants(Want::like(r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+)(:0*[1-9][0-9]{0,4})?$"));
    match parse_server(item.some_text()?) {
        Ok((host, port)) => Some((host, port.unwrap_or(default_port))),
        Err(BadServer { wrong, allowed }) => item.fail(wrong, allowed),
    }
}

/// A host name or IPv4 address.
fn host(item: &Item<'_, '_>, text: &str) -> Option<String> {
    item.wants(Want::like(r"^[A-Za-z0-9._\-]+$"));
    match check_host(text) {
        Ok(()) => Some(text.to_owned()),
        Err(BadServer { wrong, allowed }) => item.fail(wrong, allowed),
    }
}

/// The text names no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{wrong}; {allowed}")]
pub struct BadServer {
    wrong: String,
    allowed: &'static str,
}

/// Host, and port if there is one, of `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
pub fn parse_server(text: &str) -> Result<(String, Option<u16>), BadServer> {
    let Some((name, port)) = split(text) else {
        let allowed = "write \"HOST\" or \"HOST:PORT\", such as \"mail.example.org:993\" or \"[::1]:993\"";
        return Err(BadServer { wrong: format!("{} is no server", quote(text)), allowed });
    };
    if name.parse::<Ipv6Addr>().is_err() {
        check_host(name)?;
    }
    // A sign is no part of a port, although Rust reads it.
    let number = |port: &str| port.bytes().all(|b| b.is_ascii_digit()).then(|| port.parse().ok()).flatten();
    match port.map(number) {
        None => Ok((name.to_owned(), None)),
        Some(Some(port)) if port > 0 => Ok((name.to_owned(), Some(port))),
        Some(_) => Err(BadServer {
            wrong: format!("{} has no valid port", quote(text)),
            allowed: "write a number from 1 to 65535 after the colon",
        }),
    }
}

fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        return if rest.is_empty() { Some((address, None)) } else { Some((address, Some(rest.strip_prefix(':')?))) };
    }
    match text.split_once(':') {
        // An address with a scheme, or IPv6 without brackets.
        Some((_, port)) if port.contains([':', '/']) => None,
        Some((name, port)) => Some((name, Some(port))),
        None => Some((text, None)),
    }
}

fn check_host(text: &str) -> Result<(), BadServer> {
    let part = |part: &str| {
        let ends = part.starts_with('-') || part.ends_with('-');
        (1..=63).contains(&part.len())
            && !ends
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() <= 253 && name.split('.').all(part) {
        return Ok(());
    }
    Err(BadServer {
        wrong: format!("{} is no host name", quote(text)),
        allowed: "write letters, digits, - and dots; names in other scripts in their ASCII form (xn--…)",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_told_from_what_is_none() {
        let read = |text| parse_server(text).unwrap();
        assert_eq!(read("mail.example.org"), ("mail.example.org".into(), None));
        assert_eq!(read("mail.example.org:993"), ("mail.example.org".into(), Some(993)));
        assert_eq!(read("[::1]:993"), ("::1".into(), Some(993)));
        assert_eq!(read("[::1]"), ("::1".into(), None));
        assert_eq!(read("127.0.0.1:1"), ("127.0.0.1".into(), Some(1)));
        for bad in [
            "",
            "a b",
            "a:",
            "a:0",
            "a:65536",
            "a:x",
            "a:+1",
            "::1",
            "[::1",
            "[a]:1",
            "[::1]1",
            "imap://a",
            "a/b",
            "a..b",
            "-a",
            "ü.example",
            ":1",
        ] {
            assert!(parse_server(bad).is_err(), "{bad}");
        }
    }
}
