//! One value of a config: what it must be, and what is said where it is not.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::reader::Reader;
use super::report::quote;
use super::schema::{Want, element};
use super::source::kind;
use super::suggest::suggestion;
use crate::model::{Size, Span};

/// A value with its place. A getter that gives `None` has said why; one error is enough for no config at all, so what is
/// optional may become `None` by an error, too.
#[derive(Clone)]
pub(super) struct Item<'r, 'a> {
    pub(super) reader: &'r Reader<'a>,
    pub(super) key: String,
    /// Its name in the documentation: `mailbox.senders[]`.
    pub(super) path: String,
    pub(super) line: Option<usize>,
    pub(super) value: &'r DeValue<'a>,
}

/// What is parsed from text.
pub(super) trait Formed: std::str::FromStr<Err: std::fmt::Display> {
    /// A regular expression that matches in what can be parsed, for a schema; `None`: any text.
    const FORM: Option<&'static str>;
}

/// The longest duration that makes sense anywhere: ten years.
pub(super) const LONG: Duration = Duration::from_secs(3650 * 86_400);
/// The shortest wait that is no busy loop.
pub(super) const SHORT: Duration = Duration::from_millis(50);

impl<'r, 'a> Item<'r, 'a> {
    pub(super) fn fail<T>(&self, wrong: impl Into<String>, allowed: impl Into<String>) -> Option<T> {
        self.reader.error(self.line, &self.key, wrong, allowed);
        None
    }

    /// Tells a schema what this value may be. Getters do so themselves; what has a form that only its own reader knows
    /// needs a word more.
    pub(super) fn wants(&self, want: Want) {
        self.reader.note(|trace| trace.want(&self.path, want));
    }

    fn wrong_kind<T>(&self, wanted: &str) -> Option<T> {
        self.fail(format!("is {}", kind(self.value)), format!("write {wanted}"))
    }

    /// Text without control characters: everything here ends up in a protocol line, a path or a log.
    pub(super) fn text(&self) -> Option<&'r str> {
        self.wants(Want::Text);
        let DeValue::String(text) = self.value else { return self.wrong_kind("a text in quotes") };
        if text.chars().any(char::is_control) {
            return self.fail("holds a control character", "write one line of plain text");
        }
        Some(text.as_ref())
    }

    /// Text that may hold control characters, and is not empty: for the wire as it is, or for an expression.
    pub(super) fn some_raw_text(&self) -> Option<&'r str> {
        self.wants(Want::Raw);
        match self.value {
            DeValue::String(text) if text.is_empty() => self.fail("is empty", "write a text"),
            DeValue::String(text) => Some(text.as_ref()),
            _ => self.wrong_kind("a text in quotes"),
        }
    }

    /// The text, whatever is in it; says nothing where it is none.
    pub(super) fn raw_text(&self) -> Option<&'r str> {
        match self.value {
            DeValue::String(text) => Some(text.as_ref()),
            _ => None,
        }
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    /// Is it this text?
    pub(super) fn is(&self, text: &str) -> bool {
        self.raw_text() == Some(text)
    }

    /// What the word means, if it is one of these, which are allowed beside what is asked for next; says nothing otherwise.
    pub(super) fn word<T: Clone>(&self, words: &[(&'static str, T)]) -> Option<T> {
        self.wants(Want::Words(words.iter().map(|(word, _)| *word).collect()));
        words.iter().find(|(word, _)| self.is(word)).map(|(_, meant)| meant.clone())
    }

    /// Text that says something.
    pub(super) fn some_text(&self) -> Option<&'r str> {
        self.wants(Want::SomeText);
        let text = self.text()?;
        if text.trim().is_empty() { self.fail("is empty", "write a text") } else { Some(text) }
    }

    pub(super) fn yes(&self) -> Option<bool> {
        self.wants(Want::Yes);
        match self.value {
            DeValue::Boolean(yes) => Some(*yes),
            _ => self.wrong_kind("true or false, without quotes"),
        }
    }

    pub(super) fn number(&self, allowed: RangeInclusive<usize>) -> Option<usize> {
        self.wants(Want::Number(allowed.clone()));
        let range = format!("a whole number from {} to {}", allowed.start(), allowed.end());
        let DeValue::Integer(number) = self.value else {
            return self.wrong_kind(&format!("{range}, without quotes"));
        };
        match usize::from_str_radix(number.as_str(), number.radix()) {
            Ok(n) if allowed.contains(&n) => Some(n),
            _ => self.fail(format!("{} is out of range", quote(&number.to_string())), format!("write {range}")),
        }
    }

    pub(super) fn span(&self, allowed: RangeInclusive<Duration>) -> Option<Duration> {
        self.wants(Want::Span(allowed.clone()));
        let text = self.quantity("a duration in quotes, such as \"30s\" or \"8h\"")?;
        match text.parse() {
            Ok(Span(span)) if allowed.contains(&span) => Some(span),
            Ok(_) => self.fail(
                format!("{} is out of range", quote(text)),
                format!("write a duration from {} to {}", Span(*allowed.start()), Span(*allowed.end())),
            ),
            Err(_) => self.fail(
                format!("{} is no duration", quote(text)),
                "write a whole number and a unit: ms, s, m, h, d (\"30s\", \"8h\")",
            ),
        }
    }

    pub(super) fn size(&self, allowed: RangeInclusive<u64>) -> Option<u64> {
        self.wants(Want::Size(allowed.clone()));
        let text = self.quantity("a size in quotes, such as \"2MiB\"")?;
        match text.parse() {
            Ok(Size(size)) if allowed.contains(&size) => Some(size),
            Ok(_) => self.fail(
                format!("{} is out of range", quote(text)),
                format!("write a size from {} to {}", Size(*allowed.start()), Size(*allowed.end())),
            ),
            Err(_) => self.fail(
                format!("{} is no size", quote(text)),
                "write a whole number and a unit: B, KiB, MiB, GiB, KB, MB, GB (\"2MiB\")",
            ),
        }
    }

    fn quantity(&self, wanted: &str) -> Option<&'r str> {
        match self.value {
            DeValue::String(text) => Some(text.as_ref()),
            _ => self.wrong_kind(wanted),
        }
    }

    /// One of these words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let words: Vec<&'static str> = choices.iter().map(|(word, _)| *word).collect();
        self.wants(Want::Words(words.clone()));
        let allowed = format!("allowed: {}", words.join(", "));
        let DeValue::String(text) = self.value else {
            return self.fail(format!("is {}", kind(self.value)), allowed);
        };
        let found = choices.iter().find(|(word, _)| word == text).map(|(_, value)| *value);
        if found.is_none() {
            // With few words all of them are listed anyway.
            let near = suggestion(text, &words);
            let hint = if near.ends_with('?') { format!("{near} {allowed}") } else { allowed };
            return self.fail(format!("{} is not allowed here", quote(text)), hint);
        }
        found
    }

    /// Something with a parser of its own, whose error says what is wrong and what is allowed.
    pub(super) fn parse<T: Formed>(&self) -> Option<T> {
        T::FORM.iter().for_each(|form| self.wants(Want::like(form)));
        let text = self.text()?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(err) => self.fail(err.to_string(), ""),
        }
    }

    /// The elements of a list.
    pub(super) fn list(&self) -> Option<Vec<Item<'r, 'a>>> {
        self.wants(Want::List);
        self.elements()
    }

    fn elements(&self) -> Option<Vec<Item<'r, 'a>>> {
        let DeValue::Array(array) = self.value else { return self.wrong_kind("a list: [\"…\", \"…\"]") };
        Some(
            array
                .iter()
                .map(|value| Item {
                    reader: self.reader,
                    key: self.key.clone(),
                    path: element(&self.path),
                    line: Some(self.reader.line(value.span().start)).filter(|_| self.line.is_some()),
                    value: value.get_ref(),
                })
                .collect(),
        )
    }

    /// A list, or one value that stands for a list of one.
    pub(super) fn one_or_more(&self) -> Option<Vec<Item<'r, 'a>>> {
        self.wants(Want::OneOrMore);
        match self.value {
            DeValue::Array(_) => self.elements(),
            _ => Some(vec![Item { path: element(&self.path), ..self.clone() }]),
        }
    }

    /// The list, which must not be empty.
    pub(super) fn filled<T>(&self, list: Vec<T>, wrong: &str, allowed: &str) -> Option<Vec<T>> {
        self.wants(Want::Filled);
        if list.is_empty() { self.fail(wrong, allowed) } else { Some(list) }
    }

    /// What `read` makes of every element; all elements are read, so that all errors are told.
    pub(super) fn each<T>(&self, read: impl Fn(&Item<'r, 'a>) -> Option<T>) -> Option<Vec<T>> {
        let items = self.list()?;
        let read: Vec<Option<T>> = items.iter().map(read).collect();
        read.into_iter().collect()
    }
}
