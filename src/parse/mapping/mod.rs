//! XML of vocabularies that mailbell does not know by itself, read as `[[mapping]]` says: which root element, which elements
//! inside it are an alert each, and what of them is key, title, severity and so on. A mapping is plain data; `template` holds
//! its expressions (the language is that of [`xpath`](super::xpath)), `apply` makes an alert by it, `when` reads its times.

mod apply;
mod template;
mod when;

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::tree::El;
use super::{cap, envelope, native};
use crate::model::{Nature, Severity, Status};

pub(super) use apply::{each, read};
pub use template::{PathText, Template};
pub use when::{BadTimeFormat, TimeFormat};

/// How one vocabulary is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    /// Its name: in errors, and as the label `mapping` of its alerts.
    pub name: String,
    /// Local name of the root element.
    pub root: String,
    /// Namespace of the root element, and of names without prefix in expressions; empty: none.
    pub namespace: String,
    /// Namespaces by prefix.
    pub prefixes: BTreeMap<String, String>,
    /// Elements that are an alert each; `None`: the root is one.
    pub each: Option<PathText>,
    /// What an alert must have.
    pub required: Vec<Template>,
    /// Of the next fields the first that has all its values counts.
    pub id: Vec<Template>,
    /// Names the condition.
    pub key: Vec<Template>,
    /// One line.
    pub title: Vec<Template>,
    /// The rest.
    pub text: Vec<Template>,
    /// When it was sent.
    pub sent: Vec<Template>,
    /// When the condition starts.
    pub effective: Vec<Template>,
    /// When it is of no use any more.
    pub expires: Vec<Template>,
    /// Of these all count.
    pub links: Vec<Template>,
    /// Groups that it asks for.
    pub groups: Vec<Template>,
    /// Labels by name, each with its alternatives.
    pub labels: BTreeMap<String, Vec<Template>>,
    /// How bad.
    pub severity: Choice<Severity>,
    /// What it says about its condition.
    pub status: Choice<State>,
    /// How its times are written, tried in turn.
    pub times: Vec<TimeFormat>,
    /// Zone of times that name none, with its name as configured.
    pub zone: (String, TimeZone),
}

/// A value looked up in a table. Case does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<T> {
    /// What is looked up: the first that has all its values.
    pub value: Vec<Template>,
    /// What the values mean, by value as written.
    pub table: BTreeMap<String, T>,
    /// What any other value means, and none; `None`: an error.
    pub default: Option<T>,
}

impl<T: Copy> Choice<T> {
    fn look_up(&self, value: &str) -> Option<T> {
        let caseless = |key: &str| key.trim().to_lowercase() == value.to_lowercase();
        self.table.get(value).or_else(|| self.table.iter().find(|(k, _)| caseless(k)).map(|(_, v)| v)).copied()
    }
}

/// What a status table can say: a status, or a nature other than the real thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Of a real alert.
    Real(Status),
    /// An exercise, a test …: sent only where a route names it.
    Other(Nature),
}

impl State {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Real(Status::Firing),
        Self::Real(Status::Update),
        Self::Real(Status::Resolved),
        Self::Real(Status::Recorded),
        Self::Other(Nature::Exercise),
        Self::Other(Nature::System),
        Self::Other(Nature::Test),
        Self::Other(Nature::Draft),
    ];

    /// As routes call it in `status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Real(status) => status.as_str(),
            Self::Other(nature) => nature.as_str(),
        }
    }
}

/// All mappings, by the root element that they read; each root once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mappings {
    /// Those that are built in.
    pub built_in: Vec<Mapping>,
    /// Those of the config.
    pub own: Vec<Mapping>,
}

impl Mappings {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Mapping> {
        self.own.iter().chain(&self.built_in)
    }

    /// The one for a root element.
    pub(super) fn of(&self, root: &El<'_>) -> Option<&Mapping> {
        self.all().find(|mapping| mapping.root == root.name() && mapping.namespace == root.space())
    }
}

/// What reads this root element without any mapping, in words. An `<alert>` without namespace may be mapped: what mailbell
/// makes of it is a guess, and the mapping is none.
pub fn known_root(name: &str, namespace: &str) -> Option<&'static str> {
    let alert = matches!(name, "alert" | "alerts");
    if alert && namespace == native::SPACE {
        Some("mailbell's own vocabulary")
    } else if alert && cap::version(namespace).is_some() {
        Some("CAP")
    } else {
        envelope::kind(name, namespace).map(envelope::Kind::as_str)
    }
}

#[cfg(test)]
mod tests;
