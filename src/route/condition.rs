//! The rules of D2: what follows from one alert, given what is known of its condition.

use std::borrow::Cow;
use std::time::Duration;

use crate::model::{
    Alert, AlertId, AlertState, ConditionView, GroupName, Nature, Plan, PlannedNotification, Planner, Scope, Seen,
    Source, Span, Status, Told,
};

use super::clock::{Timing, apart, out_of_order};
use super::router::Router;
use super::select::{Choice, Selection, names, quoted};
use super::{KeyScope, audience, recipients::Brought};

/// Longest title or sender that a word to the operators repeats, in characters.
const TITLE: usize = 120;

/// Most reasons for leaving somebody out that a plan's reason lists.
const LISTED: usize = 10;

impl Planner for Router {
    /// `mailbox:NAME/sender` or, where the mail is from another, `mailbox:NAME/from for sender`; `mailbox:NAME`, `probe` or `api:TOKEN`;
    /// and `#Test` and the like behind it for what is not real.
    /// Senders are lower case here, so none can look like that ending.
    fn scope(&self, alert: &Alert, source: &Source) -> Scope {
        let mut scope = source.to_string();
        if let Source::Mailbox(name) = source
            && self.key_scopes.get(name).is_none_or(|scope| *scope == KeyScope::Sender)
        {
            scope = format!("{scope}/{}", whose(alert).to_lowercase());
        }
        if alert.nature != Nature::Actual {
            scope = format!("{scope}#{}", alert.nature.as_str());
        }
        Scope(scope)
    }

    fn plan(&self, seen: &Seen<'_>) -> Plan {
        let mut plan = self.judge(seen);
        let alert = seen.alert;
        if alert.tell_operators && seen.duplicate_of.is_none() && !plan.paged && plan.tell_operators.is_none() {
            plan.tell_operators = Some("it reports an error, and nobody is paged for it".into());
        }
        let title = match audience::allows_public(&alert.audience) || !self.operators_in_room() {
            true => format!("`{}`", quoted(&alert.title, TITLE)),
            false => "an alert that is not public".to_owned(),
        };
        plan.tell_operators =
            plan.tell_operators.map(|text| format!("{title} from {}: {text}", quoted(&alert.sender, TITLE)));
        plan
    }
}

/// Sender and From together: to name somebody as the sender is not to be them. A From address holds no blank but single spaces,
/// so that no other one can look like the two.
fn whose(alert: &Alert) -> Cow<'_, str> {
    match &alert.from {
        None => Cow::Borrowed(&alert.sender),
        Some(from) => Cow::Owned(format!("{} for {}", from.replace(' ', "\u{a0}"), alert.sender)),
    }
}

impl Router {
    fn judge(&self, seen: &Seen<'_>) -> Plan {
        if let Some(first) = seen.duplicate_of {
            return recorded(format!("the same as {first}"));
        }
        if seen.alert.status == Status::Recorded {
            return recorded("says nothing about a condition".into());
        }
        if comes_too_late(seen) {
            return recorded("out of order: sent before the last report of this condition".into());
        }
        if seen.alert.status == Status::Resolved {
            return self.resolve(seen);
        }
        if Timing::of(seen.alert, seen.now).expired {
            return recorded("expired before it was received".into());
        }
        match self.news(seen) {
            Ok(news) => self.page(seen, &news),
            Err(repeat) => Plan { open: Some(true), ..recorded(repeat) },
        }
    }

    /// Is there anything to page for? `Ok` says what is new where the condition is open already (empty: it opens now);
    /// `Err` says why this is a repeat. Of several conditions one with news is enough.
    fn news(&self, seen: &Seen<'_>) -> Result<String, String> {
        let mut repeat = None;
        for condition in seen.conditions {
            match self.news_of(seen, condition) {
                Ok(news) => return Ok(news),
                Err(why) => repeat = Some(why),
            }
        }
        repeat.map_or(Ok(String::new()), Err)
    }

    fn news_of(&self, seen: &Seen<'_>, condition: &ConditionView) -> Result<String, String> {
        let alert = seen.alert;
        // Open, but nobody was paged: a route kept it silent, or nobody wanted it. That may be different now.
        let Some(last_paged) = condition.last_paged.filter(|_| condition.open) else { return Ok(String::new()) };
        if alert.severity > condition.severity {
            return Ok(format!("raised from {}", condition.severity));
        }
        if alert.status == Status::Update && !says_the_same(alert, condition) {
            return Ok("an update".into());
        }
        // Whichever way the wall clock went: a page from the future must not silence a condition until then.
        let since = apart(seen.now, last_paged);
        if since >= self.repeat_after {
            return Ok(format!("still open {} after the last page", rounded(since)));
        }
        Err("repeat of an open condition".into())
    }

    /// Exactly those who were told hear of the end, the way they heard of the beginning, whatever the routes say now. Its own
    /// `effective` and `expires` do not matter: whoever thinks that it burns must hear that it does not. Who was removed from the
    /// config since then is no recipient any more, and a room never hears of what is not public.
    fn resolve(&self, seen: &Seen<'_>) -> Plan {
        let open = || seen.conditions.iter().filter(|c| c.open);
        let mut notifications: Vec<PlannedNotification> = Vec::new();
        let mut left_out: Vec<String> = Vec::new();
        for Told { recipient, delivery } in open().flat_map(|c| &c.told) {
            let why = match self.recipient(&recipient.jid) {
                None => Some("removed from the config"),
                Some(known) => audience::not_in_rooms(&seen.alert.audience, known),
            };
            if let Some(why) = why {
                let text = format!("{}: {why}", recipient.name);
                left_out.extend((!left_out.contains(&text)).then_some(text));
                continue;
            }
            match notifications.iter_mut().find(|n| n.recipient.jid == recipient.jid) {
                Some(known) => known.delivery = known.delivery.merge(*delivery),
                None => notifications.push(PlannedNotification {
                    recipient: recipient.clone(),
                    groups: Vec::new(),
                    delivery: *delivery,
                    not_before: None,
                    expires: None,
                }),
            }
        }
        if open().next().is_none() {
            let known = !seen.conditions.is_empty();
            let what = if known { "a condition that is closed already" } else { "a condition that is not known" };
            return Plan { open: Some(false), supersede: true, ..recorded(format!("resolves {what}")) };
        }
        let resolves = opened(seen);
        let mut reason = match resolves {
            Some((first, lasted)) => format!("resolves {first} after {}", rounded(lasted)),
            None => "resolves an open condition".into(),
        };
        if notifications.is_empty() && left_out.is_empty() {
            reason.push_str("; nobody was told of it");
        }
        name(&mut reason, &left_out);
        let state = if notifications.is_empty() { AlertState::Recorded } else { AlertState::Routed };
        Plan { open: Some(false), supersede: true, notifications, left_out, resolves, ..Plan::keep(state, reason) }
    }

    fn page(&self, seen: &Seen<'_>, news: &str) -> Plan {
        let Selection { choice, why, warn } = self.select(seen);
        let reason = if news.is_empty() { why } else { format!("{news}; {why}") };
        let unpaged =
            |state, reason| Plan { open: Some(true), tell_operators: warn.clone(), ..Plan::keep(state, reason) };
        match choice {
            Choice::Silent => unpaged(AlertState::Recorded, reason),
            Choice::Nobody => unpaged(AlertState::Unsubscribed, reason),
            Choice::Groups(groups) => self.page_groups(seen, &groups, reason, warn),
        }
    }

    fn page_groups(&self, seen: &Seen<'_>, groups: &[GroupName], mut reason: String, warn: Option<String>) -> Plan {
        let Brought { notifications, groups: watched, left_out } =
            self.bring(seen.alert, seen.source, groups, seen.now);
        let timing = Timing::of(seen.alert, seen.now);
        if timing.far_ahead {
            reason.push_str("; effective more than 24 h ahead: told now");
        }
        if let Some(at) = timing.not_before {
            reason.push_str(&format!("; not before {at}, when it takes effect"));
        }
        name(&mut reason, &left_out);
        let matched = groups.to_vec();
        if notifications.is_empty() && watched.iter().all(|(_, fallback)| fallback.is_none()) {
            let text = format!("nobody is told: {} {} nobody who may be", names(groups), has(groups.len()));
            let warn = warn.into_iter().chain([text.clone()]).collect::<Vec<_>>().join("; ");
            let reason = format!("{reason}; {text}");
            let told = Plan { open: Some(true), tell_operators: Some(warn), ..recorded(reason) };
            return Plan { matched, left_out, ..told };
        }
        Plan {
            open: Some(true),
            paged: true,
            notifications,
            matched,
            left_out,
            groups: watched,
            tell_operators: warn,
            resolves: opened(seen),
            ..Plan::keep(AlertState::Routed, reason)
        }
    }
}

/// Older than the last report of every condition that it is about.
fn comes_too_late(seen: &Seen<'_>) -> bool {
    let late = |c: &ConditionView| out_of_order(seen.alert.sent, seen.received, c.last_sent, seen.now);
    !seen.conditions.is_empty() && seen.conditions.iter().all(late)
}

/// The alert that opened the conditions first, and how long ago.
fn opened(seen: &Seen<'_>) -> Option<(AlertId, Duration)> {
    let first = seen.conditions.iter().filter(|c| c.open).filter_map(|c| c.opened_by).min_by_key(|(_, at)| *at)?;
    let lasted = seen.received.duration_since(first.1);
    Some((first.0, Duration::try_from(lasted).unwrap_or_default()))
}

fn says_the_same(alert: &Alert, condition: &ConditionView) -> bool {
    condition.last_said.as_ref().is_some_and(|(title, text)| *title == alert.title && *text == alert.text)
}

fn recorded(reason: String) -> Plan {
    Plan::keep(AlertState::Recorded, reason)
}

/// In whole seconds, or minutes where there are some: a reason is read by people.
fn rounded(span: Duration) -> Span {
    let unit = if span.as_secs() >= 60 { 60 } else { 1 };
    Span(Duration::from_secs(span.as_secs() / unit * unit))
}

/// Names those who are left out, not too many.
fn name(reason: &mut String, left_out: &[String]) {
    for text in left_out.iter().take(LISTED) {
        reason.push_str("; left out ");
        reason.push_str(text);
    }
    if left_out.len() > LISTED {
        reason.push_str(&format!("; and {} more", left_out.len() - LISTED));
    }
}

fn has(groups: usize) -> &'static str {
    if groups == 1 { "has" } else { "have" }
}

#[cfg(test)]
mod tests;
