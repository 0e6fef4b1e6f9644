//! Who can be told at once: whose way is free of what waits already.

use std::collections::HashMap;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::{Fault, mine};
use crate::model::{BareJid, ConditionView, Severity};
use crate::queue::sqlite::conn::{Columns, json, us};
use crate::queue::sqlite::rows::bare;

/// What waits for one recipient.
#[derive(Debug, Default, Clone, Copy)]
struct Way {
    /// Rank of the most urgent that is due.
    waiting: Option<u8>,
    /// Something that must be sent before, however urgent.
    barred: bool,
}

/// What waits for each of some recipients.
#[derive(Debug, Default)]
pub(super) struct Ways(HashMap<BareJid, Way>);

impl Ways {
    /// As it is in the store, for an alert about these conditions.
    pub(super) async fn look(
        conn: &mut SqliteConnection,
        now: Timestamp,
        recipients: &[&str],
        conditions: &[ConditionView],
    ) -> Result<Self, Fault> {
        let found = sqlx::query(
            "SELECT j.value AS jid, (SELECT min(n.rank) FROM notification n WHERE n.jid = j.value \
               AND (n.state = 'queued' OR n.in_doubt = 1) AND n.waits IS NULL AND (n.not_before IS NULL OR n.not_before <= $2)) AS waiting, \
             EXISTS (SELECT 1 FROM notification n WHERE n.several = 1 AND (n.state = 'queued' OR n.in_doubt = 1) \
               AND n.jid = j.value) \
             OR EXISTS (SELECT 1 FROM json_each($3) c JOIN notification n ON n.condition = c.value AND n.jid = j.value \
               AND (n.state = 'queued' OR n.state = 'held' OR n.in_doubt = 1)) AS barred FROM json_each($1) j",
        )
        .bind(json(recipients)?)
        .bind(us(now))
        .bind(json(&conditions.iter().map(|c| c.id.0).collect::<Vec<_>>())?)
        .fetch_all(conn)
        .await;
        let found = mine(found, "looking for a free way (D2)")?;
        let mut ways = HashMap::with_capacity(found.len());
        for row in &found {
            let waiting = row.maybe_int("waiting")?.map(|rank| u8::try_from(rank).unwrap_or(u8::MAX));
            ways.insert(bare(&row.text("jid")?)?, Way { waiting, barred: row.flag("barred")? });
        }
        Ok(Self(ways))
    }

    /// Nothing due that is as urgent, and nothing of the same conditions, is still to be sent.
    pub(super) fn free(&self, who: &BareJid, severity: Severity) -> bool {
        self.0.get(who).is_some_and(|way| !way.barred && way.waiting.is_none_or(|rank| rank > severity.rank()))
    }

    /// From now on this waits as well.
    pub(super) fn waits(&mut self, who: &BareJid, severity: Severity) {
        if let Some(way) = self.0.get_mut(who) {
            way.waiting = Some(way.waiting.map_or(severity.rank(), |rank| rank.min(severity.rank())));
        }
    }
}
