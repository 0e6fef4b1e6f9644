//! What the tests of this module are made of.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Group, Member, Route, Router, Settings, Wall};
use crate::model::{
    Alert, ConditionId, ConditionView, FallbackWhen, Format, Key, Offline, PolicyRow, Recipient, Seen, Severity,
    Source, Timestamp,
};

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Noon of the day on which the tests play.
pub fn noon() -> Timestamp {
    at("2026-11-21T12:00:00Z")
}

pub fn alert(key: &str, severity: Severity) -> Alert {
    Alert {
        id: key.to_owned(),
        key: Key(key.to_owned()),
        sender: "ups7@example.org".into(),
        severity,
        title: "UPS 7 on battery".into(),
        text: "Input power lost.".into(),
        sent: Some(noon()),
        ..Alert::empty(Format::Native)
    }
}

pub fn recipient(name: &str) -> Recipient {
    Recipient {
        name: name.parse().unwrap(),
        jid: format!("{name}@example.org").parse().unwrap(),
        lang: None,
        room: false,
    }
}

/// Members as config writes them: `@` names a group.
pub fn group(name: &str, members: &[&str]) -> Group {
    let member = |text: &&str| match text.strip_prefix('@') {
        Some(group) => Member::Group(group.parse().unwrap()),
        None => Member::Recipient(text.parse().unwrap()),
    };
    Group { name: name.parse().unwrap(), members: members.iter().map(member).collect(), public: false, policy: vec![] }
}

pub fn row(severity: &[Severity]) -> PolicyRow {
    PolicyRow {
        severity: severity.to_vec(),
        shows: crate::model::ShowSet::all(),
        offline: Offline::Hold,
        hold_for: Duration::from_secs(60),
        fallback: None,
        fallback_when: FallbackWhen::Unreachable,
    }
}

pub fn route(matchers: &[(&str, &[&str])], groups: &[&str]) -> Route {
    let texts = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
    Route {
        name: None,
        matchers: matchers.iter().map(|(field, patterns)| ((*field).to_owned(), texts(patterns))).collect(),
        groups: groups.iter().map(|g| g.parse().unwrap()).collect(),
        go_on: false,
        verify: false,
    }
}

pub fn wall(name: &str, matchers: &[(&str, &[&str])], to: &[&str]) -> Wall {
    Wall { name: name.into(), matchers: route(matchers, &[]).matchers, to: group("x", to).members }
}

pub fn settings(recipients: &[&str], groups: &[Group]) -> Settings {
    Settings {
        recipients: recipients.iter().map(|name| recipient(name)).collect(),
        groups: groups.to_vec(),
        routes: Vec::new(),
        walls: Vec::new(),
        disclaimers: Vec::new(),
        default_group: None,
        operators: None,
        repeat_after: Duration::from_hours(4),
        key_scopes: BTreeMap::new(),
    }
}

/// A router, or the faults of its settings.
pub fn router(settings: &Settings) -> Router {
    Router::new(settings).unwrap_or_else(|faults| panic!("{faults:?}"))
}

pub fn mailbox() -> Source {
    Source::Mailbox("ops".parse().unwrap())
}

pub fn seen<'a>(alert: &'a Alert, source: &'a Source, conditions: &'a [ConditionView], now: Timestamp) -> Seen<'a> {
    Seen { alert, source, may_choose_group: false, received: now, now, duplicate_of: None, conditions }
}

/// An open condition that was paged at noon, and nobody told yet.
pub fn open_condition(severity: Severity) -> ConditionView {
    ConditionView {
        id: ConditionId(1),
        open: true,
        severity,
        last_sent: noon(),
        last_paged: Some(noon()),
        opened_by: Some((crate::model::AlertId(1), noon())),
        last_said: Some(("UPS 7 on battery".into(), "Input power lost.".into())),
        told: Vec::new(),
    }
}
