//! What the service tells about itself: metrics, alive, ready, the log as JSON.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::lmtp_door;
use crate::probe_serve;
use crate::support::free_port;
use crate::support::lab::{Lab, OPERATORS, critical, severe};
use crate::support::lmtp::Session;
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::outcome::all_in_state;
use crate::support::prosody::Options;
use crate::support::scrape::{Scrape, get, get_from, is_ready, ready};
use crate::support::tmpfs::Tmpfs;
use crate::support::wait_for;

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/fixtures/{name}.eml", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Waits until the page says this.
async fn shows(mailbell: &Mailbell, series: &str, wanted: f64) -> Scrape {
    wait_for(&format!("{series} to be {wanted}"), SOON * 3, async || {
        let page = Scrape::of(mailbell);
        tokio::time::sleep(Duration::from_millis(20)).await;
        (page.values.get(series) == Some(&wanted)).then_some(page)
    })
    .await
}

#[tokio::test]
async fn the_numbers_are_those_of_what_was_mailed() {
    let lab = Lab::new(&["alice", "bob"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    is_ready(&mailbell, true).await;
    lab.mail(&critical("a", "First"));
    alice.gets("First").await;
    lab.mail(&severe("b", "warning", "Second"));
    alice.gets("Second").await;
    // The same mail once more, an answer of somebody's mailbox, and one that cannot be read.
    lab.mail(&critical("a", "First"));
    lab.mail(&fixture("auto-reply"));
    shows(&mailbell, "mailbell_mails_total{mailbox=\"inbox\",outcome=\"ignored\"}", 1.0).await;
    let page = shows(&mailbell, "mailbell_receipts_total{outcome=\"taken\"}", 2.0).await;
    for (series, wanted) in [
        ("mailbell_ready", 1.0),
        ("mailbell_mailbox_up{mailbox=\"inbox\"}", 1.0),
        ("mailbell_mailbox_poll_interval_seconds{mailbox=\"inbox\"}", 3.0),
        ("mailbell_mailbox_failures_total{mailbox=\"inbox\"}", 0.0),
        ("mailbell_mails_stored_total{mailbox=\"inbox\"}", 4.0),
        ("mailbell_mails_waiting", 0.0),
        ("mailbell_alerts_total{severity=\"critical\",outcome=\"routed\"}", 1.0),
        ("mailbell_alerts_total{severity=\"warning\",outcome=\"routed\"}", 1.0),
        ("mailbell_alerts_total{severity=\"warning\",outcome=\"unsubscribed\"}", 0.0),
        ("mailbell_notifications_created_total", 4.0),
        ("mailbell_notifications_ended_total{state=\"delivered\"}", 2.0),
        ("mailbell_notifications{state=\"sending\"}", 0.0),
        ("mailbell_messages_sent_total{copy=\"first\"}", 2.0),
        ("mailbell_messages_sent_total{copy=\"again\"}", 0.0),
        ("mailbell_messages_accepted_total", 2.0),
        ("mailbell_recipients{presence=\"available\"}", 1.0),
        ("mailbell_xmpp_up", 1.0),
        ("mailbell_xmpp_sessions_total{kind=\"new\"}", 1.0),
        ("mailbell_store_up", 1.0),
        ("mailbell_config_reloads_total{outcome=\"done\"}", 0.0),
    ] {
        assert_eq!(page.value(series), wanted, "{series}\n{}", page.text);
    }
    let of = |outcome: &str| page.value(&format!("mailbell_mails_total{{mailbox=\"inbox\",outcome=\"{outcome}\"}}"));
    // The same alert in another mail is no duplicate mail; it is no page either.
    let again = page.value("mailbell_alerts_total{severity=\"critical\",outcome=\"recorded\"}");
    assert_eq!(of("duplicate") + again, 1.0, "{}", page.text);
    // Each was timed: whichever way it went, and it took its time.
    for what in ["accepted", "delivered"] {
        let name = format!("mailbell_time_to_{what}_seconds");
        let sum = |part: &str| -> f64 {
            ["express", "queued"].iter().map(|way| page.value(&format!("{name}_{part}{{way=\"{way}\"}}"))).sum()
        };
        assert_eq!(sum("count"), 2.0, "{what}");
        assert!(sum("sum") > 0.0 && sum("sum") < 2.0 * SOON.as_secs_f64(), "{what}: {}", sum("sum"));
    }
    for step in ["d1", "d2", "d4", "d5"] {
        assert!(page.value(&format!("mailbell_store_commit_seconds_count{{step=\"{step}\"}}")) >= 1.0, "{step}");
    }
    assert!(page.value("process_resident_memory_bytes") > 1e6 && page.value("process_open_fds") > 5.0);
    // Bob is not there: his wait, and get older.
    let page = shows(&mailbell, "mailbell_notifications{state=\"held\"}", 2.0).await;
    assert_eq!(page.value("mailbell_recipients{presence=\"offline\"}"), 1.0);
    let oldest = "mailbell_notifications_oldest_age_seconds{state=\"held\"}";
    let age = page.value(oldest);
    wait_for("it to get older", SOON, async || (Scrape::of(&mailbell).value(oldest) > age).then_some(())).await;
    mailbell.reload(&lab.config());
    assert_eq!(Scrape::of(&mailbell).value("mailbell_config_reloads_total{outcome=\"done\"}"), 1.0);
}

#[tokio::test]
async fn the_page_is_what_prometheus_reads_and_what_is_documented() {
    let lab = Lab::new(&["alice"]);
    let mailbell = Mailbell::run(&lab.config());
    is_ready(&mailbell, true).await;
    let page = Scrape::of(&mailbell);
    let documented = include_str!("../../config/metrics.md");
    let rows = documented.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: Vec<(String, String)> = rows
        .filter_map(|row| row.split_once("` | "))
        .map(|(name, rest)| (name.to_owned(), rest.split(' ').next().unwrap().to_owned()))
        .filter(|(_, kind)| ["counter", "gauge", "histogram"].contains(&kind.as_str()))
        .collect();
    assert_eq!(page.metrics, listed);
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of Debian's package prometheus");
    promtool.stdin.take().unwrap().write_all(page.text.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && text.is_empty(), "{text}");
    assert_eq!(get(&mailbell, "/v1/healthz"), (200, "ok\n".to_owned()));
}

#[tokio::test]
async fn a_chat_server_that_is_gone_makes_it_unready_and_alive_and_one_that_is_back_ready() {
    let mut lab = Lab::new(&["alice"]);
    let mailbell = Mailbell::run(&lab.config());
    is_ready(&mailbell, true).await;
    lab.chat.kill();
    let page = shows(&mailbell, "mailbell_xmpp_up", 0.0).await;
    assert_eq!(page.value("mailbell_xmpp_disconnects_total"), 1.0);
    assert_eq!(page.value("mailbell_recipients{presence=\"unknown\"}"), 1.0);
    let (status, body) = ready(&mailbell);
    assert_eq!((status, &body["xmpp"]["state"]), (200, &Value::from("down")), "a reconnect takes seconds: {body}");
    let body = is_ready(&mailbell, false).await;
    let reasons = body["reasons"].as_array().unwrap();
    assert!(
        reasons.len() == 1 && reasons[0].as_str().unwrap().starts_with("there is no XMPP session (down): "),
        "{body}"
    );
    assert_eq!(Scrape::of(&mailbell).value("mailbell_ready"), 0.0);
    assert_eq!(get(&mailbell, "/v1/healthz").0, 200, "a restart mends nothing");
    lab.chat.run();
    is_ready(&mailbell, true).await;
    let page = Scrape::of(&mailbell);
    let sessions = |kind: &str| page.value(&format!("mailbell_xmpp_sessions_total{{kind=\"{kind}\"}}"));
    assert_eq!(sessions("new") + sessions("resumed"), 2.0);
}

#[tokio::test]
async fn a_mailbox_whose_password_is_refused_makes_it_unready() {
    let lab = Lab::with(&["alice"], &["inbox", "other"], Options::default());
    let wrong = lab.imap("other", "").replace("pw-other", "not-the-password");
    let config = lab.base() + &lab.imap("inbox", "") + &wrong + &lab.everybody("ops") + OPERATORS;
    let mailbell = Mailbell::run(&config);
    let page = wait_for("the failure", SOON, async || {
        let page = Scrape::of(&mailbell);
        (page.value("mailbell_mailbox_failures_total{mailbox=\"other\"}") >= 1.0).then_some(page)
    })
    .await;
    assert_eq!(page.value("mailbell_mailbox_up{mailbox=\"other\"}"), 0.0);
    shows(&mailbell, "mailbell_mailbox_up{mailbox=\"inbox\"}", 1.0).await;
    shows(&mailbell, "mailbell_xmpp_up", 1.0).await;
    let (status, body) = ready(&mailbell);
    assert_eq!(status, 503, "{body}");
    let reasons = body["reasons"].as_array().unwrap();
    assert!(reasons.len() == 1 && reasons[0].as_str().unwrap().starts_with("mailbox other cannot be read: "), "{body}");
    let states: Vec<_> = body["mailboxes"].as_array().unwrap().iter().map(|m| (&m["name"], &m["state"])).collect();
    assert_eq!(states, [(&"inbox".into(), &"ok".into()), (&"other".into(), &"failing".into())]);
    // Without it all is well, and nothing of it is left but its counts.
    mailbell.reload(&lab.config());
    is_ready(&mailbell, true).await;
    let page = Scrape::of(&mailbell);
    assert!(!page.values.contains_key("mailbell_mailbox_up{mailbox=\"other\"}"));
    assert_eq!(page.value("mailbell_mails_stored_total{mailbox=\"other\"}"), 0.0);
}

#[tokio::test]
async fn what_is_handed_in_and_what_is_probed_is_counted() {
    let lab = lmtp_door::lab();
    let (port, open, closed) = (free_port(), free_port(), free_port());
    let parts = [
        lmtp_door::door(port, "max_connections = 1"),
        lmtp_door::mailbox("direct", ""),
        probe_serve::fast(&[open, closed], ""),
    ];
    let listener = probe_serve::listen(open);
    let mailbell = Mailbell::run(&lmtp_door::config(&lab, &parts));
    let mut session = Session::connect(port).unwrap();
    session.hand_in(&[&lmtp_door::address("direct")], &critical("t", "Handed in")).unwrap();
    assert!(Session::connect(port).is_err(), "one connection is enough for this door");
    let door =
        |outcome: &str| format!("mailbell_lmtp_connections_total{{listen=\"127.0.0.1:{port}\",outcome=\"{outcome}\"}}");
    let page = shows(&mailbell, &door("refused"), 1.0).await;
    assert_eq!(page.value(&door("taken")), 1.0);
    assert_eq!(page.value("mailbell_lmtp_mails_total{outcome=\"stored\"}"), 1.0);
    assert_eq!(page.value("mailbell_mails_stored_total{mailbox=\"direct\"}"), 1.0);
    shows(&mailbell, "mailbell_mails_total{mailbox=\"direct\",outcome=\"parsed\"}", 1.0).await;
    let page = shows(&mailbell, "mailbell_probe_told{what=\"ports_down\"}", 1.0).await;
    assert_eq!(page.value("mailbell_probe_targets"), 2.0);
    assert!(page.value("mailbell_probes_total{outcome=\"refused\"}") >= 2.0);
    let opened = page.value("mailbell_probes_total{outcome=\"open\"}");
    assert!(opened >= 1.0 && page.value("mailbell_probe_duration_seconds_count") == opened);
    let body = is_ready(&mailbell, true).await;
    assert_eq!(body["mailboxes"][0]["state"], "handed", "there is nothing to look into: {body}");
    drop(listener);
}

#[tokio::test]
async fn a_disk_below_its_reserve_makes_it_unready() {
    let Some(disk) = Tmpfs::mount(8) else { return };
    let lab = Lab::new(&["alice"]);
    let store = format!("path = \"{}/mailbell.db\"\nreserve = \"4MiB\"", disk.path().display());
    let small = lab.imap("inbox", "max_size = \"400KiB\"\nbatch = 1");
    let base = lab.base().replace("path = \"{dir}/mailbell.db\"\nreserve = \"1MiB\"", &store);
    let _mailbell = Mailbell::run(&(base + &small + &lab.everybody("ops") + OPERATORS));
    let connect = || std::os::unix::net::UnixStream::connect(disk.path().join("mailbell.db.sock")).unwrap();
    let wait = async |wanted: u16| {
        wait_for(&format!("readyz to answer {wanted}"), SOON * 3, async || {
            let (status, body) = get_from(&mut connect(), "/v1/readyz");
            tokio::time::sleep(Duration::from_millis(20)).await;
            (status == wanted).then_some(body)
        })
        .await
    };
    wait(200).await;
    disk.fill(200);
    let body = wait(503).await;
    assert!(body.contains("of disk space are free, the reserve is 4MiB"), "{body}");
    let page = Scrape::parse(get_from(&mut connect(), "/v1/metrics").1);
    assert_eq!(page.value("mailbell_store_reserve_bytes"), f64::from(4 << 20));
    assert!(page.value("mailbell_store_free_bytes") < f64::from(4 << 20));
    assert_eq!(get_from(&mut connect(), "/v1/healthz").0, 200);
    disk.clear();
    wait(200).await;
}

#[tokio::test]
async fn each_line_of_the_json_log_is_an_object_that_names_what_it_is_about() {
    let lab = Lab::with(&["alice"], &["inbox", "other"], Options::default());
    let alice = lab.online("alice").await;
    let wrong = lab.imap("other", "").replace("pw-other", "not-the-password");
    let config = lab.base() + &lab.imap("inbox", "") + &wrong + &lab.everybody("ops") + OPERATORS;
    let closed = free_port();
    let config = config + &probe_serve::fast(&[closed], "") + "[log]\nformat = \"json\"\n";
    let mut mailbell = Mailbell::run(&config);
    lab.mail(&critical("a", "First"));
    alice.gets("First").await;
    all_in_state(&mailbell, "First", 1, "delivered").await;
    mailbell.logged("cannot be read", 1).await;
    mailbell.logged("\"message\":\"down\"", 1).await;
    mailbell.stop();
    let log = mailbell.log();
    let lines: Vec<Value> =
        log.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|err| panic!("{err}: {l}"))).collect();
    for (line, text) in lines.iter().zip(log.lines()) {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].as_str().is_some_and(|value| !value.is_empty()), "{field}: {text}");
            // A JSON reader takes one of two: the other would be lost.
            assert!(text.matches(&format!("\"{field}\":")).count() == 1, "{field}: {text}");
        }
    }
    let line = |message: &str| {
        lines.iter().find(|line| line["message"] == message).unwrap_or_else(|| panic!("{message}:\n{log}"))
    };
    let parsed = line("parsed");
    assert_eq!((&parsed["mail"], &parsed["source"]), (&"1".into(), &"mailbox:inbox".into()), "{parsed}");
    let down = line("down");
    assert_eq!((&down["probed"], &down["level"]), (&format!("127.0.0.1:{closed}").into(), &"WARN".into()), "{down}");
    assert_eq!(down["target"], "mailbell::probe::monitor", "{down}");
    let ill = line("the mailbox cannot be read; tried again after a pause");
    assert_eq!((&ill["span"]["mailbox"], &ill["level"]), (&"other".into(), &"WARN".into()), "{ill}");
    assert!(ill["err"].as_str().is_some_and(|err| err.contains("refused") || err.contains("failed")), "{ill}");
}
