//! The conversation of RFC 2033 with PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531) and
//! ENHANCEDSTATUSCODES (RFC 2034): bytes in, replies and questions out. No clock and no I/O.

mod book;
mod command;
mod data;
mod session;
#[cfg(test)]
mod tests;

pub use book::{Address, BadAddress, Book, Mailbox};
pub use session::{Answer, Ask, Letter, Session, TooLarge};
