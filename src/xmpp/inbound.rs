//! What a message or presence says: from XML to facts, without I/O. Everything in here was written by somebody else.
//! Read leniently, element by element: an odd extension next to a receipt must not cost us the receipt.

use xmpp_parsers::minidom::Element;

use super::roster::Roster;
use super::stanza::RECEIPTS;
use super::xml::{CLIENT, condition, cut};
use crate::dispatch::{Bounce, ErrorType, Event};
use crate::model::{BareJid, Jid, Show, StanzaId};

const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// Copies of other people's or other devices' messages: never asked for, so any that comes is forged.
const COPIES: [(&str, &str); 5] = [
    ("received", "urn:xmpp:carbons:2"),
    ("sent", "urn:xmpp:carbons:2"),
    ("forwarded", "urn:xmpp:forward:0"),
    ("result", "urn:xmpp:mam:2"),
    ("x", "http://jabber.org/protocol/muc#user"),
];
/// Longest text that is kept of a chat message: what people tell a bot is short.
const MAX_CHAT: usize = 16_000;
const MAX_ID: usize = 256;

/// What a message amounts to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// To be told.
    pub events: Vec<Event>,
    /// Its sender asked for a receipt, for this id.
    pub receipt: Option<(Jid, String)>,
    /// Why it, or a part of it, was passed over.
    pub ignored: Option<&'static str>,
}

impl Message {
    fn ignored(why: &'static str) -> Self {
        Self { ignored: Some(why), ..Self::default() }
    }
}

/// Reads a `<message/>`.
pub fn message(message: &Element, roster: &Roster) -> Message {
    let from = match message.attr("from").map(Jid::new) {
        Some(Err(_)) => return Message::ignored("its sender is no address"),
        Some(Ok(from)) => Some(from),
        None => None,
    };
    if COPIES.iter().any(|(name, ns)| message.has_child(*name, *ns)) {
        return Message::ignored("it claims to be a copy of another message");
    }
    match message.attr("type") {
        Some("error") => bounce(message, from),
        Some("groupchat") => Message::ignored("it is from a group chat"),
        Some("headline") => Message::ignored("it is a headline"),
        _ => words(message, from, roster),
    }
}

fn bounce(message: &Element, from: Option<Jid>) -> Message {
    let Some(id) = id(message.attr("id")) else { return Message::ignored("it is an error for no stanza") };
    let error = message.get_child("error", CLIENT);
    let kind = match error.and_then(|e| e.attr("type")) {
        Some("auth") => ErrorType::Auth,
        Some("continue") => ErrorType::Continue,
        Some("modify") => ErrorType::Modify,
        Some("wait") => ErrorType::Wait,
        _ => ErrorType::Cancel,
    };
    let (condition, text) =
        error.map_or_else(|| ("undefined-condition".to_owned(), None), |e| condition(e, STANZA_ERRORS));
    let bounce = Bounce { from, stanza_id: StanzaId(id.to_owned()), kind, condition, text };
    Message { events: vec![Event::Bounced(bounce)], ..Message::default() }
}

fn words(message: &Element, from: Option<Jid>, roster: &Roster) -> Message {
    let Some(from) = from else { return Message::ignored("our server wrote it") };
    let mut out = Message::default();
    for received in message.children().filter(|c| c.is("received", RECEIPTS)) {
        match id(received.attr("id")) {
            Some(id) => out.events.push(Event::Receipt { from: from.clone(), stanza_id: StanzaId(id.to_owned()) }),
            None => out.ignored = Some("it is a receipt for nothing"),
        }
    }
    let body = message.get_child("body", CLIENT).map(Element::text).filter(|b| !b.trim().is_empty());
    if !roster.is_contact(&from.to_bare()) {
        if body.is_some() {
            out.ignored = Some("its sender is no configured recipient");
        }
        return out;
    }
    if message.has_child("request", RECEIPTS) {
        out.receipt = id(message.attr("id")).map(|id| (from.clone(), id.to_owned()));
    }
    if let Some(body) = body {
        out.events.push(Event::Chat { from, body: cut(&body, MAX_CHAT).0.to_owned() });
    }
    out
}

fn id(id: Option<&str>) -> Option<&str> {
    id.filter(|id| !id.is_empty() && id.len() <= MAX_ID)
}

/// What a presence stanza says.
#[derive(Debug, PartialEq, Eq)]
pub enum Presence {
    /// A contact's presence.
    State(Jid, Option<(Show, i8)>),
    /// Somebody wants to see ours.
    Wants(BareJid),
    /// A contact refuses us theirs.
    Refuses(BareJid),
    /// Nothing for us.
    Nothing,
}

/// Reads a `<presence/>`.
pub fn presence(presence: &Element, roster: &Roster) -> Presence {
    let Some(Ok(from)) = presence.attr("from").map(Jid::new) else { return Presence::Nothing };
    let bare = from.to_bare();
    let contact = roster.is_contact(&bare);
    match presence.attr("type") {
        Some("subscribe") => Presence::Wants(bare),
        Some("unsubscribed") if contact => Presence::Refuses(bare),
        None if contact => Presence::State(from, Some((show(presence), priority(presence)))),
        Some("unavailable" | "error") if contact => Presence::State(from, None),
        _ => Presence::Nothing,
    }
}

fn show(presence: &Element) -> Show {
    let text = presence.get_child("show", CLIENT).map(Element::text).unwrap_or_default();
    match text.trim() {
        "chat" => Show::Chat,
        "away" => Show::Away,
        "xa" => Show::Xa,
        "dnd" => Show::Dnd,
        _ => Show::Available,
    }
}

/// RFC 6121 §4.7.2.3: between -128 and 127, and 0 where there is none.
fn priority(presence: &Element) -> i8 {
    presence.get_child("priority", CLIENT).and_then(|p| p.text().trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster() -> Roster {
        Roster::new("alerts@example.test".parse().unwrap(), &["alice@example.test".parse().unwrap()])
    }

    fn read(attrs: &str, content: &str) -> Message {
        let text = format!("<message xmlns='jabber:client' {attrs}>{content}</message>");
        message(&text.parse().unwrap(), &roster())
    }

    fn alice() -> Jid {
        "alice@example.test/pc".parse().unwrap()
    }

    const ALICE: &str = "from='alice@example.test/pc'";

    #[test]
    fn receipts_keep_their_real_sender() {
        let content = "<received xmlns='urn:xmpp:receipts' id='S'/>";
        for (from, jid) in [(ALICE, "alice@example.test/pc"), ("from='mallory@other.test'", "mallory@other.test")] {
            let from_jid = jid.parse().unwrap();
            let receipt = Event::Receipt { from: from_jid, stanza_id: StanzaId("S".into()) };
            assert_eq!(read(from, content), Message { events: vec![receipt], ..Message::default() });
        }
        assert_eq!(read("", content), Message::ignored("our server wrote it"));
        assert_eq!(read(ALICE, "<received xmlns='urn:xmpp:receipts'/>").ignored, Some("it is a receipt for nothing"));
    }

    #[test]
    fn a_receipt_survives_odd_company() {
        let message = read(
            &format!("{ALICE} type='nonsense' xml:lang='de'"),
            "<received xmlns='urn:xmpp:receipts' id='S' x='y'><z/></received><active xmlns='urn:c'/><delay xmlns='urn:xmpp:delay'/>",
        );
        assert_eq!(message.events, [Event::Receipt { from: alice(), stanza_id: StanzaId("S".into()) }]);
    }

    #[test]
    fn chat_from_contacts_only() {
        let chat = read(&format!("{ALICE} type='chat' id='7'"), "<body>ack</body><request xmlns='urn:xmpp:receipts'/>");
        assert_eq!(chat.events, [Event::Chat { from: alice(), body: "ack".into() }]);
        assert_eq!(chat.receipt, Some((alice(), "7".into())));
        let stranger = read("from='mallory@other.test' id='7'", "<body>ack</body><request xmlns='urn:xmpp:receipts'/>");
        assert_eq!(stranger, Message::ignored("its sender is no configured recipient"));
        assert_eq!(read(ALICE, "<body> </body>"), Message::default());
        for (kind, why) in [("groupchat", "it is from a group chat"), ("headline", "it is a headline")] {
            assert_eq!(read(&format!("{ALICE} type='{kind}'"), "<body>x</body>"), Message::ignored(why));
        }
    }

    #[test]
    fn copies_are_forged() {
        for (name, ns) in COPIES {
            let content = format!(
                "<{name} xmlns='{ns}'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' {ALICE}>\
                 <received xmlns='urn:xmpp:receipts' id='S'/></message></forwarded></{name}>\
                 <received xmlns='urn:xmpp:receipts' id='S'/>"
            );
            assert_eq!(read(ALICE, &content).events, [], "{name}");
        }
    }

    #[test]
    fn bounces() {
        let content = "<body>x</body><error type='wait' by='x'><app xmlns='urn:a'/>\
            <resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
            <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>full</text></error>";
        let bounce = |from: Option<Jid>, kind, condition: &str, text: Option<&str>| {
            Event::Bounced(Bounce {
                from,
                stanza_id: StanzaId("S".into()),
                kind,
                condition: condition.into(),
                text: text.map(str::to_owned),
            })
        };
        let read_events = |attrs: &str, content| read(&format!("{attrs} type='error' id='S'"), content).events;
        assert_eq!(
            read_events(ALICE, content),
            [bounce(Some(alice()), ErrorType::Wait, "resource-constraint", Some("full"))]
        );
        assert_eq!(read_events("", ""), [bounce(None, ErrorType::Cancel, "undefined-condition", None)]);
        assert_eq!(read("type='error'", "").events, []);
        // An error never counts as a receipt, whatever it quotes.
        assert_eq!(read_events(ALICE, "<received xmlns='urn:xmpp:receipts' id='S'/>").len(), 1);
    }

    #[test]
    fn presences() {
        let read = |attrs: &str, content: &str| {
            let text = format!("<presence xmlns='jabber:client' {attrs}>{content}</presence>");
            presence(&text.parse().unwrap(), &roster())
        };
        let state = |show, priority| Presence::State(alice(), Some((show, priority)));
        assert_eq!(read(ALICE, ""), state(Show::Available, 0));
        assert_eq!(read(ALICE, "<show>xa</show><priority> -3\n</priority>"), state(Show::Xa, -3));
        assert_eq!(read(ALICE, "<show>odd</show><priority>999</priority>"), state(Show::Available, 0));
        assert_eq!(read(&format!("{ALICE} type='unavailable'"), ""), Presence::State(alice(), None));
        let bare = || "alice@example.test".parse::<BareJid>().unwrap();
        assert_eq!(read("from='alice@example.test' type='error'", ""), Presence::State(bare().into(), None));
        assert_eq!(read("from='alice@example.test' type='unsubscribed'", ""), Presence::Refuses(bare()));
        assert_eq!(
            read("from='mallory@other.test' type='subscribe'", ""),
            Presence::Wants("mallory@other.test".parse().unwrap())
        );
        assert_eq!(read("from='mallory@other.test'", ""), Presence::Nothing);
        assert_eq!(read("", ""), Presence::Nothing);
        assert_eq!(read(&format!("{ALICE} type='probe'"), ""), Presence::Nothing);
    }
}
