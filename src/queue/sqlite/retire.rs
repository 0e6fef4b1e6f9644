//! Rows of mails that are not in their mailbox any more.

use sqlx::sqlite::SqliteRow;

use super::Sqlite;
use super::conn::{Columns, Doing, json};
use crate::model::{Cursor, MailboxName};
use crate::queue::StoreError;

/// Most rows in one commit: sends wait for it.
const BATCH: i64 = 500;

const IMAP: &str = "SELECT id FROM message WHERE mailbox = $1 AND uid IS NOT NULL AND retired = 0 AND cleared = 1 \
    AND (uidvalidity <> $3 OR uid NOT IN (SELECT value FROM json_each($2))) LIMIT $4 + 0";
const POP3: &str = "SELECT id FROM message WHERE mailbox = $1 AND uidl IS NOT NULL AND retired = 0 AND cleared = 1 \
    AND uidl NOT IN (SELECT value FROM json_each($2)) AND $3 IS NULL LIMIT $4 + 0";
const RETIRE: &str = "UPDATE message SET retired = 1 WHERE id IN (SELECT value FROM json_each($1))";

/// Looked for on a reading connection: a long listing takes its time.
pub(super) async fn absent(
    store: &Sqlite,
    mailbox: &MailboxName,
    uidvalidity: Option<u32>,
    listed: &[Cursor],
) -> Result<(), StoreError> {
    let sql = if uidvalidity.is_some() { IMAP } else { POP3 };
    let names = names(uidvalidity, listed)?;
    loop {
        let mut lease = store.reader().await?;
        let found = sqlx::query(sql)
            .bind(mailbox.as_str())
            .bind(&names)
            .bind(uidvalidity)
            .bind(BATCH)
            .fetch_all(&mut lease.conn)
            .await
            .doing("looking for mails that are gone")?;
        lease.keep();
        let gone = found.iter().map(|row: &SqliteRow| row.int("id")).collect::<Result<Vec<_>, _>>()?;
        if gone.is_empty() {
            return Ok(());
        }
        let mut lease = store.writer().await?;
        sqlx::query(RETIRE).bind(json(&gone)?).execute(&mut lease.conn).await.doing("retiring mails that are gone")?;
        lease.keep();
        if i64::try_from(gone.len()).is_ok_and(|n| n < BATCH) {
            return Ok(());
        }
    }
}

/// What the listing holds: UIDs of this generation, or UIDLs.
fn names(uidvalidity: Option<u32>, listed: &[Cursor]) -> Result<String, StoreError> {
    let (mut uids, mut uidls) = (Vec::new(), Vec::new());
    for cursor in listed {
        match cursor {
            Cursor::Imap { uidvalidity: generation, uid } if Some(*generation) == uidvalidity => uids.push(*uid),
            Cursor::Pop3 { uidl } => uidls.push(uidl.as_str()),
            Cursor::Imap { .. } | Cursor::Lmtp { .. } => {}
        }
    }
    if uidvalidity.is_some() { json(&uids) } else { json(&uidls) }
}
