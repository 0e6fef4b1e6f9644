//! What one durable commit costs on this disk: the gateway makes two for each alert, or for each batch of them.

use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::TempDir;

use super::scale::Scale;
use super::table::{Figure, Sample, Table};

/// Rows in a batch.
const BATCH: usize = 100;

pub async fn measure(scale: &Scale, table: &mut Table) {
    let (_dir, mut db) = open().await;
    let mut single = Sample::default();
    for n in 0..scale.commits + 50 {
        let time = commit(&mut db, 1).await;
        // The first ones grow the file.
        if n >= 50 {
            single.add(time);
        }
    }
    db.close().await.unwrap();
    let rows = rate(scale, BATCH).await;
    table.row("SQLite, 1 row of 2 KB a commit, p50", None, Some(single.quantile(0.5)), None);
    table.row("SQLite, 1 row of 2 KB a commit, p99", None, Some(single.quantile(0.99)), None);
    table.row(format!("SQLite, rows of 2 KB, {BATCH} a commit"), None, Some(Figure::PerSecond(rows)), None);
}

/// Rows a second, with so many a commit.
pub async fn rate(scale: &Scale, each: usize) -> f64 {
    let (_dir, mut db) = open().await;
    let (start, commits) = (Instant::now(), scale.commits / 10);
    for _ in 0..commits {
        commit(&mut db, each).await;
    }
    let rows = (commits * each) as f64 / start.elapsed().as_secs_f64();
    db.close().await.unwrap();
    rows
}

/// A database where the gateway's store will stand too.
async fn open() -> (TempDir, SqliteConnection) {
    let dir = tempfile::Builder::new().prefix("mailbell-commits-").tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(dir.path().join("commits.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut db = options.connect().await.unwrap();
    sqlx::query("CREATE TABLE mail (id INTEGER PRIMARY KEY, raw BLOB NOT NULL) STRICT").execute(&mut db).await.unwrap();
    (dir, db)
}

async fn commit(db: &mut SqliteConnection, rows: usize) -> Duration {
    let raw = vec![b'x'; 2048];
    let start = Instant::now();
    let mut transaction = db.begin().await.unwrap();
    for _ in 0..rows {
        sqlx::query("INSERT INTO mail (raw) VALUES (?)").bind(&raw).execute(&mut *transaction).await.unwrap();
    }
    transaction.commit().await.unwrap();
    start.elapsed()
}
