//! The archive: everything that was sent, searched and exported; and how much of it is kept.

use serde_json::{Value, json};

use crate::support::free_port;
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::wait_for;
use crate::support::web::{Web, alone, token};

const ARCHIVE: &str = "/api/v1/archive";

/// Titles that a spreadsheet would run, or that would end a cell.
const TITLES: [&str; 5] = ["=HYPERLINK(\"http://evil.example\")", "+1", "-1", "@SUM(A1)", "a,b \"c\""];

async fn post(web: &Web, sender: &str, alerts: &Value) {
    let answer = web.post("/api/v1/alerts", sender, alerts).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

#[tokio::test]
async fn everything_is_exported_and_no_cell_is_a_formula() {
    let port = free_port();
    let mut mailbell = Mailbell::run(&alone(port, ""));
    let web = Web::new(port);
    let (sender, reader) = (token(&mailbell, "sender", "dispatch", &[]), token(&mailbell, "reader", "read", &[]));
    let dba = token(&mailbell, "dba", "dispatch,read", &["--group", "dba"]);
    let alerts: Vec<Value> = TITLES.iter().map(|title| json!({ "title": title, "text": "x\ny" })).collect();
    post(&web, &sender, &json!(alerts)).await;
    post(&web, &dba, &json!({ "title": "For the dba", "severity": "major" })).await;

    let first = web.get(&format!("{ARCHIVE}?limit=4"), &reader).await.json();
    let rows = first["items"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["title"], &rows[0]["state"]), (4, &json!(TITLES[0]), &json!("queued")));
    let next = first["next"].as_str().unwrap();
    let rest = web.get(&format!("{ARCHIVE}?limit=4&after={next}"), &reader).await.json();
    assert_eq!((rest["items"].as_array().unwrap().len(), rest.get("next")), (2, None));
    let found = web.get(&format!("{ARCHIVE}?text=dba&state=queued&recipient=ann"), &reader).await.json();
    assert_eq!((found["items"].as_array().unwrap().len(), &found["items"][0]["source"]), (1, &json!("api:dba")));

    let csv = web.get(&format!("{ARCHIVE}?format=csv"), &reader).await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8; header=present");
    assert!(csv.header("content-disposition").starts_with("attachment"));
    assert!(csv.body.starts_with("id,created,kind,alert,"), "{}", csv.body);
    assert_eq!(csv.body.matches("\r\n").count(), 7, "{}", csv.body);
    for cell in
        [",\"'=HYPERLINK(\"\"http://evil.example\"\")\",", ",'+1,", ",'-1,", ",'@SUM(A1),", ",\"a,b \"\"c\"\"\","]
    {
        assert!(csv.body.contains(cell), "{cell}: {}", csv.body);
    }
    let lines = web.get(&format!("{ARCHIVE}?format=jsonl"), &reader).await;
    let titles: Vec<String> = lines
        .body
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["title"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((titles.len(), titles[..5].to_vec()), (6, TITLES.map(str::to_owned).to_vec()));
    assert_eq!(web.get(&format!("{ARCHIVE}?format=xml"), &reader).await.json()["field"], "format");
    // Who sees a group exports what is for it.
    let of_dba = web.get(&format!("{ARCHIVE}?format=jsonl"), &dba).await.body;
    assert!(of_dba.lines().count() == 1 && of_dba.contains("For the dba"), "{of_dba}");

    // The commands say the same, at the service and without one.
    let export = |mailbell: &Mailbell, format: &str| {
        let output = mailbell.cli(&["archive", "export", "--format", format], true);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let at_service = export(&mailbell, "csv");
    assert_eq!(at_service, csv.body);
    let search = mailbell.cli(&["archive", "search", "--text", "dba"], true);
    let said = String::from_utf8(search.stdout).unwrap();
    assert!(said.lines().count() == 2 && said.contains("For the dba") && said.contains("queued"), "{said}");
    mailbell.stop();
    assert_eq!(export(&mailbell, "csv"), at_service);
    assert_eq!(export(&mailbell, "jsonl").lines().count(), 6);
}

#[tokio::test]
async fn no_more_alerts_are_kept_than_the_config_says() {
    let port = free_port();
    let config = alone(port, "");
    let mut mailbell = Mailbell::run(&config);
    let web = Web::new(port);
    let (sender, reader) = (token(&mailbell, "sender", "dispatch", &[]), token(&mailbell, "reader", "read", &[]));
    // The first waits to be sent: it stays, however many come after it.
    post(&web, &sender, &json!({ "title": "It waits" })).await;
    for n in 1..=6 {
        // Nobody is told of the end of what never was.
        post(&web, &sender, &json!({ "title": format!("End {n}"), "key": format!("k{n}"), "status": "resolved" }))
            .await;
    }
    mailbell.stop();
    mailbell.configure(&config.replace("reserve = ", "history_max = 3\nreserve = "));
    mailbell.start();
    let left = wait_for("the purge", SOON, async || {
        let page = web.get("/api/v1/alerts", &reader).await.json();
        let titles: Vec<String> =
            page["items"].as_array().unwrap().iter().map(|row| row["title"].as_str().unwrap().to_owned()).collect();
        (titles.len() < 7).then_some(titles)
    })
    .await;
    assert_eq!(left, ["End 6", "End 5", "End 4", "It waits"]);
}
