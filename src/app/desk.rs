//! The desk for the commands: that of the running service, else of the store itself.

use std::sync::Arc;

use crate::control::{self, Remote};
use crate::queue::sqlite::Sqlite;
use crate::queue::{Desk, Settings, StoreError, StoreFault};

/// The running service's desk through its control socket; where none runs, the store's own, with its lock taken.
pub async fn desk(settings: &Settings) -> Result<Arc<dyn Desk>, StoreError> {
    let socket = control::socket_path(&settings.path);
    let refused = |what: String| StoreError { what, fault: StoreFault::Refused };
    match Remote::connect(&socket).await {
        Ok(Some(remote)) => return Ok(Arc::new(remote)),
        Ok(None) => {}
        Err(err) => return Err(refused(err.to_string())),
    }
    // Opening it would make an empty one, and the answer "nothing is queued" would be about that.
    if !settings.path.exists() {
        return Err(refused(format!(
            "there is no store {} and no service that runs on it; start `mailbell serve`, or correct [store] path",
            settings.path.display()
        )));
    }
    Ok(Sqlite::open(settings).await?)
}
