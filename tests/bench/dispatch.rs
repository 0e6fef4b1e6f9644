//! Alerts over HTTP: how many a second are durable.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::scale::Scale;
use super::support::web::Web;
use super::table::{Figure, Sample, Table, Target, median};
use super::web::Gateway;

/// Alerts of a request, and connections, where they come in batches; and connections where they come singly.
const BATCH: usize = 100;
const FEW: usize = 2;
const MANY: usize = 16;
/// The log is read to its end within this.
const LIMIT: Duration = Duration::from_secs(120);

pub async fn measure(scale: &Scale, table: &mut Table) {
    let gateway = Gateway::start("events_kept = 1000000\n");
    let mut sent = 0;
    let mut rates = [Vec::new(), Vec::new()];
    let mut answered = Sample::default();
    // The first round warms up.
    for round in 0..=scale.runs {
        for (n, (connections, batch, alerts)) in
            [(FEW, BATCH, scale.posted), (MANY, 1, scale.posted / 5)].into_iter().enumerate()
        {
            let alerts = if round == 0 { connections * batch } else { alerts };
            let (rate, times) = one(&gateway, sent, alerts, connections, batch).await;
            sent += alerts;
            if round > 0 {
                rates[n].push(rate);
                times.into_iter().filter(|_| n == 1).for_each(|time| answered.add(time));
            }
        }
    }
    let [batches, singly] = rates.map(|rates| Some(Figure::PerSecond(median(rates))));
    let least = |n| Some(Target::AtLeast(Figure::PerSecond(n)));
    table.row(format!("alerts over HTTP, {BATCH} a request, {FEW} connections"), batches, None, least(2_000.0));
    table.row(format!("alerts over HTTP, 1 a request, {MANY} connections"), singly, None, least(600.0));
    table.row("  request -> 202, p50", Some(answered.quantile(0.5)), None, None);
    table.row("  request -> 202, p99", Some(answered.quantile(0.99)), None, None);
    check(&gateway, sent, table).await;
    table.note("Alerts over HTTP: 202 means that the alert is committed. Each has a condition of its own, and one recipient, who cannot be reached.");
}

/// Alerts a second, and how long each request took.
async fn one(gateway: &Gateway, first: usize, alerts: usize, connections: usize, batch: usize) -> (f64, Vec<Duration>) {
    let each = alerts / connections;
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(gateway.client().await);
    }
    let start = Instant::now();
    let tasks = clients.into_iter().enumerate().map(|(n, mut client)| {
        tokio::spawn(async move {
            let mut times = Vec::new();
            let from = first + n * each;
            for first in (from..from + each).step_by(batch) {
                let begun = Instant::now();
                let titles = (first..(first + batch).min(from + each)).map(|n| format!("posted {n}"));
                assert!(client.post(titles).await > 0);
                times.push(begun.elapsed());
            }
            times
        })
    });
    let mut times = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        times.extend(task.await.unwrap());
    }
    ((each * connections) as f64 / start.elapsed().as_secs_f64(), times)
}

/// Everything that was answered is in the log, once.
async fn check(gateway: &Gateway, sent: usize, table: &mut Table) {
    let mut listening = Web::new(gateway.port).listen("?type=alert&after=0", &gateway.token, None).await;
    let mut told: HashMap<String, usize> = HashMap::new();
    let read = async {
        while told.len() < sent {
            let event = listening.next().await.expect("the stream ended");
            *told.entry(event.data["title"].to_string()).or_default() += 1;
        }
    };
    let done = tokio::time::timeout(LIMIT, read).await.is_ok();
    let twice = told.values().filter(|n| **n > 1).count();
    if !done || twice > 0 {
        table.fault(format!("alerts over HTTP: {} of {sent} are stored, {twice} twice", told.len()));
    }
}
