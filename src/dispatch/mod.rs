//! From the queue to the person: who is reachable, what is due, send, and what comes back.
//!
//! One worker ([`run`]) owns it all. A round: take what the messenger tells, settle watches, take what is due for those who can be
//! reached, commit the intent (D3), write. Acknowledgements and receipts are recorded (D4, D5) by a task of their own, so
//! that they never delay a send. Notifications of alerts that just came in skip the round: D2 commits them as `sending` and
//! the [`Express`](express::ExpressLane) writes them at once. Both ask the [`budget`] whether that would be too many for the
//! recipient: what is waits in the queue, and goes as one digest.

mod doubt;
mod events;
mod express;
mod letter;
mod notices;
mod port;
mod preview;
mod receipts;
mod record;
mod returning;
mod rooms;
mod send;
mod settings;
mod storm;
mod watches;
mod worker;

pub mod budget;
pub mod digest;
pub mod render;
pub mod retry;
mod text;

pub use express::ExpressLane;
pub use port::{Bounce, ErrorType, Event, Events, Full, Letter, Messenger, RoomState};
pub use preview::{Preview, preview};
pub use settings::{Rules, Settings};
pub use watches::look_at;
pub use worker::{Parts, run};
