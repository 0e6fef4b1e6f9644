//! A raw IMAP client: what is possible with this server at all.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::mails::find;

/// A session with INBOX selected, without TLS.
pub struct Imap {
    stream: TcpStream,
    tag: u32,
}

impl Imap {
    pub async fn open(port: u16, user: &str) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut imap = Self { stream, tag: 0 };
        imap.until("the greeting", |got| got.ends_with(b"\r\n")).await;
        imap.command(&format!("LOGIN {user} pw-{user}")).await;
        imap.command("SELECT INBOX").await;
        imap
    }

    /// Runs a command; everything that came, its tagged line included.
    pub async fn command(&mut self, command: &str) -> Vec<u8> {
        self.tag += 1;
        let tag = format!("r{}", self.tag);
        self.stream.write_all(format!("{tag} {command}\r\n").as_bytes()).await.unwrap();
        self.tagged(&tag).await
    }

    /// IDLE until the server tells of a mail; when it did, and the mail's number.
    pub async fn idle(&mut self) -> (Instant, u32) {
        self.tag += 1;
        let tag = format!("r{}", self.tag);
        self.stream.write_all(format!("{tag} IDLE\r\n").as_bytes()).await.unwrap();
        let mut noticed = None;
        self.until("a new mail", |got| {
            noticed = exists(got);
            noticed.is_some()
        })
        .await;
        let at = Instant::now();
        self.stream.write_all(b"DONE\r\n").await.unwrap();
        self.tagged(&tag).await;
        (at, noticed.unwrap())
    }

    /// A NOOP `every` so long until the server tells of a mail; when it did, and the mail's number.
    pub async fn noops(&mut self, every: Duration) -> (Instant, u32) {
        let mut next = Instant::now();
        loop {
            next += every;
            tokio::time::sleep_until(next.into()).await;
            if let Some(number) = exists(&self.command("NOOP").await) {
                return (Instant::now(), number);
            }
        }
    }

    async fn tagged(&mut self, tag: &str) -> Vec<u8> {
        let end = format!("{tag} ");
        let got = self
            .until(tag, |got| {
                let Some(lines) = got.strip_suffix(b"\r\n") else { return false };
                let last = lines.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
                lines[last..].starts_with(end.as_bytes())
            })
            .await;
        assert!(find(&got, format!("{tag} OK").as_bytes()).is_some(), "IMAP: {:?}", String::from_utf8_lossy(&got));
        got
    }

    async fn until(&mut self, what: &str, mut done: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
        let mut got = Vec::with_capacity(64 * 1024);
        while !done(&got) {
            let n = self.stream.read_buf(&mut got).await.unwrap();
            assert!(n > 0, "IMAP: the connection ended before {what}");
        }
        got
    }
}

/// The number in the last `* N EXISTS`.
fn exists(bytes: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.lines().rev().find_map(|line| line.strip_prefix("* ")?.strip_suffix(" EXISTS")?.parse().ok())
}
