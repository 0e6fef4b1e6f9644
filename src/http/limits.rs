//! How often something may be done: buckets that fill at a rate. Time is an argument.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// So many keys are remembered; beyond that the fullest bucket, which forbids the least, is forgotten.
const KEYS: usize = 10_000;

/// Buckets by key.
#[derive(Debug)]
pub(super) struct Limits<K> {
    buckets: HashMap<K, Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// How a bucket fills.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// What it holds at most.
    pub(super) burst: f64,
    /// What flows in each second.
    pub(super) each_second: f64,
}

impl Bucket {
    fn filled(self, rate: Rate, now: Instant) -> Self {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        Self { left: (self.left + since * rate.each_second).min(rate.burst), at: now }
    }

    /// Until there is one in it.
    fn wait(self, rate: Rate) -> Option<Duration> {
        (self.left < 1.0)
            .then(|| Duration::from_secs_f64(((1.0 - self.left) / rate.each_second).clamp(0.001, 86_400.0)))
    }
}

impl<K> Default for Limits<K> {
    fn default() -> Self {
        Self { buckets: HashMap::new() }
    }
}

impl<K: Hash + Eq + Clone> Limits<K> {
    /// Takes one; or says for how long there is none.
    pub(super) fn take(&mut self, key: &K, rate: Rate, now: Instant) -> Result<(), Duration> {
        let bucket = self.look(key, rate, now);
        if let Some(wait) = bucket.wait(rate) {
            return Err(wait);
        }
        self.make_room(key, rate, now);
        self.buckets.insert(key.clone(), Bucket { left: bucket.left - 1.0, at: now });
        Ok(())
    }

    /// How long there is none; takes nothing.
    pub(super) fn wait(&self, key: &K, rate: Rate, now: Instant) -> Option<Duration> {
        self.look(key, rate, now).wait(rate)
    }

    fn look(&self, key: &K, rate: Rate, now: Instant) -> Bucket {
        self.buckets.get(key).map_or(Bucket { left: rate.burst, at: now }, |bucket| bucket.filled(rate, now))
    }

    fn make_room(&mut self, key: &K, rate: Rate, now: Instant) {
        if self.buckets.len() < KEYS || self.buckets.contains_key(key) {
            return;
        }
        self.buckets.retain(|_, bucket| bucket.filled(rate, now).left < rate.burst);
        if self.buckets.len() >= KEYS {
            let fullest = self.buckets.iter().max_by(|a, b| a.1.left.total_cmp(&b.1.left)).map(|(key, _)| key.clone());
            if let Some(key) = fullest {
                self.buckets.remove(&key);
            }
        }
    }
}

/// Whole seconds to be waited, at least one, for `Retry-After`.
pub(super) fn seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 2.0, each_second: 0.5 };

    #[test]
    fn what_is_taken_comes_back_with_time() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        assert_eq!((limits.take(&1, RATE, at(0)), limits.take(&1, RATE, at(0))), (Ok(()), Ok(())));
        assert_eq!(limits.take(&1, RATE, at(0)), Err(Duration::from_secs(2)));
        assert_eq!(limits.take(&2, RATE, at(0)), Ok(()), "another has its own");
        assert_eq!(limits.wait(&1, RATE, at(1)), Some(Duration::from_secs(1)));
        assert_eq!(limits.wait(&1, RATE, at(2)), None);
        assert_eq!(limits.take(&1, RATE, at(2)), Ok(()));
        assert!(limits.take(&1, RATE, at(3)).is_err());
        assert_eq!(limits.wait(&1, RATE, at(60)), None, "and no more than it holds");
        assert_eq!((limits.take(&1, RATE, at(60)), limits.take(&1, RATE, at(60))), (Ok(()), Ok(())));
        assert!(limits.take(&1, RATE, at(60)).is_err());
    }

    #[test]
    fn a_flood_of_keys_is_forgotten_the_mildest_first() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        assert_eq!((limits.take(&0, RATE, now), limits.take(&0, RATE, now)), (Ok(()), Ok(())));
        for key in 1..=2 * KEYS {
            assert_eq!(limits.take(&key, RATE, now), Ok(()));
        }
        assert!(limits.buckets.len() <= KEYS);
        assert!(limits.take(&0, RATE, now).is_err(), "the one who is over it is not forgotten");
    }

    #[test]
    fn seconds_are_whole() {
        assert_eq!([0, 1, 999, 1000, 1001].map(|ms| seconds(Duration::from_millis(ms))), [1, 1, 1, 1, 2]);
    }
}
