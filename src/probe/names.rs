//! Names to addresses, once a round, by hickory: unlike the system's resolver it tells "no such name" from "nobody answered".

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::future::{BoxFuture, Either, Shared, select};
use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use rustix::io::Errno;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::outcome::Kind;
use super::target::Host;

/// Most questions that are asked in one go: more would be dropped by small resolvers.
const AT_ONCE: usize = 32;
/// Who has not been answered after this gives its turn to the next one: a resolver that is silent about some names must not hold up
/// all the others …
const TURN: Duration = Duration::from_millis(100);
/// … but no more questions than this are open, since each has a socket.
pub(super) const MOST: usize = 256;
/// Whether the resolver's files changed is looked at no more often than this.
const LOOK: Duration = Duration::from_secs(1);
/// What the resolver is made of.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// What one question was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The addresses of one family; none: the name has none of this family.
    pub(super) found: Result<Vec<IpAddr>, Unknown>,
    /// How long it took to ask, without the wait for a turn.
    pub(super) took: Duration,
}

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unknown {
    /// [`Kind::NoSuchName`], [`Kind::ResolverFailed`], or [`Kind::Local`].
    pub(super) kind: Kind,
    pub(super) reason: String,
}

pub(super) type Asked = Shared<BoxFuture<'static, Answer>>;

/// The questions for both families, under way or answered.
#[derive(Clone)]
pub(super) struct Lookup {
    pub(super) v4: Asked,
    pub(super) v6: Asked,
}

impl Lookup {
    /// Until an address is known, or that there is none. Gives how long it took to ask, without the wait for a turn.
    pub(super) async fn first(&self) -> Duration {
        let none = |answer: &Answer| !matches!(&answer.found, Ok(addresses) if !addresses.is_empty());
        match select(self.v4.clone(), self.v6.clone()).await {
            Either::Left((first, other)) if none(&first) => first.took.max(other.await.took),
            Either::Right((first, other)) if none(&first) => first.took.max(other.await.took),
            Either::Left((first, _)) | Either::Right((first, _)) => first.took,
        }
    }
}

/// The resolver, and what it answered in this round.
pub(super) struct Names {
    state: Mutex<State>,
    turns: Turns,
    /// An answer is as good as new for so long.
    fresh: Duration,
}

/// The last good answers: where the resolver fails, a host is probed where it was.
type Good = Arc<Mutex<Answers>>;

#[derive(Default)]
struct Answers {
    good: HashMap<(Host, RecordType), Vec<IpAddr>>,
    /// Those that are in use although the resolver failed: told once.
    stale: HashSet<(Host, RecordType)>,
}

impl Answers {
    /// What counts, given what was found.
    fn weigh(&mut self, key: (Host, RecordType), found: Result<Vec<IpAddr>, Unknown>) -> Result<Vec<IpAddr>, Unknown> {
        match found {
            Err(unknown) if unknown.kind != Kind::NoSuchName => {
                let Some(known) = self.good.get(&key) else { return Err(unknown) };
                if self.stale.insert(key.clone()) {
                    let (host, family) = &key;
                    tracing::warn!(%host, %family, reason = %unknown.reason,
                        "the resolver fails; the host is probed where it was");
                }
                Ok(known.clone())
            }
            known => {
                if self.stale.remove(&key) {
                    tracing::info!(host = %key.0, family = %key.1, "the resolver answers again");
                }
                match &known {
                    Ok(addresses) if !addresses.is_empty() => self.good.insert(key, addresses.clone()),
                    _ => self.good.remove(&key),
                };
                known
            }
        }
    }
}

#[derive(Clone)]
struct Turns {
    /// The questions that were just asked.
    go: Arc<Semaphore>,
    /// All that are open.
    open: Arc<Semaphore>,
}

struct State {
    /// Made when the first name is asked for.
    resolver: Option<Result<Arc<TokioResolver>, String>>,
    files: [Option<SystemTime>; 2],
    looked: Instant,
    asked: HashMap<Host, (Instant, Lookup)>,
    limit: Duration,
    good: Good,
}

impl Names {
    /// `fresh`: how long an answer serves; `limit`: longest wait for one.
    pub(super) fn new(fresh: Duration, limit: Duration) -> Self {
        let state = State {
            resolver: None,
            files: stamps(),
            looked: Instant::now(),
            asked: HashMap::new(),
            limit,
            good: Arc::default(),
        };
        Self {
            state: Mutex::new(state),
            turns: Turns { go: Arc::new(Semaphore::new(AT_ONCE)), open: Arc::new(Semaphore::new(MOST)) },
            fresh,
        }
    }

    /// The addresses of a name. Whoever asks for the same name meanwhile gets the same answer.
    pub(super) fn look_up(&self, host: &Host) -> Lookup {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some((at, lookup)) = state.asked.get(host)
            && now.duration_since(*at) < self.fresh
        {
            return lookup.clone();
        }
        if now.duration_since(state.looked) >= LOOK {
            state.looked = now;
            let files = stamps();
            if files != state.files || matches!(state.resolver, Some(Err(_))) {
                state.files = files;
                state.resolver = None;
            }
        }
        let limit = state.limit;
        let made = state.resolver.get_or_insert_with(|| resolver(limit)).clone();
        let good = &state.good;
        let ask = |family| match &made {
            Ok(resolver) => {
                let (turns, good) = (self.turns.clone(), good.clone());
                ask(resolver.clone(), host.clone(), family, turns, good, limit).boxed().shared()
            }
            Err(why) => {
                let unknown = Unknown { kind: Kind::ResolverFailed, reason: why.clone() };
                let answer = Answer { found: Err(unknown), took: Duration::ZERO };
                futures::future::ready(answer).boxed().shared()
            }
        };
        let lookup = Lookup { v4: ask(RecordType::A), v6: ask(RecordType::AAAA) };
        state.asked.insert(host.clone(), (now, lookup.clone()));
        lookup
    }

    /// Forgets a host: the next who asks for it is told anew.
    pub(super) fn forget(&self, host: &Host) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked.remove(host);
        let mut answers = state.good.lock().unwrap_or_else(PoisonError::into_inner);
        answers.good.retain(|(known, _), _| known != host);
        answers.stale.retain(|(known, _)| known != host);
    }

    /// From now on with this limit; forgets hosts that are not known any more.
    pub(super) fn configure(&self, limit: Duration, known: impl Fn(&Host) -> bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.limit != limit {
            state.limit = limit;
            state.resolver = None;
        }
        state.asked.retain(|host, _| known(host));
        let mut answers = state.good.lock().unwrap_or_else(PoisonError::into_inner);
        answers.good.retain(|(host, _), _| known(host));
        answers.stale.retain(|(host, _)| known(host));
    }
}

async fn ask(
    resolver: Arc<TokioResolver>,
    host: Host,
    family: RecordType,
    turns: Turns,
    good: Good,
    limit: Duration,
) -> Answer {
    // Never closed: without a permit it is only less polite.
    let _open = turns.open.acquire().await;
    let turn = turns.go.acquire().await;
    let start = Instant::now();
    let mut answer = pin!(timeout(limit, resolver.lookup(host.as_str(), family)));
    let first = timeout(TURN, &mut answer).await;
    drop(turn);
    let found = match first {
        Ok(answer) => answer,
        Err(_) => answer.await,
    };
    let found = match found {
        Ok(Ok(lookup)) => Ok(lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect()),
        Ok(Err(err)) => explain(&err),
        Err(_) => Err(failed(format!("the resolver did not answer within {}", crate::model::Span(limit)))),
    };
    let mut good = good.lock().unwrap_or_else(PoisonError::into_inner);
    let found = good.weigh((host.clone(), family), found);
    Answer { found, took: start.elapsed() }
}

fn explain(err: &NetError) -> Result<Vec<IpAddr>, Unknown> {
    match err {
        // The name is there, an address of this family is not (RFC 2308 §2.2).
        NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NoError => Ok(Vec::new()),
        _ if err.is_nx_domain() => Err(Unknown { kind: Kind::NoSuchName, reason: "there is no such name".into() }),
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            Err(failed(format!("the resolver answered: {}", none.response_code)))
        }
        NetError::Dns(DnsError::ResponseCode(code)) => Err(failed(format!("the resolver answered: {code}"))),
        NetError::Timeout => Err(failed("the resolver did not answer".into())),
        NetError::NoConnections => Err(failed("no resolver can be reached".into())),
        NetError::Io(err) => {
            let ours = matches!(
                Errno::from_io_error(err),
                Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL)
            );
            let kind = if ours { Kind::Local } else { Kind::ResolverFailed };
            Err(Unknown { kind, reason: format!("the resolver cannot be asked: {err}") })
        }
        _ => Err(failed(format!("the resolver's answer cannot be used: {err}"))),
    }
}

fn failed(reason: String) -> Unknown {
    Unknown { kind: Kind::ResolverFailed, reason }
}

/// By the system's settings. Nothing is kept beyond a round: a record's own lifetime would hide for so long that it changed.
fn resolver(limit: Duration) -> Result<Arc<TokioResolver>, String> {
    let mut builder = TokioResolver::builder_tokio()
        .map_err(|err| format!("this machine's resolver settings cannot be read: {err}; see /etc/resolv.conf"))?;
    let options = builder.options_mut();
    options.cache_size = 0;
    // Two tries fit into the time that there is.
    options.timeout = (limit / 2).max(Duration::from_millis(500));
    options.attempts = 2;
    options.max_active_requests = MOST;
    builder.build().map(Arc::new).map_err(|err| format!("this machine's resolver settings cannot be used: {err}"))
}

fn stamps() -> [Option<SystemTime>; 2] {
    FILES.map(|file| std::fs::metadata(Path::new(file)).and_then(|meta| meta.modified()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> (Host, RecordType) {
        ("db1.example.org".parse().unwrap(), RecordType::A)
    }

    #[test]
    fn where_the_resolver_fails_a_host_is_where_it_was() {
        let mut answers = Answers::default();
        let failed = || Err(failed("the resolver did not answer".into()));
        let gone = || Err(Unknown { kind: Kind::NoSuchName, reason: "there is no such name".into() });
        let known = Ok(vec![IpAddr::from([192, 0, 2, 7])]);
        assert_eq!(answers.weigh(key(), failed()), failed(), "nothing is known of it yet");
        assert_eq!(answers.weigh(key(), known.clone()), known);
        assert_eq!(answers.weigh(key(), failed()), known);
        assert!(answers.stale.contains(&key()));
        assert_eq!(answers.weigh(key(), gone()), gone(), "that is an answer");
        assert!(answers.stale.is_empty());
        assert_eq!(answers.weigh(key(), failed()), failed());
        assert_eq!(answers.weigh(key(), Ok(Vec::new())), Ok(Vec::new()), "the name is there without an address");
    }

    #[test]
    fn what_a_resolver_says_is_told_from_its_silence() {
        let kind = |err: NetError| explain(&err).map_err(|unknown| unknown.kind);
        assert_eq!(kind(NetError::Timeout), Err(Kind::ResolverFailed));
        assert_eq!(kind(NetError::NoConnections), Err(Kind::ResolverFailed));
        assert_eq!(kind(NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail))), Err(Kind::ResolverFailed));
        assert_eq!(kind(NetError::from(std::io::Error::from(Errno::MFILE))), Err(Kind::Local));
        assert_eq!(kind(NetError::from(std::io::Error::from(Errno::CONNREFUSED))), Err(Kind::ResolverFailed));
    }

    #[tokio::test]
    async fn of_a_host_that_is_forgotten_nothing_is_kept() {
        let names = Names::new(Duration::from_secs(60), Duration::from_secs(1));
        let (one, other): (Host, Host) = ("one.example.org".parse().unwrap(), "other.example.org".parse().unwrap());
        // Nobody waits for the answers: nothing is asked.
        drop((names.look_up(&one), names.look_up(&other)));
        let address = vec!["192.0.2.1".parse().unwrap()];
        let good = names.state.lock().unwrap().good.clone();
        good.lock().unwrap().good.insert((one.clone(), RecordType::A), address.clone());
        good.lock().unwrap().good.insert((other.clone(), RecordType::A), address);
        names.forget(&one);
        let known: Vec<_> = names.state.lock().unwrap().asked.keys().cloned().collect();
        assert_eq!((known.len(), known.first()), (1, Some(&other)));
        assert_eq!(good.lock().unwrap().good.keys().cloned().collect::<Vec<_>>(), [(other, RecordType::A)]);
    }
}
