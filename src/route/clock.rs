//! What an alert's own times are worth: appliance clocks are wrong.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::model::{Alert, Severity};

/// RFC 5321 §4.5.4.1: a mail that could not be delivered is given up after four to five days. A mail whose `sent` is older
/// than that when it is received was not late: its sender's clock is wrong (after a power loss it often says 1970 or 2000).
const LONGEST_WAY: SignedDuration = SignedDuration::from_hours(5 * 24);

/// `sent` this far after the receipt is a wrong clock; below, clocks just differ.
const AHEAD: SignedDuration = SignedDuration::from_mins(10);

/// `effective` further ahead than this is taken for a wrong clock.
const FAR: SignedDuration = SignedDuration::from_hours(24);

/// When the event happened, as far as that can be believed: `sent`, unless it is after the receipt or older than a mail can
/// be on its way; then the receipt.
pub fn happened(alert: &Alert, received: Timestamp) -> Timestamp {
    match alert.sent {
        Some(sent) if plausible(sent, received) => sent,
        _ => received,
    }
}

fn plausible(sent: Timestamp, received: Timestamp) -> bool {
    let way = received.duration_since(sent);
    (-AHEAD..=LONGEST_WAY).contains(&way)
}

/// Is this report older than the last one seen of its condition? Only where the clocks allow the comparison: a sender whose
/// clock fell back by years, or was years ahead and is right again, must not be silent for years. In doubt, it is not.
pub(super) fn out_of_order(sent: Option<Timestamp>, received: Timestamp, last_sent: Timestamp, now: Timestamp) -> bool {
    let sent = sent.unwrap_or(received);
    let fell_back = received.duration_since(sent) > LONGEST_WAY;
    let last_was_ahead = last_sent.duration_since(now) > AHEAD && sent <= now;
    sent < last_sent && !fell_back && !last_was_ahead
}

/// What an alert's `effective` and `expires` mean now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timing {
    /// It was over before it came.
    pub(super) expired: bool,
    /// To be told from then on.
    pub(super) not_before: Option<Timestamp>,
    /// Of no use after this.
    pub(super) expires: Option<Timestamp>,
    /// `effective` is so far ahead that it is told now.
    pub(super) far_ahead: bool,
}

impl Timing {
    /// A critical alert is never dropped or delayed for time.
    pub(super) fn of(alert: &Alert, now: Timestamp) -> Self {
        let critical = alert.severity == Severity::Critical;
        let ahead = alert.effective.map(|at| at.duration_since(now)).unwrap_or_default();
        Self {
            expired: !critical && alert.expires.is_some_and(|at| at < now),
            not_before: alert.effective.filter(|_| !critical && ahead.is_positive() && ahead <= FAR),
            expires: alert.expires.filter(|_| !critical),
            far_ahead: ahead > FAR,
        }
    }
}

/// Time between two instants, whichever came first: a wall clock may have been set back.
pub(super) fn apart(a: Timestamp, b: Timestamp) -> Duration {
    a.duration_since(b).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::fixtures::{alert, at};

    #[test]
    fn an_older_report_is_out_of_order_only_where_clocks_can_be_compared() {
        let (now, last) = (at("2026-11-21T12:00:00Z"), at("2026-11-21T11:00:00Z"));
        let older = |sent: &str, last| out_of_order(Some(at(sent)), now, last, now);
        assert!(older("2026-11-21T10:59:59Z", last));
        assert!(!older("2026-11-21T11:00:00Z", last), "the same instant is in order");
        assert!(!older("2026-11-21T11:30:00Z", last));
        assert!(older("2026-11-21T12:30:00+02:00", last), "instants count, not the text");
        assert!(!older("2000-01-01T00:00:07Z", last), "the clock fell back");
        assert!(!older("2026-11-21T11:59:00Z", at("2099-01-01T00:00:00Z")), "the clock was ahead, and is right again");
        assert!(older("2098-01-01T00:00:00Z", at("2099-01-01T00:00:00Z")), "the same fast clock");
        assert!(!out_of_order(None, now, last, now), "without sent, the receipt counts");
        assert!(out_of_order(None, at("2026-11-21T10:00:00Z"), last, now));
    }

    #[test]
    fn the_events_time_is_sent_unless_that_cannot_be() {
        let received = at("2026-11-21T12:00:00Z");
        let mut a = alert("k", Severity::Major);
        for (sent, shown) in [
            (Some("2026-11-20T12:00:00Z"), "2026-11-20T12:00:00Z"),
            (Some("2026-11-21T12:05:00Z"), "2026-11-21T12:05:00Z"),
            (Some("2026-11-21T13:00:00Z"), "2026-11-21T12:00:00Z"),
            (Some("2000-01-01T00:00:00Z"), "2026-11-21T12:00:00Z"),
            (None, "2026-11-21T12:00:00Z"),
        ] {
            a.sent = sent.map(at);
            assert_eq!(happened(&a, received), at(shown));
        }
    }

    #[test]
    fn critical_alerts_are_neither_dropped_nor_delayed_for_time() {
        let now = at("2026-11-21T12:00:00Z");
        for severity in Severity::ALL {
            let mut a = alert("k", severity);
            let critical = severity == Severity::Critical;
            a.effective = Some(at("2026-11-22T12:00:00Z"));
            a.expires = Some(at("2026-11-21T11:59:59Z"));
            let timing = Timing::of(&a, now);
            assert_eq!(timing.expired, !critical);
            assert_eq!(timing.not_before.is_some(), !critical);
            assert_eq!(timing.expires.is_some(), !critical);
            assert!(!timing.far_ahead);

            a.effective = Some(at("2026-11-22T12:00:01Z"));
            a.expires = Some(now);
            let timing = Timing::of(&a, now);
            assert!(timing.far_ahead && timing.not_before.is_none() && !timing.expired);

            a.effective = Some(now);
            assert_eq!(Timing::of(&a, now).not_before, None);
        }
    }
}
