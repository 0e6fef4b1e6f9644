//! A server as a child process that does not outlive its test.

use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running server with its directory. Dropped: killed with all its children, and the directory removed.
pub struct Server {
    name: &'static str,
    child: Option<Child>,
    dir: TempDir,
}

impl Server {
    /// A directory for a server that is yet to be started. Others may enter it: servers drop their privileges.
    pub fn new(name: &'static str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::Builder::new().prefix(&format!("mailbell-{name}-")).tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { name, child: None, dir }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts it in a process group of its own and waits until all ports accept connections.
    pub fn start(&mut self, command: &mut Command, ports: &[u16]) {
        use std::os::unix::process::CommandExt;
        let log = File::options().create(true).append(true).open(self.path("out.log")).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|err| panic!("cannot start {}: {err}; tests/run installs what is missing", self.name));
        self.child = Some(child);
        let start = Instant::now();
        for port in ports {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_err() {
                if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                    panic!("{} ended at once ({status}):\n{}", self.name, self.log());
                }
                assert!(start.elapsed() < Duration::from_secs(60), "{} is not up:\n{}", self.name, self.log());
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("not running").id()
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.as_mut().expect("not running").try_wait().unwrap()
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        std::fs::read(self.path("out.log")).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// Asks it to end (SIGTERM) and waits; after 10 s it is killed.
    pub fn stop(&mut self) {
        self.end("-TERM");
    }

    /// Ends it and its children at once (SIGKILL).
    pub fn kill(&mut self) {
        self.end("-KILL");
    }

    fn end(&mut self, signal: &str) {
        let Some(mut child) = self.child.take() else { return };
        // Its children are killed with it: they are in its process group, or are reparented and found by it.
        let group = format!("-{}", child.id());
        let _ = Command::new("kill").args([signal, "--", &group]).stderr(Stdio::null()).status();
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if start.elapsed() > Duration::from_secs(10) {
                let _ = child.kill();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
