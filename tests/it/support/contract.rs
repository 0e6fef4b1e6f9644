//! Whatever a test is answered over HTTP is held against `config/openapi.json`: that the status is written there, the type of the
//! content, and what JSON looks like.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::web::Answer;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/openapi.json")).unwrap();
    serde_json::from_str(&text).unwrap()
});

static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// Nothing is said of paths and methods that are not in the document.
pub fn check(method: &str, target: &str, answer: &Answer) {
    let path = target.split('?').next().unwrap();
    let Some(item) = item(path) else { return };
    let named = if method == "HEAD" { "get".to_owned() } else { method.to_lowercase() };
    let Some(operation) = item.get(&named) else { return };
    let about = format!("{method} {target}: {answer:?}");
    let status = answer.status.to_string();
    let mut told = operation["responses"].get(&status).unwrap_or_else(|| panic!("{status} is not documented: {about}"));
    if let Some(reference) = told["$ref"].as_str() {
        told = DOCUMENT.pointer(&reference[1..]).unwrap();
    }
    if answer.body.is_empty() {
        return;
    }
    let media = answer.header("content-type").split(';').next().unwrap();
    let content = told["content"].get(media).unwrap_or_else(|| panic!("{media} is not documented: {about}"));
    if media.ends_with("json") {
        let body = answer.json();
        let errors: Vec<String> =
            validator(&content["schema"]).iter_errors(&body).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:?}: {about}");
    }
}

/// The path of the document that is meant: one that is written out before one with a place for a name.
fn item(path: &str) -> Option<&'static Value> {
    let fits = |template: &str| {
        let (wanted, given): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        let same = |(wanted, given): (&&str, &&str)| wanted == given || (wanted.starts_with('{') && !given.is_empty());
        wanted.len() == given.len() && wanted.iter().zip(&given).all(same)
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    paths.get(path).or_else(|| paths.iter().find(|(template, _)| fits(template)).map(|(_, item)| item))
}

fn validator(schema: &Value) -> Arc<Validator> {
    let mut all = VALIDATORS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let made = all.entry(schema.to_string()).or_insert_with(|| {
        let whole = json!({ "allOf": [schema], "components": DOCUMENT["components"] });
        Arc::new(jsonschema::draft202012::new(&whole).unwrap_or_else(|error| panic!("{schema}: {error}")))
    });
    made.clone()
}
