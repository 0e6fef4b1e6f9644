use std::net::{Ipv4Addr, Ipv6Addr};

use futures::FutureExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;
use crate::probe::names::Asked;

const LIMIT: Duration = Duration::from_secs(2);

fn answer(found: Result<Vec<IpAddr>, Unknown>) -> Asked {
    futures::future::ready(Answer { found, took: Duration::ZERO }).boxed().shared()
}

fn late(after: Duration, found: Result<Vec<IpAddr>, Unknown>) -> Asked {
    let answer = async move {
        tokio::time::sleep(after).await;
        Answer { found, took: after }
    };
    answer.boxed().shared()
}

fn never() -> Asked {
    futures::future::pending().boxed().shared()
}

fn unknown(kind: Kind) -> Unknown {
    Unknown { kind, reason: kind.words().into() }
}

/// A listener whose queue is full: nothing that is sent to it is answered any more.
struct BlackHole {
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

async fn black_hole(address: SocketAddr) -> BlackHole {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }.unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        queued.push(stream);
        assert!(queued.len() < 8, "it answers for ever");
    }
    BlackHole { _listener: listener, _queued: queued }
}

/// Who accepts first.
async fn won(lookup: Lookup, port: u16) -> Result<IpAddr, Failure> {
    all(lookup, port, LIMIT).await.map(|(ip, _)| ip)
}

fn v4() -> IpAddr {
    Ipv4Addr::LOCALHOST.into()
}

fn v6() -> IpAddr {
    Ipv6Addr::LOCALHOST.into()
}

#[tokio::test]
async fn a_host_is_open_where_one_family_swallows_everything() {
    let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = good.local_addr().unwrap().port();
    let _hole = black_hole((v6(), port).into()).await;
    let start = Instant::now();
    let lookup = Lookup { v4: answer(Ok(vec![v4()])), v6: answer(Ok(vec![v6()])) };
    assert_eq!(won(lookup, port).await, Ok(v4()));
    let took = start.elapsed();
    assert!(took >= NEXT && took < LIMIT, "{took:?}");
    // The same where the good address is known long after the bad one.
    let after = Duration::from_millis(400);
    let lookup = Lookup { v4: late(after, Ok(vec![v4()])), v6: answer(Ok(vec![v6()])) };
    assert_eq!(won(lookup, port).await, Ok(v4()));
}

#[tokio::test]
async fn ipv6_goes_first_and_a_question_that_hangs_costs_little() {
    let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = good.local_addr().unwrap().port();
    let six = TcpListener::bind((v6(), port)).await.unwrap();
    let both = || Lookup { v4: answer(Ok(vec![v4()])), v6: late(IPV6_FIRST / 5, Ok(vec![v6()])) };
    assert_eq!(won(both(), port).await, Ok(v6()));
    drop(six);
    let start = Instant::now();
    let lookup = Lookup { v4: answer(Ok(vec![v4()])), v6: never() };
    assert_eq!(won(lookup, port).await, Ok(v4()));
    assert!(start.elapsed() >= IPV6_FIRST && start.elapsed() < LIMIT / 2);
    // A refusal does not wait for the turn of the next one.
    let start = Instant::now();
    assert_eq!(won(both(), port).await, Ok(v4()));
    assert!(start.elapsed() < NEXT, "{:?}", start.elapsed());
}

#[tokio::test]
async fn the_most_telling_failure_is_told_first() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = dead.local_addr().unwrap().port();
    drop(dead);
    let _hole = black_hole((v6(), port).into()).await;
    let limit = Duration::from_millis(600);
    let start = Instant::now();
    let lookup = Lookup { v4: answer(Ok(vec![v4()])), v6: answer(Ok(vec![v6()])) };
    let failure = all(lookup, port, limit).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Refused);
    assert_eq!(failure.reason, "127.0.0.1 refused the connection; ::1 did not answer within 600ms");
    assert!(
        start.elapsed() >= limit && start.elapsed() < limit * 2,
        "the silent one had its time: {:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn what_is_no_answer_is_told_apart() {
    let kind = |v4, v6| async move { all(Lookup { v4, v6 }, 9, LIMIT).await.unwrap_err().kind };
    let (no_name, failed) = (|| answer(Err(unknown(Kind::NoSuchName))), || answer(Err(unknown(Kind::ResolverFailed))));
    let none = || answer(Ok(Vec::new()));
    assert_eq!(kind(no_name(), no_name()).await, Kind::NoSuchName);
    assert_eq!(kind(failed(), no_name()).await, Kind::NoSuchName);
    assert_eq!(kind(none(), none()).await, Kind::NoSuchName);
    assert_eq!(kind(none(), failed()).await, Kind::ResolverFailed, "the other family may have had an address");
    assert_eq!(kind(failed(), failed()).await, Kind::ResolverFailed);
}

#[test]
fn our_own_fault_hides_what_the_others_said() {
    let failure = |kind: Kind| Failure { kind, reason: "x".into() };
    let both = |a, b| say(&[(v4(), failure(a)), (v6(), failure(b))]).kind;
    assert_eq!(both(Kind::Refused, Kind::Local), Kind::Local);
    assert_eq!(both(Kind::NetworkUnreachable, Kind::TimedOut), Kind::TimedOut);
    assert_eq!(both(Kind::HostUnreachable, Kind::NetworkUnreachable), Kind::HostUnreachable);
}
