//! D1: raw mails, whether they were fetched or handed in.

use std::collections::HashSet;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use sqlx::SqliteConnection;

use super::Sqlite;
use super::conn::{Columns, Doing, Lease, broken, json, us};
use super::inbox::unknown;
use crate::model::{Cursor, MailboxName, MessageId, NewMessage};
use crate::queue::{Handed, StoreError};

/// Raw mails are handed to the database in one piece up to so many bytes.
const PIECE: usize = 1 << 20;

impl Sqlite {
    pub(super) async fn d1(
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

    pub(super) async fn handed(&self, batch: &[Handed], now: Timestamp) -> Result<Vec<Vec<MessageId>>, StoreError> {
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
}

/// Begins a transaction, and gives the next number of a message.
async fn begin_numbered(conn: &mut SqliteConnection) -> Result<i64, StoreError> {
    let sql = "BEGIN IMMEDIATE; \
               SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'message'), 0) + 1 AS id";
    let found = sqlx::query(sql).fetch_all(conn).await.doing("beginning (D1)")?;
    found.first().ok_or_else(|| broken("beginning (D1): no number"))?.int("id")
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
