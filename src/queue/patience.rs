//! Waiting for room on the disk.

use std::time::Duration;

use super::{StoreError, StoreFault};

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Does it, and while the disk is full does it again every second: nothing was written, nothing is lost. Every other fault is
/// returned. Cancel by dropping.
pub async fn patiently<T, F>(what: &str, mut operation: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut told = false;
    loop {
        match operation().await {
            Err(err) if err.fault == StoreFault::Full => {
                if !told {
                    tracing::error!(%err, "the disk is full: cannot {what}; trying every second until there is room");
                    told = true;
                }
                tokio::time::sleep(PAUSE).await;
            }
            other => {
                if told && other.is_ok() {
                    tracing::info!("there is room on the disk again");
                }
                return other;
            }
        }
    }
}
