//! The config as a JSON Schema, for editors: completion, explanations, and marks on what is wrong.
//!
//! Nothing is listed here. The reader itself reads an example of every key and writes down what it asks of it ([`Trace`]);
//! defaults, comments and examples are those of `config/mailbell.toml`. What a schema says must never be stricter than the
//! reader, and cannot be as strict: it knows no other files, and no names that are defined elsewhere in the config.

mod docs;
mod json;
mod laws;
mod trace;

pub(super) use trace::{Case, Law, Trace, Want, What, element, free};

use std::ffi::OsString;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::reader::{Reader, Section};
use super::source::{self, EXAMPLE, Lines};
use crate::model::{Size, Span};
use docs::Docs;
use json::{Named, Node, Schema};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Text without control characters, such with any that is not empty, and such without that is not blank.
const TEXT: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";
const RAW: &str = r"^[\s\S]";
const SOME_TEXT: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x20\x7f-\xa0][^\x00-\x1f\x7f-\x9f]*$";

/// The schema of the config file, as JSON that ends with a line end.
pub fn schema() -> String {
    let docs = Docs::of(EXAMPLE);
    let (trace, keys) = trace(&docs.specimen);
    let specimen = DeTable::parse_recoverable(&docs.specimen).0.into_inner();
    let writer = Writer { docs: &docs, trace: &trace, keys: &keys };
    let root = Node {
        dialect: Some(DIALECT),
        title: Some("mailbell.toml"),
        description: Some("Configuration of mailbell, the email-to-IM alert gateway".into()),
        ..writer.table("", &[&specimen])
    };
    // It has text keys only, and cannot fail.
    serde_json::to_string_pretty(&root).unwrap_or_default() + "\n"
}

/// Reads a config and tells what was asked of each key, and which keys there are. That keys exclude each other is no matter.
fn trace(text: &str) -> (Trace, super::Keys) {
    let unset = |_: &str| -> Option<OsString> { None };
    let reader = Reader::new(Path::new("mailbell.toml"), None, Lines::of(text), &unset).tracing();
    let table = DeTable::parse_recoverable(text).0.into_inner();
    let root = Section::root(&reader, &table, source::example());
    super::compose(&root);
    root.done();
    reader.traced()
}

struct Writer<'w> {
    docs: &'w Docs,
    trace: &'w Trace,
    keys: &'w super::Keys,
}

/// Tables with examples: the first that has a key counts.
type Examples<'e> = [&'e DeTable<'e>];

impl Writer<'_> {
    /// A table; the path of the file as a whole is empty.
    fn table(&self, path: &str, examples: &Examples<'_>) -> Node {
        let inside = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let mut node = Node { additional_properties: Some(Schema::NOTHING), ..Node::of("object") };
        let mut keys: Vec<&str> = self.keys.get(path).into_iter().flatten().copied().collect();
        keys.sort_by_key(|key| self.docs.place(&inside(key)));
        let table = self.trace.tables.get(path);
        let fixed = table.into_iter().flat_map(|table| &table.fixed);
        let named = keys.into_iter().chain(fixed.copied());
        node.properties =
            Named(named.map(|key| (key.to_owned(), self.key(&inside(key), key, examples).into())).collect());
        if let Some(form) = table.and_then(|table| table.free) {
            let entry = Schema::from(self.value(&free(path), &[]));
            match form {
                "" => node.additional_properties = Some(entry),
                form => node.pattern_properties = Named(vec![(form.to_owned(), entry)]),
            }
        }
        if self.wants(path).any(|want| *want == Want::Filled) {
            node.min_properties = Some(1);
        }
        if path.is_empty() {
            let tables = self.trace.tables.keys().filter(|path| !path.contains('.'));
            node.required = tables.filter(|path| laws::needed(self.trace, path)).cloned().collect();
        }
        laws::write(&mut node, self.trace, path);
        node
    }

    /// A key with its explanation, default and example.
    fn key(&self, path: &str, key: &str, examples: &Examples<'_>) -> Node {
        let examples: Vec<_> =
            examples.iter().filter_map(|table| table.get(key)).map(|value| value.get_ref()).collect();
        let mut node = self.value(path, &examples);
        // What has a comment of its own, or stands in a table that is explained as a whole.
        let about = self.docs.about(path).or_else(|| self.docs.about(path.rsplit_once('.')?.0));
        let about = about.map(|about| about.trim_end().to_owned());
        let lines: Vec<String> = about.into_iter().chain(self.wants(path).filter_map(range)).collect();
        node.description = Some(lines.join("\n")).filter(|text| !text.is_empty());
        node.default = self.trace.defaults.get(path).cloned();
        let example =
            examples.first().filter(|_| !self.trace.tables.contains_key(path)).map(|value| trace::json(value));
        node.examples = example.into_iter().filter(|example| node.default.as_ref() != Some(example)).collect();
        node
    }

    /// What a value may be.
    fn value(&self, path: &str, examples: &[&DeValue<'_>]) -> Node {
        let mut nodes = self.texts(path);
        let items = || self.value(&element(path), &[]);
        let filled = self.wants(path).any(|want| *want == Want::Filled).then_some(1);
        let first = self.wants(path).find_map(|want| match want {
            Want::First(form) => Some(Node::like(*form)),
            _ => None,
        });
        for want in self.wants(path) {
            match want {
                Want::Yes => nodes.push(Node::of("boolean")),
                Want::Number(range) => {
                    let (minimum, maximum) = (Some(*range.start()), Some(*range.end()));
                    nodes.push(Node { minimum, maximum, not: self.not_number(path), ..Node::of("integer") });
                }
                Want::List => {
                    let prefix_items = first.clone().into_iter().collect();
                    nodes.push(Node { min_items: filled, prefix_items, ..Node::list(items()) });
                }
                Want::OneOrMore => nodes.extend([items(), Node { min_items: Some(1), ..Node::list(items()) }]),
                _ => {}
            }
        }
        if let Some(table) = self.trace.tables.get(path) {
            let inside: Vec<_> = examples.iter().flat_map(|value| tables_in(value)).collect();
            let node = self.table(path, &inside);
            nodes.push(if table.repeated { Node::list(node) } else { node });
        }
        Node::any(nodes)
    }

    /// The texts that a value may be. What has a form of its own is no longer just any text.
    fn texts(&self, path: &str) -> Vec<Node> {
        let mut words: Vec<&'static str> = Vec::new();
        let mut forms = Vec::new();
        let mut any = None;
        for want in self.wants(path) {
            match want {
                Want::Words(all) => words.extend(all.iter().filter(|word| !words.contains(word)).collect::<Vec<_>>()),
                Want::Like(form) => forms.push(Node::like(form.as_ref())),
                Want::Span(range) => {
                    forms.push(Node::like(format!("^{}$", Span::form(range.start().is_zero()))));
                }
                Want::Size(range) => forms.push(Node::like(format!("^{}$", Size::form(*range.start() == 0)))),
                Want::SomeText => any = Some(Node::like(SOME_TEXT)),
                Want::Raw => any = Some(Node::like(RAW)),
                Want::Text => any = any.or_else(|| Some(Node::like(TEXT))),
                _ => {}
            }
        }
        let words = (!words.is_empty()).then(|| Node::one_of_words(words));
        let nodes: Vec<Node> = words.into_iter().chain(forms).collect();
        if nodes.is_empty() { any.into_iter().collect() } else { nodes }
    }

    fn not_number(&self, path: &str) -> Option<Box<Node>> {
        self.wants(path).find_map(|want| match want {
            Want::NotNumber(range) => {
                let (minimum, maximum) = (Some(*range.start()), Some(*range.end()));
                Some(Box::new(Node { minimum, maximum, ..Node::default() }))
            }
            _ => None,
        })
    }

    fn wants(&self, path: &str) -> impl Iterator<Item = &Want> {
        self.trace.wants.get(path).into_iter().flatten()
    }
}

/// A table, or those of a list.
fn tables_in<'e>(value: &'e DeValue<'e>) -> Vec<&'e DeTable<'e>> {
    match value {
        DeValue::Table(table) => vec![table],
        DeValue::Array(array) => array.iter().flat_map(|element| tables_in(element.get_ref())).collect(),
        _ => Vec::new(),
    }
}

/// What no pattern can say.
fn range(want: &Want) -> Option<String> {
    match want {
        Want::Span(range) => Some(format!("From {} to {}.", Span(*range.start()), Span(*range.end()))),
        Want::Size(range) => Some(format!("From {} to {}.", Size(*range.start()), Size(*range.end()))),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
