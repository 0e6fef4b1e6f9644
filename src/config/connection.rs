//! What `[xmpp]` and `[[mailbox]]` have in common: servers, TLS, trust anchors.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use super::item::Item;
use super::reader::Section;
use super::report::quote;
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
    // Asked of the code that will use it, so that nothing passes here and fails there.
    match net::client_config(Some(&path)) {
        Ok(_) => Some(path),
        Err(TlsError::CaFile { path, why }) => {
            item.fail(format!("{} {why}", path.display()), "name a file with certificates in PEM form")
        }
        Err(err) => item.fail(err.to_string(), ""),
    }
}

/// Host and port of `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
pub(super) fn server(item: &Item<'_, '_>, default_port: u16) -> Option<(String, u16)> {
    const ALLOWED: &str = "write \"HOST\" or \"HOST:PORT\", such as \"mail.example.org:993\" or \"[::1]:993\"";
    let text = item.some_text()?;
    let Some((name, port)) = split(text) else {
        return item.fail(format!("{} is no server", quote(text)), ALLOWED);
    };
    if name.parse::<Ipv6Addr>().is_err() {
        host(item, name)?;
    }
    match port.map_or(Ok(default_port), str::parse) {
        Ok(port) if port > 0 => Some((name.to_owned(), port)),
        _ => item.fail(format!("{} has no valid port", quote(text)), "write a number from 1 to 65535 after the colon"),
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

/// A host name or IPv4 address.
pub(super) fn host(item: &Item<'_, '_>, text: &str) -> Option<String> {
    let part = |part: &str| {
        let ends = part.starts_with('-') || part.ends_with('-');
        (1..=63).contains(&part.len())
            && !ends
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() <= 253 && name.split('.').all(part) {
        return Some(text.to_owned());
    }
    item.fail(
        format!("{} is no host name", quote(text)),
        "write letters, digits, - and dots; names in other scripts in their ASCII form (xn--…)",
    )
}
