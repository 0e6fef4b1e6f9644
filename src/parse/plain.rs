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

/// The text of a mail: its own, or else that of the mails that it forwards. `without` are parts that are no text for people.
pub(crate) fn text(tree: &Tree<'_>, without: &[usize]) -> String {
    let readable =
        |n: &usize| tree.parts.get(*n).is_some_and(|p| is_text(p) && !tree.is_ignored(p)) && !without.contains(n);
    let all: Vec<usize> = (0..tree.parts.len()).filter(readable).collect();
    let own: Vec<usize> = all.iter().copied().filter(|n| tree.parts.get(*n).is_some_and(|p| p.mail == 0)).collect();
    let own = joined(tree, &own);
    if own.is_empty() { joined(tree, &all) } else { own }
}

fn is_text(part: &Part<'_>) -> bool {
    matches!(part.media.as_str(), "text/plain" | "text/html") && !part.attachment
}

/// The parts as one text; of alternatives the plain one, unless it is empty.
fn joined(tree: &Tree<'_>, parts: &[usize]) -> String {
    let texts: Vec<(&Part<'_>, String)> =
        parts.iter().filter_map(|n| tree.parts.get(*n)).map(|part| (part, decoded(part))).collect();
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
