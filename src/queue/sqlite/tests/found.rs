use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::sync::atomic::Ordering;
use std::task::Poll;

use proptest::prelude::*;
use sqlx::Row;

use super::bed::*;
use super::together::seen;
use crate::model::*;
use crate::queue::*;

fn down(host: &str, sent: i64) -> Found {
    finding(host, Some("down"), &[firing(host, Severity::Major, sent)])
}

fn up(host: &str, sent: i64) -> Found {
    finding(host, None, &[resolved(host, sent)])
}

async fn states(bed: &Bed) -> Vec<(String, String)> {
    bed.store.probe_states().await.unwrap()
}

fn named(states: &[(&str, &str)]) -> Vec<(String, String)> {
    states.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect()
}

/// Drops the future when it wants to be polled once more than that.
async fn dropped_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let (mut future, mut done) = (Box::pin(future), 0);
    poll_fn(|context| {
        if done == polls {
            return Poll::Ready(None);
        }
        done += 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test]
async fn what_is_found_is_told_like_what_was_mailed() {
    let bed = Bed::new().await;
    let report = bed.found(&[down("db1", 1)], &Rules::to(&["ann", "bob"]), &Lane::closed(), 2).await;
    assert_eq!((report.done, report.born.len(), report.queued), (1, 0, 2));
    let bed = bed.reopen().await;
    assert_eq!(states(&bed).await, named(&[("db1", "down")]));
    let due = bed.due(&["ann"], 3).await;
    assert_eq!(titles(&due), ["db1 is firing"]);
    let Content::Alert(record) = &due[0].content else { panic!("no alert") };
    assert_eq!((record.source.as_str(), record.received), ("probe", at(2)));
    let view = bed.store.show_alert(AlertId(1)).await.unwrap().unwrap();
    assert_eq!((view.message, view.state), (None, AlertState::Routed));
    let steps: Vec<_> = view.timeline.iter().map(|s| (s.at, s.event.as_str(), s.detail.as_str())).collect();
    let expected = [("raised", "probe"), ("condition", "key db1 within probe/db1"), ("routed", "route 1")];
    assert_eq!(steps[..3], expected.map(|(event, detail)| (at(2), event, detail)));
}

#[tokio::test]
async fn a_state_and_its_alerts_are_kept_together_or_not_at_all() {
    let bed = Bed::new().await;
    // The alert fits, the state does not.
    let mut lease = bed.store.writer().await.unwrap();
    let pages: i64 = sqlx::query("PRAGMA page_count").fetch_one(&mut lease.conn).await.unwrap().get(0);
    let few = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {}", pages + 20));
    sqlx::raw_sql(few).execute(&mut lease.conn).await.unwrap();
    lease.keep();
    let found = [Found { state: Some("x".repeat(1 << 20)), ..down("db1", 1) }];
    let (rules, lane) = (Rules::to(&["ann"]), Lane::open(5));
    let err = bed.store.d2_found(&Source::Probe, &found, &rules, &lane, at(1)).await.unwrap_err();
    assert_eq!(err.fault, StoreFault::Full, "{err}");
    assert_eq!((lane.taken.load(Ordering::Relaxed), lane.released.load(Ordering::Relaxed)), (1, 1));
    assert_eq!((bed.rows("alert").await, bed.rows("condition").await, bed.rows("probe_state").await), (0, 0, 0));
    // Another connection has no such limit.
    let report = bed.found(&found, &rules, &lane, 2).await;
    assert_eq!((report.done, report.born.len()), (1, 1));
    assert_eq!((bed.rows("alert").await, bed.rows("probe_state").await), (1, 1));
}

#[tokio::test]
async fn cut_off_anywhere_it_has_happened_whole_or_not_at_all() {
    let (mut nothing, mut all) = (0, 0);
    for polls in 1..100 {
        let bed = Bed::new().await;
        bed.found(&[down("db1", 1)], &Rules::to(&["ann"]), &Lane::open(1), 1).await;
        let (rules, lane) = (Rules::to(&["ann"]), Lane::open(9));
        let found = [up("db1", 2), down("db2", 2), finding("db3", Some("soft"), &[])];
        let done = dropped_after(polls, bed.store.d2_found(&Source::Probe, &found, &rules, &lane, at(2))).await;
        let ended = done.is_some();
        let bed = bed.reopen().await;
        let kept = (bed.rows("alert").await, bed.all().await.len(), states(&bed).await);
        match kept.0 {
            1 => {
                assert_eq!(kept, (1, 1, named(&[("db1", "down")])));
                assert!(!ended, "it said that it was committed");
                nothing += 1;
            }
            _ => {
                assert_eq!(kept, (3, 3, named(&[("db2", "down"), ("db3", "soft")])));
                all += 1;
            }
        }
        let (taken, released) = (lane.taken.load(Ordering::Relaxed), lane.released.load(Ordering::Relaxed));
        assert!(ended || released == taken, "places are given back: {released} of {taken}");
        if ended {
            break;
        }
    }
    assert!(nothing > 2 && all > 0, "cut off {nothing} times before, {all} times after the commit");
}

#[tokio::test]
async fn what_is_found_again_tells_nobody() {
    let bed = Bed::new().await;
    let (rules, lane) = (Rules::to(&["ann"]), Lane::open(9));
    assert_eq!(bed.found(&[down("db1", 1)], &rules, &lane, 1).await.born.len(), 1);
    let worse = Found { state: Some("worse".into()), ..down("db1", 1) };
    let again = bed.found(&[worse], &rules, &lane, 2).await;
    assert_eq!((again.done, again.born.len(), again.queued), (1, 0, 0));
    let second = bed.store.show_alert(AlertId(2)).await.unwrap().unwrap();
    assert_eq!((second.state, second.reason.as_str()), (AlertState::Recorded, "the same as #1"));
    assert_eq!(states(&bed).await, named(&[("db1", "worse")]));
}

#[tokio::test]
async fn the_end_goes_to_exactly_those_who_were_told_after_a_restart_too() {
    let bed = Bed::new().await;
    bed.found(&[down("db1", 1)], &Rules::to(&["ann", "bob"]), &Lane::closed(), 1).await;
    bed.sent(&["ann"], 2).await;
    let bed = bed.reopen().await;
    bed.found(&[up("db1", 61)], &Rules::to(&["cid"]), &Lane::closed(), 61).await;
    let due = bed.due(&["ann", "bob", "cid"], 62).await;
    assert_eq!(titles(&due), ["db1 is resolved"]);
    assert_eq!(due[0].notification.jid, jid("ann"));
    let Content::Alert(record) = &due[0].content else { panic!("no alert") };
    assert_eq!(record.resolves, Some((AlertId(1), std::time::Duration::from_secs(60))));
    assert_eq!(bed.states().await, ["accepted", "superseded", "queued"]);
    assert_eq!(states(&bed).await, []);
}

#[tokio::test]
async fn of_many_only_so_many_are_committed_that_others_need_not_wait_long() {
    let bed = Bed::new().await;
    let rules = Rules::to(&["ann", "bob", "cid"]);
    let quiet = |n: usize| finding(&format!("soft{n:03}"), Some("soft"), &[]);
    let found: Vec<_> = (0..200).flat_map(|n| [quiet(n), down(&format!("db{n:03}"), 1)]).collect();
    let (lane, mut done, mut told) = (Lane::open(100), 0, 0);
    while done < found.len() {
        let report = bed.found(&found[done..], &rules, &lane, 5).await;
        assert!(report.done > 0 && report.born.len() + report.queued <= 258, "a commit stays short: {report:?}");
        (done, told) = (done + report.done, told + report.born.len() + report.queued);
        let names: BTreeSet<_> = found[..done].iter().map(|found| found.name.as_str()).collect();
        let states = states(&bed).await;
        assert_eq!(states.iter().map(|(name, _)| name.as_str()).collect::<BTreeSet<_>>(), names);
        assert_eq!(bed.rows("alert").await, found[..done].iter().map(|found| found.alerts.len() as i64).sum::<i64>());
    }
    assert_eq!(told, 200 * 3);

    // Those that tell nothing are many in one commit, but not any number.
    let found: Vec<_> = (0..600).map(quiet).collect();
    let mut commits = Vec::new();
    while commits.iter().sum::<usize>() < found.len() {
        let rest = &found[commits.iter().sum()..];
        commits.push(bed.found(rest, &rules, &lane, 6).await.done);
    }
    assert_eq!(commits, [256, 256, 88]);
    assert_eq!(bed.found(&[], &rules, &lane, 7).await.done, 0);
}

#[tokio::test]
async fn states_are_replaced_and_removed_and_the_last_word_on_a_name_counts() {
    let bed = Bed::new().await;
    let (rules, lane) = (Rules::to(&["ann"]), Lane::closed());
    let quiet = |name: &str, state| finding(name, state, &[]);
    let odd = r#"{"why": "\"refused\"\n\\ 'é' \u0041"}"#;
    bed.found(&[quiet("b", Some("1")), quiet("a", Some(odd)), quiet("c", Some(""))], &rules, &lane, 1).await;
    assert_eq!(states(&bed).await, named(&[("a", odd), ("b", "1"), ("c", "")]));
    let found = [
        quiet("a", Some("2")),
        quiet("b", None),
        quiet("d", None),
        quiet("a", Some("3")),
        quiet("e", Some("1")),
        quiet("e", None),
        quiet("c", None),
        quiet("c", Some("4")),
    ];
    bed.found(&found, &rules, &lane, 2).await;
    assert_eq!(states(&bed).await, named(&[("a", "3"), ("c", "4")]));
}

#[tokio::test]
async fn what_follows_one_another_is_told_in_order() {
    let bed = Bed::new().await;
    let found = [down("db1", 1), up("db1", 2), down("db1", 3)];
    let report = bed.found(&found, &Rules::to(&["ann"]), &Lane::open(9), 3).await;
    assert_eq!(report.done, 3);
    assert_eq!(titles(&report.born), ["db1 is firing", "db1 is resolved", "db1 is firing"]);
    assert_eq!(states(&bed).await, named(&[("db1", "down")]));
    // Of one finding too.
    let both = finding("db2", None, &[firing("db2", Severity::Major, 4), resolved("db2", 5)]);
    let report = bed.found(&[both], &Rules::to(&["ann"]), &Lane::open(9), 5).await;
    assert_eq!(titles(&report.born), ["db2 is firing", "db2 is resolved"]);
}

#[tokio::test]
async fn what_one_finding_breaks_stops_no_other_and_does_not_come_again() {
    let bed = Bed::new().await;
    let poison = Alert { title: "panic".into(), ..firing("p", Severity::Critical, 1) };
    let found = [
        down("db1", 1),
        finding("evil", Some("down"), &[firing("e", Severity::Critical, 1), poison.clone()]),
        finding("worse", Some("down"), &[poison]),
        down("db2", 1),
    ];
    let lane = Lane::open(9);
    let report = bed.found(&found, &Rules::to(&["ann"]), &lane, 1).await;
    assert_eq!(report.done, 4);
    assert_eq!(titles(&report.born), ["db1 is firing", "db2 is firing"]);
    assert_eq!(lane.taken.load(Ordering::Relaxed) - lane.released.load(Ordering::Relaxed), 2);
    let bed = bed.reopen().await;
    assert_eq!(states(&bed).await, named(&[("db1", "down"), ("db2", "down"), ("evil", "down"), ("worse", "down")]));
    assert_eq!((bed.rows("alert").await, bed.rows("condition").await, bed.rows("notification").await), (2, 2, 2));
    let due = bed.store.notices_due(at(2)).await.unwrap();
    assert_eq!((due.len(), due[0].topic.as_str(), due[0].count), (1, "probe", 2));
    let said = "probe: what was found of `worse` is told to nobody: internal error in routing: ";
    assert!(due[0].text.starts_with(said) && due[0].text.contains("told to panic"), "{}", due[0].text);
}

#[tokio::test]
async fn what_nobody_subscribes_to_is_reported_and_noted() {
    let bed = Bed::new().await;
    let report = bed.found(&[down("db1", 1)], &Rules::to(&[]), &Lane::closed(), 1).await;
    assert_eq!(report.unsubscribed, [(AlertId(1), "db1 is firing".to_owned())]);
    let due = bed.store.notices_due(at(2)).await.unwrap();
    assert_eq!((due[0].topic.as_str(), due[0].text.as_str()), ("unsubscribed", "#1 from probe: db1 is firing"));
}

#[tokio::test]
async fn a_mail_of_the_same_words_is_another_condition() {
    let bed = Bed::new().await;
    let alert = Alert { sender: "db1".into(), ..firing("db1", Severity::Major, 1) };
    bed.found(&[finding("db1", None, std::slice::from_ref(&alert))], &Rules::to(&["ann"]), &Lane::closed(), 1).await;
    bed.fired(alert, &["ann"], 1).await;
    assert_eq!((bed.rows("condition").await, bed.rows("notification").await), (2, 2));
}

#[tokio::test]
async fn a_purge_takes_alerts_without_a_mail_and_leaves_states_and_what_is_open() {
    let bed = Bed::new().await;
    for (host, sent) in [("over", 1), ("open", 2)] {
        bed.found(&[down(host, sent)], &Rules::to(&["ann"]), &Lane::closed(), sent).await;
        bed.sent(&["ann"], sent).await;
    }
    let over = finding("over", Some("flaps"), &[resolved("over", 3)]);
    bed.found(&[over], &Rules::to(&[]), &Lane::closed(), 3).await;
    bed.sent(&["ann"], 3).await;
    bed.store.unconfirm(at(10), at(10)).await.unwrap();
    let watches = bed.store.watches(None, 9).await.unwrap();
    let ends = watches.into_iter().map(|w| (w.alert, w.group, WatchEnd::Reached)).collect();
    bed.store.end_watches(ends, at(10)).await.unwrap();
    bed.purged(1000).await;
    let left: Vec<_> = bed.all().await.iter().map(|n| n.title.clone()).collect();
    assert_eq!(left, ["open is firing"]);
    assert_eq!(bed.rows("condition").await, 1);
    assert_eq!(states(&bed).await, named(&[("open", "down"), ("over", "flaps")]));
    bed.found(&[up("open", 2000)], &Rules::to(&[]), &Lane::closed(), 2000).await;
    assert_eq!(titles(&bed.due(&["ann"], 2000).await), ["open is resolved"]);
    assert!(bed.broken_references().await.is_empty());
}

/// A finding of a batch: of which host, and what it tells.
fn some_finding() -> impl Strategy<Value = Found> {
    let alert = (0..9u8, 0..4u8, 0..8u8).prop_map(|(key, severity, kind)| {
        let key = format!("k{key}");
        let firing = firing(&key, Severity::ALL[usize::from(severity)], i64::from(severity));
        match kind {
            0 => resolved(&key, 9),
            1 => Alert { title: "panic".into(), ..firing },
            _ => firing,
        }
    });
    let alerts = prop_oneof![
        1 => Just(Vec::new()),
        6 => alert.clone().prop_map(|alert| vec![alert]),
        1 => proptest::collection::vec(alert, 2..4),
    ];
    (0..6u8, proptest::option::of(0..3u8), alerts).prop_map(|(name, state, alerts)| Found {
        name: format!("h{name}"),
        state: state.map(|state| state.to_string()),
        alerts,
    })
}

async fn compare(batch: &[Found], places: usize) {
    let mut views = Vec::new();
    for most in [batch.len(), 1] {
        let (bed, lane) = (Bed::new().await, Lane::open(places));
        let rules = Rules::to(&["ann", "bob", "cid"]);
        let (mut done, mut born, mut queued) = (0, Vec::new(), 0);
        while done < batch.len() {
            let report = bed.found(&batch[done..batch.len().min(done + most)], &rules, &lane, 5).await;
            born.extend(ids(&report.born));
            (done, queued) = (done + report.done, queued + report.queued);
        }
        views.push((seen(&bed, &[]).await, born, queued, states(&bed).await));
    }
    assert_eq!(views[0], views[1], "together, and one by one");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_found_together_comes_to_the_same_as_one_by_one(
        batch in proptest::collection::vec(some_finding(), 1..16),
        places in 0..30usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(compare(&batch, places));
    }
}
