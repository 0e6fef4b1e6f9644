//! Rooms as recipients (XEP-0045): are we in, and what a room did not reflect.

use jiff::Timestamp;

use super::RoomState;
use super::retry::{self, Failure, Next};
use super::worker::Worker;
use crate::model::{BareJid, Epoch, NotificationState, Presence, StanzaId};
use crate::queue::{Outbox, StoreError, patiently};

/// Most that is held in one go for the rooms that we are not in.
const HOLD: usize = 256;

/// Why a message to a room is in doubt.
const UNREFLECTED: &str = "the room did not reflect it";

/// Stands in the store for "the operators know that we are not in this room".
fn mark(room: &BareJid) -> String {
    format!("room:{room}")
}

impl<Q: Outbox + ?Sized> Worker<Q> {
    /// In a room, or out of it. Operators hear of what lasts, once until we are in again.
    pub(super) async fn on_room(&mut self, room: &BareJid, state: RoomState) -> Result<(), StoreError> {
        let news = self.lane.tracker(|t| t.room(room, state == RoomState::In));
        match state {
            RoomState::In => {
                if news {
                    let mark = mark(room);
                    patiently("note for the operators", || self.queue.unmark(&mark)).await?;
                }
                self.on_return(room).await
            }
            RoomState::Out { reason, lasting } => {
                tracing::warn!(%room, reason, "not in the room");
                if lasting { self.note_room(room, &reason).await } else { Ok(()) }
            }
        }
    }

    async fn note_room(&self, room: &BareJid, reason: &str) -> Result<(), StoreError> {
        let untold = self.queue.untold(&[mark(room)]).await?;
        if untold.is_empty() {
            return Ok(());
        }
        let name = self.router.recipient(room).map(|r| r.name.to_string()).unwrap_or_default();
        let text = format!("not in the room {name} ({room}): {reason}. What is for it is held until mailbell is in");
        let topic = format!("rooms:{name}");
        patiently("note for the operators", || self.queue.note_once(&topic, &text, &untold)).await
    }

    /// Whether it was posted is in doubt: it is posted again with the same id, later and later, and not for ever.
    pub(super) async fn on_unreflected(&mut self, stanzas: &[StanzaId]) -> Result<(), StoreError> {
        self.flush_records().await;
        for stanza in stanzas {
            let Some(out) = self.queue.by_stanza(stanza).await? else { continue };
            let (n, now) = (out.notification, (self.wall)());
            if n.state != NotificationState::Sending {
                continue;
            }
            match retry::next(n.attempts, Failure::Refused, now, rand::random(), self.settings.max_attempts) {
                Next::At(at) => {
                    tracing::warn!(notification = %n.id, recipient = %n.recipient, again = %at, "{UNREFLECTED}");
                    patiently("mark as in doubt", || self.queue.doubt(stanza, at, UNREFLECTED, now)).await?;
                }
                Next::Dead(reason) => self.give_up(&n, &format!("{UNREFLECTED}; {reason}"), now).await?,
            }
        }
        Ok(())
    }

    /// Holds what is due for rooms that we are not in, and leaves the other recipients. What is in doubt there waits as it is,
    /// and takes nobody's place among what can be sent.
    pub(super) async fn set_rooms_aside(
        &mut self,
        recipients: &mut Vec<BareJid>,
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let out: Vec<_> = recipients.extract_if(.., |who| self.lane.presence(who) == Presence::NotJoined).collect();
        if out.is_empty() {
            return Ok(());
        }
        let mut due = self.queue.due(&out, HOLD, HOLD, now).await?;
        due.retain(|out| !out.in_doubt);
        self.send(due, epoch, now).await?;
        Ok(())
    }
}
