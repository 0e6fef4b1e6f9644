//! The API as a document: all of the API, nothing else, and the file that is checked in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mailbell::http::{endpoints, openapi};
use serde_json::Value;

use crate::support::free_port;
use crate::support::mailbell::Mailbell;
use crate::support::web::{Web, alone, token};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/openapi.json");

fn value() -> Value {
    serde_json::to_value(openapi()).unwrap()
}

/// Method and path, and the operation.
fn operations(document: &Value) -> BTreeMap<(String, String), &Value> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| {
            let methods = ["get", "put", "post", "patch", "delete"].into_iter();
            methods.filter_map(move |method| Some(((method.to_uppercase(), path.clone()), item.get(method)?)))
        })
        .collect()
}

/// Pages of the console, and what they are made of, are no API.
fn for_people(path: &str) -> bool {
    matches!(path, "/" | "/login" | "/logout" | "/console") || path.starts_with("/console/")
}

#[test]
fn the_document_has_what_the_router_has_and_nothing_else() {
    let document = value();
    let written: BTreeSet<_> = operations(&document).into_keys().collect();
    let api = endpoints().into_iter().filter(|e| !for_people(e.path));
    let served: BTreeSet<_> = api.map(|e| (e.method.to_string(), e.path.to_owned())).collect();
    let undocumented: Vec<_> = served.difference(&written).collect();
    let unserved: Vec<_> = written.difference(&served).collect();
    assert!(undocumented.is_empty() && unserved.is_empty(), "not written: {undocumented:?}; not served: {unserved:?}");
    let other = ["head", "options", "trace", "query"];
    let items = document["paths"].as_object().unwrap().values();
    assert!(items.flat_map(|item| item.as_object().unwrap().keys()).all(|key| !other.contains(&key.as_str())));
}

#[test]
fn each_operation_says_what_it_is_takes_and_answers() {
    let document = value();
    let schemes = &document["components"]["securitySchemes"];
    let mut ids = BTreeSet::new();
    for ((method, path), operation) in operations(&document) {
        let about = format!("{method} {path}");
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "{about}: another has the id {id}");
        let summary = operation["summary"].as_str().unwrap_or_default();
        assert!((4..100).contains(&summary.len()), "{about}: give the handler a first line: {summary:?}");
        let tags = operation["tags"].as_array().unwrap();
        let known = |tag: &Value| document["tags"].as_array().unwrap().iter().any(|known| known["name"] == *tag);
        assert!(tags.len() == 1 && tags.iter().all(known), "{about}: {tags:?}");
        let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        let described = |p: &Value| p["description"].as_str().is_some_and(|text| !text.is_empty());
        assert!(parameters.iter().all(described), "{about}: {parameters:?}");
        let of_path = parameters.iter().filter(|p| p["in"] == "path");
        let of_path: BTreeSet<_> = of_path.map(|p| p["name"].as_str().unwrap().to_owned()).collect();
        let in_path: BTreeSet<_> = path.split('{').skip(1).map(|p| p.split('}').next().unwrap().into()).collect();
        assert_eq!(of_path, in_path, "{about}");
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.keys().any(|status| status.starts_with('2') || status.starts_with('3')), "{about}");
        for (status, answer) in answers.iter().filter(|(_, answer)| answer.get("$ref").is_none()) {
            assert!(answer["description"].as_str().is_some_and(|text| !text.is_empty()), "{about}: {status}");
            let media = answer["content"].as_object().into_iter().flatten().next().map_or("", |(media, _)| media);
            assert!(status.as_str() < "400" || !media.is_empty(), "{about}: {status} has no content");
        }
        let security = operation["security"].as_array().unwrap();
        let requirements = security.iter().flat_map(|one| one.as_object().unwrap());
        for (scheme, scopes) in requirements {
            assert!(schemes.get(scheme).is_some(), "{about}: {scheme}");
            assert_eq!(scopes.get(0), operation.get("x-scope"), "{about}");
        }
    }
    // Links of the code lead nowhere here.
    assert!(!document.to_string().contains("[`"), "a description has a link to code");
    assert!(operations(&document)[&("GET".into(), "/healthz".into())]["security"].as_array().unwrap().is_empty());
    assert_eq!(operations(&document)[&("GET".into(), "/api/v1/tokens".into())]["x-scope"], "admin");
}

#[test]
fn whatever_is_referred_to_is_there() {
    fn walk<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| walk(value, found));
            }
            Value::Array(all) => all.iter().for_each(|value| walk(value, found)),
            _ => (),
        }
    }
    let document = value();
    let mut found = BTreeSet::new();
    walk(&document, &mut found);
    for reference in &found {
        let target = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        assert!(target.is_some(), "{reference} is nowhere");
    }
    let components = document["components"].as_object().unwrap();
    for kind in ["schemas", "responses"] {
        for name in components[kind].as_object().unwrap().keys() {
            assert!(found.contains(format!("#/components/{kind}/{name}").as_str()), "nothing refers to {name}");
        }
    }
}

/// `INSTA_UPDATE=always cargo test --test it -- openapi::` writes it anew.
#[test]
fn the_file_is_that_of_the_code() {
    let mut written = openapi().to_pretty_json().unwrap();
    written.push('\n');
    if std::env::var("INSTA_UPDATE").is_ok_and(|how| how == "always") {
        std::fs::write(FILE, &written).unwrap();
    }
    let kept = std::fs::read_to_string(Path::new(FILE)).unwrap_or_default();
    let line = kept.lines().zip(written.lines()).position(|(kept, now)| kept != now);
    assert!(
        kept == written,
        "config/openapi.json differs from the code, first in line {}; INSTA_UPDATE=always writes it anew",
        line.unwrap_or_else(|| kept.lines().count().min(written.lines().count())) + 1
    );
}

#[tokio::test]
async fn whoever_has_a_token_gets_it_from_the_service() {
    let port = free_port();
    let mailbell = Mailbell::run(&alone(port, ""));
    let web = Web::new(port);
    web.ask("GET", "/api/v1/openapi.json", &[], "").await.problem(401);
    // Any token, also one that may see nothing and is for one group.
    let sender = token(&mailbell, "sender", "dispatch", &["--group", "ops"]);
    let answer = web.get("/api/v1/openapi.json", &sender).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    assert!(answer.json() == kept, "the service tells of another API than the file");
}
