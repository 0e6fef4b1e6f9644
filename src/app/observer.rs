//! Looks at what is not counted: the store, the disk, presence, probes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::dispatch::{self, ExpressLane, Messenger};
use crate::intake;
use crate::live::Live;
use crate::metrics::{Backlog, Disk, Sample, Sampler};
use crate::probe;
use crate::queue::sqlite::Sqlite;
use crate::queue::{Findings, Inbox, StoreError};

/// What it looks at.
pub struct Observer {
    pub store: Arc<Sqlite>,
    pub disk: intake::Disk,
    pub reserve: Arc<AtomicU64>,
    pub lane: Arc<ExpressLane>,
    pub rules: Live<dispatch::Rules>,
    pub messenger: Arc<dyn Messenger>,
    pub probed: watch::Receiver<Arc<probe::Settings>>,
    /// Mailboxes into which mails are handed.
    pub handed: Vec<String>,
}

#[async_trait]
impl Sampler for Observer {
    async fn sample(&self) -> Sample {
        let backlog = self.backlog().await.map_err(|err| err.what);
        let room = self.store.room().await.ok();
        let disk = room.map(|room| Disk {
            free: room.free,
            reserve: self.reserve.load(Ordering::Relaxed),
            store: size(self.store.path()),
        });
        let mut presence = BTreeMap::new();
        for recipient in self.rules.get().router.recipients() {
            *presence.entry(self.lane.presence(&recipient.jid).as_str().to_owned()).or_default() += 1;
        }
        Sample {
            backlog,
            disk,
            presence,
            unacknowledged: self.messenger.in_flight() as u64,
            targets: self.probed.borrow().probes.len() as u64,
            handed: self.handed.clone(),
        }
    }

    fn has_room(&self) -> bool {
        self.disk.has_room()
    }
}

impl Observer {
    async fn backlog(&self) -> Result<Backlog, StoreError> {
        let mut backlog = self.store.backlog().await?;
        let states = self.store.probe_states().await?;
        backlog.probes = probe::told(states.iter().map(|(_, state)| state.as_str()));
        Ok(backlog)
    }
}

/// Bytes of the store's file and its log.
fn size(path: &Path) -> u64 {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    [path.to_owned(), PathBuf::from(log)].iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}
