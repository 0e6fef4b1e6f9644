//! A mail without XML, as an alert: subject → title, text → text.

use crate::model::{Alert, Format, Severity};

use super::decode;
use super::draft::{Context, capped, empty, title};
use super::html;
use super::mime::{Part, Tree};

/// HTML over this size is cut before it is read: no alert is longer.
const MAX_HTML: usize = 4 * 1024 * 1024;

/// The mail's text as an alert. `id` and `key` are given by the caller.
pub(crate) fn read(severity: Severity, text: String, context: &Context<'_>) -> Alert {
    let mut alert = empty(Format::Plain, context);
    alert.severity = severity;
    let subject = context.header.subject.clone().unwrap_or_default();
    let heading = match text.lines().map(str::trim).find(|line| !line.is_empty()) {
        _ if !subject.is_empty() => subject,
        Some(line) => {
            alert.warnings.push("the mail has no subject; its first line is the title".to_owned());
            line.to_owned()
        }
        None => {
            alert.warnings.push("the mail has neither subject nor text".to_owned());
            format!("Mail without subject or text from {}", alert.sender)
        }
    };
    alert.title = title(&heading, context.limits, &mut alert.warnings);
    alert.text = capped(text, "the text", context.limits, &mut alert.warnings);
    alert
}

/// The text of a mail: what it says itself, or else what it attaches as text, or else what the mails say that it forwards.
/// `without` are parts that are no text for people.
pub(crate) fn text(tree: &Tree<'_>, without: &[usize]) -> String {
    let parts = tree.parts.iter().enumerate();
    let readable = parts.filter(|(n, part)| is_text(part) && !tree.is_ignored(part) && !without.contains(n));
    let all: Vec<&Part<'_>> = readable.map(|(_, part)| part).collect();
    let pick = |wanted: &dyn Fn(&Part<'_>) -> bool| {
        joined(&all.iter().copied().filter(|part| wanted(part)).collect::<Vec<_>>())
    };
    let own = pick(&|part| part.mail == 0 && !part.attachment);
    if !own.is_empty() {
        return own;
    }
    let attached = pick(&|part| part.mail == 0 && part.attachment);
    if attached.is_empty() { pick(&|part| part.mail > 0 && !part.attachment) } else { attached }
}

fn is_text(part: &Part<'_>) -> bool {
    matches!(part.media.as_str(), "text/plain" | "text/html")
}

/// The parts as one text; of alternatives the plain one, unless it is empty.
fn joined(parts: &[&Part<'_>]) -> String {
    let texts: Vec<(&Part<'_>, String)> = parts.iter().map(|part| (*part, decoded(part))).collect();
    let plain: Vec<usize> = texts
        .iter()
        .filter(|(part, text)| part.media == "text/plain" && !text.is_empty())
        .filter_map(|(part, _)| part.alternative)
        .collect();
    let wanted = texts.iter().filter(|(part, text)| {
        let twin = part.media == "text/html" && part.alternative.is_some_and(|a| plain.contains(&a));
        !text.is_empty() && !twin
    });
    wanted.map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n\n")
}

fn decoded(part: &Part<'_>) -> String {
    let bytes = part.bytes();
    if part.media == "text/html" {
        let bytes = bytes.get(..MAX_HTML).unwrap_or(&bytes);
        return html::text(&decode::lossy(bytes, part.charset.as_deref()));
    }
    let text = decode::lossy(&bytes, part.charset.as_deref()).replace("\r\n", "\n");
    text.trim_matches(['\n', '\r', ' ', '\t']).to_owned()
}
