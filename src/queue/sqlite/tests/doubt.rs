//! What is in doubt, and what waits while the archive is asked.

use jiff::SignedDuration;

use super::bed::*;
use crate::model::*;
use crate::queue::*;

async fn in_doubt(bed: &Bed, now: i64) -> Vec<Doubt> {
    bed.store.in_doubt(at(now)).await.unwrap();
    bed.store.doubts(100, at(now)).await.unwrap()
}

/// On its way, and no more is known.
async fn intended(bed: &Bed, now: i64) -> Vec<StanzaId> {
    let due = bed.due(&["ann", "bob"], now).await;
    bed.store.d3_intend(&ids(&due), Epoch(1), at(now)).await.unwrap();
    due.into_iter().map(|out| out.notification.stanza_id).collect()
}

#[tokio::test]
async fn what_is_in_doubt_is_listed_with_its_last_copy_and_its_first_intent() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Major, 1), &["ann", "bob", "eve"], 1).await;
    let sent = intended(&bed, 2).await;
    bed.store.d4_accepted(&sent[1..], at(3)).await.unwrap();
    assert_eq!(bed.store.doubts(100, at(3)).await.unwrap(), [], "it is on its way");
    let doubt = Doubt { to: jid("ann"), stanza_id: sent[0].clone(), copy: 1, since: at(2), after: None };
    assert_eq!(in_doubt(&bed, 4).await, std::slice::from_ref(&doubt), "what was accepted or never sent is not");
    intended(&bed, 5).await;
    assert_eq!(in_doubt(&bed, 6).await, [Doubt { copy: 2, ..doubt }], "sent again, and in doubt again");
}

#[tokio::test]
async fn a_doubt_knows_what_was_accepted_before_it() {
    let bed = Bed::new().await;
    for (n, key) in (1..).zip(["a", "b", "c", "d", "e"]) {
        bed.fired(firing(key, Severity::Major, n), &["ann"], n).await;
    }
    let due = bed.due(&["ann"], 10).await;
    let [a, b, c, d, e] = due.iter().map(|out| out.notification.id).collect::<Vec<_>>().try_into().unwrap();
    let stanza = |which| due.iter().find(|out| out.notification.id == which).unwrap().notification.stanza_id.clone();
    let intend = async |which, now| bed.store.d3_intend(&[which], Epoch(1), at(now)).await.unwrap();
    let accept = async |which, now| bed.store.d4_accepted(&[stanza(which)], at(now)).await.unwrap();
    // Of a there are two copies, and the second may be the younger.
    intend(a, 10).await;
    bed.store.in_doubt(at(11)).await.unwrap();
    intend(b, 12).await;
    accept(b, 13).await;
    intend(a, 14).await;
    accept(a, 15).await;
    intend(c, 16).await;
    intend(d, 18).await;
    intend(e, 20).await;
    // Of two doubts the first counts; what was accepted after it, or at the same time, may lie behind it in an archive.
    accept(d, 20).await;
    let doubts = in_doubt(&bed, 21).await;
    let told: Vec<_> = doubts.into_iter().map(|doubt| (doubt.stanza_id, doubt.after)).collect();
    assert_eq!(told, [(stanza(e), Some(stanza(b))), (stanza(c), Some(stanza(b)))]);
}

#[tokio::test]
async fn what_the_archive_is_asked_about_waits_and_so_does_what_follows_it() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Major, 1), &["ann"], 1).await;
    bed.fired(firing("b", Severity::Major, 1), &["ann"], 1).await;
    intended(&bed, 2).await;
    let bed = bed.reopen().await;
    let doubts = in_doubt(&bed, 3).await;
    let asked: Vec<StanzaId> = doubts.iter().map(|doubt| doubt.stanza_id.clone()).collect();
    bed.store.put_off(&asked, Some(at(60))).await.unwrap();
    assert!(bed.store.recipients_due(at(4)).await.unwrap().is_empty());
    // The end of a's condition must not overtake its begin; another condition has nothing to do with it.
    bed.mailed(vec![resolved("a", 4)], &Rules::to(&["ann"]), &Lane::open(9), 4).await;
    bed.mailed(vec![firing("c", Severity::Major, 4)], &Rules::to(&["ann"]), &Lane::closed(), 4).await;
    assert_eq!(titles(&bed.due(&["ann"], 5).await), ["c is firing"]);
    // a was found, b was not.
    let all = bed.all().await;
    let of = |title: &str| all.iter().find(|n| n.title == title).unwrap().stanza_id.clone();
    let (a, b) = (of("a is firing"), of("b is firing"));
    assert!(asked.contains(&a) && asked.contains(&b));
    bed.store.d4_accepted(std::slice::from_ref(&a), at(6)).await.unwrap();
    bed.store.put_off(&[b.clone(), a.clone()], None).await.unwrap();
    let due = bed.due(&["ann"], 7).await;
    assert_eq!(titles(&due), ["b is firing", "c is firing", "a is resolved"]);
    assert_eq!(due.iter().map(|out| out.in_doubt).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(bed.store.by_stanza(&a).await.unwrap().unwrap().notification.state, NotificationState::Accepted);
}

#[tokio::test]
async fn neither_worse_news_nor_a_clock_that_jumps_ends_the_wait_for_the_archive() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Minor, 1), &["ann"], 1).await;
    let sent = intended(&bed, 2).await;
    in_doubt(&bed, 3).await;
    bed.store.put_off(&sent, Some(at(60))).await.unwrap();
    bed.mailed(vec![firing("a", Severity::Critical, 4)], &Rules::to(&["ann"]), &Lane::closed(), 4).await;
    assert!(bed.due(&["ann"], 5).await.is_empty(), "worse news of it waits, and does not make it due");
    bed.store.clock_jumped(SignedDuration::from_hours(1)).await.unwrap();
    assert!(bed.due(&["ann"], 3659).await.is_empty());
    let due = bed.due(&["ann"], 3660).await;
    assert_eq!(due.len(), 1);
    assert!(due[0].in_doubt && due[0].notification.attempts == 1, "the older one goes first: {due:?}");
}

#[tokio::test]
async fn worse_news_does_not_wait_for_what_a_room_did_not_reflect() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Minor, 1), &["ann"], 1).await;
    let sent = intended(&bed, 2).await;
    bed.store.doubt(&sent[0], at(600), "not reflected", at(3)).await.unwrap();
    assert!(bed.due(&["ann"], 4).await.is_empty());
    bed.mailed(vec![firing("a", Severity::Critical, 4)], &Rules::to(&["ann"]), &Lane::closed(), 4).await;
    assert_eq!(bed.due(&["ann"], 5).await.len(), 1, "it goes at once, and the news after it");
}

#[tokio::test]
async fn without_an_answer_it_is_due_when_patience_is_over() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Major, 1), &["ann"], 1).await;
    intended(&bed, 2).await;
    let asked: Vec<StanzaId> = in_doubt(&bed, 3).await.into_iter().map(|doubt| doubt.stanza_id).collect();
    bed.store.put_off(&asked, Some(at(60))).await.unwrap();
    let bed = bed.reopen().await;
    assert_eq!(in_doubt(&bed, 4).await.len(), 1, "a new process asks again");
    bed.store.put_off(&asked, Some(at(64))).await.unwrap();
    assert!(bed.due(&["ann"], 59).await.is_empty());
    assert_eq!(bed.due(&["ann"], 60).await.len(), 1, "its patience is that of the first");
    assert_eq!(in_doubt(&bed, 60).await, [], "and nobody asks any more");
    // Sent again, and in doubt again: that is another copy.
    intended(&bed, 61).await;
    assert_eq!(in_doubt(&bed, 62).await.len(), 1);
}

#[tokio::test]
async fn a_digest_stands_for_what_it_covers() {
    let bed = Bed::new().await;
    for key in ["a", "b"] {
        bed.fired(firing(key, Severity::Minor, 1), &["ann"], 1).await;
    }
    let held = ids(&bed.due(&["ann"], 1).await);
    bed.store.hold(&held, at(100), "offline", at(1)).await.unwrap();
    bed.store.digest(&recipient("ann"), &held, "two", at(2)).await.unwrap().unwrap();
    intended(&bed, 4).await;
    let doubts = in_doubt(&bed, 5).await;
    assert_eq!(doubts.len(), 1, "{doubts:?}");
    bed.store.put_off(&[doubts[0].stanza_id.clone()], Some(at(60))).await.unwrap();
    assert!(bed.due(&["ann"], 6).await.is_empty());
    bed.store.d4_accepted(&[doubts[0].stanza_id.clone()], at(7)).await.unwrap();
    assert_eq!(bed.states().await, ["accepted"; 3]);
    assert!(bed.all().await.iter().all(|n| n.not_before.is_none()));
    assert_eq!(bed.store.doubts(100, at(8)).await.unwrap(), []);
}
