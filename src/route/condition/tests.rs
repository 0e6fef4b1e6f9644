use super::*;
use crate::model::{Audience, Delivery, Recipient, Timestamp};
use crate::route::fixtures::{
    alert, at, group, mailbox, noon, open_condition, recipient, route, router, seen, settings,
};
use crate::route::recipients::built_in;

fn ops() -> Router {
    let mut s = settings(&["alice", "bob", "carol"], &[group("ops", &["alice", "bob"])]);
    s.default_group = Some("ops".parse().unwrap());
    router(&s)
}

fn told(name: &str) -> Told {
    Told { recipient: recipient(name), delivery: built_in(Severity::Minor) }
}

fn plan(alert: &Alert, conditions: &[ConditionView], now: &str) -> Plan {
    ops().plan(&seen(alert, &mailbox(), conditions, at(now)))
}

fn who(plan: &Plan) -> Vec<&str> {
    plan.notifications.iter().map(|n| n.recipient.name.as_str()).collect()
}

use crate::model::Severity;

#[test]
fn a_new_condition_is_paged() {
    let plan = plan(&alert("k", Severity::Minor), &[], "2026-11-21T12:00:00Z");
    assert_eq!((plan.state, plan.open, plan.paged, plan.supersede), (AlertState::Routed, Some(true), true, false));
    assert_eq!(plan.reason, "default group → ops");
    assert_eq!(who(&plan), ["alice", "bob"]);
    assert_eq!(plan.groups, [("ops".parse().unwrap(), None)]);
    assert_eq!(plan.resolves, None);
}

#[test]
fn duplicates_and_reports_about_nothing_are_kept_without_a_trace_in_the_condition() {
    let mut a = alert("k", Severity::Critical);
    let source = mailbox();
    let open = [open_condition(Severity::Minor)];
    let mut s = seen(&a, &source, &open, noon());
    s.duplicate_of = Some(AlertId(46_655));
    let plan_ = ops().plan(&s);
    assert_eq!(plan_, recorded("the same as #zzz".into()));

    a.status = Status::Recorded;
    assert_eq!(plan(&a, &open, "2026-11-21T12:00:00Z"), recorded("says nothing about a condition".into()));
    a.tell_operators = true;
    let told = plan(&a, &open, "2026-11-21T12:00:00Z").tell_operators;
    assert_eq!(
        told.as_deref(),
        Some("`UPS 7 on battery` from ups7@example.org: it reports an error, and nobody is paged for it")
    );
}

#[test]
fn a_repeat_is_recorded_until_repeat_after() {
    let open = [open_condition(Severity::Major)];
    for severity in [Severity::Major, Severity::Info] {
        let mut a = alert("k", severity);
        a.sent = None;
        let early = plan(&a, &open, "2026-11-21T15:59:59Z");
        assert_eq!((early.state, early.open, early.paged), (AlertState::Recorded, Some(true), false));
        assert_eq!(early.reason, "repeat of an open condition");
        let due = plan(&a, &open, "2026-11-21T16:00:00Z");
        assert_eq!((due.state, due.paged), (AlertState::Routed, true));
        assert_eq!(due.reason, "still open 4h after the last page; default group → ops");
        assert_eq!(due.resolves, Some((AlertId(1), Duration::from_hours(4))));
    }
}

#[test]
fn a_higher_severity_is_a_new_page_and_the_way_back_is_not() {
    let mut condition = open_condition(Severity::Warning);
    let up = plan(&alert("k", Severity::Critical), &[condition.clone()], "2026-11-21T12:01:00Z");
    assert!(up.paged);
    assert_eq!(up.reason, "raised from warning; default group → ops");
    // The store keeps the worst severity that was paged.
    condition.severity = Severity::Critical;
    for severity in [Severity::Warning, Severity::Critical, Severity::Info, Severity::Critical] {
        assert!(!plan(&alert("k", severity), &[condition.clone()], "2026-11-21T12:02:00Z").paged, "{severity}");
    }
}

#[test]
fn an_update_is_paged_when_it_has_something_new_to_say() {
    let open = [open_condition(Severity::Critical)];
    let mut a = alert("k", Severity::Minor);
    a.status = Status::Update;
    assert_eq!(plan(&a, &open, "2026-11-21T12:01:00Z").reason, "repeat of an open condition");
    a.text = "Back in ten minutes.".into();
    let news = plan(&a, &open, "2026-11-21T12:01:00Z");
    assert!(news.paged);
    assert_eq!(news.reason, "an update; default group → ops");
    a.status = Status::Firing;
    assert!(!plan(&a, &open, "2026-11-21T12:01:00Z").paged, "only an update claims to be news");
    a.status = Status::Update;
    assert_eq!(plan(&a, &[], "2026-11-21T12:01:00Z").reason, "default group → ops", "unknown: like a firing");
}

#[test]
fn out_of_order_is_recorded_also_for_a_closed_condition() {
    let mut closed = open_condition(Severity::Minor);
    closed.open = false;
    for (status, condition) in [(Status::Firing, closed), (Status::Resolved, open_condition(Severity::Minor))] {
        let mut a = alert("k", Severity::Critical);
        a.status = status;
        a.sent = Some(at("2026-11-21T11:59:59Z"));
        let plan = plan(&a, &[condition], "2026-11-21T12:10:00Z");
        assert_eq!((plan.state, plan.open, plan.paged, plan.supersede), (AlertState::Recorded, None, false, false));
        assert!(plan.reason.starts_with("out of order"), "{}", plan.reason);
    }
}

#[test]
fn a_resolved_goes_to_exactly_who_was_told_the_way_they_were() {
    let mut condition = open_condition(Severity::Critical);
    condition.told = vec![told("bob"), told("carol"), told("bob")];
    let mut a = alert("k", Severity::Warning);
    (a.status, a.sent, a.expires, a.effective) =
        (Status::Resolved, None, Some(at("2026-11-21T12:01:00Z")), Some(at("2026-11-21T20:00:00Z")));
    let plan = plan(&a, &[condition], "2026-11-21T14:05:00Z");
    assert_eq!(who(&plan), ["bob", "carol"], "carol is in no group any more, alice was not told");
    assert_eq!((plan.state, plan.open, plan.supersede, plan.paged), (AlertState::Routed, Some(false), true, false));
    assert_eq!(plan.resolves, Some((AlertId(1), Duration::from_mins(125))));
    assert_eq!(plan.reason, "resolves #1 after 125m");
    assert!(plan.groups.is_empty());
    for n in &plan.notifications {
        assert_eq!(n.delivery, built_in(Severity::Minor));
        assert_eq!((n.not_before, n.expires, n.groups.len()), (None, None, 0));
    }
}

#[test]
fn a_resolved_does_not_go_to_who_was_removed_from_the_config() {
    let mut a = alert("k", Severity::Critical);
    a.status = Status::Resolved;
    let mut condition = open_condition(Severity::Critical);
    condition.told = vec![told("dave"), told("bob"), told("dave")];
    let some = plan(&a, &[condition.clone()], "2026-11-21T12:10:00Z");
    assert_eq!((who(&some), some.state), (vec!["bob"], AlertState::Routed));
    assert_eq!(some.reason, "resolves #1 after 10m; left out dave: removed from the config");
    condition.told = vec![told("dave")];
    let none = plan(&a, &[condition], "2026-11-21T12:10:00Z");
    assert_eq!((who(&none).len(), none.state, none.open), (0, AlertState::Recorded, Some(false)));
    assert_eq!(none.reason, "resolves #1 after 10m; left out dave: removed from the config");
}

#[test]
fn a_resolved_of_nothing_is_remembered_and_told_to_nobody() {
    let mut a = alert("k", Severity::Critical);
    a.status = Status::Resolved;
    let mut closed = open_condition(Severity::Minor);
    closed.open = false;
    closed.told = vec![told("alice")];
    for conditions in [&[][..], &[closed]] {
        let plan = plan(&a, conditions, "2026-11-21T12:10:00Z");
        assert_eq!(
            (plan.state, plan.open, who(&plan).len(), plan.resolves),
            (AlertState::Recorded, Some(false), 0, None)
        );
    }
    let untold = plan(&a, &[open_condition(Severity::Minor)], "2026-11-21T12:10:00Z");
    assert_eq!((untold.state, untold.open, untold.supersede), (AlertState::Recorded, Some(false), true));
    assert_eq!(untold.reason, "resolves #1 after 10m; nobody was told of it");
}

#[test]
fn several_conditions_count_together() {
    let (mut one, mut two) = (open_condition(Severity::Critical), open_condition(Severity::Minor));
    one.told = vec![told("alice"), told("bob")];
    two.told = vec![told("bob"), told("carol")];
    two.opened_by = Some((AlertId(2), at("2026-11-21T11:00:00Z")));
    let mut a = alert("k", Severity::Major);
    assert_eq!(
        plan(&a, &[one.clone(), two.clone()], "2026-11-21T12:10:00Z").reason,
        "raised from minor; default group → ops"
    );
    a.status = Status::Resolved;
    let end = plan(&a, &[one, two], "2026-11-21T12:10:00Z");
    assert_eq!(who(&end), ["alice", "bob", "carol"]);
    assert_eq!(end.resolves, Some((AlertId(2), Duration::from_mins(70))));
}

#[test]
fn expired_on_arrival_is_recorded_unless_critical() {
    let mut a = alert("k", Severity::Major);
    a.expires = Some(at("2026-11-21T12:00:00Z"));
    let late = plan(&a, &[], "2026-11-21T12:00:01Z");
    assert_eq!((late.state, late.open, late.paged), (AlertState::Recorded, None, false));
    assert_eq!(late.reason, "expired before it was received");
    a.severity = Severity::Critical;
    let critical = plan(&a, &[], "2026-11-21T12:00:01Z");
    assert!(critical.paged && critical.notifications.iter().all(|n| n.expires.is_none()));
}

#[test]
fn the_future_is_held_until_then_unless_it_is_too_far() {
    let mut a = alert("k", Severity::Major);
    a.effective = Some(at("2026-11-21T18:00:00Z"));
    a.expires = Some(at("2026-11-21T20:00:00Z"));
    let held = plan(&a, &[], "2026-11-21T12:00:00Z");
    assert!(held.notifications.iter().all(|n| n.not_before == a.effective && n.expires == a.expires));
    assert_eq!(held.reason, "default group → ops; not before 2026-11-21T18:00:00Z, when it takes effect");
    a.effective = Some(at("2027-11-21T18:00:00Z"));
    let far = plan(&a, &[], "2026-11-21T12:00:00Z");
    assert!(far.notifications.iter().all(|n| n.not_before.is_none()));
    assert_eq!(far.reason, "default group → ops; effective more than 24 h ahead: told now");
}

#[test]
fn silent_and_unsubscribed_alerts_open_the_condition_unpaged() {
    let mut s = settings(&["alice"], &[group("ops", &["alice"])]);
    s.routes = vec![route(&[("severity", &["info"])], &[]), route(&[("severity", &["critical"])], &["ops"])];
    let router = router(&s);
    let source = mailbox();
    let plan =
        |severity, conditions: &[ConditionView]| router.plan(&seen(&alert("k", severity), &source, conditions, noon()));
    let silent = plan(Severity::Info, &[]);
    assert_eq!((silent.state, silent.open, silent.paged), (AlertState::Recorded, Some(true), false));
    assert_eq!(silent.reason, "route 1: recorded without paging");
    let nobody = plan(Severity::Major, &[]);
    assert_eq!((nobody.state, nobody.open, nobody.paged), (AlertState::Unsubscribed, Some(true), false));
    let unpaged = ConditionView { last_paged: None, last_said: None, ..open_condition(Severity::Critical) };
    assert!(plan(Severity::Critical, &[unpaged]).paged, "nobody was paged for it yet: this is no repeat");
}

#[test]
fn who_may_not_be_told_is_left_out_and_a_page_to_nobody_is_said() {
    let mut a = alert("k", Severity::Critical);
    a.audience = Audience::Private(vec!["BOB".into()]);
    let private = plan(&a, &[], "2026-11-21T12:00:00Z");
    assert_eq!(who(&private), ["bob"]);
    assert_eq!(private.reason, "default group → ops; left out alice: not among the alert's addresses");
    a.audience = Audience::Private(vec!["carol".into()]);
    let nobody = plan(&a, &[], "2026-11-21T12:00:00Z");
    assert_eq!((nobody.state, nobody.paged), (AlertState::Recorded, false));
    assert_eq!(
        nobody.tell_operators.as_deref(),
        Some("`UPS 7 on battery` from ups7@example.org: nobody is told: ops has nobody who may be")
    );
}

#[test]
fn scopes_keep_senders_sources_and_exercises_apart() {
    let mut s = settings(&[], &[]);
    s.key_scopes.insert("shared".parse().unwrap(), KeyScope::Mailbox);
    let router = router(&s);
    let mut a = alert("k", Severity::Info);
    a.sender = "UPS7@example.org".into();
    let shared = Source::Mailbox("shared".parse().unwrap());
    let scope = |a: &Alert, source: &Source| router.scope(a, source).0;
    assert_eq!(scope(&a, &mailbox()), "mailbox:ops/ups7@example.org");
    assert_eq!(scope(&a, &shared), "mailbox:shared");
    assert_eq!(scope(&a, &Source::Probe), "probe");
    assert_eq!(scope(&a, &Source::Api("grafana".parse().unwrap())), "api:grafana");
    a.nature = Nature::Exercise;
    assert_eq!(scope(&a, &mailbox()), "mailbox:ops/ups7@example.org#Exercise");
    let forged = Alert { sender: "ups7@example.org#Exercise".into(), nature: Nature::Actual, ..a.clone() };
    assert_ne!(scope(&a, &mailbox()), scope(&forged, &mailbox()));
}

mod sequences;
