//! The part of XPath that mappings are written in, on the flat [`Doc`](super::tree::Doc). `read` turns text into an [`Expr`],
//! `eval` finds what it names.
//!
//! | written | means |
//! | --- | --- |
//! | `host`, `p:host`, `*:host`, `p:*`, `*` | child elements: in the mapping's namespace, in that of a prefix, in any |
//! | `a/b`, `a//b` | children, descendants |
//! | `/events/source`, `//source` | from the root of the document |
//! | `.`, `..` | the element itself, the one around it |
//! | `@id`, `@*:id`, `@*` | attributes, without or with any prefix |
//! | `text()` | text right inside an element |
//! | `[2]`, `[last()]` | the second, the last of those that a step found in one place |
//! | `[@a]`, `[b]` | with such an attribute or child |
//! | `[@a = 'v']`, `[b != "v"]` | compared as text; true if one of several fits |
//! | `and`, `or`, `not(…)`, `contains(a, b)`, `starts-with(a, b)` | in predicates |
//! | `'text'`, `"text"` | text |
//! | `concat(…)`, `substring-before(a, b)`, `substring-after(a, b)`, `substring(a, from[, length])`, `normalize-space(a)`, `lower-case(a)`, `upper-case(a)`, `translate(a, from, to)`, `string-join(a[, between])` | functions |
//! | `a/concat(b, c)` | a function as the last step: once for each `a` |
//!
//! As in XPath 1.0, an expression that finds several things means the first of them where one text is wanted. Unlike there,
//! a name without prefix is of the mapping's own namespace, and white space around a text never counts.

mod eval;
mod read;

use std::collections::BTreeMap;

pub(crate) use eval::{Spent, Work, elements, first, values};
pub(crate) use read::read_some;

/// Longest expression, in characters.
pub(crate) const MAX_LENGTH: usize = 1000;

/// What prefixes mean.
#[derive(Debug, Clone, Copy)]
pub struct Spaces<'a> {
    /// The namespace of names without prefix; empty: none.
    pub own: &'a str,
    /// Namespaces by prefix.
    pub prefixes: &'a BTreeMap<String, String>,
}

/// Why a text is no expression, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadExpr {
    /// Characters before the place.
    pub at: usize,
    /// What is wrong there.
    pub what: String,
}

/// An expression whose value is text, or texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expr {
    Text(String),
    Path(Path),
    Call(Function, Vec<Expr>),
}

/// Steps from a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    /// From the document, not from the element in hand.
    pub(crate) absolute: bool,
    pub(crate) steps: Vec<Step>,
    /// What is made of each thing found.
    pub(crate) then: Option<Box<Expr>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) axis: Axis,
    pub(crate) test: Test,
    pub(crate) predicates: Vec<Predicate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    Child,
    /// The `//` between two steps: the element and all in it.
    Descendants,
    Attribute,
    Itself,
    Parent,
    Text,
}

/// What a name has to be; `None`: anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Test {
    /// Namespace of an element; of an attribute, `Some("")`: without prefix.
    pub(crate) space: Option<String>,
    pub(crate) name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Predicate {
    /// The nth, from 1.
    Nth(usize),
    Last,
    Is(Condition),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    Any(Vec<Condition>),
    All(Vec<Condition>),
    Not(Box<Condition>),
    Exists(Expr),
    Compare(Comparison, Expr, Expr),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Differs,
    Contains,
    StartsWith,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Concat,
    SubstringBefore,
    SubstringAfter,
    Substring,
    NormalizeSpace,
    LowerCase,
    UpperCase,
    Translate,
    StringJoin,
}

impl Function {
    /// Names, with the fewest and the most arguments.
    pub(crate) const ALL: [(&'static str, Self, usize, usize); 9] = [
        ("concat", Self::Concat, 2, 100),
        ("substring-before", Self::SubstringBefore, 2, 2),
        ("substring-after", Self::SubstringAfter, 2, 2),
        ("substring", Self::Substring, 2, 3),
        ("normalize-space", Self::NormalizeSpace, 0, 1),
        ("lower-case", Self::LowerCase, 1, 1),
        ("upper-case", Self::UpperCase, 1, 1),
        ("translate", Self::Translate, 3, 3),
        ("string-join", Self::StringJoin, 1, 2),
    ];
}

#[cfg(test)]
mod tests;
