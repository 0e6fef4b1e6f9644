//! Keys that stand or fall together, in the words of JSON Schema.

use super::json::{Named, Node, Schema};
use super::trace::{Case, Law, Trace, What};

/// Writes the laws of a table into its schema. What takes several schemas stands in a `then` that always counts: where a table
/// itself has `allOf`, Taplo no longer sees the keys beside it.
pub(super) fn write(node: &mut Node, trace: &Trace, path: &str) {
    let laws = trace.tables.get(path).map_or(&[][..], |table| &table.laws);
    let mut cases: Vec<&[Case]> = Vec::new();
    for law in laws {
        if !cases.contains(&&law.when[..]) {
            cases.push(&law.when);
        }
    }
    for case in cases {
        let whats = laws.iter().filter(|law| law.when == case).map(|law| &law.what);
        if case.is_empty() {
            whats.for_each(|what| obey(node, what));
            continue;
        }
        let mut then = Node::default();
        whats.for_each(|what| obey(&mut then, what));
        node.all_of.push(Node {
            case: Some(when(trace, path, case).into()),
            then: Some(Box::new(then)),
            ..Node::default()
        });
    }
    if !node.all_of.is_empty() {
        let then = Node { all_of: std::mem::take(&mut node.all_of), ..Node::default() };
        (node.case, node.then) = (Some(Schema::ANYTHING), Some(Box::new(then)));
    }
}

/// Must the table be there, since something in it must?
pub(super) fn needed(trace: &Trace, path: &str) -> bool {
    let needs = |law: &Law| law.when.is_empty() && matches!(law.what, What::Needs(_) | What::One(_) | What::Some(_));
    trace.tables.get(path).is_some_and(|table| !table.repeated && table.laws.iter().any(needs))
}

/// A key that is left out is what its default says.
fn when(trace: &Trace, path: &str, case: &[Case]) -> Node {
    let mut node = Node::default();
    for Case { key, words } in case {
        let default = trace.defaults.get(&format!("{path}.{key}")).and_then(|value| value.as_str());
        if default.is_none_or(|default| !words.contains(&default)) {
            node.required.push((*key).to_owned());
        }
        if !words.is_empty() {
            set(&mut node.properties, key, Node { words: words.to_vec(), ..Node::default() }.into());
        }
    }
    node
}

fn obey(node: &mut Node, what: &What) {
    let given = |key: &&'static str| Node::with(vec![(*key).to_owned()]);
    let each = |keys: &[&'static str]| keys.iter().map(given).collect::<Vec<_>>();
    match what {
        What::Needs(key) => node.required.push((*key).to_owned()),
        What::One(keys) => node.all_of.push(Node { one_of: each(keys), ..Node::default() }),
        What::AtMostOne(keys) => {
            let mut pairs = Vec::new();
            for (n, key) in keys.iter().enumerate() {
                let others = keys.iter().skip(n + 1);
                pairs.extend(others.map(|other| Node::with(vec![(*key).to_owned(), (*other).to_owned()])));
            }
            node.all_of.push(Node::none(Node { any_of: pairs, ..Node::default() }));
        }
        What::Some(keys) => node.all_of.push(Node { any_of: each(keys), ..Node::default() }),
        What::None(keys) => keys.iter().for_each(|key| set(&mut node.properties, key, Schema::NOTHING)),
        What::Only(key, words) => {
            set(&mut node.properties, key, Node { words: words.clone(), ..Node::default() }.into());
        }
    }
}

fn set(properties: &mut Named, key: &str, schema: Schema) {
    match properties.0.iter_mut().find(|(known, _)| known == key) {
        Some((_, known)) => *known = schema,
        None => properties.0.push((key.to_owned(), schema)),
    }
}
