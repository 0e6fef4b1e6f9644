//! A small file system of its own, to be filled up.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A mounted tmpfs; unmounted when dropped.
pub struct Tmpfs {
    dir: TempDir,
}

impl Tmpfs {
    /// `None`, with a printed note, where mounting is not permitted.
    pub fn mount(mebibytes: usize) -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("mailbell-tmpfs-").tempdir().unwrap();
        let options = format!("size={mebibytes}m,mode=0700");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path()).output();
        match mount {
            Ok(done) if done.status.success() => Some(Self { dir }),
            refused => {
                println!("skipped: mounting a tmpfs is not permitted here ({refused:?})");
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Remounts it read-only.
    pub fn read_only(&self) {
        self.remount("ro");
    }

    /// Remounts it to be written to again.
    pub fn writable(&self) {
        self.remount("rw");
    }

    /// Makes it larger.
    pub fn resize(&self, mebibytes: usize) {
        self.remount(&format!("size={mebibytes}m"));
    }

    fn remount(&self, option: &str) {
        let options = format!("remount,{option}");
        assert!(Command::new("mount").args(["-o", &options]).arg(self.path()).status().unwrap().success());
    }

    /// Fills it but for so many pages of 4096 bytes.
    pub fn fill(&self, but_for: u64) {
        let mut file = std::fs::File::create(self.filler()).unwrap();
        let page = [0; 4096];
        let mut written = 0;
        loop {
            match file.write(&page) {
                Ok(n) => written += n as u64,
                Err(err) => break assert_eq!(err.kind(), ErrorKind::StorageFull),
            }
        }
        file.set_len(written - but_for * 4096).unwrap();
    }

    /// Makes room again.
    pub fn clear(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: its user may still be ending.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
