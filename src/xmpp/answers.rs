//! What we answer when asked: service discovery (XEP-0030) and its hash (XEP-0115), version (XEP-0092), ping (XEP-0199).

use xmpp_parsers::caps::{Caps, compute_disco, hash_caps};
use xmpp_parsers::disco::{DiscoInfoResult, Identity};
use xmpp_parsers::hashes::Algo;
use xmpp_parsers::minidom::Element;

use super::stanza::{PING, RECEIPTS};
use super::xml::{CLIENT, Xml};

const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
const CAPS: &str = "http://jabber.org/protocol/caps";
const VERSION: &str = "jabber:iq:version";
const ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// Names the program in its capabilities.
const NODE: &str = "mailbell";

/// The answer to an `<iq type='get'/>` or `'set'`; everything unknown is refused as RFC 6120 §8.2.3 asks.
pub fn answer(iq: &Element) -> Element {
    let query = iq.children().next().filter(|_| iq.attr("type") == Some("get"));
    let Some(query) = query else { return error(iq, "cancel", "service-unavailable") };
    match (query.name(), query.ns().as_str()) {
        ("ping", PING) => result(iq).build(),
        ("query", DISCO_INFO) => match query.attr("node") {
            node if node.is_none() || node == own_node().as_deref() => result(iq).child(info(node)).build(),
            _ => error(iq, "cancel", "item-not-found"),
        },
        ("query", DISCO_ITEMS) => {
            result(iq).child(Xml::new("query", DISCO_ITEMS).attr_opt("node", query.attr("node"))).build()
        }
        ("query", VERSION) => {
            // No <os/>: it helps nobody but an attacker.
            let name = Xml::new("name", VERSION).text("mailbell");
            let version = Xml::new("version", VERSION).text(env!("CARGO_PKG_VERSION"));
            result(iq).child(Xml::new("query", VERSION).child(name).child(version)).build()
        }
        _ => error(iq, "cancel", "service-unavailable"),
    }
}

/// An empty result.
pub fn result(iq: &Element) -> Xml {
    reply(iq, "result")
}

/// A refusal.
fn error(iq: &Element, kind: &str, condition: &str) -> Element {
    let error = Xml::new("error", CLIENT).attr("type", kind).child(Xml::new(condition, ERRORS));
    reply(iq, "error").child(error).build()
}

fn reply(iq: &Element, kind: &str) -> Xml {
    Xml::new("iq", CLIENT).attr("type", kind).attr_opt("to", iq.attr("from")).attr_opt("id", iq.attr("id"))
}

fn disco() -> DiscoInfoResult {
    DiscoInfoResult {
        node: None,
        identities: vec![Identity {
            category: "client".into(),
            type_: "bot".into(),
            lang: None,
            name: Some("mailbell".into()),
        }],
        features: [CAPS, DISCO_INFO, DISCO_ITEMS, VERSION, PING, RECEIPTS].map(str::to_owned).into(),
        extensions: Vec::new(),
    }
}

fn info(node: Option<&str>) -> Element {
    DiscoInfoResult { node: node.map(str::to_owned), ..disco() }.into()
}

/// `<c/>` for our presence; `None` never happens, but the hash is not ours to vouch for.
pub fn caps() -> Option<Element> {
    // SHA-1 is what XEP-0115 makes mandatory; nothing secret hangs on it.
    let hash = hash_caps(&compute_disco(&disco()), Algo::Sha_1).ok()?;
    Some(Caps::new(NODE, hash).into())
}

fn own_node() -> Option<String> {
    let caps = caps()?;
    Some(format!("{NODE}#{}", caps.attr("ver")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(kind: &str, payload: &str) -> String {
        let iq = format!("<iq xmlns='jabber:client' from='a@example.test/x' id='7' type='{kind}'>{payload}</iq>");
        String::from(&answer(&iq.parse().unwrap()))
    }

    #[test]
    fn answers() {
        insta::assert_snapshot!(ask("get", "<ping xmlns='urn:xmpp:ping'/>"), @"<iq xmlns='jabber:client' id='7' to='a@example.test/x' type='result'/>");
        insta::assert_snapshot!(ask("get", "<query xmlns='http://jabber.org/protocol/disco#items'/>"), @"<iq xmlns='jabber:client' id='7' to='a@example.test/x' type='result'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>");
        insta::assert_snapshot!(ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>"), @"<iq xmlns='jabber:client' id='7' to='a@example.test/x' type='result'><query xmlns='http://jabber.org/protocol/disco#info'><identity category='client' name='mailbell' type='bot'/><feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/><feature var='jabber:iq:version'/><feature var='urn:xmpp:ping'/><feature var='urn:xmpp:receipts'/></query></iq>");
        insta::assert_snapshot!(ask("get", "<query xmlns='http://jabber.org/protocol/disco#info' node='other'/>"), @"<iq xmlns='jabber:client' id='7' to='a@example.test/x' type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>");
        insta::assert_snapshot!(ask("set", "<query xmlns='jabber:iq:roster'/>"), @"<iq xmlns='jabber:client' id='7' to='a@example.test/x' type='error'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>");
        insta::assert_snapshot!(ask("get", ""), @"<iq xmlns='jabber:client' id='7' to='a@example.test/x' type='error'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>");
        let version = ask("get", "<query xmlns='jabber:iq:version'/>");
        assert!(version.contains("<name>mailbell</name>") && !version.contains("<os"), "{version}");
    }

    #[test]
    fn our_own_node_is_answered() {
        let node = own_node().unwrap();
        assert!(node.starts_with("mailbell#") && node.ends_with('='), "{node}");
        let info = ask("get", &format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/>"));
        assert!(info.contains("type='result'") || info.contains("type=\"result\""), "{info}");
        assert!(info.contains(&node), "{info}");
    }
}
