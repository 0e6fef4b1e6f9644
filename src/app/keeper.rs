//! What is in force, and its keeper: a task that replaces it when it is asked to, one reload after the other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::mailboxes::Mailboxes;
use super::systemd;
use crate::config::Config;
use crate::control::{Kept, Reload, Reloaded};
use crate::dispatch::{self, ExpressLane};
use crate::intake::{Rulebook, Rules};
use crate::live::Setter;
use crate::metrics::Metrics;
use crate::model::MailboxName;
use crate::net::Anchors;
use crate::queue::sqlite::Sqlite;
use crate::queue::{Outbox, Removed, StoreError, StoreFault};
use crate::route::KeyScope;
use crate::{probe, telemetry, xmpp};

/// Those who may ask at a time.
const ASKING: usize = 16;
/// What is owed to the store is tried again after this.
const OWED: Duration = Duration::from_secs(5);
/// Longest wait for the store in a reload: somebody waits for its end.
const STORE: Duration = Duration::from_secs(5);

type Answer = Result<Reloaded, Kept>;

/// What the service is told while it runs.
#[derive(Debug, Clone)]
pub struct Orders {
    /// SIGHUP: reload. One that comes during a reload is done after it.
    pub hangup: Arc<Notify>,
    /// SIGUSR1: look into all mailboxes.
    pub look_now: Arc<Notify>,
    asks: mpsc::Sender<oneshot::Sender<Answer>>,
}

/// The keeper's end of [`Orders`].
pub struct Ordered {
    hangup: Arc<Notify>,
    look_now: Arc<Notify>,
    asked: mpsc::Receiver<oneshot::Sender<Answer>>,
}

/// The way to the keeper.
pub fn orders() -> (Orders, Ordered) {
    let (hangup, look_now) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (asks, asked) = mpsc::channel(ASKING);
    (Orders { hangup: hangup.clone(), look_now: look_now.clone(), asks }, Ordered { hangup, look_now, asked })
}

#[async_trait]
impl Reload for Orders {
    async fn reload(&self) -> Answer {
        let ending = || Kept { errors: vec!["the service is ending".into()], ..Kept::default() };
        let (answer, answered) = oneshot::channel();
        self.asks.send(answer).await.map_err(|_| ending())?;
        answered.await.map_err(|_| ending())?
    }
}

/// What is in force, and how it is replaced.
pub struct Keeper {
    pub file: PathBuf,
    pub config: Config,
    /// Whom the XMPP session trusts.
    pub anchors: Anchors,
    pub store: Arc<Sqlite>,
    pub lane: Arc<ExpressLane>,
    pub rulebook: Setter<Rulebook>,
    pub dispatch: Setter<dispatch::Rules>,
    pub xmpp: xmpp::Handle,
    pub filter: telemetry::Filter,
    pub http: super::http::Replace,
    pub mailboxes: Mailboxes,
    /// Rules of mailboxes that are gone and left mails to be parsed.
    pub gone: BTreeMap<MailboxName, (Rules, KeyScope)>,
    /// Free bytes below which no mail is fetched.
    pub reserve: Arc<AtomicU64>,
    /// What is probed.
    pub probed: watch::Sender<Arc<probe::Settings>>,
    /// Notified: dispatch looks again.
    pub poke: Arc<Notify>,
    pub owed: Owed,
    pub ordered: Ordered,
    pub metrics: Arc<Metrics>,
}

/// What waits for removed recipients is yet to be ended.
#[derive(Default)]
pub struct Owed {
    pub owed: bool,
    /// Ready when nobody decides by the old config any more: until then there may be more of it.
    pub in_use: Option<BoxFuture<'static, ()>>,
}

impl Keeper {
    /// Runs until `cancel`, and then until every mailbox has ended. Only a broken store ends it otherwise.
    pub async fn run(mut self, cancel: CancellationToken) -> Result<(), StoreError> {
        let mut waiting = Vec::new();
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                failure = self.mailboxes.failure() => return Err(failure),
                () = self.ordered.look_now.notified() => {
                    self.mailboxes.look_now();
                    continue;
                }
                () = sleep(OWED), if self.owed.owed => {
                    self.pay().await?;
                    continue;
                }
                () = self.ordered.hangup.notified() => {}
                Some(ask) = self.ordered.asked.recv() => waiting.push(ask),
            }
            // Whoever asked until now is answered by this one.
            while let Ok(ask) = self.ordered.asked.try_recv() {
                waiting.push(ask);
            }
            systemd::reloading();
            let answer = tokio::select! {
                () = cancel.cancelled() => break,
                answer = self.reload() => answer?,
            };
            self.metrics.reload(answer.is_ok());
            systemd::reloaded(&tell(&answer));
            for ask in waiting.drain(..) {
                // Whoever went away meanwhile finds it in the log.
                let _ = ask.send(answer.clone());
            }
        }
        self.mailboxes.ended().await
    }

    /// Tries again to end what is owed.
    async fn pay(&mut self) -> Result<(), StoreError> {
        if let Some(in_use) = &mut self.owed.in_use
            && timeout(Duration::from_millis(1), in_use).await.is_ok()
        {
            self.owed.in_use = None;
        }
        let done = end_removed(&self.store, &self.config).await?.is_some();
        self.owed.owed = !done || self.owed.in_use.is_some();
        Ok(())
    }
}

/// Ends what waits for whoever is no recipient any more. `None`: the store could not, for now.
pub async fn end_removed(store: &Sqlite, config: &Config) -> Result<Option<Vec<Removed>>, StoreError> {
    match timeout(STORE, store.end_removed(&config.route.recipients, Timestamp::now())).await {
        Ok(Ok(removed)) => {
            for Removed { recipient, jid, ended, critical } in &removed {
                tracing::warn!(%recipient, %jid, ended, critical,
                    "the config does not have this recipient any more; what waited for them ended");
            }
            Ok(Some(removed))
        }
        Ok(Err(err)) if err.fault == StoreFault::Full => {
            tracing::error!(%err, "what waits for removed recipients cannot be ended yet; tried again");
            Ok(None)
        }
        Ok(Err(err)) => Err(err),
        Err(_) => {
            tracing::warn!("the store is busy: what waits for removed recipients is ended later");
            Ok(None)
        }
    }
}

/// Tells the log; returns what is to stand in `systemctl status`.
fn tell(answer: &Answer) -> String {
    match answer {
        Ok(done) => {
            for warning in &done.warnings {
                tracing::warn!("{warning}");
            }
            if !done.restart.is_empty() {
                tracing::warn!(
                    keys = done.restart.join(", "),
                    "changed in the config, but not in force before a restart"
                );
            }
            let count = |change| done.mailboxes.iter().filter(|m| m.change == change).count();
            use crate::control::Change as C;
            tracing::info!(
                added = count(C::Added),
                removed = count(C::Removed),
                restarted = count(C::Restarted),
                updated = count(C::Updated),
                unchanged = count(C::Unchanged),
                recipients_added = done.added.len(),
                recipients_removed = done.removed.len(),
                "the config is reloaded; the numbers are of mailboxes"
            );
            match done.restart.is_empty() {
                true => "the config is reloaded".to_owned(),
                false => format!("the config is reloaded; {} need a restart", done.restart.join(", ")),
            }
        }
        Err(kept) => {
            for error in &kept.errors {
                tracing::error!("{error}");
            }
            tracing::error!(errors = kept.errors.len(), "the config is not reloaded; the old one stays in force");
            format!("the config was refused, {} errors; the old one stays in force", kept.errors.len())
        }
    }
}
