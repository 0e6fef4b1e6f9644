//! Proxies that let everything pass and note when: what the gateway does between two wires is seen from outside.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::mails::{self, Ticket, find};

/// When what about one alert passed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Passed {
    /// The server's notice of new mail (IMAP `EXISTS`), towards the gateway.
    pub notice: Option<Instant>,
    /// The last byte of the FETCH reply that held the mail, towards the gateway.
    pub mail: Option<Instant>,
    /// The first byte of the message, towards the XMPP server.
    pub stanza: Option<Instant>,
}

/// What passed so far.
pub type Notes = Arc<Mutex<HashMap<Ticket, Passed>>>;

/// A proxy in front of a server.
pub struct Tap {
    pub port: u16,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy)]
enum Protocol {
    Imap,
    Xmpp,
}

impl Tap {
    pub async fn imap(target: u16, notes: Notes) -> Self {
        Self::start(target, Protocol::Imap, notes).await
    }

    pub async fn xmpp(target: u16, notes: Notes) -> Self {
        Self::start(target, Protocol::Xmpp, notes).await
    }

    async fn start(target: u16, protocol: Protocol, notes: Notes) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, target, protocol, notes.clone()));
            }
        });
        Self { port, task }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(client: TcpStream, target: u16, protocol: Protocol, notes: Notes) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let mut fetches = Fetches::default();
    let mut stanzas = Stanzas::default();
    let (up, down) = (notes.clone(), notes);
    let look_up = move |piece: &[u8], at| {
        if let Protocol::Xmpp = protocol {
            stanzas.pass(piece, at, &up)
        }
    };
    let look_down = move |piece: &[u8], at| {
        if let Protocol::Imap = protocol {
            fetches.pass(piece, at, &down)
        }
    };
    tokio::select! {
        () = pump(client_read, server_write, look_up) => {}
        () = pump(server_read, client_write, look_down) => {}
    }
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut look: impl FnMut(&[u8], Instant),
) {
    let mut buf = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buf).await {
        let at = Instant::now();
        if to.write_all(&buf[..n]).await.is_err() {
            return;
        }
        // After the bytes went on, so that looking at them costs nobody time.
        look(&buf[..n], at);
    }
}

/// The way from the IMAP server.
#[derive(Default)]
struct Fetches {
    carry: Vec<u8>,
    notice: Option<Instant>,
    fetched: Option<Ticket>,
}

impl Fetches {
    fn pass(&mut self, piece: &[u8], at: Instant, notes: &Notes) {
        self.carry.extend(piece);
        if find(&self.carry, b" EXISTS").is_some() {
            self.notice.get_or_insert(at);
        }
        self.fetched = mails::ticket(&self.carry).map(|(ticket, _)| ticket).or(self.fetched);
        // A reply is over with its tagged line: nothing of ours in a mail looks like one.
        if self.carry.ends_with(b"\r\n") {
            if let Some(ticket) = self.fetched.take_if(|_| find(&self.carry, b" OK ").is_some()) {
                let passed = Passed { notice: self.notice.take(), mail: Some(at), stanza: None };
                notes.lock().unwrap().insert(ticket, passed);
            }
            self.carry.clear();
        }
    }
}

/// The way to the XMPP server.
#[derive(Default)]
struct Stanzas {
    carry: Vec<u8>,
    begun: Option<Instant>,
}

impl Stanzas {
    fn pass(&mut self, piece: &[u8], at: Instant, notes: &Notes) {
        if self.carry.is_empty() {
            self.begun = Some(at);
        }
        self.carry.extend(piece);
        while let Some((ticket, end)) = mails::ticket(&self.carry) {
            if let Some(passed) = notes.lock().unwrap().get_mut(&ticket) {
                passed.stanza.get_or_insert(self.begun.unwrap_or(at));
            }
            self.carry.drain(..end);
            self.begun = Some(at);
        }
        if self.carry.ends_with(b">") {
            self.carry.clear();
        }
    }
}
