//! Sessions of people with a browser. They live in memory: after a restart people log in again.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use subtle::ConstantTimeEq;

/// A session that nobody uses ends after this, and any after that.
const IDLE: SignedDuration = SignedDuration::from_hours(12);
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 7);
/// Most sessions at a time; the one that was idle longest makes room.
const MOST: usize = 1000;

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of the token that it was made with: no other takes its place.
    pub(super) token: String,
    /// What each request that changes something repeats (header `X-CSRF-Token`, or field `csrf` of a form): another site cannot
    /// know it.
    pub csrf: String,
    /// It ends then at the latest.
    pub ends: Timestamp,
    last_used: Timestamp,
}

impl Session {
    /// Is this its CSRF token?
    pub fn is_csrf(&self, text: &str) -> bool {
        self.csrf.as_bytes().ct_eq(text.as_bytes()).into()
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.ends <= now || now.duration_since(self.last_used) >= IDLE
    }
}

/// By SHA-256 of the cookie.
#[derive(Debug, Default)]
pub(super) struct Sessions(HashMap<String, Session>);

impl Sessions {
    pub(super) fn begin(&mut self, cookie: String, token: String, csrf: String, now: Timestamp) -> Session {
        self.0.retain(|_, session| !session.is_over(now));
        if self.0.len() >= MOST {
            let idle = self.0.iter().min_by_key(|(_, session)| session.last_used).map(|(cookie, _)| cookie.clone());
            idle.iter().for_each(|cookie| self.end(cookie));
        }
        let session = Session { token, csrf, ends: now + LONGEST, last_used: now };
        self.0.insert(cookie, session.clone());
        session
    }

    pub(super) fn find(&mut self, cookie: &str, now: Timestamp) -> Option<Session> {
        let session = self.0.get_mut(cookie).filter(|session| !session.is_over(now))?;
        session.last_used = now;
        Some(session.clone())
    }

    /// The token of a session, which stays as idle as it is.
    pub(super) fn token(&self, cookie: &str, now: Timestamp) -> Option<String> {
        self.0.get(cookie).filter(|session| !session.is_over(now)).map(|session| session.token.clone())
    }

    pub(super) fn end(&mut self, cookie: &str) {
        self.0.remove(cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_by_itself() {
        let mut sessions = Sessions::default();
        let start = Timestamp::UNIX_EPOCH;
        let at = |hours| start + SignedDuration::from_hours(hours);
        sessions.begin("cookie".into(), "token".into(), "csrf".into(), start);
        assert!(sessions.find("other", start).is_none());
        for hours in (0..168).step_by(11) {
            assert!(sessions.find("cookie", at(hours)).is_some(), "{hours}");
        }
        assert!(sessions.find("cookie", at(168)).is_none(), "however busy it was");
        sessions.begin("cookie".into(), "token".into(), "csrf".into(), start);
        assert!(sessions.find("cookie", at(12)).is_none(), "idle");
    }

    #[test]
    fn the_one_that_was_idle_longest_makes_room() {
        let mut sessions = Sessions::default();
        let at = |minutes| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(minutes);
        for n in 0..MOST as i64 {
            sessions.begin(n.to_string(), "token".into(), "csrf".into(), at(n));
        }
        assert!(sessions.find("0", at(5000)).is_some());
        sessions.begin("new".into(), "token".into(), "csrf".into(), at(5001));
        assert!(sessions.find("1", at(5001)).is_none());
        assert!(["0", "2", "new"].iter().all(|cookie| sessions.find(cookie, at(5001)).is_some()));
    }
}
