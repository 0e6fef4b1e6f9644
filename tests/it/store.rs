//! The store on a real file system, with real processes; and the door to it.

mod desk;
mod full_disk;
mod locking;
mod raised;

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use mailbell::model::*;
use mailbell::queue::sqlite::Sqlite;
use mailbell::queue::*;

const DAY: Duration = Duration::from_secs(86_400);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn mailbox() -> MailboxName {
    "ops".parse().unwrap()
}

pub fn settings(dir: &Path) -> Settings {
    Settings { path: dir.join("mailbell.db"), raw_for: DAY, history_for: DAY, history_max: 0, reserve: 0 }
}

fn mail(uid: u32, size: usize) -> NewMessage {
    let cursor = Cursor::Imap { uidvalidity: 1, uid };
    NewMessage { cursor, raw: vec![b'x'; size], internal_date: None, oversize: None }
}

fn alert(title: &str) -> Alert {
    Alert {
        id: title.to_owned(),
        key: Key(title.to_owned()),
        sender: "ups@example.test".into(),
        severity: Severity::Major,
        title: title.to_owned(),
        sent: Some(at(0)),
        ..Alert::empty(Format::Native)
    }
}

/// Everything goes to ann and bob.
pub struct Both;

impl Planner for Both {
    fn scope(&self, _: &Alert, source: &Source) -> Scope {
        Scope(source.to_string())
    }

    fn plan(&self, _: &Seen<'_>) -> Plan {
        let one = |name: &str| PlannedNotification {
            recipient: Recipient {
                name: name.parse().unwrap(),
                jid: format!("{name}@example.test").parse().unwrap(),
                lang: None,
                room: false,
            },
            groups: vec!["ops".parse().unwrap()],
            delivery: Delivery { shows: ShowSet::all(), offline: Offline::Hold, hold_for_ms: 1000 },
            not_before: None,
            expires: None,
        };
        Plan {
            open: Some(true),
            paged: true,
            notifications: ["ann", "bob"].map(one).into(),
            groups: vec![("ops".parse().unwrap(), None)],
            ..Plan::keep(AlertState::Routed, "route 1")
        }
    }
}

/// No express lane.
pub struct Closed;

impl Express for Closed {
    fn epoch(&self) -> Option<Epoch> {
        None
    }

    fn reserve(&self, _: &Ask<'_>) -> Way {
        Way::Queue
    }

    fn release(&self, _: &[Place]) {}

    fn hand_over(&self, _: Option<Epoch>, _: Vec<Outgoing>, _: jiff::Timestamp) -> Vec<mailbell::model::StanzaId> {
        Vec::new()
    }
}

pub fn message(id: MessageId, verdict: Verdict) -> D2Message {
    let source = Source::Mailbox(mailbox());
    D2Message { id, source, may_choose_group: false, received: at(0), digest: None, verdict }
}

fn alerts(title: &str) -> Verdict {
    Verdict::Alerts { alerts: vec![alert(title)], bad: Vec::new() }
}

/// D1 and D2 of one mail.
async fn take_in(store: &Sqlite, uid: u32) -> Result<(), StoreError> {
    let ids = store.d1_store(&mailbox(), vec![mail(uid, 3000)], at(0)).await?;
    let batch = ids.into_iter().map(|id| message(id, alerts(&format!("alert {uid}")))).collect();
    store.d2_commit(batch, &Both, &Closed, at(0)).await.map(drop)
}
