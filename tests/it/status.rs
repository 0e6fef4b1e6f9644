//! `mailbell status` against the running service.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::lab::{Lab, OPERATORS, critical};
use crate::support::mailbell::Mailbell;
use crate::support::outcome::all_in_state;
use crate::support::prosody::Options;
use crate::support::scrape::is_ready;

/// Exit code and both outputs.
fn status(mailbell: &Mailbell, args: &[&str]) -> (i32, String, String) {
    let output = mailbell.cli(&[&["status"], args].concat(), true);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn it_shows_what_works_and_what_waits() {
    let lab = Lab::new(&["alice", "bob"]);
    let alice = lab.online("alice").await;
    let mut mailbell = Mailbell::run(&lab.config());
    is_ready(&mailbell, true).await;
    lab.mail(&critical("a", "Fan\u{202e}of the rack"));
    alice.gets("of the rack").await;
    all_in_state(&mailbell, "of the rack", 2, "delivered,held").await;
    let (code, text, err) = status(&mailbell, &[]);
    assert_eq!((code, err.as_str()), (0, ""), "{text}");
    assert!(text.starts_with(&format!("mailbell {}: ready\n", env!("CARGO_PKG_VERSION"))), "{text}");
    for part in
        ["xmpp:       up for ", "recipients: 1 available, 1 offline", "critical (routed): Fan\\u{202e}of the rack"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let line =
        |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}\n{text}"));
    assert!(line("inbox").contains("ok") && line("inbox").ends_with(" ago"), "{text}");
    assert!(line("held").split_whitespace().nth(1) == Some("1") && line("held").ends_with(" s"), "{text}");
    let (code, json, _) = status(&mailbell, &["--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["ready"], &json["queue"]["held"]["count"]), (0, &true.into(), &1.into()), "{json}");
    assert!(json["disk"]["free"].as_u64().unwrap() > json["disk"]["reserve"].as_u64().unwrap(), "{json}");
    mailbell.stop();
    let (code, text, err) = status(&mailbell, &[]);
    assert_eq!((code, text.as_str()), (69, ""));
    assert!(err.contains("no service answers at") && err.contains("mailbell.db.sock"), "{err}");
}

#[tokio::test]
async fn its_exit_code_says_that_it_is_not_ready_and_the_reasons_come_first() {
    let lab = Lab::with(&["alice"], &["inbox", "other"], Options::default());
    let wrong = lab.imap("other", "").replace("pw-other", "not-the-password");
    let config = lab.base() + &lab.imap("inbox", "") + &wrong + &lab.everybody("ops") + OPERATORS;
    let mailbell = Mailbell::run(&config);
    mailbell.logged("the mailbox cannot be read", 1).await;
    let (code, text, _) = status(&mailbell, &[]);
    assert_eq!(code, 1, "{text}");
    assert!(text.lines().next().unwrap().ends_with(": NOT READY"), "{text}");
    assert!(text.contains("  - mailbox other cannot be read: "), "{text}");
    assert_eq!(status(&mailbell, &["--json"]).0, 1);
}

#[tokio::test]
async fn it_prints_again_and_again_where_it_is_to_watch() {
    let lab = Lab::new(&["alice"]);
    let mailbell = Mailbell::run(&lab.config());
    let mut watching = Command::new(env!("CARGO_BIN_EXE_mailbell"))
        .args(["status", "--json", "--watch=1", "--config"])
        .arg(mailbell.path("mailbell.toml"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let seen: Vec<Value> = lines.take(3).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert!(seen.is_sorted_by(|a, b| a["now"].as_str() < b["now"].as_str()), "{seen:?}");
    // Whoever read it has gone away: that is no failure of it.
    assert!(watching.wait().unwrap().success());
}
