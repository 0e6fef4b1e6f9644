//! The tokens of the HTTP API, as they are kept.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::model::{TokenName, TokenRecord};
use crate::queue::StoreError;

/// What keeps tokens.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// All of them, by name.
    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError>;

    /// Keeps another one; refused where its name is taken.
    async fn add_token(&self, token: &TokenRecord) -> Result<(), StoreError>;

    /// Forgets one; refused where there is none of that name.
    async fn revoke_token(&self, name: &TokenName) -> Result<(), StoreError>;

    /// These were used then.
    async fn tokens_used(&self, used: &[(TokenName, Timestamp)]) -> Result<(), StoreError>;
}
