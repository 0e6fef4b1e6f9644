//! Tokens: who has one, and an end to it. They are made where the service runs (`mailbell token create`).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use jiff::Timestamp;
use serde::Serialize;

use crate::control::Problem;
use crate::http::Door;
use crate::http::table::{Access, Endpoint, on};
use crate::model::{GroupName, Right, Rights, TokenName, TokenRecord};
use crate::queue::Tokens;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        on(Method::GET, "/api/v1/tokens", Access::Scope(Right::Admin), list),
        on(Method::DELETE, "/api/v1/tokens/{name}", Access::Scope(Right::Admin), revoke),
    ]
}

/// A token, without what it is kept by.
#[derive(Serialize)]
struct Shown {
    name: TokenName,
    scopes: Rights,
    groups: Vec<GroupName>,
    created: Timestamp,
    expires: Option<Timestamp>,
    last_used: Option<Timestamp>,
}

impl From<TokenRecord> for Shown {
    fn from(token: TokenRecord) -> Self {
        let TokenRecord { name, sha256: _, scopes, groups, created, expires, last_used } = token;
        Self { name, scopes, groups, created, expires, last_used }
    }
}

async fn list(State(door): State<Door>) -> Result<Json<Vec<Shown>>, Problem> {
    Ok(Json(door.auth.tokens().await?.into_iter().map(Shown::from).collect()))
}

async fn revoke(State(door): State<Door>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    let known = door.auth.tokens().await?;
    let Some(token) = known.into_iter().find(|token| token.name.as_str() == name) else {
        return Err(Problem::missing("there is no token of this name"));
    };
    door.auth.revoke_token(&token.name).await?;
    Ok(StatusCode::NO_CONTENT)
}
