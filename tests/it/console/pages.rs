//! Every page, with something on it: light and dark, on a desk and on a phone, for who sees and who only hears.

use serde_json::json;

use super::{Scene, scene};
use crate::support::browser::Browser;
use crate::support::client::Client;
use crate::support::free_port;
use crate::support::lab::{alert, asks, in_state};
use crate::support::mailbell::Mailbell;
use crate::support::web::{alone, token};

/// Two alerts that are held or sent, one mail in quarantine, and what else there is to see.
async fn furnished() -> (Scene, Client) {
    let scene = scene("[probe]\ninterval = \"1s\"\ntimeout = \"500ms\"\nattempts = 1\nretry_interval = \"200ms\"\ntargets = [\"127.0.0.1:1\"]\n").await;
    let alice = scene.lab.online("alice").await;
    let alerts = json!([
        { "title": "Disk full on db1.example.test", "severity": "critical", "groups": ["ops"], "key": "disk/db1",
          "text": "/var is 98 % full.\nIt was 91 % an hour ago; at this pace it is full in 40 minutes.",
          "labels": { "host": "db1.example.test", "site": "Zürich" },
          "links": ["https://wiki.example.test/disk", "xmpp:dba@rooms.example.test?join"] },
        { "title": "Backup slow", "severity": "minor", "groups": ["bobs"] },
        { "title": "UPS on battery", "severity": "major" },
        { "title": "Fan noisy", "severity": "warning" },
        { "title": "Night batch started", "severity": "info" },
    ]);
    assert_eq!(scene.web.post("/api/v1/alerts", &scene.admin, &alerts).await.status, 202);
    alice.gets("Disk full").await;
    scene.lab.mail(&asks("ops", "critical", "Raid degraded"));
    scene.lab.mail(&alert("severity=\"loud\"", "<title>An unreadable one</title>"));
    alice.gets("Raid degraded").await;
    in_state(&scene.mailbell, "held", 1).await;
    scene.enter(&scene.admin).await;
    scene.browser.open("/console/quarantine").await;
    scene.browser.shows("Mail ").await;
    (scene, alice)
}

/// Paths of all pages that somebody who is logged in sees, with a name each.
async fn paths(scene: &Scene) -> Vec<(String, String)> {
    let browser = &scene.browser;
    browser.open("/console/quarantine").await;
    let mail = browser.find("a[href^='/console/quarantine/']").await.attr("href").await.unwrap().unwrap();
    let alerts = scene.mailbell.queue(&["--state", "delivered,accepted,held"]);
    let disk = alerts.iter().find(|one| one["title"].as_str().unwrap().starts_with("Disk full")).unwrap();
    let disk = disk["alert"].as_str().unwrap().trim_start_matches('#').to_owned();
    let mut paths = vec![("alert".to_owned(), format!("/console/alerts/{disk}")), ("quarantined".to_owned(), mail)];
    paths.extend(
        [
            ("overview", "/console"),
            ("alerts", "/console/alerts"),
            ("alerts-none", "/console/alerts?text=nothing+holds+this&severity=major"),
            ("queue", "/console/queue"),
            ("queue-failed", "/console/queue?show=failed"),
            ("quarantine", "/console/quarantine"),
            ("people", "/console/people"),
            ("probes", "/console/probes"),
            ("error", "/console/alerts/zzzzzz"),
            ("login", "/login"),
        ]
        .map(|(name, path)| (name.to_owned(), path.to_owned())),
    );
    paths
}

#[tokio::test]
async fn every_page_can_be_read_by_everybody() {
    let (scene, _alice) = furnished().await;
    let paths = paths(&scene).await;
    look_at(&scene.browser, &paths).await;
}

/// Where nothing is there yet, and nothing works: a new installation.
#[tokio::test]
async fn pages_without_anything_on_them_say_what_that_means() {
    let port = free_port();
    let mailbell = Mailbell::run(&alone(port, ""));
    let browser = Browser::start(port).await;
    browser.open("/login").await;
    browser.shows("Nobody has a token yet.").await;
    browser.picture("login-first").await;
    browser.open("/login").await;
    browser.log_in(&token(&mailbell, "admin", "admin", &[])).await;
    browser.arrives("/console").await;
    browser.shows("Not working").await;
    let mut paths = Vec::new();
    for (name, path, says) in [
        ("overview", "/console", "there is no XMPP session"),
        ("alerts", "/console/alerts", "There has been no alert yet."),
        ("queue", "/console/queue", "There is nothing here."),
        ("quarantine", "/console/quarantine", "The quarantine is empty"),
        ("people", "/console/people", "ann@example.test"),
        ("probes", "/console/probes", "No target is probed."),
    ] {
        browser.open(path).await;
        browser.shows(says).await;
        paths.push((format!("empty-{name}"), path.to_owned()));
    }
    look_at(&browser, &paths).await;
}

/// In both colour schemes and both widths: nothing too wide, nothing in the console, nothing serious for axe-core.
async fn look_at(browser: &Browser, paths: &[(String, String)]) {
    browser.console().await;
    let mut wrong = Vec::new();
    for scheme in ["light", "dark"] {
        browser.scheme(scheme).await;
        for width in [1280, 360] {
            browser.width(width).await;
            for (name, path) in paths {
                browser.open(path).await;
                let about = format!("{name}, {scheme}, {width} px");
                let dark = browser.eval("return matchMedia('(prefers-color-scheme: dark)').matches").await;
                assert_eq!((dark, browser.eval("return innerWidth").await), (json!(scheme == "dark"), json!(width)));
                browser.picture(&format!("{name}-{scheme}-{width}")).await;
                let (over, what) = browser.overflow().await;
                if over > 0 {
                    wrong.push(format!("{about}: {over} px too wide:\n{what}"));
                }
                wrong.extend(browser.violations().await.into_iter().map(|found| format!("{about}: {found}")));
                let said = browser.console().await;
                // The page of a problem has its status.
                let said = said.into_iter().filter(|line| name != "error" || !line.contains("status of 404"));
                wrong.extend(said.map(|line| format!("{about}: the console says {line}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What the checks above would be worth if they found nothing anywhere.
#[tokio::test]
async fn a_page_that_is_not_good_is_found_out() {
    let scene = scene("").await;
    let browser = &scene.browser;
    scene.enter(&scene.admin).await;
    assert_eq!((browser.violations().await, browser.overflow().await.0), (Vec::new(), 0));
    browser.console().await;
    browser
        .eval(
            "const bad = document.createElement('div'); bad.innerHTML = '<input><img src=/console/assets/icon.svg>'; \
             bad.style.width = '5000px'; document.body.append(bad); \
             const script = document.createElement('script'); script.textContent = 'window.ran = 1'; \
             document.body.append(script);",
        )
        .await;
    let found = browser.violations().await.join("\n");
    assert!(found.contains("image-alt") && found.contains("\"label\""), "{found}");
    assert!(browser.overflow().await.0 > 3000);
    let said = browser.console().await.join("\n");
    assert!(said.contains("Content Security Policy"), "{said}");
    assert_eq!(browser.eval("return window.ran === undefined").await, true, "the policy is in force");
}

/// Colours that are the same in both schemes would be no scheme.
#[tokio::test]
async fn dark_is_dark() {
    let scene = scene("").await;
    scene.enter(&scene.admin).await;
    let ground = async |scheme| {
        scene.browser.scheme(scheme).await;
        scene.browser.eval("return getComputedStyle(document.body).backgroundColor").await
    };
    let light = |colour: &serde_json::Value| {
        let numbers = colour.as_str().unwrap().trim_start_matches("rgb(").trim_end_matches(')').to_owned();
        numbers.split(", ").map(|n| n.parse::<u32>().unwrap()).sum::<u32>() > 384
    };
    assert!(light(&ground("light").await) && !light(&ground("dark").await));
}
