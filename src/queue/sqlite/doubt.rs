//! What is in doubt, while the server's archive is asked about it.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;

use super::Sqlite;
use super::conn::{Columns, Doing, json, us};
use super::rows::bare;
use super::steps::mirror;
use crate::model::{BareJid, Doubt, StanzaId};
use crate::queue::StoreError;

/// By itself: what a digest carries shares its fate. By the index of what is unsent, which is short.
pub(super) const DOUBTS: &str = "SELECT jid, stanza_id, attempts, first_intent, created FROM notification \
    WHERE in_doubt = 1 AND +state = 'sending' AND carrier IS NULL AND (not_before IS NULL OR not_before > $2) \
    ORDER BY +id DESC LIMIT $1 + 0";

/// Accepted, and sent once: there is no later copy of it in an archive. The newest first.
pub(super) const KNOWN: &str = "SELECT jid, stanza_id, accepted FROM notification \
    WHERE created >= $1 AND +attempts = 1 AND +accepted IS NOT NULL AND +carrier IS NULL \
      AND +jid IN (SELECT value FROM json_each($2)) ORDER BY created DESC LIMIT 10000";

/// What is known is of use where it was made so shortly before.
const SHORTLY: SignedDuration = SignedDuration::from_mins(5);

pub(super) async fn doubts(store: &Sqlite, limit: usize, now: Timestamp) -> Result<Vec<Doubt>, StoreError> {
    let mut lease = store.reader().await?;
    let found = sqlx::query(DOUBTS)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .bind(us(now))
        .fetch_all(&mut lease.conn)
        .await
        .doing("reading what is in doubt")?;
    let doubts = found.iter().map(|row| {
        let since = match row.maybe_time("first_intent")? {
            Some(at) => at,
            None => row.time("created")?,
        };
        let copy = u32::try_from(row.int("attempts")?).unwrap_or(u32::MAX);
        let stanza_id = StanzaId(row.text("stanza_id")?);
        Ok(Doubt { to: bare(&row.text("jid")?)?, stanza_id, copy, since, after: None })
    });
    let mut doubts: Vec<Doubt> = doubts.collect::<Result<_, StoreError>>()?;
    after(&mut lease.conn, &mut doubts).await?;
    lease.keep();
    Ok(doubts)
}

/// Of each recipient what was accepted last before the first of their doubts.
async fn after(conn: &mut SqliteConnection, doubts: &mut [Doubt]) -> Result<(), StoreError> {
    let mut first: HashMap<BareJid, Timestamp> = HashMap::new();
    for doubt in doubts.iter() {
        let since = first.entry(doubt.to.clone()).or_insert(doubt.since);
        *since = doubt.since.min(*since);
    }
    let Some(oldest) = first.values().min() else { return Ok(()) };
    let from = oldest.saturating_sub(SHORTLY).unwrap_or(Timestamp::MIN);
    let jids: Vec<&str> = first.keys().map(|jid| jid.as_str()).collect();
    let found = sqlx::query(KNOWN)
        .bind(us(from))
        .bind(json(&jids)?)
        .fetch_all(conn)
        .await
        .doing("reading what was accepted before what is in doubt")?;
    let mut known: HashMap<BareJid, (Timestamp, StanzaId)> = HashMap::new();
    for row in &found {
        let (jid, accepted) = (bare(&row.text("jid")?)?, row.time("accepted")?);
        let before = first.get(&jid).is_some_and(|since| accepted < *since);
        if before && known.get(&jid).is_none_or(|(last, _)| *last < accepted) {
            known.insert(jid, (accepted, StanzaId(row.text("stanza_id")?)));
        }
    }
    for doubt in doubts {
        doubt.after = known.get(&doubt.to).map(|(_, id)| id.clone());
    }
    Ok(())
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
