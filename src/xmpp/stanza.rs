//! What we send.

use jiff::Timestamp;
use xmpp_parsers::minidom::Element;

use super::answers;
use super::xml::{CLIENT, Xml, cut};
use crate::dispatch::Letter;
use crate::model::{BareJid, Jid, Secret, Show};

/// Stream management (XEP-0198).
pub const SM: &str = "urn:xmpp:sm:3";
/// Delivery receipts (XEP-0184).
pub const RECEIPTS: &str = "urn:xmpp:receipts";
/// Roster (RFC 6121 §2).
pub const ROSTER: &str = "jabber:iq:roster";
/// Rooms (XEP-0045).
const MUC: &str = "http://jabber.org/protocol/muc";
/// Ping (XEP-0199).
pub const PING: &str = "urn:xmpp:ping";

/// Our own: which copy of a notification this is, where it is not the first.
pub const COPY: &str = "urn:mailbell:copy:1";

/// Longest body in bytes, escapes counted: servers close the stream on stanzas of a few hundred kilobytes.
pub const MAX_BODY: usize = 60_000;
const CUT: &str = "\n[…]";

/// The message that carries a letter: to the bare JID, so that the server picks the devices; `type='chat'`, so that it is
/// stored for who is offline; and never shown with text formatting (XEP-0393), since alerts hold asterisks and backticks.
pub fn letter(letter: &Letter, from: &BareJid) -> Element {
    let id = &letter.stanza_id.0;
    let mut message = Xml::new("message", CLIENT)
        .attr("type", "chat")
        .attr("to", letter.to.as_str())
        .attr("id", id)
        .child(Xml::new("body", CLIENT).text(&capped(&letter.body)))
        .child(Xml::new("origin-id", "urn:xmpp:sid:0").attr("id", id));
    if letter.tracked {
        message = message.child(Xml::new("request", RECEIPTS)).child(Xml::new("store", "urn:xmpp:hints"));
    }
    message = message.child(Xml::new("unstyled", "urn:xmpp:styling:0"));
    if letter.copy > 1 {
        message = message.child(Xml::new("copy", COPY).attr("number", &letter.copy.to_string()));
    }
    if let Some(first) = letter.first_sent {
        message =
            message.child(Xml::new("delay", "urn:xmpp:delay").attr("from", from.as_str()).attr("stamp", &stamp(first)));
    }
    message.build()
}

/// The message that carries a letter to a room. No receipt is asked for: each occupant would send one (XEP-0184 §5.3). No
/// time of the first copy either: clients take what is delayed for history, and stay silent.
pub fn post(letter: &Letter) -> Element {
    let id = &letter.stanza_id.0;
    Xml::new("message", CLIENT)
        .attr("type", "groupchat")
        .attr("to", letter.to.as_str())
        .attr("id", id)
        .child(Xml::new("body", CLIENT).text(&capped(&letter.body)))
        .child(Xml::new("origin-id", "urn:xmpp:sid:0").attr("id", id))
        .child(Xml::new("unstyled", "urn:xmpp:styling:0"))
        .build()
}

/// At most [`MAX_BODY`].
fn capped(body: &str) -> String {
    let (body, was_cut) = cut(body, MAX_BODY);
    if was_cut { format!("{body}{CUT}") } else { body.to_owned() }
}

/// Enters a room under this occupant JID (XEP-0045 §7.2), without what was said there before.
pub fn join(occupant: &Jid, password: Option<&Secret>) -> Element {
    let mut muc = Xml::new("x", MUC).child(Xml::new("history", MUC).attr("maxstanzas", "0"));
    if let Some(password) = password {
        muc = muc.child(Xml::new("password", MUC).text(password.expose()));
    }
    Xml::new("presence", CLIENT).attr("to", occupant.as_str()).child(muc).build()
}

/// Leaves a room.
pub fn leave(occupant: &Jid) -> Element {
    Xml::new("presence", CLIENT).attr("to", occupant.as_str()).attr("type", "unavailable").build()
}

/// XEP-0082: UTC, to the second.
fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// How many bytes of the window a letter takes: its body and about what the rest of the stanza needs.
pub fn weight(letter: &Letter) -> usize {
    letter.body.len().min(MAX_BODY) + 400
}

/// Our own presence (RFC 6121 §4.7) with our capabilities (XEP-0115).
pub fn presence(show: Show, status: &str) -> Element {
    let mut presence = Xml::new("presence", CLIENT);
    if show != Show::Available {
        presence = presence.child(Xml::new("show", CLIENT).text(show.as_str()));
    }
    if !status.is_empty() {
        presence = presence.child(Xml::new("status", CLIENT).text(cut(status, 1000).0));
    }
    match answers::caps() {
        Some(caps) => presence.child(caps).build(),
        None => presence.build(),
    }
}

/// We are leaving.
pub fn unavailable() -> Element {
    Xml::new("presence", CLIENT).attr("type", "unavailable").build()
}

/// Subscription handling (RFC 6121 §3): `subscribe`, `subscribed`, `unsubscribed`.
pub fn subscription(kind: &str, to: &BareJid) -> Element {
    Xml::new("presence", CLIENT).attr("type", kind).attr("to", to.as_str()).build()
}

/// A receipt for a message that asked for one (XEP-0184).
pub fn receipt(to: &Jid, id: &str) -> Element {
    Xml::new("message", CLIENT)
        .attr("type", "chat")
        .attr("to", to.as_str())
        .child(Xml::new("received", RECEIPTS).attr("id", id))
        .child(Xml::new("store", "urn:xmpp:hints"))
        .build()
}

/// Asks for the roster.
pub fn roster_get(id: &str) -> Element {
    Xml::new("iq", CLIENT).attr("type", "get").attr("id", id).child(Xml::new("query", ROSTER)).build()
}

/// Asks for a sign of life: our server, where it has no stream management, or a room (XEP-0410).
pub fn ping(id: &str, to: &str) -> Element {
    Xml::new("iq", CLIENT).attr("type", "get").attr("to", to).attr("id", id).child(Xml::new("ping", PING)).build()
}

/// `<r/>`: how many of ours have you handled?
pub fn ask() -> Element {
    Xml::new("r", SM).build()
}

/// `<a/>`: so many of yours we have handled.
pub fn ack(h: u32) -> Element {
    Xml::new("a", SM).attr("h", &h.to_string()).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::StanzaId;

    fn sample(body: &str) -> Letter {
        Letter {
            to: "alice@example.test".parse().unwrap(),
            stanza_id: StanzaId("mb-1".into()),
            body: body.into(),
            tracked: true,
            first_sent: None,
            copy: 1,
        }
    }

    fn us() -> BareJid {
        "alerts@example.test".parse().unwrap()
    }

    #[test]
    fn a_letter_as_it_goes_out() {
        insta::assert_snapshot!(String::from(&letter(&sample("disk < 5 % & falling"), &us())), @"<message xmlns='jabber:client' id='mb-1' to='alice@example.test' type='chat'><body>disk &lt; 5 % &amp; falling</body><origin-id xmlns='urn:xmpp:sid:0' id='mb-1'/><request xmlns='urn:xmpp:receipts'/><store xmlns='urn:xmpp:hints'/><unstyled xmlns='urn:xmpp:styling:0'/></message>");
        let resend = Letter { first_sent: Some("2026-03-01T02:03:04.56Z".parse().unwrap()), ..sample("x") };
        let delay = letter(&resend, &us());
        let delay = delay.get_child("delay", "urn:xmpp:delay").unwrap();
        assert_eq!((delay.attr("stamp"), delay.attr("from")), (Some("2026-03-01T02:03:04Z"), Some(us().as_str())));
        assert!(!letter(&sample("x"), &us()).has_child("copy", COPY));
        let third = letter(&Letter { copy: 3, ..sample("x") }, &us());
        assert_eq!(third.get_child("copy", COPY).unwrap().attr("number"), Some("3"));
        let answer = letter(&Letter { tracked: false, ..sample("x") }, &us());
        assert!(!answer.has_child("request", RECEIPTS) && !answer.has_child("store", "urn:xmpp:hints"));
    }

    #[test]
    fn a_body_cannot_become_a_stanza() {
        let evil = "</body><body>two</body></message><presence/>\u{0}";
        let written = String::from(&letter(&sample(evil), &us()));
        let read: Element = written.parse().unwrap();
        assert_eq!(read.children().filter(|c| c.name() == "body").count(), 1);
        assert_eq!(read.get_child("body", CLIENT).unwrap().text(), evil.replace('\u{0}', "\u{FFFD}"));
    }

    #[test]
    fn a_body_is_capped_as_it_is_written() {
        for text in ["&".repeat(100_000), "ä".repeat(100_000)] {
            let written = String::from(&letter(&sample(&text), &us()));
            assert!(written.len() < MAX_BODY + 600, "{}", written.len());
            let read: Element = written.parse().unwrap();
            assert!(read.get_child("body", CLIENT).unwrap().text().ends_with(CUT));
        }
    }

    #[test]
    fn presence_as_it_goes_out() {
        let shown = presence(Show::Dnd, "Alert gateway");
        assert_eq!(shown.get_child("show", CLIENT).unwrap().text(), "dnd");
        assert_eq!(shown.get_child("status", CLIENT).unwrap().text(), "Alert gateway");
        assert!(shown.has_child("c", "http://jabber.org/protocol/caps"));
        assert!(!presence(Show::Available, "").has_child("show", CLIENT));
    }
}
