//! `[[wall]]` and `[[disclaimer]]`.

use super::item::Item;
use super::names::{Names, one_of};
use super::pattern::pattern;
use super::people::any_member;
use super::reader::Section;
use super::report::quote;
use super::routes::matchers;
use super::schema::{Law, Want, What};
use crate::route::{Disclaimer, Wall};

/// Longest disclaimer, in characters: it stands under every message.
const TEXT: usize = 1000;

pub(super) fn wall(section: &Section<'_, '_>, name: Option<String>, names: &Names) -> Option<Wall> {
    let to = section.required("to", "to = [\"alice\", \"@group\"]").and_then(|item| {
        let read: Vec<_> = item.list()?.iter().map(|item| any_member(item, names)).collect();
        item.filled(read, "is empty: it would keep nobody from anything", "name who is behind it")?
            .into_iter()
            .collect()
    });
    section.law(Law::new(What::Needs("match")));
    section.wants("match", [Want::Filled]);
    let against = matchers(section, names)?;
    if against.is_empty() {
        section.missing("match", "match = { sender = [\"*@example.org\"] }, against which alerts it stands");
        return None;
    }
    Some(Wall { name: name?, matchers: against, to: to? })
}

pub(super) fn disclaimer(section: &Section<'_, '_>, names: &Names) -> Option<Disclaimer> {
    let text = section.required("text", "text = \"For internal use only.\"").and_then(|item| {
        let text = item.some_text()?;
        if text.chars().count() > TEXT {
            return item.fail("is too long", format!("write at most {TEXT} characters"));
        }
        Some(text.to_owned())
    });
    let routes = section.value("routes").and_then(|item| item.each(|item| route(item, names)));
    let groups = section.value("groups").and_then(|item| item.each(|item| names.group(item)));
    let domains = section.value("domains").and_then(|item| item.each(domain));
    Some(Disclaimer { text: text?, routes: routes?, groups: groups?, domains: domains? })
}

fn route(item: &Item<'_, '_>, names: &Names) -> Option<String> {
    let name = item.text()?;
    if names.routes.contains_key(name) {
        return Some(name.to_owned());
    }
    let hint = match names.routes.is_empty() {
        true => "give the [[route]] a name".into(),
        false => one_of("route", &names.routes, name),
    };
    item.fail(format!("there is no route {}", quote(name)), hint)
}

fn domain(item: &Item<'_, '_>) -> Option<String> {
    item.wants(Want::like("^(~.|[^~@][^@]*$)"));
    let text = pattern(item, true)?.to_string();
    if !text.starts_with('~') && text.contains('@') {
        let mended = text.rsplit('@').next().unwrap_or_default();
        return item.fail(format!("{} is no domain", quote(&text)), format!("write {}", quote(mended)));
    }
    Some(text)
}
