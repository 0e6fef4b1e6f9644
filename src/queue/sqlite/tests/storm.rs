//! What waits: for a digest, for the pause after a message about its condition; and what the cap remembers.

use super::bed::*;
use crate::model::*;
use crate::queue::*;

fn until(seconds: i64) -> Wait {
    Wait { until: at(seconds), why: "too much" }
}

fn text(folded: &Folded) -> String {
    let listed = folded.listed.iter().map(|out| out.notification.id.to_string()).collect::<Vec<_>>().join(" ");
    let more: Vec<_> = folded.more.iter().map(|m| format!("{} {:?} {}", m.origin, m.counts, m.resolved)).collect();
    format!("{listed} | {} | {}", more.join("; "), folded.superseded)
}

async fn waits(bed: &Bed, out: &[Outgoing], seconds: i64) {
    bed.store.wait(&ids(out), &until(seconds)).await.unwrap();
}

async fn folded(bed: &Bed, spared: usize, listed: usize, now: i64) -> Option<NotificationId> {
    bed.store.fold(&recipient("alice"), spared, listed, Some(&text), &until(now + 15), at(now)).await.unwrap()
}

#[tokio::test]
async fn what_waits_is_not_due_until_its_time_has_come() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Minor, 0), &["alice"], 1).await;
    waits(&bed, &bed.due(&["alice"], 2).await, 10).await;
    assert!(bed.due(&["alice"], 9).await.is_empty() && bed.store.recipients_due(at(9)).await.unwrap().is_empty());
    assert_eq!(bed.store.next_wait().await.unwrap(), Some(at(10)));
    assert!(bed.store.waited(at(9)).await.unwrap().is_empty());
    let bed = bed.reopen().await;
    let waited = Waited { recipient: "alice".parse().unwrap(), jid: jid("alice"), alerts: 1, critical: 0 };
    assert_eq!(bed.store.waited(at(10)).await.unwrap(), [waited]);
    bed.store.wait_no_more(&jid("alice"), at(10)).await.unwrap();
    assert_eq!(bed.sent(&["alice"], 10).await.len(), 1);
    assert_eq!(bed.store.next_wait().await.unwrap(), None);
}

#[tokio::test]
async fn the_clock_takes_what_waits_along() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Minor, 0), &["alice"], 1).await;
    waits(&bed, &bed.due(&["alice"], 2).await, 10).await;
    bed.store.clock_jumped(jiff::SignedDuration::from_hours(1)).await.unwrap();
    assert_eq!(bed.store.next_wait().await.unwrap(), Some(at(3610)));
}

#[tokio::test]
async fn a_digest_counts_what_it_carries_and_its_end_is_theirs() {
    let bed = Bed::new().await;
    for (n, severity) in [(1, Severity::Critical), (2, Severity::Warning), (3, Severity::Critical), (4, Severity::Info)]
    {
        let mut alert = firing(&format!("k{n}"), severity, 0);
        if n < 4 {
            alert.labels.add("host", "ups-7");
        }
        bed.fired(alert, &["alice", "bob"], 1).await;
    }
    waits(&bed, &bed.due(&["alice"], 2).await, 10).await;
    let before = bed.store.waited(at(10)).await.unwrap();
    assert_eq!((before[0].alerts, before[0].critical), (4, 2));
    // The first critical one goes by itself.
    let digest = folded(&bed, 1, 1, 10).await.unwrap();
    let due = bed.due(&["alice"], 10).await;
    assert_eq!(titles(&due), ["k1 is firing", "5 | ups-7 [(Warning, 1)] 0; ups@example.test [(Info, 1)] 0 | 0"]);
    assert_eq!(due[1].notification.id, digest);
    assert_eq!((due[1].notification.kind, due[1].notification.severity), (Kind::Digest, Severity::Critical));
    bed.sent(&["alice"], 11).await;
    assert_eq!(bed.states().await.iter().filter(|s| **s == "accepted").count(), 5);
    assert_eq!(bed.due(&["bob"], 11).await.len(), 4, "it is nobody else's");
    // Whoever was told of a firing by a digest hears of its end.
    bed.mailed(vec![resolved("k3", 20)], &Rules::to(&[]), &Lane::closed(), 21).await;
    assert_eq!(titles(&bed.due(&["alice"], 22).await), ["k3 is resolved"]);
}

#[tokio::test]
async fn without_a_digest_and_beyond_it_the_rest_waits_on() {
    let bed = Bed::new().await;
    for key in ["a", "b", "c"] {
        bed.fired(firing(key, Severity::Critical, 0), &["alice"], 1).await;
    }
    waits(&bed, &bed.due(&["alice"], 2).await, 10).await;
    let none = bed.store.fold(&recipient("alice"), 1, 9, None, &until(20), at(10)).await.unwrap();
    assert_eq!(none, None);
    assert_eq!(titles(&bed.due(&["alice"], 11).await), ["a is firing"]);
    assert_eq!(bed.store.next_wait().await.unwrap(), Some(at(20)));
}

#[tokio::test]
async fn what_was_resolved_while_it_waited_is_only_counted() {
    let bed = Bed::new().await;
    for key in ["a", "b"] {
        bed.fired(firing(key, Severity::Minor, 0), &["alice"], 1).await;
    }
    waits(&bed, &bed.due(&["alice"], 2).await, 10).await;
    bed.mailed(vec![resolved("a", 3)], &Rules::to(&[]), &Lane::closed(), 4).await;
    folded(&bed, 0, 5, 10).await.unwrap();
    assert_eq!(titles(&bed.due(&["alice"], 11).await), ["2 |  | 1"]);
    assert_eq!(bed.states().await, ["superseded", "queued", "queued"]);
}

/// Told of a firing; its end and the next firing wait together: the newer one tells both, and then it is the one that ends.
#[tokio::test]
async fn of_what_waits_about_a_condition_only_the_newest_is_sent_and_the_end_is_told() {
    for over_again in [false, true] {
        let bed = Bed::new().await;
        let rules = Rules::to(&["alice"]);
        bed.fired(firing("a", Severity::Major, 0), &["alice"], 1).await;
        bed.sent(&["alice"], 1).await;
        bed.mailed(vec![resolved("a", 2)], &rules, &Lane::closed(), 2).await;
        waits(&bed, &bed.due(&["alice"], 2).await, 11).await;
        bed.fired(firing("a", Severity::Major, 3), &["alice"], 3).await;
        let again = bed.due(&["alice"], 3).await;
        assert_eq!((titles(&again), again[0].notification.folds), (vec!["a is firing".to_owned()], 1));
        waits(&bed, &again, 11).await;
        if over_again {
            bed.mailed(vec![resolved("a", 4)], &rules, &Lane::closed(), 4).await;
        }
        bed.store.wait_no_more(&jid("alice"), at(11)).await.unwrap();
        let sent = bed.sent(&["alice"], 11).await;
        if over_again {
            // The second firing was never told: what she hears is the end of the first.
            assert_eq!(titles(&sent), ["a is resolved"]);
            assert_eq!(bed.states().await, ["accepted", "accepted", "superseded"]);
        } else {
            assert_eq!(titles(&sent), ["a is firing"]);
            assert_eq!(bed.states().await, ["accepted", "superseded", "accepted"]);
            assert_eq!(bed.all().await[1].reason, "left out for notification 3");
            bed.mailed(vec![resolved("a", 20)], &rules, &Lane::closed(), 20).await;
            assert_eq!(titles(&bed.sent(&["alice"], 21).await), ["a is resolved"]);
        }
        assert!(bed.due(&["alice"], 99).await.is_empty());
    }
}

#[tokio::test]
async fn a_worse_alert_does_not_wait_behind_what_waits() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Minor, 0), &["alice"], 1).await;
    waits(&bed, &bed.due(&["alice"], 1).await, 60).await;
    bed.fired(firing("a", Severity::Critical, 2), &["alice"], 2).await;
    let sent = bed.sent(&["alice"], 3).await;
    assert_eq!((sent.len(), sent[0].notification.severity), (1, Severity::Critical));
    assert_eq!(bed.states().await, ["superseded", "accepted"]);
    assert!(
        bed.store.watches(None, 10).await.unwrap().iter().all(|w| w.alert == AlertId(2)),
        "the newer alert has its own"
    );
}

#[tokio::test]
async fn what_a_digest_carries_comes_before_what_is_newer() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Minor, 0), &["alice"], 1).await;
    waits(&bed, &bed.due(&["alice"], 1).await, 10).await;
    folded(&bed, 0, 1, 10).await.unwrap();
    bed.fired(firing("a", Severity::Critical, 11), &["alice"], 11).await;
    assert_eq!(bed.sent(&["alice"], 12).await[0].notification.kind, Kind::Digest);
    assert_eq!(titles(&bed.sent(&["alice"], 13).await), ["a is firing"]);
}

#[tokio::test]
async fn a_digest_that_is_skipped_skips_what_it_carries() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Minor, 0), &["alice"], 1).await;
    waits(&bed, &bed.due(&["alice"], 1).await, 10).await;
    let digest = folded(&bed, 0, 1, 10).await.unwrap();
    bed.store.skip(&[digest], SKIPPED, at(11)).await.unwrap();
    assert_eq!(bed.states().await, ["expired", "superseded"]);
    assert_eq!(bed.all().await[0].reason, SKIPPED);
}

#[tokio::test]
async fn every_copy_is_remembered_for_the_cap() {
    let bed = Bed::new().await;
    bed.mailed(vec![firing("a", Severity::Major, 0)], &Rules::to(&["alice"]), &Lane::open(1), 1).await;
    bed.store.in_doubt(at(2)).await.unwrap();
    let bed = bed.reopen().await;
    bed.sent(&["alice"], 3).await;
    let intents = bed.store.intents(at(0)).await.unwrap();
    assert_eq!(intents.iter().map(|i| i.at).collect::<Vec<_>>(), [at(1), at(3)]);
    let Intent { jid: to, kind, sender, severity, condition, .. } = intents[0].clone();
    assert_eq!((to, kind, sender.as_str(), severity), (jid("alice"), Kind::Alert, "ups@example.test", Severity::Major));
    assert_eq!(condition, Some(ConditionId(1)));
    assert_eq!(bed.store.intents(at(2)).await.unwrap().len(), 1);
    bed.store.expire(at(3600)).await.unwrap();
    assert!(bed.store.intents(at(0)).await.unwrap().is_empty(), "not for ever");
}
