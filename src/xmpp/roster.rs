//! Our contacts: the configured recipients, and whether they let us see their presence (RFC 6121 §2, §3).

use std::collections::HashMap;

use xmpp_parsers::minidom::Element;

use super::stanza::ROSTER;
use crate::dispatch::Event;
use crate::model::{BareJid, Jid};

#[derive(Debug, Default)]
struct Contact {
    granted: bool,
    /// Asked in this session. Once is enough, and a refusal is not answered with the next question.
    asked: bool,
    /// A reload brought them: the roster was not read for them yet.
    new: bool,
}

/// The configured recipients and their subscriptions.
#[derive(Debug)]
pub struct Roster {
    own: BareJid,
    contacts: HashMap<BareJid, Contact>,
}

impl Roster {
    /// Nothing is known of anybody yet.
    pub fn new(own: BareJid, contacts: &[BareJid]) -> Self {
        Self { own, contacts: contacts.iter().map(|c| (c.clone(), Contact::default())).collect() }
    }

    /// Other recipients. What is known of those who stay is kept. Nobody is taken off the server's roster: it may be shared.
    pub fn replace(&mut self, contacts: &[BareJid]) {
        let mut old = std::mem::take(&mut self.contacts);
        let new = || Contact { new: true, ..Contact::default() };
        self.contacts = contacts.iter().map(|c| (c.clone(), old.remove(c).unwrap_or_else(new))).collect();
    }

    /// Is there anybody for whom the roster was not read in this session?
    pub fn has_new(&self) -> bool {
        self.contacts.values().any(|contact| contact.new)
    }

    /// The roster, for the new ones: each of them, and whether they granted the subscription. Who did not is to be asked.
    pub fn look_up(&mut self, iq: &Element) -> Vec<(BareJid, bool)> {
        for (who, granted) in items(iq).flatten() {
            if let Some(contact) = self.contacts.get_mut(&who).filter(|contact| contact.new) {
                contact.granted |= granted;
            }
        }
        let new = self.contacts.iter_mut().filter(|(_, contact)| contact.new);
        let mut new: Vec<_> = new
            .map(|(who, contact)| {
                contact.new = false;
                contact.granted |= *who == self.own;
                contact.asked |= !contact.granted;
                (who.clone(), contact.granted)
            })
            .collect();
        new.sort();
        new
    }

    /// Is it a configured recipient?
    pub fn is_contact(&self, who: &BareJid) -> bool {
        self.contacts.contains_key(who)
    }

    /// The roster as a new session found it: the state of every contact, and who is to be asked for the subscription.
    pub fn load(&mut self, iq: &Element) -> (Vec<Event>, Vec<BareJid>) {
        for contact in self.contacts.values_mut() {
            *contact = Contact::default();
        }
        if let Some(own) = self.contacts.get_mut(&self.own) {
            // An account sees its own devices without asking.
            own.granted = true;
        }
        for item in items(iq) {
            if let Some((who, granted)) = item
                && let Some(contact) = self.contacts.get_mut(&who)
            {
                contact.granted |= granted;
            }
        }
        let mut all: Vec<_> = self.contacts.iter_mut().collect();
        all.sort_by(|a, b| a.0.cmp(b.0));
        let mut events = Vec::with_capacity(all.len());
        let mut ask = Vec::new();
        for (who, contact) in all {
            events.push(Event::Subscription { who: who.clone(), granted: contact.granted });
            if !contact.granted {
                contact.asked = true;
                ask.push(who.clone());
            }
        }
        (events, ask)
    }

    /// A roster push (RFC 6121 §2.1.6), already known to be from our own server: what changed for our contacts.
    pub fn push(&mut self, iq: &Element) -> Vec<Event> {
        items(iq).flatten().filter_map(|(who, granted)| self.set(&who, granted)).collect()
    }

    /// The contact took the subscription back, or refused it.
    pub fn refused(&mut self, who: &BareJid) -> Option<Event> {
        self.set(who, false)
    }

    /// Should they be asked now, because they asked us? Remembers that they were.
    pub fn ask_back(&mut self, who: &BareJid) -> bool {
        match self.contacts.get_mut(who) {
            Some(contact) if !contact.granted && !contact.asked => {
                contact.asked = true;
                true
            }
            _ => false,
        }
    }

    /// May a roster push or an answer to our roster request come from there? Our own server writes no `from`, our bare
    /// JID, or its own name; everything else is forged.
    pub fn is_own_server(&self, from: Option<&str>) -> bool {
        let Some(from) = from else { return true };
        let Ok(from) = Jid::new(from) else { return false };
        from.resource().is_none()
            && (from.to_bare() == self.own || (from.node().is_none() && from.domain() == self.own.domain()))
    }

    fn set(&mut self, who: &BareJid, granted: bool) -> Option<Event> {
        let contact = self.contacts.get_mut(who).filter(|c| c.granted != granted && *who != self.own)?;
        contact.granted = granted;
        Some(Event::Subscription { who: who.clone(), granted })
    }
}

fn items(iq: &Element) -> impl Iterator<Item = Option<(BareJid, bool)>> + '_ {
    let query = iq.get_child("query", ROSTER);
    query.into_iter().flat_map(Element::children).map(|item| {
        let who = BareJid::new(item.attr("jid")?).ok()?;
        Some((who, matches!(item.attr("subscription"), Some("to" | "both"))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(name: &str) -> BareJid {
        format!("{name}@example.test").parse().unwrap()
    }

    fn iq(items: &str) -> Element {
        format!("<iq xmlns='jabber:client'><query xmlns='jabber:iq:roster'>{items}</query></iq>").parse().unwrap()
    }

    fn item(name: &str, subscription: &str) -> String {
        format!("<item jid='{name}@example.test' subscription='{subscription}'/>")
    }

    fn event(name: &str, granted: bool) -> Event {
        Event::Subscription { who: jid(name), granted }
    }

    #[test]
    fn loading_tells_of_every_contact_and_asks_the_ungranted() {
        let mut roster = Roster::new(jid("alerts"), &[jid("a"), jid("b"), jid("c"), jid("d")]);
        let items = [item("a", "both"), item("b", "to"), item("c", "from"), item("x", "both"), "<item/>".into()];
        let (events, ask) = roster.load(&iq(&items.concat()));
        assert_eq!(events, [event("a", true), event("b", true), event("c", false), event("d", false)]);
        assert_eq!(ask, [jid("c"), jid("d")]);
        assert!(!roster.ask_back(&jid("c")), "asked once a session");
        let (events, _) = roster.load(&iq(""));
        assert_eq!(events, ["a", "b", "c", "d"].map(|n| event(n, false)), "a new session knows nothing of the old one");
    }

    #[test]
    fn pushes_tell_of_changes_only() {
        let mut roster = Roster::new(jid("alerts"), &[jid("a"), jid("b")]);
        roster.load(&iq(&item("a", "both")));
        assert_eq!(roster.push(&iq(&item("a", "to"))), []);
        assert_eq!(roster.push(&iq(&item("x", "to"))), []);
        assert_eq!(roster.push(&iq(&item("b", "both"))), [event("b", true)]);
        assert_eq!(roster.push(&iq(&item("a", "remove"))), [event("a", false)]);
        assert_eq!(roster.refused(&jid("b")), Some(event("b", false)));
        assert_eq!(roster.refused(&jid("b")), None);
        assert!(roster.ask_back(&jid("a")) && !roster.ask_back(&jid("a")));
        assert!(!roster.ask_back(&jid("x")));
    }

    #[test]
    fn a_reload_brings_new_contacts_and_leaves_the_others_as_they_are() {
        let mut roster = Roster::new(jid("alerts"), &[jid("a"), jid("b")]);
        roster.load(&iq(&item("a", "both")));
        assert!(!roster.has_new());
        roster.replace(&[jid("a"), jid("c"), jid("d")]);
        assert!(roster.has_new() && !roster.is_contact(&jid("b")));
        // What the answer says of a known one is old by now: pushes tell of them.
        let answer = iq(&[item("c", "to"), item("b", "both")].concat());
        assert_eq!(roster.look_up(&answer), [(jid("c"), true), (jid("d"), false)]);
        assert!(!roster.has_new() && !roster.ask_back(&jid("d")), "asked already");
        assert_eq!(roster.push(&iq(&item("a", "to"))), [], "still granted");
        roster.replace(&[jid("a"), jid("c")]);
        assert!(!roster.has_new());
        let (events, ask) = roster.load(&iq(""));
        assert_eq!((events, ask), (vec![event("a", false), event("c", false)], vec![jid("a"), jid("c")]));
    }

    #[test]
    fn only_our_own_server_pushes() {
        let roster = Roster::new(jid("alerts"), &[jid("a")]);
        for own in [None, Some("alerts@example.test"), Some("example.test")] {
            assert!(roster.is_own_server(own), "{own:?}");
        }
        for forged in
            ["a@example.test", "alerts@example.test/x", "other.test", "example.test/x", "alerts@other.test", ""]
        {
            assert!(!roster.is_own_server(Some(forged)), "{forged}");
        }
    }
}
