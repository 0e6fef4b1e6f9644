//! An operator's end to a condition. It goes the way of every end: it is committed as an alert of the source that reported the
//! beginning, and whoever was told of that gets one final state.

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::json;
use crate::control::Problem;
use crate::http::Door;
use crate::http::auth::Caller;
use crate::model::{Alert, Format, GroupName, Key, Labels, Reference, Source, StanzaId, Status};
use crate::queue::{Done, OpenCondition, Post};

/// Longest reason, characters.
const LONGEST: usize = 500;

/// The body of what ends something; it may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = Reason)]
pub(super) struct Why {
    /// Why, for those who are told and for the timeline.
    reason: String,
}

/// What an end came to.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Resolved {
    /// Numbers of the conditions that are closed now.
    conditions: Vec<i64>,
    /// Short ids of the alerts that say so.
    alerts: Vec<String>,
    /// What became of each.
    outcomes: Vec<String>,
}

pub(super) fn reason(headers: &HeaderMap, body: &Bytes) -> Result<String, Problem> {
    if body.is_empty() {
        return Ok(String::new());
    }
    let Why { reason } = json(headers, body)?;
    if reason.chars().count() > LONGEST {
        return Err(Problem::bad(format!("it is longer than {LONGEST} characters")).of("reason"));
    }
    Ok(reason)
}

pub(super) fn conflict(detail: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, detail)
}

/// Who ends it must see all of it: others would be told as well.
pub(super) fn may(caller: &Caller, groups: &[GroupName]) -> Result<(), Problem> {
    if caller.sees_whole(groups) {
        return Ok(());
    }
    let detail = format!("it is for groups that token {} does not see, and these would be told as well", caller.name);
    Err(Problem::new(StatusCode::FORBIDDEN, detail))
}

pub(super) async fn resolve(
    door: &Door,
    caller: &Caller,
    open: Vec<OpenCondition>,
    reason: &str,
) -> Result<Resolved, Problem> {
    let Some(first) = open.first() else { return Err(conflict("there is nothing to be ended".to_owned())) };
    let source = first.opened_by.source.parse::<Source>().map_err(conflict)?;
    let text = match reason.is_empty() {
        true => format!("Resolved by {}", caller.name),
        false => format!("Resolved by {}: {reason}", caller.name),
    };
    let alerts = ends(&open, &text, Timestamp::now());
    let (token, groups) = (caller.name.clone(), Vec::new());
    let post = Post { token, ends_of: Some(source), groups, alerts, posted: Vec::new(), once: None };
    let posted = match door.dispatch.hand_in(post).await? {
        Done::Now(posted) | Done::Before(posted) => posted,
        Done::Refused(_, why) => return Err(conflict(why)),
        Done::Other => return Err(conflict("it was not done".to_owned())),
    };
    for condition in &open {
        if let Some((Some(_), _)) = door.search.condition(condition.id).await? {
            let detail = format!(
                "condition {} is still open: the config names its scope otherwise by now (key_scope), or it was reported anew",
                condition.id
            );
            return Err(conflict(detail));
        }
    }
    let (alerts, outcomes) = posted.into_iter().map(|posted| (posted.alert, posted.reason)).unzip();
    Ok(Resolved { conditions: open.iter().map(|condition| condition.id).collect(), alerts, outcomes })
}

/// One end for each; but one for all where one alert opened them, so that nobody hears of it twice.
fn ends(open: &[OpenCondition], text: &str, now: Timestamp) -> Vec<Alert> {
    let one = open.first().filter(|first| open.len() > 1 && open.iter().all(|o| o.opened_by.id == first.opened_by.id));
    if let Some(first) = one
        && let Some(sent) = first.opened_by.alert.sent
    {
        let last = open.iter().max_by_key(|condition| condition.last_sent).unwrap_or(first);
        let opened = &first.opened_by.alert;
        let references = vec![Reference { sender: opened.sender.clone(), id: opened.id.clone(), sent }];
        return vec![Alert { references, ..end(last, text, now) }];
    }
    open.iter().map(|condition| end(condition, text, now)).collect()
}

/// As the sender of the beginning would report it.
fn end(condition: &OpenCondition, text: &str, now: Timestamp) -> Alert {
    let opened = &condition.opened_by.alert;
    let mut labels = Labels::default();
    // What the gateway itself knows of the first report is not true of this one.
    for (name, values) in opened.labels.iter().filter(|(name, _)| !name.starts_with("mailbell.")) {
        values.iter().for_each(|value| labels.add(name, value));
    }
    Alert {
        id: StanzaId::random().to_string(),
        key: Key(condition.key.clone()),
        sender: opened.sender.clone(),
        from: opened.from.clone(),
        status: Status::Resolved,
        severity: opened.severity,
        title: opened.title.clone(),
        text: text.to_owned(),
        sent: Some(now.max(condition.last_sent)),
        labels,
        nature: opened.nature,
        audience: opened.audience.clone(),
        ..Alert::empty(Format::Native)
    }
}
