//! Tokens: who has one, and an end to it. They are made where the service runs (`mailbell token create`).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

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

/// This resource's part of the document.
#[derive(OpenApi)]
#[openapi(paths(list, revoke))]
pub(super) struct Written;

/// A token, without what it is kept by.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
struct Shown {
    /// Its name: also the source (`api:NAME`) of what it dispatches.
    name: TokenName,
    /// What it may do.
    scopes: Rights,
    /// The only groups that it dispatches to and sees; empty: all.
    groups: Vec<GroupName>,
    /// When it was made.
    created: Timestamp,
    /// It is refused from then on.
    expires: Option<Timestamp>,
    /// When it was used last, up to some minutes before.
    last_used: Option<Timestamp>,
}

impl From<TokenRecord> for Shown {
    fn from(token: TokenRecord) -> Self {
        let TokenRecord { name, sha256: _, scopes, groups, created, expires, last_used } = token;
        Self { name, scopes, groups, created, expires, last_used }
    }
}

/// All tokens, by name.
///
/// Never a token itself: it is shown once, by `mailbell token create`.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "access", operation_id = "list_tokens", responses(
    (status = 200, description = "All of them", body = Vec<Shown>),
))]
async fn list(State(door): State<Door>) -> Result<Json<Vec<Shown>>, Problem> {
    Ok(Json(door.auth.tokens().await?.into_iter().map(Shown::from).collect()))
}

/// Revoke a token, at once and for good; its sessions end with it.
#[utoipa::path(delete, path = "/api/v1/tokens/{name}", tag = "access", operation_id = "revoke_token",
    params(("name" = TokenName, Path, description = "Its name")),
    responses(
        (status = 204, description = "It is revoked"),
        (status = 404, description = "There is no token of this name"),
        (status = 409, description = "Somebody else revoked it meanwhile"),
        (status = 507, description = "The disk is full"),
    ))]
async fn revoke(State(door): State<Door>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    let known = door.auth.tokens().await?;
    let Some(token) = known.into_iter().find(|token| token.name.as_str() == name) else {
        return Err(Problem::missing("there is no token of this name"));
    };
    door.auth.revoke_token(&token.name).await?;
    Ok(StatusCode::NO_CONTENT)
}
