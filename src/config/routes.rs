//! `[[route]]`.

use super::item::Item;
use super::names::{Names, one_of, twice};
use super::pattern::pattern;
use super::reader::Section;
use super::report::quote;
use super::schema::{Want, element};
use super::suggest::suggestion;
use crate::model::{Severity, Source};
use crate::route::{FIELDS, Route, statuses};

const LABEL: &str = "label.";
/// Stands for the fields that are labels.
const ANY_LABEL: &str = "*";

/// The names of routes, for those that have one.
pub(super) fn names_of(sections: &[Section<'_, '_>], names: &mut Names) -> Vec<Option<String>> {
    let mut read = |section: &Section<'_, '_>| {
        let item = section.optional("name")?;
        let name = item.some_text()?;
        if let Some(first) = names.routes.get(name) {
            return item.fail(twice(*first), "give each route a name of its own, or none");
        }
        names.routes.insert(name.to_owned(), section.line);
        Some(name.to_owned())
    };
    sections.iter().map(&mut read).collect()
}

pub(super) fn read(section: &Section<'_, '_>, name: Option<String>, names: &Names) -> Option<Route> {
    let matchers = matchers(section, names);
    let groups = section
        .required("groups", "groups = [\"NAME\"], or [] to keep such alerts without telling anyone")
        .and_then(|item| item.each(|item| names.group(item)));
    let go_on = section.value("continue").and_then(|item| {
        let go_on = item.yes()?;
        if go_on && groups.as_ref().is_some_and(Vec::is_empty) {
            return item.fail("has no meaning with groups = [], which ends here", "leave it out, or name a group");
        }
        Some(go_on)
    });
    let verify = section.value("verify").and_then(|item| {
        let verify = item.yes()?;
        if verify && groups.as_ref().is_some_and(Vec::is_empty) {
            return item.fail("has no meaning with groups = [], which tells nobody", "leave it out, or name a group");
        }
        Some(verify)
    });
    Some(Route { name, matchers: matchers?, groups: groups?, go_on: go_on?, verify: verify? })
}

pub(super) fn matchers(section: &Section<'_, '_>, names: &Names) -> Option<Vec<(String, Vec<String>)>> {
    let table = section.table("match");
    for field in FIELDS.into_iter().chain([ANY_LABEL]) {
        table.wants(field, [Want::OneOrMore]);
        table.wants(&element(field), forms(field));
    }
    let read: Vec<_> = table
        .named(r"^label\.[\s\S]", &FIELDS)
        .into_iter()
        .map(|(field, item)| matcher(&field, &item, names))
        .collect();
    read.into_iter().collect()
}

/// What a value of this field may be, for a schema: a pattern, and where the exact values are known one of these.
fn forms(field: &str) -> Vec<Want> {
    let inexact = Want::like("^~.|[*?]");
    match field {
        "severity" => vec![Want::Words(Severity::ALL.map(Severity::as_str).to_vec()), inexact],
        "status" => vec![Want::Words(statuses()), inexact],
        "source" => vec![Want::like("^(mailbox:.+|probe|api)$"), inexact],
        _ => vec![Want::like(r"^(~[^\x00-\x1f\x7f-\x9f]+|[^\x00-\x1f\x7f-\x9f~][^\x00-\x1f\x7f-\x9f]*)$")],
    }
}

fn matcher(field: &str, item: &Item<'_, '_>, names: &Names) -> Option<(String, Vec<String>)> {
    let is_label = field.strip_prefix(LABEL).is_some_and(|name| !name.is_empty());
    if !is_label && !FIELDS.contains(&field) {
        let hint = match field {
            "label" | LABEL => "a label is written \"label.NAME\" = \"VALUE\", with the quotes".into(),
            _ => {
                let near = suggestion(field, &FIELDS);
                let label = format!("; a label is written \"label.{field}\"");
                if near.ends_with('?') { near } else { near + &label }
            }
        };
        return item.fail("there is no such field", hint);
    }
    let items = item.one_or_more()?;
    if items.is_empty() {
        return item.fail("is an empty list, which matches nothing", "name a value, or leave the field out");
    }
    let read: Vec<_> = items.iter().map(|item| value(field, item, names)).collect();
    Some((field.to_owned(), read.into_iter().collect::<Option<_>>()?))
}

fn value(field: &str, item: &Item<'_, '_>, names: &Names) -> Option<String> {
    let pattern = pattern(item, field == "sender")?;
    if let Some(value) = pattern.exact() {
        known(field, value, item, names)?;
    }
    Some(pattern.to_string())
}

/// An exact value that can never be there is a slip of the pen, and the alerts meant would go elsewhere.
fn known(field: &str, text: &str, item: &Item<'_, '_>, names: &Names) -> Option<()> {
    let unknown = |words: &[&str]| {
        item.fail(format!("no alert has the {field} {}", quote(text)), format!("allowed: {}", words.join(", ")))
    };
    match field {
        "severity" if text.parse::<Severity>().is_err() => unknown(&Severity::ALL.map(Severity::as_str)),
        "status" if !statuses().contains(&text) => unknown(&statuses()),
        "mailbox" => mailbox(text, item, names),
        "source" => match text.strip_prefix("mailbox:") {
            Some(name) => mailbox(name, item, names),
            None if text.parse::<Source>().is_ok() => Some(()),
            None => unknown(&["mailbox:NAME", "probe", "api:TOKEN"]),
        },
        _ => Some(()),
    }
}

fn mailbox(name: &str, item: &Item<'_, '_>, names: &Names) -> Option<()> {
    if names.mailboxes.contains_key(name) {
        return Some(());
    }
    item.fail(format!("there is no mailbox {}", quote(name)), one_of("mailbox", &names.mailboxes, name))
}
