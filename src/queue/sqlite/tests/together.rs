//! A batch comes to the same as its messages one by one.

use proptest::prelude::*;

use super::bed::*;
use crate::model::*;
use crate::queue::*;

const WHO: [&str; 3] = ["ann", "bob", "cid"];

/// A message of a batch.
#[derive(Debug, Clone)]
struct Mail {
    key: u8,
    ident: u8,
    severity: u8,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Firing,
    Resolved,
    /// Two alerts.
    Double,
    /// Makes the planner panic.
    Poison,
    Quarantined,
    /// The same Message-ID and body as others of this kind.
    Same,
}

fn mail() -> impl Strategy<Value = Mail> {
    let kind = prop_oneof![
        12 => Just(Kind::Firing),
        2 => Just(Kind::Resolved),
        1 => Just(Kind::Double),
        1 => Just(Kind::Poison),
        1 => Just(Kind::Quarantined),
        2 => Just(Kind::Same),
    ];
    (0..20u8, 0..20u8, 0..5u8, kind).prop_map(|(key, ident, severity, kind)| Mail { key, ident, severity, kind })
}

fn as_message(id: MessageId, mail: &Mail) -> D2Message {
    let key = format!("k{}", mail.key);
    let severity = Severity::ALL[usize::from(mail.severity)];
    let firing = Alert { id: format!("i{}", mail.ident), ..firing(&key, severity, 1) };
    let alerts = match mail.kind {
        Kind::Firing | Kind::Same => vec![firing],
        Kind::Resolved => vec![Alert { id: firing.id, ..resolved(&key, 2) }],
        Kind::Double => vec![firing.clone(), Alert { id: format!("{}b", firing.id), key: Key("k0".into()), ..firing }],
        Kind::Poison => vec![Alert { title: "panic".into(), ..firing }],
        Kind::Quarantined => return message(id, Verdict::Ends(MessageState::Quarantined, "odd".into()), 1),
    };
    let message = message(id, Verdict::Alerts { alerts, bad: Vec::new() }, 1);
    match mail.kind {
        Kind::Same => D2Message {
            digest: Some(MailDigest { message_id: Some("same".into()), date: None, body_sha256: [9; 32] }),
            ..message
        },
        _ => message,
    }
}

/// A lane on which bob cannot be reached by minor alerts.
struct Picky(Lane);

impl Express for Picky {
    fn epoch(&self) -> Option<Epoch> {
        self.0.epoch()
    }

    fn reserve(&self, ask: &Ask<'_>) -> Way {
        let wanted = ask.recipient.name.as_str() != "bob" || ask.severity != Severity::Minor;
        if wanted { self.0.reserve(ask) } else { Way::Queue }
    }

    fn release(&self, places: &[Place]) {
        self.0.release(places);
    }

    fn hand_over(&self, epoch: Option<Epoch>, born: Vec<Outgoing>, now: jiff::Timestamp) -> Vec<StanzaId> {
        self.0.hand_over(epoch, born, now)
    }
}

/// What is to be seen of it: the report, the notifications, the alerts, what the operators are told.
pub async fn seen(bed: &Bed, reports: &[D2Report]) -> Vec<String> {
    let mut seen = Vec::new();
    for report in reports {
        seen.extend(report.messages.iter().map(|(id, state)| format!("{id} {}", state.as_str())));
    }
    let born: Vec<_> = reports.iter().flat_map(|r| &r.born).map(|out| out.notification.id).collect();
    let queued: usize = reports.iter().map(|r| r.queued).sum();
    seen.push(format!("born {born:?}, queued {queued}"));
    for n in bed.all().await {
        seen.push(format!("{} {} {} {:?} {} {:?}", n.id, n.jid, n.state.as_str(), n.alert, n.severity, n.groups));
    }
    for id in 1.. {
        let Some(alert) = bed.store.show_alert(AlertId(id)).await.unwrap() else { break };
        seen.push(format!("{id} {} {}", alert.state.as_str(), alert.reason));
    }
    for notice in bed.store.notices_due(at(99)).await.unwrap() {
        seen.push(format!("{} {} {}", notice.topic, notice.count, notice.text));
    }
    seen
}

async fn compare(before: Vec<Mail>, batch: Vec<Mail>, places: usize) {
    let mut views = Vec::new();
    for together in [true, false] {
        let bed = Bed::new().await;
        let rules = Rules::to(&WHO);
        for mail in &before {
            let id = bed.stored().await;
            bed.store.d2_commit(vec![as_message(id, mail)], &rules, &Lane::closed(), at(1)).await.unwrap();
        }
        let mut messages = Vec::new();
        for mail in &batch {
            messages.push(as_message(bed.stored().await, mail));
        }
        let lane = Picky(Lane::open(places));
        let parts = if together { vec![messages] } else { messages.into_iter().map(|m| vec![m]).collect() };
        let mut reports = Vec::new();
        for part in parts {
            reports.push(bed.store.d2_commit(part, &rules, &lane, at(5)).await.unwrap());
        }
        views.push(seen(&bed, &reports).await);
    }
    assert_eq!(views[0], views[1], "together, and one by one");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_comes_to_the_same_as_its_messages_one_by_one(
        before in proptest::collection::vec(mail(), 0..3),
        batch in proptest::collection::vec(mail(), 1..16),
        places in 0..60usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(compare(before, batch, places));
    }
}

#[tokio::test]
async fn a_storm_is_committed_whole_but_for_what_is_wrong_in_it() {
    let bed = Bed::new().await;
    let mut batch = Vec::new();
    for n in 0..150u8 {
        let kind = if n == 70 { Kind::Poison } else { Kind::Firing };
        let mut message = as_message(bed.stored().await, &Mail { key: n, ident: n, severity: 1, kind });
        message.digest = None;
        batch.push(message);
    }
    let lane = Lane::open(100);
    let (mut states, mut born, mut queued) = (Vec::new(), 0, 0);
    while !batch.is_empty() {
        let report = bed.store.d2_commit(batch.clone(), &Rules::to(&WHO), &lane, at(5)).await.unwrap();
        let written = report.born.len() + report.queued;
        assert!(written <= 258, "a commit stays short: {written}");
        let done: Vec<_> = batch.drain(..report.messages.len()).map(|m| m.id).collect();
        assert_eq!(report.messages.iter().map(|(id, _)| *id).collect::<Vec<_>>(), done, "those at the front, in order");
        states.extend(report.messages.into_iter().map(|(_, state)| state));
        (born, queued) = (born + report.born.len(), queued + report.queued);
    }
    let parsed = states.iter().filter(|state| **state == MessageState::Parsed).count();
    assert_eq!((parsed, states[70]), (149, MessageState::Quarantined));
    // The way is free as long as there is room; behind what waits nobody is overtaken.
    assert_eq!((born, queued), (100, 149 * 3 - 100));
    assert_eq!(bed.store.recipients_due(at(6)).await.unwrap().len(), 3);
}
