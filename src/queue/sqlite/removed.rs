//! Recipients whom config does not have any more.

use jiff::Timestamp;

use super::Sqlite;
use super::conn::{Columns, Doing, json, us};
use super::notices;
use super::rows::bare;
use crate::model::Recipient;
use crate::queue::{Removed, StoreError};

/// Most recipients that the operators are told by name.
const LISTED: usize = 10;

/// What ends, by recipient; then it ends. `$1`: name and address of everybody whom the config has. The first list of states is
/// that of the index; what is in doubt is `sending`.
pub(super) const END: &str = "SELECT jid, recipient, count(*) AS ended, sum(severity = 'critical') AS critical FROM notification \
       WHERE state IN ('queued', 'held', 'sending', 'accepted') AND state IN ('queued', 'held') AND kind <> 'digest' \
       AND jid NOT IN (SELECT value ->> 1 FROM json_each($1)) GROUP BY jid, recipient ORDER BY recipient, jid; \
     UPDATE notification SET unsaid = 0 WHERE unsaid = 1 AND jid NOT IN (SELECT value ->> 1 FROM json_each($1)); \
     UPDATE notification SET state = 'expired', ended = $2, carrier = NULL, waits = NULL, held_until = NULL, not_before = NULL, \
       reason = 'recipient ' || recipient || CASE WHEN recipient IN (SELECT value ->> 0 FROM json_each($1)) \
         THEN ' has another address in the config now' ELSE ' was removed from the config' END \
       WHERE state IN ('queued', 'held', 'sending', 'accepted') AND state IN ('queued', 'held') \
       AND jid NOT IN (SELECT value ->> 1 FROM json_each($1))";

/// A recipient is an address: whoever got another name keeps what waits, whoever got another address does not. A digest that
/// waits ends with what it covers.
pub(super) async fn end(store: &Sqlite, known: &[Recipient], now: Timestamp) -> Result<Vec<Removed>, StoreError> {
    let known: Vec<(&str, &str)> = known.iter().map(|who| (who.name.as_str(), who.jid.as_str())).collect();
    let mut lease = store.begin().await?;
    let found = sqlx::query(END)
        .bind(json(&known)?)
        .bind(us(now))
        .fetch_all(&mut lease.conn)
        .await
        .doing("ending what waits for removed recipients")?;
    let removed = found
        .iter()
        .map(|row| {
            Ok(Removed {
                recipient: row.word("recipient")?,
                jid: bare(&row.text("jid")?)?,
                ended: row.count("ended")?,
                critical: row.count("critical")?,
            })
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    if let Some((text, n)) = told(&removed) {
        notices::count(&mut lease.conn, "removed", &text, n).await?;
    }
    fail::fail_point!("inside_removed");
    lease.commit().await?;
    Ok(removed)
}

/// What the operators hear: nothing, unless something critical ended.
fn told(removed: &[Removed]) -> Option<(String, u64)> {
    let critical: Vec<&Removed> = removed.iter().filter(|who| who.critical > 0).collect();
    let (ended, worst) =
        (critical.iter().map(|w| w.ended).sum::<u64>(), critical.iter().map(|w| w.critical).sum::<u64>());
    if critical.is_empty() {
        return None;
    }
    let mut names: Vec<String> = critical
        .iter()
        .take(LISTED)
        .map(|who| format!("{} ({}: {} ended, {} critical)", who.recipient, who.jid, who.ended, who.critical))
        .collect();
    if critical.len() > LISTED {
        names.push(format!("{} more", critical.len() - LISTED));
    }
    let text = format!(
        "{ended} notifications, {worst} of them critical, ended unsent, since their recipients are not in the config any \
         more: {}; see `mailbell queue list --state expired`",
        names.join(", ")
    );
    Some((text, 1))
}
