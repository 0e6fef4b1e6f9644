//! Times as senders write them, and the skew of their clocks.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use crate::model::{Alert, Format};

/// A clock may be this far off, or a mail this long under way, before it is worth a word.
const TOLERATED: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

/// Reads a time: `2026-11-21T18:42:00Z`, any offset, and what real senders bend it to where only one meaning is possible.
/// The second value says what was bent. `None`: no time.
pub(crate) fn read(text: &str) -> Option<(Timestamp, Option<String>)> {
    read_in(text, &TimeZone::UTC)
}

/// As [`read`]; a time that names no zone is in this one.
pub(crate) fn read_in(text: &str, zone: &TimeZone) -> Option<(Timestamp, Option<String>)> {
    let text = text.trim();
    if text.len() > 64 {
        return None;
    }
    if is_rfc3339(text)
        && let Ok(time) = text.parse()
    {
        return Some((time, None));
    }
    if let Some((time, bent)) = bent(text, zone) {
        return Some((time, Some(bent)));
    }
    let date = mail_parser::DateTime::parse_rfc822(text).filter(|d| d.year > 0)?;
    Some((super::fields::instant(&date)?, Some("it is written as in mail headers".to_owned())))
}

/// The shape that RFC 3339 §5.6 gives, without its variants.
fn is_rfc3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    let at = |n: usize, b: u8| bytes.get(n) == Some(&b);
    let zone = bytes.last() == Some(&b'Z') || bytes.iter().rev().nth(2) == Some(&b':');
    !text.contains(',') && at(4, b'-') && at(7, b'-') && at(10, b'T') && at(13, b':') && at(16, b':') && zone
}

fn bent(text: &str, zone: &TimeZone) -> Option<(Timestamp, String)> {
    let mut cursor = Cursor { rest: text };
    let year = cursor.number(4, 4)?;
    let dash = cursor.one_of("-/.");
    let month = cursor.number(2, if dash { 1 } else { 2 })?;
    if dash && !cursor.one_of("-/.") {
        return None;
    }
    let day = cursor.number(2, if dash { 1 } else { 2 })?;
    if !cursor.one_of("Tt ,_") {
        return None;
    }
    cursor.blanks();
    let hour = cursor.number(2, 1)?;
    let colon = cursor.one_of(":.");
    let minute = cursor.number(2, 2)?;
    let second = if (colon && cursor.one_of(":.")) || (!colon && cursor.digit()) { cursor.number(2, 2)? } else { 0 };
    let nanos = if cursor.one_of(".,") { cursor.fraction()? } else { 0 };
    cursor.blanks();
    let offset = cursor.offset()?;
    // A leap second is the last second of its minute; 24:00 is the start of the next day.
    let (hour, next_day) = if hour == 24 && minute == 0 && second == 0 { (0, 1) } else { (hour, 0) };
    let time = DateTime::new(
        i16::try_from(year).ok()?,
        i8::try_from(month).ok()?,
        i8::try_from(day).ok()?,
        i8::try_from(hour).ok()?,
        i8::try_from(minute).ok()?,
        i8::try_from(second.min(59)).ok()?,
        nanos,
    )
    .ok()?
    .checked_add(jiff::Span::new().days(next_day))
    .ok()?;
    match offset {
        Some(seconds) => {
            let offset = Offset::from_seconds(seconds).ok()?;
            Some((offset.to_timestamp(time).ok()?, "its form is not that of RFC 3339".to_owned()))
        }
        None => {
            let instant = zone.to_ambiguous_timestamp(time).compatible().ok()?;
            Some((instant, "it names no zone; read as UTC".to_owned()))
        }
    }
}

struct Cursor<'a> {
    rest: &'a str,
}

impl Cursor<'_> {
    fn digit(&self) -> bool {
        self.rest.starts_with(|c: char| c.is_ascii_digit())
    }

    fn number(&mut self, most: usize, least: usize) -> Option<i32> {
        let length = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at_checked(length).filter(|_| length >= least)?;
        self.rest = rest;
        digits.parse().ok()
    }

    fn one_of(&mut self, allowed: &str) -> bool {
        match self.rest.strip_prefix(|c| allowed.contains(c)) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }

    /// Digits of a fraction, as nanoseconds.
    fn fraction(&mut self) -> Option<i32> {
        let length = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at_checked(length).filter(|_| length > 0)?;
        self.rest = rest;
        digits.bytes().chain(std::iter::repeat(b'0')).take(9).try_fold(0_i32, |n, d| Some(n * 10 + i32::from(d - b'0')))
    }

    /// The rest: an offset in seconds, or `Some(None)` where no zone is named.
    fn offset(&mut self) -> Option<Option<i32>> {
        if self.rest.is_empty() {
            return Some(None);
        }
        if ["Z", "UTC", "GMT", "UT"].iter().any(|zone| self.rest.eq_ignore_ascii_case(zone)) {
            return Some(Some(0));
        }
        for zone in ["UTC", "GMT"] {
            self.rest = self.rest.strip_prefix(zone).unwrap_or(self.rest);
        }
        let sign = if self.one_of("+") {
            1
        } else if self.one_of("-−–") {
            -1
        } else {
            return None;
        };
        let hours = self.number(2, 1)?;
        self.one_of(":,.");
        let minutes = if self.rest.is_empty() { 0 } else { self.number(2, 2)? };
        (self.rest.is_empty() && hours <= 18 && minutes < 60).then_some(Some(sign * (hours * 3600 + minutes * 60)))
    }
}

/// Says how far the sender's clock seems to be off, and moves a native or mapped `expires` along, so that an alert of an appliance
/// whose clock is wrong does not count as expired (`Clocks` in the format's description). To be called once, before the
/// alert is planned; `received` is when its mail was received.
pub fn adjust_clock(alert: &mut Alert, received: Timestamp) {
    let Some(sent) = alert.sent else { return };
    let skew = received.duration_since(sent);
    if skew.abs() <= TOLERATED {
        return;
    }
    let minutes = skew.abs().as_mins();
    let apart =
        if minutes >= 120 { format!("{} h {} min", minutes / 60, minutes % 60) } else { format!("{minutes} min") };
    let side = if skew.is_negative() { "after" } else { "before" };
    let mut warning =
        format!("its `sent` is {apart} {side} its receipt: the sender's clock is wrong, or it was under way so long");
    if let (Format::Native | Format::Mapped, Some(expires)) = (alert.format, alert.expires)
        && let Ok(moved) = expires.checked_add(skew)
    {
        alert.expires = Some(moved);
        warning.push_str("; `expires` was moved by the same");
    }
    alert.warnings.push(warning);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> String {
        read(text).map_or("none".to_owned(), |(t, bent)| format!("{t}{}", if bent.is_some() { " bent" } else { "" }))
    }

    #[test]
    fn times_as_the_standard_writes_them() {
        assert_eq!(at("2026-11-21T18:42:00Z"), "2026-11-21T18:42:00Z");
        assert_eq!(at(" 2026-11-21T18:42:00+01:00\n"), "2026-11-21T17:42:00Z");
        assert_eq!(at("2003-06-11T20:56:00-07:00"), "2003-06-12T03:56:00Z");
        assert_eq!(at("2010-08-31T00:09:25.5-00:00"), "2010-08-31T00:09:25.5Z");
    }

    #[test]
    fn times_as_senders_bend_them() {
        for text in [
            "2026-11-21 18:42:00Z",
            "2026-11-21t18:42:00z",
            "2026-11-21T19:42:00+0100",
            "2026-11-21T19:42:00+01",
            "2026-11-21T13:42:00-05,00",
            "2026-11-21T13:42:00−05:00",
            "2026-11-21T18:42:00",
            "2026-11-21T18:42Z",
            "2026-11-21 18:42:00 UTC",
            "2026/11/21 18:42:00 GMT+00:00",
            "20261121T184200Z",
            "2026-11-21T18:42:00 +00:00",
            "Sat, 21 Nov 2026 19:42:00 +0100",
        ] {
            assert_eq!(at(text), "2026-11-21T18:42:00Z bent", "{text}");
        }
        assert_eq!(at("2026-11-21T18:42:00,250Z"), "2026-11-21T18:42:00.25Z bent");
        assert_eq!(at("2026-11-21T24:00:00+00:00"), "2026-11-22T00:00:00Z bent");
        assert_eq!(at("2016-12-31T23:59:60+0000"), "2016-12-31T23:59:59Z bent");
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "now",
            "2026-11-21",
            "2026-13-01T00:00:00Z",
            "2026-11-21T25:00:00Z",
            "18:42",
            "2026-11-21T18:42:00+99:00",
        ] {
            assert_eq!(at(text), "none", "{text}");
        }
    }

    #[test]
    fn a_wrong_clock_moves_native_expires_only() {
        let sent: Timestamp = "2026-11-21T18:00:00Z".parse().unwrap();
        let expires: Timestamp = "2026-11-21T19:00:00Z".parse().unwrap();
        let base = Alert { sent: Some(sent), expires: Some(expires), ..super::super::tests::an_alert() };
        let seen = |format, received: &str| {
            let mut alert = Alert { format, ..base.clone() };
            adjust_clock(&mut alert, received.parse().unwrap());
            (alert.expires.unwrap().to_string(), alert.warnings)
        };
        let (e, w) = seen(Format::Native, "2026-11-21T18:10:00Z");
        assert_eq!((e.as_str(), w.len()), ("2026-11-21T19:00:00Z", 0));
        let (e, w) = seen(Format::Native, "2026-11-21T20:30:00Z");
        assert_eq!(e, "2026-11-21T21:30:00Z");
        assert!(w[0].starts_with("its `sent` is 2 h 30 min before its receipt") && w[0].ends_with("moved by the same"));
        let (e, _) = seen(Format::Native, "2026-11-21T17:00:00Z");
        assert_eq!(e, "2026-11-21T18:00:00Z");
        let (e, w) = seen(Format::Cap, "2026-11-21T20:30:00Z");
        assert_eq!((e.as_str(), w.len()), ("2026-11-21T19:00:00Z", 1));
        let mut unsent = Alert { sent: None, ..base };
        adjust_clock(&mut unsent, expires);
        assert!(unsent.warnings.is_empty());
    }
}
