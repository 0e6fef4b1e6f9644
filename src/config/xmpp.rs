//! `[xmpp]`.

use std::time::Duration;

use super::connection::{Tls, server};
use super::item::{Item, SHORT};
use super::reader::Section;
use super::report::quote;
use super::schema::{Law, Want, What};
use super::secret;
use crate::model::{BareJid, Jid, Show};
use crate::net::TlsMode;
use crate::xmpp::{Room, Settings};

/// Our name in rooms that give no other.
pub(super) fn nick(section: &Section<'_, '_>) -> Option<String> {
    section.value("nick").and_then(|item| resource(&item, "nick"))
}

pub(super) fn read(section: &Section<'_, '_>, contacts: Vec<BareJid>, rooms: Vec<Room>) -> Option<Settings> {
    let jid = section.required("jid", "jid = \"NAME@DOMAIN\"").and_then(|item| {
        let jid = bare_jid(&item, "the resource is a key of its own: resource")?;
        if contacts.contains(&jid) || rooms.iter().any(|room| room.jid == jid) {
            return item.fail("is also a recipient", "give the gateway an account of its own");
        }
        Some(jid)
    });
    section.law(Law::new(What::One(secret::PASSWORD.keys.to_vec())));
    let password = secret::password(section);
    let tls = Tls::read(section);
    let default_port = if tls.mode == Some(TlsMode::Direct) { 5223 } else { 5222 };
    let servers = section.value("servers").and_then(|item| {
        item.each(|item| {
            let (host, port) = server(item, default_port)?;
            tls.check_plaintext(item, &host);
            Some((host, port))
        })
    });
    let allow_plain = section.value("allow_plain").and_then(|item| item.yes());
    let show = section.value("show").and_then(|item| item.choice(&shows()));
    let status = section.value("status").and_then(|item| item.text());
    let resource = section.value("resource").and_then(|item| resource(&item, "resource"));
    let window = section.value("window").and_then(|item| item.number(1..=4096));
    let ping_after = section.value("ping_after").and_then(|item| item.span(SHORT..=Duration::from_secs(600)));
    let connect = section.value("connect_timeout").and_then(|item| item.span(SHORT..=Duration::from_secs(600)));
    Some(Settings {
        jid: jid?,
        password: password?,
        servers: servers?,
        tls: tls.mode?,
        allow_plaintext: tls.allow_plaintext?,
        ca_file: tls.ca_file,
        tls_name: tls.tls_name,
        allow_plain: allow_plain?,
        show: show?,
        status: status?.to_owned(),
        resource: resource?,
        window: window?,
        ping_after: ping_after?,
        connect_timeout: connect?,
        contacts,
        rooms,
    })
}

/// The words for [`Show`].
pub(super) fn shows() -> [(&'static str, Show); 5] {
    Show::ALL.map(|show| (show.as_str(), show))
}

/// `name@domain` (RFC 7622), without a resource.
pub(super) fn bare_jid(item: &Item<'_, '_>, no_resource: &str) -> Option<BareJid> {
    const ALLOWED: &str = "write NAME@DOMAIN, such as \"alice@example.org\"";
    item.wants(Want::like("^[^@/]+@[^@/]+$"));
    if item.raw_text().is_some_and(|text| text.trim().is_empty()) {
        return item.fail("is empty", ALLOWED);
    }
    let text = item.some_text()?;
    let jid = match Jid::new(text) {
        Ok(jid) => jid,
        Err(err) => return item.fail(format!("{} is no JID: {err}", quote(text)), ALLOWED),
    };
    if jid.node().is_none() {
        return item.fail(format!("{} is a server, not an account", quote(text)), ALLOWED);
    }
    if jid.resource().is_some() {
        let bare = jid.to_bare();
        return item.fail(format!("{} has a resource", quote(text)), format!("write \"{bare}\"; {no_resource}"));
    }
    Some(jid.into_bare())
}

/// RFC 7622 §3.4: a resource, or a nick, which is one.
pub(super) fn resource(item: &Item<'_, '_>, what: &str) -> Option<String> {
    let text = item.some_text()?;
    match crate::model::BareJid::new("a.invalid").and_then(|jid| jid.with_resource_str(text)) {
        Ok(full) => Some(full.resource().as_str().to_owned()),
        Err(err) => item.fail(format!("{} is no {what}: {err}", quote(text)), "write a word, such as \"mailbell\""),
    }
}
