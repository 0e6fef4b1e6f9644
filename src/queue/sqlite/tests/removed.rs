use super::bed::*;
use crate::model::*;
use crate::queue::*;

async fn expired(bed: &Bed, id: i64) -> (NotificationState, String) {
    let view = bed.store.show(NotificationId(id)).await.unwrap().unwrap();
    (view.state, view.reason)
}

fn removed(name: &str, ended: u64, critical: u64) -> Removed {
    Removed { recipient: name.parse().unwrap(), jid: jid(name), ended, critical }
}

#[tokio::test]
async fn what_waits_for_a_removed_recipient_ends_and_the_operators_are_told_if_it_was_critical() {
    let bed = Bed::new().await;
    bed.fired(firing("sent", Severity::Critical, 1), &["ann", "bob"], 1).await;
    bed.sent(&["ann", "bob"], 2).await;
    bed.fired(firing("a", Severity::Critical, 3), &["ann", "bob"], 3).await;
    bed.fired(firing("b", Severity::Minor, 4), &["ann", "bob"], 4).await;
    let held = ids(&bed.due(&["ann"], 5).await);
    bed.store.hold(&held[..1], at(100), "offline", at(5)).await.unwrap();
    let done = bed.store.end_removed(&[recipient("bob")], at(6)).await.unwrap();
    assert_eq!(done, [removed("ann", 2, 1)]);
    assert_eq!(bed.states().await, ["accepted", "accepted", "expired", "queued", "expired", "queued"]);
    let (_, reason) = expired(&bed, 3).await;
    assert_eq!(reason, "recipient ann was removed from the config");
    let alert = bed.store.show(NotificationId(3)).await.unwrap().unwrap().alert.unwrap();
    let timeline = bed.store.show_alert(alert.parse().unwrap()).await.unwrap().unwrap().timeline;
    let last = timeline.last().unwrap();
    assert_eq!((last.event.as_str(), last.detail.as_str(), last.at), ("expired", reason.as_str(), at(6)));
    // Told once, however often it is looked at.
    assert_eq!(bed.store.end_removed(&[recipient("bob")], at(7)).await.unwrap(), []);
    let due = bed.store.notices_due(at(100)).await.unwrap();
    let [notice] = &due[..] else { panic!("{due:?}") };
    assert_eq!((notice.topic.as_str(), notice.count), ("removed", 1));
    assert_eq!(
        notice.text,
        "2 notifications, 1 of them critical, ended unsent, since their recipients are not in the config any more: \
         ann (ann@example.test: 2 ended, 1 critical); see `mailbell queue list --state expired`"
    );
}

#[tokio::test]
async fn what_is_not_critical_ends_without_a_word() {
    let bed = Bed::new().await;
    bed.fired(firing("b", Severity::Major, 1), &["ann"], 1).await;
    assert_eq!(bed.store.end_removed(&[], at(2)).await.unwrap(), [removed("ann", 1, 0)]);
    assert!(bed.store.notices_due(at(100)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_recipient_is_an_address() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Minor, 1), &["ann", "bob"], 1).await;
    let renamed = Recipient { name: "anna".parse().unwrap(), ..recipient("ann") };
    let moved = Recipient { jid: jid("robert"), ..recipient("bob") };
    assert_eq!(bed.store.end_removed(&[renamed, moved], at(2)).await.unwrap(), [removed("bob", 1, 0)]);
    assert_eq!(expired(&bed, 1).await.0, NotificationState::Queued);
    let reason = "recipient bob has another address in the config now".to_owned();
    assert_eq!(expired(&bed, 2).await, (NotificationState::Expired, reason));
}

#[tokio::test]
async fn a_digest_ends_with_what_it_covers_and_what_is_in_doubt_goes_on() {
    let bed = Bed::new().await;
    for key in ["a", "b"] {
        bed.fired(firing(key, Severity::Minor, 1), &["ann"], 1).await;
    }
    let held = ids(&bed.due(&["ann"], 1).await);
    bed.store.hold(&held, at(100), "offline", at(1)).await.unwrap();
    bed.store.digest(&recipient("ann"), &held, "two", at(2)).await.unwrap().unwrap();
    bed.fired(firing("c", Severity::Minor, 3), &["ann"], 3).await;
    bed.store.d3_intend(&[NotificationId(4)], Epoch(1), at(4)).await.unwrap();
    bed.store.in_doubt(at(5)).await.unwrap();
    assert_eq!(bed.store.end_removed(&[], at(6)).await.unwrap(), [removed("ann", 2, 0)], "a digest is no alert");
    assert_eq!(bed.states().await, ["expired", "expired", "expired", "sending"]);
    assert_eq!(ids(&bed.due(&["ann"], 7).await), [NotificationId(4)], "it may have been seen: its copy is sent");
    bed.store.retry_now(NotificationId(1), at(8)).await.unwrap();
    assert_eq!(bed.states().await, ["queued", "expired", "expired", "sending"], "an operator may insist");
}

#[tokio::test]
async fn what_a_removed_recipient_missed_is_no_news_on_a_return() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Minor, 1), &["ann"], 1).await;
    let held = ids(&bed.due(&["ann"], 1).await);
    bed.store.hold(&held, at(10), "offline", at(1)).await.unwrap();
    bed.store.expire(at(11)).await.unwrap();
    assert_eq!(bed.store.returning(&jid("ann"), 9).await.unwrap().expired, 1);
    bed.store.end_removed(&[], at(12)).await.unwrap();
    assert_eq!(bed.store.returning(&jid("ann"), 9).await.unwrap().expired, 0);
}
