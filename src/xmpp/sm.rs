//! The accounting of stream management (XEP-0198): what was sent, what the server says it handled, what we handled.
//! No I/O and no clock.

use std::collections::VecDeque;
use std::sync::Arc;

use xmpp_parsers::minidom::Element;

use crate::model::StanzaId;

/// A letter's share of the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// Its id.
    pub stanza_id: StanzaId,
    /// Bytes that it takes of the window.
    pub weight: usize,
}

/// A stanza that was handed to the stream and is not acknowledged.
#[derive(Debug, Clone)]
pub struct Sent {
    /// To be written again after a resumption, exactly as it was.
    pub stanza: Arc<Element>,
    /// The letter in it; `None`: presence, answers.
    pub letter: Option<Carried>,
}

/// What a resumption needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumption {
    /// Id of the session, from `<enabled/>`.
    pub id: String,
    /// Where the server would like to be asked for it first, `host` or `host:port`.
    pub location: Option<String>,
}

/// The server acknowledged a number that cannot be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server acknowledged {h} stanzas; between {acked} and {sent} would be possible")]
pub struct BadAck {
    h: u32,
    acked: u32,
    sent: u32,
}

/// Counters of one session, kept over its resumptions. All counts are modulo 2^32.
#[derive(Debug, Default)]
pub struct Ledger {
    unacked: VecDeque<Sent>,
    acked: u32,
    received: u32,
    /// Set while the session can be resumed.
    pub resumption: Option<Resumption>,
}

impl Ledger {
    /// Starts counting anew; what was not acknowledged comes back, oldest first.
    pub fn reset(&mut self) -> Vec<Sent> {
        let left = std::mem::take(self);
        left.unacked.into()
    }

    /// A stanza goes out.
    pub fn push(&mut self, sent: Sent) {
        self.unacked.push_back(sent);
    }

    /// The server handled everything up to number `h`: those stanzas, oldest first.
    pub fn ack(&mut self, h: u32) -> Result<Vec<Sent>, BadAck> {
        let count = h.wrapping_sub(self.acked) as usize;
        if count > self.unacked.len() {
            return Err(BadAck { h, acked: self.acked, sent: self.sent() });
        }
        self.acked = h;
        Ok(self.unacked.drain(..count).collect())
    }

    /// Number of the last stanza that went out: the `h` that would acknowledge everything.
    pub fn sent(&self) -> u32 {
        // The length is bounded by the window and by what we answer; it never comes near 2^32.
        self.acked.wrapping_add(u32::try_from(self.unacked.len()).unwrap_or(u32::MAX))
    }

    /// Has the server handled the stanza of this number?
    pub fn handled(&self, number: u32) -> bool {
        // Modulo 2^32: what lies less than half of it behind was handled.
        self.acked.wrapping_sub(number) <= u32::MAX / 2
    }

    /// What is not acknowledged, oldest first.
    pub fn unacked(&self) -> impl ExactSizeIterator<Item = &Sent> {
        self.unacked.iter()
    }

    /// A stanza came in. Invalid ones count as well.
    pub fn receive(&mut self) {
        self.received = self.received.wrapping_add(1);
    }

    /// How many came in: our `h`.
    pub fn received(&self) -> u32 {
        self.received
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stanza(n: usize) -> Sent {
        let letter = Carried { stanza_id: StanzaId(n.to_string()), weight: 1 };
        Sent { stanza: Arc::new(Element::bare("message", "jabber:client")), letter: Some(letter) }
    }

    fn ids(sent: Vec<Sent>) -> Vec<usize> {
        sent.into_iter().map(|s| s.letter.unwrap().stanza_id.0.parse().unwrap()).collect()
    }

    #[test]
    fn acknowledges_in_order_and_refuses_the_impossible() {
        let mut ledger = Ledger::default();
        (0..5).for_each(|n| ledger.push(stanza(n)));
        assert_eq!(ids(ledger.ack(2).unwrap()), [0, 1]);
        assert_eq!(ids(ledger.ack(2).unwrap()), [] as [usize; 0]);
        assert_eq!(
            ledger.ack(6).unwrap_err().to_string(),
            "the server acknowledged 6 stanzas; between 2 and 5 would be possible"
        );
        assert!(ledger.ack(1).is_err());
        assert_eq!(ledger.unacked().len(), 3);
        assert_eq!(ids(ledger.reset()), [2, 3, 4]);
        assert_eq!((ledger.sent(), ledger.received()), (0, 0));
    }

    #[test]
    fn counts_wrap() {
        let mut ledger = Ledger { acked: u32::MAX - 1, received: u32::MAX, ..Ledger::default() };
        (0..4).for_each(|n| ledger.push(stanza(n)));
        assert_eq!(ledger.sent(), 2);
        assert!(ledger.ack(3).is_err());
        assert_eq!(ids(ledger.ack(0).unwrap()), [0, 1]);
        assert_eq!(ids(ledger.ack(2).unwrap()), [2, 3]);
        assert!(ledger.handled(2) && ledger.handled(u32::MAX) && !ledger.handled(3));
        ledger.receive();
        assert_eq!(ledger.received(), 0);
    }

    proptest! {
        /// Against the simplest model: whatever is sent comes out exactly once, in order, by `ack` or by `reset`.
        #[test]
        fn nothing_is_lost_and_nothing_is_acknowledged_twice(start in any::<u32>(), steps in prop::collection::vec(0u8..20, 1..200)) {
            let mut ledger = Ledger { acked: start, ..Ledger::default() };
            let (mut sent, mut out) = (0usize, Vec::new());
            for step in steps {
                if step < 12 {
                    ledger.push(stanza(sent));
                    sent += 1;
                } else {
                    let h = start.wrapping_add(out.len() as u32).wrapping_add(u32::from(step - 12));
                    let before = out.len();
                    match ledger.ack(h) {
                        Ok(acked) => out.extend(ids(acked)),
                        Err(_) => prop_assert!(before + usize::from(step - 12) > sent),
                    }
                }
            }
            out.extend(ids(ledger.reset()));
            prop_assert_eq!(out, (0..sent).collect::<Vec<_>>());
        }
    }
}
