//! What people do with it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::scene;
use crate::support::lab::{alert, asks, in_state};
use crate::support::mailbell::SOON;
use crate::support::wait_for;
use crate::support::web::token;

/// Without the stream a page is fetched so often: of three changes, each after the one before is seen, two take that long each.
const WITHOUT_STREAM: Duration = Duration::from_secs(20);

#[tokio::test]
async fn what_happens_appears_on_a_page_that_is_open() {
    let scene = scene("").await;
    let browser = &scene.browser;
    scene.enter(&scene.admin).await;
    browser.shows("There has been no alert yet").await;
    browser.eval("window.same = true").await;
    let start = Instant::now();
    for host in ["db1", "db2", "db3"] {
        let alert = json!({ "title": format!("Disk full on {host}"), "severity": "critical" });
        assert_eq!(scene.web.post("/api/v1/alerts", &scene.admin, &alert).await.status, 202);
        browser.shows(&format!("Disk full on {host}")).await;
    }
    assert!(start.elapsed() < WITHOUT_STREAM * 2, "by the stream, not by looking now and then: {:?}", start.elapsed());
    assert_eq!(browser.eval("return window.same").await, true, "it is the same page, which nobody loaded again");
    assert!(!browser.text().await.contains("There has been no alert yet"));
}

#[tokio::test]
async fn a_page_that_cannot_be_kept_up_to_date_says_so() {
    let mut scene = scene("").await;
    scene.enter(&scene.admin).await;
    scene.browser.shows("Working").await;
    scene.mailbell.kill();
    scene.browser.shows("Connection lost: this page is old").await;
}

#[tokio::test]
async fn a_held_one_is_sent_now() {
    let scene = scene("").await;
    let browser = &scene.browser;
    scene.lab.mail(&asks("bobs", "minor", "Backup slow"));
    in_state(&scene.mailbell, "held", 1).await;
    scene.enter(&scene.admin).await;
    browser.open("/console/queue?show=held").await;
    browser.shows("Backup slow").await;
    browser.press("main", "Send now").await;
    browser.shows("It is sent now").await;
    in_state(&scene.mailbell, "accepted,delivered,sending", 1).await;
    scene.lab.mail(&asks("bobs", "minor", "Backup slower"));
    in_state(&scene.mailbell, "held", 1).await;
    browser.open("/console/queue?show=held").await;
    browser.press("main", "Give up").await;
    browser.shows("It is ended").await;
    let ended = in_state(&scene.mailbell, "expired", 1).await;
    assert_eq!(ended[0]["reason"], "admin ended it in the console");
    assert_eq!(browser.console().await, [""; 0]);
}

#[tokio::test]
async fn a_condition_is_resolved_and_alerts_are_found_by_what_they_say() {
    let scene = scene("").await;
    let browser = &scene.browser;
    let alerts = json!([
        { "title": "Disk full on db1", "severity": "critical", "key": "disk/db1", "groups": ["bobs"] },
        { "title": "Fan noisy", "severity": "info", "groups": ["ops"] },
    ]);
    assert_eq!(scene.web.post("/api/v1/alerts", &scene.admin, &alerts).await.status, 202);
    scene.enter(&scene.admin).await;
    browser.open("/console/alerts").await;
    browser.shows("Fan noisy").await;
    browser.find("#severity option[value=major]").await.click().await.unwrap();
    browser.press(".filter", "Search").await;
    wait_for("the search", SOON, async || browser.at().await.contains("severity=major").then_some(())).await;
    browser.shows("Disk full on db1").await;
    assert!(!browser.text().await.contains("Fan noisy"));
    browser.open("/console/alerts?text=nothing+holds+this").await;
    browser.shows("No alert fits.").await;
    browser.open("/console").await;
    browser.press("[aria-labelledby=open]", "Disk full on db1").await;
    browser.shows("Who was told").await;
    browser.shows("routed").await;
    browser.find("#reason").await.send_keys("the disk was changed").await.unwrap();
    browser.press("main", "Resolve").await;
    browser.shows("The condition is closed").await;
    browser.open("/console").await;
    browser.shows("Fan noisy").await;
    let open = "return document.querySelector('[aria-labelledby=open]').innerText";
    assert!(!browser.eval(open).await.as_str().unwrap().contains("Disk full"));
    browser.open("/console/alerts?status=resolved").await;
    browser.press("main", "Disk full on db1").await;
    browser.shows("Resolved by admin: the disk was changed").await;
    assert_eq!(browser.console().await, [""; 0]);
}

/// By where they came from and when, also on the next page; what a browser without such fields sends is told to people.
#[tokio::test]
async fn alerts_are_found_by_source_and_time() {
    let scene = scene("").await;
    let browser = &scene.browser;
    for some in [0..50, 50..101] {
        let alerts: Vec<_> = some.map(|n| json!({ "title": format!("Number {n}"), "severity": "info" })).collect();
        assert_eq!(scene.web.post("/api/v1/alerts", &scene.admin, &json!(alerts)).await.status, 202);
    }
    scene.lab.mail(&asks("bobs", "minor", "By mail"));
    let now = jiff::Timestamp::now();
    let at = |hours: i64| (now + jiff::SignedDuration::from_hours(hours)).strftime("%Y-%m-%dT%H:%M").to_string();
    let (before, after) = (at(-1), at(1));
    let fill = async |fields: &[(&str, &str)]| {
        browser.open("/console/alerts").await;
        browser.shows("By mail").await;
        for (id, value) in fields {
            browser.eval(&format!("document.getElementById({id:?}).value = {value:?}")).await;
        }
        browser.press(".filter", "Search").await;
        wait_for("the search", SOON, async || browser.at().await.contains("source=").then_some(())).await;
    };
    scene.enter(&scene.admin).await;
    let offered = "return [...document.querySelectorAll('#sources option')].map((one) => one.value)";
    browser.open("/console/alerts").await;
    assert_eq!(browser.eval(offered).await, json!(["mailbox:inbox", "probe"]));
    // What is chosen stays while the page is kept up to date.
    browser.eval(&format!("document.getElementById('since').value = {before:?}")).await;
    assert_eq!(scene.web.post("/api/v1/alerts", &scene.admin, &json!({ "title": "Late" })).await.status, 202);
    browser.shows("Late").await;
    assert_eq!(browser.eval("return document.getElementById('since').value").await, json!(before));
    fill(&[("source", "mailbox:inbox"), ("since", &before), ("until", &after)]).await;
    browser.shows("By mail").await;
    assert!(!browser.text().await.contains("Number"), "{}", browser.text().await);
    // An hour from now is not yet, whatever the browser's own time zone is.
    for hours in [("since", &after), ("until", &before)] {
        fill(&[(hours.0, hours.1)]).await;
        browser.shows("No alert fits.").await;
        let kept = format!("return document.getElementById({:?}).value", hours.0);
        assert_eq!(browser.eval(&kept).await, json!(hours.1));
    }
    fill(&[("source", "api:admin"), ("since", &before), ("until", &after)]).await;
    browser.shows("Number 100").await;
    browser.press("main", "Older ones").await;
    wait_for("the next page", SOON, async || browser.at().await.contains("after=").then_some(())).await;
    browser.shows("Number 0").await;
    let values = "return ['source', 'since', 'until'].map((id) => document.getElementById(id).value)";
    assert_eq!(browser.eval(values).await, json!(["api:admin", before, after]));
    assert_eq!(browser.console().await, [""; 0]);
    for (query, says) in [
        ("since=yesterday", "this is no day with a time of day; write it in UTC, like 2026-11-22T14:00"),
        ("since=yesterday", "It is about From (UTC)."),
        ("until=2026-11-22T14:00%2B01:00", "It is about Until (UTC)."),
        ("source=inbox", "`inbox` is no source; allowed: mailbox:NAME, probe, api:TOKEN"),
    ] {
        browser.open(&format!("/console/alerts?{query}")).await;
        browser.shows(says).await;
    }
}

#[tokio::test]
async fn a_mail_in_quarantine_is_read_again() {
    let scene = scene("").await;
    let browser = &scene.browser;
    let alice = scene.lab.online("alice").await;
    scene.lab.mail(&alert("severity=\"loud\"", "<title>Unreadable</title>"));
    let kept = async || {
        let output = scene.mailbell.cli(&["quarantine", "list", "--json"], true);
        String::from_utf8(output.stdout).unwrap()
    };
    wait_for("the mail to be in quarantine", SOON, async || kept().await.contains("loud").then_some(())).await;
    scene.enter(&scene.admin).await;
    browser.shows("1 mail in quarantine").await;
    browser.press("main", "1 mail in quarantine").await;
    browser.arrives("/console/quarantine").await;
    browser.find("main a[href^='/console/quarantine/']").await.click().await.unwrap();
    browser.shows("<title>Unreadable</title>").await;
    browser.press("main", "Read again").await;
    browser.arrives("/console/quarantine").await;
    browser.shows("The mail is read again").await;
    // It is as unreadable as before, and comes back with its reason.
    browser.shows("loud").await;
    drop(alice);
}

#[tokio::test]
async fn who_may_only_read_has_no_buttons_and_who_sees_one_group_sees_no_other() {
    let scene = scene("").await;
    let browser = &scene.browser;
    scene.lab.mail(&asks("bobs", "minor", "Backup slow"));
    scene.lab.mail(&asks("ops", "minor", "Of all"));
    in_state(&scene.mailbell, "held", 3).await;
    let buttons = "return [...document.querySelectorAll('main form')].length";
    scene.enter(&token(&scene.mailbell, "reader", "read", &[])).await;
    browser.open("/console/queue").await;
    browser.shows("Backup slow").await;
    assert_eq!(browser.eval(buttons).await, 0);
    browser.press(".me", "Log out").await;
    browser.arrives("/login").await;
    scene.enter(&token(&scene.mailbell, "bobs", "act", &["--group", "bobs"])).await;
    browser.open("/console/queue").await;
    browser.shows("Backup slow").await;
    assert!(!browser.text().await.contains("Of all"));
    assert!(browser.eval(buttons).await.as_i64().unwrap() > 0);
    let text = browser.text().await;
    assert!(text.contains("People") && !text.contains("Quarantine") && !text.contains("Probes"), "{text}");
    for path in ["/console/quarantine", "/console/quarantine/1", "/console/probes"] {
        browser.open(path).await;
        browser.shows("token bobs sees the groups bobs only").await;
    }
    // The number of another group's is no more than one that does not exist.
    let of_all = scene.mailbell.queue(&["--state", "held"]);
    let of_all = of_all.iter().find(|one| one["title"] == "Of all" && one["recipient"] == "alice").unwrap();
    let alert = of_all["alert"].as_str().unwrap().trim_start_matches('#');
    browser.open(&format!("/console/alerts/{alert}")).await;
    browser.shows("there is no alert #").await;
    browser.open("/console/people").await;
    browser.shows("bob@example.test").await;
    assert!(!browser.text().await.contains("alice"), "{}", browser.text().await);
}

/// Tab, Shift, Enter; nothing else. The focus is always to be seen.
#[tokio::test]
async fn the_keyboard_is_enough() {
    const TAB: char = '\u{e004}';
    const ENTER: char = '\u{e007}';
    let scene = scene("").await;
    let browser = &scene.browser;
    let alert = json!({ "title": "Disk full on db1", "severity": "critical" });
    assert_eq!(scene.web.post("/api/v1/alerts", &scene.admin, &alert).await.status, 202);
    browser.open("/console").await;
    browser.arrives("/login").await;
    // The field has the focus.
    for c in scene.admin.chars() {
        browser.key(c).await;
    }
    browser.key(ENTER).await;
    browser.arrives("/console").await;
    browser.shows("Disk full on db1").await;
    // The first stop leads past the list of pages.
    browser.key(TAB).await;
    let focused = "const e = document.activeElement; const s = getComputedStyle(e); \
        return [e.textContent.trim(), s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2]";
    assert_eq!(browser.eval(focused).await, json!(["Skip to the content", true]));
    browser.key(ENTER).await;
    for stop in 0.. {
        assert!(stop < 40, "no way to the alert");
        browser.key(TAB).await;
        let at = browser.eval(focused).await;
        assert_eq!(at[1], true, "the focus is not to be seen at {at}");
        if at[0] == "Disk full on db1" {
            break;
        }
    }
    browser.key(ENTER).await;
    browser.shows("Who was told").await;
    assert!(browser.at().await.starts_with("/console/alerts/"));
}
