//! The event stream, through a real socket.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::support::free_port;
use crate::support::lab::{Lab, OPERATORS, asks, critical, group};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::sse::{Listening, Told};
use crate::support::wait_for;
use crate::support::web::{Web, alone, read_to_end, token};

const ALERTS: &str = "/api/v1/alerts";

/// So many alerts, each a condition of its own.
fn batch(first: usize, count: usize) -> Value {
    (first..first + count).map(|n| json!({ "key": format!("k{n}"), "title": format!("Alert {n}") })).collect()
}

/// Type and state of each, with what it is about.
fn steps(all: &[Told], of: &str) -> Vec<String> {
    let state = |told: &Told| told.data["state"].as_str().unwrap_or_default().to_owned();
    all.iter().filter(|told| told.event == of).map(state).collect()
}

/// Their numbers rise by one.
fn follow(all: &[Told], after: i64) {
    let ids: Vec<_> = all.iter().map(|told| told.id.unwrap()).collect();
    assert_eq!(ids, (after + 1..=after + ids.len() as i64).collect::<Vec<_>>());
}

/// A gateway that nobody hears of, and tokens that dispatch and read.
struct Alone {
    mailbell: Mailbell,
    web: Web,
    sender: String,
    reader: String,
}

impl Alone {
    fn new(more: &str) -> Self {
        let port = free_port();
        let mailbell = Mailbell::run(&alone(port, more));
        let (sender, reader) = (token(&mailbell, "sender", "dispatch", &[]), token(&mailbell, "reader", "read", &[]));
        Self { mailbell, web: Web::new(port), sender, reader }
    }

    async fn post(&self, alerts: &Value) {
        assert_eq!(self.web.post(ALERTS, &self.sender, alerts).await.status, 202);
    }

    async fn listen(&self, query: &str, after: Option<i64>) -> Listening {
        self.web.listen(query, &self.reader, after).await
    }

    /// Posts one more, and waits until it is told.
    async fn last(&self, listening: &mut Listening, title: &str) -> Vec<Told> {
        self.post(&json!({ "title": title })).await;
        listening.until(|told| told.event == "alert" && told.data["title"] == title).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_told_as_it_happens_and_in_order() {
    let lab = Lab::new(&["alice", "bob"]);
    let alice = lab.online("alice").await;
    let port = free_port();
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let config = lab.base() + &http + &lab.imap("inbox", "") + &lab.everybody("ops") + OPERATORS;
    let mut mailbell = Mailbell::run(&config);
    let (web, reader) = (Web::new(port), token(&mailbell, "reader", "read", &[]));
    let mut listening = web.listen("?after=0", &reader, None).await;
    assert_eq!(listening.headers["content-type"], "text/event-stream");
    assert_eq!(listening.headers["cache-control"], "no-store");
    // The start: who is there, and that the mailbox can be read; neither waits for the other.
    let is = |all: &[Told], event: &str, key: &str, value: &str, state: &str| {
        all.iter().any(|told| told.event == event && told.data[key] == value && told.data.to_string().contains(state))
    };
    let mut all = Vec::new();
    while !(is(&all, "mailbox", "mailbox", "inbox", "\"ok\"")
        && is(&all, "presence", "recipient", "alice", "\"show\":\"available\""))
    {
        all.push(listening.next().await.unwrap());
    }
    let came = all.iter().rfind(|told| told.event == "presence").unwrap();
    let wanted = json!({ "at": came.data["at"], "recipient": "alice", "presence": "active", "show": "available",
        "groups": ["ops"] });
    assert_eq!(came.data, wanted);
    lab.mail(&critical("disk", "Disk full"));
    alice.gets("Disk full").await;
    let delivered = |told: &Told| told.event == "notification" && told.data["state"] == "delivered";
    all.extend(listening.until(delivered).await);
    follow(&all, 0);
    assert_eq!(steps(&all, "message"), ["stored", "parsed"]);
    let alerts: Vec<_> = all.iter().filter(|told| told.event == "alert").collect();
    let Told { data, .. } = alerts[0];
    let at: jiff::Timestamp = data["at"].as_str().unwrap().parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(at).as_secs().abs() < 600, "{data}");
    let wanted = json!({ "at": data["at"], "alert": "#1", "title": "Disk full", "severity": "critical", "status": "firing",
        "source": "mailbox:inbox", "state": "routed", "reason": "default group → ops", "groups": ["ops"] });
    assert_eq!((*data).clone(), wanted);
    let condition = all.iter().find(|told| told.event == "condition").unwrap();
    assert_eq!((&condition.data["key"], &condition.data["state"]), (&json!("disk"), &json!("opened")));
    let of_alice: Vec<_> = all.iter().filter(|told| told.data["recipient"] == "alice").cloned().collect();
    assert_eq!(steps(&of_alice, "notification"), ["sending", "accepted", "delivered"]);
    let last = of_alice.last().unwrap();
    assert_eq!((&last.data["alert"], &last.data["title"]), (&json!("#1"), &json!("Disk full")));
    // She goes.
    drop(alice);
    let gone = listening.until(|told| told.event == "presence" && told.data["presence"] == "offline");
    let gone = gone.await.pop().unwrap().data;
    assert_eq!((&gone["recipient"], gone.get("show")), (&json!("alice"), None), "{gone}");
    // The end is told as well, and does not wait for who listens.
    let stop = Instant::now();
    let (end, ()) = tokio::join!(listening.until_end(), async { tokio::task::block_in_place(|| mailbell.stop()) });
    let last = end.last().unwrap();
    assert_eq!((last.event.as_str(), &last.data["reason"], last.id), ("dropped", &json!("stopping"), None));
    assert!(stop.elapsed() < SOON);
}

#[tokio::test]
async fn who_comes_back_after_a_restart_misses_nothing_and_gets_nothing_twice() {
    let mut bed = Alone::new("");
    let mut listening = bed.listen("", None).await;
    bed.post(&batch(0, 20)).await;
    let mut all = bed.last(&mut listening, "before").await;
    let first = all[0].id.unwrap() - 1;
    let middle = all[all.len() / 2].id.unwrap();
    bed.mailbell.stop();
    all.extend(listening.until_end().await.into_iter().filter(|told| told.event != "dropped"));
    bed.mailbell.start();
    bed.post(&batch(100, 20)).await;
    let mut again = bed.listen("", Some(all.last().unwrap().id.unwrap())).await;
    all.extend(bed.last(&mut again, "after").await);
    follow(&all, first);
    let alerts = all.iter().filter(|told| told.event == "alert").count();
    assert_eq!(alerts, 42);
    // The same again from the middle, by either way to say so.
    let rest: Vec<_> = all.iter().filter(|told| told.id > Some(middle)).cloned().collect();
    for (query, after) in
        [(String::new(), Some(middle)), (format!("?after={middle}"), None), ("?after=0".into(), Some(middle))]
    {
        let mut listening = bed.listen(&query, after).await;
        assert_eq!(listening.until(|told| told.id == rest.last().unwrap().id).await, rest, "{query} {after:?}");
    }
}

/// SIGKILL while alerts come in: what was answered is told, once.
#[tokio::test]
async fn a_killed_gateway_tells_what_it_committed() {
    let mut bed = Alone::new("");
    let mut all = Vec::new();
    let mut answered = Vec::new();
    let mut after = bed.listen("", None).await.last;
    let first = after;
    for round in 0..3 {
        let mut listening = bed.listen("", Some(after)).await;
        let (web, sender) = (bed.web.clone(), bed.sender.clone());
        let posting = tokio::spawn(async move {
            let mut done = Vec::new();
            for n in 0.. {
                let body = json!({ "title": format!("{round}/{n}") });
                let socket = tokio::net::TcpStream::connect(("127.0.0.1", web.port)).await;
                let Ok(socket) = socket else { break };
                drop(socket);
                let asked = tokio::spawn({
                    let (web, sender) = (web.clone(), sender.clone());
                    async move { web.post(ALERTS, &sender, &body).await.status }
                });
                // It is killed in the middle: that request has no answer.
                match asked.await {
                    Ok(202) => done.push(format!("{round}/{n}")),
                    _ => break,
                }
            }
            done
        });
        let mut seen = listening.until(|told| told.data["title"] == format!("{round}/20")).await;
        bed.mailbell.kill();
        seen.extend(listening.until_end().await);
        answered.extend(posting.await.unwrap());
        after = seen.last().unwrap().id.unwrap();
        all.extend(seen);
        bed.mailbell.start();
    }
    let mut listening = bed.listen("", Some(after)).await;
    all.extend(bed.last(&mut listening, "the end").await);
    follow(&all, first);
    let told: Vec<_> =
        all.iter().filter(|told| told.event == "alert").map(|told| told.data["title"].as_str().unwrap()).collect();
    for title in &answered {
        assert_eq!(told.iter().filter(|told| *told == title).count(), 1, "{title}");
    }
    assert!(answered.len() >= 60, "{}", answered.len());
}

#[tokio::test]
async fn each_gets_what_it_asks_for_and_may_see() {
    let lab = Lab::new(&["alice", "bob"]);
    let (alice, _bob) = (lab.online("alice").await, lab.online("bob").await);
    let port = free_port();
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let groups = lab.everybody("ops") + &group("bobs", &["bob"], "") + &group("alices", &["alice"], "");
    let inbox = lab.imap("inbox", "sender_may_choose_group = true");
    let mailbell = Mailbell::run(&(lab.base() + &http + &inbox + &groups + OPERATORS));
    let web = Web::new(port);
    let reader = token(&mailbell, "reader", "read", &[]);
    let limited = token(&mailbell, "limited", "read", &["--group", "bobs"]);
    let mut everything = web.listen("?after=0", &reader, None).await;
    for (group, title) in [("alices", "For Alice"), ("bobs", "For Bob"), ("ops", "For all"), ("alices", "The end")] {
        lab.mail(&asks(group, "critical", title));
        let wanted = |told: &Told| {
            told.data["title"] == title && told.data["recipient"] != "bob" && told.data["state"] == "delivered"
        };
        let bobs = |told: &Told| told.data["title"] == title && told.data["state"] == "delivered";
        if group == "bobs" {
            everything.until(bobs).await
        } else {
            everything.until(wanted).await
        };
    }
    alice.gets("The end").await;
    let newest = everything.last;
    // What is asked for again from the beginning, up to there.
    let all_of = async |query: &str, token: &str| {
        let mut listening = web.listen(&format!("?after=0{query}"), token, None).await;
        let mut all: Vec<Told> = Vec::new();
        // A sign of life says that it has come so far; the log goes on while somebody comes or goes.
        while let Ok(Some(told)) = tokio::time::timeout(Duration::from_millis(1500), listening.next()).await {
            all.push(told);
        }
        all.retain(|told| told.id <= Some(newest));
        all
    };
    let whole = all_of("", &reader).await;
    follow(&whole, 0);
    let some = all_of("&type=alert,condition", &reader).await;
    let wanted: Vec<_> =
        whole.iter().filter(|told| ["alert", "condition"].contains(&told.event.as_str())).cloned().collect();
    assert_eq!(some, wanted);
    let of = |group: &str, told: &Told| told.data["groups"].as_array().unwrap().contains(&json!(group));
    let some = all_of("&group=bobs", &reader).await;
    assert_eq!(some, whole.iter().filter(|told| of("bobs", told)).cloned().collect::<Vec<_>>());
    let titles = |all: &[Told]| {
        let alerts = all.iter().filter(|told| told.event == "alert");
        alerts.map(|told| told.data["title"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(titles(&some), ["For Bob"]);
    assert_eq!(titles(&all_of("&group=bobs,ops&type=alert", &reader).await), ["For Bob", "For all"]);
    // One group's token: nothing of any other, and of none, and not even its name.
    let some = all_of("", &limited).await;
    assert_eq!(titles(&some), ["For Bob"]);
    for told in &some {
        assert_eq!(told.data["groups"], json!(["bobs"]), "{told:?}");
        assert!(["alert", "condition", "notification", "presence"].contains(&told.event.as_str()), "{told:?}");
    }
    assert!(some.iter().any(|told| told.event == "presence" && told.data["recipient"] == "bob"));
    assert!(some.iter().all(|told| told.data["recipient"] != "alice"), "{some:?}");
    assert!(!json!(some.iter().map(|told| &told.data).collect::<Vec<_>>()).to_string().contains("ops"));
    for (query, token, status, said) in [
        ("?group=ops", &limited, 403, "token limited does not see group ops"),
        ("?type=alert,mail", &reader, 400, "there is no such type of event; allowed: message, alert, "),
        ("?group=no%20name", &reader, 400, "`no name` is no group name: "),
        ("?after=-1", &reader, 400, "after is not the id of an event"),
        ("?since=1", &reader, 400, ""),
    ] {
        let answer = web.get(&format!("/api/v1/events{query}"), token).await;
        let detail = answer.problem(status);
        assert!(detail.starts_with(said), "{query}: {detail}");
        assert!(said.is_empty() || answer.json()["field"] == query[1..].split('=').next().unwrap(), "{answer:?}");
    }
}

/// One takes nothing, the other everything: it is not kept waiting.
#[tokio::test]
async fn who_is_too_slow_is_told_so_and_nobody_waits_for_them() {
    let bed = Alone::new("");
    let socket = TcpSocket::new_v4().unwrap();
    // Before it connects: a window that shrinks later is not believed.
    socket.set_recv_buffer_size(4096).unwrap();
    let mut slow = socket.connect(([127, 0, 0, 1], bed.web.port).into()).await.unwrap();
    let request = format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        bed.reader
    );
    slow.write_all(request.as_bytes()).await.unwrap();
    // It listens by now.
    let mut first = [0; 8];
    slow.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1");
    let mut fast = bed.listen("", None).await;
    let start = fast.last;
    // More than the window holds and a socket takes: titles are long.
    let title = "x".repeat(900);
    let many = 3000;
    let posting = async {
        for first in (0..many).step_by(100) {
            let alerts: Value = (first..first + 100)
                .map(|n| json!({ "key": format!("k{n}"), "title": format!("{n} {title}") }))
                .collect();
            bed.post(&alerts).await;
        }
        bed.post(&json!({ "title": "the end" })).await;
    };
    let listening = fast.until(|told| told.event == "alert" && told.data["title"] == "the end");
    let ((), all) = tokio::join!(posting, listening);
    follow(&all, start);
    assert_eq!(all.iter().filter(|told| told.event == "alert").count(), many + 1);
    // Now it reads: what was on its way, and that it was too slow; then the stream ends.
    let text = read_to_end(slow).await;
    let blocks: Vec<&str> = text.split("\n\n").collect();
    let last = blocks.iter().rfind(|block| block.contains("data: ")).unwrap();
    assert!(last.contains("event: dropped\ndata: {\"reason\":\"slow\","), "{last}");
    assert!(text.ends_with("\r\n0\r\n\r\n"), "the answer is whole");
    let got = text.matches("event: alert").count();
    assert!(0 < got && got < many, "{got}");
}

#[tokio::test]
async fn the_log_is_bounded_and_who_asks_for_more_is_told() {
    let bed = Alone::new("events_kept = 100\n");
    let mut live = bed.listen("", None).await;
    let first = live.last;
    bed.post(&batch(0, 60)).await;
    let all = bed.last(&mut live, "the end").await;
    follow(&all, first);
    let newest = wait_for("the log to be trimmed", SOON, async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut listening = bed.listen("", Some(0)).await;
        if listening.last == 0 {
            return None;
        }
        let reset = listening.next().await.unwrap();
        assert_eq!((reset.event.as_str(), reset.id), ("reset", reset.data["newest"].as_i64()));
        let (oldest, newest) = (reset.data["oldest"].as_i64()?, reset.data["newest"].as_i64()?);
        assert!(oldest > 1 && newest >= all.last().unwrap().id.unwrap(), "{reset:?}");
        // It goes on from there.
        let next = bed.last(&mut listening, "one more").await;
        follow(&next, newest);
        // What is left can still be had.
        let mut rest = bed.listen("", Some(oldest - 1)).await;
        let rest = rest.until(|told| told.id == next.last().unwrap().id).await;
        follow(&rest, oldest - 1);
        (newest - oldest < 110).then_some(newest)
    })
    .await;
    // A number that was never given is none to begin at either: the store is another one.
    let mut ahead = bed.listen("", Some(newest + 1_000_000)).await;
    let reset = ahead.next().await.unwrap();
    assert_eq!(reset.event, "reset");
    assert!(reset.id.unwrap() < newest + 1000);
}

#[tokio::test]
async fn a_silent_stream_gives_signs_of_life_and_says_how_far_it_is() {
    let bed = Alone::new("events_keep_alive = \"200ms\"\n");
    let mut nothing = bed.listen("?type=probe", None).await;
    let start = nothing.last;
    nothing.comments(2).await;
    let mut live = bed.listen("", None).await;
    let newest = bed.last(&mut live, "one").await.last().unwrap().id.unwrap();
    // None of it is for this one, and yet it need not begin there again.
    wait_for("the place to move on", SOON, async || {
        let more = nothing.comments + 1;
        nothing.comments(more).await;
        (nothing.last >= newest).then_some(())
    })
    .await;
    assert!(start < newest);
}

#[tokio::test]
async fn listeners_are_bounded() {
    let bed = Alone::new("events_subscribers = 2\n");
    let one = bed.listen("", None).await;
    let _two = bed.listen("", None).await;
    let refused =
        tokio::time::timeout(SOON, bed.web.get("/api/v1/events", &bed.reader)).await.expect("a third listens");
    assert_eq!(refused.problem(503), "2 listen already (http.events_subscribers); try again later");
    assert_eq!(refused.header("retry-after"), "5");
    drop(one);
    wait_for("a place to be free", SOON, async || {
        // Of a stream only the header: it gives its place back at once.
        let head =
            bed.web.ask("HEAD", "/api/v1/events", &[("authorization", &format!("Bearer {}", bed.reader))], "").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        (head.status == 200).then_some(())
    })
    .await;
    let _one = bed.listen("", None).await;
}

#[tokio::test]
async fn a_stream_ends_with_the_token_or_the_session_that_opened_it() {
    let bed = Alone::new("events_keep_alive = \"300ms\"\n");
    let ended = async |mut listening: Listening| {
        let last = listening.until_end().await.pop().unwrap();
        assert_eq!((last.event.as_str(), &last.data["reason"]), ("dropped", &json!("token")));
    };
    let revoked = token(&bed.mailbell, "revoked", "read", &[]);
    let listening = bed.web.listen("", &revoked, None).await;
    let mut other = bed.listen("", None).await;
    assert!(bed.mailbell.cli(&["token", "revoke", "revoked"], true).status.success());
    ended(listening).await;
    let expires = token(&bed.mailbell, "expires", "read", &["--expires", "2s"]);
    ended(bed.web.listen("", &expires, None).await).await;
    // A person's session.
    let kind = ("content-type", "application/json");
    let login = bed.web.ask("POST", "/api/v1/session", &[kind], json!({ "token": bed.reader }).to_string()).await;
    let cookie = login.header("set-cookie").split(';').next().unwrap().to_owned();
    let mut person = bed.web.connect().await;
    let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
    person.write_all(request.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    person.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    let csrf = login.json()["csrf"].as_str().unwrap().to_owned();
    let headers = [("cookie", cookie.as_str()), ("x-csrf-token", csrf.as_str())];
    assert_eq!(bed.web.ask("DELETE", "/api/v1/session", &headers, "").await.status, 204);
    let said = read_to_end(person).await;
    assert!(said.contains("event: dropped\ndata: {\"reason\":\"token\","), "{said}");
    bed.last(&mut other, "the others stay").await;
}

#[tokio::test]
async fn of_a_mail_nothing_is_told_unless_the_config_says_so() {
    let lab = Lab::new(&["alice"]);
    let port = free_port();
    let config = |more: &str| {
        let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n{more}");
        lab.base() + &http + &lab.imap("inbox", "") + &lab.everybody("ops") + OPERATORS
    };
    let mailbell = Mailbell::run(&config(""));
    let (web, reader) = (Web::new(port), token(&mailbell, "reader", "read", &[]));
    let mut listening = web.listen("?type=message", &reader, None).await;
    let mut next = async |title: &str| {
        lab.mail(&critical(title, title));
        listening.until(|told| told.data["state"] == "parsed").await.remove(0).data
    };
    let nothing = next("First").await;
    assert_eq!((&nothing["mailbox"], &nothing["state"]), (&json!("inbox"), &json!("stored")));
    assert!(nothing["size"].as_u64().unwrap() > 100);
    assert!(nothing.get("header").is_none() && nothing.get("body").is_none(), "{nothing}");
    mailbell.reload(&config("events_body = \"256B\"\n"));
    let some = next("Second").await;
    let (header, body) = (some["header"].as_str().unwrap(), some["body"].as_str().unwrap());
    assert!(header.len() == 256 && body.starts_with("<?xml version=\"1.0\"?>"), "{some}");
}
