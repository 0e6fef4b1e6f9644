use super::bed::*;
use crate::model::*;
use crate::queue::*;

/// Every table that an alert leaves rows in.
const TABLES: [&str; 11] = [
    "message",
    "raw",
    "quarantine_reason",
    "alert",
    "condition",
    "alert_condition",
    "notification",
    "event",
    "watch",
    "alert_group",
    "left_out",
];

async fn counts(bed: &Bed) -> Vec<(&'static str, i64)> {
    let mut counts = Vec::new();
    for table in TABLES {
        counts.push((table, bed.rows(table).await));
    }
    counts.retain(|(_, n)| *n > 0);
    counts
}

async fn step(bed: &Bed, what: Old, before: i64, after: i64, limit: usize) -> Purged {
    bed.store.purge(what, at(before), after, limit).await.unwrap()
}

/// All mails so far are gone from the mailbox.
async fn emptied(bed: &Bed) {
    let uncleared: Vec<_> = bed.store.uncleared(&mailbox()).await.unwrap().iter().map(|u| u.id).collect();
    bed.store.cleared(&uncleared).await.unwrap();
    bed.store.retire_absent(&mailbox(), Some(1), &[]).await.unwrap();
}

async fn delivered(bed: &Bed, who: &[&str], now: i64) {
    let sent = bed.sent(who, now).await;
    let receipts: Vec<_> = sent
        .iter()
        .map(|o| Receipt { from: o.notification.jid.clone(), stanza_id: o.notification.stanza_id.clone() })
        .collect();
    bed.store.d5_delivered(&receipts, at(now)).await.unwrap();
}

async fn unwatched(bed: &Bed, now: i64) {
    let watches = bed.store.watches(None, 100).await.unwrap();
    let ends = watches.into_iter().map(|w| (w.alert, w.group, WatchEnd::Reached)).collect();
    bed.store.end_watches(ends, at(now)).await.unwrap();
}

#[tokio::test]
async fn what_is_over_and_old_goes_with_all_that_belongs_to_it() {
    let bed = Bed::new().await;
    let rules = Rules { left_out: vec!["cid: behind a wall".into()], ..Rules::to(&["ann", "bob"]) };
    bed.mailed(vec![firing("a", Severity::Major, 1)], &rules, &Lane::closed(), 1).await;
    delivered(&bed, &["ann", "bob"], 2).await;
    bed.fired(resolved("a", 3), &[], 3).await;
    delivered(&bed, &["ann", "bob"], 4).await;
    unwatched(&bed, 5).await;
    let quarantined = bed.stored().await;
    let verdict = Verdict::Ends(MessageState::Quarantined, "no alert".into());
    let lane = Lane::closed();
    bed.store.d2_commit(vec![message(quarantined, verdict, 5)], &Rules::to(&[]), &lane, at(5)).await.unwrap();
    emptied(&bed).await;
    let before = counts(&bed).await;

    bed.purged(0).await;
    assert_eq!(counts(&bed).await, before, "nothing is that old");
    bed.purged(100).await;
    assert_eq!(counts(&bed).await, []);
    assert!(bed.broken_references().await.is_empty());
    // Numbers are not used again.
    let next = bed.stored().await;
    assert!(next > quarantined);
}

#[tokio::test]
async fn of_two_alerts_of_a_condition_the_younger_stays_and_forgets_the_older() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Major, 1), &["ann"], 1).await;
    delivered(&bed, &["ann"], 2).await;
    bed.fired(resolved("a", 30), &[], 30).await;
    delivered(&bed, &["ann"], 31).await;
    unwatched(&bed, 31).await;
    bed.purged(20).await;
    assert_eq!((bed.rows("alert").await, bed.rows("condition").await, bed.rows("notification").await), (1, 1, 1));
    assert!(bed.broken_references().await.is_empty(), "it does not refer to what it resolved");
    // An older report of it is still known to come late.
    bed.fired(firing("a", Severity::Major, 25), &["ann"], 32).await;
    assert_eq!(bed.rows("condition").await, 1);
}

#[tokio::test]
async fn who_was_told_of_an_open_condition_is_told_of_its_end_however_late() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Minor, 1), &["ann"], 1).await;
    delivered(&bed, &["ann"], 2).await;
    // A repeat that told nobody, and a worse one that told bob too.
    bed.fired(firing("a", Severity::Minor, 3), &["ann"], 3).await;
    bed.fired(firing("a", Severity::Critical, 4), &["ann", "bob"], 4).await;
    delivered(&bed, &["ann", "bob"], 5).await;
    unwatched(&bed, 6).await;
    bed.purged(1000).await;
    assert_eq!(bed.rows("alert").await, 2, "only the repeat is gone");
    bed.fired(resolved("a", 2000), &[], 2000).await;
    let told = bed.sent(&["ann", "bob"], 2001).await;
    let mut who: Vec<_> = told.iter().map(|o| o.notification.recipient.to_string()).collect();
    who.sort();
    assert_eq!(who, ["ann", "bob"]);
    let receipts = told
        .iter()
        .map(|out| Receipt { from: out.notification.jid.clone(), stanza_id: out.notification.stanza_id.clone() });
    bed.store.d5_delivered(&receipts.collect::<Vec<_>>(), at(2100)).await.unwrap();
    bed.purged(2050).await;
    assert_eq!(bed.rows("alert").await, 1, "what it stood on is of no use any more");
    bed.purged(3000).await;
    assert_eq!((bed.rows("alert").await, bed.rows("condition").await), (0, 0));
}

#[tokio::test]
async fn what_is_not_over_stays_however_old() {
    let bed = Bed::new().await;
    for (n, key) in (1..).zip(["queued", "held", "sending", "accepted", "over", "watched"]) {
        // The recipient has the name of the condition.
        bed.fired(firing(key, Severity::Major, n), &[key], n).await;
        let due = ids(&bed.due(&[key], n).await);
        match key {
            "queued" => bed.store.wait(&due, &Wait { until: at(9000), why: "too much" }).await.unwrap(),
            "held" => bed.store.hold(&due, at(9000), "away", at(n)).await.unwrap(),
            "sending" => drop(bed.store.d3_intend(&due, Epoch(1), at(n)).await.unwrap()),
            "accepted" => drop(bed.sent(&[key], n).await),
            _ => delivered(&bed, &[key], n).await,
        }
        if key != "watched" {
            unwatched(&bed, n).await;
        }
    }
    // Otherwise they would stay because of that.
    let mut lease = bed.store.writer().await.unwrap();
    sqlx::raw_sql("UPDATE condition SET open = 0, opened_by = NULL").execute(&mut lease.conn).await.unwrap();
    lease.keep();
    bed.purged(5000).await;
    let left: Vec<_> = bed.all().await.iter().map(|n| (n.recipient.to_string(), n.state.as_str())).collect();
    let left: Vec<_> = left.iter().map(|(who, state)| (who.as_str(), *state)).collect();
    assert_eq!(
        left,
        [
            ("queued", "queued"),
            ("held", "held"),
            ("sending", "sending"),
            ("accepted", "accepted"),
            ("watched", "delivered")
        ]
    );
    assert!(bed.broken_references().await.is_empty());
}

#[tokio::test]
async fn a_digest_goes_after_what_it_carried() {
    let bed = Bed::new().await;
    for n in 1..=3 {
        bed.fired(firing(&format!("k{n}"), Severity::Minor, n), &["ann"], n).await;
        bed.store.hold(&ids(&bed.due(&["ann"], n).await), at(9000), "away", at(n)).await.unwrap();
    }
    let held = bed.store.returning(&jid("ann"), 50).await.unwrap().held;
    bed.store.digest(&recipient("ann"), &ids(&held), "three", at(10)).await.unwrap();
    delivered(&bed, &["ann"], 11).await;
    bed.store.notice("full", "the disk is full", &[(recipient("ann"), delivery())], at(12)).await.unwrap();
    delivered(&bed, &["ann"], 13).await;
    unwatched(&bed, 13).await;
    assert_eq!(step(&bed, Old::Letters, 12, 0, 9).await.rows, 0, "what it carried still refers to it");
    for n in 1..=3 {
        bed.fired(resolved(&format!("k{n}"), 20), &[], 20).await;
    }
    assert_eq!(step(&bed, Old::Alerts, 20, 0, 9).await.rows, 3);
    assert_eq!(step(&bed, Old::Letters, 12, 0, 9).await.rows, 1);
    assert_eq!(step(&bed, Old::Letters, 20, 0, 9).await.rows, 1, "the notice");
    assert!(bed.broken_references().await.is_empty());
}

#[tokio::test]
async fn raw_mails_go_first_and_that_they_were_seen_stays_while_they_are_listed() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Major, 1), &["ann"], 1).await;
    bed.fired(firing("b", Severity::Major, 1), &["ann"], 1).await;
    bed.stored().await;
    let Purged { rows, next, .. } = step(&bed, Old::Raw, 0, 0, 10).await;
    assert_eq!((rows, next), (0, None), "too young");
    let first = step(&bed, Old::Raw, 5, 0, 1).await;
    assert_eq!(first.rows, 1);
    let Purged { rows, next, .. } = step(&bed, Old::Raw, 5, first.next.unwrap(), 10).await;
    assert_eq!((rows, next), (1, None));
    assert_eq!(bed.store.ready(10, u64::MAX, &[]).await.unwrap().len(), 1, "the third waits to be parsed");

    let uids = [1, 2, 3].map(|uid| Cursor::Imap { uidvalidity: 1, uid });
    delivered(&bed, &["ann"], 2).await;
    for key in ["a", "b"] {
        bed.fired(resolved(key, 3), &[], 3).await;
    }
    unwatched(&bed, 3).await;
    delivered(&bed, &["ann"], 4).await;
    bed.purged(100).await;
    assert_eq!(bed.rows("alert").await, 0);
    assert!(bed.store.unknown(&mailbox(), &uids).await.unwrap().is_empty(), "not cleared yet");
    let stored: Vec<_> = bed.store.uncleared(&mailbox()).await.unwrap().iter().map(|u| u.id).collect();
    bed.store.cleared(&stored).await.unwrap();
    bed.store.retire_absent(&mailbox(), Some(1), &uids[1..]).await.unwrap();
    bed.purged(100).await;
    assert_eq!(bed.store.unknown(&mailbox(), &uids).await.unwrap(), uids[..1], "the others are listed");
    // Another generation: none of these will be listed again.
    bed.store.retire_absent(&mailbox(), Some(2), &uids).await.unwrap();
    bed.purged(100).await;
    assert_eq!(bed.rows("message").await, 1, "the one that waits to be parsed");
}

#[tokio::test]
async fn a_mail_that_is_listed_again_after_it_was_gone_is_no_news() {
    let bed = Bed::new().await;
    let one = |uid: u32| NewMessage { raw: b"Subject: x\r\n\r\nthe same\r\n".to_vec(), ..mail(uid) };
    let digest = MailDigest { message_id: None, date: None, body_sha256: [1; 32] };
    let (rules, lane) = (Rules::to(&["ann"]), Lane::closed());
    let mut commit = Vec::new();
    for (n, uid) in (1..).zip([1, 1, 2]) {
        let ids = bed.store.d1_store(&mailbox(), vec![one(uid)], at(n)).await.unwrap();
        bed.store.cleared(&ids).await.unwrap();
        let verdict = Verdict::Alerts { alerts: vec![firing(&format!("k{n}"), Severity::Major, n)], bad: Vec::new() };
        let message = D2Message { digest: Some(digest.clone()), ..message(ids[0], verdict, n) };
        bed.store.d2_commit(vec![message], &rules, &lane, at(n)).await.unwrap();
        commit.push(bed.rows("alert").await);
        bed.store.retire_absent(&mailbox(), Some(1), &[]).await.unwrap();
    }
    assert_eq!(commit, [1, 1, 2], "the same UID is the same mail; the same bytes under another UID are another report");
}

#[tokio::test]
async fn what_came_while_the_clock_was_ahead_keeps_nothing_else() {
    let bed = Bed::new().await;
    for (key, now) in [("a", 1), ("ahead", 300_000_000), ("b", 2), ("c", 50)] {
        bed.fired(resolved(key, now), &[], now).await;
    }
    bed.purged(10).await;
    let mut lease = bed.store.desk().await.unwrap();
    let left = sqlx::query_scalar::<_, String>("SELECT ident FROM alert ORDER BY id").fetch_all(&mut lease.conn);
    assert_eq!(left.await.unwrap(), ["ahead-300000000", "c-50"]);
    lease.keep();
}

#[tokio::test]
async fn steps_are_small_and_lead_through_everything() {
    let bed = Bed::new().await;
    for n in 0..20 {
        bed.fired(resolved(&format!("k{n}"), n), &[], n).await;
    }
    emptied(&bed).await;
    let (mut after, mut steps) = (0, Vec::new());
    loop {
        let Purged { rows, next, .. } = step(&bed, Old::Alerts, 15, after, 4).await;
        steps.push(rows);
        let Some(next) = next else { break };
        assert!(next > after);
        after = next;
    }
    assert_eq!(steps, [4, 4, 4, 3], "15 to 19 are too young");
    assert_eq!(bed.rows("alert").await, 5);
    let large = NewMessage { raw: vec![b'x'; 3 << 20], ..mail(100) };
    let ids = bed
        .store
        .d1_handed(
            &[0, 1].map(|_| Handed {
                mailboxes: vec![mailbox()],
                mail: NewMessage { cursor: Cursor::Lmtp { delivery: "d".into() }, ..large.clone() },
            }),
            at(0),
        )
        .await
        .unwrap();
    for id in ids.iter().flatten() {
        let verdict = Verdict::Ends(MessageState::Ignored, String::new());
        bed.store.d2_commit(vec![message(*id, verdict, 0)], &Rules::to(&[]), &Lane::closed(), at(0)).await.unwrap();
    }
    step(&bed, Old::Messages, 15, 0, 15).await;
    let before = bed.rows("raw").await;
    let mut after = 0;
    while bed.rows("raw").await == before {
        after = step(&bed, Old::Messages, 10, after, 100).await.next.unwrap();
    }
    assert_eq!(bed.rows("raw").await, before - 1, "two of 3 MiB do not go in one commit");
}
