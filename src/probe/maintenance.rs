//! Maintenance windows: when, and for which targets. Pure: time is an argument.

use std::time::Duration;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::settings::Probe;
use super::target::{Host, Target};

/// Longest a recurring window may last.
pub const LONGEST_WINDOW: Duration = Duration::from_secs(7 * 86_400);

/// A time in which new outages of some targets are not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintenance {
    /// What the log calls it.
    pub name: Option<String>,
    /// For whom.
    pub covers: Covers,
    /// When.
    pub when: When,
}

/// The targets of a window; where nothing is named, all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Covers {
    /// Those of these classes; case does not count.
    pub classes: Vec<String>,
    /// Every port of these hosts.
    pub hosts: Vec<Host>,
    /// These.
    pub targets: Vec<Target>,
}

/// When a window is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// Once, from a moment on until before another one.
    Once {
        /// Its begin.
        from: Timestamp,
        /// Its end, after the begin.
        until: Timestamp,
    },
    /// Again and again.
    Recurring {
        /// The days on which it begins; empty: every day.
        days: Vec<Weekday>,
        /// When on these days. A time that a day does not have, since the clocks go forward, is as much later as they go; of one
        /// that it has twice the first counts: as calendars have it (RFC 5545 §3.3.5).
        at: Time,
        /// How long, in time that passes, whatever the clocks show; at most [`LONGEST_WINDOW`].
        lasts: Duration,
        /// Whose clocks: as config names it, and what it is.
        zone: (String, TimeZone),
    },
}

/// Where a moment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// In the window, which goes on until then at least: where it meets its next time, that one counts from there.
    Inside(Timestamp),
    /// Outside; it begins then, or never again.
    Outside(Option<Timestamp>),
}

impl Covers {
    /// Is this target meant?
    pub fn holds(&self, probe: &Probe) -> bool {
        let of_class = |class: &String| probe.classes.iter().any(|own| own.to_lowercase() == class.to_lowercase());
        self.is_everything()
            || self.targets.contains(&probe.target)
            || self.hosts.contains(&probe.target.host)
            || self.classes.iter().any(of_class)
    }

    fn is_everything(&self) -> bool {
        self.classes.is_empty() && self.hosts.is_empty() && self.targets.is_empty()
    }
}

impl When {
    /// Where in it `now` is.
    pub fn spot(&self, now: Timestamp) -> Spot {
        match self {
            Self::Once { from, until } if (*from..*until).contains(&now) => Spot::Inside(*until),
            Self::Once { from, .. } => Spot::Outside(Some(*from).filter(|from| *from > now)),
            Self::Recurring { days, at, lasts, zone: (_, zone) } => {
                let on = |day: &Date| days.is_empty() || days.contains(&day.weekday());
                let times = || near(now, *lasts, zone).filter(on).filter_map(|day| occurrence(day, *at, *lasts, zone));
                let inside =
                    times().filter(|(from, until)| (*from..*until).contains(&now)).map(|(_, until)| until).max();
                let next = || times().map(|(from, _)| from).filter(|from| *from > now).min();
                inside.map_or_else(|| Spot::Outside(next()), Spot::Inside)
            }
        }
    }

    /// Does it never come again?
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.spot(now) == Spot::Outside(None)
    }
}

/// The days on which a window that counts now may have begun, and those on which the next one may begin: of each weekday one is
/// ahead, and a day more for what the clocks do.
fn near(now: Timestamp, lasts: Duration, zone: &TimeZone) -> impl Iterator<Item = Date> {
    let today = now.to_zoned(zone.clone()).date();
    let back = i64::try_from(lasts.as_secs() / 86_400).unwrap_or_default() + 2;
    (-back..=8).filter_map(move |days| today.checked_add(days.days()).ok())
}

fn occurrence(day: Date, at: Time, lasts: Duration, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
    let from = zone.to_ambiguous_timestamp(day.to_datetime(at)).compatible().ok()?;
    Some((from, from.checked_add(lasts).ok()?))
}

/// Windows, and which of them is open.
#[derive(Debug, Default)]
pub(super) struct Windows {
    all: Vec<(Maintenance, bool)>,
    /// Looked at last then.
    looked: Option<Timestamp>,
    /// When one of them begins or ends next.
    change: Option<Timestamp>,
}

impl Windows {
    pub(super) fn new(all: &[Maintenance]) -> Self {
        Self { all: all.iter().map(|window| (window.clone(), false)).collect(), looked: None, change: None }
    }

    /// Looks at the clock, which may have been set back: did one of them begin or end?
    pub(super) fn look(&mut self, now: Timestamp) -> bool {
        let as_before = self.looked.is_some_and(|looked| looked <= now);
        self.looked = Some(now);
        if as_before && self.change.is_none_or(|change| now < change) {
            return false;
        }
        self.change = None;
        let mut changed = false;
        for (window, open) in &mut self.all {
            let (inside, next) = match window.when.spot(now) {
                Spot::Inside(until) => (true, Some(until)),
                Spot::Outside(next) => (false, next),
            };
            changed |= *open != inside;
            if *open != inside {
                let name = window.name.as_deref().unwrap_or("without a name");
                tracing::info!(window = %name.escape_debug(), "maintenance {}", if inside { "begins" } else { "is over" });
            }
            *open = inside;
            self.change = self.change.into_iter().chain(next).min();
        }
        changed
    }

    /// When one of them begins or ends next.
    pub(super) fn change(&self) -> Option<Timestamp> {
        self.change
    }

    /// The window that the target is in.
    pub(super) fn over(&self, probe: &Probe) -> Option<&Maintenance> {
        self.all.iter().find(|(window, open)| *open && window.covers.holds(probe)).map(|(window, _)| window)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::settings::tests::rules;
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap_or_else(|err| panic!("{text}: {err}"))
    }

    fn recurring(days: &[Weekday], at: &str, lasts: u64, zone: &str) -> When {
        When::Recurring {
            days: days.to_vec(),
            at: at.parse().unwrap(),
            lasts: Duration::from_secs(lasts * 60),
            zone: (zone.to_owned(), TimeZone::get(zone).unwrap()),
        }
    }

    /// From when until when the window is that a moment is in, in UTC.
    fn bounds(when: &When, within: &str) -> (String, String) {
        let within = time(within);
        let Spot::Inside(until) = when.spot(within) else { panic!("{within} is outside: {:?}", when.spot(within)) };
        assert!(!matches!(when.spot(until), Spot::Inside(next) if next <= until));
        // The begin, to the second.
        let (mut before, mut inside) = (within - LONGEST_WINDOW - Duration::from_secs(1), within);
        while inside.as_second() - before.as_second() > 1 {
            let middle = Timestamp::from_second((inside.as_second() + before.as_second()) / 2).unwrap();
            if when.spot(middle) == Spot::Inside(until) { inside = middle } else { before = middle }
        }
        (inside.to_string(), until.to_string())
    }

    #[test]
    fn once_is_from_its_begin_until_before_its_end() {
        let (from, until) = (time("2026-12-01T22:00:00Z"), time("2026-12-02T02:00:00Z"));
        let when = When::Once { from, until };
        let nano = Duration::from_nanos(1);
        assert_eq!(when.spot(from - nano), Spot::Outside(Some(from)));
        assert_eq!(when.spot(from), Spot::Inside(until));
        assert_eq!(when.spot(until - nano), Spot::Inside(until));
        assert_eq!(when.spot(until), Spot::Outside(None));
        assert_eq!((when.is_over(from), when.is_over(until - nano), when.is_over(until)), (false, false, true));
    }

    #[test]
    fn over_midnight_and_on_some_days_only() {
        // 21 November 2026 is a Saturday; Berlin is an hour ahead of UTC.
        let weekend = recurring(&[Weekday::Saturday, Weekday::Sunday], "22:00", 240, "Europe/Berlin");
        assert_eq!(
            bounds(&weekend, "2026-11-22T00:30:00Z"),
            ("2026-11-21T21:00:00Z".into(), "2026-11-22T01:00:00Z".into())
        );
        assert_eq!(
            bounds(&weekend, "2026-11-23T00:59:59Z").1,
            "2026-11-23T01:00:00Z",
            "on Monday, since it began on Sunday"
        );
        assert_eq!(weekend.spot(time("2026-11-23T01:00:00Z")), Spot::Outside(Some(time("2026-11-28T21:00:00Z"))));
        assert!(!weekend.is_over(time("2090-01-01T00:00:00Z")));
        let long = recurring(&[Weekday::Friday], "18:00", 62 * 60, "UTC");
        assert_eq!(
            bounds(&long, "2026-11-23T07:59:59Z"),
            ("2026-11-20T18:00:00Z".into(), "2026-11-23T08:00:00Z".into())
        );
    }

    #[test]
    fn a_time_that_the_day_does_not_have_is_later_and_one_that_it_has_twice_comes_once() {
        let daily = recurring(&[], "02:30", 60, "Europe/Berlin");
        // On 29 March 2026 the clocks go from 02:00 to 03:00, which is 01:00 UTC: 02:30 is 03:30 then.
        assert_eq!(
            bounds(&daily, "2026-03-29T02:00:00Z"),
            ("2026-03-29T01:30:00Z".into(), "2026-03-29T02:30:00Z".into())
        );
        assert_eq!(daily.spot(time("2026-03-29T01:29:59Z")), Spot::Outside(Some(time("2026-03-29T01:30:00Z"))));
        // On 25 October 2026 they go from 03:00 to 02:00, which is 01:00 UTC: 02:30 is at 00:30 UTC, and again at 01:30.
        assert_eq!(
            bounds(&daily, "2026-10-25T01:00:00Z"),
            ("2026-10-25T00:30:00Z".into(), "2026-10-25T01:30:00Z".into())
        );
        assert_eq!(daily.spot(time("2026-10-25T01:30:00Z")), Spot::Outside(Some(time("2026-10-26T01:30:00Z"))));
    }

    #[test]
    fn a_window_over_the_change_lasts_as_long_as_ever() {
        let daily = recurring(&[], "01:00", 240, "Europe/Berlin");
        for (within, from, until) in [
            ("2026-03-29T02:00:00Z", "2026-03-29T00:00:00Z", "2026-03-29T04:00:00Z"),
            ("2026-10-25T02:00:00Z", "2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z"),
            ("2026-10-26T02:00:00Z", "2026-10-26T00:00:00Z", "2026-10-26T04:00:00Z"),
        ] {
            assert_eq!(bounds(&daily, within), (from.to_owned(), until.to_owned()));
        }
    }

    #[test]
    fn on_a_leap_day_and_at_the_ends_of_time() {
        // 29 February 2028 is a Tuesday.
        let tuesdays = recurring(&[Weekday::Tuesday], "23:30", 60, "UTC");
        assert_eq!(
            bounds(&tuesdays, "2028-03-01T00:00:00Z"),
            ("2028-02-29T23:30:00Z".into(), "2028-03-01T00:30:00Z".into())
        );
        let all_day = recurring(&[], "00:00", 1440, "UTC");
        assert_eq!(all_day.spot(time("2028-02-29T00:00:00Z")), Spot::Inside(time("2028-03-01T00:00:00Z")));
        for end in [Timestamp::MIN, Timestamp::MAX] {
            tuesdays.spot(end);
        }
    }

    #[test]
    fn it_covers_what_it_names_and_without_names_everything() {
        let probe = |target: &str, class: &str| Probe {
            target: target.parse().unwrap(),
            classes: vec![class.to_owned()],
            rules: rules(),
        };
        let (db, web, mail) = (probe("db1:5432", "db"), probe("www:80", "web"), probe("mail1:1352", "domino"));
        let holds = |covers: &Covers| [&db, &web, &mail].map(|probe| covers.holds(probe));
        assert_eq!(holds(&Covers::default()), [true; 3]);
        let some =
            Covers { classes: vec!["Domino".into()], targets: vec!["www:80".parse().unwrap()], ..Covers::default() };
        assert_eq!(holds(&some), [false, true, true]);
        assert_eq!(holds(&Covers { hosts: vec!["DB1".parse().unwrap()], ..Covers::default() }), [true, false, false]);
        assert_eq!(holds(&Covers { targets: vec!["www:443".parse().unwrap()], ..Covers::default() }), [false; 3]);
    }

    #[test]
    fn windows_are_looked_at_when_one_of_them_changes_or_the_clock_goes_back() {
        let (from, until) = (time("2026-12-01T22:00:00Z"), time("2026-12-02T02:00:00Z"));
        let window = Maintenance { name: None, covers: Covers::default(), when: When::Once { from, until } };
        let mut windows = Windows::new(&[window]);
        let second = Duration::from_secs(1);
        assert_eq!((windows.look(from - second), windows.change()), (false, Some(from)));
        assert_eq!((windows.look(from), windows.change()), (true, Some(until)));
        assert!(!windows.look(until - second));
        assert_eq!((windows.look(until), windows.change()), (true, None));
        assert_eq!((windows.look(from + second), windows.change()), (true, Some(until)));
    }

    proptest! {
        /// Of each day, whatever its clocks do, exactly its time is covered.
        #[test]
        fn a_daily_window_covers_its_time_of_each_day(
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
            day in 0i64..4000,
            at in 0i8..24,
            minute in 0i8..60,
            lasts in 1u64..22 * 60,
        ) {
            let when = recurring(&[], &format!("{at:02}:{minute:02}"), lasts, zone);
            let noon = time("2024-01-01T12:00:00Z") + Duration::from_secs(u64::try_from(day).unwrap() * 86_400);
            // From the end of one to the end of the next.
            let next = |now| match when.spot(now) {
                Spot::Inside(until) => until,
                Spot::Outside(from) => from.unwrap(),
            };
            let mut now = next(noon);
            if let Spot::Inside(until) = when.spot(now) {
                now = until;
            }
            let from = next(now);
            prop_assert_eq!(when.spot(from - Duration::from_nanos(1)), Spot::Outside(Some(from)));
            let until = next(from);
            prop_assert_eq!(until.duration_since(from).unsigned_abs(), Duration::from_secs(lasts * 60));
            let nano = Duration::from_nanos(1);
            prop_assert_eq!(when.spot(until - nano), Spot::Inside(until));
            prop_assert!(matches!(when.spot(until), Spot::Outside(Some(_))));
        }
    }
}
