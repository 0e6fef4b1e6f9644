//! What is in doubt, while the server's archive is asked about it.

use jiff::Timestamp;

use super::Sqlite;
use super::conn::{Columns, Doing, json, us};
use super::rows::bare;
use super::steps::mirror;
use crate::model::{Doubt, StanzaId};
use crate::queue::StoreError;

/// By itself: what a digest carries shares its fate. By the index of what is unsent, which is short.
pub(super) const DOUBTS: &str = "SELECT jid, stanza_id, attempts, first_intent, created FROM notification \
    WHERE in_doubt = 1 AND +state = 'sending' AND carrier IS NULL AND (not_before IS NULL OR not_before > $2) \
    ORDER BY +id DESC LIMIT $1 + 0";

pub(super) async fn doubts(store: &Sqlite, limit: usize, now: Timestamp) -> Result<Vec<Doubt>, StoreError> {
    let mut lease = store.reader().await?;
    let found = sqlx::query(DOUBTS)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .bind(us(now))
        .fetch_all(&mut lease.conn)
        .await
        .doing("reading what is in doubt")?;
    lease.keep();
    found
        .iter()
        .map(|row| {
            let since = match row.maybe_time("first_intent")? {
                Some(at) => at,
                None => row.time("created")?,
            };
            let copy = u32::try_from(row.int("attempts")?).unwrap_or(u32::MAX);
            Ok(Doubt { to: bare(&row.text("jid")?)?, stanza_id: StanzaId(row.text("stanza_id")?), copy, since })
        })
        .collect()
}

pub(super) async fn put_off(store: &Sqlite, stanzas: &[StanzaId], until: Option<Timestamp>) -> Result<(), StoreError> {
    if stanzas.is_empty() {
        return Ok(());
    }
    let mut lease = store.begin().await?;
    sqlx::query(concat!(
        "UPDATE notification SET not_before = min(coalesce(not_before, $2), $2) \
           WHERE stanza_id IN (SELECT value FROM json_each($1)) AND +state = 'sending' AND in_doubt = 1; ",
        mirror!("d.in_doubt = 1 AND d.stanza_id IN (SELECT value FROM json_each($1))")
    ))
    .bind(json(stanzas)?)
    .bind(until.map(us))
    .execute(&mut lease.conn)
    .await
    .doing("letting what is in doubt wait")?;
    lease.commit().await
}
