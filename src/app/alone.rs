//! The probe engine by itself: a monitor, its state file, and somebody who takes what it finds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Exit, systemd};
use crate::config::Probing;
use crate::probe::{Engine, Monitor, Outlet, Settings, StateFile, hand_on, now};
use crate::telemetry;

/// What it runs by.
pub struct Alone {
    /// What is probed, and the log; asked again on SIGHUP. The errors are for people.
    pub settings: Box<dyn Fn() -> Result<Probing, String> + Send>,
    /// The state file.
    pub state: PathBuf,
    /// Who takes what is found.
    pub outlet: Arc<dyn Outlet>,
}

/// Probes until SIGTERM or Ctrl-C. What was not handed on until then is after the next start.
pub async fn probe(alone: Alone) -> Result<(), Exit> {
    let Probing { settings, log, .. } = (alone.settings)().map_err(Exit::Config)?;
    let filter = telemetry::start(&log).map_err(|err| Exit::Config(err.to_string()))?;
    let on = |kind| signal(kind).map_err(|err| Exit::Internal(format!("cannot listen for signals: {err}")));
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let mut hangup = on(SignalKind::hangup())?;
    let file = Arc::new(StateFile::open(&alone.state).await?);
    tell(&settings, &alone.state, file.waiting().await);
    let (replace, settings) = watch::channel(Arc::new(settings));
    let prober = Arc::new(Engine::monitoring());
    let monitor = Monitor { prober, ledger: file.clone(), settings, clock: now };
    let cancel = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(monitor.run(cancel.clone()));
    tasks.spawn(hand_on(file.clone(), alone.outlet.clone()));
    let watchdog = tokio::spawn(systemd::watchdog(|| true));
    systemd::ready();
    let why = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok("SIGTERM"),
            _ = interrupt.recv() => break Ok("SIGINT"),
            _ = hangup.recv() => reload(&alone, &replace, &filter),
            Some(ended) = tasks.join_next() => break Err(super::run::fault("the probe", ended)),
        }
    };
    systemd::stopping();
    cancel.cancel();
    // Both are whole on the disk at every moment.
    tasks.shutdown().await;
    watchdog.abort();
    let signal = why?;
    tracing::info!(signal, waiting = file.waiting().await, "stopped");
    Ok(())
}

fn tell(settings: &Settings, state: &Path, waiting: usize) {
    tracing::info!(targets = settings.probes.len(), state = %state.display(), waiting, "probing");
    if settings.probes.is_empty() {
        tracing::warn!("there is nothing to probe; name targets in [probe] and send SIGHUP");
    }
}

fn reload(alone: &Alone, replace: &watch::Sender<Arc<Settings>>, filter: &telemetry::Filter) {
    systemd::reloading();
    match (alone.settings)() {
        Ok(Probing { settings, log, .. }) => {
            filter.set(&log.filter);
            tracing::info!(targets = settings.probes.len(), "SIGHUP: the config is reloaded");
            replace.send_replace(Arc::new(settings));
        }
        Err(errors) => tracing::error!("SIGHUP: the config is not reloaded; the old one stays in force: {errors}"),
    }
    systemd::reloaded("probing");
}
