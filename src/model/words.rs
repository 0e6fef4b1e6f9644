//! Times and durations as people read them.

use std::time::Duration;

use jiff::Timestamp;

/// `2026-11-21 18:42 UTC`.
pub fn when(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// `45 s`, `12 min`, `2 h 5 min`, `3 d 4 h`: two units at most, rounded down.
pub fn human(span: Duration) -> String {
    let s = span.as_secs();
    let (large, small) = match s {
        0..60 => ((s, "s"), (0, "")),
        60..3_600 => ((s / 60, "min"), (0, "")),
        3_600..86_400 => ((s / 3_600, "h"), (s % 3_600 / 60, "min")),
        _ => ((s / 86_400, "d"), (s % 86_400 / 3_600, "h")),
    };
    let first = format!("{} {}", large.0, large.1);
    if small.0 == 0 { first } else { format!("{first} {} {}", small.0, small.1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_and_durations_have_two_units() {
        assert_eq!(when("2026-11-21T20:42:59+02:00".parse().unwrap()), "2026-11-21 18:42 UTC");
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (3_599, "59 min"), (7_500, "2 h 5 min"), (7_200, "2 h"), (273_600, "3 d 4 h")]
        {
            assert_eq!(human(Duration::from_secs(seconds)), text);
        }
    }
}
