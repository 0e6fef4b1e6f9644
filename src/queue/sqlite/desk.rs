//! What people ask and do.

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::conn::{Columns, Doing, json, us};
use super::rows::{self, alert_columns};
use super::steps::mirror;
use super::timeline::{event, timeline};
use super::{Sqlite, story};
use crate::model::{AlertId, MessageId, NotificationId, NotificationState, StanzaId};
use crate::queue::{Desk, ListFilter, MessageView, NotificationView, QuarantineView, StoreError};

/// Most notifications in one answer.
const MOST: usize = 1000;

/// Columns of a [`NotificationView`].
macro_rules! view {
    () => {
        "SELECT n.id, n.kind, n.alert, coalesce(a.title, n.text, '') AS title, n.severity, n.recipient, n.jid, n.state, \
         n.groups, n.stanza_id, n.attempts, n.created, n.created AS at, n.first_intent, n.accepted, n.delivered, n.held_until, \
         n.not_before, n.expires, n.reason, n.presence, n.carrier FROM notification n LEFT JOIN alert a ON a.id = n.alert WHERE "
    };
}

macro_rules! quarantined {
    () => {
        "SELECT m.id, m.mailbox, m.uidvalidity, m.uid, m.uidl, m.delivery, m.stored, m.size, (SELECT bytes FROM raw WHERE message = m.id) \
         AS bytes, (SELECT json_group_array(reason) FROM (SELECT reason FROM quarantine_reason WHERE message = m.id \
         ORDER BY n)) AS reasons FROM message m WHERE "
    };
}
pub(super) use view;

/// By default what has not ended, through the index of exactly that.
const ACTIVE: &str = concat!(
    view!(),
    "n.id IN (SELECT s.id FROM notification s WHERE s.state IN ('queued', 'held', 'sending', 'accepted')) AND n.id > $2 \
     AND ($3 IS NULL OR n.recipient = $3) AND ($4 IS NULL OR n.alert = $4) ORDER BY n.id LIMIT $5 + 0"
);
const BY_ALERT: &str = concat!(
    view!(),
    "n.alert = $4 AND n.state IN (SELECT value FROM json_each($1)) AND n.id > $2 AND ($3 IS NULL OR n.recipient = $3) \
     ORDER BY n.id LIMIT $5 + 0"
);
const BY_STATE: &str = concat!(
    view!(),
    "n.state IN (SELECT value FROM json_each($1)) AND n.id > $2 AND ($3 IS NULL OR n.recipient = $3) \
     ORDER BY n.id LIMIT $5 + 0"
);

pub(super) fn shown(row: &SqliteRow) -> Result<NotificationView, StoreError> {
    let title = row.text("title")?;
    Ok(NotificationView {
        id: NotificationId(row.int("id")?),
        kind: row.word("kind")?,
        alert: row.maybe_int("alert")?.map(|id| AlertId(id).to_string()),
        title: title.lines().next().unwrap_or_default().to_owned(),
        severity: row.word("severity")?,
        recipient: row.word("recipient")?,
        jid: row.text("jid")?,
        state: row.word("state")?,
        groups: row.json("groups")?,
        stanza_id: StanzaId(row.text("stanza_id")?),
        attempts: u32::try_from(row.int("attempts")?).unwrap_or(u32::MAX),
        created: row.time("created")?,
        intended: row.maybe_time("first_intent")?,
        accepted: row.maybe_time("accepted")?,
        delivered: row.maybe_time("delivered")?,
        held_until: row.maybe_time("held_until")?,
        not_before: row.maybe_time("not_before")?,
        expires: row.maybe_time("expires")?,
        reason: row.text("reason")?,
        presence: row.maybe_text("presence")?,
        digest: row.maybe_int("carrier")?.map(NotificationId),
    })
}

async fn list(conn: &mut SqliteConnection, filter: &ListFilter) -> Result<Vec<NotificationView>, StoreError> {
    let states: Vec<_> = filter.states.iter().map(|s| s.as_str()).collect();
    let limit = if filter.limit == 0 { 100 } else { filter.limit.min(MOST) };
    let sql = match (states.is_empty(), filter.alert) {
        (true, _) => ACTIVE,
        (false, Some(_)) => BY_ALERT,
        (false, None) => BY_STATE,
    };
    let found = sqlx::query(sql)
        .bind(json(&states)?)
        .bind(filter.after.map_or(0, |id| id.0))
        .bind(filter.recipient.as_ref().map(|name| name.as_str()))
        .bind(filter.alert.map(|id| id.0))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(conn)
        .await
        .doing("listing notifications")?;
    found.iter().map(shown).collect()
}

#[async_trait]
impl Desk for Sqlite {
    async fn list(&self, filter: &ListFilter) -> Result<Vec<NotificationView>, StoreError> {
        let mut lease = self.desk().await?;
        let found = list(&mut lease.conn, filter).await?;
        lease.keep();
        Ok(found)
    }

    async fn show_alert(&self, id: AlertId) -> Result<Option<MessageView>, StoreError> {
        let mut lease = self.desk().await?;
        let sql = concat!("SELECT ", alert_columns!(), ", a.state, a.reason, a.message FROM alert a WHERE a.id = $1");
        let found = sqlx::query(sql).bind(id.0).fetch_optional(&mut lease.conn).await.doing("reading an alert")?;
        let Some(row) = found else {
            lease.keep();
            return Ok(None);
        };
        let all = concat!(view!(), "n.alert = $1 ORDER BY n.id");
        let found = sqlx::query(all).bind(id.0).fetch_all(&mut lease.conn).await.doing("reading an alert")?;
        let notifications = found.iter().map(shown).collect::<Result<Vec<_>, _>>()?;
        let timeline = timeline(&mut lease.conn, id, &notifications).await?;
        let (groups, left_out) =
            (story::groups(&mut lease.conn, id).await?, story::left_out(&mut lease.conn, id).await?);
        let conditions = story::conditions(&mut lease.conn, id).await?;
        lease.keep();
        Ok(Some(MessageView {
            alert: rows::alert(&row)?,
            state: row.word("state")?,
            reason: row.text("reason")?,
            message: row.maybe_int("message")?.map(MessageId),
            groups,
            left_out,
            conditions,
            notifications,
            timeline,
        }))
    }

    async fn show(&self, id: NotificationId) -> Result<Option<NotificationView>, StoreError> {
        let mut lease = self.desk().await?;
        let sql = concat!(view!(), "n.id = $1");
        let found =
            sqlx::query(sql).bind(id.0).fetch_optional(&mut lease.conn).await.doing("reading a notification")?;
        lease.keep();
        found.as_ref().map(shown).transpose()
    }

    async fn retry_now(&self, id: NotificationId, now: Timestamp) -> Result<(), StoreError> {
        const FROM: [NotificationState; 5] = {
            use NotificationState::{Dead, Expired, Held, Queued, Unconfirmed};
            [Queued, Held, Expired, Dead, Unconfirmed]
        };
        // By itself, should a digest have carried it.
        let sql = concat!(
            "UPDATE notification SET state = 'queued', forced = 1, in_doubt = 0, carrier = NULL, unsaid = 0, \
               not_before = NULL, waits = NULL, held_until = NULL, expires = NULL, ended = NULL, reason = 'an operator asked' \
               WHERE id = $1 AND $2 IS NOT NULL; ",
            mirror!("d.id = $1")
        );
        self.written(self.act(id, &FROM, sql, "sent", "an operator asked", now).await)
    }

    async fn expire_now(&self, id: NotificationId, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        const FROM: [NotificationState; 2] = [NotificationState::Queued, NotificationState::Held];
        let sql = concat!(
            "UPDATE notification SET state = 'expired', carrier = NULL, ended = $2, reason = $3 WHERE id = $1; ",
            mirror!("d.id = $1")
        );
        self.written(self.act(id, &FROM, sql, "ended", reason, now).await)?;
        self.meter.ended(NotificationState::Expired, 1);
        Ok(())
    }

    async fn quarantine(&self, after: Option<MessageId>, limit: usize) -> Result<Vec<QuarantineView>, StoreError> {
        let mut lease = self.desk().await?;
        let limit = if limit == 0 { 100 } else { limit.min(MOST) };
        let found = sqlx::query(concat!(
            quarantined!(),
            "m.id IN (SELECT DISTINCT q.message FROM quarantine_reason q WHERE q.message > $1 ORDER BY q.message LIMIT $2 + 0) \
             ORDER BY m.id"
        ))
        .bind(after.map_or(0, |id| id.0))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut lease.conn)
        .await
        .doing("listing the quarantine")?;
        lease.keep();
        found.iter().map(quarantined).collect()
    }

    async fn quarantined(&self, id: MessageId) -> Result<Option<(QuarantineView, Option<Vec<u8>>)>, StoreError> {
        let mut lease = self.desk().await?;
        let sql = concat!(quarantined!(), "m.id = $1 AND m.id IN (SELECT q.message FROM quarantine_reason q)");
        let found =
            sqlx::query(sql).bind(id.0).fetch_optional(&mut lease.conn).await.doing("reading the quarantine")?;
        lease.keep();
        let Some(row) = found else { return Ok(None) };
        let raw = row.try_get::<Option<Vec<u8>>, _>("bytes").doing("reading a raw mail")?;
        Ok(Some((quarantined(&row)?, raw)))
    }

    async fn replay(&self, id: MessageId) -> Result<(), StoreError> {
        self.written(self.ready_again(id).await)
    }
}

fn quarantined(row: &SqliteRow) -> Result<QuarantineView, StoreError> {
    Ok(QuarantineView {
        id: MessageId(row.int("id")?),
        mailbox: row.word("mailbox")?,
        cursor: rows::cursor(row)?.to_string(),
        stored: row.time("stored")?,
        size: row.count("size")?,
        reasons: row.json("reasons")?,
    })
}

impl Sqlite {
    async fn ready_again(&self, id: MessageId) -> Result<(), StoreError> {
        let mut lease = self.begin().await?;
        let found = sqlx::query(
            "SELECT m.oversize, EXISTS (SELECT 1 FROM raw r WHERE r.message = m.id) AS there FROM message m \
             WHERE m.id = $1 AND m.id IN (SELECT q.message FROM quarantine_reason q)",
        )
        .bind(id.0)
        .fetch_optional(&mut lease.conn)
        .await
        .doing("reading the quarantine")?;
        let fault = match found {
            None => Some(format!("message {id} is not in quarantine")),
            Some(row) if row.maybe_int("oversize")?.is_some() => {
                Some(format!("message {id} was over max_size: only its headers were fetched"))
            }
            Some(row) if row.int("there")? == 0 => Some(format!("the mail of message {id} was purged (store.raw_for)")),
            Some(_) => None,
        };
        if let Some(fault) = fault {
            lease.commit().await?;
            return Err(StoreError::refused(fault));
        }
        sqlx::query(
            "UPDATE message SET state = 'ready', reason = '', parsed = NULL, replayed = 1 WHERE id = $1; \
             DELETE FROM quarantine_reason WHERE message = $1",
        )
        .bind(id.0)
        .execute(&mut lease.conn)
        .await
        .doing("taking a message out of quarantine")?;
        lease.commit().await
    }

    /// Changes one notification, where it is in one of the states.
    async fn act(
        &self,
        id: NotificationId,
        from: &[NotificationState],
        sql: &'static str,
        what: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut lease = self.begin().await?;
        let found = sqlx::query("SELECT state FROM notification WHERE id = $1").bind(id.0);
        let found = found.fetch_optional(&mut lease.conn).await.doing("reading a notification")?;
        let allowed = match found.map(|row| row.word::<NotificationState>("state")).transpose()? {
            None => Err(StoreError::refused(format!("there is no notification {id}"))),
            Some(state) if !from.contains(&state) => {
                let from: Vec<_> = from.iter().map(|s| s.as_str()).collect();
                Err(StoreError::refused(format!(
                    "notification {id} is {}; possible from {}",
                    state.as_str(),
                    from.join(", ")
                )))
            }
            Some(_) => Ok(()),
        };
        if allowed.is_err() {
            lease.commit().await?;
            return allowed;
        }
        let query = sqlx::query(sql).bind(id.0).bind(us(now)).bind(reason);
        query.execute(&mut lease.conn).await.doing("changing a notification")?;
        event(&mut lease.conn, &json(&[id])?, now, what, reason).await?;
        lease.commit().await
    }
}
