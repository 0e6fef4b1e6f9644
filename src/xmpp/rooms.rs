//! The configured rooms, and the messages posted there. A room has no receipts: a message counts as accepted when the room
//! reflects it to us (XEP-0045 §7.4), not when our own server took it. Pure: time and chance are arguments.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use xmpp_parsers::minidom::Element;

use super::room::{Room, Steps};
use super::sm::{Carried, Ledger};
use super::xml::CLIENT;
use crate::dispatch::{Bounce, ErrorType, Event, Letter};
use crate::model::{BareJid, Jid, StanzaId};

/// What is not reflected keeps its place in the window, which is everybody's: a room that hangs must give it back soon. It
/// costs little to be wrong, since the second copy waits for longer, and a late reflection counts.
const LATE: Duration = Duration::from_secs(10);

/// What is to be done, in order.
#[derive(Debug, Default)]
pub struct Todo {
    /// To be sent.
    pub send: Vec<Element>,
    /// To be told.
    pub events: Vec<Event>,
    /// Weights of letters that are no longer in flight.
    pub done: Vec<usize>,
}

/// A message that was posted and is not reflected.
#[derive(Debug)]
struct Posted {
    room: BareJid,
    weight: usize,
    stanza: Arc<Element>,
    /// Its number in the ledger.
    number: u32,
    /// Since when our server has it: the room's time runs from then.
    taken: Option<Instant>,
}

/// The rooms, by address.
#[derive(Debug)]
pub struct Rooms {
    rooms: BTreeMap<BareJid, Room>,
    posted: HashMap<StanzaId, Posted>,
    /// A message that is not reflected for so long is in doubt.
    late: Duration,
    quiet: Duration,
}

impl Rooms {
    /// None is joined. `quiet`: a room that is silent for so long is asked whether we are in it.
    pub fn new(settings: &[super::Room], quiet: Duration) -> Self {
        let rooms = settings.iter().map(|room| (room.jid.clone(), Room::new(room.clone(), quiet))).collect();
        Self { rooms, posted: HashMap::new(), late: quiet.min(LATE), quiet }
    }

    /// Other rooms. Who stays as it was is left alone; others are left, or joined where the session is `up`.
    pub fn replace(&mut self, settings: &[super::Room], up: bool, now: Instant) -> Todo {
        let mut old = std::mem::take(&mut self.rooms);
        let mut todo = Todo::default();
        for wanted in settings {
            let room = match old.remove(&wanted.jid) {
                Some(room) if room.is(wanted) => room,
                before => {
                    todo.send.extend(before.as_ref().and_then(Room::leave));
                    let mut room = Room::new(wanted.clone(), self.quiet);
                    if up {
                        todo.add(&wanted.jid, room.begin(now));
                    }
                    room
                }
            };
            self.rooms.insert(wanted.jid.clone(), room);
        }
        todo.send.extend(old.values().filter_map(Room::leave));
        todo
    }

    /// Is there any?
    pub fn any(&self) -> bool {
        !self.rooms.is_empty()
    }

    /// Is it one of them?
    pub fn has(&self, jid: &BareJid) -> bool {
        self.rooms.contains_key(jid)
    }

    /// May a message be posted there now?
    pub fn open(&self, jid: &BareJid) -> bool {
        self.rooms.get(jid).is_some_and(Room::open)
    }

    /// A new session: all are joined.
    pub fn begin(&mut self, now: Instant) -> Todo {
        self.each(|room| room.begin(now))
    }

    /// The session was resumed after a gap.
    pub fn resume(&mut self, now: Instant) -> Todo {
        self.posted.values_mut().for_each(|posted| posted.taken = None);
        self.each(|room| room.resume(now))
    }

    /// The session is gone for good: what was posted and not reflected is in doubt.
    pub fn give_up(&mut self) -> Vec<Carried> {
        self.rooms.values_mut().for_each(Room::end);
        let posted = std::mem::take(&mut self.posted).into_iter();
        posted.map(|(stanza_id, posted)| Carried { stanza_id, weight: posted.weight }).collect()
    }

    /// A letter goes out to a room, as stanza number `number` of the session.
    pub fn post(&mut self, letter: Carried, room: BareJid, stanza: Arc<Element>, number: u32) {
        let posted = Posted { room, weight: letter.weight, stanza, number, taken: None };
        if let Some(before) = self.posted.insert(letter.stanza_id, posted) {
            // Never twice at a time; the window must not shrink for good if it were.
            tracing::error!(room = %before.room, "a message was posted while its last copy was still in flight");
        }
    }

    /// Time passed: joins, self-pings, and messages that no room reflected.
    pub fn tick(&mut self, ledger: &Ledger, now: Instant, chance: f64) -> Todo {
        let mut todo = self.each(|room| room.tick(now, chance));
        for posted in self.posted.values_mut().filter(|p| p.taken.is_none() && ledger.handled(p.number)) {
            posted.taken = Some(now);
        }
        let late: Vec<StanzaId> = self
            .posted
            .iter()
            .filter(|(_, p)| p.taken.is_some_and(|at| now.duration_since(at) >= self.late))
            .map(|(id, _)| id.clone())
            .collect();
        let mut silent = Vec::new();
        for id in &late {
            if let Some(posted) = self.posted.remove(id) {
                todo.done.push(posted.weight);
                silent.push(posted.room);
            }
        }
        silent.sort();
        silent.dedup();
        for jid in silent {
            if let Some(room) = self.rooms.get_mut(&jid) {
                todo.add(&jid, room.silent(now));
            }
        }
        if !late.is_empty() {
            todo.events.push(Event::Unreflected { stanzas: late });
        }
        todo
    }

    /// Presence from a room or its occupants.
    pub fn presence(&mut self, from: &Jid, presence: &Element, now: Instant, chance: f64) -> Todo {
        self.one(&from.to_bare(), |room| room.presence(from, presence, now, chance))
    }

    /// An answer; `None`: it is not for a question that was asked here.
    pub fn answered(&mut self, iq: &Element, now: Instant) -> Option<Todo> {
        let from = Jid::new(iq.attr("from")?).ok()?.to_bare();
        let steps = self.rooms.get_mut(&from)?.answered(iq, now)?;
        let mut todo = Todo::default();
        todo.add(&from, steps);
        Some(todo)
    }

    /// A message from a room that is no error: what we posted comes back; whatever others say there is not for us.
    pub fn message(&mut self, from: &Jid, message: &Element, now: Instant) -> Todo {
        let jid = from.to_bare();
        let Some(room) = self.rooms.get_mut(&jid) else { return Todo::default() };
        room.heard(now);
        if message.attr("type") != Some("groupchat") || room.me() != Some(from) {
            return Todo::default();
        }
        let Some(stanza_id) = self.reflected(&jid, message) else { return Todo::default() };
        let weight = self.posted.remove(&stanza_id).map(|posted| posted.weight);
        // Also one that was given up for lost a moment ago: it is there, and need not be posted again.
        Todo {
            events: vec![Event::Accepted { stanzas: vec![stanza_id] }],
            done: weight.into_iter().collect(),
            ..Todo::default()
        }
    }

    /// An error from a room for a message of ours: it was not posted.
    pub fn bounced(&mut self, bounce: &Bounce, now: Instant) -> Todo {
        // What an occupant says, the room passes on with a resource.
        let room = bounce.from.as_ref().filter(|from| from.resource().is_none());
        let Some(jid) = room.map(Jid::to_bare) else { return Todo::default() };
        let ours = self.posted.get(&bounce.stanza_id).is_some_and(|posted| posted.room == jid);
        if !ours {
            return Todo::default();
        }
        let weight = self.posted.remove(&bounce.stanza_id).map(|posted| posted.weight);
        let not_in = matches!(bounce.condition.as_str(), "not-acceptable" | "item-not-found" | "gone");
        let mut todo = if not_in { self.one(&jid, |room| room.not_in(now)) } else { Todo::default() };
        todo.done.extend(weight);
        todo
    }

    /// Which of our messages this is: by its id or origin-id (XEP-0359), or, where the service gives ids of its own, by its
    /// text.
    fn reflected(&self, room: &BareJid, message: &Element) -> Option<StanzaId> {
        let origin = message.get_child("origin-id", "urn:xmpp:sid:0").and_then(|e| e.attr("id"));
        let ids = [message.attr("id"), origin].into_iter().flatten().map(|id| StanzaId(id.to_owned()));
        let mut named = None;
        for id in ids {
            if self.posted.get(&id).is_some_and(|posted| posted.room == *room) {
                return Some(id);
            }
            named.get_or_insert(id);
        }
        let text = body(message)?;
        let same = self.posted.iter().filter(|(_, p)| p.room == *room && body(&p.stanza).as_ref() == Some(&text));
        let oldest = same.min_by_key(|(_, posted)| posted.number);
        oldest.map(|(id, _)| id.clone()).or(named)
    }

    fn one(&mut self, jid: &BareJid, step: impl FnOnce(&mut Room) -> Steps) -> Todo {
        let mut todo = Todo::default();
        if let Some(room) = self.rooms.get_mut(jid) {
            todo.add(jid, step(room));
        }
        todo
    }

    fn each(&mut self, mut step: impl FnMut(&mut Room) -> Steps) -> Todo {
        let mut todo = Todo::default();
        for (jid, room) in &mut self.rooms {
            todo.add(jid, step(room));
        }
        todo
    }
}

impl Todo {
    fn add(&mut self, room: &BareJid, steps: Steps) {
        self.send.extend(steps.send);
        self.events.extend(steps.news.map(|state| Event::Room { room: room.clone(), state }));
    }
}

/// A letter for a room that we are not in: it comes back as if the room had refused it.
pub fn not_in(letter: &Letter) -> Event {
    Event::Bounced(Bounce {
        from: Some(letter.to.clone().into()),
        stanza_id: letter.stanza_id.clone(),
        kind: ErrorType::Wait,
        condition: "not-acceptable".into(),
        text: Some("mailbell is not in the room".into()),
    })
}

fn body(message: &Element) -> Option<String> {
    message.get_child("body", CLIENT).map(Element::text)
}

#[cfg(test)]
mod tests;
