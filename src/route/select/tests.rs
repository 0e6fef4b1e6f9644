use super::*;
use crate::model::{Audience, Delivery, FallbackWhen, Format, Offline, PolicyRow, Severity, Show, Source};
use crate::route::fixtures::{alert, group, mailbox, noon, recipient, route, router, row, seen, settings};
use crate::route::recipients::built_in;
use crate::route::{Route, Settings};

fn three_groups() -> Settings {
    settings(&["alice", "bob", "carol"], &[group("ops", &["alice"]), group("dba", &["bob"]), group("web", &["carol"])])
}

fn select(settings: &Settings, alert: &Alert, may_choose_group: bool) -> Selection {
    let source = mailbox();
    let mut seen = seen(alert, &source, &[], noon());
    seen.may_choose_group = may_choose_group;
    router(settings).select(&seen)
}

fn groups(names: &[&str]) -> Choice {
    Choice::Groups(names.iter().map(|n| n.parse().unwrap()).collect())
}

#[test]
fn the_first_matching_route_decides_and_continue_goes_on() {
    let mut s = three_groups();
    s.routes = vec![
        route(&[("severity", &["info"])], &[]),
        Route { go_on: true, ..route(&[("severity", &["critical", "major"])], &["ops"]) },
        route(&[("label.host", &["db*"]), ("sender", &["*@example.org"])], &["dba", "ops"]),
        route(&[("label.host", &["*"])], &["web"]),
    ];
    let mut a = alert("k", Severity::Major);
    assert_eq!(select(&s, &a, false).why, "route 2 → ops");
    a.labels.add("host", "db1");
    let both = select(&s, &a, false);
    assert_eq!((both.choice, both.why.as_str()), (groups(&["ops", "dba"]), "route 2 → ops; route 3 → dba, ops"));
    a.sender = "x@example.com".into();
    assert_eq!(select(&s, &a, false).choice, groups(&["ops", "web"]), "every field of a route must match");
    a.severity = Severity::Info;
    assert_eq!(select(&s, &a, false).choice, Choice::Silent);
    a.severity = Severity::Minor;
    assert_eq!(select(&s, &a, false).choice, groups(&["web"]));
    let nothing = alert("k", Severity::Minor);
    assert_eq!(select(&s, &nothing, false).choice, Choice::Nobody);
    s.default_group = Some("dba".parse().unwrap());
    assert_eq!(select(&s, &nothing, false).why, "default group → dba");
}

#[test]
fn a_route_that_verifies_says_so_of_what_it_takes() {
    let mut s = three_groups();
    s.routes = vec![
        route(&[("severity", &["minor"])], &["web"]),
        Route { go_on: true, ..route(&[("severity", &["critical", "minor"])], &["ops"]) },
        Route { name: Some("databases".into()), verify: true, ..route(&[("label.host", &["db*"])], &["dba"]) },
    ];
    let verifies = |a: &Alert, source: &Source| router(&s).verifies(a, source);
    let mut a = alert("k", Severity::Critical);
    assert_eq!(verifies(&a, &mailbox()), None, "no route that verifies takes it");
    a.labels.add("host", "db1");
    assert_eq!(verifies(&a, &mailbox()).as_deref(), Some("route 3 (databases)"));
    assert_eq!(verifies(&a, &Source::Probe), None, "it was looked at just now");
    a.nature = Nature::Test;
    assert_eq!(verifies(&a, &mailbox()), None, "the route does not ask for tests");
    a.nature = Nature::Actual;
    a.status = Status::Resolved;
    assert!(verifies(&a, &mailbox()).is_some());
    a.status = Status::Recorded;
    assert_eq!(verifies(&a, &mailbox()), None);
    (a.status, a.severity) = (Status::Firing, Severity::Minor);
    assert_eq!(verifies(&a, &mailbox()), None, "the first route takes it");
}

#[test]
fn silence_does_not_take_back_what_an_earlier_route_wants() {
    let mut s = three_groups();
    s.routes = vec![
        Route { go_on: true, ..route(&[("severity", &["critical"])], &["ops"]) },
        route(&[("label.host", &["lab*"])], &[]),
        route(&[], &["web"]),
    ];
    let mut a = alert("k", Severity::Critical);
    a.labels.add("host", "lab1");
    assert_eq!(select(&s, &a, false).choice, groups(&["ops"]));
    a.severity = Severity::Major;
    assert_eq!(select(&s, &a, false).why, "route 2: recorded without paging");
}

#[test]
fn a_sender_who_may_chooses_the_group() {
    let mut s = three_groups();
    s.routes = vec![route(&[("label.host", &["lab*"])], &[]), route(&[("group", &["web"])], &["ops"])];
    let mut a = alert("k", Severity::Major);
    a.groups = vec!["web".into(), "dba".into(), "web".into(), "no such\u{1b}[31m".into()];
    let chosen = select(&s, &a, true);
    assert_eq!(chosen.choice, groups(&["web", "dba"]));
    let warning = "the sender asks for `no such\\u{1b}[31m`, which does not exist";
    assert_eq!(chosen.warn.as_deref(), Some(warning));
    assert_eq!(chosen.why, format!("asked for by the sender → web, dba; {warning}"));
    let not_allowed = select(&s, &a, false);
    assert_eq!(
        (not_allowed.choice, not_allowed.warn),
        (groups(&["ops"]), None),
        "then it is only something to match on"
    );

    a.groups = vec!["nowhere".into()];
    let unknown = select(&s, &a, true);
    assert_eq!(unknown.choice, Choice::Nobody);
    assert!(unknown.warn.is_some() && unknown.why.starts_with("no route matches"), "{}", unknown.why);

    a.groups = vec!["web".into()];
    a.labels.add("host", "lab1");
    assert_eq!(select(&s, &a, true).choice, Choice::Silent, "a silent route stays silent");
}

#[test]
fn what_is_not_real_is_paged_only_where_a_route_names_it() {
    let mut s = three_groups();
    s.default_group = Some("web".parse().unwrap());
    s.routes = vec![
        route(&[("label.cap.status", &["*"])], &["dba"]),
        route(&[("label.cap.status", &["Test", "Exercise"]), ("severity", &["critical"])], &["ops"]),
        route(&[], &["web"]),
    ];
    let mut a = alert("k", Severity::Critical);
    a.format = Format::Cap;
    a.groups = vec!["web".into()];
    for nature in [Nature::Test, Nature::Exercise] {
        a.nature = nature;
        assert_eq!(select(&s, &a, true).why, "route 2 → ops", "{nature:?}");
    }
    a.severity = Severity::Major;
    let kept = select(&s, &a, true);
    assert_eq!((kept.choice, kept.why.as_str()), (Choice::Silent, "status Exercise: no route asks for it by name"));
    a.nature = Nature::Actual;
    assert_eq!(select(&s, &a, false).choice, groups(&["dba"]));

    s.routes = vec![route(&[("status", &["Test"])], &["ops"]), route(&[("status", &["firing"])], &["web"])];
    assert_eq!(select(&s, &a, false).why, "route 2 → web");
    a.nature = Nature::Test;
    assert_eq!(select(&s, &a, false).why, "route 1 → ops", "as config/mailbell.toml says");
    a.nature = Nature::Draft;
    assert_eq!(select(&s, &a, false).choice, Choice::Silent);
}

#[test]
fn nested_groups_expand_once_in_order_and_policies_merge() {
    let mut s = settings(
        &["alice", "bob", "carol"],
        &[group("ops", &["bob", "@dba", "alice"]), group("dba", &["alice", "carol", "bob"]), group("empty", &[])],
    );
    let quiet =
        PolicyRow { shows: [Show::Chat].into_iter().collect(), offline: Offline::Skip, ..row(&[Severity::Info]) };
    s.groups[0].policy = vec![quiet, PolicyRow { offline: Offline::Send, ..row(&[]) }];
    s.groups[1].policy = vec![PolicyRow {
        fallback: Some("empty".parse().unwrap()),
        fallback_when: FallbackWhen::HoldExpired,
        ..row(&[])
    }];
    let router = router(&s);
    let names: Vec<GroupName> = ["ops", "dba", "empty"].iter().map(|n| n.parse().unwrap()).collect();
    let a = alert("k", Severity::Info);
    let brought = router.bring(&a, &mailbox(), &names, noon());
    let who: Vec<_> = brought.notifications.iter().map(|n| (n.recipient.name.as_str(), n.groups.len())).collect();
    assert_eq!(who, [("bob", 2), ("alice", 2), ("carol", 2)]);
    let merged = Delivery { shows: crate::model::ShowSet::all(), offline: Offline::Hold, hold_for_ms: 60_000 };
    assert!(brought.notifications.iter().all(|n| n.delivery == merged));
    let watched: Vec<_> = brought.groups.iter().map(|(g, f)| (g.as_str(), f.as_ref().map(|f| f.1))).collect();
    assert_eq!(watched, [("ops", None), ("dba", Some(FallbackWhen::HoldExpired)), ("empty", None)]);

    let ops = router.bring(&alert("k", Severity::Major), &mailbox(), &names[..1], noon());
    assert!(ops.notifications.iter().all(|n| n.delivery.offline == Offline::Send), "the second row is for the others");
    let mut of: Vec<_> = router.groups_of(&"carol".parse().unwrap()).iter().map(|g| g.as_str()).collect();
    of.sort_unstable();
    assert_eq!(of, ["dba", "ops"]);
}

#[test]
fn the_built_in_policy_is_the_documented_one() {
    for severity in Severity::ALL {
        let delivery = built_in(severity);
        assert_eq!(delivery.offline, Offline::Hold);
        assert_eq!(delivery.hold_for_ms, 8 * 3_600_000);
        let shows: Vec<_> = Show::ALL.into_iter().filter(|show| delivery.shows.contains(*show)).collect();
        match severity {
            Severity::Critical | Severity::Major => assert_eq!(shows, Show::ALL),
            _ => assert_eq!(shows, [Show::Chat, Show::Available, Show::Away, Show::Xa]),
        }
    }
}

#[test]
fn what_is_not_public_never_reaches_a_public_group() {
    let mut s = settings(&["alice", "bob"], &[group("all", &["bob", "alice"]), group("ops", &["alice", "@all"])]);
    s.groups[0].public = true;
    let router = router(&s);
    let mut a = alert("k", Severity::Critical);
    let names: Vec<GroupName> = ["all", "ops"].iter().map(|n| n.parse().unwrap()).collect();
    assert_eq!(router.bring(&a, &mailbox(), &names, noon()).notifications.len(), 2);
    for audience in [Audience::Restricted, Audience::Private(vec!["alice".into(), "bob".into()])] {
        a.audience = audience;
        let brought = router.bring(&a, &mailbox(), &names, noon());
        let who: Vec<_> =
            brought.notifications.iter().map(|n| (n.recipient.name.as_str(), names_of(&n.groups))).collect();
        assert_eq!(who, [("alice", "ops".to_owned())]);
        assert_eq!(brought.groups, [(names[1].clone(), None)]);
        let why = ["group all: it is public, the alert is not", "bob: only in a public group of ops"];
        assert_eq!(brought.left_out, why);
        assert!(router.fallback(&a, &mailbox(), &names[0], noon()).notifications.is_empty(), "nor as a fallback");
    }
}

fn names_of(groups: &[GroupName]) -> String {
    names(groups)
}

#[test]
fn a_fallback_brings_its_members_and_its_own_fallback() {
    let mut s = three_groups();
    s.groups[0].policy = vec![PolicyRow { fallback: Some("web".parse().unwrap()), ..row(&[Severity::Critical]) }];
    s.operators = Some("dba".parse().unwrap());
    let router = router(&s);
    let ops = "ops".parse().unwrap();
    let who = router.fallback(&alert("k", Severity::Critical), &mailbox(), &ops, noon()).notifications;
    assert_eq!((who.len(), who[0].recipient.name.as_str(), who[0].groups.clone()), (1, "alice", vec![ops.clone()]));
    assert_eq!(router.next(&ops, Severity::Critical), Some(("web".parse().unwrap(), FallbackWhen::Unreachable)));
    assert_eq!(router.next(&ops, Severity::Major), None);

    let [(who, how)] = &router.operators()[..] else { panic!("one operator") };
    assert_eq!((who, how.shows), (&recipient("bob"), built_in(Severity::Warning).shows));
    assert!(how.hold_for_ms > built_in(Severity::Warning).hold_for_ms, "not over before somebody is back");
    assert_eq!(router.recipient(&"carol@example.org".parse().unwrap()), Some(&recipient("carol")));
    assert_eq!(router.recipient(&"mallory@example.org".parse().unwrap()), None);
    assert_eq!(router.recipients().len(), 3);
}

#[test]
fn the_probe_has_no_mailbox() {
    let mut s = three_groups();
    s.routes = vec![route(&[("mailbox", &["*"])], &["ops"]), route(&[("source", &["probe"])], &["web"])];
    let a = alert("k", Severity::Major);
    let choice = router(&s).select(&seen(&a, &Source::Probe, &[], noon())).choice;
    assert_eq!(choice, groups(&["web"]));
}
