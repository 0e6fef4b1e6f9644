//! How long to wait after a failed look.

use std::time::Duration;

use crate::mailbox::Failure;

/// Grows with each failure in a row, and starts again after a success.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Failures in a row so far.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A look went well.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure. `jitter` in 0..1 spreads it over ± 25 %, so that mailboxes on one server do not
    /// return in step. Lost connections: 1 s doubling to 1 min. Refused logins and what somebody must mend: 1 min
    /// doubling to 10 min, so that no account is locked. A server that asks for time: 1 min doubling to 5 min.
    pub fn next(&mut self, failure: Failure, jitter: f64) -> Duration {
        let (first, most) = match failure {
            Failure::Transient => (1, 60),
            Failure::RateLimited => (60, 300),
            Failure::Auth | Failure::Permanent => (60, 600),
        };
        let doubled = 1u64.checked_shl(self.failures).unwrap_or(u64::MAX).saturating_mul(first);
        self.failures = self.failures.saturating_add(1);
        Duration::from_secs(doubled.min(most)).mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_to_its_limit_and_starts_again() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..8).map(|_| backoff.next(Failure::Transient, 0.5).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.reset();
        assert_eq!(backoff.next(Failure::Auth, 0.5).as_secs(), 60);
        for _ in 0..200 {
            backoff.next(Failure::Auth, 1.0);
        }
        assert_eq!(backoff.next(Failure::Auth, 1.0), Duration::from_secs(750));
        assert_eq!(backoff.failures(), 202);
    }
}
