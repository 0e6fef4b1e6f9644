//! strace on a running server: its system calls fail as those on a broken disk do.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Attached as long as it is not dropped, and as long as the server runs.
pub struct Strace {
    child: Child,
    dir: TempDir,
}

impl Strace {
    /// `fault`: as strace's `inject=` has it, and counted from now on; `file`: only calls on this one. `None`, with a printed note,
    /// where tracing is not permitted.
    pub fn inject(pid: u32, fault: &str, file: &Path) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let call = fault.split(':').next().unwrap();
        let mut child = Command::new("strace")
            .args(["-f", "-e", &format!("trace={call}"), "-e", &format!("inject={fault}"), "-P"])
            .arg(file)
            .arg("-o")
            .arg(dir.path().join("trace"))
            .args(["-p", &pid.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|err| panic!("cannot start strace: {err}; tests/run installs what is missing"));
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        if !line.contains("attached") {
            println!("skipped: tracing is not permitted here ({line})");
            child.wait().unwrap();
            return None;
        }
        // Nothing that it says later may fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Some(Self { child, dir })
    }

    /// The calls so far, a line each.
    pub fn trace(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("trace")).unwrap_or_default()
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // Where the server has ended it has ended with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
