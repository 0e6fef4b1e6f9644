//! A server that plays a script: for replies that no real server gives.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One step of a script.
#[derive(Debug, Clone)]
pub enum Step {
    /// Sends this. `{tag}` becomes the first word of the last line that came.
    Send(Vec<u8>),
    /// Waits for a line that holds this, in any case. Another line ends the script, and the connection.
    Expect(&'static str),
    /// Closes.
    Close,
    /// Sends this again and again, with a pause in between, until the client goes.
    Drip(Vec<u8>, Duration),
}

/// Sends text.
pub fn send(text: impl AsRef<[u8]>) -> Step {
    Step::Send(text.as_ref().to_vec())
}

/// Waits for a line.
pub fn expect(line: &'static str) -> Step {
    Step::Expect(line)
}

/// A running script. Each connection plays the next of its scripts, the last one again and again.
pub struct Script {
    pub port: u16,
    lines: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Script {
    pub async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = lines.clone();
        let task = tokio::spawn(async move {
            for turn in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let script = scripts[turn.min(scripts.len() - 1)].clone();
                tokio::spawn(play(stream, script, seen.clone()));
            }
        });
        Self { port, lines, task }
    }

    /// All lines that came, of all connections.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Did a line come that holds this, in any case?
    pub fn saw(&self, part: &str) -> bool {
        self.lines().iter().any(|line| holds(line, part))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn holds(line: &str, part: &str) -> bool {
    line.to_ascii_uppercase().contains(&part.to_ascii_uppercase())
}

async fn play(stream: TcpStream, script: Vec<Step>, seen: Arc<Mutex<Vec<String>>>) {
    let mut stream = BufReader::new(stream);
    let mut tag = String::new();
    for step in script {
        match step {
            Step::Send(bytes) => {
                let out = with_tag(&bytes, &tag);
                if stream.write_all(&out).await.is_err() {
                    return;
                }
            }
            Step::Expect(part) => {
                let mut line = Vec::new();
                let Ok(1..) = stream.read_until(b'\n', &mut line).await else { return };
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                tag = line.split(' ').next().unwrap_or_default().to_owned();
                seen.lock().unwrap().push(line.clone());
                if !holds(&line, part) {
                    return;
                }
            }
            Step::Close => return,
            Step::Drip(bytes, pause) => {
                while stream.write_all(&bytes).await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
                return;
            }
        }
    }
    // The end of the script is silence, not a close: what the client says is noted.
    let mut line = Vec::new();
    while let Ok(1..) = stream.read_until(b'\n', &mut line).await {
        seen.lock().unwrap().push(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
}

fn with_tag(bytes: &[u8], tag: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(5).position(|five| five == b"{tag}") {
        out.extend(&rest[..at]);
        out.extend(tag.as_bytes());
        rest = &rest[at + 5..];
    }
    out.extend(rest);
    out
}
