//! Purging what is old and done with, in short commits.
//!
//! The rows are looked for on a reading connection and looked at again in the commit. That runs on a connection of its own that
//! does not check foreign keys: for each deleted row the check would look for children in tables that have no index for it. It
//! takes the writer's turn, so that a send waits for one short commit at most. What it wrote is folded into the file after the
//! turn, beside the sends: the commit that reaches a full log would have to wait for all of it.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::Sqlite;
use super::conn::{Columns, Doing, json, us};
use crate::queue::{Old, Purged, Retention, StoreError};

/// Rows looked at in one step.
const WINDOW: i64 = 512;
/// Most bytes of raw mails in one commit: a large one is many pages.
const MOST_BYTES: u64 = 4 << 20;

/// What there is of one kind: its number, whether it is old, whether it is done with, and its size.
macro_rules! look {
    ($row:literal, $old:literal, $done:expr, $size:literal, $from:literal) => {
        concat!(
            "SELECT ",
            $row,
            " AS id, ",
            $old,
            " < $1 AS old, CASE WHEN ",
            $old,
            " < $1 THEN ",
            $done,
            " ELSE 0 END AS done, ",
            $size,
            " AS size FROM ",
            $from,
            $row,
            " > $2 ORDER BY ",
            $row,
            " LIMIT $3 + 0"
        )
    };
}

/// The same of those in `$2`, in the commit.
macro_rules! again {
    ($row:literal, $done:expr, $from:literal) => {
        concat!(
            "SELECT coalesce(json_group_array(",
            $row,
            "), '[]') AS ids FROM ",
            $from,
            " WHERE ",
            $row,
            " IN (SELECT value FROM json_each($2)) AND ",
            $done
        )
    };
}

macro_rules! raw_done {
    () => {
        "m.state <> 'ready' AND m.stored < $1"
    };
}

/// Nothing is under way for it, nobody waits for its end, and it is not what an open condition stands on: its recovery goes
/// to who was told.
macro_rules! alert_done {
    () => {
        "a.created < $1 AND NOT EXISTS (SELECT 1 FROM notification n WHERE n.alert = a.id AND \
           (n.state IN ('queued', 'held', 'sending', 'accepted') OR n.in_doubt = 1 OR n.unsaid = 1 \
            OR coalesce(n.ended, n.delivered, n.accepted, n.created) >= $1)) \
         AND NOT EXISTS (SELECT 1 FROM watch w WHERE w.alert = a.id) \
         AND NOT EXISTS (SELECT 1 FROM alert_condition ac JOIN condition c ON c.id = ac.condition \
           WHERE ac.alert = a.id AND c.open = 1 AND (a.id = c.opened_by OR (ac.paged = 1 AND a.id > c.opened_by)))"
    };
}

/// Digests and notices: what a digest carries goes first.
macro_rules! letter_done {
    () => {
        "n.alert IS NULL AND n.state NOT IN ('queued', 'held', 'sending', 'accepted') AND n.in_doubt = 0 AND n.unsaid = 0 \
         AND coalesce(n.ended, n.delivered, n.accepted, n.created) < $1 \
         AND NOT EXISTS (SELECT 1 FROM notification c WHERE c.carrier = n.id)"
    };
}

/// While the mail may yet be listed its row says that it was seen.
macro_rules! message_done {
    () => {
        "m.stored < $1 AND m.state <> 'ready' AND m.cleared = 1 AND (m.retired = 1 OR m.delivery IS NOT NULL) \
         AND NOT EXISTS (SELECT 1 FROM alert a WHERE a.message = m.id)"
    };
}

/// The oldest of the `$1` newest alerts, and one that is older than that.
const OLDEST: &str = "SELECT created FROM alert ORDER BY created DESC, id DESC LIMIT 2 OFFSET $1 - 1";

/// How one kind is purged.
struct Kind {
    what: &'static str,
    look: &'static str,
    again: &'static str,
    delete: &'static str,
}

const RAW: Kind = Kind {
    what: "purging raw mails",
    look: look!("r.message", "m.stored", raw_done!(), "m.size", "raw r JOIN message m ON m.id = r.message WHERE "),
    again: again!("m.id", raw_done!(), "message m"),
    delete: "DELETE FROM raw WHERE message IN (SELECT value FROM json_each($1))",
};

const ALERTS: Kind = Kind {
    what: "purging alerts",
    look: look!("a.id", "a.created", alert_done!(), "0", "alert a WHERE "),
    again: again!("a.id", alert_done!(), "alert a"),
    // A condition goes with its last alert, unless it is open.
    delete: "DELETE FROM event WHERE alert IN (SELECT value FROM json_each($1)); \
             DELETE FROM fell_back WHERE alert IN (SELECT value FROM json_each($1)); \
             DELETE FROM alert_group WHERE alert IN (SELECT value FROM json_each($1)); \
             DELETE FROM left_out WHERE alert IN (SELECT value FROM json_each($1)); \
             DELETE FROM intent WHERE notification IN \
               (SELECT n.id FROM json_each($1) j JOIN notification n ON n.alert = j.value); \
             DELETE FROM notification WHERE alert IN (SELECT value FROM json_each($1)); \
             DELETE FROM condition WHERE open = 0 AND id IN \
               (SELECT ac.condition FROM json_each($1) j JOIN alert_condition ac ON ac.alert = j.value) \
               AND NOT EXISTS (SELECT 1 FROM alert_condition o WHERE o.condition = condition.id \
                 AND o.alert NOT IN (SELECT value FROM json_each($1))); \
             DELETE FROM alert_condition WHERE alert IN (SELECT value FROM json_each($1)); \
             UPDATE alert SET resolves = NULL WHERE resolves IN (SELECT value FROM json_each($1)); \
             DELETE FROM alert WHERE id IN (SELECT value FROM json_each($1))",
};

const LETTERS: Kind = Kind {
    what: "purging digests and notices",
    look: look!("n.id", "n.created", letter_done!(), "0", "notification n WHERE n.alert IS NULL AND "),
    again: again!("n.id", letter_done!(), "notification n"),
    delete: "DELETE FROM intent WHERE notification IN (SELECT value FROM json_each($1)); \
             DELETE FROM notification WHERE id IN (SELECT value FROM json_each($1))",
};

const MESSAGES: Kind = Kind {
    what: "purging messages",
    look: look!("m.id", "m.stored", message_done!(), "m.size", "message m WHERE "),
    again: again!("m.id", message_done!(), "message m"),
    delete: "DELETE FROM raw WHERE message IN (SELECT value FROM json_each($1)); \
             DELETE FROM quarantine_reason WHERE message IN (SELECT value FROM json_each($1)); \
             DELETE FROM message WHERE id IN (SELECT value FROM json_each($1))",
};

/// Every statement, for a look at how it is done.
#[cfg(test)]
pub(super) fn planned() -> Vec<&'static str> {
    let of = |kind: &Kind| [kind.look, kind.again].into_iter().chain(kind.delete.split("; ")).collect::<Vec<_>>();
    [&RAW, &ALERTS, &LETTERS, &MESSAGES].into_iter().flat_map(of).collect()
}

#[async_trait]
impl Retention for Sqlite {
    async fn purge(&self, what: Old, before: Timestamp, after: i64, limit: usize) -> Result<Purged, StoreError> {
        let kind = match what {
            Old::Raw => &RAW,
            Old::Alerts => &ALERTS,
            Old::Letters => &LETTERS,
            Old::Messages => &MESSAGES,
        };
        let Found { ids, next } = self.old(kind, before, after, limit).await?;
        let (mut rows, mut held) = (0, Duration::ZERO);
        if !ids.is_empty() {
            (rows, held) = self.written(self.delete(kind, before, &ids).await)?;
            self.written(self.fold_log().await)?;
        }
        if next.is_none() {
            // Hours pass until the next time.
            *self.purger.lock().await = None;
        }
        Ok(Purged { rows, held, next })
    }

    async fn oldest_of_newest(&self, count: u64) -> Result<Option<Timestamp>, StoreError> {
        let (count, mut lease) = (i64::try_from(count).unwrap_or(i64::MAX), self.desk().await?);
        let found = sqlx::query(OLDEST).bind(count).fetch_all(&mut lease.conn).await.doing("counting alerts")?;
        lease.keep();
        match found.as_slice() {
            [oldest, _] => oldest.time("created").map(Some),
            _ => Ok(None),
        }
    }

    async fn newest(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut lease = self.desk().await?;
        let sql = "SELECT stored FROM message ORDER BY id DESC LIMIT 1";
        let found = sqlx::query(sql).fetch_optional(&mut lease.conn).await.doing("looking for the newest mail")?;
        lease.keep();
        found.map(|row| row.time("stored")).transpose()
    }
}

/// Rows to be deleted, and after which one to look on.
struct Found {
    ids: Vec<i64>,
    next: Option<i64>,
}

impl Sqlite {
    async fn old(&self, kind: &Kind, before: Timestamp, after: i64, limit: usize) -> Result<Found, StoreError> {
        let mut lease = self.desk().await?;
        let rows = sqlx::query(kind.look)
            .bind(us(before))
            .bind(after)
            .bind(WINDOW)
            .fetch_all(&mut lease.conn)
            .await
            .doing(kind.what)?;
        lease.keep();
        choose(&rows, limit)
    }

    /// How many are gone, and how long nobody else could write.
    async fn delete(&self, kind: &Kind, before: Timestamp, ids: &[i64]) -> Result<(usize, Duration), StoreError> {
        // Before the turn: a new connection takes its time.
        let mut lease = self.lend(&self.purger, &self.purging).await?;
        let turn = self.turn().await?;
        let start = Instant::now();
        lease.begin().await?;
        let ids = still(&mut lease.conn, kind, before, ids).await?;
        sqlx::query(kind.delete).bind(&ids).execute(&mut lease.conn).await.doing(kind.what)?;
        lease.commit().await?;
        drop(turn);
        let held = start.elapsed();
        let ids: Vec<i64> = serde_json::from_str(&ids).doing(kind.what)?;
        Ok((ids.len(), held))
    }

    /// As far as nobody reads what is older.
    async fn fold_log(&self) -> Result<(), StoreError> {
        let mut lease = self.lend(&self.purger, &self.purging).await?;
        sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_all(&mut lease.conn).await.doing("folding the log")?;
        lease.keep();
        Ok(())
    }
}

/// The first of `rows` that can go. They are numbered as they came: where none of them is old, what follows is not. A single
/// young one tells nothing: the clock may have been years ahead when it came.
fn choose(rows: &[SqliteRow], limit: usize) -> Result<Found, StoreError> {
    let (mut ids, mut bytes, mut last, mut any_old) = (Vec::new(), 0u64, None, false);
    for row in rows {
        any_old |= row.flag("old")?;
        if row.flag("done")? {
            bytes = bytes.saturating_add(row.count("size")?);
            if !ids.is_empty() && (bytes > MOST_BYTES || ids.len() == limit) {
                return Ok(Found { ids, next: last });
            }
            ids.push(row.int("id")?);
        }
        last = Some(row.int("id")?);
    }
    let more = any_old && i64::try_from(rows.len()).is_ok_and(|n| n == WINDOW);
    Ok(Found { ids, next: last.filter(|_| more) })
}

/// Those that can still go: somebody may have sent one of them again.
async fn still(conn: &mut SqliteConnection, kind: &Kind, before: Timestamp, ids: &[i64]) -> Result<String, StoreError> {
    let query = sqlx::query(kind.again).bind(us(before)).bind(json(ids)?);
    query.fetch_one(conn).await.doing(kind.what)?.text("ids")
}
