//! Questions over HTTP, and what an operator does: why did X not get Y, end it, send it now, read it again, look now.

use serde_json::{Value, json};

use crate::support::free_port;
use crate::support::lab::{Lab, OPERATORS, alert, asks, group, in_state};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::wait_for;
use crate::support::web::{Answer, Web, alone, token};

/// Ops are Alice, Bob and Carol, but Carol is behind a wall; Dave is in a group of his own.
fn config(lab: &Lab, port: u16) -> String {
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let wall = "[[wall]]\nname = \"no monitors\"\nmatch = { sender = \"monitor@*\" }\nto = [\"carol\"]\n";
    let groups = group("ops", &["alice", "bob", "carol"], "") + &group("dba", &["dave"], "");
    lab.base() + &http + &lab.imap("inbox", "sender_may_choose_group = true") + &groups + wall + OPERATORS
}

/// The items of a list that has no other page.
fn items(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let page = answer.json();
    assert!(page.get("next").is_none(), "{page}");
    page["items"].as_array().unwrap().clone()
}

fn texts(items: &[Value], field: &str) -> Vec<String> {
    items.iter().map(|item| item[field].as_str().unwrap().to_owned()).collect()
}

/// The answer for one recipient: whether they were told, and why.
async fn why(web: &Web, reader: &str, id: &str, recipient: &str) -> (bool, String) {
    let shown = web.get(&format!("/api/v1/alerts/{id}?recipient={recipient}"), reader).await.json();
    let answers = shown["answers"].as_array().unwrap();
    assert_eq!((answers.len(), &answers[0]["recipient"]), (1, &json!(recipient)), "{shown}");
    (answers[0]["told"].as_bool().unwrap(), answers[0]["why"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn why_somebody_did_not_get_an_alert_is_answered_for_everybody() {
    let lab = Lab::new(&["alice", "bob", "carol", "dave"]);
    let alice = lab.online("alice").await;
    let port = free_port();
    let mut mailbell = Mailbell::run(&config(&lab, port));
    let (web, act) = (Web::new(port), token(&mailbell, "act", "act", &[]));
    let dba = token(&mailbell, "dba", "act", &["--group", "dba"]);
    lab.mail(&asks("ops", "major", "Disk full"));
    alice.gets("Disk full").await;
    in_state(&mailbell, "delivered", 1).await;
    in_state(&mailbell, "held", 1).await;
    lab.mail(&asks("dba", "minor", "Table full"));
    in_state(&mailbell, "held", 2).await;

    let list = items(&web.get("/api/v1/alerts", &act).await);
    assert_eq!(texts(&list, "title"), ["Table full", "Disk full"]);
    assert_eq!(
        (&list[1]["groups"], &list[1]["open"], &list[1]["source"]),
        (&json!(["ops"]), &json!(true), &json!("mailbox:inbox"))
    );
    for (query, expected) in [
        ("severity=major", vec!["Disk full"]),
        ("severity=info&status=firing,update", vec!["Table full", "Disk full"]),
        ("status=resolved", vec![]),
        ("group=dba", vec!["Table full"]),
        ("source=mailbox:inbox&text=DISK", vec!["Disk full"]),
        ("source=probe", vec![]),
        ("until=2020-01-01T00:00:00Z", vec![]),
    ] {
        let found = items(&web.get(&format!("/api/v1/alerts?{query}"), &act).await);
        assert_eq!(texts(&found, "title"), expected, "{query}");
    }
    let first = web.get("/api/v1/alerts?limit=1", &act).await.json();
    let next = first["next"].as_str().unwrap();
    let second = items(&web.get(&format!("/api/v1/alerts?limit=1&after={next}"), &act).await);
    assert_eq!(texts(&second, "title"), ["Disk full"]);

    let id = list[1]["id"].as_str().unwrap().trim_start_matches('#');
    let shown = web.get(&format!("/api/v1/alerts/{id}?recipient=alice"), &act).await.json();
    let steps = texts(shown["timeline"].as_array().unwrap(), "event");
    let expected =
        ["fetched", "parsed", "condition", "routed", "queued", "presence", "intended", "accepted", "delivered"];
    assert_eq!(steps, expected, "{shown}");
    let presence = &shown["timeline"][5];
    assert_eq!((&presence["detail"], &presence["recipient"]), (&json!("available"), &json!("alice")));
    let (told, text) = why(&web, &act, id, "alice").await;
    assert!(told && text.starts_with("a client has it since ") && text.ends_with("(as a member of ops)"), "{text}");
    let (told, text) = why(&web, &act, id, "bob").await;
    assert!(!told && text.starts_with("it is held until ") && text.contains("the recipient is offline"), "{text}");
    let walled = "carol was left out: behind the wall `no monitors`";
    assert_eq!(why(&web, &act, id, "carol").await, (false, walled.to_owned()));
    let elsewhere = "dave was in none of the groups that it is for: ops";
    assert_eq!(why(&web, &act, id, "dave").await, (false, elsewhere.to_owned()));
    // The command says the same.
    let explained = mailbell.cli(&["explain", id], true);
    let said = String::from_utf8(explained.stdout).unwrap();
    assert!(said.contains("alice was told: a client has it since ") && said.contains(walled), "{said}");
    assert!(said.contains("presence") && said.contains("delivered"), "{said}");
    let one = mailbell.cli(&["explain", id, "--recipient", "dave", "--json"], true);
    let one: Value = serde_json::from_slice(&one.stdout).unwrap();
    assert_eq!(one["answers"], json!([{ "recipient": "dave", "told": false, "why": elsewhere }]));
    // A name that is mistyped is not that of somebody who was in no group.
    let nobody = "there is no recipient davve in the config";
    assert_eq!(why(&web, &act, id, "davve").await, (false, nobody.to_owned()));
    let explains = |mailbell: &Mailbell, text: &str| {
        let said = mailbell.cli(&["explain", id, "--recipient", "davve"], true);
        let told = String::from_utf8(said.stdout).unwrap();
        assert!(told.contains(&format!("davve was not told: {text}")), "{told}");
        String::from_utf8(said.stderr).unwrap()
    };
    assert_eq!(explains(&mailbell, nobody), "");
    let none = mailbell.cli(&["explain", "zzz"], true);
    assert_eq!(
        (none.status.code(), String::from_utf8(none.stderr).unwrap().as_str()),
        (Some(1), "mailbell: there is no alert #zzz\n")
    );

    // A token of a group sees what is for it, and nothing else: not even who else there is.
    let of_dba = list[0]["id"].as_str().unwrap().trim_start_matches('#');
    for name in ["alice", "davve"] {
        let unseen = format!("token dba sees no notification of {name}; what is for other groups it does not see");
        assert_eq!(why(&web, &dba, of_dba, name).await, (false, unseen));
    }
    assert!(why(&web, &dba, of_dba, "dave").await.1.starts_with("it is held until "));
    assert_eq!(texts(&items(&web.get("/api/v1/alerts", &dba).await), "title"), ["Table full"]);
    web.get(&format!("/api/v1/alerts/{id}"), &dba).await.problem(404);
    assert_eq!(web.get("/api/v1/alerts?group=ops", &dba).await.json()["field"], "group");
    let notifications = items(&web.get("/api/v1/notifications?state=held", &dba).await);
    assert_eq!(texts(&notifications, "recipient"), ["dave"]);
    assert_eq!(texts(&items(&web.get("/api/v1/conditions", &dba).await), "key"), ["Table full"]);
    assert_eq!(texts(&items(&web.get("/api/v1/archive", &dba).await), "recipient"), ["dave"]);
    web.post(&format!("/api/v1/alerts/{id}/resolve"), &dba, &json!({})).await.problem(404);
    let of_bob = items(&web.get("/api/v1/notifications?recipient=bob", &act).await);
    let bobs = format!("/api/v1/notifications/{}", of_bob[0]["id"]);
    for path in [bobs.clone(), bobs.clone() + "/retry", bobs.clone() + "/expire"] {
        let method = if path == bobs { "GET" } else { "POST" };
        let answer = web.ask(method, &path, &[("authorization", &format!("Bearer {dba}"))], "").await;
        answer.problem(404);
    }

    // Sent now, although Bob is away; and ended.
    assert_eq!(web.post(&(bobs.clone() + "/retry"), &act, &json!({})).await.status, 200);
    in_state(&mailbell, "accepted", 1).await;
    let bob = lab.online("bob").await;
    bob.gets("Disk full").await;
    let expired = web.post(&(bobs + "/expire"), &act, &json!({})).await;
    assert!(expired.problem(409).contains("possible from queued, held"), "{expired:?}");
    let daves = items(&web.get("/api/v1/notifications?recipient=dave", &dba).await)[0]["id"].clone();
    let expired = web.post(&format!("/api/v1/notifications/{daves}/expire"), &dba, &json!({ "reason": "old" })).await;
    assert_eq!((&expired.json()["state"], &expired.json()["reason"]), (&json!("expired"), &json!("old (dba)")));
    for (query, field) in
        [("limit=0", "limit"), ("since=today", "since"), ("after=x", "after"), ("severity=bad", "severity")]
    {
        let answer = web.get(&format!("/api/v1/alerts?{query}"), &act).await;
        answer.problem(400);
        assert_eq!(answer.json()["field"], field, "{answer:?}");
    }
    assert!(web.get("/api/v1/alerts?colour=red", &act).await.problem(400).contains("colour"));

    // Without the service its config file tells who there is; one with errors tells nothing.
    mailbell.stop();
    assert_eq!(explains(&mailbell, nobody), "");
    mailbell.configure(&(config(&lab, port) + "colour = \"red\"\n"));
    let said = explains(&mailbell, "davve was in none of the groups that it is for: ops");
    assert!(said.contains("whether it has a recipient davve is not known"), "{said}");
}

/// Who was told of the beginning gets one end, whoever brings it first.
#[tokio::test]
async fn an_operator_ends_a_condition_and_who_was_told_hears_of_it_once() {
    let lab = Lab::new(&["alice", "bob"]);
    let alice = lab.online("alice").await;
    let port = free_port();
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let mailbell = Mailbell::run(&(lab.base() + &http + &lab.imap("inbox", "") + &lab.everybody("ops") + OPERATORS));
    let (web, act) = (Web::new(port), token(&mailbell, "ann", "act", &[]));
    let fired =
        |key: &str| alert(&format!("key=\"{key}\" severity=\"minor\""), &format!("<title>{key} is hot</title>"));
    for key in ["fan", "disk"] {
        lab.mail(&fired(key));
        alice.gets(&format!("{key} is hot")).await;
    }
    in_state(&mailbell, "delivered", 2).await;
    in_state(&mailbell, "held", 2).await;
    let open = items(&web.get("/api/v1/conditions?open=true", &act).await);
    assert_eq!(texts(&open, "key"), ["disk", "fan"]);
    let list = items(&web.get("/api/v1/alerts?text=fan", &act).await);
    let path = format!("/api/v1/alerts/{}/resolve", list[0]["id"].as_str().unwrap().trim_start_matches('#'));
    let done = web.post(&path, &act, &json!({ "reason": "it was dusty" })).await;
    assert_eq!((done.status, &done.json()["conditions"]), (200, &json!([open[1]["id"]])), "{done:?}");
    let said = wait_for("the end", SOON, async || {
        let all = alice.messages();
        all.iter().filter_map(|m| m.body()).find(|body| body.contains("Resolved by ann: it was dusty"))
    })
    .await;
    assert!(said.contains("fan is hot"), "{said}");
    // Bob had not been told, and is not.
    let gone = in_state(&mailbell, "superseded", 1).await;
    assert_eq!(gone[0]["recipient"], "bob");
    assert!(web.post(&path, &act, &json!({})).await.problem(409).contains("no condition that is open"));
    // The sender's own end comes later: nobody hears of it.
    lab.mail(&alert("key=\"fan\" status=\"resolved\"", "<title>fan is cool</title>"));
    let late = mailbell.alert("fan is cool").await;
    assert_eq!(
        (late.state.as_str(), late.reason.as_str()),
        ("recorded", "resolves a condition that is closed already")
    );
    // By its number.
    let by_number = format!("/api/v1/conditions/{}/resolve", open[0]["id"]);
    let done = web.ask("POST", &by_number, &[("authorization", &format!("Bearer {act}"))], "").await;
    assert_eq!(done.status, 200, "{done:?}");
    wait_for("the other end", SOON, async || (alice.copies("disk is hot") == 2).then_some(())).await;
    assert!(items(&web.get("/api/v1/conditions?open=true", &act).await).is_empty());
    assert!(
        web.ask("POST", &by_number, &[("authorization", &format!("Bearer {act}"))], "")
            .await
            .problem(409)
            .contains("closed")
    );
    // It begins anew.
    lab.mail(&fired("fan"));
    wait_for("the new beginning", SOON, async || (alice.copies("fan is hot") == 3).then_some(())).await;
    assert_eq!((alice.copies("fan is cool"), alice.copies("Resolved by ann: it was dusty")), (0, 1));
}

#[tokio::test]
async fn a_mailbox_is_looked_into_now_and_what_it_quarantined_is_read_again() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let port = free_port();
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let inbox = |more: &str| lab.pop3("inbox", more).replace("poll = \"1s\"", "poll = \"1h\"");
    let config = |more: &str| lab.base() + &http + &inbox(more) + &lab.everybody("ops") + OPERATORS;
    let mailbell = Mailbell::run(&config(""));
    let (web, act) = (Web::new(port), token(&mailbell, "act", "act", &[]));
    wait_for("the first look", SOON, async || {
        let boxes = items(&web.get("/api/v1/mailboxes", &act).await);
        (boxes[0]["state"] == "ok").then_some(())
    })
    .await;
    lab.mail(
        "From: ups@example.test\nTo: inbox@example.test\nSubject: On battery\nMessage-ID: <1@example.test>\n\nhelp\n",
    );
    let polled = web.post("/api/v1/mailboxes/inbox/poll", &act, &json!({})).await;
    assert_eq!((polled.status, polled.json()), (202, json!({ "mailbox": "inbox" })));
    web.post("/api/v1/mailboxes/nobody/poll", &act, &json!({})).await.problem(404);
    let kept =
        wait_for("the quarantine", SOON, async || items(&web.get("/api/v1/quarantine", &act).await).into_iter().next())
            .await;
    let path = format!("/api/v1/quarantine/{}", kept["id"]);
    assert_eq!(web.get(&path, &act).await.json(), kept);
    let raw = web.get(&(path.clone() + "/raw"), &act).await;
    assert_eq!((raw.header("content-type"), raw.body.contains("On battery")), ("text/plain; charset=utf-8", true));
    mailbell.reload(&config("plain = \"alert\""));
    assert_eq!(web.post(&(path.clone() + "/replay"), &act, &json!({})).await.status, 202);
    alice.gets("WARNING: On battery").await;
    wait_for("it to be gone", SOON, async || (web.get(&path, &act).await.status == 404).then_some(())).await;
    assert!(items(&web.get("/api/v1/quarantine", &act).await).is_empty());
}

#[tokio::test]
async fn what_belongs_to_no_group_is_for_who_sees_all() {
    let port = free_port();
    let probe = "[[probe.target]]\naddress = \"192.0.2.1:22\"\n";
    let mailbell = Mailbell::run(&(alone(port, "") + probe));
    let web = Web::new(port);
    let (all, ops) = (token(&mailbell, "all", "act", &[]), token(&mailbell, "ops", "act", &["--group", "ops"]));
    for path in ["mailboxes", "probes", "quarantine", "quarantine/1", "quarantine/1/raw"] {
        let path = format!("/api/v1/{path}");
        let refused = web.get(&path, &ops).await;
        assert_eq!(refused.problem(403), "token ops is for some groups, and this is of none", "{path}");
        assert_ne!(web.get(&path, &all).await.status, 403, "{path}");
    }
    for path in ["mailboxes/x/poll", "quarantine/1/replay"] {
        web.post(&format!("/api/v1/{path}"), &ops, &json!({})).await.problem(403);
        web.post(&format!("/api/v1/{path}"), &all, &json!({})).await.problem(404);
    }
    let probes = items(&web.get("/api/v1/probes", &all).await);
    assert_eq!((&probes[0]["host"], &probes[0]["port"]), (&json!("192.0.2.1"), &json!(22)));
}

/// Whoever sees some groups learns nothing of others, not even that they are not there.
#[tokio::test]
async fn a_group_that_is_asked_for_by_name_is_answered_by_one_rule() {
    const HISTORY: [&str; 6] = [
        "alerts?group=",
        "conditions?group=",
        "notifications?group=",
        "archive?group=",
        "archive?format=csv&group=",
        "events?group=",
    ];
    const OF_CONFIG: [&str; 2] = ["recipients?group=", "groups/NAME/availability"];
    let port = free_port();
    let config = alone(port, "");
    let mailbell = Mailbell::run(&config);
    let web = Web::new(port);
    let (all, dba) =
        (token(&mailbell, "all", "act", &[]), token(&mailbell, "dba", "read,dispatch", &["--group", "dba"]));
    assert_eq!(web.post("/api/v1/alerts", &dba, &json!({ "title": "Table full" })).await.status, 202);
    let ask = async |path: &str, group: &str, token: &str| {
        let path = if path.contains("NAME") { path.replace("NAME", group) } else { format!("{path}{group}") };
        // Of a stream, which has no end, only how it begins.
        let method = if path.starts_with("events") { "HEAD" } else { "GET" };
        web.ask(method, &format!("/api/v1/{path}"), &[("authorization", &format!("Bearer {token}"))], "").await
    };
    for path in HISTORY.into_iter().chain(OF_CONFIG) {
        for group in ["ops", "oops"] {
            let refused = ask(path, group, &dba).await;
            assert_eq!(refused.status, 403, "{path}: {refused:?}");
            if !path.starts_with("events") {
                assert_eq!(refused.problem(403), format!("token dba does not see group {group}"), "{path}");
                assert_eq!(refused.json()["field"], "group");
            }
        }
        assert_eq!(ask(path, "dba", &dba).await.status, 200, "{path}");
        for token in [&all, &dba] {
            assert_eq!(ask(path, "no%20name", token).await.status, 400, "{path}");
        }
    }
    for path in HISTORY {
        let empty = ask(path, "oops", &all).await;
        assert_eq!(empty.status, 200, "{path}: {empty:?}");
        assert!(!empty.body.contains("Table full"), "{path}: {empty:?}");
    }
    for path in OF_CONFIG {
        assert_eq!(ask(path, "oops", &all).await.problem(404), "there is no group of this name", "{path}");
    }
    // What the config has no more is a matter of the past.
    mailbell.reload(&config.replace("[[group]]\nname = \"dba\"\nmembers = [\"ann\"]\n", ""));
    for token in [&all, &dba] {
        for path in ["alerts?group=", "archive?group="] {
            let found = ask(path, "dba", token).await;
            assert_eq!(texts(&items(&found), "title"), ["Table full"], "{path}");
        }
        for path in OF_CONFIG {
            ask(path, "dba", token).await.problem(404);
        }
    }
}
