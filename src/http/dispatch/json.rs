//! Our own JSON: one alert, or an array of them. The words are those of native XML.
//!
//! | key | value | without it |
//! | --- | --- | --- |
//! | `title` | one line | required |
//! | `id` | the sender's name of this report: the same id is the same report | a new one |
//! | `key` | names the condition, so that firing, update and resolved meet | the id |
//! | `status` | `firing`, `update`, `resolved` | `firing` |
//! | `severity` | `critical`, `major`, `minor`, `warning`, `info` | `warning` |
//! | `text` | more | nothing |
//! | `sender` | who reports it | the token's name |
//! | `labels` | object of texts, or of arrays of texts | none |
//! | `groups` | array of groups that are to be told | the routes decide |
//! | `links` | array of http, https and xmpp links | none |
//! | `sent`, `effective`, `expires` | times of RFC 3339 | now, now, never |
//!
//! An unknown key is an error: it may be a misspelt one that matters.

use jiff::Timestamp;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::unprocessable;
use crate::control::Problem;
use crate::model::{Alert, Format, Labels, Severity, Status, quote};
use crate::parse::Limits;

/// Longest id, key, sender, title, label and link, in characters.
const SHORT: usize = 1000;
/// What an alert may have.
const KEYS: [&str; 13] = [
    "id",
    "key",
    "status",
    "severity",
    "title",
    "text",
    "sender",
    "labels",
    "groups",
    "links",
    "sent",
    "effective",
    "expires",
];
/// Most labels, groups and links of one alert.
const MANY: usize = 100;

// What follows describes to the OpenAPI document what is read by hand below.

/// One alert, or an array of them.
#[expect(dead_code, reason = "never made: it describes what is read")]
#[derive(ToSchema)]
#[schema(as = NewAlerts)]
#[serde(untagged)]
pub(super) enum Written {
    /// One.
    One(Box<WrittenAlert>),
    /// Several, of which all are taken or none.
    Many(Vec<WrittenAlert>),
}

/// An alert. An unknown key is an error; `null` is as if the key were not there.
#[expect(dead_code, reason = "never made: it describes what is read")]
#[derive(ToSchema)]
#[schema(as = NewAlert)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenAlert {
    /// One line.
    title: String,
    /// The sender's name of this report: the same id is the same report. Without it: a new one.
    id: Option<String>,
    /// Names the condition, so that firing, update and resolved meet. Without it: the id.
    key: Option<String>,
    /// Without it: firing.
    status: Option<WrittenStatus>,
    /// Without it: warning.
    severity: Option<Severity>,
    /// More of it.
    text: Option<String>,
    /// Who reports it. Without it: the token's name.
    sender: Option<String>,
    /// Each a text or an array of texts.
    labels: Option<Labels>,
    /// Groups that are to be told. Without it: the routes decide.
    groups: Option<Vec<String>>,
    /// Links of http, https or xmpp.
    links: Option<Vec<String>>,
    /// When it was sent. Without it: now.
    sent: Option<Timestamp>,
    /// When it begins to hold. Without it: now.
    effective: Option<Timestamp>,
    /// When it holds no longer. Without it: never.
    expires: Option<Timestamp>,
}

/// What an alert says about its condition.
#[expect(dead_code, reason = "never made: it describes what is read")]
#[derive(ToSchema)]
#[schema(as = NewAlertStatus)]
#[serde(rename_all = "lowercase")]
enum WrittenStatus {
    /// It holds.
    Firing,
    /// It holds, and there is something new to say.
    Update,
    /// It is over.
    Resolved,
}

/// The alerts, and whether they are an array.
pub(super) fn read(body: &[u8], limits: &Limits) -> Result<(Vec<Alert>, bool), Problem> {
    let value = serde_json::from_slice(body).map_err(|err| Problem::bad(format!("the body is no JSON: {err}")))?;
    match value {
        Value::Array(all) if all.is_empty() => Err(unprocessable("there is no alert in it; send at least one")),
        Value::Array(all) if all.len() > limits.alerts => {
            let detail = format!("{} alerts; send at most {} at a time (parse.alerts)", all.len(), limits.alerts);
            Err(unprocessable(detail))
        }
        Value::Array(all) => {
            let read = |(n, value)| one(&value, limits).map_err(|fault| fault.within(&format!("[{n}]")));
            let alerts = all.into_iter().enumerate().map(read).collect::<Result<_, _>>();
            Ok((alerts.map_err(Problem::from)?, true))
        }
        value => Ok((vec![one(&value, limits)?], false)),
    }
}

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    field: String,
    wrong: String,
}

impl Fault {
    fn new(field: &str, wrong: impl Into<String>) -> Self {
        Self { field: field.to_owned(), wrong: wrong.into() }
    }

    fn within(self, place: &str) -> Self {
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        Self { field: format!("{place}{dot}{}", self.field), ..self }
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let place = if fault.field.is_empty() { "the alert" } else { &fault.field };
        unprocessable(format!("{place}: {}", fault.wrong)).of(fault.field)
    }
}

fn one(value: &Value, limits: &Limits) -> Result<Alert, Fault> {
    let Value::Object(map) = value else { return Err(Fault::new("", "it is no object; write {\"title\": \"…\"}")) };
    let mut alert = Alert::empty(Format::Native);
    for (key, value) in map {
        field(&mut alert, key, value, limits)?;
    }
    if alert.title.is_empty() {
        return Err(Fault::new("title", "it is missing, or empty"));
    }
    Ok(alert)
}

fn field(alert: &mut Alert, key: &str, value: &Value, limits: &Limits) -> Result<(), Fault> {
    // As if it were not there: many writers leave no key out.
    if value.is_null() {
        return Ok(());
    }
    match key {
        "title" => alert.title = line(key, value)?,
        "id" => alert.id = line(key, value)?,
        "key" => alert.key.0 = line(key, value)?,
        "sender" => alert.sender = line(key, value)?.to_lowercase(),
        "text" => alert.text = text(key, value, limits.text)?,
        "status" => alert.status = status(&line(key, value)?)?,
        "severity" => {
            let severity = line(key, value)?.parse::<Severity>();
            alert.severity = severity.map_err(|err| Fault::new(key, err.to_string()))?;
        }
        "sent" => alert.sent = Some(time(key, value)?),
        "effective" => alert.effective = Some(time(key, value)?),
        "expires" => alert.expires = Some(time(key, value)?),
        "groups" => alert.groups = lines(key, value)?,
        "links" => alert.links = links(key, value)?,
        "labels" => labels(alert, value)?,
        _ => {
            let known = KEYS.join(", ");
            return Err(Fault::new(key, format!("there is no such key; known: {known}")));
        }
    }
    Ok(())
}

fn text(field: &str, value: &Value, most: usize) -> Result<String, Fault> {
    let Value::String(text) = value else { return Err(Fault::new(field, "it is no text")) };
    let long = text.chars().count();
    if long > most {
        return Err(Fault::new(field, format!("{long} characters; at most {most} are taken")));
    }
    Ok(text.trim().to_owned())
}

/// A short text on one line: what else is blank becomes a blank.
fn line(field: &str, value: &Value) -> Result<String, Fault> {
    let text = text(field, value, SHORT)?;
    Ok(text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join(" "))
}

fn lines(field: &str, value: &Value) -> Result<Vec<String>, Fault> {
    let Value::Array(all) = value else { return Err(Fault::new(field, "it is no array of texts")) };
    if all.len() > MANY {
        return Err(Fault::new(field, format!("{} of them; at most {MANY} are taken", all.len())));
    }
    all.iter().enumerate().map(|(n, value)| line(&format!("{field}[{n}]"), value)).collect()
}

fn status(word: &str) -> Result<Status, Fault> {
    match word {
        "firing" => Ok(Status::Firing),
        "update" => Ok(Status::Update),
        "resolved" => Ok(Status::Resolved),
        _ => Err(Fault::new("status", format!("{} is none of firing, update, resolved", quote(word)))),
    }
}

fn time(field: &str, value: &Value) -> Result<Timestamp, Fault> {
    let text = line(field, value)?;
    let no_time = |_| Fault::new(field, format!("{} is no time; write it like 2026-11-21T18:42:00Z", quote(&text)));
    text.parse().map_err(no_time)
}

fn links(field: &str, value: &Value) -> Result<Vec<String>, Fault> {
    let links = lines(field, value)?;
    match links.iter().position(|link| !is_link(link)) {
        None => Ok(links),
        Some(n) => Err(Fault::new(&format!("{field}[{n}]"), "it is no http, https or xmpp link")),
    }
}

pub(super) fn is_link(text: &str) -> bool {
    let lower = text.get(..8.min(text.len())).unwrap_or_default().to_ascii_lowercase();
    let scheme = ["http://", "https://", "xmpp:"].iter().any(|scheme| lower.starts_with(scheme));
    scheme && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn labels(alert: &mut Alert, value: &Value) -> Result<(), Fault> {
    let Value::Object(map) = value else { return Err(Fault::new("labels", "it is no object of texts")) };
    if map.len() > MANY {
        return Err(Fault::new("labels", format!("{} of them; at most {MANY} are taken", map.len())));
    }
    all_labels(alert, map)
}

fn all_labels(alert: &mut Alert, map: &Map<String, Value>) -> Result<(), Fault> {
    for (name, value) in map {
        let field = format!("labels.{name}");
        if name.is_empty() || name.chars().count() > SHORT || name.starts_with("mailbell.") {
            return Err(Fault::new(&field, "no name of a label; those that begin with mailbell. are our own"));
        }
        match value {
            Value::Array(_) => {
                for value in lines(&field, value)? {
                    alert.labels.add(name, value);
                }
            }
            Value::Number(number) => alert.labels.add(name, number.to_string()),
            Value::Bool(yes) => alert.labels.add(name, yes.to_string()),
            value => alert.labels.add(name, line(&field, value)?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status, detail, field.
    type Wrong = (u16, String, Option<String>);

    fn of(text: &str) -> Result<(Vec<Alert>, bool), Wrong> {
        read(text.as_bytes(), &Limits { alerts: 2, text: 20, ..Limits::default() })
            .map_err(|problem| (problem.status, problem.detail, problem.field))
    }

    #[test]
    fn one_alert_or_many_are_read() {
        let (alerts, many) =
            of(r#"{"title": " disk\n full ", "severity": "major", "labels": {"host": "a", "n": [ "1", "2" ], "x": 3},
            "groups": ["ops"], "links": ["https://example.org/a"], "sent": "2026-11-21T18:42:00+01:00", "text": null}"#)
            .unwrap();
        assert!(!many);
        let alert = &alerts[0];
        assert_eq!(
            (alert.title.as_str(), alert.severity, alert.status),
            ("disk full", Severity::Major, Status::Firing)
        );
        assert_eq!(
            (alert.labels.get("n"), alert.labels.get("x")),
            (&["1".to_owned(), "2".into()][..], &["3".to_owned()][..])
        );
        assert_eq!(alert.sent.unwrap().to_string(), "2026-11-21T17:42:00Z");
        let (alerts, many) = of(r#"[{"title": "a"}, {"title": "b", "status": "resolved", "key": "k"}]"#).unwrap();
        assert!(many && alerts.len() == 2 && alerts[1].status == Status::Resolved && alerts[1].key.0 == "k");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, field, wrong) in [
            ("{}", "title", "title: it is missing, or empty"),
            (r#"[{"title": "a"}, {"title": ""}]"#, "[1].title", "[1].title: it is missing, or empty"),
            (r#"[{"title": "a"}, 7]"#, "[1]", "[1]: it is no object; write {\"title\": \"…\"}"),
            (
                r#"{"title": "a", "severity": "bad"}"#,
                "severity",
                "severity: `bad` is no severity; allowed: critical, major, minor, warning, info",
            ),
            (r#"[{"title": "a", "labels": {"h": ["x", 1]}}]"#, "[0].labels.h[1]", "[0].labels.h[1]: it is no text"),
            (
                r#"{"title": "a", "links": ["javascript:alert(1)"]}"#,
                "links[0]",
                "links[0]: it is no http, https or xmpp link",
            ),
            (r#"{"title": "a", "text": "123456789012345678901"}"#, "text", "text: 21 characters; at most 20 are taken"),
            (
                r#"{"title": "a", "labels": {"mailbell.rule": "x"}}"#,
                "labels.mailbell.rule",
                "labels.mailbell.rule: no name of a label; those that begin with mailbell. are our own",
            ),
        ] {
            assert_eq!(of(text), Err((422, wrong.to_owned(), Some(field.to_owned()))), "{text}");
        }
        let (status, said, field) = of(r#"{"title": "a", "sevrity": "major"}"#).unwrap_err();
        assert!(
            status == 422 && field.as_deref() == Some("sevrity") && said.starts_with("sevrity: there is no such key")
        );
        assert!(of(r#"{"title": "a", "sent": "yesterday"}"#).unwrap_err().1.contains("is no time; write it like"));
        assert_eq!(of("[]").unwrap_err().1, "there is no alert in it; send at least one");
        assert_eq!(of(r#"[1,2,3]"#).unwrap_err().1, "3 alerts; send at most 2 at a time (parse.alerts)");
        assert_eq!(of("{").unwrap_err().0, 400);
    }

    /// It is read by hand, so that what the OpenAPI document says of it is written by hand.
    #[test]
    fn the_document_has_the_keys_that_are_taken() {
        let document = serde_json::to_value(crate::http::openapi()).unwrap();
        let properties = document["components"]["schemas"]["NewAlert"]["properties"].as_object().unwrap();
        let mut documented: Vec<&str> = properties.keys().map(String::as_str).collect();
        let mut taken = KEYS.to_vec();
        documented.sort_unstable();
        taken.sort_unstable();
        assert_eq!(documented, taken);
    }
}
