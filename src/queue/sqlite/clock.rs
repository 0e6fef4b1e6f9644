//! The wall clock jumped: what waits for a span of time waits as long as it would have.

use jiff::SignedDuration;

use super::Sqlite;
use super::conn::Doing;
use crate::queue::StoreError;

/// Moves holds, retries, what waits for a digest, a receipt or the archive, and the pause between notices along. What was written down as it happened, and the times that
/// alerts name themselves, stay.
pub(super) async fn jumped(store: &Sqlite, by: SignedDuration) -> Result<(), StoreError> {
    let mut lease = store.begin().await?;
    sqlx::query(
        "UPDATE notification SET held_until = held_until + $1 WHERE state = 'held'; \
         UPDATE notification SET not_before = not_before + $1 \
           WHERE (state = 'queued' OR in_doubt = 1) AND not_before IS NOT NULL AND attempts > 0; \
         UPDATE notification SET waits = waits + $1 WHERE (state = 'queued' OR in_doubt = 1) AND waits IS NOT NULL; \
         UPDATE notification SET awaited = coalesce(awaited, accepted) + $1, again_until = again_until + $1 \
           WHERE state IN ('queued', 'held', 'sending', 'accepted') AND state = 'accepted'; \
         UPDATE notice SET last_told = last_told + $1 WHERE last_told IS NOT NULL",
    )
    .bind(i64::try_from(by.as_micros()).unwrap_or(0))
    .execute(&mut lease.conn)
    .await
    .doing("moving timers along with the clock")?;
    lease.commit().await
}
