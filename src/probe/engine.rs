//! Probes: thousands of targets at a time, each within its own time, none behind another.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::Stream;
use futures::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::names::Names;
use super::outcome::{Kind, Outcome};
use super::race;
use super::settings::Settings;
use super::talk::{Call, Inspectors, Talk};
use super::target::{Host, Target};
use crate::net;

/// Probes targets. Cheap to share: everything in it is behind its own lock.
pub struct Engine {
    names: Names,
    permits: Semaphore,
    /// How many permits there are.
    connections: Mutex<usize>,
    bound: Option<String>,
    inspectors: Inspectors,
}

impl Engine {
    /// `connections`: most of them at once, as far as this process may. `fresh`: how long a name's addresses serve before they are
    /// asked for again: what one round is. `limit`: longest wait for a name.
    pub fn new(connections: usize, fresh: Duration, limit: Duration) -> Self {
        let (connections, bound) = net::connections(connections.max(1), "concurrency");
        let permits = Semaphore::new(connections);
        let names = Names::new(fresh, limit);
        Self { names, permits, connections: Mutex::new(connections), bound, inspectors: Inspectors::default() }
    }

    /// For a monitor, which [configures](Self::configure) it. The ports of a host are probed at the same moment: that is a round.
    pub fn monitoring() -> Self {
        Self::new(1, Duration::from_secs(2), Duration::from_secs(3))
    }

    /// Why they are fewer than was asked for; `None`: they are not.
    pub fn bound(&self) -> Option<&str> {
        self.bound.as_deref()
    }

    /// Probes one target. `timeout` is for the look-up of its name, the connection and the talk together; waiting for a turn is not
    /// a part of it. Without `talk` the connection is closed as soon as it is there.
    pub async fn probe(&self, target: &Target, timeout: Duration, talk: Option<&Talk>) -> Outcome {
        let inspector = match talk.and_then(|talk| talk.tls.as_ref()) {
            None => None,
            Some(tls) => match Box::pin(self.inspectors.of(tls.ca_file.as_deref())).await {
                Ok(inspector) => Some(inspector),
                Err(why) => {
                    let reason = format!("was not asked: {why}");
                    return Outcome { kind: Kind::Local, reason, took: Duration::ZERO, certificate: None };
                }
            },
        };
        let (permit, start, asked, end) = match target.host.address() {
            Some(ip) => {
                // Never closed.
                let permit = self.permits.acquire().await;
                let start = Instant::now();
                (permit, start, Duration::ZERO, race::alone(SocketAddr::new(ip, target.port), timeout).await)
            }
            None => {
                let lookup = self.names.look_up(&target.host);
                // Who waits for a name takes no turn from a host whose address is known.
                let asked = lookup.first().await;
                let permit = self.permits.acquire().await;
                let start = Instant::now();
                (permit, start, asked, race::all(lookup, target.port, timeout).await)
            }
        };
        let said = match (end, talk) {
            (Ok((ip, stream)), None) => {
                drop(stream);
                Ok((format!("{ip} accepted the connection"), None))
            }
            // On the heap: who has nothing to say carries nothing for it.
            (Ok((ip, stream)), Some(talk)) => {
                let end = start + timeout.saturating_sub(asked);
                let call = Call { host: &target.host, talk, inspector, limit: timeout, end };
                Box::pin(call.hold(ip, stream)).await
            }
            (Err(failure), _) => Err(failure),
        };
        drop(permit);
        let took = asked + start.elapsed();
        match said {
            Ok((reason, certificate)) => Outcome { kind: Kind::Open, reason, took, certificate },
            Err(failure) => Outcome { kind: failure.kind, reason: failure.reason, took, certificate: None },
        }
    }

    /// Probes all of them at once. Outcomes come as they are known, with the place of their target.
    pub fn round<'e>(
        &'e self,
        targets: impl IntoIterator<Item = (&'e Target, Duration, Option<&'e Talk>)>,
    ) -> impl Stream<Item = (usize, Outcome)> + 'e {
        let probes = targets.into_iter().enumerate();
        let probes = probes.map(|(place, (target, timeout, talk))| async move {
            let outcome = self.probe(target, timeout, talk).await;
            (place, outcome)
        });
        probes.collect::<FuturesUnordered<_>>()
    }

    /// From now on by these settings: what is on the way stays so.
    pub fn configure(&self, settings: &Settings) {
        let (wanted, bound) =
            net::connections(settings.concurrency.min(settings.probes.len()).max(1), "probe.concurrency");
        if let Some(why) = bound {
            tracing::warn!("{why}");
        }
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted > *connections {
            self.permits.add_permits(wanted - *connections);
            *connections = wanted;
        } else {
            // Those that are in use now stay: fewer next time.
            *connections -= self.permits.forget_permits(*connections - wanted);
        }
        drop(connections);
        let hosts: HashSet<&Host> = settings.probes.iter().map(|probe| &probe.target.host).collect();
        let longest = settings.probes.iter().map(|probe| probe.rules.timeout).max();
        self.names.configure(longest.unwrap_or(settings.defaults.timeout), |host| hosts.contains(host));
    }
}
