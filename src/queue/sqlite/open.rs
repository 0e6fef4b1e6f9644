//! Opening: the lock, the file, the settings, the schema.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use super::conn::{Doing, broken};
use crate::queue::StoreError;
use crate::queue::files::cannot;

/// Schema scripts in order; `user_version` says how many have run.
const MIGRATIONS: [&str; 7] = [
    include_str!("../migrations/0001_first.sql"),
    include_str!("../migrations/0002_purge.sql"),
    include_str!("../migrations/0003_probe.sql"),
    include_str!("../migrations/0004_receipts.sql"),
    include_str!("../migrations/0005_tokens.sql"),
    include_str!("../migrations/0006_events.sql"),
    include_str!("../migrations/0007_search.sql"),
];

/// `mbel`: what SQLite files call the program that they belong to.
const APPLICATION_ID: i64 = 0x6d62_656c;

/// The first SQLite without the WAL-reset fault.
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);

/// Longest wait for another process (a person with the sqlite3 shell) to end its transaction.
const BUSY: Duration = Duration::from_secs(10);

/// Creates the file with its directory, readable by nobody else, or makes sure that it is ours and not newer than us.
/// Looks into the file itself, so that a file that is not ours is not touched.
pub(super) fn prepare_file(path: &Path) -> Result<(), StoreError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        // The new name has to outlive a power cut as well.
        Ok(_) => match path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            Some(dir) => File::open(dir).and_then(|dir| dir.sync_all()).map_err(|err| cannot("sync", dir, &err)),
            None => Ok(()),
        },
        Err(err) if err.kind() == ErrorKind::AlreadyExists => check_file(path),
        Err(err) => Err(cannot("create", path, &err)),
    }
}

fn check_file(path: &Path) -> Result<(), StoreError> {
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(|err| cannot("open", path, &err))?;
    let mut header = Vec::new();
    Read::by_ref(&mut file).take(100).read_to_end(&mut header).map_err(|err| cannot("read", path, &err))?;
    if !header.is_empty() {
        // https://www.sqlite.org/fileformat2.html#the_database_header
        let number = |at: usize| header.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        if !header.starts_with(b"SQLite format 3\0") {
            return Err(broken(format!("{} is no SQLite database; nothing was changed", path.display())));
        }
        check_version(path, number(68).unwrap_or(0).into(), number(60).unwrap_or(0).into())?;
    }
    let mode = file.metadata().map_err(|err| cannot("read", path, &err))?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "the store was readable by others; it is 0600 now");
        file.set_permissions(Permissions::from_mode(0o600)).map_err(|err| cannot("protect", path, &err))?;
    }
    Ok(())
}

fn check_version(path: &Path, application: i64, version: i64) -> Result<(), StoreError> {
    let path = path.display();
    let known = MIGRATIONS.len() as i64;
    if application != APPLICATION_ID && (application, version) != (0, 0) {
        return Err(broken(format!("{path} belongs to another program; nothing was changed")));
    }
    if version > known {
        return Err(broken(format!(
            "{path} has schema {version}, this mailbell knows up to {known}: it was written by a newer mailbell; \
             nothing was changed. Start the newer one, or restore a backup from before the upgrade"
        )));
    }
    Ok(())
}

/// How to connect.
pub(super) struct Options {
    sqlite: SqliteConnectOptions,
    foreign_keys: bool,
}

/// Options of the one connection that writes.
pub(super) fn writing(path: &Path) -> Options {
    Options { sqlite: durable(path).foreign_keys(true), foreign_keys: true }
}

/// Options of a connection that only reads: it neither blocks the writer nor waits for it.
pub(super) fn reading(path: &Path) -> Options {
    let Options { sqlite, foreign_keys } = writing(path);
    Options { sqlite: sqlite.pragma("query_only", "1").pragma("cache_size", SMALL), foreign_keys }
}

/// Options of the connection that purges: see there.
pub(super) fn purging(path: &Path) -> Options {
    Options {
        sqlite: durable(path).foreign_keys(false).pragma("cache_size", SMALL).pragma("wal_autocheckpoint", "0"),
        foreign_keys: false,
    }
}

/// Page cache of a connection that is not the writer's: half a MiB.
const SMALL: &str = "-512";

fn durable(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        // After a burst the log file shrinks to this again.
        .pragma("journal_size_limit", "67108864")
        .pragma("temp_store", "MEMORY")
        .thread_name(|n| format!("store-{n}"))
        .log_statements(log::LevelFilter::Off)
        .log_slow_statements(log::LevelFilter::Warn, Duration::from_secs(1))
}

/// Connects and makes sure that the settings took: a store that only believes to be durable is worse than none.
pub(super) async fn connect(options: &Options) -> Result<SqliteConnection, StoreError> {
    let path = options.sqlite.get_filename().display();
    let mut conn = SqliteConnection::connect_with(&options.sqlite).await.doing(&format!("opening {path}"))?;
    let row = sqlx::query(
        "SELECT sqlite_version(), (SELECT journal_mode FROM pragma_journal_mode), \
         (SELECT synchronous FROM pragma_synchronous), (SELECT foreign_keys FROM pragma_foreign_keys)",
    )
    .fetch_one(&mut conn)
    .await
    .doing(&format!("reading the settings of {path}"))?;
    let text = |i: usize| row.try_get::<String, _>(i).doing("reading the settings");
    let int = |i: usize| row.try_get::<i64, _>(i).doing("reading the settings");
    let version = text(0)?;
    if !version_at_least(&version, OLDEST_SQLITE) {
        return Err(broken(format!(
            "SQLite {version} can corrupt its log when it is reset; 3.51.3 is the oldest that does not"
        )));
    }
    for (setting, got, wanted) in [
        ("journal_mode", text(1)?, "wal"),
        ("synchronous", int(2)?.to_string(), "2"),
        ("foreign_keys", int(3)?.to_string(), if options.foreign_keys { "1" } else { "0" }),
    ] {
        if got != wanted {
            return Err(broken(format!(
                "{path}: {setting} is {got} although {wanted} was asked for; the file system may not support it"
            )));
        }
    }
    Ok(conn)
}

fn version_at_least(version: &str, oldest: (u32, u32, u32)) -> bool {
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next()) >= oldest
}

/// Brings the schema up to date, each step in a transaction.
pub(super) async fn migrate(conn: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let row = sqlx::query(
        "SELECT (SELECT user_version FROM pragma_user_version), (SELECT application_id FROM pragma_application_id)",
    )
    .fetch_one(&mut *conn)
    .await
    .doing("reading the schema's version")?;
    let version: i64 = row.try_get(0).doing("reading the schema's version")?;
    check_version(path, row.try_get(1).doing("reading the application id")?, version)?;
    let done = usize::try_from(version).unwrap_or(0);
    for (n, script) in MIGRATIONS.into_iter().enumerate().skip(done) {
        let what = format!("migrating {} to schema {}", path.display(), n + 1);
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *conn).await.doing(&what)?;
        sqlx::raw_sql(script).execute(&mut *conn).await.doing(&what)?;
        let stamp = sqlx::AssertSqlSafe(format!(
            "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}; COMMIT",
            n + 1
        ));
        sqlx::raw_sql(stamp).execute(&mut *conn).await.doing(&what)?;
    }
    if done < MIGRATIONS.len() {
        tracing::info!(path = %path.display(), from = version, to = MIGRATIONS.len(), "the store's schema is up to date");
        // Into the file itself: an older mailbell looks there before it opens anything.
        sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut *conn).await.doing("checkpointing")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        for (version, fine) in
            [("3.51.3", true), ("3.51.2", false), ("3.9.9", false), ("3.100.0", true), ("4.0.0", true)]
        {
            assert_eq!(version_at_least(version, OLDEST_SQLITE), fine, "{version}");
        }
    }
}
