//! One parsed condition report.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Key, Severity};

/// What the report says about its condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = AlertStatus)]
pub enum Status {
    /// The condition holds; CAP Alert.
    Firing,
    /// The condition holds and there is something new to say; CAP Update.
    Update,
    /// The condition is over; CAP Cancel.
    Resolved,
    /// Says nothing about a condition (CAP Ack, Error): kept, never paged.
    Recorded,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Firing, Self::Update, Self::Resolved, Self::Recorded];

    /// The name used in XML, config and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Update => "update",
            Self::Resolved => "resolved",
            Self::Recorded => "recorded",
        }
    }
}

/// CAP 1.2 §3.2.1 `status`. Everything but `Actual` is paged only where a route asks for it by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub enum Nature {
    /// The real thing; what native and plain alerts are.
    #[default]
    Actual,
    /// An exercise.
    Exercise,
    /// Network-internal.
    System,
    /// A technical test.
    Test,
    /// Not yet valid.
    Draft,
}

impl Nature {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Actual, Self::Exercise, Self::System, Self::Test, Self::Draft];

    /// The one by which fewer act: the contents of an exercise are no more real than it is.
    pub fn stricter(self, other: Self) -> Self {
        let place = |nature| Self::ALL.iter().position(|known| *known == nature);
        if place(other) > place(self) { other } else { self }
    }

    /// CAP's own word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Actual => "Actual",
            Self::Exercise => "Exercise",
            Self::System => "System",
            Self::Test => "Test",
            Self::Draft => "Draft",
        }
    }
}

/// CAP 1.2 §3.2.1 `scope`: who may be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum Audience {
    /// Anyone; what native and plain alerts are.
    #[default]
    Public,
    /// Never a group marked public.
    Restricted,
    /// Only recipients whom these addresses name.
    Private(Vec<String>),
}

/// CAP 1.2 §3.2.1 `references`: one earlier message, `sender,identifier,sent`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// Its sender.
    pub sender: String,
    /// Its identifier.
    pub id: String,
    /// When it was sent; compared as an instant, since senders write the same one in different zones.
    pub sent: Timestamp,
}

/// Title and text in one language; CAP's infos.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// RFC 5646 tag, `_` mended to `-`.
    pub lang: String,
    /// Title in that language.
    pub title: String,
    /// Text in that language.
    pub text: String,
}

/// Which vocabulary the alert was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = AlertFormat)]
pub enum Format {
    /// `urn:mailbell:alert:1`.
    Native,
    /// OASIS Common Alerting Protocol.
    Cap,
    /// A mail without XML.
    Plain,
    /// Another vocabulary, read by a mapping.
    Mapped,
}

/// Labels by name. A name may have several values (CAP repeats categories and parameters); in JSON one value is a
/// string, several are an array.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Labels(BTreeMap<String, Values>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = LabelValues)]
enum Values {
    One(String),
    Many(Vec<String>),
}

impl Labels {
    /// Adds a value; one that the name already has is not added twice.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let value = value.into();
        match self.0.entry(name.into()) {
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(Values::One(value));
            }
            std::collections::btree_map::Entry::Occupied(mut slot) => {
                let values = slot.get_mut();
                if values.all().contains(&value) {
                    return;
                }
                match values {
                    Values::Many(many) => many.push(value),
                    Values::One(first) => *values = Values::Many(vec![std::mem::take(first), value]),
                }
            }
        }
    }

    /// All values of a name; empty where there is none.
    pub fn get(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Values::all)
    }

    /// Names with their values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(name, values)| (name.as_str(), values.all()))
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Values {
    fn all(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

/// One alert, whatever it was written in. All text is data from outside: cleaned of characters that XML forbids when a
/// stanza is built, escaped in logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Vocabulary.
    pub format: Format,
    /// The sender's identifier of this report; by default the Message-ID (`#n` for the nth alert of a mail).
    pub id: String,
    /// Names the condition; by default the id.
    pub key: Key,
    /// CAP's `sender`, else the From address, lower case.
    pub sender: String,
    /// The From address of its mail, lower case, where `sender` is another: what an alert says of itself, anybody can write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Firing, update or resolved.
    pub status: Status,
    /// How bad.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// The rest; may be empty.
    pub text: String,
    /// When the sender says it sent this; by default the mail's Date. `None`: neither says.
    pub sent: Option<Timestamp>,
    /// When the condition starts, if not now.
    pub effective: Option<Timestamp>,
    /// After this it is of no use any more.
    pub expires: Option<Timestamp>,
    /// Groups that the sender asks for, as written; what exists is decided by routing.
    pub groups: Vec<String>,
    /// Everything else that can be matched on.
    pub labels: Labels,
    /// http, https and xmpp links.
    pub links: Vec<String>,
    /// Earlier messages that this one updates or cancels (CAP); resolved at D2.
    pub references: Vec<Reference>,
    /// Real, exercise, test …
    pub nature: Nature,
    /// Who may be told.
    pub audience: Audience,
    /// Title and text by language, where there are several; the first is also in `title` and `text`.
    pub variants: Vec<Variant>,
    /// Should the operators hear of it although nobody is paged (CAP Error)?
    pub tell_operators: bool,
    /// What was bent to read it: unknown elements, skewed clocks, values guessed.
    pub warnings: Vec<String>,
}

impl Alert {
    /// An alert that says nothing yet: what is true of each that does not say otherwise.
    pub fn empty(format: Format) -> Self {
        Self {
            format,
            id: String::new(),
            key: Key(String::new()),
            sender: String::new(),
            from: None,
            status: Status::Firing,
            severity: Severity::Warning,
            title: String::new(),
            text: String::new(),
            sent: None,
            effective: None,
            expires: None,
            groups: Vec::new(),
            labels: Labels::default(),
            links: Vec::new(),
            references: Vec::new(),
            nature: Nature::Actual,
            audience: Audience::Public,
            variants: Vec::new(),
            tell_operators: false,
            warnings: Vec::new(),
        }
    }

    /// Whose alert it is, whatever it says of itself: the From address of its mail; of one that came without a mail the sender.
    pub fn mailed_by(&self) -> &str {
        self.from.as_deref().unwrap_or(&self.sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_every_value_once() {
        let mut labels = Labels::default();
        labels.add("host", "a");
        labels.add("host", "a");
        labels.add("cap.category", "Met");
        labels.add("cap.category", "Safety");
        assert_eq!(labels.get("host"), ["a"]);
        assert_eq!(labels.get("none"), [""; 0]);
        let json = serde_json::to_string(&labels).unwrap();
        assert_eq!(json, r#"{"cap.category":["Met","Safety"],"host":"a"}"#);
        assert_eq!(serde_json::from_str::<Labels>(&json).unwrap(), labels);
    }
}
