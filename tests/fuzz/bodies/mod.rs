//! What each fuzz target does with its bytes, and what must hold whatever they are. Every body is one function of bytes: a
//! target of its own runs it on what the fuzzer invents, and the ordinary suite on what is kept in `corpus`.

use std::sync::OnceLock;

pub mod config;
pub mod healthcheck;
pub mod lmtp;
pub mod mail;
pub mod mailbox;
pub mod mapping;
pub mod mime;
pub mod parts;
pub mod peer;
pub mod pick;
pub mod rules;
pub mod stanzas;
pub mod xml;

/// The body of a target by its name.
pub type Body = fn(&[u8]);

/// Every target. Each has a program in `targets` and a directory in `corpus`.
pub const ALL: [(&str, Body); 10] = [
    ("mail", mail::run),
    ("xml", xml::run),
    ("pop3", mailbox::pop3),
    ("imap", mailbox::imap),
    ("stanzas", stanzas::run),
    ("config", config::run),
    ("lmtp", lmtp::run),
    ("mapping", mapping::run),
    ("rules", rules::run),
    ("healthcheck", healthcheck::run),
];

/// Who is told when a body has read the config that it was given: that may take more than what is done by it. In the ordinary
/// suite nobody measures.
pub static PREPARED: OnceLock<fn()> = OnceLock::new();

fn prepared() {
    PREPARED.get().into_iter().for_each(|tell| tell());
}

/// A text of ours about bytes from outside: on one line, nothing in it that plays tricks in a log, and bounded.
pub fn assert_told_well(what: &str, text: &str, most: usize) {
    let odd = text.chars().find(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'));
    assert_eq!(odd, None, "{what}: {text:?}");
    assert!(text.chars().count() <= most, "{what} has {} characters: {text:?}", text.chars().count());
}
