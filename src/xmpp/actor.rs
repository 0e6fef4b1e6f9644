//! The task that keeps a session: connect, run, wait, again, until it is cancelled.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::bind::Management;
use super::core::Core;
use super::establish::{Established, Kind, Old, establish};
use super::failure::{Backoff, Class, Failure};
use super::session::{Ended, Session};
use super::wire::Wire;
use crate::dispatch::Event;
use crate::net::Road;

/// The session keeper.
pub struct Actor {
    core: Core,
    cancel: CancellationToken,
    backoff: Backoff,
    /// The last failure that was told: the same one is told once.
    told: Option<Failure>,
    /// Where the server sent us when it ended the last session.
    sent_to: Option<String>,
}

impl Actor {
    /// Ready to run.
    pub fn new(core: Core, cancel: CancellationToken) -> Self {
        Self { core, cancel, backoff: Backoff::default(), told: None, sent_to: None }
    }

    /// Until it is cancelled.
    pub async fn run(mut self) {
        loop {
            let (old, sent_to) = (self.old(), self.sent_to.take());
            let work = |settings: Arc<super::Settings>, road| async move {
                establish(&settings, &road, old, sent_to.as_deref()).await
            };
            let Some(result) = self.during(work).await else { break };
            let failure = match result {
                Err(failure) => failure,
                Ok(established) => match self.session(established).await {
                    Some(failure) => {
                        self.sent_to.clone_from(&failure.elsewhere);
                        failure
                    }
                    None => break,
                },
            };
            let wait = self.backoff.next(failure.class, rand::random());
            self.tell(failure, wait);
            if self.wait(wait).await.is_none() {
                break;
            }
        }
        // Dispatch may have gone already.
        let _ = timeout(Duration::from_millis(200), self.core.outbox.drain()).await;
    }

    /// Does something while events move on; `None`: cancelled meanwhile.
    async fn during<F: Future>(&mut self, work: impl FnOnce(Arc<super::Settings>, Road) -> F) -> Option<F::Output> {
        let mut work = pin!(work(self.core.settings.clone(), self.core.road.clone()));
        loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return None,
                done = &mut work => return Some(done),
                change = poll_fn(|cx| self.core.gate.poll_change(cx)) => drop(self.core.change(change, false)),
                never = self.core.outbox.pump() => match never {},
            }
        }
    }

    /// Waits before the next try, unless there is another password or CA to try it with; `None`: cancelled meanwhile.
    async fn wait(&mut self, wait: Duration) -> Option<()> {
        let mut over = pin!(sleep(wait));
        loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return None,
                () = &mut over => return Some(()),
                change = poll_fn(|cx| self.core.gate.poll_change(cx)) => if self.core.change(change, false).0 {
                    // Should it be refused as well, that is news.
                    self.told = None;
                    return Some(());
                },
                never = self.core.outbox.pump() => match never {},
            }
        }
    }

    fn old(&self) -> Old {
        let resumption = self.core.ledger.resumption.clone()?;
        Some((resumption, self.core.ledger.received()))
    }

    /// Runs a session to its end; `None`: cancelled.
    async fn session(&mut self, established: Established) -> Option<Failure> {
        let Established { link, session, how } = established;
        let wire = Wire::new(link);
        let core = &mut self.core;
        let account = format!("{}/{}", core.settings.jid, core.settings.resource);
        let session = match session {
            Kind::Resumed(h) => match core.acknowledge(h) {
                Ok(()) => {
                    tracing::info!(account, how, "the XMPP session is resumed");
                    Session::resume(core, wire)
                }
                Err(failure) => {
                    core.give_up(None);
                    return Some(failure);
                }
            },
            Kind::New { old_handled, management } => {
                core.give_up(old_handled);
                let managed = management != Management::None;
                if let Management::Resumable(resumption) = management {
                    core.ledger.resumption = Some(resumption);
                }
                tracing::info!(account, how, stream_management = managed, "signed in to XMPP");
                Session::begin(core, wire, managed)
            }
        };
        let Ended { failure, up } = session.run(&self.cancel).await;
        if let Some(up) = up {
            self.backoff.lived(up);
            self.told = None;
        }
        if self.core.ledger.resumption.is_none() || !self.core.reported_up {
            self.core.give_up(None);
        }
        failure
    }

    /// Tells dispatch and the log, once for each new reason.
    fn tell(&mut self, failure: Failure, wait: Duration) {
        let again_in = format!("{:.1} s", wait.as_secs_f32());
        let reason = failure.reason.clone();
        let new = self.told.as_ref() != Some(&failure);
        match (failure.class, new) {
            (Class::Refused, true) => tracing::error!(reason, again_in, "XMPP: the login was refused"),
            (_, true) => tracing::warn!(reason, again_in, "no XMPP session"),
            (_, false) => tracing::debug!(reason, again_in, "still no XMPP session"),
        }
        match failure.class {
            // Minutes apart; operators count on it.
            Class::Refused => self.core.outbox.push(Event::Refused { reason }),
            Class::Transient | Class::Conflict if new => self.core.outbox.push(Event::Down { reason }),
            Class::Transient | Class::Conflict => {}
        }
        self.told = Some(failure);
    }
}
