//! The wall clock, for what people read.

use jiff::Timestamp;

/// Now, to the millisecond: nobody reads more of it.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
