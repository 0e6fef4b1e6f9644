//! The schema against the reader: the same keys, each with what it may be and what it is for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::*;
use crate::config::{Keys, read};

fn written() -> Value {
    serde_json::from_str(&schema()).unwrap()
}

/// Every table that the schema knows, as an operator calls it, with its keys; those with names of the operator's own are left
/// out, and those that the reader does not know by name.
fn tables(node: &Value, path: &str, found: &mut BTreeMap<String, BTreeSet<String>>) {
    let inside = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for part in node["anyOf"].as_array().into_iter().flatten().chain(node.get("items")) {
        tables(part, path, found);
    }
    let closed = node["additionalProperties"] == Value::Bool(false) && node.get("patternProperties").is_none();
    if let Some(properties) = node["properties"].as_object().filter(|_| closed) {
        found.entry(path.to_owned()).or_default().extend(properties.keys().cloned());
        properties.iter().for_each(|(key, value)| tables(value, &inside(key), found));
    }
}

#[test]
fn it_knows_exactly_the_keys_that_are_read() {
    let mut found = BTreeMap::new();
    tables(&written(), "", &mut found);
    let unset = |_: &str| None;
    let (_, keys): (_, Keys) = read(&source::uncommented(EXAMPLE), "a.toml".as_ref(), None, &unset);
    let known: BTreeMap<String, BTreeSet<String>> =
        keys.into_iter().map(|(table, keys)| (table, keys.into_iter().map(str::to_owned).collect())).collect();
    assert_eq!(found, known);
    assert!(known.len() > 15 && known["mailbox"].contains("token_command"), "{known:?}");
}

/// Every place in the schema that is for a value, with its path in the schema.
fn values<'v>(node: &'v Value, path: &str, found: &mut Vec<(String, &'v Value)>) {
    for key in ["properties", "patternProperties"] {
        for (name, value) in node[key].as_object().into_iter().flatten() {
            found.push((format!("{path}.{name}"), value));
            values(value, &format!("{path}.{name}"), found);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(value) = node.get(key).filter(|value| value.is_object()) {
            found.push((format!("{path}.{key}"), value));
            values(value, &format!("{path}.{key}"), found);
        }
    }
    for part in node["anyOf"].as_array().into_iter().flatten() {
        values(part, path, found);
    }
}

/// A key whose reader asks nothing of it that the schema could say, or one without a comment, is found here.
#[test]
fn every_value_is_known_and_every_key_explained() {
    let schema = written();
    let mut found = Vec::new();
    values(&schema, "", &mut found);
    assert!(found.len() > 250, "{}", found.len());
    for (path, value) in found {
        let forbidden = value == &Value::Bool(false);
        let said = ["type", "anyOf", "enum"].into_iter().any(|word| value.get(word).is_some());
        assert!(said || forbidden, "{path}: its reader does not say what it may be");
        let list_part = path.ends_with(".items") || path.contains("additionalProperties") || path.ends_with('.');
        let free = path.contains('^');
        assert!(list_part || free || forbidden || value["description"].is_string(), "{path} has no comment above it");
    }
}

#[test]
fn a_key_is_described_with_all_that_is_known_of_it() {
    let schema = written();
    let mailbox = &schema["properties"]["mailbox"]["items"];
    let key = |table: &Value, key: &str| table["properties"][key].clone();
    let matched = key(&schema["properties"]["wall"]["items"], "match");
    let some = [
        ("mailbox", mailbox["then"].clone()),
        ("mailbox.poll", key(mailbox, "poll")),
        ("mailbox.senders", key(mailbox, "senders")),
        ("mailbox.after", key(mailbox, "after")),
        ("mailbox.max_size", key(mailbox, "max_size")),
        ("mailbox.rule.status", key(&mailbox["properties"]["rule"]["items"], "status")),
        ("mailbox.oauth2", mailbox["properties"]["oauth2"]["then"].clone()),
        ("dispatch.max_per_minute", key(&schema["properties"]["dispatch"], "max_per_minute")),
        ("operators.command", key(&schema["properties"]["operators"], "command")),
        ("wall.match.severity", key(&matched, "severity")),
        ("wall.match", matched["patternProperties"].clone()),
    ];
    insta::with_settings!({ sort_maps => true }, { insta::assert_json_snapshot!(BTreeMap::from(some)) });
}

#[test]
fn an_example_is_no_default_and_a_default_no_example() {
    let schema = written();
    let xmpp = &schema["properties"]["xmpp"]["properties"];
    assert_eq!((&xmpp["window"]["default"], xmpp["window"].get("examples")), (&Value::from(128), None));
    assert_eq!((xmpp["jid"].get("default"), &xmpp["jid"]["examples"][0]), (None, &Value::from("alerts@example.org")));
    let room = &schema["properties"]["recipient"]["items"]["properties"]["room"];
    assert_eq!(room["examples"][0], "ops@conference.example.org");
}

/// Where a table has `allOf`, Taplo offers none of its keys.
#[test]
fn keys_are_offered_in_every_table() {
    let schema = written();
    let mut found = Vec::new();
    values(&schema, "", &mut found);
    found.push((String::new(), &schema));
    let hidden = found.iter().find(|(_, value)| value.get("properties").is_some() && value.get("allOf").is_some());
    assert_eq!(hidden, None);
    assert_eq!(schema["properties"]["mailbox"]["items"]["if"], true);
}

/// In one order, and to the end of the line.
#[test]
fn it_is_the_same_every_time() {
    assert_eq!(schema(), schema());
    assert!(schema().starts_with("{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"));
    assert!(schema().ends_with("\n}\n"));
}

/// A trace is of a config with every key in it, and what is written there must not be looked for.
#[test]
fn no_file_is_opened_for_it() {
    let docs = Docs::of(EXAMPLE);
    for key in ["password_file", "ca_file", "rules", "token_command", "client_secret_env", "healthcheck"] {
        assert!(docs.specimen.contains(&format!("\n{key} = ")), "{key}");
    }
    let unset = |name: &str| -> Option<OsString> { panic!("the environment was asked for {name}") };
    let text = &docs.specimen;
    let reader = Reader::new(Path::new("/dev/null/a.toml"), None, Lines::of(text), &unset).tracing();
    let table = DeTable::parse(text).unwrap().into_inner();
    let root = Section::root(&reader, &table, source::example());
    assert!(super::super::compose(&root).is_none(), "the specimen gives everything in every way");
    let told: Vec<_> = reader.finish().0.iter().map(|problem| problem.show("a.toml".as_ref())).collect();
    assert!(!told.is_empty() && !told.iter().any(|line| line.contains("/dev/null")), "{told:#?}");
}
