//! Alerts that other systems dispatch over HTTP: how many a second are durable, in batches and one at a time.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::commits;
use super::lab::{Lab, memory};
use super::mails::{self, Ticket};
use super::post::Post;
use super::scale::Scale;
use super::support::free_port;
use super::support::web::token;
use super::table::{Figure, Table, Target};

/// Senders, each with a connection that it keeps.
const SENDERS: usize = 16;
/// Alerts of a request.
const BATCH: u32 = 100;
/// Tickets of this part begin here.
const FIRST: Ticket = 5_000_000;
/// All of them have reached the person by then.
const LIMIT: Duration = Duration::from_secs(120);
/// Copies that are still on their way have come by then.
const AFTER: Duration = Duration::from_millis(500);

pub async fn measure(lab: &Lab, scale: &Scale, table: &mut Table) {
    let person = &lab.people[..1];
    let post = Post::open(lab.prosody.c2s, person, true).await;
    let (port, door) = (free_port(), free_port());
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\nrate = 0\n");
    let mut gateway = lab.gateway_at_door(door, lab.prosody.c2s, person, &http);
    gateway.start();
    let bearer: Arc<str> = format!("Bearer {}", token(&gateway, "bench", "dispatch", &[])).into();
    let mut first = FIRST;
    for (each, alerts, least) in [(BATCH, scale.dispatched, 2_000.0), (1, scale.dispatched / 5, 600.0)] {
        post.clear();
        let time = dispatched(port, &bearer, first, alerts, each).await;
        post.many(alerts as usize, LIMIT).await;
        tokio::time::sleep(AFTER).await;
        if let Some(fault) = post.check(&(first..first + alerts).collect::<HashSet<Ticket>>()) {
            table.fault(format!("alerts over HTTP, {each} a request: {fault}"));
        }
        first += alerts;
        // Alone, the requests of all senders are what goes into a commit at best.
        let floor = commits::rate(scale, if each == 1 { SENDERS } else { each as usize }).await;
        table.row(
            format!("durable alerts over HTTP, {SENDERS} connections, {each} a request"),
            Some(Figure::PerSecond(f64::from(alerts) / time.as_secs_f64())),
            Some(Figure::PerSecond(floor)),
            Some(Target::AtLeast(Figure::PerSecond(least))),
        );
    }
    table.row("resident memory, peak of that", Some(Figure::MiB(memory(gateway.pid()).1)), None, None);
    table.note(
        "Over HTTP: ~1.6 KB of JSON each, 202 after the commit, while all of them go to one person who is online. The floor is \
         rows of 2 KB in SQLite, as many a commit.",
    );
    gateway.stop();
}

/// Hands them all in; from the first request to the last answer.
async fn dispatched(port: u16, bearer: &Arc<str>, first: Ticket, alerts: u32, each: u32) -> Duration {
    let mut senders = Vec::new();
    for _ in 0..SENDERS {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        senders.push(sender);
    }
    let (next, start) = (Arc::new(AtomicU32::new(first)), Instant::now());
    let mut tasks = JoinSet::new();
    for mut sender in senders {
        let (next, bearer) = (next.clone(), bearer.clone());
        tasks.spawn(async move {
            loop {
                let from = next.fetch_add(each, Ordering::Relaxed);
                if from >= first + alerts {
                    return;
                }
                let body: Vec<Value> = (from..from + each).map(alert).collect();
                request(&mut sender, &bearer, serde_json::to_vec(&body).unwrap()).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    start.elapsed()
}

async fn request(sender: &mut SendRequest<Full<Bytes>>, bearer: &str, body: Vec<u8>) {
    let request = Request::post("/api/v1/alerts")
        .header("host", "localhost")
        .header("authorization", bearer)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(status, 202, "{}", String::from_utf8_lossy(&body));
}

/// What the mails of the other parts say, each with a condition of its own.
fn alert(ticket: Ticket) -> Value {
    json!({
        "id": format!("alert.{ticket}"), "key": format!("disk/{ticket}"), "severity": "major",
        "title": mails::title(ticket), "text": mails::text(ticket),
        "labels": { "host": format!("host{}.example.test", ticket % 97), "port": "443" },
        "links": [format!("https://monitor.example.test/alerts/{ticket}")],
    })
}
