//! What D2 asks and what it is told: the queue's adapter reads inside its transaction what was known ([`Seen`]), a pure
//! [`Planner`] says what follows ([`Plan`]), and the adapter writes exactly that. So the rules stand in one place and the
//! SQL of each adapter holds none.

use jiff::Timestamp;

use super::{
    Alert, AlertId, AlertState, ConditionId, Delivery, FallbackWhen, GroupName, Recipient, Scope, Severity, Source,
};

/// A condition as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionView {
    /// Its number.
    pub id: ConditionId,
    /// Open: fired and not resolved.
    pub open: bool,
    /// Worst severity that was paged since it opened.
    pub severity: Severity,
    /// `sent` of the newest report seen.
    pub last_sent: Timestamp,
    /// When it was last paged.
    pub last_paged: Option<Timestamp>,
    /// The alert that opened it, and when it was received: a `resolved` names it and says how long it lasted.
    pub opened_by: Option<(AlertId, Timestamp)>,
    /// Title and text of the alert that was last paged: an update that says the same is a repeat.
    pub last_said: Option<(String, String)>,
    /// Who was told since it opened: each recipient once.
    pub told: Vec<Told>,
}

/// A recipient whose firing of the open condition is `sending` or beyond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The recipient, as frozen then.
    pub recipient: Recipient,
    /// How theirs was delivered: the resolved goes the same way.
    pub delivery: Delivery,
}

/// What the planner sees of one alert, inside D2.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    /// The alert.
    pub alert: &'a Alert,
    /// Where it came in.
    pub source: &'a Source,
    /// May its sender choose the group (`sender_may_choose_group`)?
    pub may_choose_group: bool,
    /// When its mail was received (INTERNALDATE or fetch).
    pub received: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// The same CAP triple, or the same (scope, id, status, sent), was committed as this alert.
    pub duplicate_of: Option<AlertId>,
    /// The conditions that it is about: those of its references where they are known, else that of its key, if the
    /// store knows it. Empty: a new condition.
    pub conditions: &'a [ConditionView],
}

/// What follows from one alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// State of the alert.
    pub state: AlertState,
    /// Why it is in that state, for people: `route 2 → ops`, `repeat of an open condition`.
    pub reason: String,
    /// Does the alert open its conditions (or keep them open)? `Some(false)` closes them; `None` leaves them as they are,
    /// only `last_sent` moves forward.
    pub open: Option<bool>,
    /// Is it paged: then `last_paged`, `last_said` and the condition's severity move.
    pub paged: bool,
    /// Firings of the conditions that are still queued or held end as superseded.
    pub supersede: bool,
    /// One notification for each recipient.
    pub notifications: Vec<PlannedNotification>,
    /// Groups that it is for, those included of whom nobody may be told. None of what follows on an open condition: it is for
    /// those of that.
    pub matched: Vec<GroupName>,
    /// Who is left out, `NAME: why` or `group NAME: why`.
    pub left_out: Vec<String>,
    /// Groups that the alert went to, for the fallback watch; a group without anyone to tell is here too.
    pub groups: Vec<(GroupName, Option<(GroupName, FallbackWhen)>)>,
    /// Warn the operators with this text.
    pub tell_operators: Option<String>,
    /// For a resolved: the alert that opened the condition, and for how long it was open. For a page of a condition that
    /// is open already (a repeat, a raise, an update) likewise, so that the message says so.
    pub resolves: Option<(AlertId, std::time::Duration)>,
}

impl Plan {
    /// Keeps the alert, and does nothing else.
    pub fn keep(state: AlertState, reason: impl Into<String>) -> Self {
        Self {
            state,
            reason: reason.into(),
            open: None,
            paged: false,
            supersede: false,
            notifications: Vec::new(),
            matched: Vec::new(),
            left_out: Vec::new(),
            groups: Vec::new(),
            tell_operators: None,
            resolves: None,
        }
    }
}

/// One recipient's share of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedNotification {
    /// Who.
    pub recipient: Recipient,
    /// The groups that brought them, in order; empty for a resolved (it goes to who was told).
    pub groups: Vec<GroupName>,
    /// How it may be delivered.
    pub delivery: Delivery,
    /// Not before this (`effective` in the future).
    pub not_before: Option<Timestamp>,
    /// Of no use after this; never set for critical ones.
    pub expires: Option<Timestamp>,
}

/// The pure rules of D2.
pub trait Planner: Send + Sync {
    /// Scope of an alert's key: mailbox and sender, or the mailbox alone, or the source; exercises and tests apart.
    fn scope(&self, alert: &Alert, source: &Source) -> Scope;

    /// What follows from an alert.
    fn plan(&self, seen: &Seen<'_>) -> Plan;
}
