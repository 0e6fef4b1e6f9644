//! A wall clock that jumps must not expire anything: running timers are monotonic, wall time is only stored.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// A difference between the clocks that is a jump, not drift.
const JUMP: SignedDuration = SignedDuration::from_secs(30);
/// Compares the wall clock with the monotonic one.
#[derive(Debug)]
pub struct Drift {
    wall: Timestamp,
    mono: Instant,
    jumped: Option<Instant>,
}

impl Drift {
    /// Both clocks as they stand now.
    pub fn new(wall: Timestamp, mono: Instant) -> Self {
        Self { wall, mono, jumped: None }
    }

    /// Looks again. A jump since the last look is returned (positive: the wall clock went forward).
    pub fn look(&mut self, wall: Timestamp, mono: Instant) -> Option<SignedDuration> {
        let ran = SignedDuration::try_from(mono.saturating_duration_since(self.mono)).unwrap_or(SignedDuration::MAX);
        let jump = wall.duration_since(self.wall).saturating_sub(ran);
        if jump.abs() <= JUMP {
            // The base stays: a slow drift adds up, and counts as one jump when it is large enough.
            return None;
        }
        (self.wall, self.mono) = (wall, mono);
        self.jumped = Some(mono);
        Some(jump)
    }

    /// Did it not jump for so long?
    pub fn steady(&self, mono: Instant, span: Duration) -> bool {
        self.jumped.is_none_or(|jumped| mono.saturating_duration_since(jumped) >= span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_told_once_and_is_over_after_a_while() {
        let (wall, mono) = (Timestamp::UNIX_EPOCH, Instant::now());
        let mut drift = Drift::new(wall, mono);
        let grace = Duration::from_secs(300);
        let later = |s: u64| mono + Duration::from_secs(s);
        let shown = |s: i64| wall + SignedDuration::from_secs(s);
        assert_eq!(drift.look(shown(10), later(10)), None);
        assert!(drift.steady(later(10), grace));
        assert_eq!(drift.look(shown(3620), later(20)), Some(SignedDuration::from_secs(3600)));
        assert_eq!(drift.look(shown(3621), later(21)), None);
        assert!(!drift.steady(later(319), grace));
        assert!(drift.steady(later(320), grace));
        assert_eq!(drift.look(shown(321), later(321)), Some(SignedDuration::from_secs(-3600)));
    }

    #[test]
    fn a_long_stop_of_the_process_is_no_jump() {
        let (wall, mono) = (Timestamp::UNIX_EPOCH, Instant::now());
        let mut drift = Drift::new(wall, mono);
        assert_eq!(drift.look(wall + SignedDuration::from_secs(600), mono + Duration::from_secs(600)), None);
    }
}
