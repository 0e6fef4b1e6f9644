//! TLS clients, one for each CA file; made when they are needed, and again when the trust anchors may have changed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::net::Inspector;

/// So long the system's trust anchors are as good as read now.
const FRESH: Duration = Duration::from_secs(3600);

/// The TLS clients that are in use.
#[derive(Default)]
pub(in crate::probe) struct Inspectors(Mutex<HashMap<Option<PathBuf>, Made>>);

struct Made {
    at: Instant,
    /// The file as it was then.
    stamp: Option<SystemTime>,
    inspector: Arc<OnceCell<Arc<Inspector>>>,
}

impl Inspectors {
    /// The client with these trust anchors; the error says, for people, why there is none.
    pub(in crate::probe) async fn of(&self, ca_file: Option<&Path>) -> Result<Arc<Inspector>, String> {
        let made = self.made(ca_file);
        let ca_file = ca_file.map(Path::to_owned);
        let make = async {
            let made = spawn_blocking(move || Inspector::new(ca_file.as_deref())).await;
            made.map_err(|err| err.to_string())?.map(Arc::new).map_err(|err| err.to_string())
        };
        // Whoever needs the same one meanwhile waits for it.
        made.get_or_try_init(|| make).await.cloned()
    }

    fn made(&self, ca_file: Option<&Path>) -> Arc<OnceCell<Arc<Inspector>>> {
        let stamp = ca_file.and_then(|path| std::fs::metadata(path).ok()?.modified().ok());
        let at = Instant::now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, made| at.duration_since(made.at) < FRESH);
        let fresh = || Made { at, stamp, inspector: Arc::default() };
        let made = all.entry(ca_file.map(Path::to_owned)).or_insert_with(fresh);
        if made.stamp != stamp {
            *made = fresh();
        }
        made.inspector.clone()
    }
}
