//! What a long past costs: at the start, for each alert, and while it is purged.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection};

use super::door::Door;
use super::lab::Lab;
use super::mails::{self, Ticket};
use super::noop::seconds;
use super::post::Post;
use super::scale::Scale;
use super::support::free_port;
use super::support::mailbell::Mailbell;
use super::table::{Figure, Sample, Table, Target};

/// A message that has not come after this is lost.
const LOST: Duration = Duration::from_secs(20);
/// Between two alerts: they come one at a time.
const PAUSE: Duration = Duration::from_millis(5);
/// A purge that is not over by then is measured as far as it came.
const PURGE: Duration = Duration::from_secs(90);
/// Alerts of the smaller past, and recipients of each of an old alert.
const FEW: u32 = 200;
const EACH: u32 = 5;
/// The past is so long; half of it is older than `history_for`.
const YEARS_US: i64 = 2 * 365 * 86_400 * 1_000_000;
/// The first alerts after a start warm up, and show that presence is known.
const WARM: u32 = 20;

const TICKETS: Ticket = 9_000_000;

pub async fn measure(lab: &Lab, scale: &Scale, table: &mut Table) {
    let person = &lab.people[..1];
    let post = Post::open(lab.prosody.c2s, person, true).await;
    let mut few = Side::new(lab, person, FEW).await;
    let mut many = Side::new(lab, person, scale.past / EACH).await;
    let mut next = TICKETS;
    let runs = scale.runs as u32;
    // In turn, so that what else happens on the machine happens to both.
    for _ in 0..runs {
        for side in [&mut few, &mut many] {
            side.round(next, scale.singles / runs, &post, table).await;
            next += WARM + scale.singles / runs;
        }
    }
    let ms = |n| Figure::Time(Duration::from_millis(n));
    let past = scale.past;
    let start = Some(Target::AtMost(ms(1_000)));
    table.row(
        format!("start, {past} old notifications"),
        Some(many.starts.quantile(0.5)),
        Some(few.starts.quantile(0.5)),
        start,
    );
    let times = Some(Target::Times(1.2));
    let (own, floor) = (many.whole.quantile(0.5), few.whole.quantile(0.5));
    table.row(format!("one alert, {past} old notifications, p50"), Some(own), Some(floor), times);
    let (own, floor) = (many.answered.quantile(0.5), few.answered.quantile(0.5));
    table.row("  of it: last dot -> 250, p50", Some(own), Some(floor), None);
    let cost = |side: &Side| Figure::Time(Duration::from_secs_f64(side.cpu / side.whole.len() as f64));
    table.row("  processor time an alert", Some(cost(&many)), Some(cost(&few)), times);

    let purge = many.purge(lab, person, next, &post, table).await;
    for (share, name) in [(0.5, "p50"), (0.99, "p99")] {
        let what = format!("one alert while the older half is purged, {name}");
        table.row(what, Some(purge.whole.quantile(share)), Some(many.whole.quantile(share)), None);
    }
    // Not beside the longest of the others: what else stalls the machine is no excuse.
    let above = Some(Target::Above(Duration::from_millis(50)));
    let (own, floor) = (purge.whole.quantile(1.0), many.whole.quantile(0.5));
    table.row("  the longest, beside the p50 without a purge", Some(own), Some(floor), above);
    table.row("  purged, of notifications", Some(Figure::PerSecond(purge.rate)), None, None);
    table.note(format!(
        "Past: {} alerts by LMTP to a gateway whose store holds {past} old notifications ({} alerts), in turn with one that holds {};\n\
         that one is the floor. While it purged: {} alerts; the floor is the same store without a purge.",
        many.whole.len(),
        past / EACH,
        FEW * EACH,
        purge.whole.len()
    ));
}

/// A gateway with a past, and what was measured of it.
struct Side {
    gateway: Mailbell,
    port: u16,
    starts: Sample,
    whole: Sample,
    answered: Sample,
    /// Seconds of processor time that the measured alerts took.
    cpu: f64,
}

struct Purge {
    whole: Sample,
    rate: f64,
}

impl Side {
    async fn new(lab: &Lab, person: &[String], alerts: u32) -> Self {
        let port = free_port();
        let mut gateway = lab.gateway_at_door(port, lab.prosody.c2s, person, "[store]\nhistory_for = \"3650d\"\n");
        // It makes its store.
        gateway.start();
        gateway.stop();
        let mut db = open(&gateway, false).await;
        fill(&mut db, alerts).await;
        db.close().await.unwrap();
        let (starts, whole, answered) = Default::default();
        Self { gateway, port, starts, whole, answered, cpu: 0.0 }
    }

    async fn round(&mut self, first: Ticket, count: u32, post: &Post, table: &mut Table) {
        post.clear();
        let start = Instant::now();
        self.gateway.start();
        self.starts.add(start.elapsed());
        let mut door = Door::open(self.port);
        let mut cpu = 0.0;
        for ticket in first..first + WARM + count {
            if ticket == first + WARM {
                cpu = seconds(self.gateway.pid());
            }
            let (sent, answered) = door.hand_in(ticket).await;
            let Some(came) = post.one(ticket, LOST).await else { break };
            if ticket >= first + WARM {
                self.whole.add(came - sent);
                self.answered.add(answered - sent);
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.cpu += seconds(self.gateway.pid()) - cpu;
        self.gateway.stop();
        check(post, first..first + WARM + count, table);
    }

    /// Alerts while the older half is purged.
    async fn purge(&mut self, lab: &Lab, person: &[String], first: Ticket, post: &Post, table: &mut Table) -> Purge {
        post.clear();
        self.gateway.configure(&lab.config_at_door(
            self.port,
            lab.prosody.c2s,
            person,
            "[store]\nhistory_for = \"365d\"\n",
        ));
        let mut db = open(&self.gateway, true).await;
        let before = count(&mut db).await;
        self.gateway.start();
        let mut door = Door::open(self.port);
        let (start, mut whole, mut ticket) = (Instant::now(), Sample::default(), first);
        // Messages are the last that is purged.
        while start.elapsed() < PURGE && !self.gateway.log().contains("purged old records of mails") {
            let (sent, _) = door.hand_in(ticket).await;
            let Some(came) = post.one(ticket, LOST).await else { break };
            if ticket >= first + WARM {
                whole.add(came - sent);
            }
            ticket += 1;
            tokio::time::sleep(PAUSE).await;
        }
        let gone = before + i64::from(ticket - first) - count(&mut db).await;
        let rate = gone as f64 / start.elapsed().as_secs_f64();
        self.gateway.stop();
        check(post, first..ticket, table);
        Purge { whole, rate }
    }
}

fn check(post: &Post, tickets: std::ops::Range<Ticket>, table: &mut Table) {
    if let Some(fault) = post.check(&tickets.collect::<HashSet<_>>()) {
        table.fault(format!("past: {fault}"));
    }
}

async fn open(gateway: &Mailbell, read_only: bool) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(gateway.path("mailbell.db")).read_only(read_only);
    options.synchronous(SqliteSynchronous::Off).pragma("cache_size", "-262144").connect().await.unwrap()
}

async fn count(db: &mut SqliteConnection) -> i64 {
    sqlx::query("SELECT count(*) FROM notification").fetch_one(db).await.unwrap().get(0)
}

/// The rows of so many alerts that are over, as the gateway leaves them, evenly spread over the years.
async fn fill(db: &mut SqliteConnection, alerts: u32) {
    let first = Timestamp::now().as_microsecond() - YEARS_US;
    let step = YEARS_US / i64::from(alerts + 1);
    let body = serde_json::json!({ "title": mails::title(0), "text": mails::text(0) }).to_string();
    let each = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {alerts})";
    let time = "({first} + i * {step})";
    for table in [
        "INSERT INTO message (id, mailbox, uidvalidity, uid, retired, state, size, raw_sha256, internal_date, stored, parsed, \
           cleared, digest_id, digest_date, digest_body) {each} SELECT i, 'past', 1, i, 1, 'parsed', 2048, randomblob(32), {t}, {t}, \
           {t}, 1, 'old.' || i || '@monitor.example.test', {t}, randomblob(32) FROM n",
        "INSERT INTO alert (id, message, source, scope, ident, sender, origin, format, status, severity, sent, title, body, state, \
           reason, received, created) {each} SELECT i, i, 'mailbox:past', 'past', 'old.' || i, 'monitor@example.test', \
           'host' || (i % 97), 'native', 'firing', 'major', {t}, 'Disk of node ' || (i % 97) || ' is nearly full', $1, 'routed', \
           'default group', {t}, {t} FROM n",
        "INSERT INTO condition (id, scope, key, open, severity, last_sent) {each} \
           SELECT i, 'past', 'disk/' || i, 0, 'major', {t} FROM n WHERE i <= {alerts} / 10 + 1",
        "INSERT INTO alert_condition (alert, condition, paged) {each} SELECT i, i / 10 + 1, 1 FROM n",
        "INSERT INTO notification (kind, alert, condition, recipient, jid, groups, delivery, stanza_id, state, severity, rank, \
           attempts, created, first_intent, accepted, delivered, reason) {each}, k(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM k \
           WHERE k < {recipients} - 1) SELECT 'alert', i, i / 10 + 1, 'person00' || k, 'person00' || k || '@example.test', '[\"ops\"]', \
           '{}', lower(hex(randomblob(16))), 'delivered', 'major', 1, 1, {t}, {t}, {t}, {t}, '' FROM n, k ORDER BY i, k",
        "INSERT INTO event (alert, at, event, detail) {each} SELECT i, {t}, 'condition', 'opened' FROM n",
    ] {
        let sql = table.replace("{each}", each).replace("{t}", time).replace("{recipients}", &EACH.to_string());
        let sql = sql.replace("{alerts}", &alerts.to_string()).replace("{first}", &first.to_string());
        let sql = AssertSqlSafe(sql.replace("{step}", &step.to_string()));
        sqlx::query(sql).bind(&body).execute(&mut *db).await.unwrap();
    }
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut *db).await.unwrap();
    // What is still on its way to the disk would stall the first commits.
    let file: String = sqlx::query("SELECT file FROM pragma_database_list").fetch_one(&mut *db).await.unwrap().get(0);
    std::fs::File::open(file).unwrap().sync_all().unwrap();
    let broken = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *db).await.unwrap();
    assert!(broken.is_empty(), "the past refers to what is not there");
}
