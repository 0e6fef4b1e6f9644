//! What watches the service over HTTP: metrics, alive, ready, status.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::free_port;
use crate::support::lab::{Lab, OPERATORS, group};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::scrape::{Scrape, is_ready, ready};
use crate::support::wait_for;
use crate::support::web::{Web, token};

/// Everybody is `ops`; `bobs` is Bob alone.
fn config(lab: &Lab, port: u16) -> String {
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let groups = lab.everybody("ops") + &group("bobs", &["bob"], "");
    lab.base() + &http + &lab.imap("inbox", "") + &groups + OPERATORS
}

/// Asks until the page says this.
async fn shows(web: &Web, reader: &str, series: &str, wanted: f64) -> Scrape {
    wait_for(&format!("{series} to be {wanted}"), SOON * 3, async || {
        let page = web.get("/metrics", reader).await;
        assert_eq!((page.status, page.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
        let page = Scrape::parse(page.body);
        tokio::time::sleep(Duration::from_millis(20)).await;
        (page.values.get(series) == Some(&wanted)).then_some(page)
    })
    .await
}

#[tokio::test]
async fn an_alert_over_http_is_counted_and_who_reads_sees_it() {
    let lab = Lab::new(&["alice", "bob"]);
    let alice = lab.online("alice").await;
    let port = free_port();
    let mailbell = Mailbell::run(&config(&lab, port));
    let web = Web::new(port);
    let (sender, reader) = (token(&mailbell, "sender", "dispatch", &[]), token(&mailbell, "prometheus", "read", &[]));
    is_ready(&mailbell, true).await;
    let alerts =
        json!([{ "title": "Disk full", "severity": "critical" }, { "title": "Disk warm", "severity": "minor" }]);
    assert_eq!(web.post("/api/v1/alerts", &sender, &alerts).await.status, 202);
    alice.gets("Disk full").await;
    alice.gets("Disk warm").await;
    let page = shows(&web, &reader, "mailbell_receipts_total{outcome=\"taken\"}", 2.0).await;
    for (series, wanted) in [
        ("mailbell_ready", 1.0),
        ("mailbell_alerts_total{severity=\"critical\",outcome=\"routed\"}", 1.0),
        ("mailbell_alerts_total{severity=\"minor\",outcome=\"routed\"}", 1.0),
        ("mailbell_notifications_created_total", 4.0),
        ("mailbell_messages_sent_total{copy=\"first\"}", 2.0),
        ("mailbell_messages_accepted_total", 2.0),
        ("mailbell_store_commit_seconds_count{step=\"d2\"}", 1.0),
        ("mailbell_store_commit_seconds_count{step=\"d1\"}", 0.0),
    ] {
        assert_eq!(page.value(series), wanted, "{series}\n{}", page.text);
    }
    // Refused as a whole: nothing of it was made.
    let bad = json!([{ "title": "Good" }, { "text": "without a title" }]);
    assert_eq!(web.post("/api/v1/alerts", &sender, &bad).await.status, 422);
    let page = shows(&web, &reader, "mailbell_notifications_created_total", 4.0).await;
    assert_eq!(page.value("mailbell_alerts_total{severity=\"warning\",outcome=\"routed\"}"), 0.0);
    // The overview is that of the command; the newest alert may be another group's.
    let status = web.get("/api/v1/status", &reader).await.json();
    assert_eq!((&status["ready"], &status["last_alert"]["title"]), (&json!(true), &json!("Disk warm")), "{status}");
    let limited = token(&mailbell, "bobs", "read", &["--group", "bobs"]);
    assert_eq!(web.get("/api/v1/status", &limited).await.json()["last_alert"], Value::Null);
}

/// One answer, at whichever door it is asked for.
#[tokio::test]
async fn ready_over_http_is_what_the_control_socket_says() {
    let mut lab = Lab::new(&["alice", "bob"]);
    let port = free_port();
    let mailbell = Mailbell::run(&config(&lab, port));
    let web = Web::new(port);
    let both = async || {
        let (status, inside) = ready(&mailbell);
        let answer = web.ask("GET", "/readyz", &[], "").await;
        assert_eq!(answer.header("content-type"), "application/json");
        ((status, inside), (answer.status, answer.json()))
    };
    is_ready(&mailbell, true).await;
    let (inside, outside) = both().await;
    assert_eq!((outside.0, &outside.1["reasons"]), (200, &json!([])));
    assert_eq!(outside.1["mailboxes"][0]["name"], "inbox", "{}", outside.1);
    assert_eq!((inside.0, &inside.1["xmpp"]), (outside.0, &outside.1["xmpp"]));
    lab.chat.kill();
    is_ready(&mailbell, false).await;
    let (_, (status, said)) = both().await;
    assert_eq!((status, &said["ready"], &said["xmpp"]["state"]), (503, &json!(false), &json!("down")), "{said}");
    let reasons = said["reasons"].as_array().unwrap();
    assert!(
        reasons.len() == 1 && reasons[0].as_str().unwrap().starts_with("there is no XMPP session (down): "),
        "{said}"
    );
    assert_eq!(web.ask("GET", "/healthz", &[], "").await.body, "ok\n", "a restart mends nothing");
    lab.chat.run();
    is_ready(&mailbell, true).await;
    assert_eq!(both().await.1.0, 200);
}
