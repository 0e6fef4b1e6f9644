//! What is counted: counters by label, and histograms. Adding to them waits for nobody and allocates nothing once a label is known.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Names and values of a series, as [`Metric::labels`](super::catalogue::Metric) lists the names.
type Labels = Box<[Box<str>]>;

/// Counters of one metric, by the values of its labels. Values come from the config or are our own words, never from a mail: so
/// there are few.
#[derive(Debug, Default)]
pub struct Counters(Mutex<BTreeMap<Labels, u64>>);

impl Counters {
    /// With these series from the start: what never happened is 0, and not absent.
    pub fn of(series: impl IntoIterator<Item = Vec<&'static str>>) -> Self {
        let counters = Self::default();
        series.into_iter().for_each(|labels| counters.add(&labels, 0));
        counters
    }

    /// So many more.
    pub fn add(&self, labels: &[&str], n: u64) {
        let mut counts = self.lock();
        match counts.iter_mut().find(|(known, _)| known.iter().map(AsRef::as_ref).eq(labels.iter().copied())) {
            Some((_, count)) => *count += n,
            None => drop(counts.insert(labels.iter().map(|label| Box::from(*label)).collect(), n)),
        }
    }

    /// All of them.
    pub fn all(&self) -> BTreeMap<Labels, u64> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Labels, u64>> {
        // Each count is changed in one go: a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long something took.
#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds in seconds, rising; what is above the last has a place of its own.
    bounds: &'static [f64],
    counts: Box<[AtomicU64]>,
    micros: AtomicU64,
}

impl Histogram {
    /// An empty one.
    pub fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, micros: AtomicU64::new(0) }
    }

    /// One more.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Upper bound and how many there were up to it, the last without a bound; and the sum in seconds.
    pub fn read(&self) -> (Vec<(Option<f64>, u64)>, f64) {
        let mut so_far = 0;
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        let buckets = bounds
            .zip(&self.counts)
            .map(|(bound, count)| {
                so_far += count.load(Ordering::Relaxed);
                (bound, so_far)
            })
            .collect();
        (buckets, Duration::from_micros(self.micros.load(Ordering::Relaxed)).as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::new(&[0.001, 0.01]);
        for micros in [0, 1000, 1001, 10_000, 10_001, 5_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let (buckets, sum) = histogram.read();
        assert_eq!(buckets, [(Some(0.001), 2), (Some(0.01), 4), (None, 6)]);
        assert!((sum - 5.022_002).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn what_never_happened_is_zero_and_not_absent() {
        let counters = Counters::of([vec!["a", "x"], vec!["a", "y"]]);
        counters.add(&["a", "y"], 2);
        counters.add(&["b", "x"], 1);
        let all: Vec<(String, u64)> = counters.all().iter().map(|(labels, n)| (labels.join("/"), *n)).collect();
        assert_eq!(all, [("a/x".into(), 0), ("a/y".into(), 2), ("b/x".into(), 1)]);
    }
}
