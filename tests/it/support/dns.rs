//! A DNS server of the test's own: it says of each name what a table tells it to, and counts what it is asked.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, Metadata, ResponseCode};
pub use hickory_resolver::proto::rr::RecordType;
use hickory_resolver::proto::rr::rdata::{CNAME, SOA};
use hickory_resolver::proto::rr::{Name, RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::hosts::Host;

/// What is said of a name.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Those of them that are of the type that was asked for; where there is none, NODATA (RFC 2308 §2.2).
    Addresses(Vec<IpAddr>),
    /// It is another name for this one. What that one says is told at once, as a resolver does that others ask.
    Alias(&'static str),
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL.
    Fails,
    /// REFUSED.
    Refuses,
    /// Nothing is said.
    Silent,
    /// It is said so much later.
    Late(Duration, Box<Reply>),
}

/// How it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// In lower case, without the final dot.
    pub name: String,
    pub kind: RecordType,
    pub transport: Transport,
}

/// A running server. A name that it was told nothing of is NXDOMAIN. No answer may be kept: all have a TTL of 0.
pub struct Dns {
    told: Arc<Told>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Told {
    replies: Mutex<HashMap<(String, Option<RecordType>), Reply>>,
    asked: Mutex<Vec<Asked>>,
}

impl Dns {
    /// On port 53, UDP and TCP, of this address of a machine.
    pub fn start(host: &Host, address: impl Into<IpAddr>) -> Self {
        let address = SocketAddr::new(address.into(), 53);
        let (udp, tcp) = host.run(|| (UdpSocket::bind(address), std::net::TcpListener::bind(address)));
        let (udp, tcp) = (udp.unwrap(), tcp.unwrap());
        udp.set_nonblocking(true).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let told = Arc::new(Told::default());
        let (stop, stopped) = oneshot::channel();
        let teller = told.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                tokio::select! {
                    err = serve_udp(udp, teller.clone()) => panic!("DNS over UDP: {err}"),
                    err = serve_tcp(tcp, teller) => panic!("DNS over TCP: {err}"),
                    _ = stopped => {}
                }
            });
        });
        Self { told, stop: Some(stop), thread: Some(thread) }
    }

    /// From now on this is said of a name, whatever type is asked for, but for those types of which something else is said.
    pub fn says(&self, name: &str, reply: Reply) {
        self.told.replies.lock().unwrap().insert((name.to_owned(), None), reply);
    }

    /// The same, if this type is asked for.
    pub fn says_of(&self, name: &str, kind: RecordType, reply: Reply) {
        self.told.replies.lock().unwrap().insert((name.to_owned(), Some(kind)), reply);
    }

    /// All questions so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.told.asked.lock().unwrap().clone()
    }

    /// How often it was asked for this type of this name.
    pub fn queries(&self, name: &str, kind: RecordType) -> usize {
        self.asked().iter().filter(|asked| asked.name == name && asked.kind == kind).count()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().unwrap().join();
    }
}

impl Told {
    /// Notes the question, and says when to answer what; `None`: not at all.
    fn ask(&self, request: &[u8], transport: Transport) -> Option<(Duration, Message)> {
        let request = Message::from_vec(request).ok()?;
        let query = request.queries.first()?;
        let (name, kind) = (plain(query.name()), query.query_type());
        self.asked.lock().unwrap().push(Asked { name: name.clone(), kind, transport });
        let mut response = Message::query();
        response.metadata = Metadata::response_from_request(&request.metadata);
        response.metadata.recursion_available = true;
        response.add_query(query.clone());
        response.edns = request.edns.clone();
        let late = self.answer(&mut response, &name, kind)?;
        if response.answers.iter().all(|record| record.record_type() != kind) {
            // How long that there is nothing may be kept (RFC 2308 §3): not at all.
            let zone = Name::root();
            let soa = SOA::new(zone.clone(), zone.clone(), 1, 0, 0, 0, 0);
            response.add_authority(Record::from_rdata(zone, 0, RData::SOA(soa)));
        }
        Some((late, response))
    }

    /// Follows aliases, so far and no further: in a circle there is no answer.
    fn answer(&self, response: &mut Message, name: &str, kind: RecordType) -> Option<Duration> {
        let mut name = name.to_owned();
        let mut late = Duration::ZERO;
        for _ in 0..16 {
            let mut reply = self.reply(&name, kind);
            while let Reply::Late(by, then) = reply {
                late += by;
                reply = *then;
            }
            let owner = Name::from_ascii(format!("{name}.")).unwrap();
            let code = match reply {
                Reply::Silent => return None,
                Reply::Alias(other) => {
                    let target = CNAME(Name::from_ascii(format!("{other}.")).unwrap());
                    response.add_answer(Record::from_rdata(owner, 0, RData::CNAME(target)));
                    other.clone_into(&mut name);
                    continue;
                }
                Reply::Addresses(addresses) => {
                    let of_kind = addresses.into_iter().map(RData::from).filter(|data| data.record_type() == kind);
                    response.add_answers(of_kind.map(|data| Record::from_rdata(owner.clone(), 0, data)));
                    ResponseCode::NoError
                }
                Reply::NoSuchName => ResponseCode::NXDomain,
                Reply::Refuses => ResponseCode::Refused,
                Reply::Fails | Reply::Late(..) => ResponseCode::ServFail,
            };
            response.metadata.response_code = code;
            return Some(late);
        }
        response.metadata.response_code = ResponseCode::ServFail;
        Some(late)
    }

    fn reply(&self, name: &str, kind: RecordType) -> Reply {
        let replies = self.replies.lock().unwrap();
        let of = |kind| replies.get(&(name.to_owned(), kind));
        of(Some(kind)).or_else(|| of(None)).cloned().unwrap_or(Reply::NoSuchName)
    }
}

fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

async fn serve_udp(socket: UdpSocket, told: Arc<Told>) -> io::Error {
    let socket = Arc::new(tokio::net::UdpSocket::from_std(socket).unwrap());
    let mut packet = [0; 4096];
    loop {
        let (length, from) = match socket.recv_from(&mut packet).await {
            Ok(received) => received,
            Err(err) => return err,
        };
        let Some((late, mut response)) = told.ask(&packet[..length], Transport::Udp) else { continue };
        let mut bytes = response.to_vec().unwrap();
        if bytes.len() > usize::from(response.max_payload()) {
            // Then he must ask by TCP (RFC 2181 §9).
            response = response.truncate();
            bytes = response.to_vec().unwrap();
        }
        let socket = socket.clone();
        tokio::spawn(async move {
            tokio::time::sleep(late).await;
            let _ = socket.send_to(&bytes, from).await;
        });
    }
}

async fn serve_tcp(listener: std::net::TcpListener, told: Arc<Told>) -> io::Error {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, told.clone()))),
            Err(err) => return err,
        }
    }
}

/// Messages with their lengths (RFC 1035 §4.2.2), one after the other.
async fn converse(mut stream: tokio::net::TcpStream, told: Arc<Told>) -> io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut packet = vec![0; length.into()];
        stream.read_exact(&mut packet).await?;
        let Some((late, response)) = told.ask(&packet, Transport::Tcp) else { continue };
        tokio::time::sleep(late).await;
        let bytes = response.to_vec().unwrap();
        stream.write_u16(bytes.len() as u16).await?;
        stream.write_all(&bytes).await?;
    }
}
