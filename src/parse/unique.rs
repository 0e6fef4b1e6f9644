//! The same alert in two parts of a mail is one alert; two alerts that only look alike stay two.

use crate::model::{Alert, Format};

use super::document::Placed;
use super::fields::one_line;

/// Keeps each alert once. The first one counts: parts come best declared first.
pub(crate) fn once(found: Vec<Placed>, bad: &mut Vec<String>) -> Vec<Placed> {
    let mut kept: Vec<Placed> = Vec::with_capacity(found.len());
    for mut next in found {
        let twin = kept.iter().find(|k| same_name(k, &next));
        match twin
            .map(|twin| same_report(&twin.draft.alert, &next.draft.alert) || (other_part(twin, &next) && is_cap(&next)))
        {
            None => kept.push(next),
            Some(true) => {}
            // CAP 1.2 §3.2.1: identifier, sender and sent name one message. Which of the two is right, nobody can tell.
            Some(false) if is_cap(&next) => {
                let id = super::xml::shown(&next.draft.alert.id);
                let line = next.line;
                bad.push(format!(
                    "line {line}: <alert>: {id} is in the mail twice, with other content; the first counts"
                ));
            }
            Some(false) => {
                if next.draft.has_id {
                    let id = next.draft.alert.id.clone();
                    next.draft.alert.id = free_id(&kept, &id);
                    next.draft.alert.warnings.push(format!(
                        "line {}: <alert>: the mail has two alerts with this id; this one got a number",
                        next.line
                    ));
                    if !next.draft.has_key {
                        // Without a key the id names the condition, as the sender wrote it.
                        next.draft.alert.key = crate::model::Key(id);
                        next.draft.has_key = true;
                    }
                }
                kept.push(next);
            }
        }
    }
    kept
}

fn is_cap(placed: &Placed) -> bool {
    placed.draft.alert.format == Format::Cap
}

fn other_part(a: &Placed, b: &Placed) -> bool {
    a.place.0 != b.place.0
}

/// Do both claim to be the same message?
fn same_name(a: &Placed, b: &Placed) -> bool {
    let (x, y) = (&a.draft.alert, &b.draft.alert);
    if x.format != y.format || a.draft.has_id != b.draft.has_id {
        return false;
    }
    if a.draft.has_id {
        x.id == y.id && x.sender == y.sender && x.sent == y.sent && (x.format == Format::Cap || x.status == y.status)
    } else {
        // Nothing names them: only what they say can tell, and twice in one document is twice.
        other_part(a, b) && same_report(x, y)
    }
}

/// Do both say the same? Copies of one alert in several parts may be wrapped in other places.
fn same_report(a: &Alert, b: &Alert) -> bool {
    a.title == b.title
        && a.status == b.status
        && a.severity == b.severity
        && a.key == b.key
        && a.groups == b.groups
        && a.expires == b.expires
        && one_line(&a.text) == one_line(&b.text)
        && a.labels.iter().map(|(name, _)| name).eq(b.labels.iter().map(|(name, _)| name))
}

fn free_id(kept: &[Placed], id: &str) -> String {
    let taken = kept
        .iter()
        .filter(|k| k.draft.alert.id == id || k.draft.alert.id.strip_prefix(id).is_some_and(|r| r.starts_with('#')));
    format!("{id}#{}", taken.count() + 1)
}
