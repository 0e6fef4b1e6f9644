//! What a server's refusal means, and what people are told of it.

use super::port::{Failure, MailboxError};
use crate::model::plays_tricks;

/// Longest piece of a server's own words in an error, in characters.
const QUOTE: usize = 200;

impl MailboxError {
    pub(super) fn new(failure: Failure, what: impl Into<String>) -> Self {
        Self { failure, what: what.into() }
    }

    pub(super) fn transient(what: impl Into<String>) -> Self {
        Self::new(Failure::Transient, what)
    }

    pub(super) fn permanent(what: impl Into<String>) -> Self {
        Self::new(Failure::Permanent, what)
    }
}

/// A server's words on one line, cut, with everything that could play tricks in a log replaced.
pub(super) fn quote(text: &str) -> String {
    let clean = |c: char| if plays_tricks(c) || c == '\u{fffd}' { '?' } else { c };
    let mut out: String = text.trim().chars().take(QUOTE).map(clean).collect();
    if text.trim().chars().count() > QUOTE {
        out.push('…');
    }
    out
}

/// The same for the reply to a login: servers have been seen to echo the line that they did not understand.
pub(super) fn quote_login(text: &str, secrets: &[&str]) -> String {
    let echoes = secrets.iter().any(|secret| secret.len() > 2 && text.contains(secret));
    if echoes { "(the server's words are left out: they hold the password)".into() } else { quote(text) }
}

/// The response code in brackets at the start (RFC 3501 §7.1, RFC 2449 §8), in capitals, without its arguments.
pub(super) fn code(text: &str) -> Option<String> {
    let inner = text.trim_start().strip_prefix('[')?;
    let (inner, _) = inner.split_once(']')?;
    inner.split_ascii_whitespace().next().map(str::to_ascii_uppercase)
}

/// What follows from a refusal: by its response code (RFC 5530, RFC 2449 §8.1, RFC 3206), else by words that servers without
/// codes use; `None` where neither tells.
pub(super) fn classify(code: Option<&str>, text: &str) -> Option<Failure> {
    let by_code = match code {
        Some("AUTHENTICATIONFAILED" | "AUTHORIZATIONFAILED" | "EXPIRED" | "AUTH") => Failure::Auth,
        Some("LIMIT" | "LOGIN-DELAY") => Failure::RateLimited,
        Some("UNAVAILABLE" | "INUSE" | "IN-USE" | "SERVERBUG" | "CORRUPTION" | "EXPUNGEISSUED" | "SYS/TEMP") => {
            Failure::Transient
        }
        Some("NONEXISTENT" | "TRYCREATE" | "NOPERM" | "CANNOT" | "READ-ONLY" | "PRIVACYREQUIRED" | "OVERQUOTA")
        | Some("SYS/PERM") => Failure::Permanent,
        _ => return by_words(text),
    };
    Some(by_code)
}

fn by_words(text: &str) -> Option<Failure> {
    let text = text.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["too many", "rate limit", "try again later", "throttl"]) {
        return Some(Failure::RateLimited);
    }
    // A locked maildrop opens again by itself; a locked account does not.
    has(&["temporar", "unavailable", "try again", "maildrop", "lock busy", "in use", "busy", "internal error"])
        .then_some(Failure::Transient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_before_words() {
        assert_eq!(code("[LOGIN-DELAY 60] minimum time").as_deref(), Some("LOGIN-DELAY"));
        assert_eq!(code("[in-use] busy").as_deref(), Some("IN-USE"));
        assert_eq!(code("no code"), None);
        assert_eq!(code("[]"), None);
        assert_eq!(classify(Some("AUTHENTICATIONFAILED"), "try again later"), Some(Failure::Auth));
        assert_eq!(classify(Some("UNAVAILABLE"), ""), Some(Failure::Transient));
        assert_eq!(classify(None, "Too many connections"), Some(Failure::RateLimited));
        assert_eq!(classify(None, "maildrop already locked"), Some(Failure::Transient));
        assert_eq!(classify(None, "invalid"), None);
        assert_eq!(classify(None, "account locked"), None);
    }

    #[test]
    fn a_servers_words_are_cut_and_cleaned() {
        assert_eq!(quote(" a\u{1b}[31mb\r\n "), "a?[31mb");
        assert_eq!(quote("a\u{202e}b\u{2028}c"), "a?b?c");
        assert_eq!(quote(&"x".repeat(300)).chars().count(), 201);
        assert!(!quote_login("BAD PASS s3cret", &["s3cret"]).contains("s3cret"));
        assert_eq!(quote_login("no such user", &["s3cret"]), "no such user");
    }
}
