//! The HTTP door: what it is made of, and what a reload replaces.

use std::sync::Arc;

use async_trait::async_trait;
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Exit;
use crate::config::Config;
use crate::http::{self, Auth, Door, Listener, Parts, Ready, Settings};
use crate::net;
use crate::queue::sqlite::Sqlite;
use crate::queue::{StoreError, Tokens};

/// What a reload replaces.
pub struct Replace {
    pub settings: watch::Sender<Arc<Settings>>,
    pub tls: watch::Sender<Option<Arc<ServerConfig>>>,
}

/// The store as a part that may be unable to work.
struct Stored(Arc<Sqlite>);

#[async_trait]
impl Ready for Stored {
    async fn reasons(&self) -> Vec<String> {
        self.0.tokens().await.err().map(|err| err.to_string()).into_iter().collect()
    }
}

/// Binds it, where the config says so.
pub async fn build(
    config: &Config,
    auth: Arc<Auth>,
    store: Arc<Sqlite>,
    ending: CancellationToken,
) -> Result<(Option<Parts>, Replace), Exit> {
    let tls = tls(&config.http).map_err(Exit::Config)?;
    let ((settings, current), (tls, inside)) = (watch::channel(Arc::new(config.http.clone())), watch::channel(tls));
    let replace = Replace { settings, tls };
    let Some(address) = config.http.listen else { return Ok((None, replace)) };
    let listener = Listener::bind(address).map_err(|err| Exit::Internal(format!("[http]: {err}")))?;
    tracing::info!(listen = %address, tls = config.http.tls.is_some(), "the HTTP API is open to whoever has a token");
    if !auth.has_tokens() {
        tracing::warn!(
            "nobody has a token for the HTTP API yet; make the first: mailbell token create admin --scope admin"
        );
    }
    let door = Door { settings: current, auth, ready: Arc::new([Arc::new(Stored(store)) as Arc<dyn Ready>]), ending };
    Ok((Some(Parts { listener, door, tls: inside }), replace))
}

/// Reads the certificate and its key.
pub fn tls(settings: &Settings) -> Result<Option<Arc<ServerConfig>>, String> {
    let files = settings.tls.as_ref();
    let read = files.map(|files| net::server_config(&files.cert, &files.key)).transpose();
    read.map_err(|why| format!("[http]: {why}"))
}

impl Replace {
    /// From the next request, or connection, on.
    pub fn with(&self, settings: &Settings, tls: Option<Arc<ServerConfig>>) {
        self.tls.send_replace(tls);
        self.settings.send_replace(Arc::new(settings.clone()));
    }
}

/// Serves until cancelled.
pub async fn run(parts: Option<Parts>, auth: Arc<Auth>, cancel: CancellationToken) -> Result<(), StoreError> {
    let noted = auth.note_use(cancel.clone().cancelled_owned());
    match parts {
        Some(parts) => drop(tokio::join!(http::serve(parts, cancel), noted)),
        None => cancel.cancelled().await,
    }
    Ok(())
}
