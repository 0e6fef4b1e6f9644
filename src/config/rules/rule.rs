//! One `[[mailbox.rule]]`, or one `[[rule]]` of a file.

use crate::config::item::Item;
use crate::config::mailbox::severities;
use crate::config::reader::Section;
use crate::config::report::quote;
use crate::config::schema::{Law, Want, What};
use crate::model::Status;
use crate::parse::rules::{Choice, NOT_BESIDE_IGNORE, Rule, RuleSettings};

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
    section.law(Law::with("ignore", What::None(NOT_BESIDE_IGNORE.to_vec())));
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
    section.line_of_key(first).or(section.line)
}

fn rule_name(item: &Item<'_, '_>) -> Option<String> {
    item.wants(Want::like(r"^[A-Za-z0-9._+\-]{1,64}$"));
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
fn choice<T: Copy>(
    section: &Section<'_, '_>,
    key: &'static str,
    words: &[(&'static str, T)],
) -> Option<Option<Choice<T>>> {
    let Some(item) = section.optional(key) else { return Some(None) };
    if !item.is_table() {
        return item.choice(words).map(|word| Some(Choice::Fixed(word)));
    }
    item.wants(Want::Words(words.iter().map(|(word, _)| *word).collect()));
    let inside = section.table(key);
    let example = "{ from = \"{NAME}\", map = { VALUE = \"WORD\" }, default = \"WORD\" }";
    let from = inside.required("from", example).and_then(|item| item.text().map(str::to_owned));
    inside.law(Law::new(What::Needs("map")));
    let map = match inside.optional("map") {
        Some(_) => table(&inside, "map", |item| item.choice(words)),
        None => {
            inside.missing("map", example);
            None
        }
    };
    let default = match inside.optional("default") {
        Some(item) => item.choice(words).map(Some),
        None => Some(None),
    };
    inside.done();
    Some(Some(Choice::Table { from: from?, map: map?, default: default? }))
}
