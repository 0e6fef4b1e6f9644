//! How the loops are: a small handle for each, which it writes and everybody may read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// One mailbox.
#[derive(Debug)]
pub struct MailboxState(Mutex<Looks>);

/// What the looks into a mailbox came to.
#[derive(Debug, Clone)]
pub struct Looks {
    /// When the mailbox was opened.
    pub opened: Instant,
    /// The last look that succeeded.
    pub good: Option<(Instant, Timestamp)>,
    /// It fails, since then.
    pub failing: Option<Failing>,
    /// Looks that failed.
    pub failures: u64,
    /// Looked into at least this often; `None`: only when there is news, or when it is poked.
    pub poll: Option<Duration>,
    /// The first look waits for a poke: polling is off, and the server tells nothing by itself.
    pub waits: bool,
}

/// What fails, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The first failure in a row.
    pub since: Instant,
    /// Why, for people.
    pub why: String,
    /// It does not mend itself: a password, a certificate.
    pub lasting: bool,
}

impl Default for MailboxState {
    fn default() -> Self {
        let opened = Instant::now();
        Self(Mutex::new(Looks { opened, good: None, failing: None, failures: 0, poll: None, waits: false }))
    }
}

impl MailboxState {
    /// From now on it is looked into at least this often.
    pub fn polled(&self, poll: Option<Duration>) {
        lock(&self.0).poll = poll;
    }

    /// Does the first look wait for a poke?
    pub fn waits(&self, waits: bool) {
        lock(&self.0).waits = waits;
    }

    /// A look succeeded.
    pub fn well(&self) {
        let mut looks = lock(&self.0);
        looks.good = Some((Instant::now(), Timestamp::now()));
        looks.failing = None;
    }

    /// A look failed.
    pub fn ill(&self, why: String, lasting: bool) {
        let mut looks = lock(&self.0);
        looks.failures += 1;
        let since = looks.failing.as_ref().map_or_else(Instant::now, |failing| failing.since);
        looks.failing = Some(Failing { since, why, lasting });
    }

    /// As it is now.
    pub fn get(&self) -> Looks {
        lock(&self.0).clone()
    }
}

/// The XMPP session.
#[derive(Debug)]
pub struct SessionState(Mutex<Sessions>);

/// What the sessions came to.
#[derive(Debug, Clone)]
pub struct Sessions {
    /// Is there one?
    pub up: bool,
    /// Since when that is so; at first since the start.
    pub since: (Instant, Timestamp),
    /// Sessions that came up anew, and that were resumed.
    pub new: u64,
    /// See `new`.
    pub resumed: u64,
    /// Sessions that went down.
    pub lost: u64,
    /// Sign-ins that were refused.
    pub refusals: u64,
    /// The last error, and when; kept while a session is up.
    pub error: Option<(Timestamp, String)>,
    /// The last sign-in was refused: somebody must change something.
    pub refused: bool,
}

impl Default for SessionState {
    fn default() -> Self {
        Self(Mutex::new(Sessions {
            up: false,
            since: (Instant::now(), Timestamp::now()),
            new: 0,
            resumed: 0,
            lost: 0,
            refusals: 0,
            error: None,
            refused: false,
        }))
    }
}

impl SessionState {
    /// A session is up.
    pub fn up(&self, resumed: bool) {
        let mut session = lock(&self.0);
        session.turn(true);
        session.refused = false;
        *(if resumed { &mut session.resumed } else { &mut session.new }) += 1;
    }

    /// There is none; or there was none, and there is still none.
    pub fn down(&self, why: &str, refused: bool) {
        let mut session = lock(&self.0);
        session.lost += u64::from(session.up);
        session.refusals += u64::from(refused);
        session.turn(false);
        session.refused = refused;
        session.error = Some((Timestamp::now(), why.to_owned()));
    }

    /// As it is now.
    pub fn get(&self) -> Sessions {
        lock(&self.0).clone()
    }
}

impl Sessions {
    fn turn(&mut self, up: bool) {
        if self.up != up {
            self.since = (Instant::now(), Timestamp::now());
        }
        self.up = up;
    }
}

/// A loop's sign of life.
#[derive(Debug)]
pub struct Beat {
    begun: Instant,
    /// Milliseconds after `begun`.
    last: AtomicU64,
}

impl Default for Beat {
    fn default() -> Self {
        Self { begun: Instant::now(), last: AtomicU64::new(0) }
    }
}

impl Beat {
    /// It goes on.
    pub fn beat(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// How long it has not said so; before the first time, since it was made.
    pub fn silent(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    // A state is whole after each statement: a panic elsewhere does not spoil it.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_are_of_the_first_and_an_end_forgets_them() {
        let state = MailboxState::default();
        assert!(state.get().good.is_none() && state.get().failing.is_none());
        state.ill("first".into(), false);
        let first = state.get().failing.unwrap();
        state.ill("second".into(), true);
        let second = state.get();
        let failing = second.failing.unwrap();
        assert_eq!((failing.since, failing.why.as_str(), failing.lasting), (first.since, "second", true));
        state.well();
        let well = state.get();
        assert!(well.failing.is_none() && well.good.is_some());
        assert_eq!(well.failures, 2);
    }

    #[test]
    fn a_session_that_stays_down_was_lost_once() {
        let state = SessionState::default();
        state.down("no route", false);
        state.up(false);
        state.down("reset", false);
        let since = state.get().since;
        state.down("refused", true);
        let down = state.get();
        assert_eq!((down.new, down.resumed, down.lost, down.refusals), (1, 0, 1, 1));
        assert_eq!((down.since, down.refused, down.error.unwrap().1.as_str()), (since, true, "refused"));
        state.up(true);
        let up = state.get();
        assert_eq!((up.up, up.refused, up.resumed), (true, false, 1));
        assert!(up.error.is_some(), "what was wrong last is still told");
    }
}
