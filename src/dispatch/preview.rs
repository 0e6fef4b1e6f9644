//! What would be done with a notification that is due, without doing it.

use jiff::Timestamp;

use super::letter::letter;
use super::send::{absence, held_until};
use crate::model::Presence;
use crate::presence::policy::{Decision, decide};
use crate::queue::{Outgoing, SKIPPED};
use crate::route::Router;

/// What would be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preview {
    /// Sent, with this text.
    Sent(String),
    /// Held until then at the longest.
    Held {
        /// End of the hold.
        until: Timestamp,
        /// Why.
        why: String,
    },
    /// Ended unsent.
    Skipped(&'static str),
    /// Left until it is known where the recipient is.
    Waits,
}

/// Decides as the worker does, but for how much the recipient was sent lately. `text_max`: longest text, in characters.
pub fn preview(out: &Outgoing, presence: Presence, router: &Router, text_max: usize, now: Timestamp) -> Preview {
    let n = &out.notification;
    match decide(&n.delivery, n.severity, presence, n.forced) {
        Decision::Deliver => Preview::Sent(letter(out, 1, router, text_max, now).body),
        Decision::Hold => Preview::Held { until: held_until(out, now), why: absence(presence) },
        Decision::Skip => Preview::Skipped(SKIPPED),
        Decision::Wait => Preview::Waits,
    }
}
