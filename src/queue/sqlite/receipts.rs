//! Receipts that do not come.
//!
//! An accepted notification waits since `coalesce(awaited, accepted)`. `again_until` is set: a receipt is missing, and it is to be
//! sent again; `resent` is set as well: it was, and its receipt is waited for once more.

mod sql;
#[cfg(test)]
pub(super) use sql::planned;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::Sqlite;
use super::conn::{Columns, Doing, json, us};
use super::rows;
use crate::metrics::Step;
use crate::model::{BareJid, Epoch, NotificationId, NotificationState, StanzaId};
use crate::queue::{Awaited, Missed, Outgoing, Receipts, StoreError};

/// Most that one commit looks at: sends wait for it. What is left over is looked at with the next.
const BATCH: i64 = 1000;

const NEITHER: &str = "no receipt, of the second copy neither";
const OVER: &str = "no receipt; not sent again: it was reported anew, or over";
const NO_USE: &str = "no receipt; not sent again: of no use any more";
const NO_CLIENT: &str = "no receipt; not sent again: their client sends no receipts any more";
const NOT_REACHED: &str = "no receipt; not sent again: the recipient could not be reached in time";

#[async_trait]
impl Receipts for Sqlite {
    async fn awaited(&self) -> Result<Awaited, StoreError> {
        let mut lease = self.reader().await?;
        let row =
            sqlx::query(sql::AWAITED).fetch_one(&mut lease.conn).await.doing("looking what waits for a receipt")?;
        lease.keep();
        Ok(Awaited {
            receipt: row.maybe_time("receipt")?,
            again: row.maybe_time("again")?,
            until: row.maybe_time("until")?,
        })
    }

    async fn unconfirm(&self, before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        let ended = self.written(unconfirm(self, before, now).await)?;
        self.meter.ended(NotificationState::Unconfirmed, ended);
        Ok(ended)
    }

    async fn miss(&self, before: Timestamp, patience: SignedDuration, now: Timestamp) -> Result<Missed, StoreError> {
        let missed = self.written(miss(self, before, patience, now).await)?;
        self.meter.ended(NotificationState::Unconfirmed, missed.unconfirmed);
        Ok(missed)
    }

    async fn recipients_unanswered(&self, before: Timestamp) -> Result<Vec<BareJid>, StoreError> {
        let mut lease = self.reader().await?;
        let found = sqlx::query(sql::RECIPIENTS).bind(us(before)).fetch_all(&mut lease.conn).await;
        let found = found.doing("looking to whom something is to be sent again")?;
        lease.keep();
        found.iter().map(|row| rows::bare(&row.text("jid")?)).collect()
    }

    async fn unanswered(
        &self,
        recipient: &BareJid,
        before: Timestamp,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Outgoing>, StoreError> {
        self.written(unanswered(self, recipient, before, limit, now).await)
    }

    async fn never_again(&self, recipient: &BareJid, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        self.written(never_again(self, recipient, reason, now).await)
    }

    async fn d3_resend(
        &self,
        ids: &[NotificationId],
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<Vec<NotificationId>, StoreError> {
        let taken = self.step(Step::D3, d3_resend(self, ids, epoch, now)).await?;
        self.meter.intended(taken.len(), taken.len());
        Ok(taken)
    }

    async fn not_resent(&self, stanzas: &[StanzaId]) -> Result<(), StoreError> {
        self.written(not_resent(self, stanzas).await)
    }
}

/// What one of the looks finds.
async fn look(
    conn: &mut SqliteConnection,
    sql: &'static str,
    before: Timestamp,
    now: Timestamp,
) -> Result<Vec<SqliteRow>, StoreError> {
    let query = sqlx::query(sql).bind(us(before)).bind(us(now)).bind(BATCH);
    query.fetch_all(conn).await.doing("looking for missing receipts")
}

/// Ends these as unconfirmed, with what they cover; returns how many.
async fn end(
    conn: &mut SqliteConnection,
    ids: &[NotificationId],
    reason: &str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    if !ids.is_empty() {
        let query = sqlx::query(sql::END).bind(json(ids)?).bind(us(now)).bind(reason);
        query.execute(conn).await.doing("ending what got no receipt")?;
    }
    Ok(ids.len() as u64)
}

async fn unconfirm(store: &Sqlite, before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
    let mut lease = store.begin().await?;
    let found = rows::notification_ids(&look(&mut lease.conn, sql::UNCONFIRM, before, now).await?)?;
    let ended = end(&mut lease.conn, &found, "no receipt", now).await?;
    lease.commit().await?;
    Ok(ended)
}

async fn miss(
    store: &Sqlite,
    before: Timestamp,
    patience: SignedDuration,
    now: Timestamp,
) -> Result<Missed, StoreError> {
    let mut lease = store.begin().await?;
    let conn = &mut lease.conn;
    let mut missed = Missed::default();

    let second = look(conn, sql::SECOND, before, now).await?;
    let silent = second.iter().map(|row| row.text("jid")).collect::<Result<Vec<_>, _>>()?;
    missed.unconfirmed += end(conn, &rows::notification_ids(&second)?, NEITHER, now).await?;
    if !silent.is_empty() {
        let sql = "DELETE FROM sends_receipts WHERE jid IN (SELECT value FROM json_each($1))";
        sqlx::query(sql).bind(json(&silent)?).execute(&mut *conn).await.doing("forgetting who sends receipts")?;
    }
    let late = rows::notification_ids(&look(conn, sql::TOO_LATE, before, now).await?)?;
    missed.unconfirmed += end(conn, &late, NOT_REACHED, now).await?;

    let (mut over, mut first) = (Vec::new(), Vec::new());
    for row in look(conn, sql::FIRST, before, now).await? {
        let list = if row.flag("over")? { &mut over } else { &mut first };
        list.push(NotificationId(row.int("id")?));
    }
    missed.unconfirmed += end(conn, &over, OVER, now).await?;
    missed.again = first.len() as u64;
    if !first.is_empty() {
        sqlx::query(sql::MISS)
            .bind(json(&first)?)
            .bind(us(now))
            .bind(i64::try_from(patience.as_micros()).unwrap_or(i64::MAX / 4))
            .execute(&mut *conn)
            .await
            .doing("noting missing receipts")?;
    }
    lease.commit().await?;
    Ok(missed)
}

async fn unanswered(
    store: &Sqlite,
    recipient: &BareJid,
    before: Timestamp,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<Outgoing>, StoreError> {
    let mut lease = store.begin().await?;
    let conn = &mut lease.conn;
    let found = sqlx::query(sql::NO_NEED)
        .bind(recipient.as_str())
        .bind(us(now))
        .bind(us(before))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *conn)
        .await
        .doing("looking what is to be sent again")?;
    let (mut over, mut client, mut no_use, mut due) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in &found {
        let list = match row.text("why")?.as_str() {
            "over" => &mut over,
            "client" => &mut client,
            "use" => &mut no_use,
            _ => &mut due,
        };
        list.push(NotificationId(row.int("id")?));
    }
    let mut ended = 0;
    for (ids, reason) in [(over, OVER), (client, NO_CLIENT), (no_use, NO_USE)] {
        ended += end(conn, &ids, reason, now).await?;
    }
    let found =
        sqlx::query(sql::BY_NUMBER).bind(json(&due)?).fetch_all(&mut *conn).await.doing("reading notifications")?;
    let mut due = rows::outgoing(conn, &found).await?;
    lease.commit().await?;
    store.meter.ended(NotificationState::Unconfirmed, ended);
    // The first copy may have arrived.
    due.iter_mut().for_each(|out| out.in_doubt = true);
    Ok(due)
}

async fn never_again(store: &Sqlite, recipient: &BareJid, reason: &str, now: Timestamp) -> Result<(), StoreError> {
    let mut lease = store.begin().await?;
    let found = sqlx::query(sql::NEVER)
        .bind(recipient.as_str())
        .bind(us(now))
        .bind(i64::MAX)
        .fetch_all(&mut lease.conn)
        .await
        .doing("looking what is to be sent again")?;
    let ended = end(&mut lease.conn, &rows::notification_ids(&found)?, reason, now).await?;
    lease.commit().await?;
    store.meter.ended(NotificationState::Unconfirmed, ended);
    Ok(())
}

async fn d3_resend(
    store: &Sqlite,
    ids: &[NotificationId],
    epoch: Epoch,
    now: Timestamp,
) -> Result<Vec<NotificationId>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut lease = store.begin().await?;
    fail::fail_point!("before_resend");
    let found = sqlx::query(sql::RESEND)
        .bind(json(ids)?)
        .bind(epoch.0)
        .bind(us(now))
        .fetch_all(&mut lease.conn)
        .await
        .doing("writing the intent to send again")?;
    let taken = rows::notification_ids(&found)?;
    sqlx::query(sql::RESENT)
        .bind(json(&taken)?)
        .bind(us(now))
        .execute(&mut lease.conn)
        .await
        .doing("writing the intent to send again")?;
    lease.commit().await?;
    fail::fail_point!("after_resend");
    Ok(ids.iter().copied().filter(|id| taken.contains(id)).collect())
}

async fn not_resent(store: &Sqlite, stanzas: &[StanzaId]) -> Result<(), StoreError> {
    if stanzas.is_empty() {
        return Ok(());
    }
    let mut lease = store.begin().await?;
    sqlx::query(sql::NOT_RESENT)
        .bind(json(stanzas)?)
        .execute(&mut lease.conn)
        .await
        .doing("taking back the intent to send again")?;
    lease.commit().await
}
