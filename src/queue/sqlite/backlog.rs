//! What is in progress, for who watches. Each look is through an index of what is in progress: what it costs does not depend on
//! how much history there is.

use std::collections::BTreeMap;

use super::Sqlite;
use super::conn::{Columns, Doing};
use crate::metrics::{Backlog, LastAlert};
use crate::model::{AlertId, NotificationState};
use crate::queue::{StoreError, StoreFault};

/// States by name; numbers rise with time, so that the first of a state is its oldest.
const STATES: &str = "SELECT j.value AS state, \
    (SELECT count(*) FROM notification n WHERE n.state = j.value AND n.state IN ('queued', 'held', 'sending', 'accepted')) AS n, \
    (SELECT n.created FROM notification n WHERE n.state = j.value AND n.state IN ('queued', 'held', 'sending', 'accepted') \
      ORDER BY n.id LIMIT 1) AS oldest FROM json_each('[\"queued\",\"held\",\"sending\",\"accepted\"]') j";

const MAILS: &str = "SELECT count(*) AS n FROM message WHERE state = 'ready'";

const LAST: &str = "SELECT id, created, severity, title, state FROM alert ORDER BY id DESC LIMIT 1";

#[cfg(test)]
pub(super) const PLANNED: [&str; 3] = [STATES, MAILS, LAST];

impl Sqlite {
    /// What is in progress; what the probe engine told of is for its caller to add.
    ///
    /// # Errors
    /// The store does not answer, or an earlier write failed.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        if self.broken.load(std::sync::atomic::Ordering::Acquire) {
            let what = "an earlier write failed: nothing more is written".to_owned();
            return Err(StoreError { what, fault: StoreFault::Broken });
        }
        let mut lease = self.reader().await?;
        let found = sqlx::query(STATES).fetch_all(&mut lease.conn).await.doing("counting notifications")?;
        let mails = sqlx::query(MAILS).fetch_one(&mut lease.conn).await.doing("counting mails")?;
        let last = sqlx::query(LAST).fetch_optional(&mut lease.conn).await.doing("reading the last alert")?;
        lease.keep();
        let mut states = BTreeMap::new();
        for row in &found {
            let state = row.word::<NotificationState>("state")?;
            states.insert(state.as_str().to_owned(), (row.count("n")?, row.maybe_time("oldest")?));
        }
        let last = last.map(|row| {
            Ok::<_, StoreError>(LastAlert {
                id: AlertId(row.int("id")?).to_string(),
                at: row.time("created")?,
                severity: row.text("severity")?,
                title: row.text("title")?.lines().next().unwrap_or_default().to_owned(),
                state: row.text("state")?,
            })
        });
        Ok(Backlog { states, mails: mails.count("n")?, last: last.transpose()?, probes: BTreeMap::new() })
    }
}
