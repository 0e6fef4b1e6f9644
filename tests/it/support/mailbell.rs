//! The gateway under test, as a child process with a directory of its own.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use super::child::Server;
use super::hosts::Host;
use super::wait_for;

/// Anything that must happen does so within this.
pub const SOON: Duration = Duration::from_secs(20);

/// A mailbell with its config and its store.
pub struct Mailbell {
    server: Server,
    env: Vec<(String, String)>,
    /// What each command starts with.
    prefix: Vec<String>,
}

impl Mailbell {
    /// Not started yet. In the config `{dir}` stands for the directory.
    pub fn new(config: &str) -> Self {
        let server = Server::new("mailbell");
        let mailbell = Self { server, env: Vec::new(), prefix: Vec::new() };
        mailbell.configure(config);
        mailbell
    }

    /// Started, and ready.
    pub fn run(config: &str) -> Self {
        let mut mailbell = Self::new(config);
        mailbell.start();
        mailbell
    }

    /// The same on a machine of the test's own.
    pub fn run_on(host: &Host, config: &str) -> Self {
        let mut mailbell = Self::new(config);
        mailbell.prefix = host.prefix();
        mailbell.start();
        mailbell
    }

    /// Not started yet; each of its processes is run by this command.
    pub fn under(prefix: &[&str], config: &str) -> Self {
        let mut mailbell = Self::new(config);
        mailbell.prefix = prefix.iter().map(|word| (*word).to_owned()).collect();
        mailbell
    }

    /// Another config, from the next start or reload on.
    pub fn configure(&self, config: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.server.write("mailbell.toml", &config.replace("{dir}", self.server.dir().to_str().unwrap()));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// An environment variable from the next start on: `FAILPOINTS` aborts at a commit.
    pub fn env(&mut self, name: &str, value: &str) {
        self.env.retain(|(n, _)| n != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.server.path(name)
    }

    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    fn command(&self) -> Command {
        // The kill loop measures the program as it is released, by tests that are built as always.
        let program = std::env::var("MAILBELL").unwrap_or_else(|_| env!("CARGO_BIN_EXE_mailbell").to_owned());
        let words: Vec<&str> = self.prefix.iter().map(String::as_str).chain([program.as_str()]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command.current_dir(self.server.dir()).env_remove("MAILBELL_CONFIG").env_remove("FAILPOINTS");
        command
    }

    /// Starts it and waits until it is ready.
    pub fn start(&mut self) {
        let before = self.log().len();
        self.spawn();
        let start = Instant::now();
        while !self.log()[before..].contains("mailbell is ready") {
            if let Some(status) = self.server.ended() {
                panic!("mailbell ended at once ({status}):\n{}", &self.log()[before..]);
            }
            assert!(start.elapsed() < SOON, "mailbell is not ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts it and does not wait: it may be meant to fail.
    pub fn spawn(&mut self) {
        let mut command = self.command();
        command.args(["serve", "--config"]).arg(self.path("mailbell.toml")).envs(self.env.clone());
        self.server.start(&mut command, &[]);
    }

    /// Another config, in force when this returns; returns what `mailbell reload` said.
    pub fn reload(&self, config: &str) -> String {
        self.configure(config);
        let output = self.cli(&["reload"], true);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{:?}\n{said}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        said
    }

    /// SIGTERM; it must end with exit code 0.
    pub fn stop(&mut self) {
        self.signal("TERM");
        let status = self.ended();
        assert!(status.success(), "mailbell stopped with {status}:\n{}", self.log());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Its exit status, if it has ended.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.server.ended()
    }

    /// Waits until it ends by itself.
    pub fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.server.ended() {
                return status;
            }
            assert!(start.elapsed() < SOON, "mailbell does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Waits until the log of all starts together holds this text `times` times.
    pub async fn logged(&self, text: &str, times: usize) {
        wait_for(&format!("`{text}` in the log, {times} times"), SOON, async || {
            (self.log().matches(text).count() >= times).then_some(())
        })
        .await;
    }

    /// Runs another command of the binary in the same directory; `--config FILE` is added where `config` says so.
    pub fn cli(&self, args: &[&str], config: bool) -> Output {
        self.cli_with(args, config, b"")
    }

    /// The same with something on stdin.
    pub fn cli_with(&self, args: &[&str], config: bool, stdin: &[u8]) -> Output {
        let mut command = self.command();
        // What makes the service abort is not for the commands beside it.
        command.envs(self.env.iter().filter(|(name, _)| name != "FAILPOINTS").cloned());
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if config {
            command.arg("--config").arg(self.path("mailbell.toml"));
        }
        let mut child = command.spawn().unwrap();
        // A command that does not read its input closes it.
        let _ = child.stdin.take().unwrap().write_all(stdin);
        child.wait_with_output().unwrap()
    }

    /// `mailbell queue list --json` with these arguments: one value a line.
    pub fn queue(&self, args: &[&str]) -> Vec<serde_json::Value> {
        let output = self.cli(&[&["queue", "list", "--json"], args].concat(), true);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Resident memory in KiB.
    pub fn rss(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Mailbell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("mailbell said:\n{}", self.log());
        }
    }
}
