//! What is done by the config: the service's, or a file's beside a store that no service runs on.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::http::Entrance;
use super::rehearsal::NoLane;
use crate::control::Office;
use crate::http::Dispatch;
use crate::model::RecipientName;
use crate::queue::sqlite::Sqlite;
use crate::queue::{Done, Posts, Resolved, Search, StoreError, Subject};
use crate::route::Router;

/// The store, and what it is written by.
pub struct House {
    pub store: Arc<Sqlite>,
    pub way: Way,
}

/// How an end goes into the store.
pub enum Way {
    /// As all that comes over HTTP.
    Service(Arc<Entrance>),
    /// By itself: no service runs, and what follows from it is sent after the next start.
    Store(Box<Router>),
}

#[async_trait]
impl Office for House {
    async fn knows(&self, recipient: &RecipientName) -> Result<bool, StoreError> {
        Ok(match &self.way {
            Way::Service(entrance) => entrance.rules.get().router.has_recipient(recipient),
            Way::Store(router) => router.has_recipient(recipient),
        })
    }

    async fn resolve(&self, what: Subject, reason: &str) -> Result<Option<Resolved>, StoreError> {
        let Some(open) = self.store.open(what).await? else { return Ok(None) };
        let now = Timestamp::now();
        let post = open.end(what, "an operator", reason, now)?;
        let done = match &self.way {
            Way::Service(entrance) => entrance.hand_in(post).await?,
            Way::Store(router) => {
                let report = self.store.d2_posted(&[post], &**router, &NoLane, now).await?;
                report.done.into_iter().next().unwrap_or(Done::Other)
            }
        };
        open.ended(&*self.store, done).await.map(Some)
    }
}
