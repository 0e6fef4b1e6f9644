//! `[[mapping]]`, and the mappings that are built in, which are written in the same language.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use jiff::tz::{Offset, TimeZone};

use super::item::{Formed, Item};
use super::mailbox::severities;
use super::names::names_of;
use super::reader::{Reader, Section};
use super::report::{Problem, quote};
use super::schema::{Law, Want, What};
use super::source::{self, Lines};
use crate::model::NAME_FORM;
use crate::parse::{BadExpr, Choice, Mapping, Mappings, PathText, Spaces, State, Template, TimeFormat, known_root};

/// Vocabularies that are read by a mapping of our own, with the file that holds it.
const BUILT_IN: [(&str, &str); 2] = [
    ("config/mappings/nrdp.toml", include_str!("../../config/mappings/nrdp.toml")),
    ("config/mappings/call-home.toml", include_str!("../../config/mappings/call-home.toml")),
];

static BUILT_IN_MAPPINGS: LazyLock<Vec<Mapping>> =
    // The files are compiled in, and a test reads them: an error cannot be seen here.
    LazyLock::new(|| BUILT_IN.iter().flat_map(|(file, text)| read_file(file, text).0).collect());

/// Where in a table of choices an unknown value is an error.
pub(super) const REFUSE: &str = "refuse";

/// The mappings of no config: those that are built in.
pub fn built_in() -> Mappings {
    Mappings { built_in: BUILT_IN_MAPPINGS.clone(), own: Vec::new() }
}

/// Reads a file of mappings that are built in, and what is wrong with it.
fn read_file(file: &str, text: &str) -> (Vec<Mapping>, Vec<Problem>) {
    let lines = Lines::of(text);
    let source::Parsed { table, mut problems } = source::parse(text, &lines);
    let reader = Reader::new(Path::new(file), None, lines, &|_| None);
    let read = table.as_ref().and_then(|table| {
        let root = Section::root(&reader, table, source::example());
        let read = own(&root, &[]);
        root.done();
        read
    });
    let (errors, warnings, _) = reader.finish();
    problems.extend(errors.into_iter().chain(warnings));
    (read.unwrap_or_default(), problems)
}

/// Every `[[mapping]]`, and those that are built in.
pub(super) fn read(root: &Section<'_, '_>) -> Option<Mappings> {
    let built_in = BUILT_IN_MAPPINGS.clone();
    Some(Mappings { own: own(root, &built_in)?, built_in })
}

fn own(root: &Section<'_, '_>, built_in: &[Mapping]) -> Option<Vec<Mapping>> {
    let sections = root.tables("mapping");
    let names = names_of::<Name>(&sections, "mapping", &mut BTreeMap::new());
    let mut seen = BTreeMap::new();
    let mut all = Vec::new();
    for (section, name) in sections.into_iter().zip(names) {
        all.push(one(&section, name, built_in, &mut seen));
        section.done();
    }
    all.into_iter().collect()
}

/// A name that fits into a label and a reason.
struct Name(String);

impl std::str::FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = |c: char| c.is_alphanumeric() || "._-+".contains(c);
        if (1..=64).contains(&text.len()) && text.chars().all(fits) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("{} is no name; use letters, digits and . _ - +, at most 64", quote(text)))
    }
}

impl Formed for Name {
    const FORM: Option<&'static str> = Some(NAME_FORM);
}

impl Formed for TimeFormat {
    const FORM: Option<&'static str> = Some(Self::PATTERN);
}

/// A name of XML without a prefix: of ASCII letters and `_`, then also digits, `.` and `-`.
const NC_NAME: &str = r"^[^\x00-\x40\x5b-\x5e\x60\x7b-\xa0][^\x00-\x2c/\x3a-\x40\x5b-\x5e\x60\x7b-\xa0]*$";

/// Lines of roots by name and namespace.
type Roots = BTreeMap<(String, String), Option<usize>>;

fn one(section: &Section<'_, '_>, name: Option<Name>, built_in: &[Mapping], seen: &mut Roots) -> Option<Mapping> {
    let namespace = section.optional("namespace").map_or(Some(""), |item| item.text());
    let root = section.required("root", "root = \"ELEMENT\"").and_then(|item| local_name(&item));
    let prefixes = prefixes(section);
    let free = section
        .optional("root")
        .zip(root)
        .zip(namespace)
        .map(|((item, root), space)| free_root(&item, root, space, built_in, seen));
    let name = name.and_then(|Name(name)| free_name(section, name, built_in));
    let none = BTreeMap::new();
    let spaces = Spaces { own: namespace.unwrap_or_default(), prefixes: prefixes.as_ref().unwrap_or(&none) };
    // Without its prefixes no expression could be judged.
    let readable = namespace.is_some() && prefixes.is_some();
    let templates = |key| match section.optional(key) {
        Some(item) if readable => some_alternatives(&item, spaces),
        Some(_) => None,
        None => Some(Vec::new()),
    };
    let fields = ["required", "id", "key", "text", "sent", "effective", "expires", "links", "groups"].map(templates);
    let title = section.required("title", "title = \"{ELEMENT}\"").filter(|_| readable);
    let title = title.and_then(|item| some_alternatives(&item, spaces));
    let each = section.optional("each").filter(|_| readable).map(|item| path(&item, spaces));
    let labels = labels(section, readable.then_some(spaces));
    let severity_table = section.table("severity");
    let severity = choice(&severity_table, &severities(), readable.then_some(spaces));
    severity_table.done();
    let status_table = section.table("status");
    let status = choice(&status_table, &State::ALL.map(|state| (state.as_str(), state)), readable.then_some(spaces));
    status_table.done();
    let times = section.value("times").and_then(|item| item.each(Item::parse::<TimeFormat>));
    let zone = section.value("zone").and_then(|item| zone(&item));
    if let (Some(status), None) = (&status, section.optional("key")) {
        warn_without_key(section, status);
    }
    free??;
    let [required, id, key, text, sent, effective, expires, links, groups] = fields;
    Some(Mapping {
        name: name?,
        root: root?.to_owned(),
        namespace: namespace?.to_owned(),
        prefixes: prefixes?,
        each: match each {
            Some(each) => Some(each?),
            None => None,
        },
        required: required?,
        id: id?,
        key: key?,
        title: title?,
        text: text?,
        sent: sent?,
        effective: effective?,
        expires: expires?,
        links: links?,
        groups: groups?,
        labels: labels?,
        severity: severity?,
        status: status?,
        times: times?,
        zone: zone?,
    })
}

fn local_name<'r>(item: &Item<'r, '_>) -> Option<&'r str> {
    item.wants(Want::like(NC_NAME));
    let text = item.some_text()?;
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if text.starts_with(|c: char| c.is_alphabetic() || c == '_') && text.chars().all(fits) {
        return Some(text);
    }
    item.fail(
        format!("{} is no name of an element", quote(text)),
        "write it without prefix, and its namespace in namespace",
    )
}

/// Each root is read in one way only.
fn free_root(item: &Item<'_, '_>, root: &str, space: &str, built_in: &[Mapping], seen: &mut Roots) -> Option<()> {
    let what = if space.is_empty() { "without namespace".to_owned() } else { format!("of {}", quote(space)) };
    if let Some(known) = known_root(root, space) {
        return item.fail(format!("{} {what} is read as {known}", quote(root)), "name another root element");
    }
    if let Some(mapping) = built_in.iter().find(|mapping| mapping.root == root && mapping.namespace == space) {
        let wrong = format!("{} {what} is read by the built-in mapping {}", quote(root), mapping.name);
        return item.fail(wrong, "name another root element");
    }
    match seen.insert((root.to_owned(), space.to_owned()), item.line) {
        None => Some(()),
        Some(first) => {
            let first = first.map_or_else(String::new, |line| format!(" on line {line}"));
            item.fail(format!("{} {what} has a mapping already{first}", quote(root)), "write one mapping for each root")
        }
    }
}

fn free_name(section: &Section<'_, '_>, name: String, built_in: &[Mapping]) -> Option<String> {
    if built_in.iter().any(|mapping| mapping.name == name) {
        let item = section.optional("name")?;
        return item.fail(format!("{} is the name of a built-in mapping", quote(&name)), "give it another name");
    }
    Some(name)
}

fn prefixes(section: &Section<'_, '_>) -> Option<BTreeMap<String, String>> {
    let table = section.table("prefixes").named(NC_NAME, &[]);
    let read = table.into_iter().map(|(prefix, item)| {
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        if !prefix.starts_with(|c: char| c.is_alphabetic() || c == '_') || !prefix.chars().all(fits) {
            return item.fail("is no prefix", "use letters, digits and . _ -");
        }
        Some((prefix, item.text()?.to_owned()))
    });
    read.collect::<Vec<_>>().into_iter().collect()
}

fn all_of(section: &Section<'_, '_>, key: &'static str, spaces: Spaces<'_>) -> Option<Vec<Template>> {
    section.optional(key).map_or(Some(Vec::new()), |item| some_alternatives(&item, spaces))
}

/// One template, or a list of them.
fn some_alternatives(item: &Item<'_, '_>, spaces: Spaces<'_>) -> Option<Vec<Template>> {
    let items = item.one_or_more()?;
    if items.is_empty() {
        return item.fail("is an empty list", "write a text with expressions in braces, such as \"{host}\"");
    }
    let read: Vec<_> = items.iter().map(|item| template(item, spaces)).collect();
    read.into_iter().collect()
}

fn template(item: &Item<'_, '_>, spaces: Spaces<'_>) -> Option<Template> {
    let text = expression(item)?;
    Template::read(text, spaces).map_or_else(|err| bad(item, text, &err), Some)
}

fn path(item: &Item<'_, '_>, spaces: Spaces<'_>) -> Option<PathText> {
    let text = expression(item)?;
    PathText::read(text, spaces).map_or_else(|err| bad(item, text, &err), Some)
}

/// What [`expression`] takes: text that is not blank.
const EXPRESSION: &str = r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*[^\x00-\x20\x7f-\xa0][^\x00-\x08\x0b-\x1f\x7f-\x9f]*$";

/// Its text; line breaks and tabs may be in it.
fn expression<'r>(item: &Item<'r, '_>) -> Option<&'r str> {
    item.wants(Want::like(EXPRESSION));
    match item.raw_text() {
        Some(text) if text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t')) && !text.trim().is_empty() => {
            Some(text)
        }
        // Says what is wrong.
        _ => item.some_text(),
    }
}

fn bad<T>(item: &Item<'_, '_>, text: &str, err: &BadExpr) -> Option<T> {
    item.fail(format!("{}: character {}: {}", quote(text), err.at + 1, err.what), "")
}

fn labels(section: &Section<'_, '_>, spaces: Option<Spaces<'_>>) -> Option<BTreeMap<String, Vec<Template>>> {
    let table = section.table("labels");
    table.law(Law::new(What::None(vec!["mapping"])));
    let table = table.any();
    let read: Vec<_> = table
        .into_iter()
        .map(|(name, item)| {
            if name == "mapping" {
                return item.fail("is set to the mapping's name", "call the label otherwise");
            }
            Some((name, some_alternatives(&item, spaces?)?))
        })
        .collect();
    read.into_iter().collect()
}

/// `value`, `table` and `default`.
fn choice<T: Copy>(
    section: &Section<'_, '_>,
    words: &[(&'static str, T)],
    spaces: Option<Spaces<'_>>,
) -> Option<Choice<T>> {
    section.law(Law::with("value", What::Needs("table")));
    let value = spaces.and_then(|spaces| all_of(section, "value", spaces));
    let items = section.table("table").any();
    match (section.optional("value"), items.first()) {
        (None, Some((_, item))) => item.fail::<()>("is never looked up", "say in value where the value stands"),
        (Some(item), None) => {
            item.fail::<()>("has nothing to be looked up in", "write table = { \"VALUE\" = \"MEANING\" }")
        }
        _ => Some(()),
    };
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut read = Vec::new();
    for (name, item) in items {
        let other = names.insert(name.trim().to_lowercase(), name.clone());
        read.push(match other {
            Some(other) => item.fail(format!("is the same as {}: case does not count", quote(&other)), "write it once"),
            None => item.choice(words).map(|meaning| (name, meaning)),
        });
    }
    let table = read.into_iter().collect::<Option<BTreeMap<_, _>>>();
    let default = section.value("default").and_then(|item| {
        if item.is(REFUSE) {
            return Some(None);
        }
        let mut words: Vec<(&'static str, Option<T>)> =
            words.iter().map(|(word, value)| (*word, Some(*value))).collect();
        words.push((REFUSE, None));
        item.choice(&words)
    });
    Some(Choice { value: value?, table: table?, default: default? })
}

/// As config names it, and what it is.
pub(super) fn zone(item: &Item<'_, '_>) -> Option<(String, TimeZone)> {
    let text = item.some_text()?;
    if text.eq_ignore_ascii_case("UTC") {
        return Some((text.to_owned(), TimeZone::UTC));
    }
    if let Some(offset) = offset(text) {
        return Some((text.to_owned(), offset.to_time_zone()));
    }
    match TimeZone::get(text) {
        Ok(zone) => Some((text.to_owned(), zone)),
        Err(_) => item.fail(
            format!("there is no time zone {}", quote(text)),
            "write one of the IANA list, such as \"Europe/Berlin\" (from the package tzdata), or an offset such as \"+01:00\"",
        ),
    }
}

/// `+01:00`.
fn offset(text: &str) -> Option<Offset> {
    let (sign, rest) = text.strip_prefix('+').map(|rest| (1, rest)).or_else(|| Some((-1, text.strip_prefix('-')?)))?;
    let (hours, minutes) = rest.split_once(':')?;
    let number = |text: &str| (text.len() == 2).then(|| text.parse::<i32>().ok()).flatten();
    let (hours, minutes) = (number(hours)?, number(minutes).filter(|minutes| *minutes < 60)?);
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}

/// What is resolved has to be found again.
fn warn_without_key(section: &Section<'_, '_>, status: &Choice<State>) {
    use crate::model::Status::{Resolved, Update};
    let meant = status.table.values().chain(&status.default);
    if meant.into_iter().any(|state| matches!(state, State::Real(Resolved | Update))) {
        section.reader.warn(
            section.line,
            &section.key("status"),
            "says resolved or update, but without key nothing is found again",
            "write a key that is the same in the problem and its recovery",
        );
    }
}

/// The mappings that this config gives, beside those that are built in.
#[cfg(test)]
pub(crate) fn read_text(text: &str) -> Mappings {
    let (own, problems) = read_file("a.toml", text);
    assert_eq!(problems, []);
    Mappings { own, ..built_in() }
}

#[cfg(test)]
mod tests;
