use std::sync::atomic::Ordering;

use super::bed::*;
use crate::model::*;
use crate::queue::*;

const ENDS: fn(MessageState) -> Verdict = |state| Verdict::Ends(state, format!("because {}", state.as_str()));

#[tokio::test]
async fn an_alert_becomes_one_notification_for_each_jid() {
    let bed = Bed::new().await;
    let rules = Rules::to(&["ann", "bob", "ann"]);
    let report = bed.mailed(vec![firing("disk", Severity::Major, 1)], &rules, &Lane::closed(), 2).await;
    assert_eq!((report.queued, report.born.len()), (2, 0));
    assert_eq!(report.messages, [(MessageId(1), MessageState::Parsed)]);
    let bed = bed.reopen().await;
    let due = bed.due(&["ann", "bob", "eve"], 3).await;
    assert_eq!(due.len(), 2);
    let n = &due[0].notification;
    assert_eq!((n.recipient.as_str(), &n.jid, n.severity), ("ann", &jid("ann"), Severity::Major));
    assert_eq!((n.delivery, n.state, n.created, n.attempts), (delivery(), NotificationState::Queued, at(2), 0));
    assert_ne!(due[0].notification.stanza_id, due[1].notification.stanza_id);
    let Content::Alert(record) = &due[0].content else { panic!("no alert") };
    assert_eq!(record.alert, firing("disk", Severity::Major, 1));
    assert_eq!((record.source.as_str(), record.received), ("mailbox:ops", at(2)));
}

#[tokio::test]
async fn the_same_message_is_committed_once() {
    let bed = Bed::new().await;
    let id = bed.stored().await;
    let verdict = Verdict::Alerts { alerts: vec![firing("disk", Severity::Major, 1)], bad: Vec::new() };
    for _ in 0..2 {
        let batch = vec![message(id, verdict.clone(), 1)];
        let report = bed.store.d2_commit(batch, &Rules::to(&["ann"]), &Lane::closed(), at(1)).await.unwrap();
        assert_eq!(report.messages, [(id, MessageState::Parsed)]);
    }
    assert_eq!(bed.all().await.len(), 1);
}

#[tokio::test]
async fn the_same_mail_again_is_a_duplicate() {
    let bed = Bed::new().await;
    bed.fired(firing("disk", Severity::Major, 1), &["ann"], 1).await;
    let again = bed.stored().await;
    let verdict = Verdict::Alerts { alerts: vec![firing("disk", Severity::Critical, 2)], bad: Vec::new() };
    let mut same = message(again, verdict.clone(), 2);
    same.digest = message(MessageId(1), verdict.clone(), 2).digest;
    let report = bed.store.d2_commit(vec![same.clone()], &Rules::to(&["ann"]), &Lane::closed(), at(2)).await.unwrap();
    assert_eq!(report.messages, [(again, MessageState::Duplicate)]);
    assert_eq!(bed.all().await.len(), 1);

    // Another Date: another mail, in doubt.
    let other = bed.stored().await;
    let mut digest = same.digest.clone().unwrap();
    digest.date = Some(at(9));
    let other = D2Message { id: other, digest: Some(digest), ..same };
    let report = bed.store.d2_commit(vec![other], &Rules::to(&["ann"]), &Lane::closed(), at(3)).await.unwrap();
    assert_eq!(report.messages[0].1, MessageState::Parsed);
}

#[tokio::test]
async fn a_rejected_mail_does_not_silence_the_genuine_one() {
    let bed = Bed::new().await;
    let (forged, genuine) = (bed.stored().await, bed.stored().await);
    let verdict = Verdict::Alerts { alerts: vec![firing("disk", Severity::Major, 1)], bad: Vec::new() };
    let forged = message(forged, ENDS(MessageState::Rejected), 1);
    let genuine = D2Message { id: genuine, digest: forged.digest.clone(), ..message(genuine, verdict, 1) };
    let batch = vec![forged, genuine];
    let report = bed.store.d2_commit(batch, &Rules::to(&["ann"]), &Lane::closed(), at(1)).await.unwrap();
    let states: Vec<_> = report.messages.iter().map(|(_, s)| *s).collect();
    assert_eq!(states, [MessageState::Rejected, MessageState::Parsed]);
    assert_eq!(bed.all().await.len(), 1);
}

#[tokio::test]
async fn without_a_message_id_only_another_generation_makes_a_duplicate() {
    let bed = Bed::new().await;
    let mail = |uidvalidity, uid| NewMessage { cursor: Cursor::Imap { uidvalidity, uid }, ..mail(1) };
    let ids = bed.store.d1_store(&mailbox(), vec![mail(1, 1), mail(1, 2), mail(2, 1)], at(0)).await.unwrap();
    let digest = MailDigest { message_id: None, date: None, body_sha256: [1; 32] };
    let batch = (1i64..).zip(&ids).map(|(n, id)| {
        let verdict = Verdict::Alerts { alerts: vec![firing("disk", Severity::Major, n)], bad: Vec::new() };
        D2Message { digest: Some(digest.clone()), ..message(*id, verdict, 1) }
    });
    let report = bed.store.d2_commit(batch.collect(), &Rules::to(&["ann"]), &Lane::closed(), at(1)).await.unwrap();
    let states: Vec<_> = report.messages.iter().map(|(_, s)| *s).collect();
    assert_eq!(states, [MessageState::Parsed, MessageState::Parsed, MessageState::Duplicate]);
}

#[tokio::test]
async fn an_alert_with_the_same_words_is_known() {
    let bed = Bed::new().await;
    let twice = firing("disk", Severity::Major, 1);
    bed.fired(twice.clone(), &["ann"], 1).await;
    bed.fired(twice.clone(), &["ann"], 2).await;
    let second = bed.store.show_alert(AlertId(2)).await.unwrap().unwrap();
    assert_eq!((second.state, second.reason.as_str()), (AlertState::Recorded, "the same as #1"));
    // Without a time of sending nothing can be told.
    let undated = Alert { sent: None, key: Key("b".into()), ..twice };
    bed.fired(undated.clone(), &["ann"], 3).await;
    bed.fired(Alert { severity: Severity::Critical, ..undated }, &["ann"], 4).await;
    assert_eq!(bed.all().await.len(), 3);
}

#[tokio::test]
async fn a_cap_triple_counts_whatever_its_status() {
    let bed = Bed::new().await;
    let cap = Alert { format: Format::Cap, ..firing("a", Severity::Major, 1) };
    bed.fired(cap.clone(), &["ann"], 1).await;
    bed.fired(Alert { status: Status::Update, severity: Severity::Critical, ..cap.clone() }, &["ann"], 2).await;
    assert_eq!(bed.all().await.len(), 1);
    bed.fired(Alert { sender: "eve@example.test".into(), ..cap }, &["ann"], 3).await;
    assert_eq!(bed.all().await.len(), 2);
}

#[tokio::test]
async fn references_find_the_conditions_of_the_same_sender() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Major, 1), &["ann"], 1).await;
    bed.fired(firing("b", Severity::Major, 2), &["bob"], 2).await;
    bed.sent(&["ann", "bob"], 3).await;
    let refer = |sender: &str, key: &str, sent| Reference {
        sender: sender.into(),
        id: format!("{key}-{sent}"),
        sent: at(sent),
    };
    let stranger = Alert { references: vec![refer("eve@example.test", "a", 1)], ..resolved("x", 4) };
    bed.fired(stranger, &[], 4).await;
    assert!(bed.due(&["ann", "bob"], 5).await.is_empty());
    let references = vec![refer("UPS@example.test", "a", 1), refer("ups@example.test", "b", 2)];
    bed.fired(Alert { references, ..resolved("y", 5) }, &[], 5).await;
    assert_eq!(titles(&bed.due(&["ann", "bob"], 6).await), ["y is resolved", "y is resolved"]);
}

#[tokio::test]
async fn resolved_goes_to_exactly_those_who_were_told() {
    let bed = Bed::new().await;
    bed.fired(firing("disk", Severity::Major, 1), &["ann", "bob", "cid"], 1).await;
    bed.sent(&["ann"], 2).await;
    let held = bed.due(&["cid"], 2).await;
    bed.store.hold(&ids(&held), at(100), "away", at(2)).await.unwrap();
    bed.fired(resolved("disk", 10), &[], 11).await;
    let due = bed.due(&["ann", "bob", "cid"], 12).await;
    assert_eq!(titles(&due), ["disk is resolved"]);
    assert_eq!(due[0].notification.jid, jid("ann"));
    let Content::Alert(record) = &due[0].content else { panic!("no alert") };
    assert_eq!(record.resolves, Some((AlertId(1), std::time::Duration::from_secs(10))));
    assert_eq!(bed.states().await, ["accepted", "superseded", "superseded", "queued"]);
    let returning = bed.store.returning(&jid("cid"), 5).await.unwrap();
    assert_eq!((returning.superseded, returning.held.len()), (1, 0));

    // Closed: the next firing opens it anew, and who was told before counts no more.
    bed.sent(&["ann"], 13).await;
    bed.fired(firing("disk", Severity::Major, 20), &["bob"], 20).await;
    bed.fired(resolved("disk", 30), &[], 30).await;
    assert!(bed.due(&["ann", "bob"], 31).await.is_empty());
}

#[tokio::test]
async fn the_end_goes_to_whom_a_copy_was_sent_that_came_back() {
    let bed = Bed::new().await;
    bed.fired(firing("disk", Severity::Major, 1), &["ann", "bob", "cid"], 1).await;
    // One of their clients has it and sends no receipts, another one refused it.
    for out in bed.sent(&["ann", "bob"], 2).await {
        bed.store.retry(&out.notification.stanza_id, at(60), "service-unavailable", at(3)).await.unwrap();
    }
    let ids: Vec<_> = bed.due(&["bob"], 60).await.iter().map(|out| out.notification.id).collect();
    bed.store.hold(&ids, at(100), "away", at(60)).await.unwrap();
    bed.fired(resolved("disk", 61), &[], 61).await;
    let due = bed.due(&["ann", "bob", "cid"], 62).await;
    assert_eq!(titles(&due), ["disk is resolved", "disk is resolved"]);
    assert_eq!(bed.states().await, ["superseded", "superseded", "superseded", "queued", "queued"]);
}

#[tokio::test]
async fn a_repeat_is_recorded_and_a_raise_is_paged() {
    let bed = Bed::new().await;
    for (severity, sent) in [(Severity::Minor, 1), (Severity::Minor, 2), (Severity::Major, 3), (Severity::Minor, 4)] {
        bed.fired(firing("disk", severity, sent), &["ann"], sent).await;
    }
    let states: Vec<_> = bed.all().await.iter().map(|n| n.alert.clone().unwrap()).collect();
    assert_eq!(states, ["#1", "#3"]);
    let fourth = bed.store.show_alert(AlertId(4)).await.unwrap().unwrap();
    assert_eq!(fourth.reason, "repeat at major");
}

#[tokio::test]
async fn a_panic_quarantines_one_message_and_its_neighbours_go_on() {
    let bed = Bed::new().await;
    let ids = [bed.stored().await, bed.stored().await, bed.stored().await];
    let poison = Alert { title: "panic".into(), ..firing("p", Severity::Major, 1) };
    let alerts = [
        vec![firing("a", Severity::Major, 1)],
        vec![firing("b", Severity::Major, 1), poison],
        vec![firing("c", Severity::Major, 1)],
    ];
    let batch = ids.iter().zip(alerts).map(|(id, alerts)| message(*id, Verdict::Alerts { alerts, bad: Vec::new() }, 1));
    let lane = Lane::open(2);
    let report = bed.store.d2_commit(batch.collect(), &Rules::to(&["ann", "bob"]), &lane, at(1)).await.unwrap();
    let states: Vec<_> = report.messages.iter().map(|(_, s)| s.as_str()).collect();
    assert_eq!(states, ["parsed", "quarantined", "parsed"]);
    assert_eq!(titles(&report.born), ["a is firing", "a is firing"]);
    assert_eq!(report.queued, 2);
    let bed = bed.reopen().await;
    assert_eq!(bed.all().await.len(), 4, "nothing of the second message");
    let (view, raw) = bed.store.quarantined(ids[1]).await.unwrap().unwrap();
    assert_eq!(view.reasons.len(), 1);
    assert!(view.reasons[0].contains("told to panic"), "{:?}", view.reasons);
    assert_eq!(raw, Some(mail(2).raw));
    let due = bed.store.notices_due(at(2)).await.unwrap();
    assert_eq!((due[0].topic.as_str(), due[0].count), ("quarantine", 1));
}

#[tokio::test]
async fn places_of_a_message_that_fails_are_given_back() {
    let bed = Bed::new().await;
    let id = bed.stored().await;
    let poison = Alert { title: "panic".into(), ..firing("p", Severity::Major, 1) };
    let alerts = vec![firing("b", Severity::Major, 1), poison];
    let lane = Lane::open(10);
    let batch = vec![message(id, Verdict::Alerts { alerts, bad: Vec::new() }, 1)];
    let report = bed.store.d2_commit(batch, &Rules::to(&["ann", "bob"]), &lane, at(1)).await.unwrap();
    assert!(report.born.is_empty());
    assert_eq!((lane.taken.load(Ordering::Relaxed), lane.released.load(Ordering::Relaxed)), (2, 2));
}

#[tokio::test]
async fn a_mail_with_good_and_bad_alerts_is_parsed_and_in_quarantine() {
    let bed = Bed::new().await;
    let id = bed.stored().await;
    let bad = vec!["line 3: no title".to_owned(), "line 9: no severity".to_owned()];
    let verdict = Verdict::Alerts { alerts: vec![firing("a", Severity::Major, 1)], bad: bad.clone() };
    let report =
        bed.store.d2_commit(vec![message(id, verdict, 1)], &Rules::to(&["ann"]), &Lane::closed(), at(1)).await.unwrap();
    assert_eq!(report.messages, [(id, MessageState::Parsed)]);
    let list = bed.store.quarantine(None, 10).await.unwrap();
    assert_eq!(list.iter().map(|q| (q.id, q.reasons.clone())).collect::<Vec<_>>(), [(id, bad)]);
    assert_eq!((list[0].cursor.as_str(), list[0].size), ("1/1", mail(1).raw.len() as u64));
    assert!(bed.store.quarantine(Some(id), 10).await.unwrap().is_empty());
    assert!(bed.store.quarantined(MessageId(99)).await.unwrap().is_none());
}

#[tokio::test]
async fn ends_are_kept_and_counted_for_the_operators() {
    let bed = Bed::new().await;
    let states = [
        MessageState::Stale,
        MessageState::Stale,
        MessageState::Ignored,
        MessageState::Rejected,
        MessageState::Quarantined,
    ];
    let mut batch = Vec::new();
    for state in states {
        batch.push(message(bed.stored().await, ENDS(state), 1));
    }
    let report = bed.store.d2_commit(batch, &Rules::to(&["ann"]), &Lane::closed(), at(1)).await.unwrap();
    assert_eq!(report.messages.iter().map(|(_, s)| *s).collect::<Vec<_>>(), states);
    let due = bed.store.notices_due(at(2)).await.unwrap();
    let due: Vec<_> = due.iter().map(|n| (n.topic.as_str(), n.text.as_str(), n.count)).collect();
    assert_eq!(
        due,
        [
            (
                "quarantine",
                "mailbox ops: message 5 is in quarantine: because quarantined; see `mailbell quarantine show 5`",
                1
            ),
            ("stale:ops", "because stale", 2)
        ]
    );
    let rejected: Vec<_> = bed.store.uncleared(&mailbox()).await.unwrap().iter().map(|u| u.rejected).collect();
    assert_eq!(rejected, [false, false, false, true, false]);
    assert_eq!(bed.store.waiting(&mailbox()).await.unwrap(), 0);
}

#[tokio::test]
async fn what_nobody_subscribes_to_is_reported_and_noted() {
    let bed = Bed::new().await;
    let report = bed.mailed(vec![firing("disk", Severity::Major, 1)], &Rules::to(&[]), &Lane::closed(), 1).await;
    assert_eq!(report.unsubscribed, [(AlertId(1), "disk is firing".to_owned())]);
    let due = bed.store.notices_due(at(2)).await.unwrap();
    assert_eq!((due[0].topic.as_str(), due[0].text.as_str()), ("unsubscribed", "#1 from mailbox:ops: disk is firing"));
}

#[tokio::test]
async fn a_free_way_lets_a_notification_be_born_sending() {
    let bed = Bed::new().await;
    let lane = Lane::open(1);
    let rules = Rules::to(&["ann", "bob"]);
    let report = bed.mailed(vec![firing("a", Severity::Major, 1)], &rules, &lane, 1).await;
    assert_eq!((report.born.len(), report.queued), (1, 1), "one place");
    let n = &report.born[0].notification;
    assert_eq!((n.state, n.attempts, n.first_intent), (NotificationState::Sending, 1, Some(at(1))));
    assert!(!report.born[0].in_doubt);
    let stored = bed.store.by_stanza(&n.stanza_id).await.unwrap().unwrap();
    assert_eq!(&stored.notification, n);

    let lane = Lane::open(10);
    let report = bed.mailed(vec![firing("b", Severity::Major, 1)], &rules, &lane, 2).await;
    assert_eq!(
        report.born.iter().map(|o| &o.notification.jid).collect::<Vec<_>>(),
        [&jid("ann")],
        "bob has one waiting"
    );
    let report = bed.mailed(vec![firing("c", Severity::Critical, 1)], &rules, &lane, 3).await;
    assert_eq!(report.born.len(), 2, "it is more urgent than what waits");
    let report = bed.mailed(vec![firing("a", Severity::Critical, 5)], &rules, &lane, 5).await;
    assert_eq!(
        report.born.iter().map(|o| &o.notification.jid).collect::<Vec<_>>(),
        [&jid("ann")],
        "bob first hears of a's beginning"
    );
    let later = Rules { not_before: Some(at(100)), ..Rules::to(&["ann"]) };
    let report = bed.mailed(vec![firing("d", Severity::Critical, 1)], &later, &lane, 6).await;
    assert!(report.born.is_empty(), "it is not yet effective");
    assert_eq!(lane.released.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_failed_d2_gives_its_places_back_and_leaves_nothing() {
    let bed = Bed::new().await;
    let id = bed.stored().await;
    let verdict = Verdict::Alerts { alerts: vec![firing("a", Severity::Major, 1)], bad: Vec::new() };
    let lane = Lane::open(10);
    let batch = vec![message(id, verdict.clone(), 1), message(MessageId(99), verdict, 1)];
    let err = bed.store.d2_commit(batch, &Rules::to(&["ann"]), &lane, at(1)).await.unwrap_err();
    assert_eq!(err.fault, StoreFault::Refused);
    assert_eq!(lane.released.load(Ordering::Relaxed), 1);
    assert!(bed.all().await.is_empty());
    assert_eq!(bed.store.waiting(&mailbox()).await.unwrap(), 1);
}
