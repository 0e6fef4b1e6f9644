//! Durations and sizes as people write them in config: `30s`, `8h`, `2MiB`.

use std::time::Duration;

/// The text is no duration or size.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadUnit {
    /// Not a duration.
    #[error("`{0}` is no duration; write a whole number and a unit: ms, s, m, h, d (\"30s\", \"8h\")")]
    Span(String),
    /// Not a size.
    #[error("`{0}` is no size; write a whole number and a unit: B, KiB, MiB, GiB, KB, MB, GB (\"2MiB\")")]
    Size(String),
}

/// Units, each as a multiple of the smallest one.
type Units = [(&'static str, u64)];

const SPANS: &Units = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZES: &Units = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// The number in a text with one of these units.
fn read(text: &str, units: &Units) -> Option<u64> {
    let (n, unit) = split(text)?;
    let (_, each) = units.iter().find(|(name, _)| *name == unit)?;
    n.checked_mul(*each)
}

/// A regular expression for what [`read`] reads; `zero`: also where the number is 0.
fn form(units: &Units, zero: bool) -> String {
    let names: Vec<_> = units.iter().map(|(name, _)| *name).collect();
    let number = if zero { "[0-9]+" } else { "0*[1-9][0-9]*" };
    format!(r"{number}\s*({})\s*", names.join("|"))
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(end);
    Some((digits.parse().ok()?, unit.trim()))
}

/// A duration as config gives it, in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// A regular expression, without anchors, that matches every duration; `zero`: also those of no length.
    pub fn form(zero: bool) -> String {
        form(SPANS, zero)
    }
}

impl std::str::FromStr for Span {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        let ms = read(text, SPANS).ok_or_else(|| BadUnit::Span(text.to_owned()))?;
        Ok(Self(Duration::from_millis(ms)))
    }
}

/// Shortest exact form: `90s`, `2m`, `8h`.
impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = self.0.as_millis();
        let (n, unit) = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")]
            .into_iter()
            .find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit))
            .map_or((ms, "ms"), |(unit, name)| (ms / unit, name));
        write!(f, "{n}{unit}")
    }
}

/// A size in bytes as config gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// A regular expression, without anchors, that matches every size; `zero`: also that of nothing.
    pub fn form(zero: bool) -> String {
        form(SIZES, zero)
    }
}

impl std::str::FromStr for Size {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        read(text, SIZES).map(Self).ok_or_else(|| BadUnit::Size(text.to_owned()))
    }
}

/// Largest binary unit that is exact.
impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (n, unit) = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
            .into_iter()
            .find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit))
            .map_or((self.0, "B"), |(unit, name)| (self.0 / unit, name));
        write!(f, "{n}{unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_round_trip() {
        for text in ["250ms", "30s", "90s", "5m", "8h", "30d"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["17B", "4KiB", "2MiB", "1GiB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert_eq!("2MB".parse(), Ok(Size(2_000_000)));
    }

    #[test]
    fn forms_are_those_that_are_read() {
        let is = |form: String, text: &str| regex::Regex::new(&format!("^{form}$")).unwrap().is_match(text);
        for text in ["250ms", "0030 s", "5min ", "0m", "8 h", "30d"] {
            assert!(text.parse::<Span>().is_ok() && is(Span::form(true), text), "{text}");
            assert_eq!(is(Span::form(false), text), text != "0m", "{text}");
        }
        for text in ["", "30", "s", "-1s", "1.5h", " 1s", "1S", "1ms1s"] {
            assert!(text.parse::<Span>().is_err() && !is(Span::form(true), text), "{text}");
        }
        for text in ["0B", "1 kB", "2KB", "3MiB", "1 MB", "1GB", "1GiB"] {
            assert!(text.parse::<Size>().is_ok() && is(Size::form(true), text), "{text}");
        }
        assert!(!is(Size::form(false), "0B") && !is(Size::form(true), "2 megs"));
    }

    #[test]
    fn nonsense_is_refused_with_the_allowed_forms() {
        for text in ["", "30", "s", "-1s", "1.5h", "99999999999999999999s", "9999999999999999d"] {
            assert!(text.parse::<Span>().unwrap_err().to_string().contains("\"30s\""), "{text}");
        }
        for text in ["", "2", "2XB", "99999999999GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
