//! The mailboxes and the probes, for who asks over HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::{Notify, watch};

use crate::http::{Asked, ProbeRow, Watched};
use crate::probe::{self, Probe, Saved, Told};
use crate::queue::sqlite::Sqlite;
use crate::queue::{Findings, StoreError};

/// What makes each mailbox that is read look now, by name.
#[derive(Debug, Default)]
pub struct Looks(Mutex<BTreeMap<String, Arc<Notify>>>);

impl Looks {
    /// It is read from now on.
    pub fn open(&self, mailbox: &str, look_now: Arc<Notify>) {
        self.lock().insert(mailbox.to_owned(), look_now);
    }

    /// It is not read any more.
    pub fn close(&self, mailbox: &str) {
        self.lock().remove(mailbox);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Notify>>> {
        // Each change is one step: whatever panicked left it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is watched.
pub struct Watches {
    pub store: Arc<Sqlite>,
    pub looks: Arc<Looks>,
    pub probed: watch::Receiver<Arc<probe::Settings>>,
    /// Mailboxes into which mails are handed.
    pub handed: Vec<String>,
}

#[async_trait]
impl Watched for Watches {
    fn poll(&self, mailbox: &str) -> Asked {
        if let Some(look_now) = self.looks.lock().get(mailbox) {
            look_now.notify_one();
            return Asked::Now;
        }
        if self.handed.iter().any(|handed| handed == mailbox) { Asked::Handed } else { Asked::Unknown }
    }

    async fn probes(&self) -> Result<Vec<ProbeRow>, StoreError> {
        let states = self.store.probe_states().await?;
        let read = |(host, state): (String, String)| Some((host, serde_json::from_str::<Saved>(&state).ok()?));
        let told: BTreeMap<String, Saved> = states.into_iter().filter_map(read).collect();
        let settings = self.probed.borrow().clone();
        let mut rows: Vec<_> =
            settings.probes.iter().map(|probe| row(probe, told.get(probe.target.host.as_str()))).collect();
        rows.sort_by(|a, b| (&a.host, a.port).cmp(&(&b.host, b.port)));
        Ok(rows)
    }
}

fn row(probe: &Probe, saved: Option<&Saved>) -> ProbeRow {
    let (host, port) = (probe.target.host.as_str().to_owned(), probe.target.port);
    let (state, told) = told(saved, port).unwrap_or(("ok", None));
    ProbeRow {
        host,
        port,
        classes: probe.classes.clone(),
        severity: probe.rules.severity,
        state: state.to_owned(),
        since: told.map(|told| told.since),
        reason: told.map(|told| told.reason.clone()).unwrap_or_default(),
    }
}

/// What is told of a port, the worst of it.
fn told(saved: Option<&Saved>, port: u16) -> Option<(&'static str, Option<&Told>)> {
    let saved = saved?;
    if let Some(told) = &saved.host {
        return Some(("host_down", Some(told)));
    }
    if let Some(told) = saved.ports.get(&port) {
        return Some((if told.flaps() { "flapping" } else { "down" }, Some(told)));
    }
    saved.certificates.get(&port).map(|told| ("certificate_expires", Some(told)))
}
