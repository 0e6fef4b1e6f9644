//! The gateway's store as an independent reader sees it, beside the running service.

use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, Connection, Row};

use super::mailbell::{Mailbell, SOON};
use super::wait_for;

/// What is known of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRow {
    pub id: i64,
    pub title: String,
    pub state: String,
    pub reason: String,
}

/// What is known of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationRow {
    pub kind: String,
    /// Title of its alert; of a digest or a notice the text.
    pub title: String,
    pub recipient: String,
    pub state: String,
    pub reason: String,
}

impl Mailbell {
    async fn rows(&self, sql: &'static str) -> Vec<SqliteRow> {
        let options = SqliteConnectOptions::new().filename(self.path("mailbell.db")).read_only(true);
        let mut conn = options.busy_timeout(Duration::from_secs(10)).connect().await.unwrap();
        sqlx::query(sql).fetch_all(&mut conn).await.unwrap()
    }

    /// All alerts, in the order in which they came.
    pub async fn alerts(&self) -> Vec<AlertRow> {
        let rows = self.rows("SELECT id, title, state, reason FROM alert ORDER BY id").await;
        let row = |r: &SqliteRow| AlertRow { id: r.get(0), title: r.get(1), state: r.get(2), reason: r.get(3) };
        rows.iter().map(row).collect()
    }

    /// All notifications, in the order in which they were committed.
    pub async fn notifications(&self) -> Vec<NotificationRow> {
        let sql = "SELECT n.kind, coalesce(a.title, n.text, ''), n.recipient, n.state, n.reason \
                   FROM notification n LEFT JOIN alert a ON a.id = n.alert ORDER BY n.id";
        let row = |r: &SqliteRow| NotificationRow {
            kind: r.get(0),
            title: r.get(1),
            recipient: r.get(2),
            state: r.get(3),
            reason: r.get(4),
        };
        self.rows(sql).await.iter().map(row).collect()
    }

    /// Everything in the store but the newest mail happened so many days earlier. Only while the gateway is stopped.
    pub async fn age(&self, days: i64) {
        const NEWEST: &str = "(SELECT id FROM alert WHERE message = (SELECT max(id) FROM message))";
        const TIMES: [(&str, &[&str], &str); 5] = [
            ("message", &["internal_date", "stored", "parsed"], "id < (SELECT max(id) FROM message)"),
            ("alert", &["sent", "received", "created"], "id NOT IN"),
            ("condition", &["last_sent", "last_paged", "opened_at"], "coalesce(opened_by, 0) NOT IN"),
            (
                "notification",
                &["created", "first_intent", "accepted", "delivered", "ended"],
                "coalesce(alert, 0) NOT IN",
            ),
            ("event", &["at"], "alert NOT IN"),
        ];
        let options = SqliteConnectOptions::new().filename(self.path("mailbell.db"));
        let mut conn = options.connect().await.unwrap();
        for (table, columns, others) in TIMES {
            let newest = if others.ends_with(" IN") { NEWEST } else { "" };
            let earlier: Vec<_> = columns.iter().map(|c| format!("{c} = {c} - {}", days * 86_400_000_000)).collect();
            let sql = format!("UPDATE {table} SET {} WHERE {others} {newest}", earlier.join(", "));
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
        }
        conn.close().await.unwrap();
    }

    /// Rows in a table.
    pub async fn count(&self, table: &str) -> i64 {
        let options = SqliteConnectOptions::new().filename(self.path("mailbell.db")).read_only(true);
        let mut conn = options.busy_timeout(Duration::from_secs(10)).connect().await.unwrap();
        let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        sqlx::query(sql).fetch_one(&mut conn).await.unwrap().get(0)
    }

    /// When the mail with the alert of this title was fetched (D1).
    pub async fn fetched(&self, title: &str) -> jiff::Timestamp {
        let rows = self.rows("SELECT a.title, m.stored FROM alert a JOIN message m ON m.id = a.message").await;
        let stored = rows.iter().find(|r| r.get::<String, _>(0) == title).unwrap().get(1);
        jiff::Timestamp::from_microsecond(stored).unwrap()
    }

    /// State and reason of every mail, in the order in which they came.
    pub async fn messages(&self) -> Vec<(String, String)> {
        let rows = self.rows("SELECT state, reason FROM message ORDER BY id").await;
        rows.iter().map(|r| (r.get(0), r.get(1))).collect()
    }

    /// What the operators were told once, until it is over.
    pub async fn marks(&self) -> Vec<String> {
        let rows = self.rows("SELECT topic FROM notice WHERE topic LIKE '%:%@%' AND count = 0").await;
        rows.iter().map(|r| r.get(0)).collect()
    }

    /// Waits until an alert with this title is there, and returns it.
    pub async fn alert(&self, title: &str) -> AlertRow {
        wait_for(&format!("the alert `{title}` in the store"), SOON, async || {
            self.alerts().await.into_iter().find(|a| a.title == title)
        })
        .await
    }

    /// Waits until the notification of the alert with this title for this recipient is in that state, and returns it.
    pub async fn notified(&self, title: &str, recipient: &str, state: &str) -> NotificationRow {
        wait_for(&format!("`{title}` for {recipient} to be {state}"), SOON, async || {
            let mut all = self.notifications().await.into_iter();
            all.find(|n| n.title == title && n.recipient == recipient && n.state == state)
        })
        .await
    }

    /// Waits until so many mails were judged, and returns state and reason of each.
    pub async fn judged(&self, count: usize) -> Vec<(String, String)> {
        wait_for(&format!("{count} mails that are judged"), SOON, async || {
            let found = self.messages().await;
            (found.iter().filter(|(state, _)| state != "ready").count() >= count).then_some(found)
        })
        .await
    }
}
