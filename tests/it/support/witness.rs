//! A person who always comes back: signs in again whenever the connection ends, and keeps every copy that ever came.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::client::{Client, Login, Received};

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
    client: Option<Client>,
}

impl Witness {
    /// Signs in as that person, who is online when this returns.
    pub async fn start(login: Login, person: &str) -> Self {
        let log = Arc::new(Mutex::new(Log { past: Vec::new(), client: Some(login.clone().connect().await) }));
        let keeper = tokio::spawn(keep(login, log.clone()));
        Self { person: person.to_owned(), log, keeper }
    }

    /// Every message with a body so far, over all connections.
    pub fn messages(&self) -> Vec<Received> {
        let log = self.log.lock().unwrap();
        let mut all = log.past.clone();
        all.extend(log.client.iter().flat_map(Client::messages));
        all
    }

    /// Did a message with this text come?
    pub fn has(&self, text: &str) -> bool {
        let fits = |m: &Received| m.body().is_some_and(|body| body.contains(text));
        let log = self.log.lock().unwrap();
        log.client.as_ref().is_some_and(|client| client.has(fits)) || log.past.iter().any(fits)
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
        let gone = log.lock().unwrap().client.as_ref().is_none_or(Client::closed);
        if !gone {
            continue;
        }
        {
            let mut log = log.lock().unwrap();
            let past = log.client.take().map(|client| client.messages()).unwrap_or_default();
            log.past.extend(past);
        }
        // A server that is down refuses, and a login that fails is a panic: of that task only, and tried again.
        if let Ok(client) = tokio::spawn(login.clone().connect()).await {
            log.lock().unwrap().client = Some(client);
        }
    }
}
