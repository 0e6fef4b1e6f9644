//! Any order of operations keeps the promises: states only move forward, one stanza id for each (alert, JID), nothing vanishes
//! but what is over and purged.

use std::collections::{BTreeMap, HashMap};

use jiff::SignedDuration;
use proptest::prelude::*;

use super::bed::*;
use crate::model::*;
use crate::queue::*;

#[derive(Debug, Clone)]
enum Op {
    Mail { key: u8, severity: u8, resolved: bool, express: bool },
    Found { key: u8, severity: u8, what: What, express: bool },
    Send { who: u8, accept: bool },
    Receipt { nth: u8 },
    Retry { nth: u8 },
    Unreflected { nth: u8 },
    Dead { nth: u8 },
    Hold { who: u8 },
    Release { who: u8 },
    Digest { who: u8 },
    Wait { who: u8, first: u8 },
    WaitNoMore { who: u8 },
    Fold { who: u8, spared: u8, digest: bool },
    Doubt,
    Expire,
    Unconfirm,
    Miss,
    Resend { who: u8, written: bool },
    Ask { nth: u8 },
    End { nth: u8 },
    Purge { age: u8 },
    Reopen,
}

/// What the probe found.
#[derive(Debug, Clone, Copy)]
enum What {
    Soft,
    Down,
    Up,
    /// Of which an alert cannot be committed.
    Odd,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..3u8, 0..5u8, any::<bool>(), any::<bool>())
            .prop_map(|(key, severity, resolved, express)| Op::Mail { key, severity, resolved, express }),
        4 => (0..3u8, 0..5u8, prop_oneof![Just(What::Soft), Just(What::Down), Just(What::Up), Just(What::Odd)], any::<bool>())
            .prop_map(|(key, severity, what, express)| Op::Found { key, severity, what, express }),
        4 => (0..2u8, any::<bool>()).prop_map(|(who, accept)| Op::Send { who, accept }),
        3 => any::<u8>().prop_map(|nth| Op::Receipt { nth }),
        2 => any::<u8>().prop_map(|nth| Op::Retry { nth }),
        1 => any::<u8>().prop_map(|nth| Op::Unreflected { nth }),
        1 => any::<u8>().prop_map(|nth| Op::Dead { nth }),
        2 => (0..2u8).prop_map(|who| Op::Hold { who }),
        2 => (0..2u8).prop_map(|who| Op::Release { who }),
        2 => (0..2u8).prop_map(|who| Op::Digest { who }),
        4 => (0..2u8, 1..4u8).prop_map(|(who, first)| Op::Wait { who, first }),
        2 => (0..2u8).prop_map(|who| Op::WaitNoMore { who }),
        2 => (0..2u8, 0..2u8, any::<bool>()).prop_map(|(who, spared, digest)| Op::Fold { who, spared, digest }),
        1 => Just(Op::Doubt),
        1 => Just(Op::Expire),
        1 => Just(Op::Unconfirm),
        3 => Just(Op::Miss),
        3 => (0..2u8, any::<bool>()).prop_map(|(who, written)| Op::Resend { who, written }),
        1 => any::<u8>().prop_map(|nth| Op::Ask { nth }),
        1 => any::<u8>().prop_map(|nth| Op::End { nth }),
        2 => (0..9u8).prop_map(|age| Op::Purge { age }),
        1 => Just(Op::Reopen),
    ]
}

const WHO: [&str; 2] = ["ann", "bob"];

/// What is to be kept of it.
fn found_state(what: What, now: i64) -> Option<String> {
    (!matches!(what, What::Up)).then(|| format!("{what:?} at {now}"))
}

async fn apply(bed: Bed, op: &Op, now: i64) -> Bed {
    let store = bed.store.clone();
    let all = bed.all().await;
    let nth = |nth: u8| all.get(usize::from(nth) % all.len().max(1));
    let who = |who: u8| WHO[usize::from(who)];
    match *op {
        Op::Mail { key, severity, resolved: over, express } => {
            let (key, severity) = (format!("k{key}"), Severity::ALL[usize::from(severity)]);
            let alert = if over { resolved(&key, now) } else { firing(&key, severity, now) };
            let lane = if express { Lane::open(9) } else { Lane::closed() };
            let rules = Rules { expires: Some(at(now + 20)), ..Rules::to(&WHO) };
            bed.mailed(vec![alert], &rules, &lane, now).await;
        }
        Op::Found { key, severity, what, express } => {
            let (host, severity) = (format!("h{key}"), Severity::ALL[usize::from(severity)]);
            let firing = firing(&host, severity, now);
            let alerts = match what {
                What::Soft => vec![],
                What::Down => vec![firing],
                What::Up => vec![resolved(&host, now)],
                What::Odd => vec![firing.clone(), Alert { title: "panic".into(), ..firing }],
            };
            let lane = if express { Lane::open(9) } else { Lane::closed() };
            let state = found_state(what, now);
            let report = bed.found(&[finding(&host, state.as_deref(), &alerts)], &Rules::to(&WHO), &lane, now).await;
            assert_eq!(report.done, 1);
        }
        Op::Send { who: w, accept: true } => drop(bed.sent(&[who(w)], now).await),
        Op::Send { who: w, accept: false } => {
            let due = bed.due(&[who(w)], now).await;
            let mut seen = std::collections::HashSet::new();
            for out in &due {
                if let Content::Alert(a) = &out.content {
                    assert!(seen.insert(a.alert.key.clone()), "two reports of one condition at a time");
                }
            }
            assert_eq!(store.d3_intend(&ids(&due), Epoch(1), at(now)).await.unwrap(), ids(&due));
        }
        Op::Receipt { nth: n } => {
            if let Some(n) = nth(n) {
                let receipt = Receipt { from: n.jid.parse().unwrap(), stanza_id: n.stanza_id.clone() };
                assert!(store.d5_delivered(&[receipt], at(now)).await.unwrap().is_empty());
            }
        }
        Op::Retry { nth: n } => {
            if let Some(n) = nth(n) {
                store.retry(&n.stanza_id, at(now + 5), "busy", at(now)).await.unwrap();
            }
        }
        Op::Unreflected { nth: n } => {
            if let Some(n) = nth(n) {
                store.doubt(&n.stanza_id, at(now + 5), "silence", at(now)).await.unwrap();
            }
        }
        Op::Dead { nth: n } => {
            if let Some(n) = nth(n) {
                store.dead(&n.stanza_id, "gone", at(now)).await.unwrap();
            }
        }
        Op::Hold { who: w } => {
            let due = bed.due(&[who(w)], now).await;
            store.hold(&ids(&due), at(now + 15), "away", at(now)).await.unwrap();
        }
        Op::Release { who: w } => {
            let back = store.returning(&jid(who(w)), 50).await.unwrap();
            store.release_held(&ids(&back.held), at(now)).await.unwrap();
        }
        Op::Digest { who: w } => {
            let back = store.returning(&jid(who(w)), 50).await.unwrap();
            store.digest(&recipient(who(w)), &ids(&back.held), "digest", at(now)).await.unwrap();
        }
        Op::Wait { who: w, first } => {
            let due = bed.due(&[who(w)], now).await;
            let first = &due[..due.len().min(first.into())];
            store.wait(&ids(first), &Wait { until: at(now + 2), why: "too much" }).await.unwrap();
        }
        Op::WaitNoMore { who: w } => store.wait_no_more(&jid(who(w)), at(now)).await.unwrap(),
        Op::Fold { who: w, spared, digest } => {
            let text: DigestText<'_> = &|folded| format!("{folded:?}");
            let rest = Wait { until: at(now + 4), why: "still too much" };
            let text = digest.then_some(text);
            store.fold(&recipient(who(w)), spared.into(), 2, text, &rest, at(now)).await.unwrap();
        }
        Op::Doubt => drop(store.in_doubt(at(now)).await.unwrap()),
        Op::Expire => drop(store.expire(at(now)).await.unwrap()),
        Op::Unconfirm => drop(store.unconfirm(at(now - 3), at(now)).await.unwrap()),
        Op::Miss => drop(store.miss(at(now - 3), SignedDuration::from_secs(9), at(now)).await.unwrap()),
        Op::Resend { who: w, written } => {
            let due = store.unanswered(&jid(who(w)), at(now - 4), 10, at(now)).await.unwrap();
            assert!(due.iter().all(|out| out.in_doubt && out.notification.state == NotificationState::Accepted));
            assert_eq!(store.d3_resend(&ids(&due), Epoch(1), at(now)).await.unwrap(), ids(&due));
            assert!(store.d3_resend(&ids(&due), Epoch(1), at(now)).await.unwrap().is_empty(), "a third copy");
            if !written {
                let stanzas: Vec<_> = due.iter().map(|out| out.notification.stanza_id.clone()).collect();
                store.not_resent(&stanzas).await.unwrap();
            }
        }
        Op::Ask { nth: n } => {
            if let Some(n) = nth(n) {
                let _ = store.retry_now(n.id, at(now)).await;
            }
        }
        Op::End { nth: n } => {
            if let Some(n) = nth(n) {
                let _ = store.expire_now(n.id, "ended", at(now)).await;
            }
        }
        Op::Purge { age } => bed.purged(now - i64::from(age)).await,
        Op::Reopen => {
            drop(store);
            return bed.reopen().await;
        }
    }
    bed
}

/// May one operation take a notification from here to there?
fn may(from: NotificationState, to: NotificationState, op: &Op) -> bool {
    use NotificationState as S;
    match (from, to) {
        _ if from == to => true,
        (S::Queued | S::Held, _) => to != S::Dead && to != S::Unconfirmed,
        (S::Sending, S::Accepted | S::Delivered | S::Dead | S::Queued) => true,
        (S::Accepted, S::Delivered | S::Dead | S::Queued | S::Unconfirmed) => true,
        // A late receipt, or a late error.
        (S::Unconfirmed, S::Delivered | S::Dead | S::Queued) => true,
        (S::Expired | S::Dead, S::Queued) => matches!(op, Op::Ask { .. }),
        _ => false,
    }
}

async fn run(ops: Vec<Op>) {
    let mut bed = Bed::new().await;
    // Both send receipts, so that missing ones count from the start.
    bed.fired(firing("before", Severity::Minor, 0), &WHO, 0).await;
    let sent = bed.sent(&WHO, 0).await;
    let receipts: Vec<_> = sent
        .iter()
        .map(|out| Receipt { from: out.notification.jid.clone(), stanza_id: out.notification.stanza_id.clone() })
        .collect();
    bed.store.d5_delivered(&receipts, at(0)).await.unwrap();
    let mut known: HashMap<NotificationId, NotificationView> = HashMap::new();
    let mut states = BTreeMap::new();
    let mut resent = HashMap::new();
    for (now, op) in (1i64..).zip(&ops) {
        bed = apply(bed, op, now).await;
        if let Op::Found { key, what, .. } = op {
            states.insert(format!("h{key}"), found_state(*what, now));
        }
        let expected = states.iter().filter_map(|(name, state)| Some((name.clone(), state.clone()?)));
        assert_eq!(bed.store.probe_states().await.unwrap(), expected.collect::<Vec<_>>(), "{op:?}");
        let all = bed.all().await;
        let there: std::collections::HashSet<_> = all.iter().map(|n| n.id).collect();
        known.retain(|id, n| {
            let gone = !there.contains(id);
            assert!(!gone || (n.state.ended() && matches!(op, Op::Purge { .. })), "{n:?} vanished: {op:?}");
            !gone
        });
        assert_eq!(bed.broken_references().await, Vec::<String>::new(), "{op:?}");
        let mut once = std::collections::HashSet::new();
        for n in all {
            assert!(n.alert.is_none() || once.insert((n.alert.clone(), n.jid.clone())), "two for one: {n:?}");
            if let Some(before) = known.insert(n.id, n.clone()) {
                assert_eq!(before.stanza_id, n.stanza_id);
                assert!(may(before.state, n.state, op), "{} → {} by {op:?}", before.state.as_str(), n.state.as_str());
                assert!(n.attempts >= before.attempts || matches!(op, Op::Resend { written: false, .. }));
            }
        }
        let now_resent = bed.resent().await;
        for (id, when) in &now_resent {
            assert_eq!(*resent.entry(*id).or_insert(*when), *when, "sent again twice: {op:?}");
        }
        resent = now_resent;
    }
    // Nobody is sent a third copy for want of a receipt, and what waits for one ends.
    for now in [1000, 2000] {
        bed.store.unconfirm(at(now - 3), at(now)).await.unwrap();
        bed.store.miss(at(now - 3), SignedDuration::from_secs(9), at(now)).await.unwrap();
    }
    for who in WHO {
        for out in bed.store.unanswered(&jid(who), at(3000), 100, at(3000)).await.unwrap() {
            assert!(!resent.contains_key(&out.notification.id), "{out:?}");
            let id = [out.notification.id];
            assert_eq!(bed.store.d3_resend(&id, Epoch(1), at(3000)).await.unwrap(), id);
            assert!(bed.store.d3_resend(&id, Epoch(1), at(3000)).await.unwrap().is_empty(), "a third copy");
        }
    }
    for now in [200_000, 300_000] {
        bed.store.miss(at(now - 3), SignedDuration::from_secs(9), at(now)).await.unwrap();
        bed.store.unconfirm(at(now - 3), at(now)).await.unwrap();
    }
    assert_eq!(bed.store.awaited().await.unwrap(), Awaited::default());
    // Whatever is left can be sent: nothing is stuck.
    bed.store.in_doubt(at(1000)).await.unwrap();
    for now in 1000..1100 {
        for who in bed.store.recipients_held().await.unwrap() {
            let back = bed.store.returning(&who, 50).await.unwrap();
            bed.store.release_held(&ids(&back.held), at(now)).await.unwrap();
        }
        for waited in bed.store.waited(at(now)).await.unwrap() {
            bed.store.wait_no_more(&waited.jid, at(now)).await.unwrap();
        }
        if bed.sent(&WHO, now).await.is_empty() {
            break;
        }
    }
    assert!(bed.store.recipients_due(at(1100)).await.unwrap().is_empty());
    assert_eq!(bed.store.next_wait().await.unwrap(), None);
    for n in bed.all().await {
        assert!(n.state.ended() || n.state == NotificationState::Accepted, "stuck: {n:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_order_keeps_the_promises(ops in proptest::collection::vec(op(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(ops));
    }
}
