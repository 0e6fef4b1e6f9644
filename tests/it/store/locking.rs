//! Several processes, and one that is killed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mailbell::model::Cursor;
use mailbell::queue::sqlite::Sqlite;
use mailbell::queue::{Desk, Inbox, ListFilter, StoreFault};
use tempfile::TempDir;

use super::{mailbox, settings, take_in};

/// Another process with the store open: this test binary, at [`in_another_process`].
fn other_process(dir: &Path, what: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::locking::in_another_process", "--ignored", "--nocapture"])
        .env("MAILBELL_TEST_STORE", dir)
        .env("MAILBELL_TEST_DOES", what)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.ends_with("open\n") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended before it was open");
    }
    (child, said)
}

/// Not a test by itself: what [`other_process`] runs.
#[tokio::test]
#[ignore = "a part of other tests"]
async fn in_another_process() {
    let Some(dir) = std::env::var_os("MAILBELL_TEST_STORE").map(PathBuf::from) else { return };
    let store = Sqlite::open(&settings(&dir)).await.unwrap();
    println!("open");
    match std::env::var("MAILBELL_TEST_DOES").unwrap().as_str() {
        "hold" => drop(std::io::stdin().read_line(&mut String::new())),
        _ => {
            for uid in 1.. {
                take_in(&store, uid).await.unwrap();
                println!("took {uid}");
            }
        }
    }
}

#[tokio::test]
async fn a_second_process_is_refused_until_the_first_is_gone() {
    let dir = TempDir::new().unwrap();
    let (mut child, _said) = other_process(dir.path(), "hold");
    let err = Sqlite::open(&settings(dir.path())).await.err().unwrap();
    assert_eq!(err.fault, StoreFault::Refused);
    assert!(err.what.contains(&format!("in use by process {}", child.id())), "{err}");
    child.kill().unwrap();
    child.wait().unwrap();
    Sqlite::open(&settings(dir.path())).await.unwrap();
}

#[tokio::test]
async fn what_was_committed_survives_kill_9() {
    let dir = TempDir::new().unwrap();
    let (mut child, said) = other_process(dir.path(), "take in");
    let mut took = 0;
    for line in said.lines().take(40) {
        let line = line.unwrap();
        took = line.strip_prefix("took ").map_or(took, |uid| uid.parse().unwrap());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(took > 0);
    let store = Sqlite::open(&settings(dir.path())).await.unwrap();
    let all = store.list(&ListFilter { limit: 1000, ..ListFilter::default() }).await.unwrap();
    let waiting = store.waiting(&mailbox()).await.unwrap();
    assert!(all.len() >= 2 * took && all.len() % 2 == 0, "{} notifications of {took} alerts", all.len());
    assert!(waiting <= 1, "at most the one that was being parsed");
    let known: Vec<Cursor> = (1..=took as u32).map(|uid| Cursor::Imap { uidvalidity: 1, uid }).collect();
    assert!(store.unknown(&mailbox(), &known).await.unwrap().is_empty());
}
