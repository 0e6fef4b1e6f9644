//! The text of an instant message.
//!
//! ```text
//! CRITICAL: UPS 7 on battery
//! Late: of 2026-11-21 16:30 UTC, 2 h 12 min ago.
//! Input power lost. 12 minutes of runtime left.
//! https://ups7.example.com/status
//! power · mailbox:ops · 2026-11-21 16:30 UTC · #1a3f
//! ```
//!
//! What is between the first line and the text says what a person must know before they believe it: that it is late, sent
//! again, over, or of a clock that is wrong.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::model::{Alert, Nature, Notification, PortCheck, Source, Status};
use crate::queue::AlertRecord;
use crate::route::happened;

use super::text::{cap, clean, human, one_line, when};

/// Longest title, in characters.
const TITLE: usize = 200;

/// Most links, and the longest of them that is shown, in characters: half a link is none.
const LINKS: usize = 5;
const LINK: usize = 500;

/// Most groups that the last line names.
const GROUPS: usize = 5;

/// A message is late when it comes this long after the event.
const LATE: SignedDuration = SignedDuration::from_mins(10);

/// `sent` and receipt this far apart are told.
const SKEW: SignedDuration = SignedDuration::from_mins(10);

/// The message that carries an alert. `lang`: the recipient's preferred language (RFC 5646); `resend`: an earlier copy may
/// have arrived; `text_max`: longest text, in characters. Never empty, and bounded whatever the alert holds.
pub fn message(
    record: &AlertRecord,
    notification: &Notification,
    lang: Option<&str>,
    resend: bool,
    now: Timestamp,
    text_max: usize,
) -> String {
    let alert = &record.alert;
    let (title, text) = in_language(alert, lang);
    let mut lines = vec![first_line(alert, title)];
    lines.extend(marks(record, notification, resend, now));
    lines.extend(PortCheck::line(alert).map(|line| one_line(&line, TITLE)));
    let text = clean(text);
    if !text.is_empty() {
        lines.push(cap(&text, text_max, &record.id));
    }
    lines.extend(links(record));
    lines.push(last_line(record, notification));
    lines.join("\n")
}

/// `CRITICAL: title`, `UPDATE CRITICAL: title`, `RESOLVED: title`, and `[Test]` and the like before what is not real.
fn first_line(alert: &Alert, title: &str) -> String {
    let nature = match alert.nature {
        Nature::Actual => String::new(),
        other => format!("[{}] ", other.as_str()),
    };
    format!("{nature}{}: {}", headline(alert), title_or_none(title))
}

/// What the first line shouts: `CRITICAL`, `UPDATE CRITICAL`, `RESOLVED`.
pub(super) fn headline(alert: &Alert) -> String {
    let severity = alert.severity.as_str().to_uppercase();
    match alert.status {
        Status::Firing | Status::Recorded => severity,
        Status::Update => format!("UPDATE {severity}"),
        Status::Resolved => "RESOLVED".to_owned(),
    }
}

pub(super) fn title_or_none(title: &str) -> String {
    let title = one_line(title, TITLE);
    if title.is_empty() { "(no title)".to_owned() } else { title }
}

/// One line each.
fn marks(record: &AlertRecord, notification: &Notification, resend: bool, now: Timestamp) -> Vec<String> {
    let alert = &record.alert;
    let resolved = alert.status == Status::Resolved;
    let mut marks = Vec::new();
    if resend {
        marks.push(sent_again(notification));
    }
    match record.resolves {
        Some((first, lasted)) if resolved => marks.push(format!("Ends {first} after {}.", human(lasted))),
        Some((first, lasted)) => marks.push(format!("Still open after {}, since {first}.", human(lasted))),
        None => {}
    }
    match notification.folds {
        0 => {}
        1 => marks.push("Replaces an earlier report of it that had to wait.".into()),
        n => marks.push(format!("Replaces {n} earlier reports of it that had to wait.")),
    }
    let event = happened(alert, record.received);
    let late = now.duration_since(event);
    if late > LATE {
        marks.push(format!("Late: of {}, {} ago.", when(event), ago(late)));
    }
    // What was found here has no clock but ours.
    let foreign = record.source.parse() != Ok(Source::Probe);
    marks.extend(
        alert
            .sent
            .filter(|sent| foreign && record.received.duration_since(*sent).abs() > SKEW)
            .map(|sent| format!("Its sender's clock said {}, its mail came {}.", when(sent), when(record.received))),
    );
    if !resolved {
        marks.extend(alert.effective.filter(|at| *at > now).map(|at| format!("Starts {}.", when(at))));
        marks.extend(alert.expires.filter(|at| *at < now).map(|at| format!("Expired {}: it may be over.", when(at))));
    }
    marks
}

/// What a copy says that may be the second one.
pub(super) fn sent_again(notification: &Notification) -> String {
    let first = notification.first_intent.map(|at| format!(" of {}", when(at))).unwrap_or_default();
    format!("Sent again: the copy{first} may have arrived.")
}

fn ago(span: SignedDuration) -> String {
    human(Duration::try_from(span).unwrap_or_default())
}

fn links(record: &AlertRecord) -> Vec<String> {
    let whole = |link: &String| {
        let line = one_line(link, LINK + 1);
        (!line.is_empty() && line.chars().count() <= LINK).then_some(line)
    };
    let all = &record.alert.links;
    let mut shown: Vec<String> = all.iter().filter_map(whole).take(LINKS).collect();
    if shown.len() < all.len() {
        shown.push(format!("+ {} more links ({})", all.len() - shown.len(), record.id));
    }
    shown
}

/// `group · source · time · #short-id`; a resolved goes to no group.
fn last_line(record: &AlertRecord, notification: &Notification) -> String {
    let groups = &notification.groups;
    let mut names: Vec<String> = groups.iter().take(GROUPS).map(ToString::to_string).collect();
    if groups.len() > GROUPS {
        names.push(format!("+ {} more", groups.len() - GROUPS));
    }
    let time = when(happened(&record.alert, record.received));
    let parts = [names.join(", "), one_line(&record.source, TITLE), time, record.id.to_string()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
}

/// RFC 4647 §3.4 lookup: the language asked for, then less and less of its tag, then the same language of another region;
/// else the alert's first.
pub(super) fn in_language<'a>(alert: &'a Alert, lang: Option<&str>) -> (&'a str, &'a str) {
    let first = (alert.title.as_str(), alert.text.as_str());
    let Some(lang) = lang else { return first };
    let mut asked = lang;
    loop {
        let found = alert.variants.iter().find(|v| v.lang.eq_ignore_ascii_case(asked));
        if let Some(variant) = found {
            return (&variant.title, &variant.text);
        }
        match asked.rsplit_once('-') {
            Some((shorter, _)) => asked = shorter,
            None => break,
        }
    }
    let same = |tag: &str| tag.split('-').next().is_some_and(|primary| primary.eq_ignore_ascii_case(asked));
    let found = alert.variants.iter().find(|v| same(&v.lang));
    found.map_or(first, |variant| (&variant.title, &variant.text))
}

#[cfg(test)]
pub(in crate::dispatch) mod tests;
