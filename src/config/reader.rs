//! Reads tables key by key and gathers everything that is wrong, so that one run tells of all of it. A getter that
//! gives `None` has said why.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::item::Item;
use super::report::{Problem, quote};
use super::schema::{Case, Law, Trace, Want, What, free};
use super::source::{Lines, kind};
use super::suggest::suggestion;

/// What a file is read with.
pub(super) struct Reader<'a> {
    /// Relative paths start here: the directory of the config file.
    pub(super) dir: PathBuf,
    /// The config file, and the mode bits by which others can read it.
    pub(super) file: &'a Path,
    pub(super) exposed: Option<u32>,
    pub(super) env: &'a dyn Fn(&str) -> Option<OsString>,
    /// Secrets and certificates are taken as they are named, unread.
    pub(super) blind: bool,
    lines: Lines,
    errors: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    /// Every key that was asked for, by table: what exists at all.
    asked: RefCell<BTreeMap<String, Vec<&'static str>>>,
    /// What was asked of them, where somebody wants to know.
    trace: Option<RefCell<Trace>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        file: &'a Path,
        exposed: Option<u32>,
        lines: Lines,
        env: &'a dyn Fn(&str) -> Option<OsString>,
    ) -> Self {
        let dir = file.parent().unwrap_or(Path::new("")).to_owned();
        Self {
            dir,
            file,
            exposed,
            env,
            blind: false,
            lines,
            errors: RefCell::default(),
            warnings: RefCell::default(),
            asked: RefCell::default(),
            trace: None,
        }
    }

    pub(super) fn error(&self, line: Option<usize>, key: &str, wrong: impl Into<String>, allowed: impl Into<String>) {
        let problem = Problem { line, key: key.to_owned(), wrong: wrong.into(), allowed: allowed.into() };
        self.errors.borrow_mut().push(problem);
    }

    pub(super) fn warn(&self, line: Option<usize>, key: &str, wrong: impl Into<String>, allowed: impl Into<String>) {
        let problem = Problem { line, key: key.to_owned(), wrong: wrong.into(), allowed: allowed.into() };
        self.warnings.borrow_mut().push(problem);
    }

    /// Secrets and certificates are not looked at: only what the file itself says is of interest.
    pub(super) fn blind(self) -> Self {
        Self { blind: true, ..self }
    }

    /// Writes down what is asked of each key. Nothing else is of interest, so that no file is opened.
    pub(super) fn tracing(self) -> Self {
        Self { blind: true, trace: Some(RefCell::default()), ..self }
    }

    pub(super) fn is_tracing(&self) -> bool {
        self.trace.is_some()
    }

    /// Writes down what is asked; costs nothing where nobody wants to know.
    pub(super) fn note(&self, write: impl FnOnce(&mut Trace)) {
        if let Some(trace) = &self.trace {
            write(&mut trace.borrow_mut());
        }
    }

    /// What was asked of each key, and every key that exists, by table.
    pub(super) fn traced(self) -> (Trace, BTreeMap<String, Vec<&'static str>>) {
        (self.trace.map(RefCell::into_inner).unwrap_or_default(), self.asked.into_inner())
    }

    /// Was no error told so far?
    pub(super) fn is_fine(&self) -> bool {
        self.errors.borrow().is_empty()
    }

    pub(super) fn line(&self, at: usize) -> usize {
        self.lines.line(at)
    }

    /// A path of the file, from its directory.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.dir.join(text)
    }

    /// Errors, warnings, and every key that exists, by table.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Problem>, BTreeMap<String, Vec<&'static str>>) {
        (self.errors.into_inner(), self.warnings.into_inner(), self.asked.into_inner())
    }
}

/// One table: `[xmpp]`, one of the `[[mailbox]]`, or one that is not there and has only defaults.
pub(super) struct Section<'r, 'a> {
    pub(super) reader: &'r Reader<'a>,
    /// Its name in messages: `mailbox.ops`.
    pub(super) label: String,
    /// Its name in the documentation: `mailbox`.
    path: String,
    /// Line of its header, where it is there.
    pub(super) line: Option<usize>,
    table: Option<&'r DeTable<'a>>,
    defaults: Option<&'r DeTable<'static>>,
    asked: RefCell<Vec<&'static str>>,
    /// What is known of it already: what is required from here on is required in this case.
    case: Cell<Option<Case>>,
}

impl<'r, 'a> Section<'r, 'a> {
    /// The file as a whole.
    pub(super) fn root(reader: &'r Reader<'a>, table: &'r DeTable<'a>, defaults: &'r DeTable<'static>) -> Self {
        Self {
            reader,
            label: String::new(),
            path: String::new(),
            line: None,
            table: Some(table),
            defaults: Some(defaults),
            asked: RefCell::default(),
            case: Cell::default(),
        }
    }

    /// `[key]`; where it is not there, all of it is default.
    pub(super) fn table(&self, key: &'static str) -> Section<'r, 'a> {
        self.reader.note(|trace| trace.table(&self.doc_path(key), false));
        let given = self.look_up(key).and_then(|value| match value.get_ref() {
            DeValue::Table(table) => Some((table, value)),
            other => {
                let line = self.line_of(value);
                let inside = !self.path.is_empty();
                let how = if inside { format!("{key} = {{ KEY = \"VALUE\" }}") } else { format!("[{key}]") };
                self.reader.error(line, &self.key(key), format!("is {}", kind(other)), format!("write {how}"));
                None
            }
        });
        self.child(key, self.key(key), given, self.default_table(key))
    }

    /// All `[[key]]`, in order. They are called after their `name`, else by their number.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Section<'r, 'a>> {
        self.reader.note(|trace| trace.table(&self.doc_path(key), true));
        let Some(value) = self.look_up(key) else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else {
            let wrong = format!("is {}", kind(value.get_ref()));
            self.reader.error(self.line_of(value), &self.key(key), wrong, format!("write [[{}]]", self.doc_path(key)));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (n, element) in array.iter().enumerate() {
            let numbered = format!("{}[{}]", self.key(key), n + 1);
            match element.get_ref() {
                DeValue::Table(table) => {
                    let label = name_of(table).map_or(numbered, |name| format!("{}.{name}", self.key(key)));
                    sections.push(self.child(key, label, Some((table, element)), self.default_table(key)));
                }
                other => {
                    let wrong = format!("is {}", kind(other));
                    self.reader.error(
                        self.line_of(element),
                        &numbered,
                        wrong,
                        format!("write [[{}]]", self.doc_path(key)),
                    );
                }
            }
        }
        sections
    }

    fn child(
        &self,
        key: &'static str,
        label: String,
        given: Option<(&'r DeTable<'a>, &'r Spanned<DeValue<'a>>)>,
        defaults: Option<&'r DeTable<'static>>,
    ) -> Section<'r, 'a> {
        Section {
            reader: self.reader,
            label,
            path: self.doc_path(key),
            line: given.and_then(|(_, value)| self.line_of(value)),
            table: given.map(|(table, _)| table),
            defaults,
            asked: RefCell::default(),
            case: Cell::default(),
        }
    }

    /// Defaults of a table; of repeated ones, those of the first in the example file.
    fn default_table(&self, key: &str) -> Option<&'r DeTable<'static>> {
        match self.defaults?.get(key)?.get_ref() {
            DeValue::Table(table) => Some(table),
            DeValue::Array(array) => match array.first()?.get_ref() {
                DeValue::Table(table) => Some(table),
                _ => None,
            },
            _ => None,
        }
    }

    /// The key's value, if it is given.
    pub(super) fn optional(&self, key: &'static str) -> Option<Item<'r, 'a>> {
        let value = self.look_up(key)?;
        Some(self.item(key, self.line_of(value), value.get_ref()))
    }

    /// The key's value; it must be given. `example` shows how.
    pub(super) fn required(&self, key: &'static str, example: &str) -> Option<Item<'r, 'a>> {
        self.law(Law::new(What::Needs(key)));
        let item = self.optional(key);
        if item.is_none() {
            self.missing(key, example);
        }
        item
    }

    /// Says that a key must be given.
    pub(super) fn missing(&self, key: &str, example: &str) {
        let allowed = format!("write {example}");
        if self.table.is_none() {
            let name = &self.path;
            self.reader.error(None, &self.key(key), "is missing", format!("{allowed} in a table [{name}]"));
        } else {
            self.reader.error(self.line, &self.key(key), "is missing", allowed);
        }
    }

    /// The key's value, else the one in the example file.
    pub(super) fn value(&self, key: &'static str) -> Option<Item<'r, 'a>> {
        let default = self.defaults.and_then(|table| table.get(key));
        debug_assert!(default.is_some(), "config/mailbell.toml has no default of {}.{key}", self.path);
        self.reader.note(|trace| default.iter().for_each(|value| trace.default(&self.doc_path(key), value.get_ref())));
        self.optional(key).or_else(|| Some(self.item(key, self.line, default?.get_ref())))
    }

    fn item(&self, key: &str, line: Option<usize>, value: &'r DeValue<'a>) -> Item<'r, 'a> {
        Item { reader: self.reader, key: self.key(key), path: self.doc_path(key), line, value }
    }

    /// Every key of the table, whatever it is called.
    pub(super) fn any(&self) -> Vec<(String, Item<'r, 'a>)> {
        self.named("", &[])
    }

    /// The same, where a schema can tell what keys may be called: so (a regular expression), or one of the fixed names.
    pub(super) fn named(&self, form: &'static str, fixed: &[&'static str]) -> Vec<(String, Item<'r, 'a>)> {
        self.reader.note(|trace| trace.names(&self.path, form, fixed));
        let entries = self.table.into_iter().flatten();
        let read = entries.map(|(key, value)| {
            let name = key.get_ref().to_string();
            let path = if fixed.contains(&name.as_str()) { self.doc_path(&name) } else { free(&self.path) };
            let line = Some(self.reader.line(key.span().start));
            let item = Item { reader: self.reader, key: self.key(&name), path, line, value: value.get_ref() };
            (name, item)
        });
        read.collect()
    }

    /// The line of a key, where it is there.
    pub(super) fn line_of_key(&self, key: &str) -> Option<usize> {
        let (key, _) = self.table?.get_key_value(key)?;
        Some(self.reader.line(key.span().start))
    }

    /// From here on it is read as a table whose key is one of these words.
    pub(super) fn in_case(&self, key: &'static str, words: &'static [&'static str]) {
        self.case.set(Some(Case { key, words }));
    }

    /// Tells a schema how keys of this table stand or fall together; who reads them checks it.
    pub(super) fn law(&self, law: Law) {
        self.reader.note(|trace| {
            let known = self.case.get().filter(|case| law.when.iter().all(|own| own.key != case.key));
            let when = known.into_iter().chain(law.when).collect();
            trace.law(&self.path, Law { when, ..law });
        });
    }

    /// Tells a schema what the value of a key may be, where no value is at hand.
    pub(super) fn wants(&self, key: &str, wants: impl IntoIterator<Item = Want>) {
        let path = format!("{}.{key}", self.path);
        self.reader.note(|trace| wants.into_iter().for_each(|want| trace.want(&path, want)));
    }

    /// Every key that nobody asked for is unknown. Call it last.
    pub(super) fn done(self) {
        let asked = self.asked.into_inner();
        for (key, _) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if !asked.contains(&name) {
                let label = join(&self.label, name);
                let line = Some(self.reader.line(key.span().start));
                self.reader.error(line, &label, "there is no such key", suggestion(name, &asked));
            }
        }
        let mut known = self.reader.asked.borrow_mut();
        let keys = known.entry(self.path).or_default();
        keys.extend(asked.into_iter().filter(|key| !keys.contains(key)).collect::<Vec<_>>());
    }

    pub(super) fn key(&self, key: &str) -> String {
        join(&self.label, key)
    }

    /// A key inside tables of this one: `header.X-Host`.
    pub(super) fn key_path(&self, path: &str) -> String {
        path.split('.').fold(self.label.clone(), |label, key| join(&label, key))
    }

    fn doc_path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    fn look_up(&self, key: &'static str) -> Option<&'r Spanned<DeValue<'a>>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.table?.get(key)
    }

    fn line_of(&self, value: &Spanned<DeValue<'_>>) -> Option<usize> {
        Some(self.reader.line(value.span().start))
    }
}

fn join(table: &str, key: &str) -> String {
    let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let key = if plain { key.to_owned() } else { format!("\"{}\"", quote(key).trim_matches('`')) };
    if table.is_empty() { key } else { format!("{table}.{key}") }
}

fn name_of<'t>(table: &'t DeTable<'_>) -> Option<&'t str> {
    let DeValue::String(name) = table.get("name")?.get_ref() else { return None };
    let fits = !name.is_empty() && name.len() <= 64 && !name.chars().any(|c| c.is_control() || c.is_whitespace());
    fits.then_some(name.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_keys_are_quoted() {
        assert_eq!(join("route[1].match", "label.host"), "route[1].match.\"label.host\"");
        assert_eq!(join("", "a\nb"), "\"a\\nb\"");
    }
}
