//! Plain mails by rule through the whole gateway: the problem, its recovery, who hears of them; and what `parse` says of them.

use jiff::Timestamp;

use crate::support::lab::{Lab, critical, group};
use crate::support::mailbell::Mailbell;

/// A mail of `tests/fixtures/rules`, as if it were written now, from another sender where one is named.
fn mail(name: &str, from: Option<&str>) -> String {
    let text = std::fs::read_to_string(format!("tests/fixtures/rules/{name}.eml")).unwrap();
    let now = Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S +0000");
    let id = mailbell::model::StanzaId::random();
    let field = |line: &str| match line.split_once(": ") {
        Some(("From", _)) if from.is_some() => format!("From: {}", from.unwrap()),
        Some(("Date", _)) => format!("Date: {now}"),
        Some(("Message-ID", _)) => format!("Message-ID: <{id}@example.org>"),
        _ => line.to_owned(),
    };
    let (header, body) = text.split_once("\n\n").unwrap();
    let event = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let times = ["2026-11-21T18:41:58Z", "2026-11-21T18:42:01Z", "2026-11-21T18:42:07Z"];
    let body = times.into_iter().fold(body.to_owned(), |body, time| body.replace(time, &event));
    header.lines().map(field).collect::<Vec<_>>().join("\n") + "\n\n" + &body
}

#[tokio::test]
async fn a_recovery_goes_to_who_heard_of_the_problem() {
    let lab = Lab::new(&["alice", "bob"]);
    let (alice, bob) = (lab.online("alice").await, lab.online("bob").await);
    let config = lab.base()
        + &lab.imap("inbox", "rules = [\"nagios\"]")
        + &group("dba", &["alice"], "")
        + &group("ops", &["bob"], "")
        + "[[route]]\nmatch = { \"label.host\" = \"db*\", \"label.mailbell.rule\" = \"nagios/*\" }\ngroups = [\"dba\"]\n"
        + "[operators]\ngroup = \"ops\"\ndefault_group = \"ops\"\n";
    let mailbell = Mailbell::run(&config);

    lab.mail(&mail("nagios-problem", None));
    let page = alice.gets("CRITICAL: db1/Disk /var is CRITICAL").await;
    assert!(page.contains("DISK CRITICAL - free space: /var 512 MB"), "{page}");
    assert_eq!(mailbell.alert("db1/Disk /var is CRITICAL").await.state, "routed");

    // Who says so is no other than who reported it.
    lab.mail(&mail("nagios-recovery", Some("Other <other@example.test>")));
    let strange = mailbell.alert("db1/Disk /var is OK").await;
    assert_eq!(strange.reason, "resolves a condition that is not known");

    lab.mail(&mail("nagios-acknowledgement", None));
    alice.gets("UPDATE INFO: db1/Disk /var is CRITICAL: acknowledged").await;
    lab.mail(&mail("nagios-recovery", None));
    let end = alice.gets("RESOLVED: db1/Disk /var is OK").await;
    assert!(end.lines().nth(1).unwrap().starts_with("Ends #"), "{end}");

    // What matches no rule is left to `plain`, which is quarantine by default.
    lab.mail("From: a@example.org\nMessage-ID: <lunch@example.org>\nSubject: lunch\n\nat noon?\n");
    bob.gets("no rule of the mailbox matches").await;
    lab.mail(&critical("marker", "Marker"));
    bob.gets("Marker").await;
    assert_eq!((alice.count(), bob.count()), (3, 2));
}

#[tokio::test]
async fn event_lines_own_rules_and_known_noise() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let rules = "plain = \"alert\"\nrules = [\"events\"]\n\
        [[mailbox.rule]]\nname = \"test\"\nsubject = '^Self-test'\nignore = \"the weekly self-test\"\n\
        [[mailbox.rule]]\nname = \"door\"\nsubject = '^Door (?<door>[0-9]+) (?<state>open|closed)$'\nkey = \"door {door}\"\n\
        status = { from = \"{state}\", map = { open = \"firing\", closed = \"resolved\" } }\nseverity = \"major\"\n";
    let config = lab.base() + &lab.imap("inbox", rules) + &lab.everybody("ops") + crate::support::lab::OPERATORS;
    let mailbell = Mailbell::run(&config);

    lab.mail(&mail("events", None));
    alice.gets("CRITICAL: ups7 raised on battery\ninput power lost, \"main\" feed").await;
    alice.gets("MAJOR: link-3 down").await;
    let cleared = mailbell.alert("ups6 cleared on battery").await;
    assert_eq!(cleared.reason, "resolves a condition that is not known");
    let now = Timestamp::now();
    let event = |body: &str| {
        let id = mailbell::model::StanzaId::random();
        format!("From: events@bridge.example.org\nMessage-ID: <{id}>\nSubject: Events\n\n{now} {body}\n")
    };
    lab.mail(&event("ups7 cleared condition=\"on battery\""));
    alice.gets("RESOLVED: ups7 cleared on battery").await;

    let door = |state: &str| {
        format!("From: door@example.org\nMessage-ID: <{state}@example.org>\nSubject: Door 4 {state}\n\nHall\n")
    };
    lab.mail(&door("open"));
    alice.gets("MAJOR: Door 4 open").await;
    lab.mail("From: door@example.org\nMessage-ID: <t@example.org>\nSubject: Self-test of door 4\n\nok\n");
    crate::support::wait_for("the self-test is ignored", crate::support::mailbell::SOON, async || {
        let ignored = ("ignored".to_owned(), "rule test: the weekly self-test".to_owned());
        mailbell.messages().await.contains(&ignored).then_some(())
    })
    .await;
    lab.mail(&door("closed"));
    alice.gets("RESOLVED: Door 4 closed").await;
    assert_eq!(alice.count(), 5);

    // The same rules, without the service.
    let seen = mailbell.cli(&["parse", "--mailbox", "inbox", "tests/none.eml", "-"], true);
    assert_eq!(seen.status.code(), Some(1), "{seen:?}");
    let seen = mailbell.cli_with(&["parse", "-"], true, door("open").as_bytes());
    let line: serde_json::Value = serde_json::from_slice(&seen.stdout).unwrap();
    let alert = &line["alerts"][0];
    assert_eq!((alert["key"].as_str(), alert["labels"]["mailbell.rule"].as_str()), (Some("door 4"), Some("door")));
    let unknown = mailbell.cli(&["parse", "--mailbox", "outbox", "-"], true);
    assert_eq!(unknown.status.code(), Some(78));
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(said.contains("there is no mailbox `outbox`; there are: inbox"), "{said}");
}
