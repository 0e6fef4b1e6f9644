//! The purge: what is old goes, a little at a time, and by a clock that can be believed.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Old, Purged, Retention, StoreError, patiently};
use crate::model::Drift;

/// From the end of one pass to the next.
const EVERY: Duration = Duration::from_secs(3600);
/// Nothing is purged for so long after the clock jumped. A jump to a wrong year is mended sooner; what is purged is gone.
const STEADY: Duration = Duration::from_secs(3600);
/// Where the last mail is that old at the start, it may be the clock that is wrong.
const SILENCE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Rows in one commit.
const ROWS: RangeInclusive<usize> = 8..=512;
/// How long nobody else should be able to write: the number of rows follows what it takes.
const HELD: Duration = Duration::from_millis(5);
/// So many times as long as a step took is the pause after it, also where it found nothing.
const PAUSE: u32 = 4;

/// How long what is kept.
#[derive(Debug, Clone, Copy)]
pub struct Ages {
    /// Raw mails.
    pub raw_for: Duration,
    /// Everything that is over.
    pub history_for: Duration,
    /// No more alerts than this; 0: any number. What is not over stays all the same.
    pub history_max: u64,
}

/// Purges what is older than `ages`, hourly, until `cancel`. It works in short commits with pauses, so that no send waits long
/// for it, and only while the wall clock (`now`) has been steady for an hour.
pub async fn purge<Q: Retention + ?Sized>(
    queue: Arc<Q>,
    ages: Ages,
    now: impl Fn() -> Timestamp,
    cancel: CancellationToken,
) -> Result<(), StoreError> {
    tokio::select! {
        () = cancel.cancelled() => Ok(()),
        done = passes(&*queue, ages, now) => done,
    }
}

async fn passes<Q: Retention + ?Sized>(queue: &Q, ages: Ages, now: impl Fn() -> Timestamp) -> Result<(), StoreError> {
    let newest = queue.newest().await?;
    let mut drift = Drift::new(now(), Instant::now().into_std());
    let silence = newest.map_or(SignedDuration::ZERO, |newest| now().duration_since(newest));
    if silence > SILENCE {
        let days = silence.as_hours() / 24;
        tracing::info!(days, "the last mail is long ago, or the clock is wrong: nothing is purged for an hour");
        sleep(STEADY).await;
    }
    let mut rows = *ROWS.start();
    loop {
        let (wall, mono) = (now(), Instant::now().into_std());
        if let Some(jump) = drift.look(wall, mono) {
            tracing::warn!(seconds = jump.as_secs(), "the clock jumped; nothing is purged for an hour");
        }
        if drift.steady(mono, STEADY) {
            pass(queue, ages, wall, &mut rows).await?;
        }
        sleep(EVERY).await;
    }
}

/// All that is old now, or too much. A message goes after its alerts, and a digest after what it carried.
async fn pass<Q: Retention + ?Sized>(
    queue: &Q,
    ages: Ages,
    now: Timestamp,
    rows: &mut usize,
) -> Result<(), StoreError> {
    let before = |age| {
        let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
        now.saturating_sub(age).unwrap_or(Timestamp::MIN)
    };
    let mut history = before(ages.history_for);
    if ages.history_max > 0
        && let Some(newer) = patiently("count what is kept", || queue.oldest_of_newest(ages.history_max)).await?
    {
        history = history.max(newer);
    }
    for (what, before, name) in [
        (Old::Raw, before(ages.raw_for), "raw mails"),
        (Old::Alerts, history, "alerts, with what became of them"),
        (Old::Letters, history, "digests and notices"),
        (Old::Messages, before(ages.history_for), "records of mails"),
    ] {
        let gone = all(queue, what, before, rows).await?;
        if gone > 0 {
            tracing::info!(rows = gone, "purged old {name}");
        }
    }
    Ok(())
}

/// Purges all of one kind. `rows` is how many go in one commit: it follows the time that they take.
async fn all<Q: Retention + ?Sized>(
    queue: &Q,
    what: Old,
    before: Timestamp,
    rows: &mut usize,
) -> Result<usize, StoreError> {
    let (mut gone, mut after) = (0, 0);
    loop {
        let start = Instant::now();
        let step = patiently("purge what is old", || queue.purge(what, before, after, *rows));
        let Purged { rows: purged, held, next } = step.await?;
        let took = start.elapsed();
        gone += purged;
        let Some(next) = next else { return Ok(gone) };
        after = next;
        if purged > 0 {
            let next = if held > HELD { *rows / 2 } else { *rows + *rows / 4 };
            *rows = next.clamp(*ROWS.start(), *ROWS.end());
        }
        sleep(took * PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;

    /// Notes what is asked of it. Each step takes `held` for each row, and there are 1000 of them.
    struct Asked {
        newest: Option<Timestamp>,
        held: Duration,
        calls: Mutex<Vec<(Old, Timestamp, usize)>>,
    }

    #[async_trait]
    impl Retention for Asked {
        async fn purge(&self, what: Old, before: Timestamp, after: i64, limit: usize) -> Result<Purged, StoreError> {
            self.calls.lock().unwrap().push((what, before, limit));
            let held = self.held * u32::try_from(limit).unwrap();
            sleep(held).await;
            let next = after + i64::try_from(limit).unwrap();
            Ok(Purged { rows: limit, held, next: (next < 1000).then_some(next) })
        }

        async fn newest(&self) -> Result<Option<Timestamp>, StoreError> {
            Ok(self.newest)
        }

        async fn oldest_of_newest(&self, _: u64) -> Result<Option<Timestamp>, StoreError> {
            Ok(None)
        }
    }

    const DAY: Duration = Duration::from_secs(86_400);

    fn day(n: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + n * 86_400).unwrap()
    }

    /// What was asked for within so many hours, by a clock that is so many days ahead after each of these hours.
    async fn asked(newest: Option<Timestamp>, hours: u64, jumps: &[(u64, i64)]) -> Vec<(u64, Timestamp)> {
        let queue = Arc::new(Asked { newest, held: Duration::ZERO, calls: Mutex::default() });
        let start = Instant::now();
        let shown = || {
            let ahead = jumps.iter().rfind(|(hour, _)| start.elapsed() >= Duration::from_secs(hour * 3600));
            day(ahead.map_or(0, |(_, days)| *days)) + start.elapsed()
        };
        let ages = Ages { raw_for: DAY, history_for: 10 * DAY, history_max: 0 };
        let cancel = CancellationToken::new();
        let run = purge(queue.clone(), ages, shown, cancel.clone());
        let mut passes = Vec::new();
        let look = async {
            for hour in 0..hours {
                sleep(Duration::from_secs(1800)).await;
                let calls = std::mem::take(&mut *queue.calls.lock().unwrap());
                passes.extend(calls.iter().find(|(what, ..)| *what == Old::Raw).map(|(_, before, _)| (hour, *before)));
                sleep(Duration::from_secs(1800)).await;
            }
            cancel.cancel();
        };
        let (done, ()) = tokio::join!(run, look);
        done.unwrap();
        passes
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_is_made_each_hour() {
        let passes = asked(None, 3, &[]).await;
        let hours: Vec<u64> = passes.iter().map(|(hour, _)| *hour).collect();
        assert_eq!(hours, [0, 1, 2]);
        assert!(passes.iter().all(|(_, before)| day(-1) <= *before && *before < day(0)), "{passes:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_jumped_purges_nothing_until_it_was_steady() {
        // To another year and back: nothing is judged by that year.
        let passes = asked(Some(day(0)), 6, &[(1, 365), (2, 0)]).await;
        assert!(passes.iter().all(|(_, before)| *before < day(0)), "{passes:?}");
        let hours: Vec<u64> = passes.iter().map(|(hour, _)| *hour).collect();
        assert_eq!(hours, [0, 3, 4, 5]);
        // It stays there: so be it.
        let passes = asked(Some(day(0)), 4, &[(1, 365)]).await;
        assert_eq!(passes.iter().map(|(hour, _)| *hour).collect::<Vec<_>>(), [0, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_long_silence_it_waits_for_the_clock_to_be_mended() {
        let passes = asked(Some(day(-20)), 3, &[]).await;
        assert_eq!(passes.iter().map(|(hour, _)| *hour).collect::<Vec<_>>(), [1, 2]);
        // The clock is 20 days ahead at the start, and mended soon.
        let passes = asked(Some(day(0)), 4, &[(0, 20), (1, 0)]).await;
        assert!(passes.iter().all(|(_, before)| *before < day(0)), "{passes:?}");
        assert!(!passes.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn steps_are_as_large_as_can_be_done_in_a_short_time() {
        let queue = Asked { newest: None, held: Duration::from_micros(100), calls: Mutex::default() };
        let mut rows = *ROWS.start();
        let start = Instant::now();
        let gone = all(&queue, Old::Alerts, day(0), &mut rows).await.unwrap();
        assert!(gone >= 1000);
        let calls = queue.calls.lock().unwrap();
        assert!(
            calls.iter().all(|(.., limit)| *limit <= 62),
            "of 100 µs each no more than 50, and once a quarter more"
        );
        assert!(calls.iter().any(|(.., limit)| *limit > 40));
        assert!(start.elapsed() >= Duration::from_millis(400), "four fifths of the time it lets others write");
    }
}
