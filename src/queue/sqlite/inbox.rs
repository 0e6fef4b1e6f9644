//! From the mailbox to the queue: everything but D2.

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Row, SqliteConnection};

use super::conn::{Columns, Doing, broken, json};
use super::{Sqlite, d2, retire, rows};
use crate::metrics::Step;
use crate::model::{Cursor, MailboxName, MessageId, NewMessage, Planner};
use crate::queue::{
    D2Message, D2Report, Express, Handed, Inbox, Room, StoreError, StoreFault, StoredMessage, Uncleared,
};

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
        self.fetched(mailbox, &batch, false, now).await
    }

    async fn d1_keep(
        &self,
        mailbox: &MailboxName,
        batch: Vec<NewMessage>,
        now: Timestamp,
    ) -> Result<Vec<MessageId>, StoreError> {
        self.fetched(mailbox, &batch, true, now).await
    }

    async fn d1_handed(&self, batch: &[Handed], now: Timestamp) -> Result<Vec<Vec<MessageId>>, StoreError> {
        let ids = self.step(Step::D1, self.handed(batch, now)).await?;
        batch.iter().flat_map(|mail| &mail.mailboxes).for_each(|mailbox| self.meter.stored(mailbox.as_str(), 1));
        Ok(ids)
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

    async fn retire_absent(
        &self,
        mailbox: &MailboxName,
        uidvalidity: Option<u32>,
        listed: &[Cursor],
    ) -> Result<(), StoreError> {
        self.written(retire::absent(self, mailbox, uidvalidity, listed).await)
    }

    async fn waiting(&self, mailbox: &MailboxName) -> Result<u64, StoreError> {
        let mut lease = self.reader().await?;
        let sql = "SELECT count(*) AS n FROM message WHERE mailbox = $1 AND state = 'ready'";
        let row =
            sqlx::query(sql).bind(mailbox.as_str()).fetch_one(&mut lease.conn).await.doing("counting messages")?;
        lease.keep();
        row.count("n")
    }

    async fn ready(
        &self,
        limit: usize,
        max_bytes: u64,
        except: &[MessageId],
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let mut lease = self.reader().await?;
        let found = ready(&mut lease.conn, limit, max_bytes, except).await?;
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
        self.step(Step::D2, d2::message::commit(self, batch, planner, express, now)).await
    }

    async fn room(&self) -> Result<Room, StoreError> {
        let dir = self.path().parent().unwrap_or(self.path());
        let stat = rustix::fs::statvfs(dir).map_err(|err| StoreError {
            what: format!("asking for the free space of {}: {err}", dir.display()),
            fault: StoreFault::Broken,
        })?;
        Ok(Room { free: stat.f_bavail.saturating_mul(stat.f_frsize) })
    }
}

impl Sqlite {
    async fn fetched(
        &self,
        mailbox: &MailboxName,
        batch: &[NewMessage],
        cleared: bool,
        now: Timestamp,
    ) -> Result<Vec<MessageId>, StoreError> {
        let ids = self.step(Step::D1, self.d1(mailbox, batch, cleared, now)).await?;
        self.meter.stored(mailbox.as_str(), ids.len());
        Ok(ids)
    }
}

impl Sqlite {
    async fn mark(&self, sql: &'static str, ids: &[MessageId]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut lease = self.writer().await?;
        sqlx::query(sql).bind(json(ids)?).execute(&mut lease.conn).await.doing("marking messages")?;
        lease.keep();
        Ok(())
    }
}

/// The next number of a table: one writer, so that it stays the next one until the commit.
pub(super) async fn next_id(conn: &mut SqliteConnection, table: &'static str) -> Result<i64, StoreError> {
    let sql = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = $1), 0) + 1 AS id";
    sqlx::query(sql).bind(table).fetch_one(conn).await.doing("numbering")?.int("id")
}

/// Places in `listed` of those that the store does not hold, in order.
pub(super) async fn unknown(
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
                   WHERE m.mailbox = $1 AND m.uidvalidity = (value ->> 1) AND m.uid = (value ->> 2) AND m.retired = 0)";
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

async fn ready(
    conn: &mut SqliteConnection,
    limit: usize,
    max_bytes: u64,
    except: &[MessageId],
) -> Result<Vec<StoredMessage>, StoreError> {
    // The oldest of each mailbox, then the second oldest of each …; the mails themselves only as far as they fit.
    let lines = sqlx::query(
        "WITH RECURSIVE box (name) AS ( \
           SELECT min(mailbox) FROM message WHERE state = 'ready' \
           UNION ALL \
           SELECT (SELECT min(m.mailbox) FROM message m WHERE m.state = 'ready' AND m.mailbox > box.name) \
           FROM box WHERE box.name IS NOT NULL) \
         SELECT m.id, m.size FROM box JOIN message m ON m.id IN (SELECT r.id FROM message r \
           WHERE r.mailbox = box.name AND r.state = 'ready' AND r.id NOT IN (SELECT value FROM json_each($2)) \
           ORDER BY r.id LIMIT $1 + 0) \
         WHERE box.name IS NOT NULL \
         ORDER BY row_number() OVER (PARTITION BY m.mailbox ORDER BY m.id), m.id LIMIT $1 + 0",
    )
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .bind(json(except)?)
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
        "SELECT m.id, m.mailbox, m.uidvalidity, m.uid, m.uidl, m.delivery, m.internal_date, m.stored, m.oversize, m.replayed, \
           r.bytes \
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
                replayed: row.int("replayed")? != 0,
            })
        })
        .collect()
}
