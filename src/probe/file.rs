//! The state of a probe that runs by itself: one file with what was told and what is yet to be handed on.
//!
//! It is written whole, beside the old one, and takes its place by a rename: after a crash it is the one or the other. Both parts in
//! one file, so that an outage is never marked as told without its alert being in the spool, nor the other way round.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify};

use super::monitor::Ledger;
use crate::model::{Alert, Key, Status};
use crate::queue::files::{Lock, beside, cannot, lock, prepare_directory};
use crate::queue::{Found, StoreError, StoreFault, patiently};

/// What the file is called by itself, and its version.
const FORMAT: &str = "mailbell probe state 1";

/// The file.
pub struct StateFile {
    path: PathBuf,
    contents: Mutex<Contents>,
    /// Notified when something was added to the spool.
    added: Notify,
    _lock: Lock,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Contents {
    format: String,
    states: BTreeMap<String, String>,
    /// Oldest first.
    spool: Vec<Alert>,
}

impl StateFile {
    /// Opens it, or begins it where it is missing. One process a file.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        prepare_directory(path)?;
        let lock = lock(path).await?;
        let contents = match std::fs::read(path) {
            Ok(bytes) => read(path, &bytes)?,
            Err(err) if err.kind() == ErrorKind::NotFound => {
                Contents { format: FORMAT.to_owned(), states: BTreeMap::new(), spool: Vec::new() }
            }
            Err(err) => return Err(cannot("read", path, &err)),
        };
        let file = Self { path: path.to_owned(), contents: Mutex::new(contents), added: Notify::new(), _lock: lock };
        // What cannot be written is known now, not with the first outage.
        file.change(|_| {}).await?;
        Ok(file)
    }

    /// The oldest of what is to be handed on, at most `most`. Waits until there is something.
    pub async fn next(&self, most: usize) -> Vec<Alert> {
        loop {
            // Registered before the look, so that nothing added in between is missed.
            let added = self.added.notified();
            let spool: Vec<Alert> = self.contents.lock().await.spool.iter().take(most).cloned().collect();
            if !spool.is_empty() {
                return spool;
            }
            added.await;
        }
    }

    /// These were handed on.
    pub async fn handed_on(&self, alerts: &[Alert]) -> Result<(), StoreError> {
        self.change(|contents| contents.spool.retain(|alert| !alerts.iter().any(|done| done.id == alert.id))).await
    }

    /// How much is yet to be handed on.
    pub async fn waiting(&self) -> usize {
        self.contents.lock().await.spool.len()
    }

    async fn change(&self, change: impl FnOnce(&mut Contents)) -> Result<(), StoreError> {
        let mut contents = self.contents.lock().await;
        let mut next = contents.clone();
        change(&mut next);
        let text = serde_json::to_vec(&next).map_err(|err| broken(format!("the state cannot be written: {err}")))?;
        let path = self.path.clone();
        patiently("write the probe's state", || {
            let (path, text) = (path.clone(), text.clone());
            async move {
                let written = tokio::task::spawn_blocking(move || write(&path, &text)).await;
                written.map_err(|err| broken(format!("the state cannot be written: {err}")))?
            }
        })
        .await?;
        *contents = next;
        Ok(())
    }
}

#[async_trait]
impl Ledger for StateFile {
    async fn load(&self) -> Result<Vec<(String, String)>, StoreError> {
        Ok(self.contents.lock().await.states.clone().into_iter().collect())
    }

    async fn commit(&self, found: Vec<Found>) -> Result<(), StoreError> {
        let mut dropped = 0;
        self.change(|contents| {
            for Found { name, state, alerts } in found {
                _ = match state {
                    Some(state) => contents.states.insert(name, state),
                    None => contents.states.remove(&name),
                };
                for alert in alerts {
                    dropped += make_room(&mut contents.spool, &alert.key);
                    contents.spool.push(alert);
                }
            }
        })
        .await?;
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "alerts wait to be handed on; outages that are over were left out in favour of newer ones"
            );
        }
        self.added.notify_one();
        Ok(())
    }
}

/// However long nobody takes them, a condition has but a handful in the spool: of the outages in it that are over only the last, and
/// of the reports of one that lasts the first and the newest. An end that stands before them stays: somebody waits for it. Returns
/// how many went, to make room for one more.
fn make_room(spool: &mut Vec<Alert>, key: &Key) -> usize {
    let of_key: Vec<(&str, Status)> =
        spool.iter().filter(|alert| alert.key == *key).map(|alert| (alert.id.as_str(), alert.status)).collect();
    let ends = |(_, status): &(&str, Status)| *status == Status::Resolved;
    let mut over: Vec<&[(&str, Status)]> = of_key.split_inclusive(ends).collect();
    let lasts = over.pop_if(|outage| !outage.last().is_some_and(ends)).unwrap_or_default();
    over.retain(|outage| outage.len() > 1);
    over.pop();
    let gone: HashSet<String> =
        over.into_iter().flatten().chain(lasts.iter().skip(1)).map(|(id, _)| (*id).to_owned()).collect();
    spool.retain(|alert| !gone.contains(&alert.id));
    gone.len()
}

fn read(path: &Path, bytes: &[u8]) -> Result<Contents, StoreError> {
    let no_state = |why: String| {
        let path = path.display();
        let mend = "name another file with --state, or remove it";
        StoreError::refused(format!("{path} is no state of mailbell probe: {why}; {mend}"))
    };
    let contents: Contents = serde_json::from_slice(bytes).map_err(|err| no_state(err.to_string()))?;
    match contents.format == FORMAT {
        true => Ok(contents),
        false => Err(no_state(format!("it calls itself {}", crate::model::quote(&contents.format)))),
    }
}

fn write(path: &Path, text: &[u8]) -> Result<(), StoreError> {
    let new = beside(path, "new");
    let done =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).and_then(|mut file| {
            file.write_all(text)?;
            file.sync_all()
        });
    done.map_err(|err| cannot("write", &new, &err))?;
    std::fs::rename(&new, path).map_err(|err| cannot("replace", path, &err))?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|err| cannot("sync", dir, &err))
}

fn broken(what: String) -> StoreError {
    StoreError { what, fault: StoreFault::Broken }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Format;

    fn alert(key: &str, id: u32, status: Status) -> Alert {
        Alert { id: format!("{key}/{id}"), key: Key(key.into()), status, ..Alert::empty(Format::Native) }
    }

    fn found(name: &str, state: Option<&str>, alerts: Vec<Alert>) -> Found {
        Found { name: name.into(), state: state.map(str::to_owned), alerts }
    }

    fn ids(alerts: &[Alert]) -> Vec<&str> {
        alerts.iter().map(|alert| alert.id.as_str()).collect()
    }

    #[tokio::test]
    async fn what_is_committed_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/probe.state");
        let file = StateFile::open(&path).await.unwrap();
        let alerts = vec![alert("probe/a:1", 1, Status::Firing)];
        file.commit(vec![found("a", Some("{}"), alerts), found("b", Some("x"), Vec::new())]).await.unwrap();
        file.commit(vec![found("b", None, Vec::new())]).await.unwrap();
        let refused = StateFile::open(&path).await.err().unwrap();
        assert!(refused.what.contains("is in use by process"), "{refused}");
        drop(file);
        let file = StateFile::open(&path).await.unwrap();
        assert_eq!(file.load().await.unwrap(), [("a".to_owned(), "{}".to_owned())]);
        let next = file.next(10).await;
        assert_eq!(ids(&next), ["probe/a:1/1"]);
        file.handed_on(&next).await.unwrap();
        drop(file);
        assert_eq!(StateFile::open(&path).await.unwrap().waiting().await, 0);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_file_that_is_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        for (text, why) in
            [("not json", "is no state of mailbell probe"), (r#"{"format":"x","states":{},"spool":[]}"#, "`x`")]
        {
            std::fs::write(&path, text).unwrap();
            let err = StateFile::open(&path).await.err().unwrap();
            assert!(err.what.contains(why) && err.what.contains("--state"), "{err}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[tokio::test]
    async fn who_waits_for_the_spool_is_woken() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::open(&dir.path().join("state")).await.unwrap();
        let (next, ()) = tokio::join!(file.next(1), async {
            tokio::task::yield_now().await;
            let two = vec![alert("a", 1, Status::Firing), alert("a", 2, Status::Resolved)];
            file.commit(vec![found("a", None, two)]).await.unwrap();
        });
        assert_eq!(ids(&next), ["a/1"]);
    }

    #[tokio::test]
    async fn the_spool_is_bounded_whatever_comes_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::open(&dir.path().join("state")).await.unwrap();
        let mut n = 0;
        for _ in 0..20 {
            for status in [Status::Firing, Status::Resolved] {
                n += 1;
                file.commit(vec![found("a", None, vec![alert("a", n, status)])]).await.unwrap();
                assert!(file.waiting().await <= 5, "{n}");
            }
        }
        // The last outages whole.
        let kept = file.next(10).await;
        let kept: Vec<Status> = kept.iter().map(|alert| alert.status).collect();
        assert!(kept.ends_with(&[Status::Firing, Status::Resolved]), "{kept:?}");
        for _ in 0..20 {
            n += 1;
            file.commit(vec![found("a", None, vec![alert("a", n, Status::Firing)])]).await.unwrap();
            assert!(file.waiting().await <= 5, "{n}");
        }
        assert_eq!(ids(&file.next(10).await).last().unwrap(), &format!("a/{n}"), "the newest is kept");
    }
}
