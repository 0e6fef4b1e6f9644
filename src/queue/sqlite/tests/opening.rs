use std::os::unix::fs::PermissionsExt;

use super::bed::*;
use crate::model::{Cursor, Right, TokenRecord};
use crate::queue::sqlite::{Sqlite, open};
use crate::queue::*;
use sqlx::Connection;

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_files_are_for_us_alone() {
    let bed = Bed::new().await;
    bed.stored().await;
    for name in ["mailbell.db", "mailbell.db-wal", "mailbell.db-shm", "mailbell.db.lock"] {
        assert_eq!(mode(&bed.dir.path().join(name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_file_that_others_may_read_is_closed_to_them() {
    let bed = Bed::new().await;
    let path = bed.store.path().to_owned();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let bed = bed.reopen().await;
    assert_eq!(mode(&path), 0o600);
    drop(bed);
}

#[tokio::test]
async fn a_second_instance_is_refused_and_named_the_pid() {
    let bed = Bed::new().await;
    let err = Sqlite::open(&settings(&bed.dir)).await.err().unwrap();
    assert_eq!(err.fault, StoreFault::Refused);
    assert!(err.what.contains(&format!("in use by process {}", std::process::id())), "{err}");
    let bed = bed.reopen().await;
    bed.stored().await;
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_nothing_touched() {
    let bed = Bed::new().await;
    let path = bed.store.path().to_owned();
    bed.store.close().await;
    let Bed { dir, store, .. } = bed;
    drop(store);
    let mut conn = open::connect(&open::writing(&path)).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    let before = std::fs::read(&path).unwrap();
    let err = Sqlite::open(&settings(&dir)).await.err().unwrap();
    assert_eq!(err.fault, StoreFault::Broken);
    assert!(err.what.contains("schema 99") && err.what.contains("newer mailbell"), "{err}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert!(!dir.path().join("mailbell.db-wal").exists());
}

#[tokio::test]
async fn a_store_of_an_older_schema_is_brought_up_to_date() {
    for schema in [1, 3] {
        brought_up_to_date(schema).await;
    }
}

/// From what was written with that schema.
async fn brought_up_to_date(schema: usize) {
    let dir = tempfile::TempDir::new().unwrap();
    let path = settings(&dir).path;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut conn = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    for script in [
        include_str!("../../migrations/0001_first.sql"),
        include_str!("../../migrations/0002_purge.sql"),
        include_str!("../../migrations/0003_probe.sql"),
    ]
    .into_iter()
    .take(schema)
    {
        sqlx::raw_sql(script).execute(&mut conn).await.unwrap();
    }
    let alert = "INSERT INTO alert (source, scope, ident, sender, origin, format, status, severity, title, body, state, reason, \
                 received, created, resolves) VALUES ('probe', '', '', '', '', 'native', 'firing', 'info', '', '{}', 'routed', ''";
    let seen = format!(
        "INSERT INTO message (mailbox, uidvalidity, uid, size, raw_sha256, stored, cleared) \
           VALUES ('ops', 1, 7, 3, x'00', 0, 1); {alert}, 1, 1, NULL); {alert}, 2, 2, 1); \
         INSERT INTO notification (kind, alert, recipient, jid, groups, delivery, stanza_id, state, severity, rank, created) \
           VALUES ('alert', 1, 'ann', 'ann@example.test', '[\"ops\",\"dba\"]', '{{}}', 's', 'delivered', 'info', 4, 1); \
         PRAGMA application_id = 1835165036; PRAGMA user_version = {schema}"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(seen)).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    let store = Sqlite::open(&settings(&dir)).await.unwrap();
    let uids = [7, 8].map(|uid| Cursor::Imap { uidvalidity: 1, uid });
    assert_eq!(store.unknown(&mailbox(), &uids).await.unwrap(), uids[1..], "what was seen is known");
    store.retire_absent(&mailbox(), Some(1), &[]).await.unwrap();
    assert_eq!(store.unknown(&mailbox(), &uids).await.unwrap(), uids);
    assert_eq!(store.probe_states().await.unwrap(), []);
    // What was for whom: the end as well.
    for id in [1, 2] {
        let groups = store.alert_groups(crate::model::AlertId(id)).await.unwrap().unwrap();
        assert_eq!(groups.iter().map(|group| group.as_str()).collect::<Vec<_>>(), ["dba", "ops"]);
    }
    // What came with receipts and with the HTTP API.
    assert!(store.recipients_unanswered(at(0)).await.unwrap().is_empty());
    let token = TokenRecord {
        name: "grafana".parse().unwrap(),
        sha256: "00".into(),
        scopes: vec![Right::Dispatch].into(),
        groups: Vec::new(),
        created: at(0),
        expires: None,
        last_used: None,
    };
    store.add_token(&token).await.unwrap();
    assert_eq!(store.tokens().await.unwrap(), [token]);
    assert_eq!(store.overdue(at(0), 1).await.unwrap(), (Vec::new(), None));
    // What is new from now on is told.
    assert_eq!(store.span().await.unwrap(), Reach { oldest: 1, newest: 0 });
    store.d1_store(&mailbox(), vec![mail(9)], at(0)).await.unwrap();
    assert_eq!(store.events(0, 9, 0).await.unwrap().events.len(), 1);
}

#[tokio::test]
async fn what_is_no_store_is_refused_and_not_touched() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = settings(&dir).path;
    std::fs::write(&path, "my diary").unwrap();
    let err = Sqlite::open(&settings(&dir)).await.err().unwrap();
    assert!(err.what.contains("is no SQLite database"), "{err}");
    assert_eq!(std::fs::read(&path).unwrap(), b"my diary");

    std::fs::remove_file(&path).unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut conn = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql("PRAGMA application_id = 1; CREATE TABLE diary (text)").execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    let err = Sqlite::open(&settings(&dir)).await.err().unwrap();
    assert!(err.what.contains("belongs to another program"), "{err}");
}

#[tokio::test]
async fn a_file_where_the_directory_should_be_is_named() {
    let dir = tempfile::TempDir::new().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let settings = Settings { path: dir.path().join("file/mailbell.db"), ..settings(&dir) };
    let err = Sqlite::open(&settings).await.err().unwrap();
    assert!(err.what.contains("cannot create"), "{err}");
}

#[tokio::test]
async fn epochs_count_the_starts() {
    let bed = Bed::new().await;
    assert_eq!(bed.store.next_epoch().await.unwrap().0, 1);
    assert_eq!(bed.store.next_epoch().await.unwrap().0, 2);
    let bed = bed.reopen().await;
    assert_eq!(bed.store.next_epoch().await.unwrap().0, 3);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_transaction_behind() {
    let bed = Bed::new().await;
    let lease = bed.store.begin().await.unwrap();
    drop(lease);
    bed.stored().await;
}

/// What a look costs must not depend on how much history there is: no plan may walk the table.
#[tokio::test]
async fn no_look_walks_the_whole_table() {
    use sqlx::Row;
    let bed = Bed::new().await;
    let mut lease = bed.store.begin().await.unwrap();
    let removed = super::super::removed::END.split("; ").chain(super::super::receipts::planned());
    let planned = super::super::outbox::PLANNED
        .into_iter()
        .chain(super::super::storm::PLANNED)
        .chain(super::super::backlog::PLANNED)
        .chain([super::super::doubt::DOUBTS, super::super::doubt::KNOWN]);
    for sql in planned.chain(removed) {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let rows = sqlx::query(explain).fetch_all(&mut lease.conn).await.unwrap();
        for row in rows {
            let step: String = row.get("detail");
            let walks = step.starts_with("SCAN") && ["notification", " n", " o", " q"].iter().any(|t| step.contains(t));
            assert!(!walks || step.contains("INDEX"), "{step}\n{sql}");
        }
    }
    // A purge looks through nothing but what was handed to it, and the copies of the last minutes.
    let mut purger = open::connect(&open::purging(bed.store.path())).await.unwrap();
    for sql in super::super::purge::planned() {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        for row in sqlx::query(explain).fetch_all(&mut purger).await.unwrap() {
            let step: String = row.get("detail");
            let walks = step.starts_with("SCAN") && !step.contains("VIRTUAL TABLE") && !step.contains("intent");
            assert!(!walks || sql.contains("LIMIT"), "{step}\n{sql}");
            assert!(!step.contains("TEMP B-TREE FOR ORDER"), "{step}\n{sql}");
        }
    }
}
