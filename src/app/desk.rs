//! The desk for the commands: that of the running service, else of the store itself.

use std::path::Path;
use std::sync::Arc;

use super::Exit;
use super::office::{House, Way};
use crate::config::Config;
use crate::control::{self, Office, Remote};
use crate::queue::sqlite::Sqlite;
use crate::queue::{Archive, Desk, Settings, StoreError, Tokens};

/// The running service's tokens of the HTTP API, else those of the store itself, as with [`desk`]. A store that is not there yet is
/// made: tokens may be there before the first start.
pub async fn tokens(settings: &Settings) -> Result<Arc<dyn Tokens>, StoreError> {
    let socket = control::socket_path(&settings.path);
    match Remote::connect(&socket).await {
        Ok(Some(remote)) => Ok(Arc::new(remote)),
        Ok(None) => Ok(Sqlite::open(settings).await?),
        Err(err) => Err(StoreError::refused(err.to_string())),
    }
}

/// The running service's desk through its control socket; where none runs, the store's own, with its lock taken.
pub async fn desk(settings: &Settings) -> Result<Arc<dyn Desk>, StoreError> {
    match at(settings).await? {
        At::Service(remote) => Ok(Arc::new(remote)),
        At::Store(store) => Ok(store),
    }
}

/// The archive, likewise.
pub async fn archive(settings: &Settings) -> Result<Arc<dyn Archive>, StoreError> {
    match at(settings).await? {
        At::Service(remote) => Ok(Arc::new(remote)),
        At::Store(store) => Ok(store),
    }
}

/// The desk, and the office: the running service's, by the config in force; without one that of the store, by this config file.
/// `Err` inside: the file is bad.
pub async fn office(
    settings: &Settings,
    file: &Path,
) -> Result<(Arc<dyn Desk>, Result<Arc<dyn Office>, Exit>), StoreError> {
    let store = match at(settings).await? {
        At::Service(remote) => {
            let remote = Arc::new(remote);
            return Ok((remote.clone(), Ok(remote)));
        }
        At::Store(store) => store,
    };
    let config = Config::load_without_secrets(file).map_err(|errors| Exit::Config(errors.to_string()));
    let way = config.and_then(|config| super::router(&config)).map(|router| Way::Store(Box::new(router)));
    let office = way.map(|way| Arc::new(House { store: store.clone(), way }) as Arc<dyn Office>);
    Ok((store, office))
}

/// Who is asked.
enum At {
    Service(Remote),
    Store(Arc<Sqlite>),
}

async fn at(settings: &Settings) -> Result<At, StoreError> {
    let socket = control::socket_path(&settings.path);
    match Remote::connect(&socket).await {
        Ok(Some(remote)) => return Ok(At::Service(remote)),
        Ok(None) => {}
        Err(err) => return Err(StoreError::refused(err.to_string())),
    }
    // Opening it would make an empty one, and the answer "nothing is queued" would be about that.
    if !settings.path.exists() {
        return Err(StoreError::refused(format!(
            "there is no store {} and no service that runs on it; start `mailbell serve`, or correct [store] path",
            settings.path.display()
        )));
    }
    Ok(At::Store(Sqlite::open(settings).await?))
}
