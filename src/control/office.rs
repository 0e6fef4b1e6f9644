//! What takes the config beside the store: who is in it, and how an end goes to people.

use async_trait::async_trait;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use hyper::Method;

use super::client::{Remote, encode};
use super::problem::Problem;
use super::router::{Door, Expire, body, number};
use crate::model::{ConditionId, RecipientName};
use crate::queue::{Resolved, StoreError, Subject};

/// What is done by the config: the one in force, where the service runs.
#[async_trait]
pub trait Office: Send + Sync {
    /// Is there a recipient of this name?
    async fn knows(&self, recipient: &RecipientName) -> Result<bool, StoreError>;

    /// An operator's end; `None`: there is no such alert or condition. Refused where nothing of it is open.
    async fn resolve(&self, what: Subject, reason: &str) -> Result<Option<Resolved>, StoreError>;
}

pub(super) async fn recipient(State(door): State<Door>, Path(name): Path<String>) -> Result<Json<bool>, Problem> {
    let name: RecipientName = name.parse().map_err(|err| Problem::bad(format!("{err}")))?;
    Ok(Json(door.office.knows(&name).await?))
}

pub(super) async fn alert(
    State(door): State<Door>,
    Path(id): Path<String>,
    given: Result<Bytes, BytesRejection>,
) -> Result<Json<Option<Resolved>>, Problem> {
    let id = id.parse().map_err(|err| Problem::bad(format!("{err}")))?;
    resolve(&door, Subject::Alert(id), given).await
}

pub(super) async fn condition(
    State(door): State<Door>,
    Path(id): Path<String>,
    given: Result<Bytes, BytesRejection>,
) -> Result<Json<Option<Resolved>>, Problem> {
    resolve(&door, Subject::Condition(ConditionId(number(&id)?)), given).await
}

/// What is not there is no error here: an older service, which does not know this path, answers with one.
async fn resolve(
    door: &Door,
    what: Subject,
    given: Result<Bytes, BytesRejection>,
) -> Result<Json<Option<Resolved>>, Problem> {
    let Expire { reason } = body(given)?;
    Ok(Json(door.office.resolve(what, &reason).await?))
}

#[async_trait]
impl Office for Remote {
    async fn knows(&self, recipient: &RecipientName) -> Result<bool, StoreError> {
        let found = self.get(&format!("/v1/recipients/{}", encode(recipient.as_str()))).await?;
        found.ok_or_else(|| self.older("does not tell who is in its config"))
    }

    async fn resolve(&self, what: Subject, reason: &str) -> Result<Option<Resolved>, StoreError> {
        let path = match what {
            Subject::Alert(id) => format!("/v1/alerts/{}/resolve", encode(id.to_string().trim_start_matches('#'))),
            Subject::Condition(id) => format!("/v1/conditions/{id}/resolve"),
        };
        let body = serde_json::to_vec(&Expire { reason: reason.to_owned() }).unwrap_or_default();
        let answer = self.ask(Method::POST, &path, body).await?;
        self.read(&answer.ok_or_else(|| self.older("does not resolve for a command"))?)
    }
}
