//! From the queue to the person: who is reachable, what is due, send, and what comes back.

pub mod digest;
mod port;
pub mod render;
pub mod retry;
mod text;

pub use port::{Bounce, ErrorType, Event, Events, Full, Letter, Messenger};
