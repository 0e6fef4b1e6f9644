//! Many notifications that are held, and everybody's return.

use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row, SqliteConnection};

use super::door::Door;
use super::lab::{Lab, memory};
use super::mails::Ticket;
use super::post::Post;
use super::scale::Scale;
use super::support::free_port;
use super::support::mailbell::Mailbell;
use super::table::{Figure, Table, Target};

/// Everything is held, or sent, within this.
const LIMIT: Duration = Duration::from_secs(180);
/// Memory is looked at when nothing has happened for so long.
const IDLE: Duration = Duration::from_secs(3);

const FIRST: Ticket = 8_000_000;

pub async fn measure(lab: &Lab, scale: &Scale, table: &mut Table) {
    let port = free_port();
    let mut gateway = lab.gateway_at_door(port, lab.prosody.c2s, &lab.people, "");
    gateway.start();
    let mut door = Door::open(port);
    let alerts = scale.held / lab.people.len() as u32;
    let start = Instant::now();
    for ticket in FIRST..FIRST + alerts {
        door.hand_in(ticket).await;
    }
    if !settled(&gateway, "held", scale.held.into(), table).await {
        return;
    }
    let rate = f64::from(scale.held) / start.elapsed().as_secs_f64();
    tokio::time::sleep(IDLE).await;
    let (held, peak) = memory(gateway.pid());
    drop(door);
    gateway.stop();
    gateway.start();
    tokio::time::sleep(IDLE).await;
    let (started, _) = memory(gateway.pid());
    let post = Post::open(lab.prosody.c2s, &lab.people, true).await;
    let back = Instant::now();
    let first = post.many(lab.people.len(), LIMIT).await;
    settled(&gateway, "held", 0, table).await;
    let (_, returned) = memory(gateway.pid());
    gateway.stop();

    let most = Some(Target::AtMost(Figure::MiB(60e6 / 1_048_576.0)));
    let n = scale.held;
    table.row(format!("resident memory, {n} held"), Some(Figure::MiB(held)), None, most);
    table.row("  peak while they came", Some(Figure::MiB(peak)), None, None);
    table.row("  after a restart with them", Some(Figure::MiB(started)), None, most);
    table.row("  peak while everybody came back", Some(Figure::MiB(returned)), None, most);
    table.row("  told to be held", Some(Figure::PerSecond(rate)), None, None);
    let digests = first.map(|at| Figure::Time(at - back));
    table.row(format!("  {} people back -> the last one's digest", lab.people.len()), digests, None, None);
    table.note(format!(
        "Held: {alerts} alerts for {} people, who are offline, and then come back together.",
        lab.people.len()
    ));
}

/// Waits until so many notifications are in that state.
async fn settled(gateway: &Mailbell, state: &str, count: i64, table: &mut Table) -> bool {
    let options = SqliteConnectOptions::new().filename(gateway.path("mailbell.db")).read_only(true);
    let mut db = options.connect().await.unwrap();
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        if in_state(&mut db, state).await == count {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    table.fault(format!("held: {} notifications are {state}, and not {count}", in_state(&mut db, state).await));
    false
}

async fn in_state(db: &mut SqliteConnection, state: &str) -> i64 {
    let sql =
        "SELECT count(*) FROM notification WHERE state = $1 AND state IN ('queued', 'held', 'sending', 'accepted')";
    sqlx::query(sql).bind(state).fetch_one(db).await.unwrap().get(0)
}
