//! One alert with everything that came of it, and the answer to the question why somebody did or did not get it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AlertRecord, NotificationView};
use crate::model::{AlertState, GroupName, MessageId, NotificationState, RecipientName, Status};

/// One step of an alert's or a notification's way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TimelineStep)]
pub struct TimelineRow {
    /// When.
    pub at: Timestamp,
    /// Whose, where it concerns one recipient.
    pub recipient: Option<RecipientName>,
    /// What: `fetched`, `raised` (without a mail), `parsed`, `condition`, `routed`, `left out`, `queued`, `presence`, `held`,
    /// `intended`, `accepted` …
    pub event: String,
    /// Why, for people.
    pub detail: String,
}

/// Somebody whom the alert would have come to, but for this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeftOut {
    /// A recipient, or a whole group as `@NAME`.
    pub who: String,
    /// When it was decided.
    pub at: Timestamp,
    /// Why.
    pub why: String,
}

/// A condition that an alert is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AboutCondition {
    /// Its number.
    pub id: i64,
    /// What names it within its scope.
    pub key: String,
    /// Is it open now?
    pub open: bool,
}

/// One alert with its mail and everything that came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageView {
    /// The alert.
    pub alert: AlertRecord,
    /// Its state.
    pub state: AlertState,
    /// Why.
    pub reason: String,
    /// The mail that it came in; `None`: an internal source raised it.
    pub message: Option<MessageId>,
    /// The groups that it is for, by name.
    #[serde(default)]
    pub groups: Vec<GroupName>,
    /// Who of them was left out.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
    /// What it is about.
    #[serde(default)]
    pub conditions: Vec<AboutCondition>,
    /// Its notifications.
    pub notifications: Vec<NotificationView>,
    /// Step by step.
    pub timeline: Vec<TimelineRow>,
}

/// Did the recipient get the alert, and why or why not?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = WhyOrWhyNot)]
pub struct Answer {
    /// Of whom.
    pub recipient: String,
    /// They have it, or may have it.
    pub told: bool,
    /// What became of their notification; `None`: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<NotificationState>,
    /// In one sentence.
    pub why: String,
}

impl MessageView {
    /// The answer for one recipient, whoever it is; `known`: the config has them.
    pub fn answer(&self, recipient: &RecipientName, known: bool) -> Answer {
        let name = recipient.as_str();
        match self.notifications.iter().find(|n| n.recipient == *recipient) {
            Some(n) => Answer {
                recipient: name.to_owned(),
                told: n.state.told() || (n.attempts > 0 && n.accepted.is_some()),
                state: Some(n.state),
                why: became(n),
            },
            None => Answer { recipient: name.to_owned(), told: false, state: None, why: self.without(name, known) },
        }
    }

    /// The answers for everybody who has a notification or was left out.
    pub fn answers(&self) -> Vec<Answer> {
        let told = self.notifications.iter().map(|n| self.answer(&n.recipient, true));
        let left_out = self.left_out.iter().filter_map(|left| left.who.parse::<RecipientName>().ok());
        let left_out = left_out.filter(|name| self.notifications.iter().all(|n| n.recipient != *name));
        told.chain(left_out.map(|name| self.answer(&name, true))).collect()
    }

    /// Why somebody has no notification.
    fn without(&self, name: &str, known: bool) -> String {
        if let Some(left) = self.left_out.iter().find(|left| left.who == name) {
            return format!("{name} was left out: {}", left.why);
        }
        if !known {
            return format!("there is no recipient {name} in the config");
        }
        if self.notifications.is_empty() {
            return format!("nobody was told: {}", self.reason);
        }
        if self.alert.alert.status == Status::Resolved {
            let first = self.alert.resolves.map(|(first, _)| format!(" ({first})")).unwrap_or_default();
            return format!("an end goes to who was told of the beginning{first}, and {name} was not");
        }
        let groups: Vec<_> = self.groups.iter().map(GroupName::as_str).collect();
        let whole = self.left_out.iter().filter_map(|left| Some((left.who.strip_prefix('@')?, &left.why)));
        let whole: String = whole.map(|(group, why)| format!("; of group {group} nobody was told: {why}")).collect();
        format!("{name} was in none of the groups that it is for: {}{whole}", groups.join(", "))
    }
}

/// What became of a notification.
fn became(n: &NotificationView) -> String {
    use NotificationState as S;
    let at = |time: Option<Timestamp>| time.map(|time| format!(" {}", second(time))).unwrap_or_default();
    let because = if n.reason.is_empty() { String::new() } else { format!(": {}", n.reason) };
    let digest = n.digest.map(|id| format!(", in the digest {id}")).unwrap_or_default();
    let what = match n.state {
        S::Delivered => format!("a client has it since{}{digest}", at(n.delivered)),
        S::Acknowledged => format!("a human said so{digest}"),
        S::Accepted => format!("the server took it{}{digest}; no client has confirmed it yet", at(n.accepted)),
        S::Unconfirmed => {
            format!("the server took it{}{digest}, and no client confirmed it in time", at(n.accepted))
        }
        S::Sending => format!("it is on its way since{}{digest}{because}", at(n.intended)),
        S::Queued if n.digest.is_some() => format!("it waits to be sent{digest}{because}"),
        S::Queued => match n.not_before {
            Some(time) => format!("it waits, not before {}{because}", second(time)),
            None => format!("it waits to be sent{because}"),
        },
        S::Held => format!("it is held until{}{because}", at(n.held_until)),
        S::Expired => format!("it ended unsent{}{because}", before(n)),
        S::Superseded => format!("it was superseded{}{because}", before(n)),
        S::Dead => format!("it was given up after {} attempts{because}", n.attempts),
    };
    match n.groups.is_empty() {
        true => what,
        false => format!("{what} (as a member of {})", names(&n.groups)),
    }
}

/// A copy that may have arrived before the end.
fn before(n: &NotificationView) -> &'static str {
    if n.attempts > 0 { " after it had been tried" } else { "" }
}

fn names(groups: &[GroupName]) -> String {
    groups.iter().map(GroupName::as_str).collect::<Vec<_>>().join(", ")
}

/// To the second: it is read by people.
fn second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
