//! What follows the login: taking the old session up again (XEP-0198 §5), or binding the resource (RFC 6120 §7) and
//! switching stream management on.

use xmpp_parsers::minidom::Element;

use super::Settings;
use super::connect::{Link, read, write};
use super::failure::Failure;
use super::sm::Resumption;
use super::stanza::SM;
use super::xml::{CLIENT, Xml, condition};
use crate::model::Jid;

const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

/// The server's answer to `<resume/>`, with how many of our stanzas it handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// The session goes on.
    Yes(u32),
    /// It is gone; old servers do not say how far it came.
    No(Option<u32>),
}

/// Asks for the old session; `h` is how many stanzas we handled in it.
pub async fn resume(link: &mut Link, old: &Resumption, h: u32, settings: &Settings) -> Result<Resumed, Failure> {
    let ask = Xml::new("resume", SM).attr("previd", &old.id).attr("h", &h.to_string());
    write(link, &ask.build()).await?;
    loop {
        let answer = read(link, settings).await?;
        if answer.ns() != SM {
            continue;
        }
        let handled = answer.attr("h").and_then(|h| h.parse().ok());
        match (answer.name(), handled) {
            ("resumed", Some(h)) => return Ok(Resumed::Yes(h)),
            ("resumed", None) => return Err(Failure::transient("the server resumed the session without a count")),
            ("failed", h) => return Ok(Resumed::No(h)),
            _ => {}
        }
    }
}

/// Does the server offer stream management?
pub fn offers_sm(features: &Element) -> bool {
    features.has_child("sm", SM)
}

/// Binds the resource and gives the full JID that the server made of it.
pub async fn bind(link: &mut Link, settings: &Settings) -> Result<Jid, Failure> {
    let resource = Xml::new("resource", BIND).text(&settings.resource);
    let answer = request(link, "bind", Xml::new("bind", BIND).child(resource), settings).await?;
    let jid = answer.get_child("bind", BIND).and_then(|b| b.get_child("jid", BIND)).map(Element::text);
    match (answer.attr("type"), jid.as_deref().map(Jid::new)) {
        (Some("result"), Some(Ok(jid))) if jid.to_bare() == settings.jid => Ok(jid),
        (Some("error"), _) => Err(bind_error(&answer, settings)),
        _ => Err(Failure::transient("the server bound us to an address that is not ours")),
    }
}

/// Old servers want the session opened after binding (RFC 3921 §3); newer ones say that it is optional.
pub async fn open_session(link: &mut Link, features: &Element, settings: &Settings) -> Result<(), Failure> {
    let wanted = features.get_child("session", SESSION).is_some_and(|s| !s.has_child("optional", SESSION));
    if wanted {
        let answer = request(link, "session", Xml::new("session", SESSION), settings).await?;
        if answer.attr("type") != Some("result") {
            return Err(Failure::transient("the server refused to open a session"));
        }
    }
    Ok(())
}

async fn request(link: &mut Link, id: &str, payload: Xml, settings: &Settings) -> Result<Element, Failure> {
    let ask = Xml::new("iq", CLIENT).attr("type", "set").attr("id", id).child(payload);
    write(link, &ask.build()).await?;
    loop {
        let answer = read(link, settings).await?;
        if answer.is("iq", CLIENT) && answer.attr("id") == Some(id) {
            return Ok(answer);
        }
    }
}

fn bind_error(answer: &Element, settings: &Settings) -> Failure {
    let error = answer.get_child("error", CLIENT);
    let condition = error.map(|e| condition(e, STANZA_ERRORS).0).unwrap_or_default();
    let place = format!("{}/{}", settings.jid, settings.resource);
    match condition.as_str() {
        "conflict" => Failure::conflict(format!(
            "the server keeps {place} for another session; is a second mailbell running with this account?"
        )),
        _ => Failure::transient(format!("the server refused the session {place} ({condition})")),
    }
}

/// How far the server supports stream management.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Management {
    /// Not at all: pings take the place of acknowledgements.
    None,
    /// It acknowledges.
    Acks,
    /// It acknowledges, and the session can be resumed.
    Resumable(Resumption),
}

/// Switches stream management on.
pub async fn enable(link: &mut Link, settings: &Settings) -> Result<Management, Failure> {
    write(link, &Xml::new("enable", SM).attr("resume", "true").build()).await?;
    loop {
        let answer = read(link, settings).await?;
        // Stanzas before <enabled/> are not counted; before our first presence there are none that matter.
        match (answer.name(), answer.ns() == SM) {
            ("enabled", true) => {
                let resumes = matches!(answer.attr("resume"), Some("true" | "1"));
                let id = answer.attr("id").filter(|id| resumes && !id.is_empty() && id.len() <= 1024);
                let location = answer.attr("location").map(str::to_owned);
                return Ok(match id {
                    Some(id) => Management::Resumable(Resumption { id: id.to_owned(), location }),
                    None => Management::Acks,
                });
            }
            ("failed", true) => return Ok(Management::None),
            _ => {}
        }
    }
}

/// `host`, `host:port` or `[v6]:port`, of a resumption's location and of `see-other-host`.
pub fn location(text: &str, port: u16) -> Option<(String, u16)> {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        let port = match rest.strip_prefix(':') {
            Some(given) => given.parse().ok()?,
            None => port,
        };
        return is_host(host).then(|| (host.to_owned(), port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, given)) if !given.contains(':') => (host, given.parse().ok()?),
        // An IPv6 address without brackets has no port.
        _ => (text, port),
    };
    is_host(host).then(|| (host.to_owned(), port))
}

/// Could it be dialled, and told of? Labels as DNS has them (RFC 1035 §2.3.4), or an address.
fn is_host(host: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    !host.is_empty() && host.len() <= 255 && host.chars().all(part)
}

#[cfg(test)]
mod tests {
    use super::location;

    #[test]
    fn locations() {
        let read = |text: &str| location(text, 5222).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(read("a.example").as_deref(), Some("a.example 5222"));
        assert_eq!(read("a.example:99").as_deref(), Some("a.example 99"));
        assert_eq!(read("[::1]:99").as_deref(), Some("::1 99"));
        assert_eq!(read("[::1]").as_deref(), Some("::1 5222"));
        assert_eq!(read("::1").as_deref(), Some("::1 5222"));
        let long = "a".repeat(256);
        for bad in ["", ":5222", "a:b", "a:99999", "[]:1", "a\u{7f}b", "a\u{202e}.example", "a b", "a/b", &long] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
