//! The receiving end: clients that note every message and do nothing else.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::mails::{self, Ticket, find};
use super::xmpp::Session;

/// A message that came: whose client, which alert, when.
#[derive(Clone, Copy)]
pub struct Arrival {
    pub client: usize,
    pub ticket: Option<Ticket>,
    pub at: Instant,
}

/// Clients that are online, and what came to them.
pub struct Post {
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Post {
    /// Logs in as these users. With `receipts` they tell that a message came (XEP-0184), as people's clients do.
    pub async fn open(port: u16, users: &[String], receipts: bool) -> Self {
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for (client, user) in users.iter().enumerate() {
            let session = Session::open(port, user, "desk").await;
            tasks.push(tokio::spawn(read(client, session, receipts, arrivals.clone())));
        }
        Self { arrivals, tasks }
    }

    /// Forgets what came so far.
    pub fn clear(&self) {
        self.arrivals.lock().unwrap().clear();
    }

    /// Waits until this alert came to somebody.
    pub async fn one(&self, ticket: Ticket, limit: Duration) -> Option<Instant> {
        self.wait(limit, |all| all.iter().rev().find(|a| a.ticket == Some(ticket)).map(|a| a.at)).await
    }

    /// Waits until so many messages came; when the last of them did.
    pub async fn many(&self, count: usize, limit: Duration) -> Option<Instant> {
        self.wait(limit, |all| all.get(count.checked_sub(1)?).map(|a| a.at)).await
    }

    async fn wait<T>(&self, limit: Duration, mut look: impl FnMut(&[Arrival]) -> Option<T>) -> Option<T> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(found) = look(&self.arrivals.lock().unwrap()) {
                return Some(found);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        None
    }

    /// What is wrong if each of these alerts should have come to each client exactly once, and nothing else.
    pub fn check(&self, tickets: &HashSet<Ticket>) -> Option<String> {
        let all = self.arrivals.lock().unwrap();
        let mut seen = HashSet::new();
        let (mut copies, mut strange) = (0, 0);
        for arrival in all.iter() {
            match arrival.ticket.filter(|ticket| tickets.contains(ticket)) {
                Some(ticket) => copies += usize::from(!seen.insert((arrival.client, ticket))),
                None => strange += 1,
            }
        }
        let lost = tickets.len() * self.tasks.len() - seen.len();
        (lost + copies + strange > 0).then(|| format!("{lost} lost, {copies} copies, {strange} that were not expected"))
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn read(client: usize, session: Session, receipts: bool, arrivals: Arc<Mutex<Vec<Arrival>>>) {
    let Session { mut read, mut write, mut rest } = session;
    rest.reserve(256 * 1024);
    loop {
        let at = Instant::now();
        let mut from = 0;
        let mut replies = String::new();
        while let Some(end) = find(&rest[from..], b"</message>") {
            let stanza = &rest[from..from + end];
            let stanza = &stanza[find(stanza, b"<message").unwrap_or(0)..];
            from += end + b"</message>".len();
            // Chat states and the like have no body.
            if find(stanza, b"<body").is_none() {
                continue;
            }
            let ticket = mails::ticket(stanza).map(|(ticket, _)| ticket);
            arrivals.lock().unwrap().push(Arrival { client, ticket, at });
            if receipts {
                replies.push_str(&receipt(stanza));
            }
        }
        rest.drain(..from);
        if !replies.is_empty() && write.write_all(replies.as_bytes()).await.is_err() {
            return;
        }
        if !read.read_buf(&mut rest).await.is_ok_and(|n| n > 0) {
            return;
        }
    }
}

fn receipt(stanza: &[u8]) -> String {
    let head = String::from_utf8_lossy(&stanza[..stanza.iter().position(|b| *b == b'>').unwrap_or(0)]).into_owned();
    let value = |name: &str| {
        let (_, rest) = head.split_once(&format!(" {name}="))?;
        let quote = rest.chars().next()?;
        Some(rest[1..].split(quote).next()?.to_owned())
    };
    let (Some(from), Some(id)) = (value("from"), value("id")) else { return String::new() };
    format!("<message to='{from}'><received xmlns='urn:xmpp:receipts' id='{id}'/></message>")
}
