//! The commands at the running service, and at the store when none runs.

use std::process::Output;

use crate::support::client::Client;
use crate::support::lab::{Lab, OPERATORS, in_state, severe, xml_mail};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::wait_for;

fn out(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{:?}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    text
}

/// What is in quarantine.
fn quarantine(mailbell: &Mailbell) -> Vec<serde_json::Value> {
    let list = out(&mailbell.cli(&["quarantine", "list", "--json"], true));
    list.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn the_queue_is_shown_and_changed_through_the_running_service() {
    let lab = Lab::new(&["alice"]);
    let mut mailbell = Mailbell::run(&lab.config());
    lab.mail(&severe("disk/1", "warning", "Disk 1 is slow"));
    lab.mail(&severe("disk/2", "warning", "Disk 2 is slow"));
    let held = in_state(&mailbell, "held", 2).await;
    let id = |n: usize| held[n]["id"].to_string();

    let list = out(&mailbell.cli(&["queue", "list"], true));
    assert!(list.contains("Disk 1 is slow") && list.contains("held") && list.contains("alice"), "{list}");
    let shown = out(&mailbell.cli(&["queue", "show", &id(0)], true));
    assert!(shown.contains("the recipient is offline"), "{shown}");
    let alert = held[0]["alert"].as_str().unwrap();
    let timeline = out(&mailbell.cli(&["queue", "show", alert], true));
    assert!(timeline.contains("held") && timeline.contains("Disk 1 is slow"), "{timeline}");

    // Sent although alice is away: her server keeps it for her.
    out(&mailbell.cli(&["queue", "retry", &id(0)], true));
    in_state(&mailbell, "accepted", 1).await;
    out(&mailbell.cli(&["queue", "expire", &id(1)], true));
    in_state(&mailbell, "expired", 1).await;
    let again = mailbell.cli(&["queue", "expire", &id(1)], true);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    let alice = lab.online("alice").await;
    alice.gets("Disk 1 is slow").await;

    // Without a service the store itself answers, and says the same.
    mailbell.stop();
    let list = out(&mailbell.cli(&["queue", "list", "--state", "expired"], true));
    assert!(list.contains("Disk 2 is slow"), "{list}");
}

/// What a command says that did not do it.
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Alice knows that the fan is hot, and Bob is to be told when he is back; returns the alert's short id.
async fn fan_is_hot(lab: &Lab, mailbell: &Mailbell, alice: &Client) -> String {
    lab.mail(&severe("fan", "warning", "Fan is hot"));
    alice.gets("Fan is hot").await;
    in_state(mailbell, "delivered", 1).await;
    in_state(mailbell, "held", 1).await[0]["alert"].as_str().unwrap().to_owned()
}

/// Whoever was told of the beginning hears of the end once, and nobody else does.
async fn the_end_was_told_once(lab: &Lab, mailbell: &Mailbell, alice: &Client) {
    alice.gets("Resolved by an operator: it was dusty").await;
    assert_eq!(in_state(mailbell, "superseded", 1).await[0]["recipient"], "bob");
    let bob = lab.online("bob").await;
    lab.mail(&severe("last", "warning", "The last one"));
    for (who, copies) in [(alice, 1), (&bob, 0)] {
        who.gets("The last one").await;
        assert_eq!(who.copies("it was dusty"), copies);
    }
}

#[tokio::test]
async fn what_an_alert_is_about_is_resolved_through_the_running_service() {
    let lab = Lab::new(&["alice", "bob"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    let fan = fan_is_hot(&lab, &mailbell, &alice).await;
    let said = out(&mailbell.cli(&["resolve", &fan, "--reason", "it was dusty"], true));
    assert!(said.starts_with("alert #1 is resolved: alert #2 resolves #1 after "), "{said}");
    let again = refused(&mailbell.cli(&["resolve", "zzz", &fan, "--reason", "twice"], true));
    assert_eq!(again, "alert #1 is about no condition that is open\nmailbell: there is no alert #zzz\n");
    the_end_was_told_once(&lab, &mailbell, &alice).await;

    // By the number of the condition, for a script.
    let explained = out(&mailbell.cli(&["explain", "#3", "--json"], true));
    let explained: serde_json::Value = serde_json::from_str(&explained).unwrap();
    let number = explained["conditions"][0]["id"].to_string();
    let done = out(&mailbell.cli(&["resolve", "--condition", &number, "--json"], true));
    let done: serde_json::Value = serde_json::from_str(&done).unwrap();
    assert_eq!((done["conditions"][0].to_string(), &done["alerts"][0]), (number.clone(), &"#4".into()), "{done}");
    wait_for("the other end", SOON, async || (alice.copies("Resolved by an operator") == 2).then_some(())).await;
    let again = refused(&mailbell.cli(&["resolve", "--condition", &number, "--condition", "99"], true));
    assert_eq!(again, format!("there is no condition 99\nmailbell: condition {number} is closed already\n"));
    let long = mailbell.cli(&["resolve", &fan, "--reason", &"x".repeat(501)], true);
    assert!(long.status.code() == Some(2) && String::from_utf8_lossy(&long.stderr).contains("500"), "{long:?}");
}

#[tokio::test]
async fn what_an_alert_is_about_is_resolved_without_a_service_and_told_after_the_next_start() {
    let lab = Lab::new(&["alice", "bob"]);
    let alice = lab.online("alice").await;
    let mut mailbell = Mailbell::run(&lab.config());
    let fan = fan_is_hot(&lab, &mailbell, &alice).await;
    mailbell.stop();
    let resolve = |id: &str| mailbell.cli(&["resolve", id, "--reason", "it was dusty"], true);
    assert_eq!(refused(&resolve("zzz")), "mailbell: there is no alert #zzz\n");
    mailbell.configure(&(lab.config() + "colour = \"red\"\n"));
    let bad = resolve(&fan);
    assert!(
        bad.status.code() == Some(78) && String::from_utf8_lossy(&bad.stderr).contains("operators.colour"),
        "{bad:?}"
    );
    mailbell.configure(&lab.config());
    assert!(out(&resolve(&fan)).starts_with("alert #1 is resolved: alert #2 resolves #1 after "));
    assert_eq!(refused(&resolve(&fan)), "mailbell: alert #1 is about no condition that is open\n");
    mailbell.start();
    the_end_was_told_once(&lab, &mailbell, &alice).await;
}

#[tokio::test]
async fn the_quarantine_shows_the_reason_and_the_raw_mail() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    let mail = xml_mail("<alert xmlns=\"urn:mailbell:alert:1\" severity=\"loud\">\n<title>Fan</title></alert>");
    lab.mail(&mail);
    let notice = alice.gets("quarantine").await;
    assert!(notice.contains("`loud`") || notice.contains("loud"), "{notice}");
    let list = out(&mailbell.cli(&["quarantine", "list", "--json"], true));
    let first: serde_json::Value = serde_json::from_str(list.lines().next().unwrap()).unwrap();
    let reason = first["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("line 2: "), "{reason}");
    let raw = out(&mailbell.cli(&["quarantine", "show", &first["id"].to_string(), "--raw"], true));
    assert!(raw.contains("severity=\"loud\""), "{raw}");
}

#[tokio::test]
async fn a_mail_written_by_send_is_read_by_the_parser() {
    let mailbell = Mailbell::new("");
    let mail = mailbell.cli(
        &[
            "send",
            "--dry-run",
            "--to",
            "inbox@example.test",
            "--smtp",
            "127.0.0.1",
            "--tls",
            "none",
            "--title",
            "Füße & <Hände>",
            "--text",
            "Zeile 1\nZeile 2",
            "--severity",
            "major",
            "--key",
            "k/1",
            "--group",
            "ops",
            "--label",
            "host=db7",
            "--link",
            "https://example.test/x?a=1&b=2",
        ],
        false,
    );
    let parsed = mailbell.cli_with(&["parse", "-"], false, out(&mail).as_bytes());
    let line: serde_json::Value = serde_json::from_str(out(&parsed).trim()).unwrap();
    let alert = &line["alerts"][0];
    assert_eq!(line["outcome"], "alerts", "{line}");
    assert_eq!(alert["title"], "Füße & <Hände>");
    assert_eq!((&alert["key"], &alert["severity"]), (&"k/1".into(), &"major".into()));
    assert_eq!((&alert["groups"][0], &alert["labels"]["host"]), (&"ops".into(), &"db7".into()));
    assert_eq!(alert["warnings"].as_array().unwrap().len(), 0, "{alert}");
}

#[tokio::test]
async fn a_bad_config_is_refused_with_every_error_and_78() {
    let lab = Lab::new(&["alice"]);
    let mut mailbell = Mailbell::new(&(lab.config() + "colour = \"red\"\n[serve]\nshutdown_grace = \"soon\"\n"));
    mailbell.spawn();
    assert_eq!(mailbell.ended().code(), Some(78));
    let log = mailbell.log();
    assert!(log.contains("operators.colour") && log.contains("serve.shutdown_grace"), "{log}");
    let check = mailbell.cli(&["config", "check", mailbell.path("mailbell.toml").to_str().unwrap()], false);
    assert_eq!(check.status.code(), Some(78));

    mailbell.configure(&lab.config());
    let show = out(&mailbell.cli(&["config", "show", mailbell.path("mailbell.toml").to_str().unwrap()], false));
    assert!(!show.contains("pw-alerts") && !show.contains("pw-inbox"), "{show}");
}

#[tokio::test]
async fn a_mail_in_quarantine_is_exported_and_read_again_once_the_config_allows() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mut mailbell = Mailbell::run(&lab.config());
    let mail = "From: a@example.test\nSubject: Plain words\nMessage-ID: <plain@example.test>\n\nsaid by hand\n";
    lab.mail(mail);
    alice.gets("is in quarantine").await;
    let id = quarantine(&mailbell)[0]["id"].to_string();

    let folder = mailbell.path("exported");
    let to = folder.to_str().unwrap();
    assert!(out(&mailbell.cli(&["quarantine", "export", "--to", to], true)).starts_with("1 mails in "));
    let exported = std::fs::read_to_string(folder.join(format!("{id}.eml"))).unwrap();
    assert!(exported.replace("\r\n", "\n").ends_with(mail), "{exported}");
    let again = mailbell.cli(&["quarantine", "export", "--to", to, &id], true);
    assert!(String::from_utf8_lossy(&again.stderr).contains("exists"), "what is there is not written over: {again:?}");

    // By the same rules it comes back.
    out(&mailbell.cli(&["quarantine", "replay", &id], true));
    mailbell.logged("quarantined mail=1 source", 2).await;
    assert_eq!(quarantine(&mailbell).len(), 1);
    // By others it is an alert.
    mailbell.stop();
    let inbox = lab.imap("inbox", "plain = \"alert\"");
    mailbell.configure(&(lab.base() + &inbox + &lab.everybody("ops") + OPERATORS));
    mailbell.start();
    out(&mailbell.cli(&["quarantine", "replay", "--all"], true));
    alice.gets("WARNING: Plain words\nsaid by hand\n").await;
    assert_eq!(quarantine(&mailbell).len(), 0);
    let gone = mailbell.cli(&["quarantine", "replay", &id], true);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("is not in quarantine"), "{gone:?}");
}
