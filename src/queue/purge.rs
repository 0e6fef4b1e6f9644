//! The purge: what is old goes, a little at a time.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Old, Purged, Retention, StoreError, patiently};

/// From the end of one pass to the next.
const EVERY: Duration = Duration::from_secs(3600);
/// Rows in one commit.
const ROWS: RangeInclusive<usize> = 8..=512;
/// How long nobody else should be able to write: the number of rows follows what it takes.
const HELD: Duration = Duration::from_millis(5);
/// So many times as long as a step took is the pause after it.
const PAUSE: u32 = 4;

/// Purges raw mails that are older than `raw_for`, and everything that is over and older than `history_for`, hourly. A purge
/// works in short commits with pauses, so that no send waits long for it.
pub async fn purge<Q: Retention + ?Sized>(
    queue: Arc<Q>,
    raw_for: Duration,
    history_for: Duration,
    cancel: CancellationToken,
) -> Result<(), StoreError> {
    let pass = async {
        let mut rows = *ROWS.start();
        loop {
            let now = Timestamp::now();
            // A message goes after its alerts, and a digest after what it carried.
            for (what, age) in [
                (Old::Raw, raw_for),
                (Old::Alerts, history_for),
                (Old::Letters, history_for),
                (Old::Messages, history_for),
            ] {
                let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
                let before = now.saturating_sub(age).unwrap_or(Timestamp::MIN);
                let gone = all(&*queue, what, before, &mut rows).await?;
                if gone > 0 {
                    tracing::info!(rows = gone, "purged old {}", name(what));
                }
            }
            sleep(EVERY).await;
        }
    };
    tokio::select! {
        () = cancel.cancelled() => Ok(()),
        done = pass => done,
    }
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
        let Purged { rows: purged, held, next } =
            patiently("purge what is old", || queue.purge(what, before, after, *rows)).await?;
        let took = start.elapsed();
        gone += purged;
        let Some(next) = next else { return Ok(gone) };
        after = next;
        if purged > 0 {
            let fewer = held > HELD;
            *rows = if fewer { *rows / 2 } else { *rows + *rows / 4 }.clamp(*ROWS.start(), *ROWS.end());
            sleep(took * PAUSE).await;
        }
    }
}

fn name(what: Old) -> &'static str {
    match what {
        Old::Raw => "raw mails",
        Old::Alerts => "alerts, with what became of them",
        Old::Letters => "digests and notices",
        Old::Messages => "records of mails",
    }
}
