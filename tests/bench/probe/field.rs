//! Whom the probes meet: listeners, and black holes. A process of its own, so that its time is nobody's.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use super::{ACT, List};

/// It listens as long as this lives.
pub struct Field {
    child: Child,
    dir: TempDir,
}

impl Field {
    pub fn start(list: &List) -> Self {
        let dir = tempfile::Builder::new().prefix("mailbell-field-").tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(ACT, "field")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = String::new();
        for (place, target) in list.targets.iter().enumerate() {
            text += &format!("{target} {}\n", if list.is_hole(place) { "hole" } else { "live" });
        }
        // An empty line ends it; the pipe stays open, and closes with this process at the latest.
        child.stdin.as_mut().unwrap().write_all((text + "\n").as_bytes()).unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n", "the listeners do not listen");
        let field = Self { child, dir };
        let lines: String = list.targets.iter().map(|target| format!("{target}\n")).collect();
        std::fs::write(field.list(), lines).unwrap();
        let checks: String =
            list.targets.iter().map(|target| format!("-H {} -p {}\n", target.ip(), target.port())).collect();
        std::fs::write(field.checks(), checks).unwrap();
        field
    }

    /// A file with a target a line.
    pub fn list(&self) -> PathBuf {
        self.path("list")
    }

    /// A file with the arguments of check_tcp for each.
    pub fn checks(&self) -> PathBuf {
        self.path("checks")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process itself.
pub fn act() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let mut listeners = Vec::new();
    let mut holes = Vec::new();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let Some((target, kind)) = line.split_once(' ') else { break };
        match kind {
            "hole" => holes.push(hole(target)),
            _ => listeners.push(TcpListener::bind(target).unwrap()),
        }
    }
    println!("ready");
    std::thread::spawn(|| {
        // Whoever started it has ended.
        let _ = std::io::stdin().lines().count();
        std::process::exit(0);
    });
    serve(&listeners);
}

/// A listener whose queue is full says nothing to a SYN.
fn hole(target: &str) -> (OwnedFd, TcpStream) {
    let address: std::net::SocketAddr = target.parse().unwrap();
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    bind(&socket, &address).unwrap();
    listen(&socket, 0).unwrap();
    let first = TcpStream::connect(address).unwrap();
    (socket, first)
}

/// Accepts, and closes what its peer has closed.
fn serve(listeners: &[TcpListener]) {
    let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
    for (place, listener) in listeners.iter().enumerate() {
        listener.set_nonblocking(true).unwrap();
        epoll::add(&epoll, listener, EventData::new_u64(place as u64), EventFlags::IN).unwrap();
    }
    let mut accepted: HashMap<u64, TcpStream> = HashMap::new();
    let mut events = Vec::with_capacity(256);
    loop {
        epoll::wait(&epoll, spare_capacity(&mut events), None).unwrap();
        for event in events.drain(..) {
            let place = event.data.u64();
            if let Some(listener) = listeners.get(place as usize) {
                while let Ok((stream, _)) = listener.accept() {
                    let place = listeners.len() as u64 + stream.as_raw_fd() as u64;
                    epoll::add(&epoll, &stream, EventData::new_u64(place), EventFlags::IN | EventFlags::RDHUP).unwrap();
                    accepted.insert(place, stream);
                }
            } else {
                accepted.remove(&place);
            }
        }
    }
}
