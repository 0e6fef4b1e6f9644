//! What outlives a stream: settings, the window, the ledger, the roster, the events on their way.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_xmpp::xmlstream::ReadError;
use xmpp_parsers::minidom::Element;
use xso::exports::rxml;

use super::archive::Archive;
use super::connect::xml_error;
use super::failure::Failure;
use super::handle::Gate;
use super::outbox::Outbox;
use super::rooms::{Rooms, Todo};
use super::roster::Roster;
use super::sm::{Ledger, Sent};
use super::stanza::weight;
use super::{Change, Credentials, Settings};
use crate::dispatch::Event;
use crate::net::Road;

/// At most one line in this time about what is passed over: anybody may send it.
const QUIET: Duration = Duration::from_secs(60);

/// What outlives a stream.
pub struct Core {
    /// The settings.
    pub settings: Arc<Settings>,
    /// How servers are reached, trust anchors included.
    pub road: Road,
    /// Our end of the window.
    pub gate: Gate,
    /// Events on their way.
    pub outbox: Outbox,
    /// XEP-0198.
    pub ledger: Ledger,
    /// The configured recipients.
    pub roster: Roster,
    /// What our server's archive is asked for.
    pub archive: Archive,
    /// The configured rooms.
    pub rooms: Rooms,
    /// `Up` was told of the session in the ledger: only then it is worth resuming.
    pub reported_up: bool,
    passed_over: PassedOver,
}

impl Core {
    /// Before the first session.
    pub fn new(settings: Arc<Settings>, road: Road, gate: Gate, outbox: Outbox) -> Self {
        let roster = Roster::new(settings.jid.clone(), &settings.contacts);
        let rooms = Rooms::new(&settings.rooms, settings.ping_after);
        Self {
            settings,
            road,
            gate,
            outbox,
            ledger: Ledger::default(),
            roster,
            archive: Archive::default(),
            rooms,
            reported_up: false,
            passed_over: PassedOver::default(),
        }
    }

    /// What a reload changed, and what the rooms do then. `true`: the next sign-in is another one.
    pub fn change(&mut self, change: Change, up: bool) -> (bool, Todo) {
        self.roster.replace(&change.contacts);
        let todo = self.rooms.replace(&change.rooms, up, Instant::now());
        (self.sign_in_by(change.credentials), todo)
    }

    fn sign_in_by(&mut self, credentials: Option<Credentials>) -> bool {
        let Some(credentials) = credentials else { return false };
        let settings = Arc::make_mut(&mut self.settings);
        settings.password = credentials.password;
        self.road = Road::network(credentials.tls);
        true
    }

    /// The server handled everything up to `h`.
    pub fn acknowledge(&mut self, h: u32) -> Result<(), Failure> {
        match self.ledger.ack(h) {
            Ok(sent) => {
                self.accepted(sent);
                Ok(())
            }
            Err(err) => {
                // Its count and ours can never meet again: this session must not be resumed.
                self.ledger.resumption = None;
                Err(Failure::transient(err.to_string()))
            }
        }
    }

    fn accepted(&mut self, sent: Vec<Sent>) {
        let letters: Vec<_> = sent.into_iter().filter_map(|s| s.letter).collect();
        for letter in &letters {
            self.gate.release(letter.weight);
        }
        let stanzas: Vec<_> = letters.into_iter().map(|l| l.stanza_id).collect();
        if !stanzas.is_empty() {
            self.outbox.push(Event::Accepted { stanzas });
        }
    }

    /// The session is gone for good: `handled` stanzas of it are accepted, where the server says so; all others are in
    /// doubt, also those that were never written. The gate is closed.
    pub fn give_up(&mut self, handled: Option<u32>) {
        if let Some(h) = handled {
            match self.ledger.ack(h) {
                Ok(sent) => self.accepted(sent),
                Err(err) => tracing::warn!(%err, "the old session's count makes no sense; its letters are in doubt"),
            }
        }
        let mut stanzas = Vec::new();
        let unacked = self.ledger.reset().into_iter().filter_map(|s| s.letter);
        for letter in unacked.chain(self.rooms.give_up()) {
            self.gate.release(letter.weight);
            stanzas.push(letter.stanza_id);
        }
        while let Ok(letter) = self.gate.letters.try_recv() {
            self.gate.release(weight(&letter));
            stanzas.push(letter.stanza_id);
        }
        if !stanzas.is_empty() {
            self.outbox.push(Event::Lost { stanzas });
        }
        self.archive.give_up();
        self.reported_up = false;
    }

    /// Did the reader stumble over the content of a stanza, not over the connection? The limits of the XML reader are
    /// narrower than some servers', so a stranger could send such a stanza, and the server would repeat it after every
    /// resumption.
    pub fn poisoned(&self, err: &ReadError) -> bool {
        let ReadError::HardError(err) = err else { return false };
        let poisoned = xml_error(err).is_some_and(|e| !matches!(e, rxml::Error::InvalidEof(_)));
        if poisoned {
            tracing::warn!(%err, "a stanza that cannot be read is skipped; the connection is made anew");
        }
        poisoned
    }

    /// Notes in the log, sparingly, that something was passed over.
    pub fn ignored(&mut self, stanza: &Element, why: &str) {
        let now = Instant::now();
        if let Some(more) = self.passed_over.note(now) {
            let from: String = stanza.attr("from").unwrap_or("(our server)").chars().take(100).collect();
            let from = from.escape_debug();
            tracing::debug!(%from, kind = stanza.name(), why, more, "passed over");
        }
    }
}

#[derive(Debug, Default)]
struct PassedOver {
    told: Option<Instant>,
    untold: u64,
}

impl PassedOver {
    /// Is this one to be told, and how many were not since the last that was?
    fn note(&mut self, now: Instant) -> Option<u64> {
        if self.told.is_some_and(|told| now - told < QUIET) {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_over_stanzas_are_told_of_once_a_minute() {
        let mut notes = PassedOver::default();
        let now = Instant::now();
        assert_eq!(notes.note(now), Some(0));
        assert_eq!((notes.note(now), notes.note(now)), (None, None));
        assert_eq!(notes.note(now + QUIET), Some(2));
        assert_eq!(notes.note(now + QUIET * 2), Some(0));
    }
}
