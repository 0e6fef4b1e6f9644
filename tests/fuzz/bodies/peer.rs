//! A server within the process: it says what its script says, whatever it is told.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mailbell::net::Road;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Ends a connection's script; what follows is said on the next one.
const NEXT_CONNECTION: u8 = 0x1e;
/// The server says nothing more until the client has said something.
const WAIT: u8 = 0x1f;
/// Stands for the value of the last `id='…'` that the client wrote.
const ID: u8 = 0x1a;

/// What happens behind the end of a connection's script.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// The connection is closed.
    Close,
    /// It stays open, and nothing comes any more.
    Silence,
    /// What was said behind the last wait is said again, once a second, for ever.
    Drip,
}

/// The server.
#[derive(Clone)]
pub struct Peer {
    script: Arc<Script>,
    state: Arc<Mutex<State>>,
}

struct Script {
    connections: Vec<Vec<u8>>,
    end: End,
    /// Most bytes in one read.
    chunk: usize,
}

#[derive(Default)]
struct State {
    begun: usize,
    heard: Vec<u8>,
}

impl Peer {
    /// A server with this script for all its connections.
    pub fn new(script: &[u8], end: End, chunk: usize) -> Self {
        let connections = script.split(|b| *b == NEXT_CONNECTION).map(<[u8]>::to_vec).collect();
        let script = Arc::new(Script { connections, end, chunk: chunk.max(1) });
        Self { script, state: Arc::default() }
    }

    /// The road to it. There are as many connections as the script has; more are refused.
    pub fn road(&self) -> Road {
        let peer = self.clone();
        Road::within(move || {
            let mut state = peer.state();
            let Some(bytes) = peer.script.connections.get(state.begun) else {
                return Err(io::ErrorKind::ConnectionRefused.into());
            };
            state.begun += 1;
            let connection = Connection {
                peer: peer.clone(),
                bytes: bytes.clone(),
                at: 0,
                last: 0,
                answered: false,
                reader: None,
                pause: None,
            };
            drop(state);
            Ok(Box::new(connection))
        })
    }

    /// Connections so far.
    pub fn begun(&self) -> usize {
        self.state().begun
    }

    /// All that it was told, on all connections.
    pub fn heard(&self) -> Vec<u8> {
        self.state().heard.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Connection {
    peer: Peer,
    bytes: Vec<u8>,
    at: usize,
    /// Start of what was said behind the last wait.
    last: usize,
    /// Did the client say something since the server last waited for that?
    answered: bool,
    reader: Option<Waker>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    fn say(&mut self, out: &mut ReadBuf<'_>) {
        let rest = &self.bytes[self.at..];
        let most = out.remaining().min(self.peer.script.chunk);
        let n = rest.iter().take(most).take_while(|b| !matches!(**b, WAIT | ID)).count();
        out.put_slice(&rest[..n]);
        self.at += n;
    }

    fn last_id(&self) -> Vec<u8> {
        let heard = self.peer.heard();
        let found =
            [&b"id='"[..], b"id=\""].iter().filter_map(|mark| rfind(&heard, mark).map(|at| at + mark.len())).max();
        let value = found.and_then(|at| heard.get(at..)).unwrap_or_default();
        value.iter().copied().take(64).take_while(|b| !matches!(b, b'\'' | b'"')).collect()
    }

    fn behind_the_end(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match self.peer.script.end {
            End::Close => Poll::Ready(false),
            End::Drip if self.last < self.bytes.len() => {
                let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(Duration::from_secs(1))));
                if pause.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.pause = None;
                self.at = self.last;
                Poll::Ready(true)
            }
            End::Silence | End::Drip => Poll::Pending,
        }
    }
}

fn rfind(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).rposition(|w| w == needle)
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        while out.filled().len() == before && out.remaining() > 0 {
            match this.bytes.get(this.at) {
                Some(&WAIT) if !this.answered => {
                    this.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Some(&WAIT) => {
                    this.answered = false;
                    this.at += 1;
                    this.last = this.at;
                }
                Some(&ID) => {
                    this.at += 1;
                    let id = this.last_id();
                    out.put_slice(&id[..id.len().min(out.remaining())]);
                }
                Some(_) => this.say(out),
                None => match this.behind_the_end(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(false) => return Poll::Ready(Ok(())),
                    Poll::Ready(true) => {}
                },
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.peer.state().heard.extend(bytes);
        this.answered = true;
        if let Some(reader) = this.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Runs something in a time of its own, which passes only while nothing is to be done.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(work)
}

/// Does something and fails where it takes longer than `limit`, or never ends.
pub async fn within<T>(what: &str, limit: Duration, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what} took over {} s", limit.as_secs()),
    }
}
