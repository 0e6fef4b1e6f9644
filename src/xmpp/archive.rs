//! Our server's archive of what we sent (XEP-0313): which of the letters in doubt are in it? Pure: time is an argument.
//!
//! Steps: does the server keep an archive of our account, and is it switched on: where not, nobody waits any longer; a pause; then for
//! each recipient the messages with them, the newest first, page by page (XEP-0059), until all that is sought was found, or a message
//! is among them that the server is known to have had before the first intent, or the time of that is passed. There is no search by
//! id. All of it is bounded: time, pages, questions on their way, and what is kept of an answer.
//!
//! Only our own server is believed, only where it answers a question that is open, and only messages that it says are from our
//! account. The caller checks who an answer is from.
//!
//! **What is found is there**, whatever the preferences say; they only tell where asking is of no use, which is where nothing
//! is archived (`never`, without exceptions). Prosody 0.12 and ejabberd 23.01 always answer for them; where a server does not,
//! the archive itself is asked. Both archive a message before they pass it on and before they acknowledge it.
//!
//! **The pause.** Could the old stream's last bytes still be on their way into the archive? Binding our resource ends the old
//! session (RFC 6120 §7.7.2.2). Prosody works on one thing at a time: what it had not read of the old stream when it bound us, it
//! never reads. ejabberd has a process for each session: the old one is told to end before we are told that we are bound, but
//! first works on what it had read. Measured with 128 messages written to the old session in the instant before the new one
//! bound: Prosody archived none after its answer; ejabberd 1 to 3, the last 46 ms after. They are given two seconds.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use xmpp_parsers::minidom::Element;

use super::rooms::Todo;
use super::stanza::{COPY, RECEIPTS};
use super::xml::{CLIENT, Xml, condition};
use crate::dispatch::Event;
use crate::model::{BareJid, Doubt, Epoch, Jid, StanzaId, quote};

const MAM: &str = "urn:xmpp:mam:2";
const RSM: &str = "http://jabber.org/protocol/rsm";
const FORM: &str = "jabber:x:data";
const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
const ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

/// After the session's begin nothing is searched for so long.
const PAUSE: Duration = Duration::from_secs(2);
/// Longest wait for the answers about the archive, and then for all of its own.
const LIMIT: Duration = Duration::from_secs(10);
/// The server's clock may be so far behind ours.
const CLOCKS: SignedDuration = SignedDuration::from_mins(5);
/// Messages of a page; servers give fewer if they like. Prosody's own limit is 50.
const PAGE: u32 = 50;
/// Most pages for one recipient.
const PAGES: u32 = 40;
/// Most recipients who are asked about at the same time.
const AT_ONCE: usize = 4;
/// Longest id of a page's first message that is taken.
const MAX_ID: usize = 1024;

/// What the archive is asked for, if anything.
#[derive(Debug, Default)]
pub struct Archive {
    look_up: Option<LookUp>,
}

#[derive(Debug)]
struct LookUp {
    epoch: Epoch,
    stage: Stage,
    /// When it begins; the end of the pause; the end of patience.
    until: Instant,
    /// The end of the pause.
    pause: Instant,
    /// Not asked about yet.
    people: VecDeque<Person>,
    /// Being asked about, by the id of the question and its answers.
    asked: HashMap<String, Page>,
    found: Vec<StanzaId>,
    trouble: Option<String>,
}

#[derive(Debug)]
enum Stage {
    Begin,
    /// Does it keep an archive? The question's id.
    Feature(String),
    /// Is it on?
    Preferences(String),
    Pause,
    Pages,
}

/// What is sought among the messages with one recipient.
#[derive(Debug)]
struct Person {
    who: BareJid,
    /// No copy is older.
    since: Timestamp,
    /// Nor than this one.
    after: Option<StanzaId>,
    /// Which was seen.
    passed: bool,
    /// Of each the number of the copy.
    sought: HashMap<StanzaId, u32>,
}

#[derive(Debug)]
struct Page {
    person: Person,
    /// Its number, the first being 1.
    number: u32,
}

impl Archive {
    /// Looks these up; whatever was being looked up is forgotten.
    pub fn begin(&mut self, epoch: Epoch, doubts: Vec<Doubt>, now: Instant) {
        let mut people: BTreeMap<BareJid, Person> = BTreeMap::new();
        for Doubt { to, stanza_id, copy, since, after } in doubts {
            let new = || Person { who: to.clone(), since, after: after.clone(), passed: false, sought: HashMap::new() };
            let person = people.entry(to.clone()).or_insert_with(new);
            if since < person.since {
                (person.since, person.after) = (since, after);
            }
            person.sought.insert(stanza_id, copy);
        }
        self.look_up = Some(LookUp {
            epoch,
            stage: Stage::Begin,
            until: now,
            pause: now + PAUSE,
            people: people.into_values().collect(),
            asked: HashMap::new(),
            found: Vec::new(),
            trouble: None,
        });
    }

    /// The session is gone for good: the next one is asked anew.
    pub fn give_up(&mut self) {
        self.look_up = None;
    }

    /// When `tick` has something to do next.
    pub fn due(&self) -> Option<Instant> {
        self.look_up.as_ref().map(|look_up| look_up.until)
    }

    /// Time passed: it begins, or the pause is over, or the patience.
    pub fn tick(&mut self, now: Instant) -> Todo {
        let Some(look_up) = self.look_up.as_mut().filter(|look_up| now >= look_up.until) else {
            return Todo::default();
        };
        match look_up.stage {
            Stage::Pause => {
                look_up.until = now + LIMIT;
                look_up.stage = Stage::Pages;
                self.ask_more()
            }
            Stage::Begin => {
                look_up.until = now + LIMIT;
                let id = fresh("archive");
                // Without an addressee our account is meant (RFC 6120 §8.1.1.1).
                let ask = iq("get", &id).child(Xml::new("query", DISCO_INFO)).build();
                look_up.stage = Stage::Feature(id);
                Todo { send: vec![ask], ..Todo::default() }
            }
            _ => self.end(Some(format!("the archive was not searched within {} s", LIMIT.as_secs()))),
        }
    }

    /// A message of our server's: `None`: it belongs to no answer that is awaited. Otherwise the receipts in it.
    pub fn result(&mut self, own: &BareJid, message: &Element) -> Option<Vec<Event>> {
        let result = message.get_child("result", MAM)?;
        let look_up = self.look_up.as_mut()?;
        let page = look_up.asked.get_mut(result.attr("queryid")?)?;
        let mut receipts = Vec::new();
        let forwarded = result.get_child("forwarded", "urn:xmpp:forward:0");
        if let Some(archived) = forwarded.and_then(|f| f.get_child("message", CLIENT)) {
            let found = page.person.read(own, archived, &mut receipts);
            look_up.found.extend(found);
        }
        Some(receipts)
    }

    /// An answer of our server's; `None`: it is not to a question of ours.
    pub fn answered(&mut self, iq: &Element) -> Option<Todo> {
        let look_up = self.look_up.as_mut()?;
        let id = iq.attr("id")?;
        let error = (iq.attr("type") == Some("error")).then(|| refusal(iq));
        match &look_up.stage {
            Stage::Feature(asked) if asked == id => Some(self.feature(iq, error)),
            Stage::Preferences(asked) if asked == id => Some(self.preferences(iq)),
            Stage::Pages => {
                let page = look_up.asked.remove(id)?;
                Some(self.page(page, iq, error))
            }
            _ => None,
        }
    }

    fn feature(&mut self, iq: &Element, error: Option<String>) -> Todo {
        let query = iq.get_child("query", DISCO_INFO);
        let mut features = query.into_iter().flat_map(Element::children).filter(|c| c.is("feature", DISCO_INFO));
        if !features.any(|feature| feature.attr("var") == Some(MAM)) {
            let why = error.map_or_else(String::new, |error| format!(" ({error})"));
            return self.end(Some(format!("the server offers no archive (XEP-0313) of our account{why}")));
        }
        let Some(look_up) = &mut self.look_up else { return Todo::default() };
        let id = fresh("archive");
        let ask = self::iq("get", &id).child(Xml::new("prefs", MAM)).build();
        look_up.stage = Stage::Preferences(id);
        Todo { send: vec![ask], ..Todo::default() }
    }

    fn preferences(&mut self, iq: &Element) -> Todo {
        let prefs = iq.get_child("prefs", MAM);
        let never = prefs.is_some_and(|prefs| {
            let exceptions = prefs.get_child("always", MAM).is_some_and(|always| always.children().next().is_some());
            prefs.attr("default") == Some("never") && !exceptions
        });
        if never {
            return self
                .end(Some("the archive of our account is switched off (XEP-0313: default is never)".to_owned()));
        }
        if let Some(look_up) = &mut self.look_up {
            look_up.stage = Stage::Pause;
            look_up.until = look_up.pause;
        }
        Todo::default()
    }

    /// The end of a page.
    fn page(&mut self, page: Page, iq: &Element, error: Option<String>) -> Todo {
        let Some(look_up) = &mut self.look_up else { return Todo::default() };
        let fin = iq.get_child("fin", MAM);
        let complete = fin.is_some_and(|fin| matches!(fin.attr("complete"), Some("true" | "1")));
        if page.person.sought.is_empty() || (page.person.passed || complete) && error.is_none() {
            return self.ask_more();
        }
        let set = fin.and_then(|fin| fin.get_child("set", RSM));
        let first = set.and_then(|set| set.get_child("first", RSM)).map(Element::text);
        let trouble = match (error, first) {
            (Some(error), _) => format!("the archive gave no answer: {error}"),
            (None, Some(first)) if !first.is_empty() && first.len() <= MAX_ID && page.number < PAGES => {
                let next = Page { number: page.number + 1, ..page };
                return Todo { send: vec![look_up.ask(next, &first)], ..Todo::default() };
            }
            (None, Some(_)) if page.number >= PAGES => {
                format!("there are over {} messages with one recipient in the archive", page.number * PAGE)
            }
            (None, _) => "the archive gave an answer without its end".to_owned(),
        };
        look_up.trouble.get_or_insert(trouble);
        self.ask_more()
    }

    /// The next recipients; after the last the look-up ends.
    fn ask_more(&mut self) -> Todo {
        let Some(look_up) = &mut self.look_up else { return Todo::default() };
        let mut send = Vec::new();
        while look_up.asked.len() < AT_ONCE
            && let Some(person) = look_up.people.pop_front()
        {
            send.push(look_up.ask(Page { person, number: 1 }, ""));
        }
        if look_up.asked.is_empty() { self.end(None) } else { Todo { send, ..Todo::default() } }
    }

    fn end(&mut self, trouble: Option<String>) -> Todo {
        let Some(LookUp { epoch, found, trouble: first, .. }) = self.look_up.take() else { return Todo::default() };
        Todo { events: vec![Event::LookedUp { epoch, found, trouble: first.or(trouble) }], ..Todo::default() }
    }
}

impl LookUp {
    /// Asks for the page before the message of that id; of none: for the last page.
    fn ask(&mut self, page: Page, before: &str) -> Element {
        let id = fresh("archive");
        let Person { who, since, .. } = &page.person;
        let start = since.saturating_sub(CLOCKS).unwrap_or(Timestamp::MIN);
        let field = |name: &str, value: &str| {
            Xml::new("field", FORM).attr("var", name).child(Xml::new("value", FORM).text(value))
        };
        let form = Xml::new("x", FORM)
            .attr("type", "submit")
            .child(field("FORM_TYPE", MAM).attr("type", "hidden"))
            .child(field("with", who.as_str()))
            .child(field("start", &start.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
        let set = Xml::new("set", RSM)
            .child(Xml::new("max", RSM).text(&PAGE.to_string()))
            .child(Xml::new("before", RSM).text(before));
        let query = Xml::new("query", MAM).attr("queryid", &id).child(form).child(set);
        let ask = iq("set", &id).child(query).build();
        self.asked.insert(id, page);
        ask
    }
}

impl Person {
    /// An archived message: one of ours that is sought, or a receipt for one. What is found is sought no more.
    fn read(&mut self, own: &BareJid, message: &Element, receipts: &mut Vec<Event>) -> Option<StanzaId> {
        if matches!(message.attr("type"), Some("error" | "groupchat")) {
            return None;
        }
        let from = Jid::new(message.attr("from")?).ok()?;
        let to = Jid::new(message.attr("to")?).ok()?;
        if from.to_bare() == *own && to.to_bare() == self.who {
            let origin = message.get_child("origin-id", "urn:xmpp:sid:0").and_then(|origin| origin.attr("id"));
            let number = message.get_child("copy", COPY).map_or(Some(1), |copy| copy.attr("number")?.parse().ok())?;
            let ids = [origin, message.attr("id")].map(|id| id.map(|id| StanzaId(id.to_owned())));
            self.passed |= self.after.is_some() && ids.contains(&self.after);
            let id = ids.into_iter().flatten().find(|id| self.sought.get(id).is_some_and(|copy| number >= *copy))?;
            self.sought.remove(&id);
            return Some(id);
        }
        if from.to_bare() == self.who && to.to_bare() == *own {
            let received = message.get_child("received", RECEIPTS)?.attr("id")?;
            let (id, _) = self.sought.remove_entry(&StanzaId(received.to_owned()))?;
            receipts.push(Event::Receipt { from, stanza_id: id.clone() });
            return Some(id);
        }
        None
    }
}

fn iq(kind: &str, id: &str) -> Xml {
    Xml::new("iq", CLIENT).attr("type", kind).attr("id", id)
}

fn fresh(what: &str) -> String {
    format!("{what}-{:016x}", rand::random::<u64>())
}

/// The error's condition and text.
fn refusal(iq: &Element) -> String {
    let (condition, text) = iq
        .get_child("error", CLIENT)
        .map_or_else(|| ("undefined-condition".to_owned(), None), |e| condition(e, ERRORS));
    text.map_or_else(|| quote(&condition), |text| format!("{}: {}", quote(&condition), quote(&text)))
}

#[cfg(test)]
mod tests;
