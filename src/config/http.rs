//! `[http]`.

use std::net::SocketAddr;
use std::time::Duration;

use super::item::Item;
use super::reader::Section;
use super::report::quote;
use super::schema::{Law, Want, What};
use crate::http::{EventSettings, Settings, TlsFiles};
use crate::net;

pub(super) fn read(section: &Section<'_, '_>) -> Option<Settings> {
    let tls = tls(section);
    let behind_proxy = section.value("behind_proxy").and_then(|item| item.yes());
    let protected = tls.as_ref().is_none_or(Option::is_some) || behind_proxy != Some(false);
    let listen = section.value("listen").and_then(|item| listen(&item, protected));
    let legacy_open = section.value("legacy_open").and_then(|item| item.yes());
    let max_body = section.value("max_body").and_then(|item| item.size(16 << 10..=16 << 20));
    let rate = section.value("rate").and_then(|item| item.number(0..=1_000_000));
    let max_connections = section.value("max_connections").and_then(|item| item.number(1..=100_000));
    let timeout =
        section.value("timeout").and_then(|item| item.span(Duration::from_millis(100)..=Duration::from_secs(600)));
    let events = events(section, max_connections);
    Some(Settings {
        listen: listen?,
        tls: tls?,
        behind_proxy: behind_proxy?,
        legacy_open: legacy_open?,
        max_body: usize::try_from(max_body?).ok()?,
        rate: u32::try_from(rate?).ok()?,
        max_connections: max_connections?,
        timeout: timeout?,
        events: events?,
    })
}

fn events(section: &Section<'_, '_>, max_connections: Option<usize>) -> Option<EventSettings> {
    let kept = section.value("events_kept").and_then(|item| item.number(100..=1_000_000));
    let subscribers = section.value("events_subscribers").and_then(|item| item.number(0..=100_000));
    let keep_alive = section
        .value("events_keep_alive")
        .and_then(|item| item.span(Duration::from_millis(100)..=Duration::from_secs(600)));
    let body = section.value("events_body").and_then(|item| item.size(0..=16 << 10));
    if let (Some(subscribers), Some(most)) = (subscribers, max_connections)
        && subscribers >= most
    {
        let keys = ["events_subscribers", "max_connections"];
        let line = keys.into_iter().find_map(|key| section.line_of_key(key)).or(section.line);
        let wrong =
            format!("{subscribers} is not less than max_connections ({most}), and each listener holds a connection");
        section.reader.error(line, &section.key("events_subscribers"), wrong, "lower it, or raise max_connections");
        return None;
    }
    Some(EventSettings {
        kept: u64::try_from(kept?).ok()?,
        subscribers: subscribers?,
        keep_alive: keep_alive?,
        body: usize::try_from(body?).ok()?,
    })
}

/// Both files or none; they are read as the listener will read them.
fn tls(section: &Section<'_, '_>) -> Option<Option<TlsFiles>> {
    let file = |key| section.optional(key).map(|item| (item.some_text().map(|text| item.reader.path(text)), item));
    section.law(Law::with("tls_cert", What::Needs("tls_key")));
    section.law(Law::with("tls_key", What::Needs("tls_cert")));
    let (cert, key) = match (file("tls_cert"), file("tls_key")) {
        (None, None) => return Some(None),
        (Some(cert), Some(key)) => (cert, key),
        (cert, _) => {
            let (key, example) = match cert {
                Some(_) => ("tls_key", "tls_key = \"http.key\""),
                None => ("tls_cert", "tls_cert = \"http.pem\""),
            };
            section.missing(key, example);
            return None;
        }
    };
    let files = TlsFiles { cert: cert.0?, key: key.0? };
    if cert.1.reader.blind {
        return Some(Some(files));
    }
    match net::server_config(&files.cert, &files.key) {
        Ok(_) => Some(Some(files)),
        Err(why) => cert.1.fail(why, "name a certificate chain and its key as PEM files that this user can read"),
    }
}

fn listen(item: &Item<'_, '_>, protected: bool) -> Option<Option<SocketAddr>> {
    item.wants(Want::like(r"^($|[0-9.]+:0*[1-9]|\[[0-9A-Fa-f:.%]+\]:0*[1-9])"));
    let text = item.text()?;
    if text.is_empty() {
        return Some(None);
    }
    let address = match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => address,
        _ => {
            let allowed =
                "write \"ADDRESS:PORT\" with an address of this machine (\"127.0.0.1:8025\", \"[::1]:8025\"), or \"\"";
            return item.fail(format!("{} is no address to listen on", quote(text)), allowed);
        }
    };
    if !protected && !address.ip().to_canonical().is_loopback() {
        return item.fail(
            format!("{} can be reached from other machines, and tokens would go there in the clear", quote(text)),
            "set tls_cert and tls_key, or behind_proxy = true where a proxy of yours speaks TLS, or listen on 127.0.0.1",
        );
    }
    Some(Some(address))
}
