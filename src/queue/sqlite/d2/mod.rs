//! D2: what a batch of messages, or what an internal source found, comes to; in one commit, each of it whole or not at all.

mod alert;
mod find;
pub(super) mod found;
mod known;
pub(super) mod message;
mod notify;
pub(super) mod posted;
mod rows;
mod together;
mod ways;

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::conn::{Columns, Doing, Lease, broken, code, failed};
use super::notices;
use crate::metrics::StoreMeter;
use crate::model::{Alert, AlertId, AlertState, Planner, Scope, Severity, Source};
use crate::queue::{D2Message, Express, Outgoing, Place, StoreError, Verdict};

/// So many notifications are enough for one D2: other commits wait meanwhile, and with them what is to be sent.
const ENOUGH: usize = 256;

/// What stopped something that is committed whole.
enum Fault {
    /// What is in it: its neighbours go on.
    Content(String),
    /// The store: nothing of the batch happened.
    Store(StoreError),
}

impl From<StoreError> for Fault {
    fn from(err: StoreError) -> Self {
        Self::Store(err)
    }
}

/// Tells a constraint, a type or a size that the content broke from a store that fails.
fn mine<T>(result: Result<T, sqlx::Error>, what: &str) -> Result<T, Fault> {
    const OF_THE_CONTENT: [i32; 3] = [18, 19, 20];
    result.map_err(|err| match code(&err) {
        Some(code) if OF_THE_CONTENT.contains(&(code & 0xff)) => Fault::Content(format!("{what}: {err}")),
        _ => Fault::Store(failed(what, &err)),
    })
}

/// Places that the messenger keeps for us. Given back when dropped: the commit did not happen.
struct Reserved<'a> {
    express: &'a dyn Express,
    places: Vec<Place>,
}

impl Reserved<'_> {
    /// All but the first `keep`.
    fn give_back(&mut self, keep: usize) {
        let back = self.places.split_off(keep.min(self.places.len()));
        if !back.is_empty() {
            self.express.release(&back);
        }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.give_back(0);
    }
}

/// What everything of a D2 is worked on with.
struct Work<'a> {
    planner: &'a dyn Planner,
    reserved: Reserved<'a>,
    now: Timestamp,
    /// The next numbers: one writer, so that they stay the next ones until the commit.
    alert: i64,
    condition: i64,
    notification: i64,
    /// The first of this D2.
    first: i64,
    written: Written,
}

impl Work<'_> {
    /// How many more notifications this D2 should write.
    fn left(&self) -> usize {
        ENOUGH.saturating_sub(usize::try_from(self.notification - self.first).unwrap_or(ENOUGH))
    }

    fn goes_on(&self) -> bool {
        self.left() > 0
    }

    /// Where it stands, to come back to.
    fn mark(&self) -> Mark {
        Mark {
            alert: self.alert,
            condition: self.condition,
            notification: self.notification,
            places: self.reserved.places.len(),
        }
    }

    /// Nothing was written since the mark.
    fn back_to(&mut self, mark: Mark) {
        let Mark { alert, condition, notification, places } = mark;
        (self.alert, self.condition, self.notification) = (alert, condition, notification);
        self.reserved.give_back(places);
    }

    /// Undoes what was written of the arrival at hand since the mark.
    async fn undo(&mut self, conn: &mut SqliteConnection, mark: Mark) -> Result<(), StoreError> {
        if self.written != Written::Nothing {
            sqlx::query("ROLLBACK TO message").execute(conn).await.doing("undoing (D2)")?;
            self.written = Written::Begun;
        }
        self.back_to(mark);
        Ok(())
    }
}

/// The numbers and places before something that may have to be undone.
struct Mark {
    alert: i64,
    condition: i64,
    notification: i64,
    places: usize,
}

/// What brought alerts; it is committed whole or not at all.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    /// The mail; `None`: an internal source.
    message: Option<&'a D2Message>,
    source: &'a Source,
    may_choose_group: bool,
    received: Timestamp,
    /// One alert is all that there is in it.
    single: bool,
    /// Not what the sender reports: its time says nothing of the order of what that reports next.
    by_operator: bool,
}

impl<'a> Arrival<'a> {
    fn of(message: &'a D2Message) -> Self {
        let D2Message { source, may_choose_group, received, .. } = message;
        let single = matches!(&message.verdict, Verdict::Alerts { alerts, bad } if alerts.len() == 1 && bad.is_empty());
        Self {
            message: Some(message),
            source,
            may_choose_group: *may_choose_group,
            received: *received,
            single,
            by_operator: false,
        }
    }
}

/// One alert.
struct Case<'a> {
    arrival: Arrival<'a>,
    alert: &'a Alert,
    id: AlertId,
    scope: Scope,
}

/// How far the arrival at hand is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    /// Nothing.
    Nothing,
    /// Something, inside the savepoint `message`.
    Begun,
    /// All of it, its end included.
    Ended,
}

/// What became of one alert.
struct Became {
    id: AlertId,
    ident: String,
    severity: Severity,
    state: AlertState,
    duplicate_of: Option<AlertId>,
    reason: String,
}

/// What came of one arrival.
#[derive(Default)]
struct Outcome {
    /// Its alerts, in order.
    alerts: Vec<Became>,
    born: Vec<Outgoing>,
    queued: usize,
    unsubscribed: Vec<(AlertId, String)>,
    /// Topic and text, for the operators.
    notes: Vec<(String, String)>,
}

/// Begins the transaction.
async fn begin<'a>(
    conn: &mut SqliteConnection,
    planner: &'a dyn Planner,
    express: &'a dyn Express,
    now: Timestamp,
) -> Result<Work<'a>, StoreError> {
    let found = sqlx::query(
        "BEGIN IMMEDIATE; \
         SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'alert'), 0) + 1 AS alert, \
           coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'condition'), 0) + 1 AS condition, \
           coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'notification'), 0) + 1 AS notification",
    )
    .fetch_all(conn)
    .await
    .doing("beginning (D2)")?;
    let row = found.first().ok_or_else(|| broken("beginning (D2): no numbers"))?;
    let notification = row.int("notification")?;
    Ok(Work {
        planner,
        reserved: Reserved { express, places: Vec::new() },
        now,
        alert: row.int("alert")?,
        condition: row.int("condition")?,
        notification,
        first: notification,
        written: Written::Nothing,
    })
}

/// What there is to tell of all of it.
#[derive(Default)]
struct Told {
    /// In order.
    alerts: Vec<Became>,
    born: Vec<Outgoing>,
    queued: usize,
    unsubscribed: Vec<(AlertId, String)>,
    /// For the operators, by topic: how many, and the last text.
    notes: BTreeMap<String, (u64, String)>,
}

impl Told {
    fn add(&mut self, other: Self) {
        self.alerts.extend(other.alerts);
        self.born.extend(other.born);
        self.queued += other.queued;
        self.unsubscribed.extend(other.unsubscribed);
        for (topic, (n, text)) in other.notes {
            let note = self.notes.entry(topic).or_default();
            *note = (note.0 + n, text);
        }
    }

    fn take(&mut self, outcome: Outcome) {
        self.alerts.extend(outcome.alerts);
        self.born.extend(outcome.born);
        self.queued += outcome.queued;
        self.unsubscribed.extend(outcome.unsubscribed);
        for (topic, text) in outcome.notes {
            let note = self.notes.entry(topic).or_default();
            *note = (note.0 + 1, text);
        }
    }
}

/// Ends the transaction, with what is noted for the operators; then it is counted.
async fn end(mut lease: Lease<'_>, mut work: Work<'_>, told: &Told, meter: &StoreMeter) -> Result<(), StoreError> {
    for (topic, (n, text)) in &told.notes {
        notices::count(&mut lease.conn, topic, text, *n).await?;
    }
    fail::fail_point!("inside_d2");
    if claims_too_much() {
        let sql = "UPDATE notification SET state = 'accepted', accepted = created WHERE state = 'sending'";
        sqlx::query(sql).execute(&mut lease.conn).await.doing("claiming what is not true")?;
    }
    lease.commit().await?;
    fail::fail_point!("after_d2");
    // They belong to what was born now.
    work.reserved.places.clear();
    told.alerts.iter().for_each(|became| meter.alert(became.severity, became.state));
    meter.made(usize::try_from(work.notification - work.first).unwrap_or(0), told.born.len());
    Ok(())
}

/// For the test of the fault matrix's oracle: a gateway that claims to have sent what it has not written.
fn claims_too_much() -> bool {
    fail::fail_point!("accepted_before_write", |_| true);
    false
}
