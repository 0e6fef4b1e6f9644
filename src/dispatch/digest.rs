//! Texts that stand for many: the digest on a recipient's return, and notices to the operators.

use crate::model::{Severity, Status};
use crate::queue::{Content, Folded, More, NoticeDue, Outgoing, Returning};
use crate::route::happened;

use super::render::{headline, in_language, title_or_none};
use super::text::{clean, one_line, when};

/// Longest title in a list, in characters.
const TITLE: usize = 120;

/// Most origins that a digest names; the rest is counted together.
const ORIGINS: usize = 10;

/// Longest notice, in characters.
const NOTICE: usize = 2_000;

/// One message instead of all that is held for a recipient and not critical: critical ones are sent one by one. At most
/// `titles` are listed, oldest first; the others are counted. `lang`: the recipient's preferred language.
pub fn text(returning: &Returning, lang: Option<&str>, titles: usize) -> String {
    let counts: Vec<_> = returning.counts.iter().filter(|(s, n)| *s != Severity::Critical && *n > 0).collect();
    let total: u64 = counts.iter().map(|(_, n)| n).sum();
    let by_severity: Vec<_> = counts.iter().map(|(severity, n)| format!("{n} {severity}")).collect();
    let mut lines = vec![match by_severity.is_empty() {
        true => "While you were away: nothing is left to tell.".to_owned(),
        false => format!("While you were away: {}", by_severity.join(", ")),
    }];
    let held = returning.held.iter().filter(|o| o.notification.severity != Severity::Critical);
    let listed: Vec<String> = held.take(titles).map(|o| line(o, lang)).collect();
    let more = total.saturating_sub(u64::try_from(listed.len()).unwrap_or(u64::MAX));
    lines.extend(listed);
    if more > 0 {
        lines.push(format!("+ {more} more"));
    }
    lines.extend(meanwhile(returning.superseded, returning.expired));
    lines.join("\n")
}

/// One message instead of many that would have been too many: the worst by title, the others counted by where they come from.
pub fn storm(folded: &Folded, lang: Option<&str>) -> String {
    let mut all = More::default();
    for outgoing in &folded.listed {
        match &outgoing.content {
            Content::Alert(record) if record.alert.status == Status::Resolved => all.resolved += 1,
            _ => add(&mut all.counts, outgoing.notification.severity, 1),
        }
    }
    for more in &folded.more {
        merge(&mut all, more);
    }
    let mut lines = vec![format!("Storm: {} alerts: {}", total(&all), counted(&all))];
    lines.extend(folded.listed.iter().map(|outgoing| line(outgoing, lang)));
    let (named, others) = folded.more.split_at(folded.more.len().min(ORIGINS));
    lines.extend(
        named
            .iter()
            .map(|more| format!("+ {} more from {}: {}", total(more), one_line(&more.origin, TITLE), counted(more))),
    );
    if !others.is_empty() {
        let mut rest = More::default();
        others.iter().for_each(|more| merge(&mut rest, more));
        lines.push(format!("+ {} more from {} others: {}", total(&rest), others.len(), counted(&rest)));
    }
    lines.extend(meanwhile(folded.superseded, folded.expired));
    lines.join("\n")
}

fn merge(all: &mut More, more: &More) {
    all.resolved += more.resolved;
    more.counts.iter().for_each(|(severity, n)| add(&mut all.counts, *severity, *n));
}

fn add(counts: &mut Vec<(Severity, u64)>, severity: Severity, n: u64) {
    match counts.iter_mut().find(|(known, _)| *known == severity) {
        Some((_, count)) => *count += n,
        None => counts.push((severity, n)),
    }
    counts.sort_by_key(|(severity, _)| severity.rank());
}

fn total(more: &More) -> u64 {
    more.counts.iter().map(|(_, n)| n).sum::<u64>() + more.resolved
}

/// `3 critical, 211 warning, 2 resolved`.
fn counted(more: &More) -> String {
    let resolved = (more.resolved > 0).then(|| format!("{} resolved", more.resolved));
    let counts = more.counts.iter().map(|(severity, n)| format!("{n} {severity}"));
    counts.chain(resolved).collect::<Vec<_>>().join(", ")
}

/// `2026-11-21 18:42 UTC MAJOR: title #1a3f`.
fn line(outgoing: &Outgoing, lang: Option<&str>) -> String {
    match &outgoing.content {
        Content::Alert(record) => {
            let title = one_line(&title_or_none(in_language(&record.alert, lang).0), TITLE);
            let event = happened(&record.alert, record.received);
            format!("{} {}: {title} {}", when(event), headline(&record.alert), record.id)
        }
        Content::Text(text) => {
            let first = text.lines().next().unwrap_or_default();
            format!("{} {}", when(outgoing.notification.created), one_line(first, TITLE))
        }
    }
}

/// What needs no telling any more.
fn meanwhile(resolved: u64, expired: u64) -> Option<String> {
    let parts = [(resolved, "resolved"), (expired, "expired")];
    let parts: Vec<_> = parts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    (!parts.is_empty()).then(|| format!("Meanwhile {} before you could be told", parts.join(", ")))
}

/// A word to the operators: the newest text of its topic, and how many there were.
pub fn notice(due: &NoticeDue) -> String {
    let text = clean(&due.text);
    let text: String = match text.char_indices().nth(NOTICE) {
        Some((cut, _)) => format!("{}…", text.split_at(cut).0),
        None => text,
    };
    match due.count {
        0 | 1 => format!("mailbell: {text}"),
        n => format!("mailbell: {text}\n({n} times since the last notice about {})", one_line(&due.topic, TITLE)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::render::tests::{alert, notification, record};
    use super::*;

    fn held(n: i64, severity: Severity, title: &str) -> Outgoing {
        let mut a = alert();
        (a.severity, a.title) = (severity, title.into());
        let mut notification = notification();
        notification.severity = severity;
        Outgoing { notification, content: Content::Alert(Arc::new(record(n, a))), in_doubt: false }
    }

    #[test]
    fn a_digest_counts_lists_and_says_what_is_over() {
        let mut resolved = held(4, Severity::Minor, "Disk full");
        if let Content::Alert(record) = &mut resolved.content {
            Arc::make_mut(record).alert.status = Status::Resolved;
        }
        let returning = Returning {
            held: vec![
                held(1, Severity::Critical, "told on its own"),
                held(2, Severity::Major, "RAID degraded"),
                held(3, Severity::Warning, "Certificate\u{1b}[1m\nends soon"),
                resolved,
                held(5, Severity::Warning, "not listed"),
            ],
            counts: vec![(Severity::Critical, 1), (Severity::Major, 3), (Severity::Minor, 1), (Severity::Warning, 211)],
            superseded: 4,
            expired: 1,
        };
        insta::assert_snapshot!(text(&returning, None, 3), @r"
        While you were away: 3 major, 1 minor, 211 warning
        2026-11-21 18:42 UTC MAJOR: RAID degraded #2
        2026-11-21 18:42 UTC WARNING: Certificate ends soon #3
        2026-11-21 18:42 UTC RESOLVED: Disk full #4
        + 212 more
        Meanwhile 4 resolved, 1 expired before you could be told
        ");
    }

    #[test]
    fn a_digest_of_little_is_short() {
        let returning = Returning {
            held: vec![held(2, Severity::Info, "")],
            counts: vec![(Severity::Info, 1)],
            superseded: 0,
            expired: 0,
        };
        insta::assert_snapshot!(text(&returning, None, 20), @r"
        While you were away: 1 info
        2026-11-21 18:42 UTC INFO: (no title) #2
        ");
        let gone = Returning { superseded: 2, ..Returning::default() };
        insta::assert_snapshot!(text(&gone, None, 20), @r"
        While you were away: nothing is left to tell.
        Meanwhile 2 resolved before you could be told
        ");
    }

    #[test]
    fn a_digest_of_a_storm_names_the_worst_and_counts_the_rest_by_origin() {
        let mut resolved = held(4, Severity::Minor, "Disk full");
        if let Content::Alert(record) = &mut resolved.content {
            Arc::make_mut(record).alert.status = Status::Resolved;
        }
        let more = |origin: &str, counts: &[(Severity, u64)], resolved| More {
            origin: origin.into(),
            counts: counts.to_vec(),
            resolved,
        };
        let mut folded = Folded {
            listed: vec![held(9, Severity::Critical, "UPS 7 on battery"), resolved],
            more: vec![
                more("ups-7", &[(Severity::Critical, 3), (Severity::Warning, 211)], 0),
                more("db\u{1b}[1m\n1", &[(Severity::Warning, 1)], 2),
            ],
            superseded: 4,
            expired: 0,
        };
        insta::assert_snapshot!(storm(&folded, None), @r"
        Storm: 219 alerts: 4 critical, 212 warning, 3 resolved
        2026-11-21 18:42 UTC CRITICAL: UPS 7 on battery #9
        2026-11-21 18:42 UTC RESOLVED: Disk full #4
        + 214 more from ups-7: 3 critical, 211 warning
        + 3 more from db 1: 1 warning, 2 resolved
        Meanwhile 4 resolved before you could be told
        ");
        folded.more = (0..5000).map(|n| more(&format!("{n}{}", "x".repeat(1000)), &[(Severity::Info, 1)], 0)).collect();
        let text = storm(&folded, None);
        assert_eq!(text.lines().nth_back(1), Some("+ 4990 more from 4990 others: 4990 info"));
        assert!(text.chars().count() < 3_000, "bounded, whoever sends");
    }

    #[test]
    fn notices_count() {
        let due = |count| NoticeDue {
            topic: "quarantine".into(),
            text: "message 7 of mailbox ops: \u{202e}line 3".into(),
            count,
        };
        assert_eq!(notice(&due(1)), "mailbell: message 7 of mailbox ops: line 3");
        insta::assert_snapshot!(notice(&due(9)), @r"
        mailbell: message 7 of mailbox ops: line 3
        (9 times since the last notice about quarantine)
        ");
        assert!(notice(&NoticeDue { text: "x".repeat(10_000), ..due(1) }).chars().count() < 2_100);
    }
}
