//! `[[probe.maintenance]]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::config::item::Item;
use crate::config::mapping::zone;
use crate::config::reader::Section;
use crate::config::report::quote;
use crate::config::schema::{Law, Want, What};
use crate::probe::{Covers, Host, LONGEST_WINDOW, Maintenance, Probe, Target, When};

/// As they are written.
pub(in crate::config) const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];
const LASTS: RangeInclusive<Duration> = Duration::from_secs(1)..=LONGEST_WINDOW;

/// Reads all windows. What is over, or covers none of the probes, is a warning.
pub(super) fn read(probe: &Section<'_, '_>, probes: &[Probe]) -> Option<Vec<Maintenance>> {
    let tables = probe.tables("maintenance");
    let read: Vec<_> = tables.iter().map(window).collect();
    for (table, window) in tables.iter().zip(&read) {
        let Some(window) = window else { continue };
        let now = Timestamp::now();
        if window.when.is_over(now) {
            table.reader.warn(table.line, &table.label, "is over", "take it out");
        }
        warn_of_nobody(table, &window.covers, probes);
    }
    tables.into_iter().for_each(Section::done);
    read.into_iter().collect()
}

fn window(table: &Section<'_, '_>) -> Option<Maintenance> {
    laws(table);
    let name = table.optional("name").map(|item| item.some_text().map(str::to_owned));
    let covers = covers(table);
    let zone = table.optional("time_zone").map_or(Some(("UTC".to_owned(), TimeZone::UTC)), |item| zone(&item));
    // All of it is read before anything is said of how it fits together: a schema is made of what is asked.
    let once = Once::read(table, zone.as_ref().map(|(_, zone)| zone));
    let again = Again::read(table);
    let given = |keys: &[&'static str]| keys.iter().copied().find(|key| table.line_of_key(key).is_some());
    let when = match (given(&["from", "until"]), given(&["at", "for", "days"])) {
        (Some(key), Some(other)) => {
            let wrong = format!("is there beside {other}: one window is once or again and again");
            table.reader.error(table.line_of_key(key), &table.key(key), wrong, "write two [[probe.maintenance]]");
            None
        }
        (Some(_), None) => once.when(table),
        (None, Some(_)) => again.when(table, zone),
        (None, None) => {
            let wrong = "is missing, and at as well: when is it?";
            let mend = "write from = \"2026-12-01T22:00\" and until = \"2026-12-02T02:00\", or at = \"22:00\" and for = \"2h\"";
            table.reader.error(table.line, &table.key("from"), wrong, mend);
            None
        }
    };
    // Each of them was read, so that each fault is told.
    let name = match name {
        Some(name) => Some(name?),
        None => None,
    };
    Some(Maintenance { name, covers: covers?, when: when? })
}

fn laws(table: &Section<'_, '_>) {
    table.law(Law::new(What::One(vec!["from", "at"])));
    for (key, needs) in [("from", "until"), ("until", "from"), ("at", "for"), ("for", "at"), ("days", "at")] {
        table.law(Law::with(key, What::Needs(needs)));
    }
}

fn covers(table: &Section<'_, '_>) -> Option<Covers> {
    fn each<T>(table: &Section<'_, '_>, key: &'static str, read: fn(&Item<'_, '_>) -> Option<T>) -> Option<Vec<T>> {
        table.optional(key).map_or_else(
            || Some(Vec::new()),
            // Nothing named is everything: a list that became empty by an oversight must not mean that.
            |item| item.filled(item.each(read)?, "is empty", "name at least one, or leave the key out"),
        )
    }
    let classes = each(table, "classes", |item| item.some_text().map(str::to_owned));
    let hosts = each(table, "hosts", |item| {
        item.wants(Want::like(r"^(\[[0-9A-Fa-f:.]+\]|[0-9A-Fa-f:.]+|[A-Za-z0-9._\-]+)$"));
        parsed::<Host>(item)
    });
    let targets = each(table, "targets", |item| {
        item.wants(Want::like(r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+):[0-9]+$"));
        parsed::<Target>(item)
    });
    Some(Covers { classes: classes?, hosts: hosts?, targets: targets? })
}

fn parsed<T: std::str::FromStr<Err = crate::model::BadServer>>(item: &Item<'_, '_>) -> Option<T> {
    item.some_text()?.parse().map_or_else(|err: T::Err| item.fail(err.wrong, err.allowed), Some)
}

/// Of each key, where it is given: what it says, if that was right.
struct Once {
    from: Option<Option<Timestamp>>,
    until: Option<Option<Timestamp>>,
}

impl Once {
    fn read(table: &Section<'_, '_>, zone: Option<&TimeZone>) -> Self {
        let read = |key| table.optional(key).map(|item| moment(&item, zone));
        Self { from: read("from"), until: read("until") }
    }

    fn when(self, table: &Section<'_, '_>) -> Option<When> {
        for (key, given) in [("from", self.from), ("until", self.until)] {
            if given.is_none() {
                table.missing(key, &format!("{key} = \"2026-12-01T22:00\""));
            }
        }
        let (from, until) = (self.from??, self.until??);
        if until <= from {
            let item = table.optional("until")?;
            return item
                .fail(format!("{} is not after from", quote(item.raw_text()?)), "a window ends after it begins");
        }
        Some(When::Once { from, until })
    }
}

/// The same.
struct Again {
    days: Option<Option<Vec<Weekday>>>,
    at: Option<Option<Time>>,
    lasts: Option<Option<Duration>>,
}

impl Again {
    fn read(table: &Section<'_, '_>) -> Self {
        Self {
            days: table.optional("days").map(|item| item.each(|item| item.choice(&DAYS))),
            at: table.optional("at").map(|item| time_of_day(&item)),
            lasts: table.optional("for").map(|item| item.span(LASTS)),
        }
    }

    fn when(self, table: &Section<'_, '_>, zone: Option<(String, TimeZone)>) -> Option<When> {
        for (key, missing, example) in
            [("at", self.at.is_none(), "at = \"22:00\""), ("for", self.lasts.is_none(), "for = \"2h\"")]
        {
            if missing {
                table.missing(key, example);
            }
        }
        let days = self.days.unwrap_or(Some(Vec::new()));
        Some(When::Recurring { days: days?, at: self.at??, lasts: self.lasts??, zone: zone? })
    }
}

/// With an offset, or in this zone. Without the zone, which was wrong, nothing is said of it again.
fn moment(item: &Item<'_, '_>, zone: Option<&TimeZone>) -> Option<Timestamp> {
    item.wants(Want::like(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}[^\[]*$"));
    let text = item.some_text()?;
    let digits = |part: &str| part.bytes().all(|byte| b"0123456789:.-T ".contains(&byte));
    let shape = text.get(..16).is_some_and(|start| {
        start.bytes().zip(*b"dddd-dd-ddTdd:dd").all(|(byte, like)| match like {
            b'd' => byte.is_ascii_digit(),
            b'T' => byte == b'T' || byte == b' ',
            other => byte == other,
        })
    });
    let read = match text.parse::<Timestamp>() {
        _ if !shape || text.contains('[') => None,
        Ok(time) => Some(time),
        Err(_) => match text.parse::<DateTime>().ok().filter(|_| digits(text.get(10..).unwrap_or_default())) {
            Some(time) => zone?.to_ambiguous_timestamp(time).compatible().ok(),
            None => None,
        },
    };
    let mend = "write one such as \"2026-12-01T22:00\", which is in time_zone, or \"2026-12-01T22:00+01:00\"";
    read.filter(in_our_time).map_or_else(|| item.fail(format!("{} is no time", quote(text)), mend), Some)
}

/// At the ends of what can be said, sums do not work.
fn in_our_time(time: &Timestamp) -> bool {
    const CENTURY: SignedDuration = SignedDuration::from_hours(100 * 366 * 24);
    Timestamp::UNIX_EPOCH <= *time && time.duration_since(Timestamp::UNIX_EPOCH) < CENTURY * 2
}

fn time_of_day(item: &Item<'_, '_>) -> Option<Time> {
    item.wants(Want::like(r"^([01][0-9]|2[0-3]):[0-5][0-9]$"));
    let text = item.some_text()?;
    let read = text.split_once(':').and_then(|(hours, minutes)| {
        let number = |part: &str| {
            let plain = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse().ok().filter(|_| plain)
        };
        Time::new(number(hours)?, number(minutes)?, 0, 0).ok()
    });
    read.map_or_else(
        || item.fail(format!("{} is no time of day", quote(text)), "write one from \"00:00\" to \"23:59\""),
        Some,
    )
}

/// Names that are those of no target. All of them are asked for one by one: a slip in one of two names leaves half uncovered.
fn warn_of_nobody(table: &Section<'_, '_>, covers: &Covers, probes: &[Probe]) {
    let alone = |one: Covers, key: &str, name: &str| {
        if !probes.iter().any(|probe| one.holds(probe)) {
            let wrong = format!("{} is nothing that is probed", quote(name));
            let line = table.line_of_key(key);
            table.reader.warn(line, &table.key(key), wrong, "take it out, or write it as it is written there");
        }
    };
    for class in &covers.classes {
        alone(Covers { classes: vec![class.clone()], ..Covers::default() }, "classes", class);
    }
    for host in &covers.hosts {
        alone(Covers { hosts: vec![host.clone()], ..Covers::default() }, "hosts", host.as_str());
    }
    for target in &covers.targets {
        alone(Covers { targets: vec![target.clone()], ..Covers::default() }, "targets", &target.to_string());
    }
}
