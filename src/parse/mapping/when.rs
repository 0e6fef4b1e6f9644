//! Times as a vocabulary writes them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::TimeZone;

use super::super::time;

/// One way to write a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeFormat {
    /// RFC 3339, and what is close to it.
    Rfc3339,
    /// Seconds since 1970, with or without a fraction.
    Epoch,
    /// Milliseconds since 1970.
    EpochMillis,
    /// A pattern of strptime.
    Pattern(String),
}

/// Why a text names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadTimeFormat(String);

impl TimeFormat {
    /// A regular expression that matches in every one that can be read.
    pub const PATTERN: &str = "^(rfc3339|epoch|epoch_ms)$|%";

    /// As in config.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Rfc3339 => "rfc3339",
            Self::Epoch => "epoch",
            Self::EpochMillis => "epoch_ms",
            Self::Pattern(pattern) => pattern,
        }
    }

    /// The instant that a text means; a time without zone is in `zone`.
    pub(super) fn read(&self, text: &str, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Rfc3339 => time::read_in(text, zone).map(|(time, _)| time),
            Self::Epoch => {
                let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
                let seconds: i64 = seconds.parse().ok()?;
                if !fraction.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                let nanos = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
                let nanos = nanos.fold(0, |n, digit| n * 10 + i32::from(digit - b'0'));
                Timestamp::new(seconds, if seconds < 0 { 0 } else { nanos }).ok()
            }
            Self::EpochMillis => Timestamp::from_millisecond(text.parse().ok()?).ok(),
            Self::Pattern(pattern) => {
                let read = strtime::parse(pattern, text).ok()?;
                if let Ok(time) = read.to_timestamp() {
                    return Some(time);
                }
                let civil = read.to_datetime().or_else(|_| read.to_date().map(DateTime::from)).ok()?;
                zone.to_ambiguous_timestamp(civil).compatible().ok()
            }
        }
    }
}

impl std::str::FromStr for TimeFormat {
    type Err = BadTimeFormat;

    fn from_str(text: &str) -> Result<Self, BadTimeFormat> {
        match text {
            "rfc3339" => Ok(Self::Rfc3339),
            "epoch" => Ok(Self::Epoch),
            "epoch_ms" => Ok(Self::EpochMillis),
            _ if !text.contains('%') => Err(BadTimeFormat(format!(
                "`{}` is no time format; allowed: rfc3339, epoch, epoch_ms, or a pattern such as \"%d.%m.%Y %H:%M:%S\"",
                text.escape_debug()
            ))),
            pattern => {
                // What can be written can be read, but for a directive that only writes; both are tried, so that a slip shows.
                let some = jiff::civil::date(2026, 11, 21)
                    .at(18, 42, 5, 0)
                    .to_zoned(TimeZone::UTC)
                    .map_err(|e| bad(pattern, &e))?;
                let written = strtime::format(pattern, &some).map_err(|e| bad(pattern, &e))?;
                let read = BrokenDownTime::parse(pattern, &written).map_err(|e| bad(pattern, &e))?;
                if read.to_timestamp().is_err() && read.to_date().is_err() {
                    return Err(BadTimeFormat(format!("`{}` names no day", pattern.escape_debug())));
                }
                Ok(Self::Pattern(pattern.to_owned()))
            }
        }
    }
}

fn bad(pattern: &str, err: &jiff::Error) -> BadTimeFormat {
    BadTimeFormat(format!("`{}` is no time pattern: {err}", pattern.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(format: &str, text: &str, zone: &TimeZone) -> String {
        let format: TimeFormat = format.parse().unwrap();
        format.read(text, zone).map_or_else(|| "none".to_owned(), |time| time.to_string())
    }

    #[test]
    fn formats_and_zones() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        for (format, text, want) in [
            ("rfc3339", "2026-07-01T12:00:00Z", "2026-07-01T12:00:00Z"),
            ("rfc3339", "2026-07-01 12:00:00", "2026-07-01T10:00:00Z"),
            ("rfc3339", "soon", "none"),
            ("epoch", "1764900000", "2025-12-05T02:00:00Z"),
            ("epoch", "1764900000.25", "2025-12-05T02:00:00.25Z"),
            ("epoch", "-5", "1969-12-31T23:59:55Z"),
            ("epoch", "1.x", "none"),
            ("epoch", "99999999999999999", "none"),
            ("epoch", "", "none"),
            ("epoch_ms", "1764900000250", "2025-12-05T02:00:00.25Z"),
            ("%d.%m.%Y %H:%M", "01.07.2026 12:00", "2026-07-01T10:00:00Z"),
            ("%d.%m.%Y %H:%M", "01.12.2026 12:00", "2026-12-01T11:00:00Z"),
            ("%d.%m.%Y %H:%M", "01.13.2026 12:00", "none"),
            ("%d.%m.%Y", "01.12.2026", "2026-11-30T23:00:00Z"),
            // Neither an hour that the clock skips nor one that it repeats is lost.
            ("%d.%m.%Y %H:%M", "29.03.2026 02:30", "2026-03-29T01:30:00Z"),
            ("%d.%m.%Y %H:%M", "25.10.2026 02:30", "2026-10-25T00:30:00Z"),
            ("%Y-%m-%d %H:%M:%S GMT%:z", "2013-06-05 03:11:36 GMT+02:00", "2013-06-05T01:11:36Z"),
            ("%b %d %Y %I:%M %p", "Jul 01 2026 01:00 PM", "2026-07-01T11:00:00Z"),
        ] {
            assert_eq!(at(format, text, &berlin), want, "{format} of {text}");
        }
    }

    #[test]
    fn what_is_no_format_is_told() {
        let told = |text: &str| text.parse::<TimeFormat>().unwrap_err().to_string();
        assert!(told("iso").starts_with("`iso` is no time format; allowed: rfc3339, "), "{}", told("iso"));
        assert_eq!(told("%H:%M"), "`%H:%M` names no day");
        assert!(told("%Y-%").starts_with("`%Y-%` is no time pattern: "), "{}", told("%Y-%"));
        assert!(told("%Y-%!").starts_with("`%Y-%!` is no time pattern: "), "{}", told("%Y-%!"));
    }
}
