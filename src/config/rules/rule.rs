//! One `[[mailbox.rule]]`, or one `[[rule]]` of a file.

use toml::de::DeValue;

use crate::config::item::Item;
use crate::config::mailbox::severities;
use crate::config::reader::{Section, suggestion};
use crate::config::report::quote;
use crate::model::Status;
use crate::parse::rules::{Choice, Rule, RuleSettings};

/// Reads one rule; `file`: the ready-made set or the file that it is in.
pub(super) fn read(section: &Section<'_, '_>, file: Option<&str>) -> Option<Rule> {
    let name = section.required("name", "name = \"NAME\"").and_then(|item| rule_name(&item));
    let texts = |key: &'static str| section.optional(key).map_or(Some(Vec::new()), |item| some_texts(&item));
    let text = |key: &'static str| match section.optional(key) {
        None => Some(None),
        Some(item) => item.text().map(|text| Some(text.to_owned())),
    };
    let from = texts("from");
    let subject = texts("subject");
    let body = texts("body");
    let find = texts("find");
    let each_line = text("each_line");
    let ignore = match section.optional("ignore") {
        None => Some(None),
        Some(item) => item.some_text().map(|why| Some(why.to_owned())),
    };
    let header = table(section, "header", some_texts);
    let labels = table(section, "labels", |item| item.text().map(str::to_owned));
    let statuses = Status::ALL.map(|status| (status.as_str(), status));
    let status = choice(section, "status", &statuses);
    let severity = choice(section, "severity", &severities());
    let (key, title, say) = (text("key"), text("title"), text("text"));
    let (group, link, sent, pairs) = (text("group"), text("link"), text("sent"), text("pairs"));
    let settings = RuleSettings {
        name: name?,
        from: from?,
        subject: subject?,
        header: header?,
        body: body?,
        find: find?,
        each_line: each_line?,
        ignore: ignore?,
        key: key?,
        status: status?,
        severity: severity?,
        title: title?,
        text: say?,
        group: group?,
        link: link?,
        sent: sent?,
        pairs: pairs?,
        labels: labels?,
    };
    match Rule::new(file, settings) {
        Ok(rule) => Some(rule),
        Err(faults) => {
            for fault in faults {
                let line = line_of(section, &fault.key);
                let key = if fault.key.is_empty() { section.label.clone() } else { section.key_path(&fault.key) };
                section.reader.error(line, &key, fault.wrong, fault.mend);
            }
            None
        }
    }
}

/// The line of a fault's key, else that of the rule.
fn line_of(section: &Section<'_, '_>, key: &str) -> Option<usize> {
    let first = key.split('.').next().unwrap_or_default();
    section.any().into_iter().find(|(name, _)| name == first).map_or(section.line, |(_, item)| item.line)
}

fn rule_name(item: &Item<'_, '_>) -> Option<String> {
    let name = item.text()?;
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(legal) {
        return item.fail(format!("{} is no name", quote(name)), "write 1 to 64 letters, digits and . _ - +");
    }
    Some(name.to_owned())
}

fn some_texts(item: &Item<'_, '_>) -> Option<Vec<String>> {
    let items = item.one_or_more()?;
    if items.is_empty() {
        return item.fail("is an empty list", "name an expression, or leave it out");
    }
    let read: Vec<Option<String>> = items.iter().map(|item| item.text().map(str::to_owned)).collect();
    read.into_iter().collect()
}

/// The entries of a table with names of the operator's own.
fn table<T>(
    section: &Section<'_, '_>,
    key: &'static str,
    read: impl Fn(&Item<'_, '_>) -> Option<T>,
) -> Option<Vec<(String, T)>> {
    let entries = section.table(key).any();
    let read: Vec<_> = entries.into_iter().map(|(name, item)| Some((name, read(&item)?))).collect();
    read.into_iter().collect()
}

/// A word, or a table that a value is looked up in.
fn choice<T: Copy>(section: &Section<'_, '_>, key: &'static str, words: &[(&str, T)]) -> Option<Option<Choice<T>>> {
    let Some(item) = section.optional(key) else { return Some(None) };
    if !matches!(item.value, DeValue::Table(_)) {
        return item.choice(words).map(|word| Some(Choice::Fixed(word)));
    }
    let inside = section.table(key);
    let (mut from, mut map, mut default, mut good) = (None, None, Some(None), true);
    for (name, item) in inside.any() {
        match name.as_str() {
            "from" => from = item.text().map(str::to_owned),
            "map" => map = table(&inside, "map", |item| item.choice(words)),
            "default" => default = item.choice(words).map(Some),
            _ => {
                item.fail::<()>("there is no such key", suggestion(&name, &["from", "map", "default"]));
                good = false;
            }
        }
    }
    let names: Vec<String> = inside.any().into_iter().map(|(name, _)| name).collect();
    for needed in ["from", "map"] {
        if !names.iter().any(|name| name == needed) {
            inside.missing(needed, "{ from = \"{NAME}\", map = { VALUE = \"WORD\" }, default = \"WORD\" }");
            good = false;
        }
    }
    let choice = Choice::Table { from: from?, map: map?, default: default? };
    good.then_some(Some(choice))
}
