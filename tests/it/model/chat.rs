//! The chat server, the people at it, and the gateway's line to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use mailbell::dispatch::{Bounce, ErrorType, Event, Full, Letter, Messenger};
use mailbell::model::{Doubt, Epoch, Show, StanzaId};
use tokio::sync::mpsc;

use super::archive::{Archive, Lookup};

/// Most letters on the line that are not acknowledged.
const WINDOW: usize = 6;

/// How far letters go by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// They stay on the line.
    Stuck,
    /// To the server, which does not acknowledge them.
    Taken,
    /// All the way.
    Acked,
}

/// One person at the server.
#[derive(Debug, Default)]
pub struct Person {
    pub show: Option<Show>,
    pub granted: bool,
    /// Their clients answer with receipts.
    pub receipts: bool,
    /// Their connection is dead, and the server does not know it yet.
    pub gone: bool,
    /// What the server keeps for them: they are offline, or only seem to be there.
    pub kept: Vec<StanzaId>,
    /// What they saw: text by text.
    pub saw: Vec<(StanzaId, String)>,
    /// Receipts that their clients have still to send.
    pub owed: VecDeque<StanzaId>,
}

struct Line {
    up: bool,
    /// With: the server has it.
    letters: VecDeque<(Letter, bool)>,
}

pub struct Chat {
    pub people: BTreeMap<&'static str, Person>,
    pub pace: Pace,
    pub archive: Lookup,
    line: Option<Line>,
    events: Option<mpsc::Sender<Event>>,
    life: u64,
    /// What was handed to the line, and what of it the server took, with the text of each copy.
    pub sent: BTreeMap<StanzaId, usize>,
    pub taken: Vec<Letter>,
    /// The last copy of each that it acknowledged, or found.
    pub acked: BTreeMap<StanzaId, u32>,
    /// Receipts that were sent.
    pub receipts: BTreeSet<StanzaId>,
    /// The server told that it could not be delivered.
    pub bounced: BTreeMap<StanzaId, usize>,
    /// The server lost what it had acknowledged.
    pub lost: BTreeSet<StanzaId>,
}

pub fn jid(name: &str) -> String {
    format!("{name}@chat.test")
}

impl Chat {
    pub fn new(receipts: &[&str], archive: Archive) -> Self {
        let person = |name| Person {
            show: Some(Show::Available),
            granted: true,
            receipts: receipts.contains(&name),
            ..Person::default()
        };
        Self {
            people: super::PEOPLE.into_iter().map(|name| (name, person(name))).collect(),
            pace: Pace::Acked,
            archive: Lookup::new(archive),
            line: None,
            events: None,
            life: 0,
            sent: BTreeMap::new(),
            taken: Vec::new(),
            acked: BTreeMap::new(),
            receipts: BTreeSet::new(),
            bounced: BTreeMap::new(),
            lost: BTreeSet::new(),
        }
    }

    /// A new process: whatever the last one had on its line is gone with it.
    pub fn begin(&mut self) -> (mpsc::Receiver<Event>, u64) {
        let (events, told) = mpsc::channel(10_000);
        (self.events, self.line) = (Some(events), None);
        self.archive.forget();
        self.life += 1;
        (told, self.life)
    }

    /// The process is gone.
    pub fn end(&mut self) {
        (self.events, self.line) = (None, None);
        self.life += 1;
    }

    pub fn tell(&self, event: Event) {
        if let Some(events) = &self.events {
            events.try_send(event).unwrap();
        }
    }

    pub fn up(&self) -> bool {
        self.line.as_ref().is_some_and(|line| line.up)
    }

    pub fn connected(&self) -> bool {
        self.line.is_some()
    }

    /// A session of its own.
    pub fn connect(&mut self) {
        if self.line.is_some() {
            return;
        }
        self.line = Some(Line { up: true, letters: VecDeque::new() });
        for (name, person) in &self.people {
            self.tell(Event::Subscription { who: jid(name).parse().unwrap(), granted: person.granted });
        }
        self.tell(Event::Up { resumed: false });
        self.tell_of_all();
    }

    pub fn cut(&mut self) {
        if let Some(line) = self.line.as_mut().filter(|line| line.up) {
            line.up = false;
            self.tell(Event::Down { reason: "cut".into() });
        }
    }

    /// The session goes on; the server says what it has.
    pub fn resume(&mut self) {
        if !self.connected() || self.up() {
            return;
        }
        self.line.as_mut().unwrap().up = true;
        self.tell(Event::Up { resumed: true });
        self.ack(usize::MAX);
        self.tell_of_all();
        self.answer_late();
        self.flow();
    }

    /// The session is over. `told`: the server says up to where it had everything.
    pub fn lose(&mut self, told: bool) {
        self.cut();
        if told {
            self.ack(usize::MAX);
        }
        let Some(line) = self.line.take() else { return };
        self.archive.forget();
        self.tell(Event::Lost { stanzas: line.letters.iter().map(|(letter, _)| letter.stanza_id.clone()).collect() });
    }

    /// The server takes so many letters from the line.
    pub fn take(&mut self, n: usize) {
        let Some(line) = self.line.as_mut().filter(|line| line.up) else { return };
        let waiting = line.letters.iter_mut().filter(|(_, taken)| !taken).take(n);
        let letters: Vec<Letter> = waiting
            .map(|(letter, taken)| {
                *taken = true;
                letter.clone()
            })
            .collect();
        for letter in letters {
            self.taken.push(letter.clone());
            self.deliver(&letter.stanza_id, &letter.body);
        }
    }

    /// And acknowledges so many of those that it took.
    pub fn ack(&mut self, n: usize) {
        let Some(line) = &mut self.line else { return };
        let taken = line.letters.iter().take_while(|(_, taken)| *taken).count().min(n);
        let copies: Vec<_> = line.letters.drain(..taken).map(|(letter, _)| (letter.stanza_id, letter.copy)).collect();
        if !copies.is_empty() {
            let stanzas = copies.iter().map(|(stanza, _)| stanza.clone()).collect();
            copies.into_iter().for_each(|(stanza, copy)| self.has(stanza, copy));
            self.tell(Event::Accepted { stanzas });
        }
    }

    /// It told that it has this copy.
    pub fn has(&mut self, stanza: StanzaId, copy: u32) {
        let known = self.acked.entry(stanza).or_default();
        *known = copy.max(*known);
    }

    pub fn flow(&mut self) {
        if self.pace != Pace::Stuck {
            self.take(usize::MAX);
        }
        if self.pace == Pace::Acked && self.up() {
            self.ack(usize::MAX);
        }
    }

    fn name_of(&self, stanza: &StanzaId) -> &'static str {
        let letter = self.taken.iter().rev().find(|letter| letter.stanza_id == *stanza).unwrap();
        self.people.keys().find(|name| jid(name) == letter.to.as_str()).unwrap()
    }

    fn deliver(&mut self, stanza: &StanzaId, body: &str) {
        let name = self.name_of(stanza);
        let person = self.people.get_mut(name).unwrap();
        if person.gone || person.show.is_none() {
            person.kept.push(stanza.clone());
            return;
        }
        person.saw.push((stanza.clone(), body.to_owned()));
        if person.receipts {
            person.owed.push_back(stanza.clone());
        }
    }

    fn deliver_kept(&mut self, name: &str) {
        for stanza in std::mem::take(&mut self.people.get_mut(name).unwrap().kept) {
            let body = self.taken.iter().rev().find(|letter| letter.stanza_id == stanza).unwrap().body.clone();
            self.deliver(&stanza, &body);
        }
    }

    fn tell_of(&self, name: &str) {
        let person = &self.people[name];
        if self.up() && person.granted {
            let state = person.show.map(|show| (show, 0));
            self.tell(Event::Presence { who: format!("{}/pc", jid(name)).parse().unwrap(), state });
        }
    }

    fn tell_of_all(&self) {
        let names: Vec<&str> = self.people.keys().copied().collect();
        for name in names {
            self.tell_of(name);
        }
    }

    /// They come, go, or show something else. Whoever comes gets what was kept.
    pub fn show(&mut self, name: &str, show: Option<Show>) {
        let person = self.people.get_mut(name).unwrap();
        person.show = show;
        person.gone = false;
        self.tell_of(name);
        if show.is_some() {
            self.deliver_kept(name);
        }
    }

    pub fn grant(&mut self, name: &str, granted: bool) {
        self.people.get_mut(name).unwrap().granted = granted;
        if self.up() {
            if !granted {
                self.tell(Event::Presence { who: jid(name).parse().unwrap(), state: None });
            }
            self.tell(Event::Subscription { who: jid(name).parse().unwrap(), granted });
            self.tell_of(name);
        }
    }

    /// Their client sends the receipts that it owes.
    pub fn receipt(&mut self, name: &str) {
        if !self.up() {
            return;
        }
        for stanza_id in std::mem::take(&mut self.people.get_mut(name).unwrap().owed) {
            self.receipts.insert(stanza_id.clone());
            self.tell(Event::Receipt { from: format!("{}/pc", jid(name)).parse().unwrap(), stanza_id });
        }
    }

    /// Somebody else claims to have it.
    pub fn forge(&mut self, nth: u8) {
        let Some(letter) = pick(&self.taken, nth).cloned() else { return };
        let from = format!("{}/pc", jid("mallory")).parse().unwrap();
        if self.up() {
            self.tell(Event::Receipt { from, stanza_id: letter.stanza_id });
        }
    }

    /// The server could not deliver what it kept. `late`: another client of who saw it has died by now.
    pub fn bounce(&mut self, nth: u8, late: bool, kind: ErrorType, condition: &str) -> Option<StanzaId> {
        let refused =
            |letter: &&Letter| self.kept(&letter.stanza_id) != late && self.acked.contains_key(&letter.stanza_id);
        let all: Vec<Letter> = self.taken.iter().filter(refused).cloned().collect();
        let Letter { to, stanza_id, .. } = pick(&all, nth).filter(|_| self.up()).cloned()?;
        for person in self.people.values_mut() {
            person.kept.retain(|stanza| *stanza != stanza_id);
        }
        *self.bounced.entry(stanza_id.clone()).or_default() += 1;
        let (condition, from) = (condition.to_owned(), Some(to.into()));
        self.tell(Event::Bounced(Bounce { from, stanza_id: stanza_id.clone(), kind, condition, text: None }));
        Some(stanza_id)
    }

    fn kept(&self, stanza: &StanzaId) -> bool {
        self.people.values().any(|person| person.kept.contains(stanza))
    }

    /// The server is killed: what it kept in memory is gone, and every session with it.
    pub fn killed(&mut self) {
        for person in self.people.values_mut() {
            self.lost.extend(person.kept.drain(..));
        }
        self.lose(false);
    }
}

pub fn pick<T>(all: &[T], nth: u8) -> Option<&T> {
    all.get(usize::from(nth) % all.len().max(1))
}

/// One process's end of the line.
pub struct Phone {
    pub chat: Arc<Mutex<Chat>>,
    pub life: u64,
}

impl Phone {
    fn chat(&self) -> MutexGuard<'_, Chat> {
        self.chat.lock().unwrap()
    }
}

impl Messenger for Phone {
    fn send(&self, letter: Letter) -> Result<(), Full> {
        let mut chat = self.chat();
        let ours = chat.life == self.life;
        let Some(line) = chat.line.as_mut().filter(|line| ours && line.up && line.letters.len() < WINDOW) else {
            return Err(Full(letter));
        };
        let stanza = letter.stanza_id.clone();
        line.letters.push_back((letter, false));
        *chat.sent.entry(stanza).or_default() += 1;
        chat.flow();
        Ok(())
    }

    fn room(&self) -> usize {
        let chat = self.chat();
        let line = chat.line.as_ref().filter(|line| line.up && chat.life == self.life);
        line.map_or(0, |line| WINDOW.saturating_sub(line.letters.len()))
    }

    fn in_flight(&self) -> usize {
        self.chat().line.as_ref().map_or(0, |line| line.letters.len())
    }

    fn look_up(&self, epoch: Epoch, doubts: Vec<Doubt>) {
        let mut chat = self.chat();
        if chat.life == self.life {
            chat.look_up(epoch, doubts);
        }
    }
}
