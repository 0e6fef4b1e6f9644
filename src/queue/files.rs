//! One process a file: the lock that says so, and what is said of files that cannot be used.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{StoreError, StoreFault};

/// Held as long as a file is in use, by the kernel: it ends with the process, however that ends.
pub struct Lock(#[expect(dead_code, reason = "closing the file releases the lock")] File);

/// How long a lock that somebody holds is asked for again.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Takes the lock. Asks a few times: a process that ends may have just started a program, which holds what it had open until
/// it runs.
pub async fn lock(store: &Path) -> Result<Lock, StoreError> {
    let start = Instant::now();
    loop {
        match Lock::take(store) {
            Err(err) if err.fault == StoreFault::Refused && start.elapsed() < LOCK_PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            done => return done,
        }
    }
}

impl Lock {
    /// Takes `PATH.lock` and writes the pid into it.
    pub fn take(store: &Path) -> Result<Self, StoreError> {
        let path = beside(store, "lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|err| cannot("open", &path, &err))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let pid = pid.trim();
                let holder = if pid.is_empty() { "another process".to_owned() } else { format!("process {pid}") };
                let (store, lock) = (store.display(), path.display());
                return Err(StoreError::refused(format!("{store} is in use by {holder}, which holds {lock}")));
            }
            Err(err) => return Err(cannot("lock", &path, &err.into())),
        }
        let pid = format!("{}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(pid.as_bytes()))
            .map_err(|err| cannot("write", &path, &err))?;
        Ok(Self(file))
    }
}

/// `PATH.WHAT`.
pub fn beside(store: &Path, what: &str) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    name.into()
}

/// A file cannot be used: says what was tried, and what mends it.
pub fn cannot(what: &str, path: &Path, err: &std::io::Error) -> StoreError {
    let fix = match err.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "; the user that runs mailbell must be able to write to this file and its directory"
        }
        ErrorKind::NotFound => "; create its directory first",
        _ => "",
    };
    let fault = match err.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreFault::Full,
        _ => StoreFault::Broken,
    };
    StoreError { what: format!("cannot {what} {}: {err}{fix}", path.display()), fault }
}

/// Creates a file's directory where it is missing, 0700.
pub fn prepare_directory(path: &Path) -> Result<(), StoreError> {
    match path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        Some(dir) => {
            DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|err| cannot("create", dir, &err))
        }
        None => Ok(()),
    }
}
