//! The test bed: servers as child processes, certificates, waiting.

pub mod browser;
pub mod ca;
pub mod cap;
pub mod chat;
pub mod child;
pub mod client;
pub mod contract;
pub mod dns;
pub mod dovecot;
pub mod ejabberd;
pub mod hosts;
pub mod lab;
pub mod listener;
pub mod lmtp;
pub mod mailbell;
pub mod oauth;
pub mod oracle;
pub mod outcome;
pub mod postfix;
pub mod prosody;
pub mod proxy;
pub mod room;
pub mod scrape;
pub mod script;
pub mod splitter;
pub mod sse;
pub mod store;
pub mod strace;
pub mod supervisor;
pub mod tmpfs;
pub mod web;
pub mod witness;

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Host name of every server's certificate, and domain of every account.
pub const DOMAIN: &str = "example.test";

/// A port that nothing listens on. Below the range from which the kernel picks ports for outgoing connections, so that no
/// connection of a neighbour takes it before the server binds it; and of a block that no other test process uses.
pub fn free_port() -> u16 {
    static BLOCKS: Mutex<(Vec<Block>, usize)> = Mutex::new((Vec::new(), 0));
    let mut blocks = BLOCKS.lock().unwrap();
    let (blocks, next) = &mut *blocks;
    for _ in 0..12_000 {
        if *next == blocks.len() * usize::from(Block::PORTS) {
            match Block::claim() {
                Some(block) => blocks.push(block),
                None => *next = 0,
            }
        }
        let block = blocks.get(*next / usize::from(Block::PORTS)).expect("every port block is in use");
        let port = block.first + (*next % usize::from(Block::PORTS)) as u16;
        *next += 1;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 20000 and 32000");
}

/// Ports that belong to this process as long as it holds a name in the abstract socket namespace, which leaves no file.
struct Block {
    first: u16,
    _claim: UnixListener,
}

impl Block {
    const PORTS: u16 = 100;

    fn claim() -> Option<Self> {
        // Those names are of a machine's network, and the block is for all tests of this process.
        hosts::outside(Self::claim_here)
    }

    fn claim_here() -> Option<Self> {
        (0..120).find_map(|n| {
            let first = 20_000 + n * Self::PORTS;
            let name = SocketAddr::from_abstract_name(format!("mailbell-tests-ports-{first}")).unwrap();
            UnixListener::bind_addr(&name).ok().map(|claim| Self { first, _claim: claim })
        })
    }
}

/// Waits until `done` gives a value; fails after `limit`, naming what was waited for.
pub async fn wait_for<T>(what: &str, limit: Duration, mut done: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = done().await {
            return value;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
