//! From the mailbox to the queue: everything but D2.

use std::collections::HashSet;

use async_trait::async_trait;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use sqlx::{Row, SqliteConnection};

use super::conn::{Columns, Doing, Lease, broken, json, us};
use super::{Sqlite, d2, rows};
use crate::model::{Cursor, MailboxName, MessageId, NewMessage, Planner};
use crate::queue::{
    D2Message, D2Report, Express, Handed, Inbox, Room, StoreError, StoreFault, StoredMessage, Uncleared,
};

/// Raw mails are handed to the database in one piece up to so many bytes.
const PIECE: usize = 1 << 20;

#[async_trait]
impl Inbox for Sqlite {
    async fn unknown(&self, mailbox: &MailboxName, listed: &[Cursor]) -> Result<Vec<Cursor>, StoreError> {
        if listed.is_empty() {
            return Ok(Vec::new());
        }
        let mut lease = self.reader().await?;
        let unknown = unknown(&mut lease.conn, mailbox, listed).await?;
        lease.keep();
        Ok(unknown.into_iter().filter_map(|i| listed.get(i).cloned()).collect())
    }

    async fn d1_store(
        &self,
        mailbox: &MailboxName,
        batch: Vec<NewMessage>,
        now: Timestamp,
    ) -> Result<Vec<MessageId>, StoreError> {
        self.written(self.d1(mailbox, &batch, false, now).await)
    }

    async fn d1_keep(
        &self,
        mailbox: &MailboxName,
        batch: Vec<NewMessage>,
        now: Timestamp,
    ) -> Result<Vec<MessageId>, StoreError> {
        self.written(self.d1(mailbox, &batch, true, now).await)
    }

    async fn d1_handed(&self, batch: &[Handed], now: Timestamp) -> Result<Vec<Vec<MessageId>>, StoreError> {
        self.written(self.handed(batch, now).await)
    }

    async fn uncleared(&self, mailbox: &MailboxName) -> Result<Vec<Uncleared>, StoreError> {
        let mut lease = self.reader().await?;
        let sql = "SELECT id, uidvalidity, uid, uidl, delivery, rejected FROM message WHERE mailbox = $1 AND cleared = 0 ORDER BY id";
        let found =
            sqlx::query(sql).bind(mailbox.as_str()).fetch_all(&mut lease.conn).await.doing("reading uncleared")?;
        lease.keep();
        found
            .iter()
            .map(|row| {
                Ok(Uncleared {
                    id: MessageId(row.int("id")?),
                    cursor: rows::cursor(row)?,
                    rejected: row.flag("rejected")?,
                })
            })
            .collect()
    }

    async fn mark_rejected(&self, ids: &[MessageId]) -> Result<(), StoreError> {
        let sql = "UPDATE message SET rejected = 1 WHERE id IN (SELECT value FROM json_each($1))";
        self.written(self.mark(sql, ids).await)
    }

    async fn cleared(&self, ids: &[MessageId]) -> Result<(), StoreError> {
        let sql = "UPDATE message SET cleared = 1 WHERE id IN (SELECT value FROM json_each($1))";
        self.written(self.mark(sql, ids).await)
    }

    async fn retire_absent(&self, mailbox: &MailboxName, listed: &[Cursor]) -> Result<(), StoreError> {
        self.written(self.retire(mailbox, listed).await)
    }

    async fn waiting(&self, mailbox: &MailboxName) -> Result<u64, StoreError> {
        let mut lease = self.reader().await?;
        let sql = "SELECT count(*) AS n FROM message WHERE mailbox = $1 AND state = 'ready'";
        let row =
            sqlx::query(sql).bind(mailbox.as_str()).fetch_one(&mut lease.conn).await.doing("counting messages")?;
        lease.keep();
        row.count("n")
    }

    async fn ready(&self, limit: usize, max_bytes: u64) -> Result<Vec<StoredMessage>, StoreError> {
        let mut lease = self.reader().await?;
        let found = ready(&mut lease.conn, limit, max_bytes).await?;
        lease.keep();
        Ok(found)
    }

    async fn d2_commit(
        &self,
        batch: Vec<D2Message>,
        planner: &dyn Planner,
        express: &dyn Express,
        now: Timestamp,
    ) -> Result<D2Report, StoreError> {
        self.written(d2::commit(self, batch, planner, express, now).await)
    }

    async fn room(&self) -> Result<Room, StoreError> {
        let dir = self.path().parent().unwrap_or(self.path());
        let stat = rustix::fs::statvfs(dir).map_err(|err| StoreError {
            what: format!("asking for the free space of {}: {err}", dir.display()),
            fault: StoreFault::Broken,
        })?;
        Ok(Room { free: stat.f_bavail.saturating_mul(stat.f_frsize) })
    }

    async fn purge_raw(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.written(self.purge(before, limit).await)
    }
}

impl Sqlite {
    async fn d1(
        &self,
        mailbox: &MailboxName,
        batch: &[NewMessage],
        cleared: bool,
        now: Timestamp,
    ) -> Result<Vec<MessageId>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut lease = self.writer().await?;
        let first = begin_numbered(&mut lease.conn).await?;
        let cursors: Vec<_> = batch.iter().map(|m| m.cursor.clone()).collect();
        let mut taken = HashSet::new();
        let new: Vec<&NewMessage> = unknown(&mut lease.conn, mailbox, &cursors)
            .await?
            .into_iter()
            .filter_map(|i| batch.get(i))
            .filter(|m| taken.insert(&m.cursor))
            .collect();
        if new.is_empty() {
            lease.commit().await?;
            return Ok(Vec::new());
        }
        let rows: Vec<NewRow<'_>> = (first..).zip(new).map(|(id, mail)| NewRow { id, mailbox, mail }).collect();
        commit_d1(lease, &rows, cleared, now).await?;
        Ok(rows.iter().map(|row| MessageId(row.id)).collect())
    }

    async fn handed(&self, batch: &[Handed], now: Timestamp) -> Result<Vec<Vec<MessageId>>, StoreError> {
        let mut lease = self.writer().await?;
        let mut next = begin_numbered(&mut lease.conn).await?;
        let mut rows = Vec::new();
        let mut ids = Vec::new();
        for Handed { mailboxes, mail } in batch {
            let mut of_mail = Vec::new();
            for mailbox in mailboxes {
                rows.push(NewRow { id: next, mailbox, mail });
                of_mail.push(MessageId(next));
                next += 1;
            }
            ids.push(of_mail);
        }
        commit_d1(lease, &rows, true, now).await?;
        Ok(ids)
    }

    async fn mark(&self, sql: &'static str, ids: &[MessageId]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut lease = self.writer().await?;
        sqlx::query(sql).bind(json(ids)?).execute(&mut lease.conn).await.doing("marking messages")?;
        lease.keep();
        Ok(())
    }

    async fn retire(&self, mailbox: &MailboxName, listed: &[Cursor]) -> Result<(), StoreError> {
        let listed: Vec<&str> = listed
            .iter()
            .filter_map(|cursor| match cursor {
                Cursor::Pop3 { uidl } => Some(uidl.as_str()),
                Cursor::Imap { .. } | Cursor::Lmtp { .. } => None,
            })
            .collect();
        let mut lease = self.writer().await?;
        sqlx::query(
            "UPDATE message SET retired = 1 WHERE mailbox = $1 AND uidl IS NOT NULL AND retired = 0 AND cleared = 1 \
             AND uidl NOT IN (SELECT value FROM json_each($2))",
        )
        .bind(mailbox.as_str())
        .bind(json(&listed)?)
        .execute(&mut lease.conn)
        .await
        .doing("retiring UIDLs")?;
        lease.keep();
        Ok(())
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let mut lease = self.writer().await?;
        let done = sqlx::query(
            "DELETE FROM raw WHERE message IN (SELECT r.message FROM raw r JOIN message m ON m.id = r.message \
             WHERE m.stored < $1 AND m.state <> 'ready' ORDER BY r.message LIMIT $2 + 0)",
        )
        .bind(us(before))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .execute(&mut lease.conn)
        .await
        .doing("purging raw mails")?;
        lease.keep();
        Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
    }
}

/// Begins a transaction, and gives the next number of a message.
async fn begin_numbered(conn: &mut SqliteConnection) -> Result<i64, StoreError> {
    let sql = "BEGIN IMMEDIATE; \
               SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'message'), 0) + 1 AS id";
    let found = sqlx::query(sql).fetch_all(conn).await.doing("beginning (D1)")?;
    found.first().ok_or_else(|| broken("beginning (D1): no number"))?.int("id")
}

/// The next number of a table: one writer, so that it stays the next one until the commit.
pub(super) async fn next_id(conn: &mut SqliteConnection, table: &'static str) -> Result<i64, StoreError> {
    let sql = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = $1), 0) + 1 AS id";
    sqlx::query(sql).bind(table).fetch_one(conn).await.doing("numbering")?.int("id")
}

/// Places in `listed` of those that the store does not hold, in order.
async fn unknown(
    conn: &mut SqliteConnection,
    mailbox: &MailboxName,
    listed: &[Cursor],
) -> Result<Vec<usize>, StoreError> {
    let (mut imap, mut pop3) = (Vec::new(), Vec::new());
    let mut handed = Vec::new();
    for (i, cursor) in listed.iter().enumerate() {
        match cursor {
            Cursor::Imap { uidvalidity, uid } => imap.push((i, *uidvalidity, *uid)),
            Cursor::Pop3 { uidl } => pop3.push((i, uidl.as_str())),
            // Made up for each mail: whether it came before is seen by what is in it (D2).
            Cursor::Lmtp { .. } => handed.push(i),
        }
    }
    let mut places = Vec::new();
    if !imap.is_empty() {
        let sql = "SELECT value ->> 0 AS place FROM json_each($2) WHERE NOT EXISTS (SELECT 1 FROM message m \
                   WHERE m.mailbox = $1 AND m.uidvalidity = (value ->> 1) AND m.uid = (value ->> 2))";
        places.extend(
            sqlx::query(sql)
                .bind(mailbox.as_str())
                .bind(json(&imap)?)
                .fetch_all(&mut *conn)
                .await
                .doing("looking for new mail")?,
        );
    }
    if !pop3.is_empty() {
        let sql = "SELECT value ->> 0 AS place FROM json_each($2) WHERE NOT EXISTS (SELECT 1 FROM message m \
                   WHERE m.mailbox = $1 AND m.uidl = (value ->> 1) AND m.retired = 0)";
        places.extend(
            sqlx::query(sql)
                .bind(mailbox.as_str())
                .bind(json(&pop3)?)
                .fetch_all(&mut *conn)
                .await
                .doing("looking for new mail")?,
        );
    }
    let mut places = places
        .iter()
        .map(|row| {
            usize::try_from(row.int("place")?).map_err(|_| broken("looking for new mail: a place is out of range"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    places.extend(handed);
    places.sort_unstable();
    Ok(places)
}

/// A message that is about to be stored.
struct NewRow<'a> {
    id: i64,
    mailbox: &'a MailboxName,
    mail: &'a NewMessage,
}

async fn commit_d1(mut lease: Lease<'_>, rows: &[NewRow<'_>], cleared: bool, now: Timestamp) -> Result<(), StoreError> {
    insert(&mut lease.conn, rows, cleared, now).await?;
    insert_raw(&mut lease.conn, rows).await?;
    fail::fail_point!("before_d1");
    lease.commit().await?;
    fail::fail_point!("after_d1");
    Ok(())
}

async fn insert(
    conn: &mut SqliteConnection,
    rows: &[NewRow<'_>],
    cleared: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let lines: Vec<_> = rows
        .iter()
        .map(|NewRow { id, mailbox, mail }| {
            let (uidvalidity, uid, uidl, delivery) = match &mail.cursor {
                Cursor::Imap { uidvalidity, uid } => (Some(uidvalidity), Some(uid), None, None),
                Cursor::Pop3 { uidl } => (None, None, Some(uidl), None),
                Cursor::Lmtp { delivery } => (None, None, None, Some(delivery)),
            };
            let place = (uidvalidity, uid, uidl, delivery);
            let sha256 = format!("{:x}", Sha256::digest(&mail.raw));
            (id, mailbox, place, mail.raw.len(), sha256, mail.oversize, mail.internal_date.map(us))
        })
        .collect();
    sqlx::query(
        "INSERT INTO message (id, mailbox, uidvalidity, uid, uidl, delivery, size, raw_sha256, oversize, internal_date, \
         stored, cleared) SELECT value ->> 0, value ->> 1, value ->> '$[2][0]', value ->> '$[2][1]', value ->> '$[2][2]', \
         value ->> '$[2][3]', value ->> 3, unhex(value ->> 4), value ->> 5, value ->> 6, $2, $3 FROM json_each($1)",
    )
    .bind(json(&lines)?)
    .bind(us(now))
    .bind(i64::from(cleared))
    .execute(conn)
    .await
    .map(drop)
    .doing("storing messages (D1)")
}

/// Small mails go in together: the pieces of one blob, cut where each begins.
async fn insert_raw(conn: &mut SqliteConnection, rows: &[NewRow<'_>]) -> Result<(), StoreError> {
    let mut blob = Vec::new();
    let mut cuts: Vec<(i64, usize, usize)> = Vec::new();
    let mut left = rows.iter().peekable();
    while let Some(row) = left.next() {
        let raw = &row.mail.raw;
        cuts.push((row.id, blob.len() + 1, raw.len()));
        blob.extend_from_slice(raw);
        let more = left.peek().is_some_and(|next| blob.len() + next.mail.raw.len() <= PIECE);
        if !more {
            sqlx::query(
                "INSERT INTO raw (message, bytes) SELECT value ->> 0, substr($1, value ->> 1, value ->> 2) \
                 FROM json_each($2)",
            )
            .bind(std::mem::take(&mut blob))
            .bind(json(&std::mem::take(&mut cuts))?)
            .execute(&mut *conn)
            .await
            .doing("storing raw mails (D1)")?;
        }
    }
    Ok(())
}

async fn ready(conn: &mut SqliteConnection, limit: usize, max_bytes: u64) -> Result<Vec<StoredMessage>, StoreError> {
    // The oldest of each mailbox, then the second oldest of each …; the mails themselves only as far as they fit.
    let lines = sqlx::query(
        "WITH RECURSIVE box (name) AS ( \
           SELECT min(mailbox) FROM message WHERE state = 'ready' \
           UNION ALL \
           SELECT (SELECT min(m.mailbox) FROM message m WHERE m.state = 'ready' AND m.mailbox > box.name) \
           FROM box WHERE box.name IS NOT NULL) \
         SELECT m.id, m.size FROM box JOIN message m ON m.id IN (SELECT r.id FROM message r \
           WHERE r.mailbox = box.name AND r.state = 'ready' ORDER BY r.id LIMIT $1 + 0) \
         WHERE box.name IS NOT NULL \
         ORDER BY row_number() OVER (PARTITION BY m.mailbox ORDER BY m.id), m.id LIMIT $1 + 0",
    )
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(&mut *conn)
    .await
    .doing("looking for messages to parse")?;
    let mut ids = Vec::new();
    let mut bytes = 0u64;
    for line in &lines {
        bytes = bytes.saturating_add(line.count("size")?);
        if bytes > max_bytes && !ids.is_empty() {
            break;
        }
        ids.push(line.int("id")?);
    }
    let found = sqlx::query(
        "SELECT m.id, m.mailbox, m.uidvalidity, m.uid, m.uidl, m.delivery, m.internal_date, m.stored, m.oversize, r.bytes \
         FROM json_each($1) j JOIN message m ON m.id = j.value JOIN raw r ON r.message = m.id ORDER BY j.key",
    )
    .bind(json(&ids)?)
    .fetch_all(conn)
    .await
    .doing("reading messages to parse")?;
    found
        .iter()
        .map(|row| {
            Ok(StoredMessage {
                id: MessageId(row.int("id")?),
                mailbox: row.word("mailbox")?,
                cursor: rows::cursor(row)?,
                raw: row.try_get("bytes").doing("reading a raw mail")?,
                internal_date: row.maybe_time("internal_date")?,
                stored: row.time("stored")?,
                oversize: row.maybe_int("oversize")?.and_then(|n| u64::try_from(n).ok()),
            })
        })
        .collect()
}
