//! The HTTP door: what it is made of, and what a reload replaces.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::StatusCode;
use rustls::ServerConfig;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Exit;
use super::people::Roll;
use super::watched::Watches;
use crate::config::Config;
use crate::http::{self, Auth, Dispatch, Door, Feed, Listener, Parts, Problem, Settings};
use crate::intake::{Desk, NotTaken, Rulebook};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::model::Alert;
use crate::net;
use crate::parse::{self, How, Limits, Outcome, Plain};
use crate::queue::sqlite::Sqlite;
use crate::queue::{Done, Post, StoreError};

/// What a reload replaces.
pub struct Replace {
    pub settings: watch::Sender<Arc<Settings>>,
    pub tls: watch::Sender<Option<Arc<ServerConfig>>>,
}

/// The way of alerts into the queue.
pub struct Entrance {
    pub desk: Desk,
    pub rules: Live<Rulebook>,
}

#[async_trait]
impl Dispatch for Entrance {
    fn limits(&self) -> Limits {
        self.rules.get().limits.clone()
    }

    /// Read as the one part of a mail that says nothing else.
    fn read_xml(&self, document: &[u8], content_type: &str) -> Result<Vec<Alert>, String> {
        let rules = self.rules.get();
        let none = parse::Rules::default();
        let how = How { plain: Plain::Quarantine, limits: &rules.limits, mappings: &rules.mappings, rules: &none };
        let charset = content_type.split_once(';').map_or("", |(_, parameters)| parameters);
        let header = format!("Content-Type: application/xml;{charset}\nContent-Transfer-Encoding: binary\n\n");
        let mail = [header.as_bytes(), document].concat();
        match parse::mail_caught(&mail, &how).outcome {
            Outcome::Alerts { alerts, bad } if bad.is_empty() => Ok(alerts),
            Outcome::Alerts { bad, .. } => Err(bad.join("; ")),
            Outcome::Ignored(why) | Outcome::Quarantined(why) => Err(why),
        }
    }

    async fn hand_in(&self, post: Post) -> Result<Done, Problem> {
        self.desk.hand_in(post).await.map_err(|why| match why {
            NotTaken::Full => {
                let detail = "the disk is full: nothing was kept; try again later";
                Problem::new(StatusCode::INSUFFICIENT_STORAGE, detail).retry_after(30)
            }
            NotTaken::Busy => {
                let detail = "too many requests wait, or the service ends: nothing was kept; try again";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(1)
            }
        })
    }
}

/// What there is to be asked, and to be done.
pub struct Views {
    pub store: Arc<Sqlite>,
    pub people: Arc<Roll>,
    pub watched: Arc<Watches>,
    pub poke: Arc<Notify>,
    pub stored: Arc<Notify>,
}

/// Binds it, where the config says so.
pub fn build(
    config: &Config,
    auth: Arc<Auth>,
    dispatch: Arc<dyn Dispatch>,
    metrics: Arc<Metrics>,
    views: Views,
    ending: CancellationToken,
) -> Result<(Option<Parts>, Replace, Arc<Feed>), Exit> {
    let tls = tls(&config.http).map_err(Exit::Config)?;
    let ((settings, current), (tls, inside)) = (watch::channel(Arc::new(config.http.clone())), watch::channel(tls));
    let replace = Replace { settings, tls };
    let feed = Feed::new(views.store.clone(), current.clone());
    let Some(address) = config.http.listen else { return Ok((None, replace, feed)) };
    let listener = Listener::bind(address).map_err(|err| Exit::Internal(format!("[http]: {err}")))?;
    tracing::info!(listen = %address, tls = config.http.tls.is_some(), "the HTTP API is open to whoever has a token");
    if !auth.has_tokens() {
        tracing::warn!(
            "nobody has a token for the HTTP API yet; make the first: mailbell token create admin --scope admin"
        );
    }
    let (places, fewer) = net::connections(config.http.max_connections, "http.max_connections");
    if let Some(why) = fewer {
        tracing::warn!("HTTP: {why}");
    }
    let Views { store, people, watched, poke, stored } = views;
    let (desk, search) = (store.clone(), store);
    let door = Door {
        settings: current,
        auth,
        dispatch,
        people,
        metrics,
        desk,
        search,
        watched,
        poke,
        stored,
        feed: Arc::clone(&feed),
        ending,
    };
    Ok((Some(Parts { listener, places, door, tls: inside }), replace, feed))
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
