//! Tokens of the HTTP API, over the socket: only what is kept of them, never a token itself.

use async_trait::async_trait;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hyper::Method;
use jiff::Timestamp;

use super::client::Remote;
use super::problem::Problem;
use super::router::{Door, body};
use crate::model::{TokenName, TokenRecord};
use crate::queue::{StoreError, Tokens};

pub(super) async fn list(State(door): State<Door>) -> Result<Json<Vec<TokenRecord>>, Problem> {
    Ok(Json(door.tokens.tokens().await?))
}

pub(super) async fn add(State(door): State<Door>, given: Result<Bytes, BytesRejection>) -> Result<StatusCode, Problem> {
    door.tokens.add_token(&body(given)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn revoke(State(door): State<Door>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    let name: TokenName = name.parse().map_err(|err| Problem::bad(format!("{err}")))?;
    door.tokens.revoke_token(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[async_trait]
impl Tokens for Remote {
    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        Ok(self.get("/v1/tokens").await?.unwrap_or_default())
    }

    async fn add_token(&self, token: &TokenRecord) -> Result<(), StoreError> {
        let body = serde_json::to_vec(token).unwrap_or_default();
        self.ask(Method::POST, "/v1/tokens", body).await.map(drop)
    }

    async fn revoke_token(&self, name: &TokenName) -> Result<(), StoreError> {
        let path = format!("/v1/tokens/{}", super::client::encode(name.as_str()));
        self.ask(Method::DELETE, &path, Vec::new()).await.map(drop)
    }

    /// The service notes that itself.
    async fn tokens_used(&self, _: &[(TokenName, Timestamp)]) -> Result<(), StoreError> {
        Err(StoreError::refused("the use of tokens is noted by the service alone"))
    }
}
