//! The two clocks. Timers run by the monotonic one, which is the runtime's: where that stands still, so do they. The wall clock
//! is handed in.

use std::time::Instant;

use jiff::Timestamp;

/// Reads the wall clock.
pub type Wall = fn() -> Timestamp;

/// The monotonic clock.
pub(super) fn mono() -> Instant {
    tokio::time::Instant::now().into_std()
}
