use super::bed::*;
use crate::model::*;
use crate::queue::*;

fn uid(uid: u32) -> Cursor {
    Cursor::Imap { uidvalidity: 1, uid }
}

fn pop(uidl: &str, raw: &str) -> NewMessage {
    NewMessage { cursor: Cursor::Pop3 { uidl: uidl.into() }, raw: raw.into(), internal_date: None, oversize: None }
}

#[tokio::test]
async fn a_mail_is_stored_once() {
    let bed = Bed::new().await;
    let ids = bed.store.d1_store(&mailbox(), vec![mail(3), mail(1), mail(3)], at(0)).await.unwrap();
    assert_eq!(ids.len(), 2);
    assert_eq!(bed.store.d1_store(&mailbox(), vec![mail(1), mail(4)], at(1)).await.unwrap().len(), 1);
    assert_eq!(bed.store.unknown(&mailbox(), &[uid(5), uid(4), uid(3), uid(2)]).await.unwrap(), [uid(5), uid(2)]);
    let other = "other".parse().unwrap();
    assert_eq!(bed.store.unknown(&other, &[uid(4)]).await.unwrap(), [uid(4)]);
    let next = Cursor::Imap { uidvalidity: 2, uid: 4 };
    assert_eq!(bed.store.unknown(&mailbox(), std::slice::from_ref(&next)).await.unwrap(), [next]);
    let bed = bed.reopen().await;
    assert_eq!(bed.store.waiting(&mailbox()).await.unwrap(), 3);
    let ready = bed.store.ready(10, u64::MAX, &[]).await.unwrap();
    assert_eq!(ready[0].raw, mail(3).raw);
    assert_eq!((ready[0].cursor.clone(), ready[0].internal_date, ready[0].stored), (uid(3), Some(at(0)), at(0)));
}

#[tokio::test]
async fn large_and_empty_mails_come_back_as_they_were() {
    let bed = Bed::new().await;
    let sizes = [0usize, 1, 3 << 20, 10, 700_000, 600_000, 0];
    let batch: Vec<_> =
        (1u32..).zip(sizes).map(|(n, size)| NewMessage { raw: vec![n as u8; size], ..mail(n) }).collect();
    bed.store.d1_store(&mailbox(), batch.clone(), at(0)).await.unwrap();
    let ready = bed.store.ready(10, u64::MAX, &[]).await.unwrap();
    assert_eq!(ready.len(), sizes.len());
    for (got, want) in ready.iter().zip(&batch) {
        assert!(got.raw == want.raw, "{}", want.raw.len());
    }
    assert_eq!(bed.store.ready(10, 5, &[]).await.unwrap().len(), 2, "0 and 1 byte");
    assert_eq!(bed.store.ready(2, u64::MAX, &[]).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_in_hand_is_passed_over_and_counts_for_nothing() {
    let bed = Bed::new().await;
    let ids = bed.store.d1_store(&mailbox(), (1..=4).map(mail).collect(), at(0)).await.unwrap();
    let size = mail(1).raw.len() as u64;
    let ready = bed.store.ready(2, 2 * size, &[ids[0], ids[2]]).await.unwrap();
    assert_eq!(ready.iter().map(|m| m.id).collect::<Vec<_>>(), [ids[1], ids[3]]);
    assert_eq!(bed.store.waiting(&mailbox()).await.unwrap(), 4);
    assert!(bed.store.ready(2, size, &ids).await.unwrap().is_empty());
}

#[tokio::test]
async fn mailboxes_take_turns() {
    let bed = Bed::new().await;
    for (name, count) in [("a", 5), ("b", 1), ("c", 2)] {
        let batch = (1..=count).map(mail).collect();
        bed.store.d1_store(&name.parse().unwrap(), batch, at(0)).await.unwrap();
    }
    let ready = bed.store.ready(6, u64::MAX, &[]).await.unwrap();
    let order: Vec<_> = ready.iter().map(|m| format!("{}{}", m.mailbox, m.cursor)).collect();
    assert_eq!(order, ["a1/1", "b1/1", "c1/1", "a1/2", "c1/2", "a1/3"]);
}

#[tokio::test]
async fn a_uidl_that_was_gone_is_a_new_mail() {
    let bed = Bed::new().await;
    let listed = [Cursor::Pop3 { uidl: "x".into() }, Cursor::Pop3 { uidl: "y".into() }];
    let ids = bed.store.d1_store(&mailbox(), vec![pop("x", "1"), pop("y", "2")], at(0)).await.unwrap();
    // Not cleared yet: it stays known, whatever the listing says.
    bed.store.retire_absent(&mailbox(), None, &[]).await.unwrap();
    assert!(bed.store.unknown(&mailbox(), &listed).await.unwrap().is_empty());
    bed.store.cleared(&ids).await.unwrap();
    bed.store.retire_absent(&mailbox(), None, &listed[..1]).await.unwrap();
    assert_eq!(bed.store.unknown(&mailbox(), &listed).await.unwrap(), listed[1..]);
    assert_eq!(bed.store.d1_store(&mailbox(), vec![pop("y", "2")], at(1)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn clearing_is_remembered() {
    let bed = Bed::new().await;
    let ids = bed.store.d1_store(&mailbox(), vec![mail(1), mail(2), mail(3)], at(0)).await.unwrap();
    bed.store.mark_rejected(&ids[1..2]).await.unwrap();
    bed.store.cleared(&ids[..1]).await.unwrap();
    let bed = bed.reopen().await;
    let left = bed.store.uncleared(&mailbox()).await.unwrap();
    assert_eq!(left.iter().map(|u| (u.id, u.rejected)).collect::<Vec<_>>(), [(ids[1], true), (ids[2], false)]);
    assert_eq!(left[0].cursor, uid(2));
}

#[tokio::test]
async fn there_is_room() {
    let bed = Bed::new().await;
    assert!(bed.store.room().await.unwrap().free > 0);
}

#[tokio::test]
async fn mails_that_are_handed_in_are_stored_whole_in_each_mailbox() {
    let bed = Bed::new().await;
    bed.store.d1_store(&mailbox(), vec![mail(1)], at(0)).await.unwrap();
    let handed = |delivery: &str, raw: &str, mailboxes: &[&str]| Handed {
        mailboxes: mailboxes.iter().map(|name| name.parse().unwrap()).collect(),
        mail: NewMessage {
            cursor: Cursor::Lmtp { delivery: delivery.into() },
            raw: raw.into(),
            internal_date: None,
            oversize: None,
        },
    };
    // The same delivery twice cannot be told from two: what is in them tells.
    let batch = [handed("a", "first", &["x", "y"]), handed("b", "second", &["y"]), handed("b", "second", &["y"])];
    let ids = bed.store.d1_handed(&batch, at(1)).await.unwrap();
    let numbers: Vec<Vec<i64>> = ids.iter().map(|of_mail| of_mail.iter().map(|id| id.0).collect()).collect();
    assert_eq!(numbers, [vec![2, 3], vec![4], vec![5]]);
    assert_eq!(bed.store.d1_handed(&[], at(1)).await.unwrap(), [[]; 0]);
    let bed = bed.reopen().await;
    let ready = bed.store.ready(10, u64::MAX, &[]).await.unwrap();
    let found: Vec<_> = ready.iter().map(|m| format!("{} {} {}", m.mailbox, m.cursor, m.raw.escape_ascii())).collect();
    assert_eq!(found[1..], ["x lmtp/a first", "y lmtp/a first", "y lmtp/b second", "y lmtp/b second"]);
    for name in ["x", "y"] {
        assert!(bed.store.uncleared(&name.parse().unwrap()).await.unwrap().is_empty(), "there is nothing to clear");
    }
    let cursor = Cursor::Lmtp { delivery: "a".into() };
    assert_eq!(bed.store.unknown(&"x".parse().unwrap(), std::slice::from_ref(&cursor)).await.unwrap(), [cursor]);
}
