//! What `[xmpp]` and `[[mailbox]]` have in common: servers, TLS, trust anchors.

use std::net::IpAddr;
use std::path::PathBuf;

use super::item::Item;
use super::reader::Section;
use super::schema::Want;
use crate::model::{BadServer, check_host, parse_server};
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

/// A file with trust anchors, which is read.
pub(super) fn ca_file(item: &Item<'_, '_>) -> Option<PathBuf> {
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
pub(super) fn host(item: &Item<'_, '_>, text: &str) -> Option<String> {
    item.wants(Want::like(r"^[A-Za-z0-9._\-]+$"));
    match check_host(text) {
        Ok(()) => Some(text.to_owned()),
        Err(BadServer { wrong, allowed }) => item.fail(wrong, allowed),
    }
}
