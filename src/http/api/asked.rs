//! What lists have in common: how they are asked, and what a token of some groups sees.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use jiff::Timestamp;

use crate::control::Problem;
use crate::http::auth::Caller;
use crate::model::{GroupName, NotificationState};
use crate::queue::{Common, NotificationView};

/// Most rows of a page.
const MOST: usize = 1000;
/// Longest text to be looked for, characters.
const LONGEST: usize = 200;

/// Fields of a query that most lists take.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub group: Option<String>,
    pub text: Option<String>,
    pub since: Option<String>,
    pub until: Option<String>,
    pub after: Option<String>,
    pub limit: Option<String>,
}

impl Fields {
    /// As the store is asked, for what this caller may see.
    pub(super) fn common(self, caller: &Caller) -> Result<Common, Problem> {
        let Self { group, text, since, until, after, limit } = self;
        let group = group.map(|name| caller.group(&name)).transpose()?;
        if text.as_ref().is_some_and(|text| text.chars().count() > LONGEST) {
            return Err(Problem::bad(format!("it is longer than {LONGEST} characters")).of("text"));
        }
        Ok(Common {
            seen_by: caller.groups.clone(),
            group,
            text: text.filter(|text| !text.is_empty()),
            since: time("since", since)?,
            until: time("until", until)?,
            after: after.map(|text| of("after", text.parse())).transpose()?,
            limit: rows(limit)?,
        })
    }
}

/// How many rows; 0: as many as usual.
pub(super) fn rows(limit: Option<String>) -> Result<usize, Problem> {
    let Some(limit) = limit else { return Ok(0) };
    let number = limit.parse::<usize>().ok().filter(|n| (1..=MOST).contains(n));
    number.ok_or_else(|| Problem::bad(format!("write a number from 1 to {MOST}")).of("limit"))
}

fn time(field: &str, text: Option<String>) -> Result<Option<Timestamp>, Problem> {
    let read = |text: String| {
        let fault = || Problem::bad("write a time such as 2026-11-22T14:00:00Z (RFC 3339; write + as %2B)").of(field);
        text.parse::<Timestamp>().map_err(|_| fault())
    };
    text.map(read).transpose()
}

/// The words of a list that is separated by commas.
pub(super) fn words<T>(
    field: &str,
    text: Option<String>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Problem> {
    let text = text.unwrap_or_default();
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| of(field, read(word))).collect()
}

/// States of notifications.
pub(super) fn states(text: Option<String>) -> Result<Vec<NotificationState>, Problem> {
    words("state", text, |word| word.parse())
}

/// Names the field that is at fault.
pub(super) fn of<T, E: std::fmt::Display>(field: &str, result: Result<T, E>) -> Result<T, Problem> {
    result.map_err(|err| Problem::bad(err.to_string()).of(field))
}

/// The query as its struct; a field that is not known is a fault.
pub(super) fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    query.map(|Query(query)| query).map_err(|err| Problem::bad(err.body_text()))
}

/// Of what belongs to no group nothing is told to who sees some groups only.
pub(super) fn sees_all(caller: &Caller) -> Result<(), Problem> {
    if caller.groups.is_empty() {
        return Ok(());
    }
    let detail = format!("token {} is for some groups, and this is of none", caller.name);
    Err(Problem::new(StatusCode::FORBIDDEN, detail))
}

impl Caller {
    /// Does it see something of these groups?
    pub(super) fn sees_any(&self, groups: &[GroupName]) -> bool {
        self.groups.is_empty() || groups.iter().any(|group| self.sees(group))
    }

    /// Are all of these groups its own, so that what it does concerns nobody else?
    pub(super) fn sees_whole(&self, groups: &[GroupName]) -> bool {
        self.groups.is_empty() || (!groups.is_empty() && groups.iter().all(|group| self.sees(group)))
    }

    /// May it see this notification of something that is for these groups? What came by way of no group (an end) belongs to all.
    pub(super) fn sees_notification(&self, n: &NotificationView, groups: &[GroupName]) -> bool {
        if n.groups.is_empty() { self.sees_whole(groups) } else { self.sees_any(&n.groups) }
    }

    /// Without the names of groups that it does not see.
    pub(super) fn only_seen(&self, groups: &mut Vec<GroupName>) {
        groups.retain(|group| self.sees(group));
    }
}
