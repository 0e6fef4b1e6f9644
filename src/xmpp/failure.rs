//! Why there is no session, and how long to wait before the next try.

use std::time::Duration;

use xmpp_parsers::minidom::Element;

use super::xml::{condition, cut};
use crate::model::plays_tricks;

/// Longest reason, in characters.
const REASON: usize = 2000;
/// RFC 6120 §4.9.3.
const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";

/// What helps against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Time.
    Transient,
    /// Somebody has to change something: password, certificate, settings.
    Refused,
    /// Another session took our place.
    Conflict,
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What helps.
    pub class: Class,
    /// For people.
    pub reason: String,
    /// `host` or `host:port` where the server sends us (RFC 6120 §4.9.3.19).
    pub elsewhere: Option<String>,
}

impl Failure {
    fn new(class: Class, reason: impl Into<String>) -> Self {
        Self { class, reason: told(&reason.into()), elsewhere: None }
    }

    /// Time helps.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self::new(Class::Transient, reason)
    }

    /// Somebody has to change something.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::new(Class::Refused, reason)
    }

    /// Another session is in our place.
    pub fn conflict(reason: impl Into<String>) -> Self {
        Self::new(Class::Conflict, reason)
    }

    /// The same, with the place before the reason.
    pub fn at(self, place: &str) -> Self {
        Self { reason: format!("{place}: {}", self.reason), ..self }
    }
}

/// On one line, bounded: names of elements and mechanisms, and what an XML reader quotes, are the server's own words.
fn told(reason: &str) -> String {
    let escaped = |c: char| if plays_tricks(c) { c.escape_debug().collect() } else { vec![c] };
    let mut short: String = reason.chars().take(REASON).flat_map(escaped).collect();
    if reason.chars().nth(REASON).is_some() {
        short.push('…');
    }
    short
}

/// A `<stream:error/>`.
pub fn stream_error(error: &Element, account: &str) -> Failure {
    let (condition, text) = condition(error, STREAM_ERRORS);
    let text = text.map(|t| format!(": {}", t.escape_debug())).unwrap_or_default();
    match condition.as_str() {
        "conflict" => Failure::conflict(format!(
            "another session signed in as {account} and took our place (conflict{text}); is a second mailbell running \
             with this account?"
        )),
        "host-unknown" | "host-gone" => Failure::refused(format!(
            "the server does not serve the domain of {account} ({condition}{text}); correct [xmpp] jid or servers"
        )),
        "see-other-host" => {
            let named = error.get_child("see-other-host", STREAM_ERRORS).map(Element::text).unwrap_or_default();
            let host = cut(named.trim(), 256).0;
            let reason = format!("the server sends us to {} ({condition}{text})", host.escape_debug());
            Failure { elsewhere: Some(host.to_owned()), ..Failure::transient(reason) }
        }
        _ => Failure::transient(format!("the server closed the stream ({condition}{text})")),
    }
}

/// Waits between tries: growing, and spread at random so that a thousand clients do not return at once.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
    last: Option<Class>,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(60);
    const REFUSED_FIRST: Duration = Duration::from_secs(60);
    const REFUSED_LONGEST: Duration = Duration::from_secs(300);
    const CONFLICT_FIRST: Duration = Duration::from_secs(15);
    const CONFLICT_LONGEST: Duration = Duration::from_secs(300);
    /// A session that lived so long was stable.
    const STABLE: Duration = Duration::from_secs(10);

    /// A session ended that had been up for so long.
    pub fn lived(&mut self, up: Duration) {
        if up >= Self::STABLE {
            self.failures = 0;
        }
    }

    /// How long to wait now; `chance` between 0 and 1 spreads it.
    pub fn next(&mut self, class: Class, chance: f64) -> Duration {
        if self.last != Some(class) {
            // A new kind of trouble: a server that was down for hours and now refuses the password is asked again soon.
            *self = Self { failures: 0, last: Some(class) };
        }
        let (first, longest) = match class {
            Class::Transient => (Self::FIRST, Self::LONGEST),
            Class::Refused => (Self::REFUSED_FIRST, Self::REFUSED_LONGEST),
            Class::Conflict => (Self::CONFLICT_FIRST, Self::CONFLICT_LONGEST),
        };
        let full = first.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_whatever_the_server_says() {
        let failure = Failure::transient(format!("the server sent <a\u{7f}\n\u{202e}{}/>", "x".repeat(5000)));
        assert!(failure.reason.starts_with("the server sent <a\\u{7f}\\n\\u{202e}xx"), "{}", failure.reason);
        assert!(failure.reason.chars().count() < 2100);
    }

    #[test]
    fn waits_grow_and_start_anew_after_a_stable_session() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..10).map(|_| backoff.next(Class::Transient, 1.0).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        backoff.lived(Duration::from_secs(1));
        assert_eq!(backoff.next(Class::Transient, 0.0).as_secs(), 30);
        backoff.lived(Duration::from_secs(11));
        assert_eq!(backoff.next(Class::Transient, 0.0).as_millis(), 250);
        for _ in 0..100 {
            assert!(backoff.next(Class::Refused, 1.0) <= Duration::from_secs(300));
        }
        assert_eq!(backoff.next(Class::Transient, 1.0).as_millis(), 500);
        assert!(Backoff::default().next(Class::Refused, 0.0) >= Duration::from_secs(30));
    }

    #[test]
    fn stream_errors_are_told_apart() {
        let read = |condition: &str, text: &str| {
            let error = format!(
                "<error xmlns='http://etherx.jabber.org/streams'><{condition} xmlns='{STREAM_ERRORS}'/>\
                 <text xmlns='{STREAM_ERRORS}'>{text}</text></error>"
            );
            stream_error(&error.parse().unwrap(), "alerts@example.test")
        };
        assert_eq!(read("conflict", "Replaced").class, Class::Conflict);
        assert_eq!(read("host-unknown", "").class, Class::Refused);
        let moved = format!(
            "<error xmlns='http://etherx.jabber.org/streams'><see-other-host xmlns='{STREAM_ERRORS}'> [::1]:9222 \
             </see-other-host></error>"
        );
        let moved = stream_error(&moved.parse().unwrap(), "alerts@example.test");
        assert_eq!(moved.reason, "the server sends us to [::1]:9222 (see-other-host)");
        assert_eq!(moved.elsewhere.as_deref(), Some("[::1]:9222"));
        let shutdown = read("system-shutdown", "Bye\nnow");
        assert_eq!(shutdown, Failure::transient("the server closed the stream (system-shutdown: Bye\\nnow)"));
    }
}
