//! Many who listen to the event stream: what they cost, and how long an event takes to all of them.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};

use super::lab::memory;
use super::scale::Scale;
use super::table::{Figure, Sample, Table, Target};
use super::web::Gateway;

/// Whoever has not heard of an alert after this never will.
const LOST: Duration = Duration::from_secs(60);
/// Memory is looked at when nothing has happened for so long.
const IDLE: Duration = Duration::from_secs(2);
/// Between two alerts: they come one at a time.
const PAUSE: Duration = Duration::from_millis(20);
/// The first alerts warm up.
const WARM: usize = 20;

pub async fn measure(scale: &Scale, table: &mut Table) {
    let listeners = scale.listeners;
    let more = format!("max_connections = {}\nevents_subscribers = {listeners}\n", listeners + 16);
    let gateway = Gateway::start(&more);
    let mut client = gateway.client().await;
    for n in 0..WARM {
        client.post([format!("warm {n}")].into_iter()).await;
    }
    sleep(IDLE).await;
    let (before, _) = memory(gateway.mailbell.pid());
    let (heard, mut hears) = unbounded_channel();
    let mut tasks = Vec::new();
    for n in 0..listeners {
        let stream = listen(&gateway).await;
        tasks.push(tokio::spawn(read(stream, n, heard.clone())));
    }
    sleep(IDLE).await;
    let (silent, _) = memory(gateway.mailbell.pid());
    let mut first = Sample::default();
    let mut all = Sample::default();
    for n in 0..scale.told {
        let start = Instant::now();
        client.post([format!("told {n:06}")].into_iter()).await;
        let Some(times) = heard_by(&mut hears, n, listeners, table).await else { break };
        first.add(*times.iter().min().unwrap() - start);
        times.into_iter().for_each(|at| all.add(at - start));
        sleep(PAUSE).await;
    }
    sleep(IDLE).await;
    let (after, _) = memory(gateway.mailbell.pid());
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    eprintln!(
        "feed: resident memory {before:.1} MiB before, {silent:.1} MiB with {listeners} listeners, {after:.1} MiB at the end"
    );
    let most = Some(Target::AtMost(Figure::MiB(60.0)));
    table.row(format!("memory of {listeners} who listen to events"), Some(Figure::MiB(after - before)), None, most);
    table.row("  before anything is told", Some(Figure::MiB(silent - before)), None, None);
    for (share, name) in [(0.5, "p50"), (0.99, "p99")] {
        let (own, floor) = (all.quantile(share), first.quantile(share));
        table.row(format!("alert posted -> told to all {listeners}, {name}"), Some(own), Some(floor), None);
    }
    table.note(format!(
        "Events: {} alerts posted one at a time, about three events each; the clients run on the same machine. The floor is the first\n\
         of the listeners.",
        scale.told
    ));
}

async fn listen(gateway: &Gateway) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
    let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", gateway.token);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    stream
}

/// Tells who heard of which alert, and when.
async fn read(mut stream: TcpStream, who: usize, heard: UnboundedSender<(usize, usize, Instant)>) {
    const MARK: &[u8] = b"\"title\":\"told ";
    let (mut rest, mut some) = (Vec::new(), vec![0; 4096]);
    while let Ok(n) = stream.read(&mut some).await {
        let at = Instant::now();
        if n == 0 {
            return;
        }
        rest.extend_from_slice(&some[..n]);
        // Each event once: an alert's, not those of its notification.
        while let Some(end) = rest.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = rest.drain(..end + 2).collect();
            let found = event.windows(MARK.len()).position(|found| found == MARK).map(|at| at + MARK.len());
            let is_alert = event.windows(12).any(|found| found == b"event: alert");
            if let Some(from) = found.filter(|_| is_alert) {
                let digits = std::str::from_utf8(&event[from..from + 6]).unwrap();
                let _ = heard.send((digits.parse().unwrap(), who, at));
            }
        }
    }
}

/// When each heard of that one; `None`: somebody did not.
async fn heard_by(
    hears: &mut UnboundedReceiver<(usize, usize, Instant)>,
    alert: usize,
    listeners: usize,
    table: &mut Table,
) -> Option<Vec<Instant>> {
    let mut times = vec![None; listeners];
    let mut missing = listeners;
    while missing > 0 {
        let Ok(Some((n, who, at))) = timeout(LOST, hears.recv()).await else {
            table.fault(format!("events: {missing} of {listeners} did not hear of alert {alert}"));
            return None;
        };
        if n != alert || times[who].replace(at).is_some() {
            table.fault(format!("events: listener {who} heard of alert {n} twice"));
        } else {
            missing -= 1;
        }
    }
    Some(times.into_iter().flatten().collect())
}
