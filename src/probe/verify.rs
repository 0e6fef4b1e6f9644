//! Mails verified: does the port answer that an alert from outside tells of?
//!
//! Whoever can mail an alert says where to look, and must not gain anything by that:
//!
//! * Only what `[probe] allow` lists is connected to, by the addresses that were judged: a name is asked for once, and a host with
//!   any other address beside is left alone. A port that is not listed at all is not even asked a name for.
//! * It takes at most [`LIMIT`], whatever the resolver and the network do.
//! * At most [`AT_ONCE`] are on the way, and [`KEPT`] different targets are looked at in [`FRESH`]: what comes beyond is answered at
//!   once, as not checked. So is what was looked at just now, with what was found then.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use rustix::io::Errno;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::allow::Allow;
use super::names::{Answer, Lookup, Names, Unknown};
use super::outcome::Kind;
use super::settings::Settings;
use super::target::{Host, Target};
use super::{parse_port, race};
use crate::model::{Labels, PortCheck, PortFound, human, quote};

/// Longest time for one target, looking up the name included: with what else there is to do, an alert is sent within 2 seconds.
const LIMIT: Duration = Duration::from_millis(1900);
/// Longest wait for a name: half of the time is left to connect.
const NAME: Duration = Duration::from_secs(1);
/// Most targets that are looked at at a time.
const AT_ONCE: usize = 32;
/// What was found serves for so long.
const FRESH: Duration = Duration::from_secs(60);
/// Most targets that are remembered. No more are looked at within that time.
const KEPT: usize = 256;
/// Longest excerpt of a label that a reason repeats, in characters.
const SHOWN: usize = 64;

const NOT_ALLOWED: &str = "not in [probe] allow";
const TOO_MANY: &str = "too many at a time";

/// What an alert with these labels names to look at; `None`: it names no host, or no port. `Err` says what is wrong with them.
pub fn named(labels: &Labels) -> Option<Result<Target, String>> {
    let (host, ports) = (labels.get("host").first()?.trim(), labels.get("port"));
    let port = match ports {
        [] => return None,
        [port] => parse_port(port.trim()).map_err(|err| shown(&err.wrong)),
        _ => Err("the alert names several ports".to_owned()),
    };
    Some(port.and_then(|port| Ok(Target { host: host_of(host)?, port })))
}

/// An address in one of its odd forms (`2130706433`, `0x7f.1`) is no name, whatever a resolver makes of it.
fn host_of(text: &str) -> Result<Host, String> {
    let host: Host = text.parse().map_err(|err: crate::model::BadServer| shown(&err.wrong))?;
    let last = host.as_str().rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    match host.address().is_none() && number {
        true => Err(shown(&format!("{} is neither a name nor an address", quote(host.as_str())))),
        false => Ok(host),
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN * 2) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Why this target is not looked at, as far as that is known without asking for its name.
pub fn refused(target: &Target, allow: &Allow) -> Option<&'static str> {
    let allowed = match target.host.address() {
        Some(address) => allow.allows(address, target.port),
        None => allow.has_port(target.port),
    };
    (!allowed).then_some(NOT_ALLOWED)
}

/// Asks for names.
#[async_trait]
trait Resolve: Send + Sync {
    /// All addresses of a name.
    async fn resolve(&self, host: &Host) -> Result<Vec<IpAddr>, Unknown>;
}

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, host: &Host) -> Result<Vec<IpAddr>, Unknown> {
        // Names come from outside: none of them is kept, also where nobody waits for the answer any more.
        let _forget = Forget { names: self, host };
        let Lookup { v4, v6 } = self.look_up(host);
        let (v4, v6) = futures::future::join(v4, v6).await;
        match (v4.found, v6.found) {
            (Ok(mut all), Ok(more)) => {
                all.extend(more);
                Ok(all)
            }
            // What is not known of the other family is not connected to either.
            (Ok(all), Err(_)) | (Err(_), Ok(all)) if !all.is_empty() => Ok(all),
            (Err(unknown), _) | (_, Err(unknown)) => Err(unknown),
        }
    }
}

struct Forget<'n> {
    names: &'n Names,
    host: &'n Host,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.names.forget(self.host);
    }
}

type Checked = Shared<BoxFuture<'static, PortCheck>>;

/// Looks at the ports that alerts from outside tell of. Cheap to share.
pub struct Verifier {
    settings: watch::Receiver<Arc<Settings>>,
    looker: Arc<Looker>,
    memory: Mutex<Memory>,
}

struct Looker {
    names: Box<dyn Resolve>,
    slots: Arc<Semaphore>,
    /// Ports that this process listens at.
    own: HashSet<u16>,
    /// Is it an address of this machine?
    is_ours: fn(IpAddr) -> bool,
}

#[derive(Default)]
struct Memory {
    /// By what was allowed then.
    allow: Allow,
    found: HashMap<Target, (Instant, Checked)>,
}

impl Verifier {
    /// `own`: ports that this process listens at, on whatever address.
    pub fn new(settings: watch::Receiver<Arc<Settings>>, own: impl IntoIterator<Item = u16>) -> Self {
        Self::with(settings, own, Box::new(Names::new(Duration::ZERO, NAME)), is_ours)
    }

    fn with(
        settings: watch::Receiver<Arc<Settings>>,
        own: impl IntoIterator<Item = u16>,
        names: Box<dyn Resolve>,
        is_ours: fn(IpAddr) -> bool,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let looker = Arc::new(Looker { names, slots, own: own.into_iter().collect(), is_ours });
        Self { settings, looker, memory: Mutex::default() }
    }

    /// Looks at what an alert with these labels names, within [`LIMIT`].
    pub async fn verify(&self, labels: &Labels) -> PortCheck {
        let target = match named(labels) {
            Some(Ok(target)) => target,
            Some(Err(why)) => return PortCheck::not_checked(why),
            None => return PortCheck::not_checked("the alert names no host and port"),
        };
        match self.ask(&target) {
            Ok((age, checked)) => aged(checked.await, age),
            Err(why) => PortCheck::not_checked(why),
        }
    }

    /// What was found before, and how long ago; else what is found now.
    fn ask(&self, target: &Target) -> Result<(Duration, Checked), &'static str> {
        let allow = self.settings.borrow().allow.clone();
        if let Some(why) = refused(target, &allow) {
            return Err(why);
        }
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if memory.allow != allow {
            *memory = Memory { allow: allow.clone(), found: HashMap::new() };
        }
        if let Some((at, checked)) = memory.found.get(target)
            && now.duration_since(*at) < FRESH
        {
            return Ok((now.duration_since(*at), checked.clone()));
        }
        if memory.found.len() >= KEPT {
            memory.found.retain(|_, (at, _)| now.duration_since(*at) < FRESH);
        }
        let slot = Arc::clone(&self.looker.slots).try_acquire_owned().ok().filter(|_| memory.found.len() < KEPT);
        let slot = slot.ok_or(TOO_MANY)?;
        let (looker, asked) = (Arc::clone(&self.looker), target.clone());
        // A task of its own: it ends in its time also where nobody waits for it any more.
        let look = tokio::spawn(async move {
            let found = look(&looker, &asked, &allow).await;
            drop(slot);
            found
        });
        let checked = look.map(|found| found.unwrap_or_else(|_| PortCheck::not_checked("a fault of mailbell")));
        let checked = checked.boxed().shared();
        memory.found.insert(target.clone(), (now, checked.clone()));
        Ok((Duration::ZERO, checked))
    }
}

/// What was found a while ago says so.
fn aged(check: PortCheck, age: Duration) -> PortCheck {
    if age < Duration::from_secs(1) || check.found == PortFound::NotChecked {
        return check;
    }
    let comma = if check.detail.is_empty() { "" } else { ", " };
    PortCheck { detail: format!("{}{comma}{} before", check.detail, human(age)), ..check }
}

async fn look(looker: &Looker, target: &Target, allow: &Allow) -> PortCheck {
    let start = Instant::now();
    let addresses = match target.host.address() {
        Some(address) => Ok(vec![address]),
        None => match timeout(NAME + Duration::from_millis(200), looker.names.resolve(&target.host)).await {
            Ok(answer) => answer.map_err(|unknown| unknown.reason),
            Err(_) => Err(format!("the resolver did not answer within {}", crate::model::Span(NAME))),
        },
    };
    let addresses = match addresses {
        Ok(addresses) if addresses.is_empty() => return PortCheck::not_checked("the name has no address"),
        Ok(addresses) => addresses,
        Err(why) => return PortCheck::not_checked(why),
    };
    // Of a host that has others beside, which one is meant is for whoever runs its name to say, not for us to try.
    if !addresses.iter().all(|address| allow.allows(*address, target.port)) {
        return PortCheck::not_checked(NOT_ALLOWED);
    }
    if looker.own.contains(&target.port) && addresses.iter().any(|address| (looker.is_ours)(*address)) {
        return PortCheck::not_checked("it is a port of mailbell's own");
    }
    connect(addresses, target.port, LIMIT.saturating_sub(start.elapsed())).await
}

async fn connect(addresses: Vec<IpAddr>, port: u16, limit: Duration) -> PortCheck {
    let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    let known = |found| futures::future::ready(Answer { found: Ok(found), took: Duration::ZERO }).boxed().shared();
    let lookup = Lookup { v4: known(v4), v6: known(v6) };
    let start = Instant::now();
    let kind = match timeout(limit, race::all(lookup, port, limit)).await {
        Ok(Ok(_)) => Kind::Open,
        Ok(Err(failure)) => failure.kind,
        Err(_) => Kind::TimedOut,
    };
    found(kind, start.elapsed())
}

fn found(kind: Kind, took: Duration) -> PortCheck {
    let took = match took.as_millis() {
        ms @ ..1000 => format!("{} ms", ms.max(1)),
        _ => format!("{:.1} s", took.as_secs_f64()),
    };
    match kind {
        Kind::Open => PortCheck { found: PortFound::Answers, detail: String::new() },
        Kind::Refused | Kind::Reset | Kind::HostUnreachable | Kind::NetworkUnreachable => {
            PortCheck { found: PortFound::Down, detail: format!("{} in {took}", kind.words()) }
        }
        Kind::TimedOut => PortCheck { found: PortFound::Down, detail: format!("{} after {took}", kind.words()) },
        // A firewall, perhaps our own, or our own shortage: neither says anything of the port.
        Kind::NotPermitted | Kind::NoSuchName | Kind::ResolverFailed => PortCheck::not_checked(kind.words()),
        // Of what a server says nothing is asked here.
        Kind::Unexpected | Kind::NoAnswer | Kind::Closed | Kind::Tls | Kind::Certificate => {
            PortCheck::not_checked(kind.words())
        }
        Kind::Local => PortCheck::not_checked("mailbell could not: no socket, port or memory"),
    }
}

/// Who may bind it has it. What else binding may fail for does not say that it is not ours.
fn is_ours(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        Err(err) => Errno::from_io_error(&err) != Some(Errno::ADDRNOTAVAIL),
    }
}

#[cfg(test)]
mod tests;
