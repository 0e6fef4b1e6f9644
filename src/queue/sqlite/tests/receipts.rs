//! Receipts that do not come.

use jiff::SignedDuration;

use super::bed::*;
use crate::model::*;
use crate::queue::*;

/// Beyond it nothing waits to be sent again, unless its hold is longer (a minute, from when it was committed).
const PATIENCE: SignedDuration = SignedDuration::from_secs(20);

fn receipt(who: &str, out: &Outgoing) -> Receipt {
    Receipt { from: jid(who), stanza_id: out.notification.stanza_id.clone() }
}

/// These have sent a receipt.
async fn answering(who: &[&str]) -> Bed {
    let bed = Bed::new().await;
    bed.fired(firing("first", Severity::Minor, 1), who, 1).await;
    let sent = bed.sent(who, 1).await;
    let receipts = sent
        .iter()
        .map(|out| Receipt { from: out.notification.jid.clone(), stanza_id: out.notification.stanza_id.clone() });
    let receipts: Vec<_> = receipts.collect();
    assert!(bed.store.d5_delivered(&receipts, at(1)).await.unwrap().is_empty());
    bed
}

/// The receipt time of what was accepted before `before` is over.
async fn missed(bed: &Bed, before: i64, now: i64) -> (u64, u64) {
    assert_eq!(bed.store.unconfirm(at(before), at(now)).await.unwrap(), 0, "of whom receipts were seen");
    let missed = bed.store.miss(at(before), PATIENCE, at(now)).await.unwrap();
    (missed.again, missed.unconfirmed)
}

async fn due(bed: &Bed, who: &str, before: i64, now: i64) -> Vec<Outgoing> {
    bed.store.unanswered(&jid(who), at(before), 10, at(now)).await.unwrap()
}

async fn resent(bed: &Bed, who: &str, now: i64) -> Vec<Outgoing> {
    let due = due(bed, who, now, now).await;
    assert_eq!(bed.store.d3_resend(&ids(&due), Epoch(1), at(now)).await.unwrap(), ids(&due));
    due
}

/// Events of an alert from its notifications' first acceptance on.
async fn events(bed: &Bed, alert: i64) -> Vec<String> {
    let shown = bed.store.show_alert(AlertId(alert)).await.unwrap().unwrap();
    let from = shown.timeline.iter().position(|row| row.event == "accepted").unwrap();
    shown.timeline[from..].iter().map(|row| row.event.clone()).collect()
}

#[tokio::test]
async fn who_never_sent_a_receipt_is_not_waited_for() {
    let bed = answering(&["bob"]).await;
    bed.fired(firing("a", Severity::Critical, 2), &["ann"], 2).await;
    let sent = bed.sent(&["ann"], 2).await;
    assert_eq!(bed.store.miss(at(9), PATIENCE, at(9)).await.unwrap(), Missed::default());
    assert_eq!(bed.store.unconfirm(at(2), at(9)).await.unwrap(), 0);
    assert_eq!(bed.store.unconfirm(at(3), at(9)).await.unwrap(), 1);
    let last = bed.all().await.pop().unwrap();
    assert_eq!((last.state, last.reason.as_str()), (NotificationState::Unconfirmed, "no receipt"));
    assert!(due(&bed, "ann", 100, 100).await.is_empty());
    // A forged one proves nothing of ann.
    let forged = Receipt { from: jid("bob"), ..receipt("ann", &sent[0]) };
    assert_eq!(bed.store.d5_delivered(std::slice::from_ref(&forged), at(10)).await.unwrap(), [forged]);
    bed.fired(firing("b", Severity::Critical, 11), &["ann"], 11).await;
    bed.sent(&["ann"], 11).await;
    assert_eq!(bed.store.unconfirm(at(12), at(20)).await.unwrap(), 1);
}

#[tokio::test]
async fn what_misses_its_receipt_is_sent_again_once_and_then_unconfirmed() {
    let bed = answering(&["ann"]).await.reopen().await;
    bed.fired(firing("a", Severity::Major, 2), &["ann"], 2).await;
    let first = bed.sent(&["ann"], 2).await;
    assert_eq!(bed.store.awaited().await.unwrap(), Awaited { receipt: Some(at(2)), ..Awaited::default() });
    assert_eq!(missed(&bed, 3, 10).await, (1, 0));
    assert_eq!(missed(&bed, 3, 10).await, (0, 0), "noted once");
    let bed = bed.reopen().await;
    assert_eq!(
        bed.store.awaited().await.unwrap(),
        Awaited { receipt: None, again: Some(at(2)), until: Some(at(62)) },
        "as long as the hold"
    );
    assert!(bed.store.recipients_unanswered(at(2)).await.unwrap().is_empty());
    assert_eq!(bed.store.recipients_unanswered(at(3)).await.unwrap(), [jid("ann")]);
    assert!(bed.due(&["ann"], 13).await.is_empty() && due(&bed, "ann", 2, 13).await.is_empty());

    let second = resent(&bed, "ann", 13).await;
    let (was, is) = (&first[0].notification, &second[0].notification);
    assert_eq!((&is.stanza_id, is.first_intent, is.state), (&was.stanza_id, Some(at(2)), NotificationState::Accepted));
    assert!(second[0].in_doubt, "marked as one that may be the second");
    assert!(bed.store.d3_resend(&[is.id], Epoch(1), at(13)).await.unwrap().is_empty(), "never a second time");
    let bed = bed.reopen().await;
    assert_eq!(bed.store.in_doubt(at(14)).await.unwrap(), 0, "nor after a crash");
    assert!(due(&bed, "ann", 90, 90).await.is_empty() && bed.due(&["ann"], 90).await.is_empty());
    assert_eq!(bed.store.intents(at(13)).await.unwrap().len(), 1, "the cap counts it");
    assert_eq!(missed(&bed, 13, 20).await, (0, 0));
    assert_eq!(missed(&bed, 14, 20).await, (0, 1));
    let last = bed.all().await.pop().unwrap();
    assert_eq!(
        (last.state, last.reason.as_str()),
        (NotificationState::Unconfirmed, "no receipt, of the second copy neither")
    );
    assert_eq!(events(&bed, 2).await, ["accepted", "no receipt", "sent again", "unconfirmed"]);

    // Their client sends none any more, as it seems: the next is not waited for, until there is one again.
    bed.fired(firing("b", Severity::Major, 30), &["ann"], 30).await;
    bed.sent(&["ann"], 30).await;
    assert_eq!(bed.store.unconfirm(at(31), at(40)).await.unwrap(), 1);
    bed.store.d5_delivered(&[receipt("ann", &first[0])], at(41)).await.unwrap();
    bed.fired(firing("c", Severity::Major, 42), &["ann"], 42).await;
    bed.sent(&["ann"], 42).await;
    assert_eq!(bed.states().await, ["delivered", "delivered", "unconfirmed", "accepted"], "late, and true");
    assert_eq!(missed(&bed, 43, 50).await, (1, 0));
}

#[tokio::test]
async fn a_receipt_of_either_copy_ends_the_wait() {
    let bed = answering(&["ann"]).await;
    for (key, again) in [("a", false), ("b", true)] {
        bed.fired(firing(key, Severity::Major, 2), &["ann"], 2).await;
        let sent = bed.sent(&["ann"], 2).await;
        missed(&bed, 3, 10).await;
        if again {
            resent(&bed, "ann", 13).await;
        }
        bed.store.d5_delivered(&[receipt("ann", &sent[0])], at(14)).await.unwrap();
    }
    assert_eq!(bed.states().await, ["delivered"; 3]);
    assert_eq!(bed.store.awaited().await.unwrap(), Awaited::default());
    assert!(due(&bed, "ann", 90, 90).await.is_empty());
}

#[tokio::test]
async fn what_is_over_or_reported_anew_is_not_sent_again() {
    let bed = answering(&["ann"]).await;
    for key in ["over", "worse", "stands"] {
        bed.fired(firing(key, Severity::Minor, 2), &["ann"], 2).await;
    }
    bed.sent(&["ann"], 2).await;
    missed(&bed, 3, 10).await;
    bed.fired(resolved("over", 11), &[], 11).await;
    bed.fired(firing("worse", Severity::Major, 11), &["ann"], 11).await;
    bed.sent(&["ann"], 11).await;
    assert_eq!(titles(&resent(&bed, "ann", 12).await), ["stands is firing"]);
    let all = bed.all().await;
    for gone in &all[1..3] {
        assert_eq!(
            (gone.state, gone.reason.as_str()),
            (NotificationState::Unconfirmed, "no receipt; not sent again: it was reported anew, or over")
        );
    }
    // The resolution itself is the newest report: it is sent again, and so is the worse one.
    assert_eq!(missed(&bed, 12, 20).await, (2, 0));
    let newest = resent(&bed, "ann", 21).await;
    assert_eq!(titles(&newest), ["worse is firing", "over is resolved"]);
    let receipts: Vec<_> = newest.iter().map(|out| receipt("ann", out)).collect();
    bed.store.d5_delivered(&receipts, at(22)).await.unwrap();
    // What is over before its receipt is missed does not even begin.
    bed.fired(firing("short", Severity::Critical, 5), &["ann"], 5).await;
    bed.sent(&["ann"], 5).await;
    bed.fired(resolved("short", 6), &[], 6).await;
    assert_eq!(missed(&bed, 6, 40).await, (0, 1));
    assert!(bed.store.watches(None, 10).await.unwrap().iter().all(|watch| !watch.unanswered));
}

#[tokio::test]
async fn it_is_sent_again_in_time_or_not_at_all() {
    let bed = answering(&["ann", "bob"]).await;
    let short = Rules { expires: Some(at(30)), ..Rules::to(&["ann"]) };
    bed.mailed(vec![firing("a", Severity::Minor, 2)], &short, &Lane::closed(), 2).await;
    bed.fired(firing("b", Severity::Major, 2), &["bob"], 2).await;
    bed.sent(&["ann", "bob"], 2).await;
    missed(&bed, 3, 10).await;
    assert!(due(&bed, "ann", 31, 31).await.is_empty());
    assert_eq!(missed(&bed, 3, 61).await, (0, 0));
    assert_eq!(missed(&bed, 3, 62).await, (0, 1));
    let reasons: Vec<_> = bed.all().await.iter().skip(2).map(|n| n.reason.clone()).collect();
    assert_eq!(
        reasons,
        [
            "no receipt; not sent again: of no use any more",
            "no receipt; not sent again: the recipient could not be reached in time"
        ]
    );
    // Who is no recipient any more is sent nothing more.
    bed.fired(firing("c", Severity::Major, 70), &["bob"], 70).await;
    bed.sent(&["bob"], 70).await;
    missed(&bed, 71, 80).await;
    bed.store.never_again(&jid("bob"), "gone", at(81)).await.unwrap();
    let last = bed.all().await.pop().unwrap();
    assert_eq!((last.state, last.reason.as_str()), (NotificationState::Unconfirmed, "gone"));
}

#[tokio::test]
async fn who_changed_to_a_client_without_receipts_gets_one_second_copy_not_all_of_them() {
    let bed = answering(&["ann"]).await;
    bed.fired(firing("a", Severity::Major, 2), &["ann"], 2).await;
    bed.sent(&["ann"], 2).await;
    missed(&bed, 3, 10).await;
    bed.fired(firing("b", Severity::Major, 14), &["ann"], 14).await;
    bed.sent(&["ann"], 14).await;
    let second = due(&bed, "ann", 14, 20).await;
    assert_eq!(bed.store.d3_resend(&ids(&second), Epoch(1), at(20)).await.unwrap().len(), 1);
    assert_eq!(missed(&bed, 15, 20).await, (1, 0));
    assert_eq!(missed(&bed, 21, 30).await, (0, 1));
    assert!(due(&bed, "ann", 90, 90).await.is_empty());
    let last = bed.all().await.pop().unwrap();
    assert_eq!(last.reason, "no receipt; not sent again: their client sends no receipts any more");
}

#[tokio::test]
async fn what_was_never_written_again_may_be_once_more() {
    let bed = answering(&["ann"]).await;
    bed.fired(firing("a", Severity::Major, 2), &["ann"], 2).await;
    bed.sent(&["ann"], 2).await;
    missed(&bed, 3, 10).await;
    let out = resent(&bed, "ann", 13).await.remove(0).notification;
    bed.store.not_resent(std::slice::from_ref(&out.stanza_id)).await.unwrap();
    assert_eq!(events(&bed, 2).await, ["accepted", "no receipt"], "nothing was");
    let again = resent(&bed, "ann", 14).await.remove(0).notification;
    assert_eq!((again.attempts, &again.stanza_id), (out.attempts, &out.stanza_id));
}

#[tokio::test]
async fn a_bounce_of_the_second_copy_is_as_any_other() {
    let bed = answering(&["ann"]).await;
    bed.fired(firing("a", Severity::Major, 2), &["ann"], 2).await;
    let sent = bed.sent(&["ann"], 2).await;
    missed(&bed, 3, 10).await;
    resent(&bed, "ann", 13).await;
    bed.store.retry(&sent[0].notification.stanza_id, at(30), "busy", at(14)).await.unwrap();
    assert_eq!(bed.sent(&["ann"], 30).await.len(), 1);
    assert_eq!(missed(&bed, 30, 31).await, (0, 0), "its receipt is waited for anew");
    assert_eq!(missed(&bed, 31, 40).await, (0, 1), "and it is not sent again for want of one");
}

#[tokio::test]
async fn what_a_digest_covers_follows_it() {
    let bed = answering(&["ann"]).await;
    for (key, severity) in [("a", Severity::Minor), ("b", Severity::Minor), ("c", Severity::Critical)] {
        bed.fired(firing(key, severity, 2), &["ann"], 2).await;
    }
    let waits = Wait { until: at(3), why: "too much" };
    bed.store.wait(&ids(&bed.due(&["ann"], 2).await), &waits).await.unwrap();
    let text: DigestText<'_> = &|_| "three alerts".to_owned();
    bed.store.fold(&recipient("ann"), 0, 9, Some(text), &waits, at(4)).await.unwrap().unwrap();
    let watch = (AlertId(4), "ops".parse().unwrap(), WatchEnd::Reached);
    let sent = bed.sent(&["ann"], 5).await;
    bed.store.end_watches(vec![watch], at(5)).await.unwrap();
    assert_eq!(missed(&bed, 6, 10).await, (1, 0));
    let watches = bed.store.watches(None, 10).await.unwrap();
    let again: Vec<_> = watches.iter().filter(|w| w.unanswered).map(|w| w.alert).collect();
    assert_eq!(again, [AlertId(4)], "the critical one that it covers");

    bed.fired(resolved("a", 11), &[], 11).await;
    assert_eq!(titles(&resent(&bed, "ann", 12).await), ["three alerts"], "two of it still stand");
    assert_eq!(events(&bed, 3).await, ["accepted", "no receipt", "sent again"]);
    assert_eq!(bed.states().await[1..5], ["accepted"; 4]);
    assert_eq!(missed(&bed, 13, 20).await.1, 1);
    assert_eq!(bed.states().await[1..5], ["unconfirmed"; 4]);
    bed.store.d5_delivered(&[receipt("ann", &sent[0])], at(21)).await.unwrap();
    assert_eq!(bed.states().await[1..5], ["delivered"; 4]);
}

#[tokio::test]
async fn a_digest_of_what_is_over_is_not_sent_again() {
    let bed = answering(&["ann"]).await;
    for key in ["a", "b"] {
        bed.fired(firing(key, Severity::Minor, 2), &["ann"], 2).await;
    }
    bed.store.hold(&ids(&bed.due(&["ann"], 2).await), at(100), "offline", at(2)).await.unwrap();
    let held = ids(&bed.store.returning(&jid("ann"), 9).await.unwrap().held);
    bed.store.digest(&recipient("ann"), &held, "two", at(3)).await.unwrap().unwrap();
    bed.sent(&["ann"], 3).await;
    missed(&bed, 4, 10).await;
    for key in ["a", "b"] {
        bed.fired(resolved(key, 11), &[], 11).await;
    }
    assert!(due(&bed, "ann", 12, 12).await.is_empty());
    assert_eq!(bed.states().await[1..4], ["unconfirmed"; 3]);
}

#[tokio::test]
async fn a_critical_alert_has_its_groups_watched_anew_and_each_falls_back_once() {
    let bed = answering(&["ann", "bob"]).await;
    let (ops, boss): (GroupName, GroupName) = ("ops".parse().unwrap(), "boss".parse().unwrap());
    bed.fired(firing("a", Severity::Critical, 2), &["ann", "bob"], 2).await;
    bed.fired(firing("b", Severity::Major, 2), &["ann"], 2).await;
    bed.sent(&["ann"], 2).await;
    bed.sent(&["bob"], 4).await;
    let reached = |alert| (AlertId(alert), ops.clone(), WatchEnd::Reached);
    bed.store.end_watches(vec![reached(1), reached(2), reached(3)], at(3)).await.unwrap();
    missed(&bed, 3, 10).await;
    let bed = bed.reopen().await;
    let watches = bed.store.watches(None, 10).await.unwrap();
    assert_eq!(watches.iter().map(|w| (w.alert, w.unanswered)).collect::<Vec<_>>(), [(AlertId(2), true)]);
    let members: Vec<_> = watches[0].members.iter().map(|m| (m.jid.clone(), m.missed)).collect();
    assert_eq!(members, [(jid("ann"), true), (jid("bob"), false)]);
    let end = WatchEnd::Fallback { group: boss, next: None, notifications: Vec::new(), left_out: Vec::new() };
    bed.store.end_watches(vec![(AlertId(2), ops, end)], at(11)).await.unwrap();
    missed(&bed, 5, 12).await;
    let left = bed.store.watches(None, 10).await.unwrap();
    assert!(left.iter().all(|w| !w.unanswered), "bob's receipt is missing too, and the fallback is there: {left:?}");
    let shown = bed.store.show_alert(AlertId(2)).await.unwrap().unwrap();
    let fallback = shown.timeline.iter().find(|row| row.event == "fallback").unwrap();
    assert_eq!(fallback.detail, "no receipt from ops: boss is added");
    bed.store.expire(at(100)).await.unwrap();
    missed(&bed, 5, 200).await;
    bed.purged(400).await;
    assert_eq!(bed.broken_references().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_clock_takes_the_wait_for_a_receipt_along() {
    for jump in [3600, -3600] {
        let bed = answering(&["ann"]).await;
        bed.fired(firing("a", Severity::Major, 2), &["ann"], 2).await;
        bed.sent(&["ann"], 2).await;
        bed.store.clock_jumped(SignedDuration::from_secs(jump)).await.unwrap();
        assert_eq!(missed(&bed, jump + 2, jump + 10).await, (0, 0));
        assert_eq!(missed(&bed, jump + 3, jump + 10).await, (1, 0));
        bed.store.clock_jumped(SignedDuration::from_secs(jump)).await.unwrap();
        let until = bed.store.awaited().await.unwrap().until.unwrap();
        assert_eq!(until, at(jump + if jump > 0 { jump + 22 } else { 62 }));
        assert!(due(&bed, "ann", 2 * jump + 2, 2 * jump + 13).await.is_empty());
        assert_eq!(due(&bed, "ann", 2 * jump + 3, 2 * jump + 13).await.len(), 1);
        assert_eq!(bed.all().await[1].accepted, Some(at(2)), "as it happened");
    }
}
