//! The words of JSON Schema that are used here, written in one order. All of them mean the same in draft 7, which is what some
//! editors know, but for `prefixItems`, which these leave out.

use serde::{Serialize, Serializer};
use serde_json::Value;

/// A schema.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    #[serde(rename = "$schema", skip_serializing_if = "Option::is_none")]
    pub(super) dialect: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) title: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    #[serde(rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub(super) words: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pattern: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) minimum: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) maximum: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) min_items: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) prefix_items: Vec<Node>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) items: Option<Box<Node>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) default: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) examples: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) required: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) min_properties: Option<usize>,
    #[serde(skip_serializing_if = "Named::is_empty")]
    pub(super) properties: Named,
    #[serde(skip_serializing_if = "Named::is_empty")]
    pub(super) pattern_properties: Named,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) additional_properties: Option<Schema>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not: Option<Box<Node>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) any_of: Vec<Node>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) one_of: Vec<Node>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) all_of: Vec<Node>,
    #[serde(rename = "if", skip_serializing_if = "Option::is_none")]
    pub(super) case: Option<Schema>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) then: Option<Box<Node>>,
}

/// A schema; `false`: nothing fulfils it; `true`: everything does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Schema {
    Node(Box<Node>),
    Bool(bool),
}

impl Schema {
    pub(super) const NOTHING: Self = Self::Bool(false);
    pub(super) const ANYTHING: Self = Self::Bool(true);
}

impl From<Node> for Schema {
    fn from(node: Node) -> Self {
        Self::Node(Box::new(node))
    }
}

/// Schemas by the key that they are for, in their own order.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Named(pub(super) Vec<(String, Schema)>);

impl Named {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Named {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, schema)| (key, schema)))
    }
}

impl Node {
    /// Of one type: `string`.
    pub(super) fn of(kind: &'static str) -> Self {
        Self { kind: Some(kind), ..Self::default() }
    }

    /// Text in which the expression matches.
    pub(super) fn like(pattern: impl Into<String>) -> Self {
        Self { pattern: Some(pattern.into()), ..Self::of("string") }
    }

    /// One of these words.
    pub(super) fn one_of_words(words: Vec<&'static str>) -> Self {
        Self { words, ..Self::of("string") }
    }

    /// A list.
    pub(super) fn list(items: Node) -> Self {
        Self { items: Some(Box::new(items)), ..Self::of("array") }
    }

    /// A table in which these keys are given.
    pub(super) fn with(required: Vec<String>) -> Self {
        Self { required, ..Self::default() }
    }

    /// What any of these fulfils.
    pub(super) fn any(nodes: Vec<Node>) -> Self {
        // Such a node says nothing else.
        let flat = |node: Node| if node.any_of.is_empty() { vec![node] } else { node.any_of };
        let mut any_of: Vec<Node> = nodes.into_iter().flat_map(flat).collect();
        match any_of.pop() {
            Some(only) if any_of.is_empty() => only,
            last => Self { any_of: any_of.into_iter().chain(last).collect(), ..Self::default() },
        }
    }

    /// What does not fulfil this one.
    pub(super) fn none(node: Node) -> Self {
        Self { not: Some(Box::new(node)), ..Self::default() }
    }
}
