//! A raw XMPP client: enough to log in, to write stanzas as fast as the server takes them, and to read what comes.

use std::net::Ipv4Addr;

use sasl::client::Mechanism as _;
use sasl::client::mechanisms::Scram;
use sasl::common::{Credentials, scram::Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use xmpp_parsers::minidom::Element;
use xmpp_parsers::sasl::{Auth, Challenge, Mechanism, Response};

use super::mails::{self, Ticket, find};
use super::support::DOMAIN;

/// Stanzas in one write.
const BURST: usize = 64;

/// A session that is online, without TLS and without stream management.
pub struct Session {
    pub read: OwnedReadHalf,
    pub write: OwnedWriteHalf,
    /// Read and not looked at yet.
    pub rest: Vec<u8>,
}

impl Session {
    /// Logs in by SCRAM-SHA-1 and shows presence.
    pub async fn open(port: u16, user: &str, resource: &str) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (read, write) = stream.into_split();
        let mut session = Self { read, write, rest: Vec::new() };
        session.header().await;
        session.log_in(user).await;
        session.header().await;
        let bind = format!(
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind></iq>"
        );
        session.say(&bind, "</iq>").await;
        // The answer to the ping says that the presence was handled.
        let ping = format!("<presence/><iq type='get' id='ping' to='{DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>");
        session.say(&ping, "</iq>|<iq ").await;
        session
    }

    async fn header(&mut self) {
        self.rest.clear();
        let header = format!(
            "<?xml version='1.0'?><stream:stream to='{DOMAIN}' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
        );
        self.say(&header, "</stream:features>").await;
    }

    async fn log_in(&mut self, user: &str) {
        let credentials = Credentials::default().with_username(user).with_password(format!("pw-{user}"));
        let mut scram = Scram::<Sha1>::from_credentials(credentials).unwrap();
        let auth = Auth { mechanism: Mechanism::ScramSha1, data: scram.initial() };
        let challenge = self.say(&String::from(&Element::from(auth)), "</challenge>").await;
        let challenge = Challenge::try_from(challenge.parse::<Element>().unwrap()).unwrap();
        let response = Response { data: scram.response(&challenge.data).unwrap() };
        self.say(&String::from(&Element::from(response)), "</success>").await;
    }

    /// Writes, and reads up to one of `ends` (between `|`); what came.
    async fn say(&mut self, text: &str, ends: &str) -> String {
        self.write.write_all(text.as_bytes()).await.unwrap();
        loop {
            let end = ends.split('|').filter_map(|end| Some(find(&self.rest, end.as_bytes())? + end.len())).min();
            if let Some(end) = end {
                let said: Vec<u8> = self.rest.drain(..end).collect();
                return String::from_utf8(said).unwrap();
            }
            let n = self.read.read_buf(&mut self.rest).await.unwrap();
            assert!(n > 0, "XMPP: the connection ended: {}", String::from_utf8_lossy(&self.rest));
        }
    }
}

/// A session that only writes.
pub struct Sender {
    write: OwnedWriteHalf,
    drain: JoinHandle<()>,
}

impl Sender {
    pub async fn open(port: u16, user: &str) -> Self {
        let Session { mut read, write, .. } = Session::open(port, user, "raw").await;
        // Presences and receipts come back: unread, they would stop the server.
        let drain = tokio::spawn(async move {
            let mut buf = vec![0; 64 * 1024];
            while read.read(&mut buf).await.is_ok_and(|n| n > 0) {}
        });
        Self { write, drain }
    }

    /// Writes all as fast as the server takes them.
    pub async fn send(&mut self, stanzas: &[String]) {
        for burst in stanzas.chunks(BURST) {
            self.write.write_all(burst.concat().as_bytes()).await.unwrap();
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.drain.abort();
    }
}

/// A session that only writes, and knows what the server has taken over (XEP-0198): no more than a window is on its way.
pub struct Acked {
    write: OwnedWriteHalf,
    sent: u32,
    acked: watch::Receiver<u32>,
    read: JoinHandle<()>,
}

/// Stanzas between two requests, and most of them on their way: as mailbell does it.
const ASK_AFTER: usize = 32;
const WINDOW: u32 = 128;

impl Acked {
    pub async fn open(port: u16, user: &str) -> Self {
        let mut session = Session::open(port, user, "acked").await;
        session.say("<enable xmlns='urn:xmpp:sm:3'/>", "<enabled ").await;
        let Session { mut read, write, mut rest } = session;
        let (tell, acked) = watch::channel(0);
        let read = tokio::spawn(async move {
            while read.read_buf(&mut rest).await.is_ok_and(|n| n > 0) {
                while let Some(at) = find(&rest, b"<a ") {
                    let Some(end) = find(&rest[at..], b"/>") else { break };
                    let ack = String::from_utf8_lossy(&rest[at..at + end]).into_owned();
                    let digits = ack.split_once("h='").map_or("", |(_, h)| h.split('\'').next().unwrap_or_default());
                    if let Ok(h) = digits.parse() {
                        tell.send_replace(h);
                    }
                    rest.drain(..at + end);
                }
            }
        });
        Self { write, sent: 0, acked, read }
    }

    /// Writes all, and waits until the server has taken all of it.
    pub async fn send(&mut self, stanzas: &[String]) {
        for burst in stanzas.chunks(ASK_AFTER) {
            let burst_end = self.sent + burst.len() as u32;
            self.acked.wait_for(|h| burst_end - h <= WINDOW).await.unwrap();
            self.write.write_all((burst.concat() + "<r xmlns='urn:xmpp:sm:3'/>").as_bytes()).await.unwrap();
            self.sent = burst_end;
        }
        let sent = self.sent;
        self.acked.wait_for(|h| *h == sent).await.unwrap();
    }
}

impl Drop for Acked {
    fn drop(&mut self) {
        self.read.abort();
    }
}

/// A message as mailbell writes it, and as long.
pub fn message(to: &str, ticket: Ticket) -> String {
    let (title, text) = (mails::title(ticket), mails::text(ticket).replace('\r', ""));
    format!(
        "<message xmlns='jabber:client' type='chat' to='{to}@{DOMAIN}' id='0123456789abcdef{to}{ticket}'>\
         <body>[MAJOR] {title}\n{text}\nhttps://monitor.example.test/alerts/{ticket}\nops · mailbox bench · \
         2026-01-01 00:00:00Z · #0123456</body><request xmlns='urn:xmpp:receipts'/>\
         <origin-id xmlns='urn:xmpp:sid:0' id='0123456789abcdef{to}{ticket}'/><store xmlns='urn:xmpp:hints'/>\
         <unstyled xmlns='urn:xmpp:styling:0'/></message>"
    )
}
