//! Run: every task has an owner, and any that ends early ends the service.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::build::Parts;
use super::{Exit, stop, systemd};
use crate::queue::{StoreError, StoreFault};

/// What runs, in the order in which it is stopped.
pub struct Running {
    /// Where mails are handed in, and the HTTP door.
    pub doors: JoinSet<Result<(), StoreError>>,
    pub doors_token: CancellationToken,
    /// The keeper with the watchers, disk watch, purge, probe engine, parser.
    pub intake: JoinSet<Result<(), StoreError>>,
    pub intake_token: CancellationToken,
    /// The worker.
    pub dispatch: JoinSet<Result<(), StoreError>>,
    pub dispatch_token: CancellationToken,
    /// The control socket.
    pub control: JoinSet<std::io::Result<()>>,
    /// The XMPP session.
    pub xmpp: JoinSet<()>,
    pub last_token: CancellationToken,
}

/// What the process is told by signals.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    look_now: Signal,
}

impl Signals {
    /// Listens, so that none of them ends the process by itself any more.
    pub fn listen() -> Result<Self, Exit> {
        let on = |kind| signal(kind).map_err(|err| Exit::Internal(format!("cannot listen for signals: {err}")));
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
            look_now: on(SignalKind::user_defined1())?,
        })
    }
}

/// Runs until a signal, or until a task ends that should not.
pub async fn run(parts: Parts, signals: Signals) -> Result<(), Exit> {
    let Signals { mut terminate, mut interrupt, mut hangup, mut look_now } = signals;
    let (rules, store, orders) = (parts.rules.clone(), parts.store.clone(), parts.orders.clone());
    let metrics = Arc::clone(&parts.metrics);
    let mut running = parts.start().await;
    let watched = Arc::clone(&metrics);
    let watchdog = tokio::spawn(systemd::watchdog(move || watched.stuck().is_empty()));
    systemd::ready();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "mailbell is ready");
    let why = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok("SIGTERM"),
            _ = interrupt.recv() => break Ok("SIGINT"),
            _ = look_now.recv() => {
                tracing::info!("SIGUSR1: all mailboxes are polled now");
                orders.look_now.notify_one();
            }
            _ = hangup.recv() => {
                tracing::info!("SIGHUP: the config is read again");
                orders.hangup.notify_one();
            }
            Some(ended) = running.doors.join_next() => break Err(fault("the LMTP or HTTP door", ended)),
            Some(ended) = running.intake.join_next() => break Err(fault("intake", ended)),
            Some(ended) = running.dispatch.join_next() => break Err(fault("dispatch", ended)),
            Some(ended) = running.xmpp.join_next() => {
                break Err(Exit::Internal(format!("the XMPP session ended by itself: {ended:?}")));
            }
            Some(ended) = running.control.join_next() => {
                break Err(Exit::Internal(format!("the control socket ended by itself: {ended:?}")));
            }
        }
    };
    systemd::stopping();
    metrics.stop();
    let stopped = match &why {
        Ok(signal) => {
            tracing::info!(signal, "stopping");
            tokio::select! {
                stopped = stop::drain(&mut running, rules.get().grace) => stopped,
                _ = terminate.recv() => Err(Exit::Internal("a second SIGTERM cut the drain short".into())),
                _ = interrupt.recv() => Err(Exit::Internal("a second Ctrl-C cut the drain short".into())),
            }
        }
        // What is on disk is unknown, or we are at fault: nothing more is sent or cleared.
        Err(exit) => {
            tracing::error!(%exit, "stopping at once");
            Ok(())
        }
    };
    stop::end(running, Arc::clone(&store)).await;
    watchdog.abort();
    why.and(stopped)
}

/// A supervised task ended although nobody asked it to.
pub fn fault(what: &str, ended: Result<Result<(), StoreError>, tokio::task::JoinError>) -> Exit {
    match ended {
        Ok(Err(err)) if err.fault != StoreFault::Refused => Exit::Store(err),
        Ok(other) => Exit::Internal(format!("{what} ended by itself: {other:?}")),
        Err(panic) => Exit::Internal(format!("{what} failed: {panic}")),
    }
}
