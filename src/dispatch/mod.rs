//! From the queue to the person: who is reachable, what is due, send, and what comes back.

mod port;
mod settings;

pub use port::{Bounce, ErrorType, Event, Events, Full, Letter, Messenger};
pub use settings::Settings;
