//! What Prometheus posts to an Alertmanager (API v2), and what Alertmanager posts to a webhook (version 4).
//!
//! Both name an alert by its labels: their fingerprint is the key. Title: annotation `summary`, else `title`, else label
//! `alertname`. Text: annotation `description`, else `message`. Links: `generatorURL`, annotation `runbook_url`. Severity by the
//! label `severity`, in any case of letters:
//!
//! | label | severity |
//! | --- | --- |
//! | critical, page, emergency, fatal, disaster | critical |
//! | major, error, high | major |
//! | minor, medium, average | minor |
//! | warning, warn, low; any other, or none | warning |
//! | info, informational, notice, none, debug | info |
//!
//! Prometheus posts what holds again and again: that only moves its end (`endsAt`, else five minutes from now). It is over when
//! that passes, or when it is posted with an `endsAt` that has passed. Alertmanager says once that an alert is over; until then
//! its repetitions are repeats of an open condition.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::json::is_link;
use super::{post_of, refusal, to_groups, unprocessable};
use crate::control::Problem;
use crate::http::Door;
use crate::http::api;
use crate::http::auth::{Caller, sha256};
use crate::model::{Alert, Format, Key, Severity, StanzaId, Status};
use crate::queue::{Done, Holding, Post};

/// Where `endsAt` is missing; as Alertmanager's `resolve_timeout`.
const HOLDS: SignedDuration = SignedDuration::from_mins(5);
/// Longest title, label and link, in characters; labels of one alert.
const SHORT: usize = 1000;
const MANY: usize = 200;

/// One alert of either.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PrometheusAlert)]
pub(super) struct Given {
    /// What names it; `severity` says how bad it is.
    labels: BTreeMap<String, String>,
    /// `summary`, `description`, `runbook_url`.
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    /// Since when (RFC 3339).
    starts_at: Option<String>,
    /// Until when it holds unless it is posted again (RFC 3339).
    ends_at: Option<String>,
    /// Where it comes from.
    #[serde(rename = "generatorURL")]
    generator_url: Option<String>,
    /// Of Alertmanager: `firing` or `resolved`.
    status: Option<String>,
}

/// Alertmanager's message; unknown keys are of later versions.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AlertmanagerMessage)]
pub(super) struct Message {
    /// `4`.
    version: String,
    /// What it groups by.
    #[serde(default)]
    group_key: String,
    /// So many alerts it left out.
    #[serde(default)]
    truncated_alerts: u64,
    /// The alerts of the group.
    alerts: Vec<Given>,
}

/// What the webhook is answered with.
#[derive(Serialize, ToSchema)]
#[schema(as = AlertmanagerAnswer)]
pub(super) struct Taken {
    /// So many alerts were taken.
    alerts: usize,
    /// So many Alertmanager left out.
    truncated: u64,
}

/// Hand in alerts as Prometheus posts them to an Alertmanager.
///
/// What is posted again only moves its end. It is over when that passes, or when it is posted with an end that has passed.
#[utoipa::path(post, path = "/api/v2/alerts", tag = "alerts", operation_id = "post_prometheus_alerts",
    request_body = Vec<Given>,
    responses(
        (status = 200, description = "They are durable; as Alertmanager answers: with nothing"),
        (status = 400, description = "The body is no such JSON"),
        (status = 415, description = "The body is not said to be JSON"),
        (status = 422, description = "An alert is not understood: nothing was taken"),
        (status = 507, description = "The disk is full: nothing was taken"),
    ))]
pub(super) async fn alerts(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let given: Vec<Given> = api::json(&headers, &body)?;
    let now = Timestamp::now();
    bounded(&door, given.len())?;
    let mut posted = Vec::with_capacity(given.len());
    for (index, given) in given.into_iter().enumerate() {
        let ends = moment(&given.ends_at, index, "endsAt")?.unwrap_or(now + HOLDS);
        let (fingerprint, mut alert) = read(&door, &caller, &given, index)?;
        to_groups(&caller, &mut alert, |field| format!("[{index}].{field}"))?;
        // Each time that it begins is a report of its own.
        alert.id = format!("{fingerprint}-{}", StanzaId::random());
        alert.sent = Some(now);
        posted.push(Holding { fingerprint, ends, alert, unless_posted: false });
    }
    hand_in(&door, Post { posted, ..post_of(caller) }).await?;
    // As Alertmanager answers: with nothing.
    Ok(StatusCode::OK.into_response())
}

/// Hand in alerts as Alertmanager posts them to a webhook (version 4).
#[utoipa::path(post, path = "/api/v1/webhook/alertmanager", tag = "alerts", operation_id = "post_alertmanager_webhook",
    request_body = Message,
    responses(
        (status = 200, description = "They are durable", body = Taken),
        (status = 400, description = "The body is no such JSON"),
        (status = 415, description = "The body is not said to be JSON"),
        (status = 422, description = "An alert or the version is not understood: nothing was taken"),
        (status = 507, description = "The disk is full: nothing was taken"),
    ))]
pub(super) async fn webhook(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let message: Message = api::json(&headers, &body)?;
    if message.version != "4" {
        let detail = format!("version {} is not known; this takes version 4", crate::model::quote(&message.version));
        return Err(unprocessable(detail).of("version"));
    }
    bounded(&door, message.alerts.len())?;
    let now = Timestamp::now();
    let mut alerts = Vec::with_capacity(message.alerts.len());
    for (index, given) in message.alerts.iter().enumerate() {
        let (fingerprint, mut alert) = read(&door, &caller, given, index)?;
        to_groups(&caller, &mut alert, |field| format!("alerts[{index}].{field}"))?;
        alert.status = match given.status.as_deref() {
            Some("resolved") => Status::Resolved,
            Some("firing") | None => Status::Firing,
            Some(_) => {
                let field = format!("alerts[{index}].status");
                return Err(unprocessable("it is none of firing, resolved").of(field));
            }
        };
        alert.id = format!("{fingerprint}-{}", StanzaId::random());
        alert.sent = Some(now);
        if !message.group_key.is_empty() {
            alert.labels.add("alertmanager.group_key", cut(&message.group_key, SHORT));
        }
        if message.truncated_alerts > 0 {
            let left_out = message.truncated_alerts;
            alert.warnings.push(format!("Alertmanager left {left_out} more alerts of the group out (max_alerts)"));
        }
        alerts.push(alert);
    }
    if message.truncated_alerts > 0 {
        tracing::warn!(token = %caller.name, left_out = message.truncated_alerts,
            "Alertmanager left alerts out of what it sent; set max_alerts: 0 in its webhook_configs");
    }
    let done = hand_in(&door, Post { alerts, ..post_of(caller) }).await?;
    Ok(Json(Taken { alerts: done, truncated: message.truncated_alerts }).into_response())
}

fn bounded(door: &Door, given: usize) -> Result<(), Problem> {
    let most = door.dispatch.limits().alerts;
    if given > most {
        return Err(unprocessable(format!("{given} alerts; send at most {most} at a time (parse.alerts)")));
    }
    Ok(())
}

/// How many alerts became something.
async fn hand_in(door: &Door, post: Post) -> Result<usize, Problem> {
    if post.alerts.is_empty() && post.posted.is_empty() {
        return Ok(0);
    }
    match door.dispatch.hand_in(post).await? {
        Done::Now(posted) | Done::Before(posted) => Ok(posted.len()),
        done => Err(refusal(done)),
    }
}

/// The alert of these labels, and their fingerprint.
fn read(door: &Door, caller: &Caller, given: &Given, index: usize) -> Result<(String, Alert), Problem> {
    if given.labels.is_empty() || given.labels.len() > MANY {
        let detail = format!("an alert has 1 to {MANY} labels");
        return Err(unprocessable(detail).of(format!("[{index}].labels")));
    }
    let fingerprint = fingerprint(&given.labels);
    let note =
        |names: &[&str]| names.iter().find_map(|name| given.annotations.get(*name)).filter(|text| !text.is_empty());
    let name = given.labels.get("alertname").map_or("an alert without a name", String::as_str);
    let mut alert = Alert::empty(Format::Mapped);
    alert.key = Key(fingerprint.clone());
    alert.sender = caller.name.as_str().to_lowercase();
    alert.title = one_line(note(&["summary", "title"]).map_or(name, String::as_str));
    alert.text = cut(note(&["description", "message"]).map_or("", String::as_str).trim(), door.dispatch.limits().text);
    alert.severity = severity(given.labels.get("severity").map_or("", String::as_str));
    for (name, value) in &given.labels {
        alert.labels.add(cut(name, SHORT), cut(value, SHORT));
    }
    if let Some(starts) = moment(&given.starts_at, index, "startsAt")? {
        alert.labels.add("prometheus.starts_at", starts.to_string());
    }
    let links = given.generator_url.iter().chain(note(&["runbook_url"]));
    alert.links.extend(links.filter(|link| is_link(link) && link.len() <= SHORT).cloned());
    Ok((fingerprint, alert))
}

/// Names a set of labels: in order, with bytes between them that no UTF-8 has.
fn fingerprint(labels: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> =
        labels.iter().map(|(name, value)| format!("{}:{name}{}:{value}", name.len(), value.len())).collect();
    sha256(&lines.concat()).chars().take(32).collect()
}

fn severity(label: &str) -> Severity {
    match label.trim().to_ascii_lowercase().as_str() {
        "critical" | "page" | "emergency" | "fatal" | "disaster" => Severity::Critical,
        "major" | "error" | "high" => Severity::Major,
        "minor" | "medium" | "average" => Severity::Minor,
        "info" | "informational" | "notice" | "none" | "debug" => Severity::Info,
        _ => Severity::Warning,
    }
}

/// A time; Go writes that of nothing as that of the year 1.
fn moment(text: &Option<String>, index: usize, field: &str) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text.as_deref().filter(|text| !text.is_empty() && !text.starts_with("0001-01-01T")) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        let detail = format!("{} is no time; write it like 2026-11-21T18:42:00Z", crate::model::quote(text));
        unprocessable(detail).of(format!("[{index}].{field}"))
    })
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    cut(&words.join(" "), SHORT)
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_one_fingerprint_in_any_order_and_no_two_sets_share_it() {
        let of = |pairs: &[(&str, &str)]| {
            fingerprint(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        assert_eq!(of(&[("a", "1"), ("b", "2")]), of(&[("b", "2"), ("a", "1")]));
        assert_ne!(of(&[("a", "1"), ("b", "2")]), of(&[("a", "11:b1:2")]));
        assert_ne!(of(&[("a", "1")]), of(&[("a", "2")]));
        assert_eq!(of(&[("a", "1")]).len(), 32);
    }

    #[test]
    fn a_time_that_was_left_out_is_none() {
        let of = |text: &str| moment(&Some(text.to_owned()), 3, "endsAt").map_err(|problem| problem.field);
        assert_eq!(
            (moment(&None, 0, "endsAt").unwrap(), of(""), of("0001-01-01T00:00:00Z")),
            (None, Ok(None), Ok(None))
        );
        assert_eq!(of("2026-11-21T18:42:00.123Z").unwrap().unwrap().as_second(), 1_795_286_520);
        assert_eq!(of("soon"), Err(Some("[3].endsAt".into())));
    }

    #[test]
    fn severities_are_read_in_any_case() {
        let read = ["CRITICAL", "page", "Error", "medium", "warning", "", "P3", "none"].map(severity);
        use Severity::{Critical, Info, Major, Minor, Warning};
        assert_eq!(read, [Critical, Critical, Major, Minor, Warning, Warning, Warning, Info]);
    }
}
