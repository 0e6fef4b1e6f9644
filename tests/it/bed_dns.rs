//! The test bed's DNS server says what it is told to, to a resolver that is not ours too.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::{Message, Query, ResponseCode};
use hickory_resolver::proto::rr::Name;

use crate::support::dns::{Asked, Dns, RecordType, Reply, Transport};
use crate::support::hosts::{Host, Wire};

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SILENCE: Duration = Duration::from_millis(300);

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

/// Asks by UDP; `None`: no answer.
fn ask(host: &Host, name: &str, kind: RecordType) -> Option<Message> {
    let question = question(name, kind);
    let mut packet = [0; 4096];
    let socket = host.run(|| UdpSocket::bind((LOCALHOST, 0))).unwrap();
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    socket.send_to(&question, (LOCALHOST, 53)).unwrap();
    match socket.recv(&mut packet) {
        Ok(length) => {
            assert_eq!(packet[..2], question[..2], "the answer is to the question");
            Some(Message::from_vec(&packet[..length]).unwrap())
        }
        Err(err) => {
            assert_eq!(err.kind(), ErrorKind::WouldBlock, "{err}");
            None
        }
    }
}

fn ask_by_tcp(host: &Host, name: &str, kind: RecordType) -> Message {
    let question = question(name, kind);
    let mut stream = host.run(|| TcpStream::connect((LOCALHOST, 53))).unwrap();
    stream.write_all(&(question.len() as u16).to_be_bytes()).unwrap();
    stream.write_all(&question).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut packet = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut packet).unwrap();
    Message::from_vec(&packet).unwrap()
}

/// Its code and its records' data, as text.
fn told(message: &Message) -> (ResponseCode, Vec<String>) {
    (message.metadata.response_code, message.answers.iter().map(|record| record.data.to_string()).collect())
}

fn bed() -> Option<(Wire, Host, Dns)> {
    let wire = Wire::new()?;
    let host = wire.host();
    let dns = Dns::start(&host, LOCALHOST);
    Some((wire, host, dns))
}

fn addresses(texts: &[&str]) -> Reply {
    Reply::Addresses(texts.iter().map(|text| text.parse().unwrap()).collect())
}

#[test]
fn each_name_has_its_answer() {
    use RecordType::{A, AAAA};
    let Some((_wire, host, dns)) = bed() else { return };
    dns.says("both.test", addresses(&["192.0.2.7", "2001:db8::7", "192.0.2.8"]));
    dns.says("empty.test", Reply::Addresses(Vec::new()));
    dns.says("broken.test", Reply::Fails);
    dns.says("closed.test", Reply::Refuses);
    dns.says("half.test", addresses(&["192.0.2.7"]));
    dns.says_of("half.test", AAAA, Reply::Silent);
    let of = |name, kind| told(&ask(&host, name, kind).unwrap());
    let none = Vec::<String>::new;
    assert_eq!(of("both.test", A), (ResponseCode::NoError, vec!["192.0.2.7".into(), "192.0.2.8".into()]));
    assert_eq!(of("BOTH.test.", AAAA), (ResponseCode::NoError, vec!["2001:db8::7".into()]));
    assert_eq!(of("empty.test", A), (ResponseCode::NoError, none()), "NODATA");
    assert_eq!(of("nobody.test", A), (ResponseCode::NXDomain, none()));
    assert_eq!(of("broken.test", A), (ResponseCode::ServFail, none()));
    assert_eq!(of("closed.test", A), (ResponseCode::Refused, none()));
    assert_eq!(of("half.test", A).1, ["192.0.2.7"]);
    assert_eq!(ask(&host, "half.test", AAAA), None, "it hangs");
    // That there is nothing comes with a SOA (RFC 2308 §2).
    let nothing = ask(&host, "empty.test", A).unwrap();
    assert_eq!(nothing.authorities.iter().map(|soa| soa.record_type()).collect::<Vec<_>>(), [RecordType::SOA]);
}

#[test]
fn aliases_are_followed() {
    let Some((_wire, host, dns)) = bed() else { return };
    dns.says("www.test", Reply::Alias("web.test"));
    dns.says("web.test", Reply::Alias("host.test"));
    dns.says("host.test", addresses(&["192.0.2.7"]));
    dns.says("astray.test", Reply::Alias("nobody.test"));
    dns.says("round.test", Reply::Alias("round.test"));
    let of = |name| told(&ask(&host, name, RecordType::A).unwrap());
    let chain = ["web.test.", "host.test.", "192.0.2.7"].map(str::to_owned).to_vec();
    assert_eq!(of("www.test"), (ResponseCode::NoError, chain));
    assert_eq!(of("astray.test"), (ResponseCode::NXDomain, vec!["nobody.test.".into()]));
    assert_eq!(of("round.test").0, ResponseCode::ServFail);
}

#[test]
fn an_answer_can_be_late() {
    let Some((_wire, host, dns)) = bed() else { return };
    let late = SILENCE / 2;
    dns.says("slow.test", Reply::Late(late, Box::new(addresses(&["192.0.2.7"]))));
    dns.says("quick.test", Reply::NoSuchName);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| (ask(&host, "slow.test", RecordType::A).unwrap(), start.elapsed()));
        ask(&host, "quick.test", RecordType::A).unwrap();
        let (answer, after) = slow.join().unwrap();
        assert_eq!(told(&answer).1, ["192.0.2.7"]);
        assert!(after >= late, "{after:?}");
    });
}

#[test]
fn what_is_too_large_goes_by_tcp_and_every_question_counts() {
    let Some((_wire, host, dns)) = bed() else { return };
    let many = (0..200).map(|n| IpAddr::from([198, 18, 0, n])).collect();
    dns.says("large.test", Reply::Addresses(many));
    let cut = ask(&host, "large.test", RecordType::A).unwrap();
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    assert_eq!(ask_by_tcp(&host, "large.test", RecordType::A).answers.len(), 200);
    let asked = |transport| Asked { name: "large.test".into(), kind: RecordType::A, transport };
    assert_eq!(dns.asked(), [asked(Transport::Udp), asked(Transport::Tcp)]);
    assert_eq!(dns.queries("large.test", RecordType::A), 2);
    assert_eq!(dns.queries("large.test", RecordType::AAAA), 0);
}

/// The system's own resolver reads the file, asks here, and understands.
#[test]
fn the_systems_resolver_asks_it() {
    let Some((_wire, host, dns)) = bed() else { return };
    host.resolv_conf("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
    dns.says("www.example.test", Reply::Alias("both.example.test"));
    dns.says("both.example.test", addresses(&["192.0.2.7", "2001:db8::7"]));
    dns.says("broken.example.test", Reply::Fails);
    let getent = |database: &str, name: &str| {
        let output = host.command("getent").args([database, name]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, v4) = getent("ahostsv4", "www.example.test");
    assert!(code == Some(0) && v4.starts_with("192.0.2.7 "), "{v4}");
    let (code, v6) = getent("ahostsv6", "www.example.test");
    assert!(code == Some(0) && v6.starts_with("2001:db8::7 "), "{v6}");
    for unknown in ["nobody.example.test", "broken.example.test"] {
        assert_eq!(getent("ahosts", unknown), (Some(2), String::new()), "{unknown}");
    }
    assert!(dns.queries("www.example.test", RecordType::AAAA) > 0);
    // Once it is dropped nobody is at its port.
    drop(dns);
    let refused = host.run(|| TcpStream::connect((LOCALHOST, 53))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}
