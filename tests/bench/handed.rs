//! From the last dot of a mail that is handed in by LMTP to the person's client, for alerts that come one at a time.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use super::door::Door;
use super::lab::Lab;
use super::mails::{self, Ticket};
use super::post::Post;
use super::scale::Scale;
use super::support::free_port;
use super::support::prosody::BOT;
use super::table::{Figure, Sample, Table, Target};
use super::xmpp::{Sender, message};

/// A message that has not come after this is lost.
const LOST: Duration = Duration::from_secs(20);
/// Between two alerts: they come one at a time.
const PAUSE: Duration = Duration::from_millis(5);

/// Tickets of the floor and of mailbell.
const RAW: Ticket = 3_000_000;
const OWN: Ticket = 4_000_000;

pub async fn measure(lab: &Lab, scale: &Scale, table: &mut Table) {
    let person = &lab.people[..1];
    let floor = floor(lab, scale, &person[0]).await;
    let own = own(lab, scale, person, table).await;
    let most = |ms| Some(Target::AtMost(Figure::Time(Duration::from_millis(ms))));
    for (share, name, target) in [(0.5, "p50", most(8)), (0.99, "p99", None)] {
        let what = format!("mail handed in (LMTP, last dot) -> IM at client, {name}");
        table.row(what, Some(own.whole.quantile(share)), Some(floor.quantile(share)), target);
    }
    for (share, name) in [(0.5, "p50"), (0.99, "p99")] {
        table.row(format!("  of it: last dot -> 250, {name}"), Some(own.answered.quantile(share)), None, None);
    }
    table.note(format!(
        "Handed in: {} alerts of ~2 KB. The floor is one commit of the mail to SQLite and one message, sent and received.",
        own.whole.len()
    ));
}

#[derive(Default)]
struct Own {
    whole: Sample,
    answered: Sample,
}

async fn own(lab: &Lab, scale: &Scale, person: &[String], table: &mut Table) -> Own {
    let post = Post::open(lab.prosody.c2s, person, true).await;
    let port = free_port();
    let mut gateway = lab.gateway_at_door(port, lab.prosody.c2s, person, "");
    gateway.start();
    let mut door = Door::open(port);
    let mut own = Own::default();
    let mut tickets = HashSet::new();
    // The first ones warm it up, and show that presence is known.
    for number in 0..scale.singles + 20 {
        let ticket = OWN + number;
        tickets.insert(ticket);
        let (sent, answered) = door.hand_in(ticket).await;
        let Some(came) = post.one(ticket, LOST).await else { break };
        if number >= 20 {
            own.whole.add(came - sent);
            own.answered.add(answered - sent);
        }
        tokio::time::sleep(PAUSE).await;
    }
    gateway.stop();
    if let Some(fault) = post.check(&tickets) {
        table.fault(format!("mails handed in: {fault}"));
    }
    own
}

/// A commit and a message, by clients that do nothing else.
async fn floor(lab: &Lab, scale: &Scale, person: &str) -> Sample {
    let post = Post::open(lab.prosody.c2s, &[person.to_owned()], true).await;
    let dir = tempfile::Builder::new().prefix("mailbell-floor-").tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(dir.path().join("floor.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut db = options.connect().await.unwrap();
    sqlx::query("CREATE TABLE mail (id INTEGER PRIMARY KEY, raw BLOB NOT NULL) STRICT").execute(&mut db).await.unwrap();
    let mut sender = Sender::open(lab.prosody.c2s, BOT).await;
    let mut sample = Sample::default();
    for number in 0..scale.singles + 20 {
        let ticket = RAW + number;
        let (mail, stanza) = (mails::mail(ticket), message(person, ticket));
        let start = Instant::now();
        sqlx::query("INSERT INTO mail (raw) VALUES (?)").bind(&mail).execute(&mut db).await.unwrap();
        sender.send(&[stanza]).await;
        let Some(came) = post.one(ticket, LOST).await else { break };
        if number >= 20 {
            sample.add(came - start);
        }
        tokio::time::sleep(PAUSE).await;
    }
    db.close().await.unwrap();
    sample
}
