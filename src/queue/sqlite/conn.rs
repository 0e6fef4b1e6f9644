//! Connections, times and errors.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use tokio::sync::{MutexGuard, Notify};

use crate::queue::{StoreError, StoreFault};

/// A connection taken out of its place. It goes back by [`Lease::keep`]; dropped instead (an error, a cancelled caller) it
/// is closed, which rolls back whatever it had begun, and the next one opens a new one.
pub(super) struct Lease<'a> {
    slot: MutexGuard<'a, Option<SqliteConnection>>,
    pub(super) conn: SqliteConnection,
    /// Told when it goes back: something may have been written.
    written: Option<&'a Notify>,
}

impl<'a> Lease<'a> {
    pub(super) fn new(slot: MutexGuard<'a, Option<SqliteConnection>>, conn: SqliteConnection) -> Self {
        Self { slot, conn, written: None }
    }

    /// Of the connection that writes.
    pub(super) fn writing(self, written: &'a Notify) -> Self {
        Self { written: Some(written), ..self }
    }

    /// Nothing is open on it: the next one may use it.
    pub(super) fn keep(self) {
        let Self { mut slot, conn, written } = self;
        *slot = Some(conn);
        drop(slot);
        if let Some(written) = written {
            written.notify_one();
        }
    }

    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut self.conn).await.map(drop).doing("beginning")
    }

    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        sqlx::query("COMMIT").execute(&mut self.conn).await.doing("committing")?;
        self.keep();
        Ok(())
    }
}

/// Names what was being done.
pub(super) trait Doing<T> {
    fn doing(self, what: &str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, what: &str) -> Result<T, StoreError> {
        self.map_err(|err| failed(what, &err))
    }
}

impl<T> Doing<T> for Result<T, serde_json::Error> {
    fn doing(self, what: &str) -> Result<T, StoreError> {
        self.map_err(|err| broken(format!("{what}: {err}")))
    }
}

/// What follows from the database's error.
pub(super) fn failed(what: &str, err: &sqlx::Error) -> StoreError {
    let fault = if code(err).is_some_and(is_full) { StoreFault::Full } else { StoreFault::Broken };
    let said = err.as_database_error().map_or_else(|| err.to_string(), ToString::to_string);
    StoreError { what: format!("{what}: {said}"), fault }
}

/// SQLite's extended result code.
pub(super) fn code(err: &sqlx::Error) -> Option<i32> {
    err.as_database_error()?.code()?.parse().ok()
}

/// SQLITE_FULL; or SQLITE_IOERR_SHMSIZE, which is what a full disk does to the WAL index.
fn is_full(code: i32) -> bool {
    const FULL: i32 = 13;
    const IOERR_SHMSIZE: i32 = 10 | (19 << 8);
    code & 0xff == FULL || code == IOERR_SHMSIZE
}

pub(super) fn broken(what: impl Into<String>) -> StoreError {
    StoreError { what: what.into(), fault: StoreFault::Broken }
}

/// A time as stored: microseconds.
pub(super) fn us(time: Timestamp) -> i64 {
    time.as_microsecond()
}

fn time(us: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(us).map_err(|err| broken(format!("reading a time: {err}")))
}

/// Columns of a row as the domain's types.
pub(super) trait Columns {
    fn int(&self, name: &str) -> Result<i64, StoreError>;
    fn maybe_int(&self, name: &str) -> Result<Option<i64>, StoreError>;
    fn text(&self, name: &str) -> Result<String, StoreError>;
    fn maybe_text(&self, name: &str) -> Result<Option<String>, StoreError>;

    fn flag(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.int(name)? != 0)
    }

    fn count(&self, name: &str) -> Result<u64, StoreError> {
        Ok(u64::try_from(self.int(name)?).unwrap_or(0))
    }

    fn time(&self, name: &str) -> Result<Timestamp, StoreError> {
        time(self.int(name)?)
    }

    fn maybe_time(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        self.maybe_int(name)?.map(time).transpose()
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, StoreError> {
        serde_json::from_str(&self.text(name)?).doing(name)
    }

    /// One of the domain's words (a state, a severity, a name), by its serde form.
    fn word<T: DeserializeOwned>(&self, name: &str) -> Result<T, StoreError> {
        serde_json::from_value(serde_json::Value::String(self.text(name)?)).doing(name)
    }
}

impl Columns for SqliteRow {
    fn int(&self, name: &str) -> Result<i64, StoreError> {
        sqlx::Row::try_get(self, name).doing(name)
    }

    fn maybe_int(&self, name: &str) -> Result<Option<i64>, StoreError> {
        sqlx::Row::try_get(self, name).doing(name)
    }

    fn text(&self, name: &str) -> Result<String, StoreError> {
        sqlx::Row::try_get(self, name).doing(name)
    }

    fn maybe_text(&self, name: &str) -> Result<Option<String>, StoreError> {
        sqlx::Row::try_get(self, name).doing(name)
    }
}

/// Numbers or words as one argument for `json_each`.
pub(super) fn json<T: serde::Serialize + ?Sized>(values: &T) -> Result<String, StoreError> {
    serde_json::to_string(values).doing("writing JSON")
}
