//! One host's addresses against each other, for one port: happy eyeballs (RFC 8305).
//!
//! IPv6 and IPv4 take turns. The next address is tried as soon as one failed, or when one has said nothing for a while; whoever
//! accepts first decides. So a host is open where any of its addresses is, and one that swallows everything costs a quarter of
//! a second, not the whole time. Its connection is handed on; what is not needed of it is dropped.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::connect::{Failure, connect};
use super::names::{Answer, Lookup, Unknown};
use super::outcome::Kind;

/// RFC 8305 §5: from one attempt to the next while nothing is heard.
const NEXT: Duration = Duration::from_millis(250);
/// RFC 8305 §3: so long an IPv4 address waits for the IPv6 ones.
const IPV6_FIRST: Duration = Duration::from_millis(50);
/// Most addresses of a host that are tried.
const MOST: usize = 8;

/// How it ended, without a time: who accepted, and the connection.
pub(super) type End = Result<(IpAddr, TcpStream), Failure>;

/// One address, within `limit`.
pub(super) async fn alone(address: SocketAddr, limit: Duration) -> End {
    match timeout_at(Instant::now() + limit, connect(address)).await {
        Ok(Ok(stream)) => Ok((address.ip(), stream)),
        Ok(Err(failure)) => Err(say(&[(address.ip(), failure)])),
        Err(_) => Err(say(&[(address.ip(), silent(limit))])),
    }
}

/// All addresses of a name, within `limit` from when the question was asked.
pub(super) async fn all(lookup: Lookup, port: u16, limit: Duration) -> End {
    let mut race = Race {
        v4: VecDeque::new(),
        v6: VecDeque::new(),
        v6_next: true,
        tried: Vec::new(),
        silent: Vec::new(),
        unknown: Vec::new(),
    };
    let (mut v4, mut v6) = (Some(lookup.v4), Some(lookup.v6));
    let mut attempts = FuturesUnordered::new();
    // When the next attempt may begin; the end of it all.
    let mut next: Option<Instant> = None;
    let mut end: Option<Instant> = None;
    loop {
        let may_start = race.has_more() && (attempts.is_empty() && next.is_none());
        if may_start || next.is_some_and(|at| at <= Instant::now()) {
            next = None;
            if let Some(ip) = race.next() {
                let address = SocketAddr::new(ip, port);
                attempts.push(async move { (ip, connect(address).await) });
                race.silent.push(ip);
                next = (race.has_more() || v4.is_some() || v6.is_some()).then(|| Instant::now() + NEXT);
            }
        }
        let asking = v4.is_some() || v6.is_some();
        if attempts.is_empty() && !asking && !race.has_more() {
            return race.lost(limit);
        }
        tokio::select! {
            biased;
            Some((ip, done)) = attempts.next(), if !attempts.is_empty() => {
                race.silent.retain(|other| *other != ip);
                match done {
                    Ok(stream) => return Ok((ip, stream)),
                    // The others need not wait any longer.
                    Err(failure) => {
                        race.tried.push((ip, failure));
                        next = race.has_more().then(Instant::now);
                    }
                }
            }
            answer = answered(&mut v6), if v6.is_some() => {
                v6 = None;
                end = end.max(race.take(answer, limit));
                if race.has_more() && (race.silent.is_empty() || next.is_none()) {
                    next = Some(Instant::now());
                }
            }
            answer = answered(&mut v4), if v4.is_some() => {
                v4 = None;
                end = end.max(race.take(answer, limit));
                if race.has_more() && next.is_none() {
                    let wait = if v6.is_some() && race.silent.is_empty() { IPV6_FIRST } else { Duration::ZERO };
                    next = Some(Instant::now() + wait);
                }
            }
            () = until(next), if next.is_some() => {}
            () = until(end), if end.is_some() && !asking => return race.lost(limit),
        }
    }
}

async fn answered(asked: &mut Option<super::names::Asked>) -> Answer {
    match asked {
        Some(asked) => asked.clone().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

struct Race {
    v4: VecDeque<IpAddr>,
    v6: VecDeque<IpAddr>,
    /// Whose turn it is.
    v6_next: bool,
    tried: Vec<(IpAddr, Failure)>,
    /// Tried, and nothing heard yet.
    silent: Vec<IpAddr>,
    unknown: Vec<Unknown>,
}

impl Race {
    /// Takes an answer; gives when the time is over for what it brought.
    fn take(&mut self, answer: Answer, limit: Duration) -> Option<Instant> {
        match answer.found {
            Ok(addresses) => {
                let end = (!addresses.is_empty()).then(|| Instant::now() + limit.saturating_sub(answer.took));
                for address in addresses.into_iter().take(MOST / 2) {
                    let queue = if address.is_ipv6() { &mut self.v6 } else { &mut self.v4 };
                    queue.push_back(address);
                }
                end
            }
            Err(unknown) => {
                self.unknown.push(unknown);
                None
            }
        }
    }

    fn has_more(&self) -> bool {
        !self.v4.is_empty() || !self.v6.is_empty()
    }

    fn next(&mut self) -> Option<IpAddr> {
        let (first, second) = if self.v6_next { (&mut self.v6, &mut self.v4) } else { (&mut self.v4, &mut self.v6) };
        let found = first.pop_front().or_else(|| second.pop_front())?;
        self.v6_next = found.is_ipv4();
        Some(found)
    }

    /// Nobody accepted.
    fn lost(mut self, limit: Duration) -> End {
        self.tried.extend(self.silent.iter().map(|ip| (*ip, silent(limit))));
        if !self.tried.is_empty() {
            return Err(say(&self.tried));
        }
        // "No such name" holds for both families; otherwise whoever failed may have had an address.
        let known = self.unknown.iter().find(|unknown| unknown.kind == Kind::NoSuchName);
        Err(match known.or(self.unknown.first()) {
            Some(unknown) => Failure { kind: unknown.kind, reason: unknown.reason.clone() },
            None => Failure { kind: Kind::NoSuchName, reason: "the name has no address".into() },
        })
    }
}

fn silent(limit: Duration) -> Failure {
    Failure { kind: Kind::TimedOut, reason: format!("did not answer within {}", crate::model::Span(limit)) }
}

/// What all of them said together: the most telling kind, and each address with its own words. Where one was not asked, by our
/// own fault, nothing is known of the host.
fn say(tried: &[(IpAddr, Failure)]) -> Failure {
    const TELLING: [Kind; 7] = [
        Kind::Local,
        Kind::Refused,
        Kind::Reset,
        Kind::TimedOut,
        Kind::HostUnreachable,
        Kind::NotPermitted,
        Kind::NetworkUnreachable,
    ];
    let place = |kind| TELLING.iter().position(|known| *known == kind).unwrap_or(TELLING.len());
    let mut sorted: Vec<&(IpAddr, Failure)> = tried.iter().collect();
    sorted.sort_by_key(|(_, failure)| place(failure.kind));
    let kind = sorted.first().map_or(Kind::Local, |(_, failure)| failure.kind);
    let said: Vec<String> = sorted.iter().map(|(ip, failure)| format!("{ip} {}", failure.reason)).collect();
    Failure { kind, reason: said.join("; ") }
}

#[cfg(test)]
mod tests;
