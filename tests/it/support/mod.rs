//! The test bed: servers as child processes, certificates, waiting.

pub mod ca;
pub mod cap;
pub mod child;
pub mod client;
pub mod dovecot;
pub mod lab;
pub mod lmtp;
pub mod mailbell;
pub mod outcome;
pub mod postfix;
pub mod prosody;
pub mod proxy;
pub mod script;
pub mod store;
pub mod tmpfs;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Host name of every server's certificate, and domain of every account.
pub const DOMAIN: &str = "example.test";

/// A port that nothing listens on. Below the range from which the kernel picks ports for outgoing connections, so that no
/// connection of a neighbour takes it before the server binds it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = (std::process::id() % 12_000) as u16;
    for _ in 0..12_000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (spread + step.wrapping_mul(7)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 20000 and 32000");
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
