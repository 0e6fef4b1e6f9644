//! What dispatch asks of a messenger, and what the messenger tells.

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::model::{BareJid, Doubt, Epoch, Jid, Show, StanzaId};

/// One instant message, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// To whom.
    pub to: BareJid,
    /// `id` and origin-id.
    pub stanza_id: StanzaId,
    /// Text. The messenger removes what XML forbids.
    pub body: String,
    /// Asks for a receipt (XEP-0184) and for storage (XEP-0334); `false` for the bot's one-line answers.
    pub tracked: bool,
    /// A resend: when the first copy was sent (XEP-0203).
    pub first_sent: Option<Timestamp>,
    /// Number of this copy of the notification, the first being 1. It goes into the stanza, so that the archive can tell which
    /// copy it holds.
    pub copy: u32,
}

/// The window is full or there is no session: the letter comes back.
#[derive(Debug, PartialEq, Eq)]
pub struct Full(pub Letter);

/// The sending side of a messenger.
pub trait Messenger: Send + Sync {
    /// Hands a letter over to be written. Never blocks. At most `window` letters are written and not yet acknowledged;
    /// beyond that `Full`.
    fn send(&self, letter: Letter) -> Result<(), Full>;

    /// How many more letters would be taken now; 0 without a session.
    fn room(&self) -> usize;

    /// How many letters were taken and are not acknowledged yet.
    fn in_flight(&self) -> usize;

    /// Asks which of these arrived at our server after all. Never blocks. Answered by one [`Event::LookedUp`] of that epoch, in
    /// bounded time; by none if the session is lost, or another look-up begins, before.
    fn look_up(&self, epoch: Epoch, doubts: Vec<Doubt>);
}

/// RFC 6120 §8.3.2: what the sender of the refused stanza should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    /// Retry after providing credentials.
    Auth,
    /// Do not retry.
    Cancel,
    /// It was only a warning.
    Continue,
    /// Retry after changing it.
    Modify,
    /// Retry after waiting.
    Wait,
}

/// A stanza came back (RFC 6120 §8.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounce {
    /// Who says so; `None`: our own server.
    pub from: Option<Jid>,
    /// The stanza.
    pub stanza_id: StanzaId,
    /// Type of the error.
    pub kind: ErrorType,
    /// Its defined condition, such as `item-not-found`.
    pub condition: String,
    /// Its text, if any; data from outside.
    pub text: Option<String>,
}

/// Our place in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomState {
    /// What is posted is seen by its occupants.
    In,
    /// Nothing can be posted. The messenger tries to get in by itself.
    Out {
        /// Why, for people.
        reason: String,
        /// A try to get in was refused: somebody may have to do something. Otherwise the next try may mend it.
        lasting: bool,
    },
}

/// What a messenger tells. The order is the order of the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A session is up and the roster is loaded (or the session resumed, and all is as before).
    Up {
        /// XEP-0198 resumed: presence and letters in flight are kept. Otherwise presence starts anew; whatever was in
        /// flight was reported by `Lost` before.
        resumed: bool,
    },
    /// No session any more; the messenger reconnects by itself. Letters in flight may yet be accepted by a resumption.
    Down {
        /// Why, for people.
        reason: String,
    },
    /// The login was refused, or the certificate: somebody must change something. Tried again, slowly.
    Refused {
        /// Why, for people.
        reason: String,
    },
    /// The session that carried these letters cannot be resumed: whether they arrived is in doubt.
    Lost {
        /// Written or about to be, not acknowledged.
        stanzas: Vec<StanzaId>,
    },
    /// A configured recipient's roster state: have they granted us the subscription (`to` or `both`)?
    Subscription {
        /// Who.
        who: BareJid,
        /// Granted.
        granted: bool,
    },
    /// Presence of one resource of a configured recipient; `None`: unavailable. With a bare JID all resources are meant.
    Presence {
        /// Full JID.
        who: Jid,
        /// What it shows and its priority; `None`: gone.
        state: Option<(Show, i8)>,
    },
    /// The server acknowledged it (XEP-0198); to a room: the room reflected it (XEP-0045 §7.4).
    Accepted {
        /// In the order sent.
        stanzas: Vec<StanzaId>,
    },
    /// XEP-0184 receipt. Whether it is from the right one is for dispatch to check.
    Receipt {
        /// Who sent it.
        from: Jid,
        /// For which stanza.
        stanza_id: StanzaId,
    },
    /// A stanza came back.
    Bounced(Bounce),
    /// Are we in a room that is a configured recipient? Told when a new session has found out, and when it changes.
    Room {
        /// Which.
        room: BareJid,
        /// In or out.
        state: RoomState,
    },
    /// Posted to a room, which did not reflect it in time: whether it is there is in doubt.
    Unreflected {
        /// In no order.
        stanzas: Vec<StanzaId>,
    },
    /// The answer to [`Messenger::look_up`].
    LookedUp {
        /// The one that it was asked with.
        epoch: Epoch,
        /// These did arrive: our server has each of them, of that copy or a later one.
        found: Vec<StanzaId>,
        /// Why the answer is not complete; `None`: whatever else was asked for is not there.
        trouble: Option<String>,
    },
    /// A chat message from a configured recipient.
    Chat {
        /// Who.
        from: Jid,
        /// Text; data from outside.
        body: String,
    },
}

/// The telling side: bounded; the messenger waits where dispatch is slow, but keeps the stream alive.
pub type Events = mpsc::Receiver<Event>;
