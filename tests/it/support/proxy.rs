//! A TCP proxy that does on demand what networks do by themselves: stall, delay, cut, reset, refuse.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Pieces that are on a long way at a time.
const LONG: usize = 4096;

/// Which way bytes flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What happens to the bytes of one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// The way is so long: each byte comes so much later, and none waits for another.
    Delay(Duration),
    /// After so many more bytes of a connection nothing comes any more; the connection stays up.
    Stall(u64),
    /// After so many more bytes of a connection it is closed (FIN), in both ways.
    Cut(u64),
    /// The same with RST.
    Reset(u64),
}

#[derive(Debug, Clone, Copy)]
struct State {
    up: Trouble,
    down: Trouble,
    refuse: bool,
    /// Grows with `sever`: connections of an older generation end.
    generation: u64,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    resets: AtomicUsize,
    up: AtomicU64,
    down: AtomicU64,
}

/// A proxy in front of a port of this machine.
pub struct Proxy {
    pub port: u16,
    state: watch::Sender<State>,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { up: Trouble::None, down: Trouble::None, refuse: false, generation: 0 };
        let (sender, receiver) = watch::channel(state);
        let counts = Arc::new(Counts::default());
        let task = tokio::spawn(accept(listener, target, receiver, counts.clone()));
        Self { port, state: sender, counts, task }
    }

    /// From now on, for connections that are there and those to come; bytes are counted from now, or from the connection's
    /// begin.
    pub fn set(&self, way: Way, trouble: Trouble) {
        self.state.send_modify(|state| match way {
            Way::Up => state.up = trouble,
            Way::Down => state.down = trouble,
        });
    }

    /// No more trouble. What is stalled goes on.
    pub fn heal(&self) {
        self.state.send_modify(|state| (state.up, state.down, state.refuse) = (Trouble::None, Trouble::None, false));
    }

    /// New connections are reset at once; those that are there stay.
    pub fn refuse(&self, refuse: bool) {
        self.state.send_modify(|state| state.refuse = refuse);
    }

    /// Resets all connections now.
    pub fn sever(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// Connections reset so far.
    pub fn resets(&self) -> usize {
        self.counts.resets.load(Ordering::SeqCst)
    }

    /// Bytes passed on so far.
    pub fn bytes(&self, way: Way) -> u64 {
        match way {
            Way::Up => self.counts.up.load(Ordering::SeqCst),
            Way::Down => self.counts.down.load(Ordering::SeqCst),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.sever();
    }
}

async fn accept(listener: TcpListener, target: u16, state: watch::Receiver<State>, counts: Arc<Counts>) {
    while let Ok((client, _)) = listener.accept().await {
        if state.borrow().refuse {
            reset(&client);
            continue;
        }
        counts.connections.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(serve(client, target, state.clone(), counts.clone()));
    }
}

async fn serve(client: TcpStream, target: u16, state: watch::Receiver<State>, counts: Arc<Counts>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return reset(&client) };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let generation = state.borrow().generation;
    let mut severed = state.clone();
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let mut up = Pump {
        way: Way::Up,
        from: client_read,
        to: server_write,
        state: state.clone(),
        generation,
        counts: counts.clone(),
    };
    let mut down =
        Pump { way: Way::Down, from: server_read, to: client_write, state, generation, counts: counts.clone() };
    let end = tokio::select! {
        // First: what is healed behind it is not for this connection.
        biased;
        _ = severed.wait_for(|state| state.generation > generation) => End::Reset,
        end = up.run() => end,
        end = down.run() => end,
    };
    if end == End::Reset {
        reset(down.to.as_ref());
        reset(up.to.as_ref());
        // Dropped, they would say FIN first.
        down.to.forget();
        up.to.forget();
        counts.resets.fetch_add(1, Ordering::SeqCst);
    }
}

/// The next close sends RST instead of FIN.
fn reset(stream: &TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

#[derive(PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

struct Pump {
    way: Way,
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    state: watch::Receiver<State>,
    generation: u64,
    counts: Arc<Counts>,
}

impl Pump {
    fn trouble(&mut self) -> Trouble {
        let state = *self.state.borrow_and_update();
        if state.generation > self.generation {
            // It is about to be reset: what it held back is lost, also where all is healed in the same breath.
            return Trouble::Stall(0);
        }
        if self.way == Way::Up { state.up } else { state.down }
    }

    async fn run(&mut self) -> End {
        let mut buf = vec![0; 64 * 1024];
        let mut trouble = self.trouble();
        let mut since = 0u64;
        // On a long way, with the time of arrival; and nothing follows it.
        let mut under_way = VecDeque::<(Instant, Vec<u8>)>::new();
        let mut ended = false;
        loop {
            let left = match trouble {
                Trouble::Stall(n) | Trouble::Cut(n) | Trouble::Reset(n) => n.saturating_sub(since),
                Trouble::None | Trouble::Delay(_) => u64::MAX,
            };
            match (left, trouble) {
                (0, Trouble::Cut(_)) => ended = true,
                (0, Trouble::Reset(_)) => return End::Reset,
                _ => {}
            }
            if ended && under_way.is_empty() {
                return End::Closed;
            }
            let most = if ended { 0 } else { buf.len().min(usize::try_from(left).unwrap_or(usize::MAX)) };
            let arrives = under_way.front().map_or_else(Instant::now, |(at, _)| *at);
            tokio::select! {
                biased;
                changed = self.state.changed() => {
                    if changed.is_err() { return End::Closed; }
                    let now = self.trouble();
                    if now != trouble { (trouble, since) = (now, 0); }
                }
                () = sleep_until(arrives), if !under_way.is_empty() => {
                    let Some((_, piece)) = under_way.pop_front() else { continue };
                    if self.to.write_all(&piece).await.is_err() { return End::Closed; }
                }
                read = self.from.read(&mut buf[..most]), if most > 0 && under_way.len() < LONG => {
                    let Ok(n @ 1..) = read else { ended = true; continue };
                    let way = if let Trouble::Delay(time) = trouble { time } else { Duration::ZERO };
                    if way.is_zero() && under_way.is_empty() {
                        if self.to.write_all(&buf[..n]).await.is_err() { return End::Closed; }
                    } else {
                        // What set out earlier arrives earlier.
                        let before = under_way.back().map_or_else(Instant::now, |(at, _)| *at);
                        under_way.push_back((before.max(Instant::now() + way), buf[..n].to_vec()));
                    }
                    since += n as u64;
                    let count = if self.way == Way::Up { &self.counts.up } else { &self.counts.down };
                    count.fetch_add(n as u64, Ordering::SeqCst);
                }
            }
        }
    }
}
