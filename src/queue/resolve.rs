//! An operator's end to a condition. It goes the way of every end: it is committed as an alert of the source that reported the
//! beginning, and whoever was told of that gets one final state.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Done, OpenCondition, Post, Search, StoreError};
use crate::model::{Alert, AlertId, ConditionId, Format, GroupName, Key, Labels, Reference, Source, StanzaId, Status};

/// Longest reason of an operator, characters.
pub const LONGEST_REASON: usize = 500;

/// What an operator ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Whatever is open of what an alert is about.
    Alert(AlertId),
    /// One condition.
    Condition(ConditionId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alert(id) => write!(f, "alert {id}"),
            Self::Condition(id) => write!(f, "condition {id}"),
        }
    }
}

/// What there is to be ended, and for whom it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Those that are open.
    pub conditions: Vec<OpenCondition>,
    /// All groups that it is for.
    pub groups: Vec<GroupName>,
}

/// What an end came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Resolved {
    /// Numbers of the conditions that are closed now.
    pub conditions: Vec<i64>,
    /// Short ids of the alerts that say so.
    pub alerts: Vec<String>,
    /// What became of each.
    pub outcomes: Vec<String>,
}

impl Open {
    /// What has to be handed in, so that it ends.
    ///
    /// # Errors
    /// Nothing is open.
    pub fn end(&self, of: Subject, by: &str, reason: &str, now: Timestamp) -> Result<Post, StoreError> {
        let Some(first) = self.conditions.first() else {
            return Err(StoreError::refused(match of {
                Subject::Alert(_) => format!("{of} is about no condition that is open"),
                Subject::Condition(_) => format!("{of} is closed already"),
            }));
        };
        let source = first.opened_by.source.parse::<Source>().map_err(StoreError::refused)?;
        let text = match reason.is_empty() {
            true => format!("Resolved by {by}"),
            false => format!("Resolved by {by}: {reason}"),
        };
        let alerts = ends(&self.conditions, &text, now);
        Ok(Post { source, by_operator: true, groups: Vec::new(), alerts, posted: Vec::new(), once: None })
    }

    /// What came of it.
    ///
    /// # Errors
    /// It is open still, or the store failed.
    pub async fn ended(&self, search: &dyn Search, done: Done) -> Result<Resolved, StoreError> {
        let posted = match done {
            Done::Now(posted) | Done::Before(posted) => posted,
            Done::Refused(_, why) => return Err(StoreError::refused(why)),
            Done::Other => return Err(StoreError::refused("it was not done")),
        };
        for condition in &self.conditions {
            let subject = Subject::Condition(ConditionId(condition.id));
            if search.open(subject).await?.is_some_and(|open| !open.conditions.is_empty()) {
                return Err(StoreError::refused(format!(
                    "{subject} is still open: the config names its scope otherwise by now (key_scope), or it was reported anew"
                )));
            }
        }
        let (alerts, outcomes) = posted.into_iter().map(|posted| (posted.alert, posted.reason)).unzip();
        Ok(Resolved { conditions: self.conditions.iter().map(|condition| condition.id).collect(), alerts, outcomes })
    }
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
