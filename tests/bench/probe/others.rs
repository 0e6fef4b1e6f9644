//! Who probes: ourselves, the bare scan, and what else there is.

use std::collections::VecDeque;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::super::noop::seconds;
use super::super::support::child::Server;
use super::super::support::free_port;
use super::field::Field;
use super::scan::{self, Round};
use super::{ACT, Cost, LIMIT, List, PORT, PROCESSES, REQUESTS, THOUSAND};

/// In the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// In a process that runs already.
    Round(Round),
    /// The bare scan as a process.
    Bare,
    BareFin,
    Check,
    Nmap,
    CheckTcp,
    Blackbox,
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Round(Round::Bare) => "bare epoll scan, a round",
            Self::Round(Round::BareFin) => "bare epoll scan, closing by FIN, a round",
            Self::Round(Round::Engine) => "mailbell's engine, a round",
            Self::Bare => "bare epoll scan",
            Self::BareFin => "bare epoll scan, closing by FIN",
            Self::Check => "mailbell check",
            Self::Nmap => "nmap -sT",
            Self::CheckTcp => return f.pad(&format!("check_tcp, {PROCESSES} at a time")),
            Self::Blackbox => return f.pad(&format!("blackbox exporter, {REQUESTS} requests at a time")),
        };
        f.pad(text)
    }
}

impl Tool {
    pub const ALL: [Self; 9] = [
        Self::Round(Round::Bare),
        Self::Round(Round::BareFin),
        Self::Round(Round::Engine),
        Self::Bare,
        Self::BareFin,
        Self::Check,
        Self::Nmap,
        Self::CheckTcp,
        Self::Blackbox,
    ];

    /// What it is set beside.
    pub fn bare(self) -> Self {
        match self {
            Self::Round(_) => Self::Round(Round::Bare),
            _ => Self::Bare,
        }
    }

    /// Asked for only to see what that costs.
    pub fn closes_by_fin(self) -> bool {
        matches!(self, Self::Round(Round::BareFin) | Self::BareFin)
    }

    pub fn is_installed(self) -> bool {
        self.program().is_some()
    }

    fn program(self) -> Option<PathBuf> {
        let name = match self {
            Self::Round(_) | Self::Bare | Self::BareFin => return std::env::current_exe().ok(),
            Self::Check => return Some(env!("CARGO_BIN_EXE_mailbell").into()),
            Self::Nmap => "nmap",
            Self::CheckTcp => "check_tcp",
            Self::Blackbox => "prometheus-blackbox-exporter",
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Debian's plugins are in no PATH.
        let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/lib/nagios/plugins")]);
        places.map(|place| place.join(name)).find(|program| program.is_file())
    }

    /// Runs it; what it cost, and how many it found open.
    pub fn run(self, list: &List, field: &Field) -> (Cost, usize) {
        let program = self.program().unwrap().into_os_string().into_string().unwrap();
        let file = field.list().into_os_string().into_string().unwrap();
        let seconds = LIMIT.as_secs();
        let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (act, args, open) = match self {
            Self::Round(round) => (round.act(), vec![program, file], None),
            Self::Bare => (Round::Bare.act(), vec![program, file], None),
            Self::BareFin => (Round::BareFin.act(), vec![program, file], None),
            Self::Check => {
                let mut args = words(format!("{program} check --json --timeout {seconds}s"));
                args.extend(list.targets.iter().map(ToString::to_string));
                ("", args, Some("\"outcome\":\"open\""))
            }
            Self::Nmap => ("", nmap(&program, list), Some("/open/tcp/")),
            Self::CheckTcp => {
                let checks = field.checks();
                let args = format!("xargs -a {} -L 1 -P {PROCESSES} {program} -t {seconds}", checks.display());
                ("", words(args), Some("TCP OK"))
            }
            Self::Blackbox => unreachable!("it runs all the time"),
        };
        let (process, output) = timed(&args, act, &field.path("output"));
        match open {
            Some(mark) => (process, output.matches(mark).count()),
            None => {
                let (open, round) = scan::read(&output);
                (if matches!(self, Self::Round(_)) { round } else { process }, open)
            }
        }
    }
}

/// As it is, where all answer. Where some do not it is told to wait for them as long as the others do, and to ask once.
fn nmap(program: &str, list: &List) -> Vec<String> {
    let ports = list.targets.len().min(THOUSAND) as u16;
    let mut args = format!("{program} -sT -n -Pn -oG - -p {PORT}-{}", PORT + ports - 1);
    if list.holes > 0 {
        let limit = LIMIT.as_secs();
        args += &format!(
            " --max-retries 0 --min-rtt-timeout {limit}s --initial-rtt-timeout {limit}s --max-rtt-timeout {limit}s \
             --min-parallelism {THOUSAND}"
        );
    }
    let mut args: Vec<String> = args.split(' ').map(str::to_owned).collect();
    let mut hosts: Vec<Ipv4Addr> = list.targets.iter().map(|target| *target.ip()).collect();
    hosts.dedup();
    args.extend(hosts.iter().map(ToString::to_string));
    args
}

/// Runs a program to its end. The shell says what it and its children took, to a millisecond.
fn timed(args: &[String], act: &str, file: &Path) -> (Cost, String) {
    let script = "TIMEFORMAT='%3R %3U %3S'; file=$1; shift; time \"$@\" >\"$file\" 2>/dev/null";
    let mut bash = Command::new("bash");
    bash.args(["-c", script, "bash"]).arg(file).args(args).stdin(Stdio::null()).env("LC_ALL", "C");
    if !act.is_empty() {
        bash.env(ACT, act);
    }
    let said = String::from_utf8(bash.output().unwrap().stderr).unwrap();
    let seconds: Vec<f64> = said.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let output = std::fs::read_to_string(file).unwrap();
    (Cost { wall: seconds[0], cpu: seconds[1] + seconds[2] }, output)
}

/// The exporter, which runs all the time and probes on request.
pub struct Blackbox {
    server: Server,
    port: u16,
}

impl Blackbox {
    pub fn start() -> Self {
        let port = free_port();
        let mut server = Server::new("blackbox");
        let seconds = LIMIT.as_secs();
        let config =
            server.write("blackbox.yml", &format!("modules:\n  tcp:\n    prober: tcp\n    timeout: {seconds}s\n"));
        let mut command = Command::new(Tool::Blackbox.program().unwrap());
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--log.level=error");
        server.start(&mut command, &[port]);
        Self { server, port }
    }

    pub async fn run(&self, list: &List) -> (Cost, usize) {
        let (start, before) = (Instant::now(), seconds(self.server.pid()));
        let queue: VecDeque<String> = list.targets.iter().map(ToString::to_string).collect();
        let queue = Arc::new(Mutex::new(queue));
        let mut drivers: JoinSet<usize> = (0..REQUESTS).map(|_| drive(self.port, queue.clone())).collect();
        let mut open = 0;
        while let Some(found) = drivers.join_next().await {
            open += found.unwrap();
        }
        (Cost { wall: start.elapsed().as_secs_f64(), cpu: seconds(self.server.pid()) - before }, open)
    }
}

/// One connection that asks for one target after the other.
async fn drive(port: u16, queue: Arc<Mutex<VecDeque<String>>>) -> usize {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut open = 0;
    loop {
        let Some(target) = queue.lock().unwrap().pop_front() else { return open };
        let request = hyper::Request::get(format!("/probe?module=tcp&target={target}")).header("host", "localhost");
        sender.ready().await.unwrap();
        let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        open += usize::from(String::from_utf8_lossy(&body).contains("\nprobe_success 1\n"));
    }
}
