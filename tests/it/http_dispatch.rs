//! Alerts over HTTP, from the request to the instant message.

use std::time::Duration;

use mailbell::model::StanzaId;
use serde_json::{Value, json};

use crate::support::child::Server;
use crate::support::free_port;
use crate::support::lab::{Lab, OPERATORS, group};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::wait_for;
use crate::support::web::{Web, alone, token};

const ALERTS: &str = "/api/v1/alerts";

/// Everybody is `ops`; `bobs` is Bob alone.
fn config(lab: &Lab, port: u16) -> String {
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    lab.base() + &http + &lab.everybody("ops") + &group("bobs", &["bob"], "") + OPERATORS
}

fn outcomes(answer: &Value) -> Vec<String> {
    let alerts = answer["alerts"].as_array().unwrap();
    alerts.iter().map(|alert| alert["outcome"].as_str().unwrap().to_owned()).collect()
}

/// A request with this key.
async fn keyed(web: &Web, token: &str, key: &str, body: &Value) -> crate::support::web::Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", key)];
    web.ask("POST", ALERTS, &headers, body.to_string()).await
}

#[tokio::test]
async fn an_alert_becomes_an_instant_message_and_its_resolved_reaches_who_was_told() {
    let lab = Lab::new(&["alice", "bob"]);
    let (alice, bob) = (lab.online("alice").await, lab.online("bob").await);
    let port = free_port();
    let mailbell = Mailbell::run(&config(&lab, port));
    let (web, grafana) = (Web::new(port), token(&mailbell, "grafana", "dispatch", &[]));
    let bobs = token(&mailbell, "bobs", "dispatch", &["--group", "bobs"]);
    let firing = json!({ "key": "db1/disk", "severity": "critical", "title": "Disk full", "text": "3 % left",
        "labels": { "host": "db1" }, "links": ["https://example.org/d"] });
    let answer = web.post(ALERTS, &grafana, &firing).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let became = &answer.json()["alerts"][0];
    assert_eq!((&became["outcome"], &became["reason"]), (&json!("routed"), &json!("default group → ops")));
    let said = alice.gets("Disk full").await;
    assert!(said.contains("3 % left") && said.contains("https://example.org/d"), "{said}");
    bob.gets("Disk full").await;
    let shown = mailbell.cli(&["queue", "show", became["alert"].as_str().unwrap(), "--json"], true);
    assert!(String::from_utf8(shown.stdout).unwrap().contains("api:grafana"));
    // A key counts within its token: another one closes nothing.
    let over = json!({ "key": "db1/disk", "status": "resolved", "title": "Disk has room" });
    assert_eq!(outcomes(&web.post(ALERTS, &bobs, &over).await.json()), ["recorded"]);
    assert_eq!(outcomes(&web.post(ALERTS, &grafana, &over).await.json()), ["routed"]);
    alice.gets("Disk has room").await;
    // XML and CAP as in mails.
    let bearer = format!("Bearer {grafana}");
    let with = |kind| [("authorization", bearer.as_str()), ("content-type", kind)];
    let xml = "<alert xmlns=\"urn:mailbell:alert:1\" id=\"x1\" severity=\"major\"><title>Grüße</title></alert>";
    let native = web.ask("POST", ALERTS, &with("application/xml; charset=utf-8"), xml).await;
    assert_eq!((native.status, outcomes(&native.json())), (202, vec!["routed".to_owned()]), "{native:?}");
    assert_eq!(outcomes(&web.ask("POST", ALERTS, &with("application/xml"), xml).await.json()), ["duplicate"]);
    alice.gets("Grüße").await;
    let bad = web.ask("POST", ALERTS, &with("application/xml"), xml.replace("major", "bad")).await;
    assert!(bad.problem(422).contains("line 1: <alert>: severity: \"bad\" is none of critical"), "{bad:?}");
    // A token of one group reaches no other, whatever the routes say.
    let to_bobs = web.post(ALERTS, &bobs, &json!({ "title": "For Bob alone", "severity": "critical" })).await;
    assert_eq!(to_bobs.json()["alerts"][0]["reason"], "asked for by the sender → bobs");
    bob.gets("For Bob alone").await;
    let wrong = web.post(ALERTS, &bobs, &json!([{ "title": "a" }, { "title": "b", "groups": ["ops"] }])).await;
    assert_eq!(wrong.problem(403), "token bobs may not dispatch to `ops`, only to bobs");
    assert_eq!(wrong.json()["field"], "[1].groups");
    let cap =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/edxl-exercise.eml")).unwrap();
    assert!(cap.contains("Exercise"));
    web.post(ALERTS, &grafana, &json!({ "title": "Marker", "severity": "critical" })).await;
    alice.gets("Marker").await;
    assert_eq!((alice.copies("For Bob alone"), alice.copies("Disk full"), bob.copies("Disk full")), (0, 1, 1));
}

#[tokio::test]
async fn a_request_is_done_once_and_whole_or_not_at_all() {
    let port = free_port();
    let mut mailbell = Mailbell::run(&alone(port, ""));
    let (web, one) = (Web::new(port), token(&mailbell, "one", "dispatch", &[]));
    let other = token(&mailbell, "other", "dispatch", &[]);
    let body = json!([{ "title": "a" }, { "title": "b", "severity": "major" }]);
    let first = keyed(&web, &one, "k1", &body).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (202, ""), "{first:?}");
    mailbell.kill();
    mailbell.start();
    let again = keyed(&web, &one, "k1", &body).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (202, "true"));
    assert_eq!(again.json(), first.json());
    let different = keyed(&web, &one, "k1", &json!({ "title": "c" })).await;
    assert!(different.problem(422).starts_with("another request was done under this key"));
    assert_eq!(different.json()["field"], "Idempotency-Key");
    assert_eq!(keyed(&web, &other, "k1", &json!({ "title": "of another" })).await.header("idempotency-replayed"), "");
    assert_eq!(
        keyed(&web, &one, "", &body).await.problem(400),
        "write 1 to 255 printable ASCII characters, new for each request"
    );
    // By the alert's own id, with or without a time.
    let named = json!({ "id": "r-1", "title": "named" });
    assert_eq!(outcomes(&web.post(ALERTS, &one, &named).await.json()), ["routed"]);
    assert_eq!(outcomes(&web.post(ALERTS, &one, &named).await.json()), ["duplicate"]);
    assert_eq!(outcomes(&web.post(ALERTS, &one, &json!([named, named])).await.json()), ["duplicate", "duplicate"]);
    let timed = json!({ "id": "r-2", "title": "timed", "sent": jiff::Timestamp::now().to_string() });
    assert_eq!(outcomes(&web.post(ALERTS, &one, &json!([timed, timed])).await.json()), ["routed", "duplicate"]);
    let before = mailbell.queue(&["--limit", "1000"]).len();
    assert_eq!(before, 5);
    let bad = web.post(ALERTS, &one, &json!([{ "title": "fine" }, { "title": "bad", "severity": "bad" }])).await;
    assert!(bad.problem(422).starts_with("[1].severity: `bad` is no severity"));
    assert_eq!(bad.json()["field"], "[1].severity");
    assert_eq!(mailbell.queue(&["--limit", "1000"]).len(), before, "nothing of it");
    let plain = web.ask("POST", ALERTS, &[("authorization", &format!("Bearer {one}"))], "hello").await;
    assert_eq!(
        (plain.problem(415), &plain.json()["field"]),
        (plain.json()["detail"].as_str().unwrap().to_owned(), &json!("Content-Type"))
    );
}

/// The answer is lost; the client asks again, and one message comes.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_kill_between_commit_and_answer_costs_nothing_and_doubles_nothing() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let port = free_port();
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let config = lab.base() + &http + &lab.everybody("ops") + OPERATORS;
    let mut mailbell = Mailbell::new(&config);
    mailbell.env("FAILPOINTS", "posted=sleep(600000)");
    mailbell.start();
    let (web, ci) = (Web::new(port), token(&mailbell, "ci", "dispatch", &[]));
    let body = json!({ "title": "Build broken", "severity": "critical" });
    let lost = {
        let (web, ci, body) = (web.clone(), ci.clone(), body.clone());
        tokio::spawn(async move { keyed(&web, &ci, "build-7", &body).await })
    };
    wait_for("the commit", SOON, async || (!mailbell.queue(&[]).is_empty()).then_some(())).await;
    mailbell.kill();
    assert!(lost.await.is_err(), "there was no answer");
    mailbell.env("FAILPOINTS", "");
    mailbell.start();
    let again = keyed(&web, &ci, "build-7", &body).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (202, "true"), "{again:?}");
    alice.gets("Build broken").await;
    web.post(ALERTS, &ci, &json!({ "title": "Marker", "severity": "critical" })).await;
    alice.gets("Marker").await;
    assert_eq!(alice.copies("Build broken"), 1);
}

#[tokio::test]
async fn what_prometheus_posts_holds_until_it_ends() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let port = free_port();
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let mut mailbell = Mailbell::run(&(lab.base() + &http + &lab.everybody("ops") + OPERATORS));
    let (web, prom) = (Web::new(port), token(&mailbell, "prom", "dispatch", &[]));
    let post = async |name: &str, ends: jiff::SignedDuration| {
        let (now, ends) = (jiff::Timestamp::now(), jiff::Timestamp::now() + ends);
        let alert = json!([{ "labels": { "alertname": name, "severity": "page" }, "annotations": { "summary": name },
            "startsAt": now.to_string(), "endsAt": ends.to_string(), "generatorURL": "http://prom.example/g" }]);
        let answer = web.post("/api/v2/alerts", &prom, &alert).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{answer:?}");
    };
    let secs = jiff::SignedDuration::from_secs;
    post("Ends by itself", secs(600)).await;
    let said = alice.gets("Ends by itself").await;
    assert!(said.contains("http://prom.example/g"), "{said}");
    for _ in 0..3 {
        post("Ends by itself", secs(600)).await;
    }
    post("Is ended", secs(600)).await;
    alice.gets("Is ended").await;
    post("Is ended", secs(-1)).await;
    wait_for("its end", SOON, async || (alice.copies("Is ended") == 2).then_some(())).await;
    post("Never held", secs(-1)).await;
    // What it had not heard of when it is killed it would send again.
    wait_for("all to be delivered", SOON, async || {
        (mailbell.queue(&["--state", "delivered"]).len() == 3).then_some(())
    })
    .await;
    // It is over although the service did not run when it ended.
    post("Ends by itself", secs(1)).await;
    mailbell.kill();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    mailbell.start();
    wait_for("its end", SOON, async || (alice.copies("Ends by itself") == 2).then_some(())).await;
    post("Ends by itself", secs(600)).await;
    wait_for("its new beginning", SOON, async || (alice.copies("Ends by itself") == 3).then_some(())).await;
    assert_eq!((alice.copies("Never held"), alice.copies("Is ended")), (0, 2));
}

#[tokio::test]
async fn alertmanagers_webhook_is_taken() {
    let port = free_port();
    let mailbell = Mailbell::run(&alone(port, ""));
    let (web, am) = (Web::new(port), token(&mailbell, "am", "dispatch", &[]));
    let message = |status: &str, truncated: u64| {
        json!({ "version": "4", "groupKey": "{}:{job=\"a\"}", "truncatedAlerts": truncated, "status": status,
            "receiver": "mailbell", "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://am",
            "alerts": [{ "status": status, "labels": { "alertname": "Down", "severity": "high" }, "annotations": {},
                "startsAt": "2026-11-21T18:42:00Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "", "fingerprint": "ab" }] })
    };
    let path = "/api/v1/webhook/alertmanager";
    assert_eq!(web.post(path, &am, &message("firing", 0)).await.json(), json!({ "alerts": 1, "truncated": 0 }));
    web.post(path, &am, &message("firing", 3)).await;
    mailbell.logged("Alertmanager left alerts out of what it sent", 1).await;
    let queued = mailbell.queue(&[]);
    assert_eq!((queued.len(), &queued[0]["severity"], &queued[0]["title"]), (1, &json!("major"), &json!("Down")));
    assert_eq!(web.post(path, &am, &message("resolved", 0)).await.status, 200);
    assert_eq!(mailbell.queue(&["--state", "superseded"]).len(), 1, "nobody was told, and nobody is");
    let mut old = message("firing", 0);
    old["version"] = json!("3");
    assert_eq!(web.post(path, &am, &old).await.problem(422), "version `3` is not known; this takes version 4");
    let mut strange = message("firing", 0);
    strange["alerts"][0]["status"] = json!("maybe");
    assert_eq!(web.post(path, &am, &strange).await.json()["field"], "alerts[0].status");
}

#[tokio::test]
async fn send_hands_an_alert_in_and_says_what_became_of_it() {
    use std::os::unix::fs::PermissionsExt;
    let port = free_port();
    let mailbell = Mailbell::run(&alone(port, ""));
    let file = mailbell.path("token");
    std::fs::write(&file, token(&mailbell, "script", "dispatch", &[]) + "\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let url = format!("http://127.0.0.1:{port}/");
    let base = ["send", "--api", &url, "--token-file", file.to_str().unwrap(), "--title", "Backup failed"];
    let sent = mailbell.cli(&[&base[..], &["--severity", "critical", "--id", "b-1"]].concat(), false);
    let said = String::from_utf8(sent.stdout).unwrap();
    assert!(sent.status.success() && said.contains(" routed: default group → ops"), "{said}{:?}", sent.stderr);
    assert_eq!(mailbell.queue(&[])[0]["title"], "Backup failed");
    std::fs::write(&file, "mailbell_no").unwrap();
    let refused = mailbell.cli(&base, false);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(77) && said.contains("this token is unknown, or was revoked"), "{said}");
}

/// Debian's own Prometheus and Alertmanager, each with a rule that holds at once.
#[tokio::test]
async fn prometheus_and_alertmanager_send_their_alerts() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let port = free_port();
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let mailbell = Mailbell::run(&(lab.base() + &http + &lab.everybody("ops") + OPERATORS));
    let name = StanzaId::random().to_string();
    let (direct, by_webhook) =
        (token(&mailbell, "direct", "dispatch", &[]), token(&mailbell, "webhook", "dispatch", &[]));
    let mut manager = Server::new("alertmanager");
    let (manager_port, prometheus_port) = (free_port(), free_port());
    let config = format!(
        "route:\n  receiver: mailbell\n  group_wait: 1s\n  group_interval: 1s\nreceivers:\n- name: mailbell\n  webhook_configs:\n  \
         - url: http://127.0.0.1:{port}/api/v1/webhook/alertmanager\n    http_config:\n      authorization:\n        \
         credentials: {by_webhook}\n"
    );
    let file = manager.write("am.yml", &config);
    let mut command = std::process::Command::new("prometheus-alertmanager");
    command.arg(format!("--config.file={}", file.display())).arg("--cluster.listen-address=");
    command.arg(format!("--storage.path={}", manager.path("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{manager_port}"));
    manager.start(&mut command, &[manager_port]);
    let mut prometheus = Server::new("prometheus");
    prometheus.write(
        "rules.yml",
        &format!(
            "groups:\n- name: now\n  interval: 1s\n  rules:\n  - alert: Now\n    expr: vector(1)\n    labels:\n      severity: \
             critical\n    annotations:\n      summary: It holds {name}\n"
        ),
    );
    let config = format!(
        "global:\n  evaluation_interval: 1s\nrule_files: [rules.yml]\nalerting:\n  alertmanagers:\n  - static_configs:\n    - \
         targets: ['127.0.0.1:{port}']\n    authorization:\n      credentials: {direct}\n  - static_configs:\n    - targets: \
         ['127.0.0.1:{manager_port}']\n"
    );
    let file = prometheus.write("prometheus.yml", &config);
    let mut command = std::process::Command::new("prometheus");
    command.arg(format!("--config.file={}", file.display())).arg("--rules.alert.resend-delay=1s");
    command.arg(format!("--storage.tsdb.path={}", prometheus.path("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{prometheus_port}"));
    prometheus.start(&mut command, &[prometheus_port]);
    let holds = format!("It holds {name}");
    let patience = Duration::from_secs(60);
    wait_for("both", patience, async || (alice.copies(&holds) >= 2).then_some(())).await;
    let sources: Vec<String> = mailbell
        .queue(&["--state", "sending,accepted,delivered,unconfirmed"])
        .iter()
        .map(|n| {
            let shown = mailbell.cli(&["queue", "show", n["alert"].as_str().unwrap(), "--json"], true);
            String::from_utf8(shown.stdout).unwrap()
        })
        .collect();
    for source in ["api:direct", "api:webhook"] {
        assert_eq!(sources.iter().filter(|shown| shown.contains(source)).count(), 1, "{source}: {sources:?}");
    }
    // Posted again and again, and told once.
    prometheus.kill();
    assert_eq!(alice.copies(&holds), 2, "{:?}", mailbell.log());
}
