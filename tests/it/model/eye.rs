//! The store as an independent reader sees it.

use std::collections::BTreeMap;
use std::path::Path;

use mailbell::model::{NotificationState, StanzaId};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions, Row};
use tokio::runtime::Runtime;

/// A notification.
#[derive(Debug, Clone)]
pub struct Seen {
    pub id: i64,
    pub kind: String,
    pub alert: Option<i64>,
    pub condition: Option<i64>,
    pub jid: String,
    pub state: NotificationState,
    pub in_doubt: bool,
    pub carrier: Option<i64>,
    pub stanza: StanzaId,
    pub reason: String,
    pub attempts: usize,
    /// It was sent again for want of a receipt, which it still waits for.
    pub second: bool,
}

/// An alert.
#[derive(Debug, Clone)]
pub struct SeenAlert {
    pub id: i64,
    pub sender: String,
    /// Of its only condition.
    pub condition: i64,
    pub title: String,
    pub status: String,
    pub severity: String,
    /// When D2 was, in microseconds.
    pub created: i64,
}

/// A message: its Message-ID, its state, and whether it is in quarantine.
#[derive(Debug, Clone)]
pub struct SeenMail {
    pub place: (u32, u32),
    pub mail: Option<String>,
    pub state: String,
    pub quarantined: bool,
}

pub struct Eye {
    runtime: Runtime,
    conn: SqliteConnection,
}

impl Eye {
    pub fn open(path: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        let conn = runtime.block_on(options.connect()).unwrap();
        Self { runtime, conn }
    }

    fn rows(&mut self, sql: &'static str) -> Vec<SqliteRow> {
        self.runtime.block_on(sqlx::query(sql).fetch_all(&mut self.conn)).unwrap()
    }

    pub fn notifications(&mut self) -> BTreeMap<i64, Seen> {
        let sql = "SELECT id, kind, alert, condition, jid, state, in_doubt, carrier, stanza_id, reason, attempts, \
                   resent IS NOT NULL AND awaited IS NOT NULL \
                   FROM notification ORDER BY id";
        let one = |row: &SqliteRow| Seen {
            id: row.get(0),
            kind: row.get(1),
            alert: row.get(2),
            condition: row.get(3),
            jid: row.get(4),
            state: row.get::<String, _>(5).parse().unwrap(),
            in_doubt: row.get(6),
            carrier: row.get(7),
            stanza: StanzaId(row.get(8)),
            reason: row.get(9),
            attempts: usize::try_from(row.get::<i64, _>(10)).unwrap(),
            second: row.get(11),
        };
        self.rows(sql).iter().map(one).map(|seen| (seen.id, seen)).collect()
    }

    pub fn alerts(&mut self) -> Vec<SeenAlert> {
        let sql = "SELECT a.id, a.sender, (SELECT condition FROM alert_condition WHERE alert = a.id), a.title, a.status, \
                   a.severity, a.created FROM alert a ORDER BY a.id";
        let one = |row: &SqliteRow| SeenAlert {
            id: row.get(0),
            sender: row.get(1),
            condition: row.get(2),
            title: row.get(3),
            status: row.get(4),
            severity: row.get(5),
            created: row.get(6),
        };
        self.rows(sql).iter().map(one).collect()
    }

    pub fn mails(&mut self) -> Vec<SeenMail> {
        let sql = "SELECT uidvalidity, uid, digest_id, state, EXISTS (SELECT 1 FROM quarantine_reason q \
                   WHERE q.message = message.id) FROM message ORDER BY id";
        let one = |row: &SqliteRow| SeenMail {
            place: (row.get::<u32, _>(0), row.get::<u32, _>(1)),
            mail: row.get(2),
            state: row.get(3),
            quarantined: row.get(4),
        };
        self.rows(sql).iter().map(one).collect()
    }

    /// Groups of which is not known yet whether somebody was told.
    pub fn watches(&mut self) -> i64 {
        self.rows("SELECT count(*) FROM watch")[0].get(0)
    }

    /// Notifications that were ever held, by number.
    pub fn ever_held(&mut self) -> Vec<i64> {
        let sql = "SELECT notification FROM event WHERE event = 'held' AND notification IS NOT NULL";
        self.rows(sql).iter().map(|row| row.get(0)).collect()
    }
}
