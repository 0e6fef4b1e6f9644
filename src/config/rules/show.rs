//! Rules as TOML: the mailbox's own with all their keys, the others by the names of their files.

use std::fmt::Display;

use crate::config::show::{Writer, list, quoted};
use crate::parse::Rules;
use crate::parse::rules::{Choice, RuleSettings};

/// Writes `rules`.
pub(in crate::config) fn show_files(out: &mut Writer, rules: &Rules) {
    let mut files: Vec<&str> = rules.iter().filter_map(|rule| rule.file.as_deref()).collect();
    files.dedup();
    out.list("rules", files);
}

/// Writes every `[[mailbox.rule]]`. Comes last in a mailbox: a table ends its keys.
pub(in crate::config) fn show_own(out: &mut Writer, rules: &Rules) {
    for rule in rules.iter().filter(|rule| rule.file.is_none()) {
        own(out, &rule.settings);
    }
}

fn own(out: &mut Writer, rule: &RuleSettings) {
    out.table("[[mailbox.rule]]");
    out.text("name", &rule.name);
    for (key, texts) in [("from", &rule.from), ("subject", &rule.subject), ("body", &rule.body), ("find", &rule.find)] {
        if !texts.is_empty() {
            out.list(key, texts);
        }
    }
    table(out, "header", rule.header.iter().map(|(name, texts)| (name, list(texts))));
    out.some("each_line", rule.each_line.as_ref());
    out.some("ignore", rule.ignore.as_ref());
    out.some("key", rule.key.as_ref());
    choice(out, "status", rule.status.as_ref(), |status| status.as_str());
    choice(out, "severity", rule.severity.as_ref(), |severity| severity.as_str());
    for (key, text) in [
        ("title", &rule.title),
        ("text", &rule.text),
        ("group", &rule.group),
        ("link", &rule.link),
        ("sent", &rule.sent),
        ("pairs", &rule.pairs),
    ] {
        out.some(key, text.as_ref());
    }
    table(out, "labels", rule.labels.iter().map(|(name, text)| (name, quoted(text))));
}

fn choice<T>(out: &mut Writer, key: &str, choice: Option<&Choice<T>>, word: impl Fn(&T) -> &'static str) {
    match choice {
        None => {}
        Some(Choice::Fixed(fixed)) => out.text(key, word(fixed)),
        Some(Choice::Table { from, map, default }) => {
            let map = inline(map.iter().map(|(value, meant)| (value, quoted(word(meant)))));
            let mut entries = vec![("from", quoted(from)), ("map", map)];
            entries.extend(default.as_ref().map(|meant| ("default", quoted(word(meant)))));
            out.plain(key, inline(entries));
        }
    }
}

/// `key = { … }`, where there is something in it.
fn table(out: &mut Writer, key: &str, entries: impl ExactSizeIterator<Item = (impl Display, String)>) {
    if entries.len() > 0 {
        out.plain(key, inline(entries));
    }
}

fn inline(entries: impl IntoIterator<Item = (impl Display, String)>) -> String {
    let bare = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let named = |name: String| if bare(&name) { name } else { quoted(name) };
    let entries = entries.into_iter().map(|(name, value)| format!("{} = {value}", named(name.to_string())));
    format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
}
