//! What is due; and the port for dispatch, whose writes stand in the other files.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use sqlx::sqlite::SqliteRow;

use super::conn::{Columns, Doing, json, us};
use super::rows::{self, alert_columns, notification_columns};
use super::storm::{self, gives_way};
use super::{Sqlite, clock, digest, doubt, ends, notices, removed, steps, watch};
use crate::metrics::Step;
use crate::model::{
    AlertId, BareJid, Delivery, Doubt, Epoch, GroupName, NotificationId, NotificationState, Presence, Recipient,
    StanzaId,
};
use crate::queue::{
    AlertRecord, DigestText, Ended, Held, Intent, NoticeDue, Outbox, Outgoing, Receipt, Removed, Returning, StoreError,
    Unwritten, Wait, Waited, Watch, WatchEnd,
};

/// Nothing older of the recipient's same condition is still to be sent before `q` at `$2`. What is held does not count as older:
/// it waits for its own policy, and must not keep a worse alert back. Nor does what only becomes effective later; what waits
/// for its next attempt does. `$gives_way`: nor an `o` for which this is true.
macro_rules! not_behind {
    ($gives_way:expr) => {
        concat!(
            "NOT EXISTS (SELECT 1 FROM notification o WHERE o.condition = q.condition AND o.jid = q.jid AND o.id < q.id \
               AND (o.state = 'queued' OR o.state = 'held' OR o.in_doubt = 1) AND o.state <> 'held' \
               AND (o.attempts > 0 OR o.not_before IS NULL OR o.not_before <= $2) AND NOT (",
            $gives_way,
            ")) \
             AND (q.several = 0 OR NOT EXISTS (SELECT 1 FROM alert_condition c JOIN notification o \
               ON o.condition = c.condition AND o.jid = q.jid AND o.id < q.id \
               AND (o.state = 'queued' OR o.state = 'held' OR o.in_doubt = 1) AND o.state <> 'held' \
               AND (o.attempts > 0 OR o.not_before IS NULL OR o.not_before <= $2) WHERE c.alert = q.alert)) \
             AND NOT EXISTS (SELECT 1 FROM notification o WHERE o.several = 1 AND (o.state = 'queued' OR o.in_doubt = 1) \
               AND o.jid = q.jid AND o.id < q.id AND (o.attempts > 0 OR o.not_before IS NULL OR o.not_before <= $2) \
               AND EXISTS (SELECT 1 FROM alert_condition c JOIN alert_condition d ON d.condition = c.condition \
                 WHERE c.alert = o.alert AND d.alert = q.alert))"
        )
    };
}
pub(super) use not_behind;

/// `q` can be sent at `$2`: it waits for nothing, nothing has to go before it, and nothing newer goes in its stead.
macro_rules! is_due {
    () => {
        concat!(
            "(q.state = 'queued' OR q.in_doubt = 1) AND q.waits IS NULL AND q.carrier IS NULL \
             AND (q.not_before IS NULL OR q.not_before <= $2) AND ",
            not_behind!(gives_way!("o")),
            " AND NOT (",
            gives_way!("q"),
            " AND EXISTS (SELECT 1 FROM notification o WHERE o.condition = q.condition AND o.jid = q.jid AND o.id > q.id \
               AND (o.state = 'queued' OR o.state = 'held' OR o.in_doubt = 1) AND o.state = 'queued' AND o.waits IS NULL \
               AND o.carrier IS NULL AND o.several = 0 AND (o.not_before IS NULL OR o.not_before <= $2)))"
        )
    };
}

const DUE: &str = concat!(
    "SELECT ",
    notification_columns!(),
    " FROM json_each($1) j JOIN notification n ON n.id IN (SELECT q.id FROM notification q WHERE q.jid = j.value AND ",
    is_due!(),
    " ORDER BY q.rank, q.id LIMIT $3 + 0) ORDER BY n.rank, n.id LIMIT $4 + 0"
);

/// Steps from one recipient who has something waiting to the next, so that it costs what waits, not what there ever was.
const RECIPIENTS_DUE: &str = concat!(
    "WITH RECURSIVE who (jid) AS ( \
       SELECT min(jid) FROM notification WHERE (state = 'queued' OR in_doubt = 1) AND waits IS NULL \
       UNION ALL \
       SELECT (SELECT min(n.jid) FROM notification n WHERE (n.state = 'queued' OR n.in_doubt = 1) AND n.waits IS NULL \
         AND n.jid > who.jid) FROM who WHERE who.jid IS NOT NULL) \
     SELECT jid, $2 FROM who WHERE jid IS NOT NULL AND EXISTS (SELECT 1 FROM notification q WHERE q.jid = who.jid AND ",
    is_due!(),
    ")"
);

const NEXT_TIMER: &str = "SELECT min(at) AS at FROM ( \
    SELECT min(not_before) AS at FROM notification \
      WHERE state = 'queued' AND not_before IS NOT NULL AND carrier IS NULL \
    UNION ALL SELECT min(held_until) FROM notification WHERE state = 'held' \
    UNION ALL SELECT min(expires) FROM notification \
      WHERE (state = 'queued' OR state = 'held') AND expires IS NOT NULL AND severity <> 'critical' AND carrier IS NULL)";

const BY_NUMBER: &str = concat!(
    "SELECT ",
    notification_columns!(),
    " FROM json_each($1) j JOIN notification n ON n.id = j.value ORDER BY n.id"
);

const BY_STANZA: &str = concat!("SELECT ", notification_columns!(), " FROM notification n WHERE n.stanza_id = $1");

#[cfg(test)]
pub(super) const PLANNED: [&str; 3] = [DUE, RECIPIENTS_DUE, NEXT_TIMER];

#[async_trait]
impl Outbox for Sqlite {
    async fn next_epoch(&self) -> Result<Epoch, StoreError> {
        self.written(steps::next_epoch(self).await)
    }

    async fn in_doubt(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.written(steps::in_doubt(self, now).await)
    }

    async fn doubts(&self, limit: usize, now: Timestamp) -> Result<Vec<Doubt>, StoreError> {
        doubt::doubts(self, limit, now).await
    }

    async fn put_off(&self, stanzas: &[StanzaId], until: Option<Timestamp>) -> Result<(), StoreError> {
        self.written(doubt::put_off(self, stanzas, until).await)
    }

    async fn recipients_due(&self, now: Timestamp) -> Result<Vec<BareJid>, StoreError> {
        let mut lease = self.reader().await?;
        let found = sqlx::query(RECIPIENTS_DUE).bind(None::<i64>).bind(us(now)).fetch_all(&mut lease.conn).await;
        let found = found.doing("looking who has something due")?;
        lease.keep();
        jids(&found)
    }

    async fn due(
        &self,
        recipients: &[BareJid],
        per_recipient: usize,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Outgoing>, StoreError> {
        let mut lease = self.reader().await?;
        let found = sqlx::query(DUE)
            .bind(json(recipients)?)
            .bind(us(now))
            .bind(i64::try_from(per_recipient).unwrap_or(i64::MAX))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&mut lease.conn)
            .await
            .doing("looking what is due")?;
        let found = rows::outgoing(&mut lease.conn, &found).await?;
        lease.keep();
        Ok(found)
    }

    async fn next_timer(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut lease = self.reader().await?;
        let row = sqlx::query(NEXT_TIMER).fetch_one(&mut lease.conn).await.doing("looking for the next timer")?;
        lease.keep();
        row.maybe_time("at")
    }

    async fn d3_intend(
        &self,
        ids: &[NotificationId],
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<Vec<NotificationId>, StoreError> {
        self.step(Step::D3, steps::d3_intend(self, ids, &[], epoch, now)).await
    }

    async fn d3_seen(
        &self,
        seen: &[(NotificationId, Presence)],
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<Vec<NotificationId>, StoreError> {
        let ids: Vec<_> = seen.iter().map(|(id, _)| *id).collect();
        let seen: Vec<_> = seen.iter().map(|(id, presence)| (*id, presence.as_str())).collect();
        self.step(Step::D3, steps::d3_intend(self, &ids, &seen, epoch, now)).await
    }

    async fn wait(&self, ids: &[NotificationId], wait: &Wait) -> Result<(), StoreError> {
        self.written(storm::wait(self, ids, wait).await)
    }

    async fn next_wait(&self) -> Result<Option<Timestamp>, StoreError> {
        storm::next_wait(self).await
    }

    async fn waited(&self, now: Timestamp) -> Result<Vec<Waited>, StoreError> {
        storm::waited(self, now).await
    }

    async fn wait_no_more(&self, jid: &BareJid, now: Timestamp) -> Result<(), StoreError> {
        self.written(storm::wait_no_more(self, jid, now).await)
    }

    async fn fold(
        &self,
        recipient: &Recipient,
        spared: usize,
        listed: usize,
        text: Option<DigestText<'_>>,
        rest: &Wait,
        now: Timestamp,
    ) -> Result<Option<NotificationId>, StoreError> {
        self.written(storm::fold(self, recipient, spared, listed, text, rest, now).await)
    }

    async fn intents(&self, since: Timestamp) -> Result<Vec<Intent>, StoreError> {
        storm::intents(self, since).await
    }

    async fn d4_accepted(&self, stanzas: &[StanzaId], now: Timestamp) -> Result<(), StoreError> {
        self.step(Step::D4, steps::d4_accepted(self, stanzas, now)).await
    }

    async fn d5_delivered(&self, receipts: &[Receipt], now: Timestamp) -> Result<Vec<Receipt>, StoreError> {
        self.step(Step::D5, steps::d5_delivered(self, receipts, now)).await
    }

    async fn by_stanza(&self, stanza: &StanzaId) -> Result<Option<Outgoing>, StoreError> {
        let mut lease = self.reader().await?;
        let found = sqlx::query(BY_STANZA).bind(&stanza.0).fetch_all(&mut lease.conn).await;
        let found = found.doing("looking for a stanza")?;
        let found = rows::outgoing(&mut lease.conn, &found).await?;
        lease.keep();
        Ok(found.into_iter().next())
    }

    async fn not_written(&self, letters: &[Unwritten]) -> Result<(), StoreError> {
        self.written(steps::not_written(self, letters).await)
    }

    async fn retry(
        &self,
        stanza: &StanzaId,
        not_before: Timestamp,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.written(steps::retry(self, stanza, not_before, reason, now).await)?;
        self.meter.refused();
        Ok(())
    }

    async fn doubt(
        &self,
        stanza: &StanzaId,
        not_before: Timestamp,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.written(steps::doubt(self, stanza, not_before, reason, now).await)
    }

    async fn dead(&self, stanza: &StanzaId, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        self.written(steps::dead(self, stanza, reason, now).await)?;
        self.meter.ended(NotificationState::Dead, 1);
        Ok(())
    }

    async fn hold(
        &self,
        ids: &[NotificationId],
        until: Timestamp,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.written(ends::hold(self, ids, until, reason, now).await)
    }

    async fn skip(&self, ids: &[NotificationId], reason: &str, now: Timestamp) -> Result<(), StoreError> {
        self.written(ends::skip(self, ids, reason, now).await)?;
        self.meter.ended(NotificationState::Expired, ids.len() as u64);
        Ok(())
    }

    async fn held(&self, recipient: &BareJid) -> Result<Vec<Held>, StoreError> {
        digest::held(self, recipient).await
    }

    async fn outgoing(&self, ids: &[NotificationId]) -> Result<Vec<Outgoing>, StoreError> {
        let mut lease = self.reader().await?;
        let found = sqlx::query(BY_NUMBER).bind(json(ids)?).fetch_all(&mut lease.conn).await;
        let found = found.doing("reading notifications")?;
        let found = rows::outgoing(&mut lease.conn, &found).await?;
        lease.keep();
        Ok(found)
    }

    async fn returning(&self, recipient: &BareJid, limit: usize) -> Result<Returning, StoreError> {
        digest::returning(self, recipient, limit).await
    }

    async fn recipients_held(&self) -> Result<Vec<BareJid>, StoreError> {
        let mut lease = self.reader().await?;
        let sql = "SELECT DISTINCT jid FROM notification WHERE state = 'held'";
        let found = sqlx::query(sql).fetch_all(&mut lease.conn).await.doing("looking who has something held")?;
        lease.keep();
        jids(&found)
    }

    async fn forget_ended(&self, recipient: &BareJid) -> Result<(), StoreError> {
        self.written(ends::forget_ended(self, recipient).await)
    }

    async fn release_held(&self, ids: &[NotificationId], now: Timestamp) -> Result<(), StoreError> {
        self.written(ends::release_held(self, ids, now).await)
    }

    async fn digest(
        &self,
        recipient: &Recipient,
        covers: &[NotificationId],
        text: &str,
        now: Timestamp,
    ) -> Result<Option<NotificationId>, StoreError> {
        self.written(digest::digest(self, recipient, covers, text, now).await)
    }

    async fn expire(&self, now: Timestamp) -> Result<Vec<Ended>, StoreError> {
        let ended = self.written(ends::expire(self, now).await)?;
        self.meter.ended(NotificationState::Expired, ended.len() as u64);
        Ok(ended)
    }

    async fn end_removed(&self, known: &[Recipient], now: Timestamp) -> Result<Vec<Removed>, StoreError> {
        let removed = self.written(removed::end(self, known, now).await)?;
        self.meter.ended(NotificationState::Expired, removed.iter().map(|of| of.ended).sum());
        Ok(removed)
    }

    async fn clock_jumped(&self, by: SignedDuration) -> Result<(), StoreError> {
        self.written(clock::jumped(self, by).await)
    }

    async fn alert(&self, id: AlertId) -> Result<Option<AlertRecord>, StoreError> {
        let mut lease = self.reader().await?;
        let sql = concat!("SELECT ", alert_columns!(), " FROM alert a WHERE a.id = $1");
        let found = sqlx::query(sql).bind(id.0).fetch_optional(&mut lease.conn).await.doing("reading an alert")?;
        lease.keep();
        found.as_ref().map(rows::alert).transpose()
    }

    async fn watches(&self, after: Option<(AlertId, GroupName)>, limit: usize) -> Result<Vec<Watch>, StoreError> {
        watch::watches(self, after, limit).await
    }

    async fn newest_watch(&self) -> Result<Option<(AlertId, GroupName)>, StoreError> {
        watch::newest(self).await
    }

    async fn end_watches(&self, ends: Vec<(AlertId, GroupName, WatchEnd)>, now: Timestamp) -> Result<(), StoreError> {
        self.written(watch::end_watches(self, ends, now).await)
    }

    async fn note(&self, topic: &str, text: &str, now: Timestamp) -> Result<(), StoreError> {
        let _ = now;
        self.written(notices::note(self, topic, text).await)
    }

    async fn untold(&self, marks: &[String]) -> Result<Vec<String>, StoreError> {
        notices::untold(self, marks).await
    }

    async fn note_once(&self, topic: &str, text: &str, marks: &[String]) -> Result<(), StoreError> {
        self.written(notices::note_once(self, topic, text, marks).await)
    }

    async fn unmark(&self, mark: &str) -> Result<(), StoreError> {
        self.written(notices::unmark(self, mark).await)
    }

    async fn notices_due(&self, told_before: Timestamp) -> Result<Vec<NoticeDue>, StoreError> {
        notices::due(self, told_before).await
    }

    async fn notice(
        &self,
        topic: &str,
        text: &str,
        operators: &[(Recipient, Delivery)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.written(notices::notice(self, topic, text, operators, now).await)
    }
}

fn jids(found: &[SqliteRow]) -> Result<Vec<BareJid>, StoreError> {
    found.iter().map(|row| rows::bare(&row.text("jid")?)).collect()
}
