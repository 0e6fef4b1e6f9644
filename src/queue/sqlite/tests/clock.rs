use jiff::SignedDuration;

use super::bed::*;
use crate::model::*;
use crate::queue::*;

const HOUR: i64 = 3600;

/// ann's is held until 100, bob's is tried again at 40, cid's takes effect at 500; the operators were told at 1.
async fn waiting() -> Bed {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Minor, 1), &["ann"], 1).await;
    bed.store.hold(&ids(&bed.due(&["ann"], 1).await), at(100), "offline", at(1)).await.unwrap();
    bed.fired(firing("b", Severity::Minor, 1), &["bob"], 1).await;
    let sent = bed.sent(&["bob"], 1).await;
    bed.store.retry(&sent[0].notification.stanza_id, at(40), "busy", at(1)).await.unwrap();
    let later = Rules { not_before: Some(at(500)), ..Rules::to(&["cid"]) };
    bed.mailed(vec![firing("c", Severity::Minor, 1)], &later, &Lane::closed(), 1).await;
    bed.store.notice("disk", "full", &[], at(1)).await.unwrap();
    bed.store.note("disk", "full again", at(2)).await.unwrap();
    bed
}

#[tokio::test]
async fn what_waits_for_a_span_waits_as_long_whichever_way_the_clock_jumps() {
    for jump in [HOUR, -HOUR] {
        let bed = waiting().await;
        bed.store.clock_jumped(SignedDuration::from_secs(jump)).await.unwrap();
        let all = bed.all().await;
        assert_eq!(all[0].held_until, Some(at(jump + 100)));
        assert_eq!(all[1].not_before, Some(at(jump + 40)));
        assert_eq!(all[2].not_before, Some(at(500)), "a time that the alert itself names");
        assert!(bed.due(&["bob"], jump + 39).await.is_empty());
        assert_eq!(bed.due(&["bob"], jump + 40).await.len(), 1);
        assert!(bed.store.notices_due(at(jump + 1)).await.unwrap().is_empty());
        assert_eq!(bed.store.notices_due(at(jump + 2)).await.unwrap().len(), 1);
        assert!(bed.store.expire(at(jump + 99)).await.unwrap().is_empty(), "not held shorter");
        assert_eq!(bed.store.expire(at(jump + 100)).await.unwrap().len(), 1, "nor longer");
    }
}
