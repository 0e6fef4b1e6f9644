//! A person who always comes back: signs in again whenever the connection ends, and keeps every copy that ever came.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::client::{Client, Login, Received};
use super::mailbell::SOON;
use super::wait_for;

/// Looked so often whether the connection is still there.
const LOOK: Duration = Duration::from_millis(20);

/// A client of one person, and its log; it ends with the test.
pub struct Witness {
    pub person: String,
    log: Arc<Mutex<Log>>,
    keeper: JoinHandle<()>,
}

#[derive(Default)]
struct Log {
    /// Of connections that have ended.
    past: Vec<Received>,
    client: Option<Arc<Client>>,
    /// Does not come back for now.
    away: bool,
}

impl Log {
    /// Ends the connection, and keeps what came over it.
    fn end(&mut self) {
        let past = self.client.take().map(|client| client.messages()).unwrap_or_default();
        self.past.extend(past);
    }
}

impl Witness {
    /// Signs in as that person, who is online when this returns.
    pub async fn start(login: Login, person: &str) -> Self {
        let client = Some(Arc::new(login.clone().connect().await));
        let log = Arc::new(Mutex::new(Log { client, ..Log::default() }));
        let keeper = tokio::spawn(keep(login, log.clone()));
        Self { person: person.to_owned(), log, keeper }
    }

    /// Every message with a body so far, over all connections.
    pub fn messages(&self) -> Vec<Received> {
        let log = self.log.lock().unwrap();
        let mut all = log.past.clone();
        all.extend(log.client.iter().flat_map(|client| client.messages()));
        all
    }

    /// Did a message with this text come?
    pub fn has(&self, text: &str) -> bool {
        let fits = |m: &Received| m.body().is_some_and(|body| body.contains(text));
        let log = self.log.lock().unwrap();
        log.client.as_ref().is_some_and(|client| client.has(fits)) || log.past.iter().any(fits)
    }

    /// Waits for a message with this text.
    pub async fn gets(&self, text: &str) {
        wait_for(&format!("{text:?} at {}", self.person), SOON, async || self.has(text).then_some(())).await;
    }

    /// The client, who has to be there.
    pub fn client(&self) -> Arc<Client> {
        self.log.lock().unwrap().client.clone().expect("nobody is there")
    }

    /// Signs out, and stays away until [`back`](Self::back).
    pub async fn leave(&self) {
        self.log.lock().unwrap().away = true;
        self.client().raw("<presence type='unavailable'/></stream:stream>").await;
        let gone = async || self.log.lock().unwrap().client.is_none().then_some(());
        wait_for(&format!("the end of {}'s session", self.person), SOON, gone).await;
    }

    /// The connection ends without a word, and nobody comes back until [`back`](Self::back).
    pub fn vanish(&self) {
        let mut log = self.log.lock().unwrap();
        log.away = true;
        log.end();
    }

    /// Signs in again; is there when this returns.
    pub async fn back(&self) {
        self.log.lock().unwrap().away = false;
        let there = async || self.log.lock().unwrap().client.is_some().then_some(());
        wait_for(&format!("{} to be back", self.person), SOON, there).await;
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

async fn keep(login: Login, log: Arc<Mutex<Log>>) {
    loop {
        tokio::time::sleep(LOOK).await;
        {
            let mut log = log.lock().unwrap();
            if log.client.as_ref().is_some_and(|client| !client.closed()) {
                continue;
            }
            log.end();
            if log.away {
                continue;
            }
        }
        if !login.reachable().await {
            continue;
        }
        // A server that is not quite up refuses, and a login that fails is a panic: of that task only, and tried again.
        if let Ok(client) = tokio::spawn(login.clone().connect()).await {
            log.lock().unwrap().client = Some(Arc::new(client));
        }
    }
}
