//! A store in a temporary directory, mails to feed it, and a planner with simple rules.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use sqlx::Row;
use tempfile::TempDir;

use crate::model::*;
use crate::queue::sqlite::Sqlite;
use crate::queue::*;

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

pub fn recipient(name: &str) -> Recipient {
    Recipient { name: name.parse().unwrap(), jid: jid(name), lang: None, room: false }
}

pub fn jid(name: &str) -> BareJid {
    format!("{name}@example.test").parse().unwrap()
}

pub fn mailbox() -> MailboxName {
    "ops".parse().unwrap()
}

pub fn delivery() -> Delivery {
    Delivery { shows: ShowSet::all(), offline: Offline::Hold, hold_for_ms: 60_000 }
}

pub fn mail(uid: u32) -> NewMessage {
    let raw = format!("Subject: {uid}\r\n\r\nmail {uid}\r\n").into_bytes();
    NewMessage { cursor: Cursor::Imap { uidvalidity: 1, uid }, raw, internal_date: Some(at(0)), oversize: None }
}

pub fn alert(key: &str, status: Status, severity: Severity, sent: i64) -> Alert {
    Alert {
        id: format!("{key}-{sent}"),
        key: Key(key.to_owned()),
        sender: "ups@example.test".into(),
        status,
        severity,
        title: format!("{key} is {}", status.as_str()),
        sent: Some(at(sent)),
        ..Alert::empty(Format::Native)
    }
}

pub fn firing(key: &str, severity: Severity, sent: i64) -> Alert {
    alert(key, Status::Firing, severity, sent)
}

pub fn resolved(key: &str, sent: i64) -> Alert {
    alert(key, Status::Resolved, Severity::Warning, sent)
}

/// A finding about the host of that name.
pub fn finding(name: &str, state: Option<&str>, alerts: &[Alert]) -> Found {
    let alerts = alerts.iter().map(|alert| Alert { sender: name.to_owned(), ..alert.clone() });
    Found { name: name.to_owned(), state: state.map(str::to_owned), alerts: alerts.collect() }
}

/// Pages everybody in `who`, once for an open condition at the same severity; resolved goes to who was told.
pub struct Rules {
    pub who: Vec<Recipient>,
    pub not_before: Option<Timestamp>,
    pub expires: Option<Timestamp>,
    pub fallback: Option<(GroupName, FallbackWhen)>,
    pub left_out: Vec<String>,
}

impl Rules {
    pub fn to(names: &[&str]) -> Self {
        Self {
            who: names.iter().map(|n| recipient(n)).collect(),
            not_before: None,
            expires: None,
            fallback: None,
            left_out: Vec::new(),
        }
    }

    fn planned(&self) -> Vec<PlannedNotification> {
        let one = |r: &Recipient| PlannedNotification {
            recipient: r.clone(),
            groups: vec!["ops".parse().unwrap()],
            delivery: delivery(),
            not_before: self.not_before,
            expires: self.expires,
        };
        self.who.iter().map(one).collect()
    }
}

impl Planner for Rules {
    fn scope(&self, alert: &Alert, source: &Source) -> Scope {
        Scope(format!("{source}/{}", alert.sender))
    }

    fn plan(&self, seen: &Seen<'_>) -> Plan {
        let alert = seen.alert;
        assert_ne!(alert.title, "panic", "told to panic");
        let open = seen.conditions.iter().find(|c| c.open);
        if let Some(first) = seen.duplicate_of {
            return Plan::keep(AlertState::Recorded, format!("the same as {first}"));
        }
        if alert.status == Status::Resolved {
            let told = seen.conditions.iter().flat_map(|c| &c.told);
            let notifications = told.map(|t| PlannedNotification {
                recipient: t.recipient.clone(),
                groups: Vec::new(),
                delivery: t.delivery,
                not_before: None,
                expires: None,
            });
            let resolves = open.and_then(|c| c.opened_by).map(|(id, at)| {
                (id, std::time::Duration::try_from(seen.received.duration_since(at)).unwrap_or_default())
            });
            let base = Plan::keep(AlertState::Routed, "resolves");
            return Plan {
                open: Some(false),
                supersede: true,
                notifications: notifications.collect(),
                resolves,
                ..base
            };
        }
        if let Some(c) = open.filter(|c| c.severity >= alert.severity && c.last_paged.is_some()) {
            return Plan { open: Some(true), ..Plan::keep(AlertState::Recorded, format!("repeat at {}", c.severity)) };
        }
        if self.who.is_empty() {
            return Plan { open: Some(true), ..Plan::keep(AlertState::Unsubscribed, "no route") };
        }
        let groups = vec![("ops".parse().unwrap(), self.fallback.clone())];
        let notifications = self.planned();
        let (matched, left_out) = (vec!["ops".parse().unwrap()], self.left_out.clone());
        let base = Plan::keep(AlertState::Routed, "route 1");
        Plan { open: Some(true), paged: true, notifications, groups, matched, left_out, ..base }
    }
}

/// An express lane with so many places; counts what is given back.
pub struct Lane {
    pub epoch: Option<Epoch>,
    pub places: usize,
    pub taken: AtomicUsize,
    pub released: AtomicUsize,
}

impl Lane {
    pub fn closed() -> Self {
        Self { epoch: None, places: 0, taken: AtomicUsize::new(0), released: AtomicUsize::new(0) }
    }

    pub fn open(places: usize) -> Self {
        Self { epoch: Some(Epoch(7)), places, ..Self::closed() }
    }
}

impl Express for Lane {
    fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    fn reserve(&self, _: &Ask<'_>) -> Way {
        let taken = self.taken.load(Ordering::Relaxed);
        let free = taken - self.released.load(Ordering::Relaxed) < self.places;
        self.taken.store(taken + usize::from(free), Ordering::Relaxed);
        if free { Way::Now } else { Way::Queue }
    }

    fn release(&self, places: &[Place]) {
        self.released.fetch_add(places.len(), Ordering::Relaxed);
    }

    fn hand_over(&self, _: Option<Epoch>, born: Vec<Outgoing>, _: Timestamp) -> Vec<StanzaId> {
        born.into_iter().map(|out| out.notification.stanza_id).collect()
    }
}

pub struct Bed {
    pub dir: TempDir,
    pub store: Arc<Sqlite>,
    next: AtomicUsize,
}

impl Bed {
    pub async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = Sqlite::open(&settings(&dir)).await.unwrap();
        Self { dir, store, next: AtomicUsize::new(1) }
    }

    /// What a restart finds.
    pub async fn reopen(self) -> Self {
        let Self { dir, store, next } = self;
        store.close().await;
        assert_eq!(Arc::strong_count(&store), 1);
        drop(store);
        let store = Sqlite::open(&settings(&dir)).await.unwrap();
        Self { dir, store, next }
    }

    /// Stores a mail of its own (D1).
    pub async fn stored(&self) -> MessageId {
        let uid = self.next.fetch_add(1, Ordering::Relaxed);
        let ids = self.store.d1_store(&mailbox(), vec![mail(uid as u32)], at(0)).await.unwrap();
        ids[0]
    }

    /// D1 and D2 of one mail with these alerts.
    pub async fn mailed(&self, alerts: Vec<Alert>, rules: &Rules, lane: &Lane, now: i64) -> D2Report {
        let id = self.stored().await;
        let verdict = Verdict::Alerts { alerts, bad: Vec::new() };
        self.store.d2_commit(vec![message(id, verdict, now)], rules, lane, at(now)).await.unwrap()
    }

    /// The same for one alert to these recipients, nothing born `sending`.
    pub async fn fired(&self, alert: Alert, who: &[&str], now: i64) {
        self.mailed(vec![alert], &Rules::to(who), &Lane::closed(), now).await;
    }

    /// D2 of what the probe found.
    pub async fn found(&self, found: &[Found], rules: &Rules, lane: &Lane, now: i64) -> FoundReport {
        self.store.d2_found(&Source::Probe, found, rules, lane, at(now)).await.unwrap()
    }

    pub async fn due(&self, who: &[&str], now: i64) -> Vec<Outgoing> {
        let jids: Vec<_> = who.iter().map(|n| jid(n)).collect();
        self.store.due(&jids, 10, 100, at(now)).await.unwrap()
    }

    /// Sends all that is due: D3, then D4.
    pub async fn sent(&self, who: &[&str], now: i64) -> Vec<Outgoing> {
        let due = self.due(who, now).await;
        let ids: Vec<_> = due.iter().map(|o| o.notification.id).collect();
        assert_eq!(self.store.d3_intend(&ids, Epoch(1), at(now)).await.unwrap(), ids);
        let stanzas: Vec<_> = due.iter().map(|o| o.notification.stanza_id.clone()).collect();
        self.store.d4_accepted(&stanzas, at(now)).await.unwrap();
        due
    }

    /// Purges everything older than this, in small steps.
    pub async fn purged(&self, before: i64) {
        for what in [Old::Raw, Old::Alerts, Old::Letters, Old::Messages] {
            let mut after = 0;
            while let Some(next) = self.store.purge(what, at(before), after, 3).await.unwrap().next {
                after = next;
            }
        }
    }

    /// Rows that refer to what is not there.
    pub async fn broken_references(&self) -> Vec<String> {
        let mut lease = self.store.desk().await.unwrap();
        let found = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut lease.conn).await.unwrap();
        lease.keep();
        found.iter().map(|row| format!("{} -> {}", row.get::<String, _>(0), row.get::<String, _>(2))).collect()
    }

    /// Rows in a table.
    pub async fn rows(&self, table: &str) -> i64 {
        let mut lease = self.store.desk().await.unwrap();
        let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let count = sqlx::query(sql).fetch_one(&mut lease.conn).await.unwrap().get(0);
        lease.keep();
        count
    }

    /// What was sent again for want of a receipt, and when.
    pub async fn resent(&self) -> HashMap<NotificationId, i64> {
        let mut lease = self.store.desk().await.unwrap();
        let sql = "SELECT id, resent FROM notification WHERE resent IS NOT NULL";
        let found = sqlx::query(sql).fetch_all(&mut lease.conn).await.unwrap();
        lease.keep();
        found.iter().map(|row| (NotificationId(row.get(0)), row.get(1))).collect()
    }

    pub async fn all(&self) -> Vec<NotificationView> {
        let states = NotificationState::ALL.to_vec();
        self.store.list(&ListFilter { states, ..ListFilter::default() }).await.unwrap()
    }

    /// State of every notification, by number.
    pub async fn states(&self) -> Vec<&'static str> {
        self.all().await.iter().map(|n| n.state.as_str()).collect()
    }
}

const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

pub fn settings(dir: &TempDir) -> Settings {
    Settings {
        path: dir.path().join("mailbell.db"),
        raw_for: 30 * DAY,
        history_for: 365 * DAY,
        history_max: 0,
        reserve: 0,
    }
}

pub fn message(id: MessageId, verdict: Verdict, received: i64) -> D2Message {
    let digest = MailDigest {
        message_id: Some(format!("m{id}@example.test")),
        date: Some(at(0)),
        body_sha256: [u8::try_from(id.0 % 251).unwrap(); 32],
    };
    D2Message {
        id,
        source: Source::Mailbox(mailbox()),
        may_choose_group: false,
        received: at(received),
        digest: Some(digest),
        verdict,
    }
}

pub fn titles(out: &[Outgoing]) -> Vec<String> {
    out.iter()
        .map(|o| match &o.content {
            Content::Alert(a) => a.alert.title.clone(),
            Content::Text(text) => text.clone(),
        })
        .collect()
}

pub fn ids(out: &[Outgoing]) -> Vec<NotificationId> {
    out.iter().map(|o| o.notification.id).collect()
}
