//! D2 of what an internal source found: its states, and the alerts that follow from them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::together;
use super::{Arrival, Fault, Outcome, Told, Work, Written, alert, begin};
use crate::model::{Planner, Source, quote};
use crate::queue::sqlite::Sqlite;
use crate::queue::sqlite::conn::{Doing, json};
use crate::queue::{Express, Found, FoundReport, StoreError};

/// Most findings in one D2: of those that tell nothing there is no other limit.
const MOST: usize = 256;

pub(in crate::queue::sqlite) async fn commit(
    store: &Sqlite,
    source: &Source,
    found: &[Found],
    planner: &dyn Planner,
    express: &dyn Express,
    now: Timestamp,
) -> Result<FoundReport, StoreError> {
    let found = found.get(..MOST).unwrap_or(found);
    if found.is_empty() {
        return Ok(FoundReport::default());
    }
    let mut lease = store.writer().await?;
    let mut work = begin(&mut lease.conn, planner, express, now).await?;
    let telling = found.iter().enumerate().filter(|(_, found)| !found.alerts.is_empty());
    let telling: Vec<_> = telling.map(|(place, found)| Telling { place, found, source, now }).collect();
    let (mut next, mut told) = (0, Told::default());
    while let Some(rest) = telling.get(next..).filter(|rest| !rest.is_empty() && work.goes_on()) {
        next += some(&mut lease.conn, &mut work, rest, &mut told).await?;
    }
    let done = telling.get(next).map_or(found.len(), |left| left.place);
    keep(&mut lease.conn, found.get(..done).unwrap_or(found)).await?;
    super::end(lease, work, &told, &store.meter).await?;
    let Told { born, queued, unsubscribed, .. } = told;
    Ok(FoundReport { done, born, queued, unsubscribed })
}

/// A finding with alerts, and its place among all.
struct Telling<'a> {
    place: usize,
    found: &'a Found,
    source: &'a Source,
    now: Timestamp,
}

impl Telling<'_> {
    /// The source is our own: it names the group where its config does.
    fn arrival(&self) -> Arrival<'_> {
        let single = self.found.alerts.len() == 1;
        Arrival {
            message: None,
            source: self.source,
            may_choose_group: true,
            received: self.now,
            single,
            by_operator: false,
        }
    }
}

/// Commits at least the first of `rest`; says how many.
async fn some(
    conn: &mut SqliteConnection,
    work: &mut Work<'_>,
    rest: &[Telling<'_>],
    told: &mut Told,
) -> Result<usize, StoreError> {
    let alone = rest.iter().map(|telling| telling.found.alerts.first().map(|alert| (telling.arrival(), alert)));
    let mut members = together::front(work.planner, alone);
    if members.len() < 2 {
        let Some(first) = rest.first() else { return Ok(0) };
        told.take(one(conn, work, first).await?);
        return Ok(1);
    }
    together::look_up(conn, &mut members).await?;
    let mut done = 0;
    for run in members.chunk_by(|a, b| a.new == b.new) {
        let end = done + run.len();
        done += together::commit(conn, work, run, told).await?;
        for telling in rest.get(done..end).unwrap_or_default() {
            if !work.goes_on() {
                return Ok(done);
            }
            told.take(one(conn, work, telling).await?);
            done += 1;
        }
    }
    Ok(done)
}

/// Commits the alerts of a finding by itself. If one of them cannot be, none is: nobody hears half of it, and the operators hear
/// that something is missing.
async fn one(conn: &mut SqliteConnection, work: &mut Work<'_>, telling: &Telling<'_>) -> Result<Outcome, StoreError> {
    work.written = Written::Nothing;
    let (mark, mut outcome) = (work.mark(), Outcome::default());
    let Telling { found, source, .. } = telling;
    match alert::all(conn, work, telling.arrival(), &found.alerts, &mut outcome).await {
        Ok(()) => {}
        Err(Fault::Content(reason)) => {
            tracing::error!(%source, name = %found.name.escape_debug(), reason = %reason.escape_debug(), "alerts lost");
            work.undo(conn, mark).await?;
            outcome = Outcome::default();
            let text = format!("{source}: what was found of {} is told to nobody: {reason}", quote(&found.name));
            outcome.notes.push((source.to_string(), text));
        }
        Err(Fault::Store(err)) => return Err(err),
    }
    if work.written == Written::Begun {
        sqlx::query("RELEASE message").execute(conn).await.doing("ending a finding (D2)")?;
    }
    Ok(outcome)
}

/// Keeps the states; of several of one name the last.
async fn keep(conn: &mut SqliteConnection, found: &[Found]) -> Result<(), StoreError> {
    let last: BTreeMap<_, _> = found.iter().map(|found| (&found.name, &found.state)).collect();
    sqlx::query(
        "INSERT INTO probe_state (name, state) SELECT value ->> 0, value ->> 1 FROM json_each($1) \
           WHERE (value ->> 1) IS NOT NULL ON CONFLICT (name) DO UPDATE SET state = excluded.state; \
         DELETE FROM probe_state WHERE name IN (SELECT value ->> 0 FROM json_each($1) WHERE (value ->> 1) IS NULL)",
    )
    .bind(json(&last.into_iter().collect::<Vec<_>>())?)
    .execute(conn)
    .await
    .map(drop)
    .doing("keeping states (D2)")
}
