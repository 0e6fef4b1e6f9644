//! Who of a group can be told now: over the API, and for old pages.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::free_port;
use crate::support::lab::{Lab, OPERATORS, group};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::wait_for;
use crate::support::web::{Answer, Web, alone, token};

/// Everybody is `ops`; `more` are further keys of `[http]`.
fn config(lab: &Lab, port: u16, more: &str) -> String {
    let all = ["anna", "away", "xaver", "dora", "otto", "shy"];
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n{more}");
    let shy = "[[recipient]]\nname = \"shy\"\njid = \"shy@example.test\"\n";
    let groups = group("ops", &all, "")
        + &group("front", &["anna"], "fallback = \"@leaning\"")
        + &group("leaning", &["away", "xaver"], "")
        + &group("quiet", &["dora"], "")
        + &group("always", &["otto", "dora"], "offline = \"send\"\nshows = [\"dnd\"]")
        + &group("gone", &["otto"], "")
        + &group("blind", &["otto", "shy"], "")
        + &group("outer", &["otto", "@leaning", "away"], "")
        + &group("nobody", &[], "");
    lab.base() + shy + &http + &groups + OPERATORS
}

/// Anna is there, two are away, one asks not to be disturbed, one is offline, and one lets nobody see.
async fn people(lab: &Lab) -> [Client; 5] {
    lab.chat.add_user("shy");
    [
        lab.online("anna").await,
        lab.login("away").show("away").connect().await,
        lab.login("xaver").show("xa").connect().await,
        lab.login("dora").show("dnd").connect().await,
        lab.login("shy").without_accepting().connect().await,
    ]
}

struct Asked {
    web: Web,
    token: String,
}

impl Asked {
    async fn get(&self, path: &str) -> Answer {
        self.web.get(path, &self.token).await
    }

    /// Asks until the group is so.
    async fn is(&self, group: &str, status: &str, ready: usize, members: usize) {
        let wanted = json!({ "status": status, "ready": ready, "members": members });
        let path = format!("/api/v1/groups/{group}/availability");
        wait_for(&format!("{group} to be {wanted}"), SOON * 2, async || {
            tokio::time::sleep(Duration::from_millis(20)).await;
            (self.get(&path).await.json() == wanted).then_some(())
        })
        .await;
    }

    async fn items(&self, path: &str) -> Vec<Value> {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["items"].as_array().unwrap().clone()
    }

    async fn names(&self, path: &str) -> Vec<String> {
        self.items(path).await.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_group_is_as_the_best_of_its_members() {
    let mut lab = Lab::new(&["anna", "away", "xaver", "dora", "otto"]);
    let [anna, away, xaver, dora, _shy] = people(&lab).await;
    let port = free_port();
    let mailbell = Mailbell::run(&config(&lab, port, ""));
    let api = Asked { web: Web::new(port), token: token(&mailbell, "reader", "read", &[]) };
    // Settled: offline is believed.
    api.is("gone", "offline", 0, 1).await;
    for (group, status, ready, members) in [
        ("ops", "active", 3, 6),
        ("front", "active", 1, 1),
        ("leaning", "away", 2, 2),
        // A warning spares who is in "do not disturb".
        ("quiet", "busy", 0, 1),
        // This group's policy does not; and who is sent to without being there is not ready.
        ("always", "busy", 1, 2),
        ("blind", "unknown", 0, 2),
        ("outer", "away", 2, 3),
        ("nobody", "offline", 0, 0),
    ] {
        let answer = api.get(&format!("/api/v1/groups/{group}/availability")).await;
        assert_eq!(answer.json(), json!({ "status": status, "ready": ready, "members": members }), "{group}");
    }
    let critical = api.get("/api/v1/groups/ops/availability?severity=critical").await.json();
    assert_eq!(critical, json!({ "status": "active", "ready": 4, "members": 6 }), "who is busy is told of these");
    // A group's fallback is no part of it.
    let (before, never) = (Timestamp::now(), api.get("/api/v1/recipients/otto").await.json());
    anna.unavailable().await;
    api.is("front", "offline", 0, 1).await;
    let left = api.get("/api/v1/recipients/anna").await.json();
    let since: Timestamp = left["since"].as_str().unwrap().parse().unwrap();
    assert!((before..=Timestamp::now()).contains(&since), "{left}");
    assert_eq!((&never["presence"], &never["since"]), (&json!("offline"), &Value::Null), "he never told");
    api.is("ops", "away", 2, 6).await;
    away.set_presence(None, -1).await;
    api.is("leaning", "away", 1, 2).await;
    xaver.set_presence(Some("dnd"), 0).await;
    api.is("leaning", "busy", 0, 2).await;
    dora.set_presence(None, 0).await;
    api.is("quiet", "active", 1, 1).await;

    lab.chat.kill();
    for (group, members) in [("ops", 6), ("gone", 1), ("outer", 3)] {
        api.is(group, "unknown", 0, members).await;
    }
    api.is("nobody", "offline", 0, 0).await;
    let people = api.items("/api/v1/recipients").await;
    assert!(people.iter().all(|person| person["presence"] == "unknown" && person["granted"].is_null()), "{people:?}");
    lab.chat.run();
    let _otto = lab.online("otto").await;
    api.is("gone", "active", 1, 1).await;
    api.is("front", "offline", 0, 1).await;
}

#[tokio::test]
async fn people_and_groups_are_told_to_whom_they_are_for() {
    let lab = Lab::new(&["anna", "away", "xaver", "dora", "otto"]);
    let _people = people(&lab).await;
    let port = free_port();
    let mailbell = Mailbell::run(&config(&lab, port, ""));
    let web = Web::new(port);
    let api = Asked { web: web.clone(), token: token(&mailbell, "reader", "read", &[]) };
    api.is("gone", "offline", 0, 1).await;
    api.is("ops", "active", 3, 6).await;
    let groups = ["always", "blind", "front", "gone", "leaning", "nobody", "ops", "outer", "quiet"];
    assert_eq!(api.names("/api/v1/groups").await, groups);
    assert_eq!(
        api.items("/api/v1/groups?severity=info").await[7],
        json!({
            "name": "outer", "status": "away", "ready": 2, "members": 3, "recipients": ["otto", "away", "xaver"],
            "contains": ["leaning"], "public": false,
        })
    );
    assert_eq!(api.items("/api/v1/groups").await[2]["fallback"], "leaning");
    assert_eq!(api.names("/api/v1/recipients").await, ["anna", "away", "xaver", "dora", "otto", "shy"]);
    assert_eq!(api.names("/api/v1/recipients?group=outer").await, ["away", "xaver", "otto"]);
    for (name, presence, show, granted) in [
        ("anna", "active", json!("available"), true),
        ("away", "away", json!("away"), true),
        ("xaver", "away", json!("xa"), true),
        ("dora", "busy", json!("dnd"), true),
        ("otto", "offline", Value::Null, true),
        ("shy", "unknown", Value::Null, false),
    ] {
        let person = api.get(&format!("/api/v1/recipients/{name}")).await.json();
        assert_eq!((&person["presence"], &person["show"]), (&json!(presence), &show), "{name}");
        assert_eq!((&person["granted"], &person["room"]), (&json!(granted), &json!(false)), "{name}");
    }
    let away = api.get("/api/v1/recipients/away").await.json();
    assert_eq!((&away["groups"], &away["jid"]), (&json!(["leaning", "ops", "outer"]), &json!("away@example.test")));
    for (path, status, said) in [
        ("groups/oops/availability", 404, "there is no group of this name"),
        ("recipients/alan", 404, "there is no recipient of this name"),
        ("recipients?group=oops", 404, "there is no group of this name"),
        ("groups?severity=bad", 400, "`bad` is no severity; allowed: critical, major, minor, warning, info"),
    ] {
        assert_eq!(api.get(&format!("/api/v1/{path}")).await.problem(status), said);
    }
    let unknown = api.get("/api/v1/recipients?room=yes").await.problem(400);
    assert!(unknown.contains("unknown field `room`"), "{unknown}");

    // One of two groups, and nothing of the others: not who is in them, not that they are there.
    let outer = Asked { web, token: token(&mailbell, "outer", "read", &["--group", "outer", "--group", "front"]) };
    assert_eq!(outer.names("/api/v1/groups").await, ["front", "outer"]);
    let seen = outer.items("/api/v1/groups").await;
    assert!(seen[0]["fallback"].is_null() && seen[1]["contains"] == json!([]), "{seen:?}");
    assert_eq!(outer.names("/api/v1/recipients").await, ["anna", "away", "xaver", "otto"]);
    assert_eq!(outer.get("/api/v1/recipients/away").await.json()["groups"], json!(["outer"]));
    outer.get("/api/v1/recipients/dora").await.problem(404);
    assert_eq!(outer.get("/api/v1/groups/outer/availability").await.json()["ready"], 2);
}

/// As an old page asks: without a token.
async fn page(web: &Web, query: &str) -> Answer {
    web.ask("GET", &format!("/webclient?{query}"), &[("origin", "https://intranet.example.test")], "").await
}

#[tokio::test]
async fn old_pages_get_a_word_or_a_number_where_that_is_allowed() {
    let mut lab = Lab::new(&["anna", "away", "xaver", "dora", "otto"]);
    let _people = people(&lab).await;
    let port = free_port();
    let mailbell = Mailbell::run(&config(&lab, port, "legacy_open = true\n"));
    let api = Asked { web: Web::new(port), token: token(&mailbell, "reader", "read", &[]) };
    api.is("gone", "offline", 0, 1).await;
    api.is("ops", "active", 3, 6).await;
    for (group, status, ready) in [
        ("ops", "STATUS_ACTIVE", "3"),
        ("leaning", "STATUS_AWAY", "2"),
        ("quiet", "STATUS_DND", "0"),
        ("always", "STATUS_DND", "1"),
        ("gone", "na", "0"),
        ("blind", "na", "0"),
        ("nobody", "na", "0"),
        ("oops", "na", "0"),
        ("%C3%A9%20%00", "na", "0"),
        ("", "na", "0"),
    ] {
        for (name, wanted) in [("getSTStatus", status), ("getQueueExpertsReady", ready)] {
            let answer = page(&api.web, &format!("{name}={group}&_=1700000000")).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, wanted), "{name} of {group}: {answer:?}");
            assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
            assert_eq!(answer.header("access-control-allow-origin"), "*");
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.header("set-cookie"), "");
        }
    }
    for query in ["", "getSTStatus=ops&getQueueExpertsReady=ops", "getststatus=ops"] {
        let said = page(&api.web, query).await.problem(400);
        assert_eq!(said, "write ?getSTStatus=GROUP or ?getQueueExpertsReady=GROUP");
    }
    api.web.ask("POST", "/webclient", &[], "").await.problem(405);
    // Nothing else is open, and no other page of the web may read it.
    let foreign = api.web.ask("GET", "/api/v1/groups", &[("origin", "https://intranet.example.test")], "").await;
    foreign.problem(401);
    assert_eq!(foreign.header("access-control-allow-origin"), "");
    lab.chat.kill();
    api.is("ops", "unknown", 0, 6).await;
    assert_eq!(page(&api.web, "getSTStatus=ops").await.body, "na");
    assert_eq!(page(&api.web, "getQueueExpertsReady=ops").await.body, "0");
}

#[tokio::test]
async fn old_pages_are_slowed_by_address_and_find_nothing_where_they_are_not_wanted() {
    let port = free_port();
    let mailbell = Mailbell::run(&alone(port, "behind_proxy = true\nlegacy_open = true\n"));
    let web = Web::new(port);
    let from =
        async |address: &str| web.ask("GET", "/webclient?getSTStatus=ops", &[("x-forwarded-for", address)], "").await;
    assert_eq!(from("192.0.2.1").await.body, "na");
    // More than flows in while they are sent, however slowly that is.
    let slowed = wait_for("the address to be slowed", SOON * 3, async || {
        let all = futures::future::join_all((0..100).map(|_| from("192.0.2.1"))).await;
        all.into_iter().find(|answer| answer.status != 200)
    })
    .await;
    let said = slowed.problem(429);
    assert_eq!(said, format!("too many requests from this address; try again in {} s", slowed.header("retry-after")));
    assert_eq!(from("192.0.2.2").await.status, 200, "another address is answered");
    let reader = token(&mailbell, "reader", "read", &[]);
    let bearer = format!("Bearer {reader}");
    let known = [("x-forwarded-for", "192.0.2.1"), ("authorization", bearer.as_str())];
    assert_eq!(web.ask("GET", "/api/v1/groups", &known, "").await.status, 200, "who has a token is not slowed by it");

    // A reload closes it: as if it had never been there, whatever the method.
    mailbell.reload(&alone(port, "behind_proxy = true\n"));
    for method in ["GET", "HEAD", "POST", "OPTIONS"] {
        let ask = async |path: &str| {
            let mut answer = web.ask(method, path, &[("x-forwarded-for", "192.0.2.3")], "").await;
            answer.headers.remove("date");
            // What it would take if it were there; it is no secret that it could be.
            answer.headers.remove("allow");
            (answer.status, answer.headers, answer.body)
        };
        let gone = ask("/webclient?getSTStatus=ops").await;
        assert_eq!(gone, ask("/nothing?getSTStatus=ops").await, "{method}");
        assert_eq!(gone.0, 404);
    }
}
