//! What the config's reader asks of each key, written down while it reads. The schema is made of this: there is no second list
//! of keys, words and ranges that could fall behind.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

/// What a getter takes. Where several were used on one value, what any of them takes will do.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) enum Want {
    /// Text on one line.
    Text,
    /// The same, and not blank.
    SomeText,
    /// Text that is not empty, with any characters.
    Raw,
    /// Text in which this regular expression matches. No stricter than the reader: what it takes must not be marked as wrong.
    Like(Cow<'static, str>),
    /// One of these words.
    Words(Vec<&'static str>),
    /// `true` or `false`.
    Yes,
    /// A whole number.
    Number(RangeInclusive<usize>),
    /// But none of these numbers.
    NotNumber(RangeInclusive<usize>),
    /// A duration.
    Span(RangeInclusive<Duration>),
    /// A size.
    Size(RangeInclusive<u64>),
    /// A list; what its elements may be stands at [`element`].
    List,
    /// One element, or a list of some.
    OneOrMore,
    /// The list or table is not empty.
    Filled,
    /// The first element of the list is like this.
    First(&'static str),
}

impl Want {
    /// Text in which this expression matches.
    pub(in crate::config) const fn like(expression: &'static str) -> Self {
        Self::Like(Cow::Borrowed(expression))
    }
}

/// A condition on keys of one table that stand or fall together.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) struct Law {
    /// Where it counts; empty: always.
    pub(in crate::config) when: Vec<Case>,
    pub(in crate::config) what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) enum What {
    /// This one must be given.
    Needs(&'static str),
    /// Exactly one of them.
    One(Vec<&'static str>),
    /// One of them or none.
    AtMostOne(Vec<&'static str>),
    /// One of them or more.
    Some(Vec<&'static str>),
    /// None of them.
    None(Vec<&'static str>),
    /// The key is, if it is given, one of these words.
    Only(&'static str, Vec<&'static str>),
}

/// A key is one of these words; without words: it is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::config) struct Case {
    pub(in crate::config) key: &'static str,
    pub(in crate::config) words: &'static [&'static str],
}

impl Law {
    /// Counts always.
    pub(in crate::config) fn new(what: What) -> Self {
        Self { when: Vec::new(), what }
    }

    /// Counts where the key is one of these words.
    pub(in crate::config) fn when(key: &'static str, words: &'static [&'static str], what: What) -> Self {
        Self { when: vec![Case { key, words }], what }
    }

    /// Counts where the key is given.
    pub(in crate::config) fn with(key: &'static str, what: What) -> Self {
        Self::when(key, &[], what)
    }
}

/// What was asked of one table.
#[derive(Debug, Default)]
pub(in crate::config) struct Table {
    /// `[[table]]`.
    pub(super) repeated: bool,
    /// What keys may be called that are not known by name.
    pub(super) free: Option<&'static str>,
    /// Keys that are known by name where others are free.
    pub(super) fixed: Vec<&'static str>,
    pub(super) laws: Vec<Law>,
}

/// Everything that was asked, by path: `mailbox.rule.header`.
#[derive(Debug, Default)]
pub(in crate::config) struct Trace {
    pub(super) wants: BTreeMap<String, Vec<Want>>,
    pub(super) defaults: BTreeMap<String, Value>,
    pub(super) tables: BTreeMap<String, Table>,
}

/// The path of the elements of a list.
pub(in crate::config) fn element(path: &str) -> String {
    format!("{path}[]")
}

/// The path of the keys of a table that are not known by name.
pub(in crate::config) fn free(path: &str) -> String {
    format!("{path}.*")
}

impl Trace {
    /// A value was asked for in this way.
    pub(in crate::config) fn want(&mut self, path: &str, want: Want) {
        add(self.wants.entry(path.to_owned()).or_default(), want);
    }

    /// A key has this value where it is left out.
    pub(in crate::config) fn default(&mut self, path: &str, value: &toml::de::DeValue<'_>) {
        self.defaults.entry(path.to_owned()).or_insert_with(|| json(value));
    }

    /// A table was asked for.
    pub(in crate::config) fn table(&mut self, path: &str, repeated: bool) {
        self.tables.entry(path.to_owned()).or_default().repeated |= repeated;
    }

    /// The keys of a table may be called so, or have one of the fixed names.
    pub(in crate::config) fn names(&mut self, path: &str, free: &'static str, fixed: &[&'static str]) {
        let table = self.tables.entry(path.to_owned()).or_default();
        (table.free, table.fixed) = (Some(free), fixed.to_vec());
    }

    /// A law of a table.
    pub(in crate::config) fn law(&mut self, path: &str, law: Law) {
        add(&mut self.tables.entry(path.to_owned()).or_default().laws, law);
    }
}

fn add<T: PartialEq>(all: &mut Vec<T>, one: T) {
    if !all.contains(&one) {
        all.push(one);
    }
}

/// A TOML value as JSON.
pub(super) fn json(value: &toml::de::DeValue<'_>) -> Value {
    use toml::de::DeValue;
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, Value::from)
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(yes) => Value::from(*yes),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(array) => array.iter().map(|element| json(element.get_ref())).collect(),
        DeValue::Table(table) => {
            // In one order, however the maps of either crate are built.
            let sorted: BTreeMap<_, _> = table.iter().map(|(key, value)| (key.get_ref().as_ref(), value)).collect();
            sorted.into_iter().map(|(key, value)| (key.to_owned(), json(value.get_ref()))).collect()
        }
    }
}
