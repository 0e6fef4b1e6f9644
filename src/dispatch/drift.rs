//! A wall clock that jumps must not expire anything: running timers are monotonic, wall time is only stored.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// A difference between the clocks that is a jump, not drift.
const JUMP: SignedDuration = SignedDuration::from_secs(30);
/// Nothing expires for so long after a jump.
const GRACE: Duration = Duration::from_secs(300);

/// Compares the wall clock with the monotonic one.
#[derive(Debug)]
pub struct Drift {
    wall: Timestamp,
    mono: Instant,
    grace_until: Option<Instant>,
}

impl Drift {
    /// Both clocks as they stand now.
    pub fn new(wall: Timestamp, mono: Instant) -> Self {
        Self { wall, mono, grace_until: None }
    }

    /// Looks again. A jump since the last look is returned (positive: the wall clock went forward), and starts the grace.
    pub fn look(&mut self, wall: Timestamp, mono: Instant) -> Option<SignedDuration> {
        let ran = SignedDuration::try_from(mono.saturating_duration_since(self.mono)).unwrap_or(SignedDuration::MAX);
        let jump = wall.duration_since(self.wall).saturating_sub(ran);
        if jump.abs() <= JUMP {
            // The base stays: a slow drift adds up, and counts as one jump when it is large enough.
            return None;
        }
        (self.wall, self.mono) = (wall, mono);
        self.grace_until = mono.checked_add(GRACE);
        Some(jump)
    }

    /// May anything expire now?
    pub fn may_expire(&self, mono: Instant) -> bool {
        self.grace_until.is_none_or(|until| mono >= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_told_once_and_stops_expiry_for_five_minutes() {
        let (wall, mono) = (Timestamp::UNIX_EPOCH, Instant::now());
        let mut drift = Drift::new(wall, mono);
        let later = |s: u64| mono + Duration::from_secs(s);
        let shown = |s: i64| wall + SignedDuration::from_secs(s);
        assert_eq!(drift.look(shown(10), later(10)), None);
        assert!(drift.may_expire(later(10)));
        assert_eq!(drift.look(shown(3620), later(20)), Some(SignedDuration::from_secs(3600)));
        assert_eq!(drift.look(shown(3621), later(21)), None);
        assert!(!drift.may_expire(later(319)));
        assert!(drift.may_expire(later(320)));
        assert_eq!(drift.look(shown(321), later(321)), Some(SignedDuration::from_secs(-3600)));
    }

    #[test]
    fn a_long_stop_of_the_process_is_no_jump() {
        let (wall, mono) = (Timestamp::UNIX_EPOCH, Instant::now());
        let mut drift = Drift::new(wall, mono);
        assert_eq!(drift.look(wall + SignedDuration::from_secs(600), mono + Duration::from_secs(600)), None);
    }
}
