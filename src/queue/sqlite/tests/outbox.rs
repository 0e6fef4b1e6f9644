use super::bed::*;
use crate::model::*;
use crate::queue::*;

#[tokio::test]
async fn critical_first_then_oldest_and_fair() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Info, 1), &["ann"], 1).await;
    bed.fired(firing("b", Severity::Major, 1), &["ann", "bob"], 1).await;
    bed.fired(firing("c", Severity::Critical, 1), &["ann"], 1).await;
    bed.fired(firing("d", Severity::Major, 1), &["ann"], 1).await;
    let due = bed.due(&["ann", "bob"], 2).await;
    assert_eq!(titles(&due), ["c is firing", "b is firing", "b is firing", "d is firing", "a is firing"]);
    let each = bed.store.due(&[jid("ann"), jid("bob")], 1, 10, at(2)).await.unwrap();
    assert_eq!(titles(&each), ["c is firing", "b is firing"]);
    assert_eq!(bed.store.due(&[jid("ann")], 10, 2, at(2)).await.unwrap().len(), 2);
    assert_eq!(bed.store.recipients_due(at(2)).await.unwrap(), [jid("ann"), jid("bob")]);
}

#[tokio::test]
async fn a_condition_is_told_in_order_and_the_first_takes_the_better_place() {
    let bed = Bed::new().await;
    bed.fired(firing("other", Severity::Major, 1), &["ann"], 1).await;
    bed.fired(firing("disk", Severity::Minor, 1), &["ann"], 1).await;
    bed.fired(firing("disk", Severity::Critical, 2), &["ann"], 2).await;
    let first = bed.sent(&["ann"], 3).await;
    assert_eq!(titles(&first), ["disk is firing", "other is firing"]);
    assert_eq!(first[0].notification.severity, Severity::Minor);
    assert_eq!(bed.due(&["ann"], 3).await[0].notification.severity, Severity::Critical);
}

#[tokio::test]
async fn a_held_report_does_not_keep_a_worse_one_back() {
    let bed = Bed::new().await;
    bed.fired(firing("disk", Severity::Minor, 1), &["ann"], 1).await;
    bed.store.hold(&ids(&bed.due(&["ann"], 1).await), at(100), "dnd", at(1)).await.unwrap();
    bed.fired(firing("disk", Severity::Critical, 2), &["ann"], 2).await;
    assert_eq!(bed.due(&["ann"], 3).await[0].notification.severity, Severity::Critical);
}

#[tokio::test]
async fn a_report_of_several_conditions_waits_for_each_of_them() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Minor, 1), &["ann"], 1).await;
    bed.fired(firing("b", Severity::Minor, 1), &["ann"], 1).await;
    let refer = |key: &str| Reference { sender: "ups@example.test".into(), id: format!("{key}-1"), sent: at(1) };
    let both =
        Alert { references: vec![refer("a"), refer("b")], ..alert("both", Status::Update, Severity::Critical, 2) };
    bed.fired(both, &["ann"], 2).await;
    bed.fired(
        Alert { severity: Severity::Critical, references: vec![refer("b")], ..firing("b", Severity::Critical, 9) },
        &["ann"],
        3,
    )
    .await;
    let mut order = Vec::new();
    for now in 4..8 {
        let due = bed.store.due(&[jid("ann")], 1, 1, at(now)).await.unwrap();
        bed.store.d3_intend(&ids(&due), Epoch(1), at(now)).await.unwrap();
        order.extend(titles(&due));
    }
    assert_eq!(order[..3], ["a is firing", "b is firing", "both is update"]);
}

#[tokio::test]
async fn nothing_is_due_before_its_time() {
    let bed = Bed::new().await;
    let rules = Rules { not_before: Some(at(50)), expires: Some(at(80)), ..Rules::to(&["ann"]) };
    bed.mailed(vec![firing("a", Severity::Minor, 1)], &rules, &Lane::closed(), 1).await;
    assert!(bed.due(&["ann"], 49).await.is_empty());
    assert!(bed.store.recipients_due(at(49)).await.unwrap().is_empty());
    assert_eq!(bed.store.next_timer().await.unwrap(), Some(at(50)));
    assert_eq!(bed.due(&["ann"], 50).await.len(), 1);
    assert!(bed.store.expire(at(51)).await.unwrap().is_empty());
    assert_eq!(bed.store.next_timer().await.unwrap(), Some(at(80)), "a time that came is no timer");
}

#[tokio::test]
async fn d3_takes_what_is_queued_and_d4_d5_follow() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Major, 1), &["ann", "bob"], 1).await;
    let due = bed.due(&["ann", "bob"], 2).await;
    let [a, b] = [&due[0].notification, &due[1].notification];
    assert_eq!(bed.store.d3_intend(&[b.id, a.id], Epoch(1), at(2)).await.unwrap(), [b.id, a.id]);
    assert!(bed.store.d3_intend(&[a.id, b.id], Epoch(1), at(3)).await.unwrap().is_empty());
    assert!(bed.due(&["ann", "bob"], 3).await.is_empty());
    bed.store.d4_accepted(&[a.stanza_id.clone(), StanzaId("mb-none".into())], at(4)).await.unwrap();
    let receipt = |n: &Notification, from: &str| Receipt { from: jid(from), stanza_id: n.stanza_id.clone() };
    let receipts = [receipt(a, "bob"), receipt(a, "ann"), receipt(b, "bob")];
    let strange = bed.store.d5_delivered(&receipts, at(5)).await.unwrap();
    assert_eq!(strange, receipts[..1], "a receipt from somebody else is for nothing");
    let bed = bed.reopen().await;
    let all = bed.all().await;
    assert_eq!(bed.states().await, ["delivered", "delivered"]);
    assert_eq!((all[0].intended, all[0].accepted, all[0].delivered), (Some(at(2)), Some(at(4)), Some(at(5))));
    assert_eq!(all[1].accepted, None);
    // Late news about what is delivered changes nothing.
    bed.store.d4_accepted(std::slice::from_ref(&a.stanza_id), at(6)).await.unwrap();
    bed.store.retry(&a.stanza_id, at(9), "bounced", at(6)).await.unwrap();
    bed.store.dead(&a.stanza_id, "gone", at(6)).await.unwrap();
    assert_eq!(bed.states().await, ["delivered", "delivered"]);
}

#[tokio::test]
async fn what_was_in_flight_is_sent_again_with_the_same_stanza_id() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Major, 1), &["ann"], 1).await;
    let due = bed.due(&["ann"], 2).await;
    bed.store.d3_intend(&ids(&due), Epoch(1), at(2)).await.unwrap();
    let bed = bed.reopen().await;
    assert!(bed.due(&["ann"], 3).await.is_empty());
    assert_eq!(bed.store.in_doubt(at(3)).await.unwrap(), 1);
    assert_eq!(bed.store.in_doubt(at(3)).await.unwrap(), 0);
    assert_eq!(bed.store.recipients_due(at(3)).await.unwrap(), [jid("ann")]);
    let again = bed.due(&["ann"], 3).await;
    assert!(again[0].in_doubt);
    assert_eq!(again[0].notification.stanza_id, due[0].notification.stanza_id);
    assert_eq!(bed.store.d3_intend(&ids(&again), Epoch(2), at(4)).await.unwrap(), ids(&again));
    let sending = bed.store.by_stanza(&due[0].notification.stanza_id).await.unwrap().unwrap();
    assert!(!sending.in_doubt);
    assert_eq!((sending.notification.attempts, sending.notification.first_intent), (2, Some(at(2))));
    let shown = bed.store.show_alert(AlertId(1)).await.unwrap().unwrap();
    let events: Vec<_> = shown.timeline.iter().map(|row| row.event.as_str()).collect();
    assert_eq!(events, ["fetched", "parsed", "condition", "routed", "queued", "intended", "in doubt", "sent again"]);
}

#[tokio::test]
async fn a_receipt_ends_the_doubt() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Major, 1), &["ann"], 1).await;
    let due = bed.due(&["ann"], 2).await;
    bed.store.d3_intend(&ids(&due), Epoch(1), at(2)).await.unwrap();
    bed.store.in_doubt(at(3)).await.unwrap();
    let receipt = Receipt { from: jid("ann"), stanza_id: due[0].notification.stanza_id.clone() };
    assert!(bed.store.d5_delivered(&[receipt], at(4)).await.unwrap().is_empty());
    assert!(bed.due(&["ann"], 5).await.is_empty());
}

#[tokio::test]
async fn a_refusal_waits_and_a_refusal_for_good_ends() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Major, 1), &["ann", "bob"], 1).await;
    let sent = bed.sent(&["ann", "bob"], 2).await;
    bed.store.retry(&sent[0].notification.stanza_id, at(30), "server busy", at(3)).await.unwrap();
    bed.store.dead(&sent[1].notification.stanza_id, "no such account", at(3)).await.unwrap();
    assert!(bed.due(&["ann", "bob"], 29).await.is_empty());
    assert_eq!(bed.store.next_timer().await.unwrap(), Some(at(30)));
    let due = bed.due(&["ann", "bob"], 30).await;
    assert_eq!((due.len(), due[0].in_doubt, due[0].notification.attempts), (1, false, 1));
    let all = bed.all().await;
    assert_eq!((all[0].reason.as_str(), all[0].state), ("server busy", NotificationState::Queued));
    assert_eq!((all[1].reason.as_str(), all[1].state), ("no such account", NotificationState::Dead));
    // Another client of hers had it after all.
    let receipt = Receipt { from: jid("ann"), stanza_id: sent[0].notification.stanza_id.clone() };
    bed.store.d5_delivered(&[receipt], at(31)).await.unwrap();
    assert!(bed.due(&["ann"], 32).await.is_empty());
}

#[tokio::test]
async fn what_waits_for_its_next_attempt_goes_at_once_when_a_worse_one_comes() {
    let bed = Bed::new().await;
    bed.fired(firing("disk", Severity::Minor, 1), &["ann"], 1).await;
    let sent = bed.sent(&["ann"], 2).await;
    bed.store.retry(&sent[0].notification.stanza_id, at(600), "server busy", at(3)).await.unwrap();
    bed.fired(firing("disk", Severity::Critical, 4), &["ann"], 4).await;
    assert_eq!(ids(&bed.due(&["ann"], 4).await), ids(&sent), "in order, and now");
}

#[tokio::test]
async fn no_receipt_is_unconfirmed() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Major, 1), &["ann"], 1).await;
    let sent = bed.sent(&["ann"], 2).await;
    assert_eq!(bed.store.unconfirm(at(2), at(9)).await.unwrap(), 0);
    assert_eq!(bed.store.unconfirm(at(3), at(9)).await.unwrap(), 1);
    assert_eq!(bed.states().await, ["unconfirmed"]);
    let receipt = Receipt { from: jid("ann"), stanza_id: sent[0].notification.stanza_id.clone() };
    bed.store.d5_delivered(&[receipt], at(90)).await.unwrap();
    assert_eq!(bed.states().await, ["delivered"], "late, and true");
}
