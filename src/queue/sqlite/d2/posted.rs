//! D2 of what was handed in over HTTP: requests, each whole or not at all, together with what is remembered of them.

use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;

use super::together;
use super::{Arrival, Became, Fault, Outcome, Told, Work, Written, alert, begin, mine};
use crate::model::{Alert, Planner, Source, Status};
use crate::queue::sqlite::Sqlite;
use crate::queue::sqlite::conn::{Columns, Doing, json, us};
use crate::queue::{Done, Express, Holding, Once, Post, Posted, PostedReport, StoreError};

/// A request is known by its key for so long.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

pub(in crate::queue::sqlite) async fn commit(
    store: &Sqlite,
    posts: &[Post],
    planner: &dyn Planner,
    express: &dyn Express,
    now: Timestamp,
) -> Result<PostedReport, StoreError> {
    if posts.is_empty() {
        return Ok(PostedReport::default());
    }
    let mut lease = store.writer().await?;
    let mut work = begin(&mut lease.conn, planner, express, now).await?;
    let (mut done, mut told) = (Vec::new(), Told::default());
    for post in posts {
        if !done.is_empty() && !work.goes_on() {
            break;
        }
        done.push(one(&mut lease.conn, &mut work, post, &mut told).await?);
    }
    if posts.iter().any(|post| post.once.is_some()) {
        forget(&mut lease.conn, now).await?;
    }
    super::end(lease, work, &told, &store.meter).await?;
    let Told { born, unsubscribed, .. } = told;
    Ok(PostedReport { done, born, unsubscribed })
}

/// Commits one request.
async fn one(
    conn: &mut SqliteConnection,
    work: &mut Work<'_>,
    post: &Post,
    told: &mut Told,
) -> Result<Done, StoreError> {
    if let Some(once) = &post.once
        && let Some(done) = before(conn, post, once, work.now).await?
    {
        return Ok(done);
    }
    sqlx::query("SAVEPOINT post").execute(&mut *conn).await.doing("beginning a request (D2)")?;
    let (mark, mut here) = (work.mark(), Told::default());
    match whole(conn, work, post, &mut here).await {
        Ok(()) => {
            let posted: Vec<Posted> = here.alerts.iter().map(shown).collect();
            if let Some(once) = &post.once {
                remember(conn, post, once, &posted, work.now).await?;
            }
            sqlx::query("RELEASE post").execute(&mut *conn).await.doing("ending a request (D2)")?;
            told.add(here);
            Ok(Done::Now(posted))
        }
        Err(Fault::Content(why)) => {
            let undo = "ROLLBACK TO post; RELEASE post";
            sqlx::query(undo).execute(&mut *conn).await.doing("undoing a request (D2)")?;
            work.back_to(mark);
            Ok(Done::Refused(here.alerts.len(), why))
        }
        Err(Fault::Store(err)) => Err(err),
    }
}

fn shown(ended: &Became) -> Posted {
    let Became { id, ident, severity: _, state, duplicate_of, reason } = ended;
    Posted {
        alert: id.to_string(),
        id: ident.clone(),
        state: *state,
        duplicate_of: *duplicate_of,
        reason: reason.clone(),
    }
}

/// All alerts of a request; each counts as come alone.
async fn whole(conn: &mut SqliteConnection, work: &mut Work<'_>, post: &Post, told: &mut Told) -> Result<(), Fault> {
    let mut alerts = post.alerts.clone();
    for held in &post.posted {
        alerts.extend(told_of(conn, work.now, post, held).await?);
    }
    let arrival = Arrival {
        message: None,
        source: &post.source,
        may_choose_group: true,
        received: work.now,
        single: true,
        by_operator: post.by_operator,
    };
    same_as_before(conn, work, &post.source, &mut alerts).await?;
    let mut next = 0;
    while let Some(rest) = alerts.get(next..).filter(|rest| !rest.is_empty()) {
        let mut members = together::front(work.planner, rest.iter().map(|alert| Some((arrival, alert))));
        let done = if members.len() < 2 {
            0
        } else {
            together::look_up(conn, &mut members).await?;
            let new = members.iter().take_while(|member| member.new).count();
            together::commit(conn, work, members.get(..new).unwrap_or_default(), told).await?
        };
        next += done;
        // Where none of them could go together with others: by itself, so that the fault is that alert's.
        if done == 0 {
            let Some(alert) = rest.first() else { break };
            told.take(alone(conn, work, arrival, alert).await?);
            next += 1;
        }
    }
    Ok(())
}

async fn alone(
    conn: &mut SqliteConnection,
    work: &mut Work<'_>,
    arrival: Arrival<'_>,
    alert: &Alert,
) -> Result<Outcome, Fault> {
    work.written = Written::Nothing;
    let mut outcome = Outcome::default();
    alert::all(conn, work, arrival, std::slice::from_ref(alert), &mut outcome).await?;
    if work.written == Written::Begun {
        sqlx::query("RELEASE message").execute(conn).await.doing("ending an alert (D2)")?;
    }
    Ok(outcome)
}

/// An alert that was sent with an id and without a time: where it came before, it was sent then.
async fn same_as_before(
    conn: &mut SqliteConnection,
    work: &Work<'_>,
    source: &Source,
    alerts: &mut [Alert],
) -> Result<(), Fault> {
    for alert in alerts.iter_mut().filter(|alert| alert.sent.is_none()) {
        let scope = alert::guarded(|| work.planner.scope(alert, source))?;
        let sql = "SELECT sent FROM alert WHERE scope = $1 AND ident = $2 AND status = $3 AND sent IS NOT NULL ORDER BY id LIMIT 1 + 0";
        let query = sqlx::query(sql).bind(&scope.0).bind(&alert.id).bind(alert.status.as_str());
        let found = mine(query.fetch_optional(&mut *conn).await, "looking for the same alert (D2)")?;
        let sent = found.map(|row| row.time("sent")).transpose()?;
        alert.sent = Some(sent.unwrap_or(work.now));
    }
    Ok(())
}

/// What is to be told of an alert that holds as long as it is posted: that it began, that it is over, or nothing.
async fn told_of(
    conn: &mut SqliteConnection,
    now: Timestamp,
    post: &Post,
    held: &Holding,
) -> Result<Option<Alert>, StoreError> {
    let sql = "SELECT ends FROM posted WHERE token = $1 AND fingerprint = $2";
    let query = sqlx::query(sql).bind(post.token()).bind(&held.fingerprint);
    let found = query.fetch_optional(&mut *conn).await.doing("looking for what was posted (D2)")?;
    let ends = found.map(|row| row.time("ends")).transpose()?;
    match (ends, held.ends > now) {
        (Some(_), true) => {
            let sql = "UPDATE posted SET ends = $3 WHERE token = $1 AND fingerprint = $2";
            let query = sqlx::query(sql).bind(post.token()).bind(&held.fingerprint).bind(us(held.ends));
            query.execute(conn).await.doing("noting that it still holds (D2)")?;
            Ok(None)
        }
        (None, true) => {
            let sql = "INSERT INTO posted (token, fingerprint, ends, alert) VALUES ($1, $2, $3, $4)";
            let query = sqlx::query(sql).bind(post.token()).bind(&held.fingerprint).bind(us(held.ends));
            query.bind(json(&held.alert)?).execute(conn).await.doing("noting that it holds (D2)")?;
            Ok(Some(held.alert.clone()))
        }
        // It was posted while it was looked for.
        (Some(ends), false) if held.unless_posted && ends > now => Ok(None),
        (Some(_), false) => {
            let sql = "DELETE FROM posted WHERE token = $1 AND fingerprint = $2";
            let query = sqlx::query(sql).bind(post.token()).bind(&held.fingerprint);
            query.execute(conn).await.doing("noting that it is over (D2)")?;
            let id = format!("{}-over", held.alert.id);
            Ok(Some(Alert { status: Status::Resolved, id, sent: Some(now), ..held.alert.clone() }))
        }
        // Over before anybody heard of it.
        (None, false) => Ok(None),
    }
}

/// Was a request done under this key?
async fn before(
    conn: &mut SqliteConnection,
    post: &Post,
    once: &Once,
    now: Timestamp,
) -> Result<Option<Done>, StoreError> {
    let sql = "SELECT sha256, answer FROM idempotency WHERE token = $1 AND key = $2 AND created > $3";
    let query = sqlx::query(sql).bind(post.token()).bind(&once.key).bind(us(now - REMEMBERED));
    let found = query.fetch_optional(conn).await.doing("looking for the same request (D2)")?;
    let Some(row) = found else { return Ok(None) };
    Ok(Some(if row.text("sha256")? == once.sha256 { Done::Before(row.json("answer")?) } else { Done::Other }))
}

async fn remember(
    conn: &mut SqliteConnection,
    post: &Post,
    once: &Once,
    posted: &[Posted],
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("INSERT OR REPLACE INTO idempotency (token, key, sha256, answer, created) VALUES ($1, $2, $3, $4, $5)")
        .bind(post.token())
        .bind(&once.key)
        .bind(&once.sha256)
        .bind(json(posted)?)
        .bind(us(now))
        .execute(conn)
        .await
        .map(drop)
        .doing("remembering a request (D2)")
}

/// A few of those that are old enough; as many as come in go out.
async fn forget(conn: &mut SqliteConnection, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM idempotency WHERE (token, key) IN \
           (SELECT token, key FROM idempotency WHERE created <= $1 ORDER BY created LIMIT 200 + 0)",
    )
    .bind(us(now - REMEMBERED))
    .execute(conn)
    .await
    .map(drop)
    .doing("forgetting old requests (D2)")
}
