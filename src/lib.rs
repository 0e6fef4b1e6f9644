//! mailbell: an email-to-IM alert gateway.

pub mod cli;
pub mod control;
pub mod dispatch;
pub mod intake;
pub mod mailbox;
pub mod model;
pub mod net;
pub mod parse;
pub mod presence;
pub mod queue;
pub mod route;
pub mod xmpp;
