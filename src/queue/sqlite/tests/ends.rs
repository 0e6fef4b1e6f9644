use super::bed::*;
use crate::model::*;
use crate::queue::*;

/// Five held warnings of ann's, and one critical.
async fn away() -> Bed {
    let bed = Bed::new().await;
    for key in ["a", "b", "c", "d", "e"] {
        bed.fired(firing(key, Severity::Minor, 1), &["ann"], 1).await;
    }
    bed.fired(firing("z", Severity::Critical, 1), &["ann"], 1).await;
    bed.store.hold(&ids(&bed.due(&["ann"], 1).await), at(100), "offline", at(1)).await.unwrap();
    bed
}

#[tokio::test]
async fn held_ones_wait_for_their_recipient() {
    let bed = away().await.reopen().await;
    assert!(bed.due(&["ann"], 2).await.is_empty());
    assert_eq!(bed.store.recipients_held().await.unwrap(), [jid("ann")]);
    let back = bed.store.returning(&jid("ann"), 2).await.unwrap();
    assert_eq!(titles(&back.held), ["z is firing", "a is firing", "b is firing"]);
    assert_eq!(back.counts, [(Severity::Critical, 1), (Severity::Minor, 5)]);
    assert_eq!(back.held[0].notification.held_until, Some(at(100)));
    bed.store.release_held(&ids(&back.held), at(3)).await.unwrap();
    assert_eq!(titles(&bed.due(&["ann"], 3).await), ["z is firing", "a is firing", "b is firing"]);
    assert_eq!(bed.store.returning(&jid("ann"), 9).await.unwrap().held.len(), 3);
}

#[tokio::test]
async fn a_digest_stands_for_what_it_covers() {
    let bed = away().await;
    let back = bed.store.returning(&jid("ann"), 9).await.unwrap();
    let digest = bed.store.digest(&recipient("ann"), &ids(&back.held), "five alerts", at(3)).await.unwrap().unwrap();
    assert_eq!(bed.store.digest(&recipient("ann"), &ids(&back.held), "again", at(3)).await.unwrap(), None);
    let due = bed.due(&["ann"], 3).await;
    assert_eq!((titles(&due), due[0].notification.kind), (vec!["five alerts".to_owned()], Kind::Digest));
    assert_eq!((due[0].notification.id, due[0].notification.severity), (digest, Severity::Minor));
    assert_eq!(bed.store.returning(&jid("ann"), 9).await.unwrap().held.len(), 1, "the critical one goes by itself");

    // A resolution that comes now goes to her: the digest tells her of the beginning, and goes first.
    bed.fired(resolved("a", 4), &[], 4).await;
    assert_eq!(ids(&bed.due(&["ann"], 4).await), [digest]);
    bed.store.d3_intend(&[digest], Epoch(1), at(5)).await.unwrap();
    assert_eq!(titles(&bed.due(&["ann"], 5).await), ["a is resolved"]);
    assert_eq!(bed.states().await[..5], ["sending"; 5]);
    bed.store.in_doubt(at(6)).await.unwrap();
    let due = bed.due(&["ann"], 6).await;
    assert_eq!(ids(&due), [digest], "what it covers is not due by itself");
    bed.store.d3_intend(&[digest], Epoch(2), at(6)).await.unwrap();
    bed.store.d4_accepted(std::slice::from_ref(&due[0].notification.stanza_id), at(7)).await.unwrap();
    assert_eq!(bed.states().await[..5], ["accepted"; 5]);
    let receipt = Receipt { from: jid("ann"), stanza_id: due[0].notification.stanza_id.clone() };
    bed.store.d5_delivered(&[receipt], at(8)).await.unwrap();
    assert_eq!(
        bed.states().await,
        ["delivered", "delivered", "delivered", "delivered", "delivered", "held", "delivered", "queued"]
    );
    assert_eq!(bed.all().await[0].delivered, Some(at(8)));
}

#[tokio::test]
async fn a_digest_that_is_refused_takes_what_it_covers_along() {
    let bed = away().await;
    let back = bed.store.returning(&jid("ann"), 9).await.unwrap();
    let digest = bed.store.digest(&recipient("ann"), &ids(&back.held), "five", at(3)).await.unwrap().unwrap();
    bed.store.d3_intend(&[digest], Epoch(1), at(4)).await.unwrap();
    let stanza = bed.store.show(digest).await.unwrap().unwrap().stanza_id;
    bed.store.retry(&stanza, at(40), "busy", at(5)).await.unwrap();
    assert_eq!(bed.states().await[..5], ["queued"; 5]);
    bed.store.expire(at(39)).await.unwrap();
    assert_eq!(bed.store.next_timer().await.unwrap(), Some(at(40)));
    bed.store.d3_intend(&[digest], Epoch(1), at(41)).await.unwrap();
    bed.store.dead(&stanza, "gone", at(42)).await.unwrap();
    assert_eq!(bed.states().await, ["dead", "dead", "dead", "dead", "dead", "held", "dead"]);
    bed.store.retry_now(digest, at(43)).await.unwrap();
    assert_eq!(bed.states().await, ["queued", "queued", "queued", "queued", "queued", "held", "queued"]);
    assert_eq!(ids(&bed.due(&["ann"], 44).await), [digest]);
}

#[tokio::test]
async fn an_error_for_an_earlier_copy_says_nothing_of_the_digest() {
    let bed = away().await;
    let first = bed.store.show(NotificationId(1)).await.unwrap().unwrap().stanza_id;
    let back = bed.store.returning(&jid("ann"), 9).await.unwrap();
    let digest = bed.store.digest(&recipient("ann"), &ids(&back.held), "five", at(3)).await.unwrap().unwrap();
    bed.store.d3_intend(&[digest], Epoch(1), at(4)).await.unwrap();
    bed.store.dead(&first, "gone", at(5)).await.unwrap();
    bed.store.retry(&first, at(50), "busy", at(5)).await.unwrap();
    assert_eq!(bed.states().await[0], "sending", "the digest is on its way, and it with it");
}

#[tokio::test]
async fn a_digest_is_not_held_but_undone() {
    let bed = away().await;
    let back = bed.store.returning(&jid("ann"), 9).await.unwrap();
    let digest = bed.store.digest(&recipient("ann"), &ids(&back.held), "five", at(3)).await.unwrap().unwrap();
    bed.store.hold(&[digest], at(200), "left again", at(4)).await.unwrap();
    assert_eq!(bed.states().await, ["held", "held", "held", "held", "held", "held", "superseded"]);
    assert_eq!(bed.store.returning(&jid("ann"), 9).await.unwrap().held.len(), 6);
    bed.fired(resolved("a", 9), &[], 9).await;
    assert_eq!(bed.states().await[0], "superseded", "she was not told");
}

#[tokio::test]
async fn what_is_covered_can_be_sent_by_itself() {
    let bed = away().await;
    let back = bed.store.returning(&jid("ann"), 9).await.unwrap();
    let digest = bed.store.digest(&recipient("ann"), &ids(&back.held), "five", at(3)).await.unwrap().unwrap();
    bed.store.retry_now(NotificationId(1), at(4)).await.unwrap();
    bed.store.expire_now(NotificationId(2), "nonsense", at(4)).await.unwrap();
    bed.store.d3_intend(&[digest], Epoch(1), at(5)).await.unwrap();
    assert_eq!(bed.states().await[..4], ["queued", "expired", "sending", "sending"]);
}

#[tokio::test]
async fn holds_and_uses_end() {
    let bed = away().await;
    let short = Rules { expires: Some(at(50)), ..Rules::to(&["ann", "bob"]) };
    bed.mailed(vec![firing("x", Severity::Minor, 1)], &short, &Lane::closed(), 2).await;
    bed.mailed(vec![firing("y", Severity::Critical, 1)], &short, &Lane::closed(), 2).await;
    bed.sent(&["bob"], 3).await;
    assert!(bed.store.expire(at(49)).await.unwrap().is_empty());
    let ended = bed.store.expire(at(50)).await.unwrap();
    assert_eq!(ended.len(), 1, "a critical one is never of no use");
    assert_eq!((ended[0].recipient.as_str(), ended[0].alert, ended[0].nobody_told), ("ann", Some(AlertId(7)), false));
    let ended = bed.store.expire(at(100)).await.unwrap();
    assert_eq!(ended.len(), 6);
    assert!(ended.iter().all(|e| e.nobody_told));
    assert_eq!(bed.store.returning(&jid("ann"), 9).await.unwrap().expired, 6);
    assert!(bed.store.expire(at(101)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_skip_is_an_end_with_a_reason() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Minor, 1), &["ann"], 1).await;
    bed.store.skip(&ids(&bed.due(&["ann"], 1).await), "offline: skip", at(2)).await.unwrap();
    let all = bed.all().await;
    assert_eq!((all[0].state, all[0].reason.as_str()), (NotificationState::Expired, "offline: skip"));
}

#[tokio::test]
async fn watches_know_their_members_and_end() {
    let bed = Bed::new().await;
    let boss: GroupName = "boss".parse().unwrap();
    let ops: GroupName = "ops".parse().unwrap();
    let rules = Rules { fallback: Some((boss.clone(), FallbackWhen::Unreachable)), ..Rules::to(&["ann", "bob"]) };
    bed.mailed(vec![firing("a", Severity::Critical, 1)], &rules, &Lane::closed(), 1).await;
    bed.mailed(vec![firing("b", Severity::Minor, 1)], &rules, &Lane::closed(), 1).await;
    assert!(bed.store.watches(None, 10).await.unwrap().is_empty(), "nobody was decided on yet");
    assert_eq!(bed.store.newest_watch().await.unwrap(), Some((AlertId(2), ops.clone())));
    bed.store.hold(&ids(&bed.due(&["ann", "bob"], 2).await), at(100), "offline", at(2)).await.unwrap();
    let watches = bed.store.watches(None, 10).await.unwrap();
    assert_eq!(watches.len(), 2);
    let w = &watches[0];
    assert_eq!((w.alert, w.severity, &w.group, w.members.len()), (AlertId(1), Severity::Critical, &ops, 2));
    assert_eq!(w.fallback, Some((boss.clone(), FallbackWhen::Unreachable)));
    assert_eq!((&w.members[0].jid, w.members[0].state), (&jid("ann"), NotificationState::Held));
    let after = bed.store.watches(Some((AlertId(1), ops.clone())), 10).await.unwrap();
    assert_eq!(after.iter().map(|w| w.alert).collect::<Vec<_>>(), [AlertId(2)]);

    let planned = |name| PlannedNotification {
        recipient: recipient(name),
        groups: vec![boss.clone()],
        delivery: delivery(),
        not_before: None,
        expires: None,
    };
    let end = WatchEnd::Fallback {
        group: boss.clone(),
        next: None,
        notifications: vec![planned("bob"), planned("cid")],
        left_out: vec![],
    };
    let ends = vec![(AlertId(1), ops.clone(), end), (AlertId(2), ops.clone(), WatchEnd::Forced)];
    bed.store.end_watches(ends.clone(), at(3)).await.unwrap();
    bed.store.end_watches(ends, at(3)).await.unwrap();
    assert!(bed.store.watches(None, 10).await.unwrap().is_empty(), "who was added has not been decided on yet");
    bed.store.hold(&ids(&bed.due(&["cid"], 3).await), at(100), "offline", at(3)).await.unwrap();
    let watches = bed.store.watches(None, 10).await.unwrap();
    assert_eq!(watches.len(), 1);
    assert_eq!((&watches[0].group, &watches[0].fallback), (&boss, &None));
    let members: Vec<_> = watches[0].members.iter().map(|m| (m.jid.clone(), m.state)).collect();
    assert_eq!(members, [(jid("bob"), NotificationState::Held), (jid("cid"), NotificationState::Held)]);
    bed.store.release_held(&[watches[0].members[1].id], at(4)).await.unwrap();
    let due = bed.due(&["ann", "bob", "cid"], 4).await;
    assert_eq!(titles(&due), ["a is firing", "b is firing", "b is firing"]);
    assert!(!due[0].notification.forced && due[1].notification.forced);
    let shown = bed.store.show_alert(AlertId(1)).await.unwrap().unwrap();
    assert!(shown.timeline.iter().any(|row| row.event == "fallback"), "{:?}", shown.timeline);

    // The one who was added is told, and hears of the end.
    bed.sent(&["cid"], 5).await;
    bed.fired(resolved("a", 6), &[], 6).await;
    assert!(bed.store.watches(None, 10).await.unwrap().is_empty(), "nobody is added for what is over");
    assert_eq!(titles(&bed.due(&["cid"], 7).await), ["a is resolved"]);
}

#[tokio::test]
async fn a_critical_alert_takes_back_who_was_skipped() {
    let bed = Bed::new().await;
    let ops: GroupName = "ops".parse().unwrap();
    bed.fired(firing("a", Severity::Critical, 1), &["ann", "bob"], 1).await;
    bed.store.skip(&ids(&bed.due(&["ann"], 1).await), SKIPPED, at(2)).await.unwrap();
    bed.store.expire_now(NotificationId(2), "ended by an operator", at(2)).await.unwrap();
    bed.store.end_watches(vec![(AlertId(1), ops, WatchEnd::Forced)], at(3)).await.unwrap();
    assert_eq!(bed.states().await, ["queued", "expired"]);
    assert!(bed.due(&["ann"], 3).await[0].notification.forced);
}

#[tokio::test]
async fn a_hold_that_ends_is_no_news_while_a_fallback_may_be_added() {
    let bed = Bed::new().await;
    let boss: GroupName = "boss".parse().unwrap();
    let rules = Rules { fallback: Some((boss, FallbackWhen::HoldExpired)), ..Rules::to(&["ann"]) };
    bed.mailed(vec![firing("a", Severity::Major, 1)], &rules, &Lane::closed(), 1).await;
    bed.store.hold(&ids(&bed.due(&["ann"], 1).await), at(5), "offline", at(1)).await.unwrap();
    let ended = bed.store.expire(at(5)).await.unwrap();
    assert_eq!((ended.len(), ended[0].nobody_told), (1, false));
}

#[tokio::test]
async fn what_ended_while_nothing_was_held_is_forgotten() {
    let bed = away().await;
    bed.store.expire(at(100)).await.unwrap();
    assert_eq!(bed.store.returning(&jid("ann"), 0).await.unwrap().expired, 6);
    bed.store.forget_ended(&jid("ann")).await.unwrap();
    assert_eq!(bed.store.returning(&jid("ann"), 0).await.unwrap().expired, 0);
}

#[tokio::test]
async fn what_was_never_written_is_as_before() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Minor, 1), &["ann"], 1).await;
    let out = bed.due(&["ann"], 1).await.remove(0).notification;
    let unwritten = |attempts, in_doubt| Unwritten { stanza_id: out.stanza_id.clone(), attempts, in_doubt };
    bed.store.d3_intend(&[out.id], Epoch(1), at(2)).await.unwrap();
    bed.store.not_written(&[unwritten(1, false)]).await.unwrap();
    let due = bed.due(&["ann"], 3).await;
    assert_eq!((due.len(), due[0].in_doubt, &due[0].notification), (1, false, &out), "as if nothing had been");

    // The next session took it up meanwhile: it is on its way.
    bed.store.d3_intend(&[out.id], Epoch(1), at(4)).await.unwrap();
    bed.store.in_doubt(at(5)).await.unwrap();
    bed.store.not_written(&[unwritten(1, false)]).await.unwrap();
    assert_eq!(bed.states().await, ["sending"], "in doubt, and due by itself");
    bed.store.d3_intend(&[out.id], Epoch(2), at(6)).await.unwrap();
    bed.store.not_written(&[unwritten(1, false)]).await.unwrap();
    assert!(bed.due(&["ann"], 7).await.is_empty());

    // What was in doubt before stays so.
    bed.store.not_written(&[unwritten(2, true)]).await.unwrap();
    let due = bed.due(&["ann"], 8).await;
    assert_eq!((due.len(), due[0].in_doubt, due[0].notification.first_intent), (1, true, Some(at(4))));
}

#[tokio::test]
async fn some_things_are_noted_once_until_they_are_over() {
    let bed = Bed::new().await;
    let marks = ["subscription:ann".to_owned(), "subscription:bob".to_owned()];
    assert_eq!(bed.store.untold(&marks).await.unwrap(), marks);
    bed.store.note_once("subscriptions", "ann, bob", &marks).await.unwrap();
    let bed = bed.reopen().await;
    assert!(bed.store.untold(&marks).await.unwrap().is_empty());
    let due = bed.store.notices_due(at(0)).await.unwrap();
    assert_eq!(
        due,
        [NoticeDue { topic: "subscriptions".into(), text: "ann, bob".into(), count: 1 }],
        "marks are no notices"
    );
    bed.store.unmark(&marks[0]).await.unwrap();
    assert_eq!(bed.store.untold(&marks).await.unwrap(), marks[..1]);
}

#[tokio::test]
async fn notices_count_until_they_are_told() {
    let bed = Bed::new().await;
    bed.store.note("mailbox:ops", "refused", at(1)).await.unwrap();
    bed.store.note("mailbox:ops", "refused again", at(2)).await.unwrap();
    let due = bed.store.notices_due(at(0)).await.unwrap();
    assert_eq!(due, [NoticeDue { topic: "mailbox:ops".into(), text: "refused again".into(), count: 2 }]);
    bed.store.note("mailbox:ops", "and again", at(3)).await.unwrap();
    let operators = [(recipient("ann"), delivery()), (recipient("bob"), delivery())];
    bed.store.notice("mailbox:ops", "mailbox ops: refused", &operators, at(4)).await.unwrap();
    let bed = bed.reopen().await;
    assert!(bed.store.notices_due(at(4)).await.unwrap().is_empty(), "told at 4");
    assert_eq!(bed.store.notices_due(at(5)).await.unwrap()[0].count, 1, "what came meanwhile is not lost");
    let due = bed.due(&["ann", "bob"], 5).await;
    assert_eq!(titles(&due), ["mailbox ops: refused", "mailbox ops: refused"]);
    assert_eq!((due[0].notification.kind, due[0].notification.alert), (Kind::Notice, None));
}

#[tokio::test]
async fn people_can_send_and_end() {
    let bed = away().await;
    bed.store.retry_now(NotificationId(1), at(2)).await.unwrap();
    let due = bed.due(&["ann"], 2).await;
    assert!(due[0].notification.forced);
    bed.store.expire_now(NotificationId(2), "fixed by hand", at(3)).await.unwrap();
    bed.sent(&["ann"], 3).await;
    let err = bed.store.retry_now(NotificationId(1), at(4)).await.unwrap_err();
    assert_eq!(err.fault, StoreFault::Refused);
    assert_eq!(err.what, "notification 1 is accepted; possible from queued, held, expired, dead, unconfirmed");
    let err = bed.store.expire_now(NotificationId(2), "", at(4)).await.unwrap_err();
    assert_eq!(err.what, "notification 2 is expired; possible from queued, held");
    let err = bed.store.retry_now(NotificationId(99), at(4)).await.unwrap_err();
    assert_eq!(err.what, "there is no notification 99");
    bed.store.retry_now(NotificationId(2), at(5)).await.unwrap();
    assert_eq!(bed.due(&["ann"], 5).await.len(), 1);
    let shown = bed.store.show_alert(AlertId(2)).await.unwrap().unwrap();
    let rows: Vec<_> = shown.timeline.iter().map(|r| (r.event.as_str(), r.detail.as_str())).collect();
    let want = [
        ("fetched", "ops"),
        ("parsed", "native"),
        ("condition", "key b within mailbox:ops/ups@example.test"),
        ("routed", "route 1"),
        ("queued", "ops"),
        ("held", "offline"),
        ("ended", "fixed by hand"),
        ("sent", "an operator asked"),
    ];
    assert_eq!(rows, want);
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let bed = away().await;
    bed.fired(firing("q", Severity::Info, 1), &["bob", "ann"], 2).await;
    bed.store.expire_now(NotificationId(1), "x", at(3)).await.unwrap();
    let list = async |filter: ListFilter| -> Vec<i64> {
        bed.store.list(&filter).await.unwrap().iter().map(|n| n.id.0).collect()
    };
    let all = ListFilter::default();
    assert_eq!(list(all.clone()).await, [2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(list(ListFilter { limit: 2, ..all.clone() }).await, [2, 3]);
    assert_eq!(list(ListFilter { after: Some(NotificationId(6)), ..all.clone() }).await, [7, 8]);
    assert_eq!(list(ListFilter { recipient: Some("bob".parse().unwrap()), ..all.clone() }).await, [7]);
    assert_eq!(list(ListFilter { alert: Some(AlertId(7)), ..all.clone() }).await, [7, 8]);
    let states = vec![NotificationState::Expired, NotificationState::Queued];
    assert_eq!(list(ListFilter { states: states.clone(), ..all.clone() }).await, [1, 7, 8]);
    assert_eq!(list(ListFilter { states, alert: Some(AlertId(1)), ..all }).await, [1]);
    let view = bed.store.show(NotificationId(7)).await.unwrap().unwrap();
    assert_eq!(
        (view.title.as_str(), view.alert.as_deref(), view.recipient.as_str()),
        ("q is firing", Some("#7"), "bob")
    );
    assert_eq!(bed.store.alert(AlertId(7)).await.unwrap().unwrap().alert.title, "q is firing");
    assert!(bed.store.show(NotificationId(99)).await.unwrap().is_none());
    assert!(bed.store.show_alert(AlertId(99)).await.unwrap().is_none());
}
