//! A forwarder that cuts and stalls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A way to a server on which connections can be cut and held back.
pub struct Forwarder {
    pub port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    up: AtomicBool,
    down: AtomicBool,
    cuts: AtomicUsize,
    changed: Notify,
}

impl Forwarder {
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { continue };
                let (client, server) = (client.into_split(), server.into_split());
                tokio::spawn(forward(client.0, server.1, shared.clone(), |s| &s.up));
                tokio::spawn(forward(server.0, client.1, shared.clone(), |s| &s.down));
            }
        });
        Self { port, state }
    }

    /// Ends all connections.
    pub fn cut(&self) {
        self.state.cuts.fetch_add(1, Ordering::SeqCst);
        self.state.changed.notify_waiters();
    }

    /// Holds everything back, connections open.
    pub fn stall(&self) {
        self.state.down.store(true, Ordering::SeqCst);
        self.stall_upstream();
    }

    /// Holds back what goes to the server.
    pub fn stall_upstream(&self) {
        self.state.up.store(true, Ordering::SeqCst);
    }

    /// Lets everything through again.
    pub fn pass(&self) {
        self.state.up.store(false, Ordering::SeqCst);
        self.state.down.store(false, Ordering::SeqCst);
        self.state.changed.notify_waiters();
    }
}

async fn forward(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    state: Arc<State>,
    held: fn(&State) -> &AtomicBool,
) {
    let cuts = state.cuts.load(Ordering::SeqCst);
    let mut chunk = vec![0; 16_384];
    loop {
        let changed = state.changed.notified();
        if state.cuts.load(Ordering::SeqCst) != cuts {
            return;
        }
        if held(&state).load(Ordering::SeqCst) {
            changed.await;
            continue;
        }
        tokio::select! {
            () = changed => {}
            read = from.read(&mut chunk) => match read {
                Ok(n) if n > 0 => {
                    // What was read just as the stall began waits as well.
                    while held(&state).load(Ordering::SeqCst) && state.cuts.load(Ordering::SeqCst) == cuts {
                        state.changed.notified().await;
                    }
                    if to.write_all(&chunk[..n]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}
