//! The chat server's archive, as the gateway asks for it after a session that was lost.

use mailbell::dispatch::Event;
use mailbell::model::{Doubt, Epoch, StanzaId};

use super::chat::Chat;

/// How long the messenger waits for the answer, in seconds; see `src/xmpp/archive.rs`.
const PATIENCE: u32 = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archive {
    None,
    /// It answers at once.
    Prompt,
    /// It answers in a step of its own, if at all.
    Slow,
}

/// What it was asked, and what it found.
pub struct Lookup {
    kind: Archive,
    asked: Option<(Epoch, Vec<Doubt>)>,
    /// The messenger's patience is over, and it can tell so only on a line.
    late: bool,
    /// Copies that were found since this was looked at last.
    pub found: Vec<(StanzaId, u32)>,
}

impl Lookup {
    pub fn new(kind: Archive) -> Self {
        Self { kind, asked: None, late: false, found: Vec::new() }
    }

    /// The session is gone, and the question with it.
    pub fn forget(&mut self) {
        (self.asked, self.late) = (None, false);
    }

    /// From now on it answers at once.
    pub fn heal(&mut self) {
        if self.kind == Archive::Slow {
            self.kind = Archive::Prompt;
        }
    }
}

impl Chat {
    pub fn look_up(&mut self, epoch: Epoch, doubts: Vec<Doubt>) {
        self.archive.asked = Some((epoch, doubts));
        self.archive.late = false;
        match self.archive.kind {
            Archive::None => self.answer(0, Some("there is no archive")),
            Archive::Prompt => self.answer(usize::MAX, None),
            Archive::Slow => {}
        }
    }

    /// The whole answer, or `cut`: an error after half of it.
    pub fn answer_lookup(&mut self, cut: bool) {
        let n = self.archive.asked.as_ref().map_or(0, |(_, doubts)| doubts.len());
        if cut { self.answer(n / 2, Some("an error")) } else { self.answer(n, None) }
    }

    /// So many seconds pass.
    pub fn wait_for_lookup(&mut self, seconds: u32) {
        self.archive.late |= seconds >= PATIENCE;
        self.answer_late();
    }

    pub fn answer_late(&mut self) {
        if self.archive.late {
            self.answer(0, Some("no answer"));
        }
    }

    fn answer(&mut self, n: usize, trouble: Option<&str>) {
        if !self.up() {
            return;
        }
        let Some((epoch, doubts)) = self.archive.asked.take() else { return };
        let there = |doubt: &&Doubt| {
            let last = self.last_taken(&doubt.stanza_id);
            last.is_some_and(|last| last >= doubt.copy)
        };
        let found: Vec<Doubt> = doubts.iter().take(n).filter(there).cloned().collect();
        for doubt in &found {
            let last = self.last_taken(&doubt.stanza_id).unwrap();
            self.has(doubt.stanza_id.clone(), last);
            self.archive.found.push((doubt.stanza_id.clone(), doubt.copy));
        }
        let found = found.into_iter().map(|doubt| doubt.stanza_id).collect();
        self.tell(Event::LookedUp { epoch, found, trouble: trouble.map(str::to_owned) });
    }

    fn last_taken(&self, stanza: &StanzaId) -> Option<u32> {
        self.taken.iter().filter(|letter| letter.stanza_id == *stanza).map(|letter| letter.copy).max()
    }
}
