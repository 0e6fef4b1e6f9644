//! The tokens in memory, as the store has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use subtle::ConstantTimeEq;

use super::held;
use crate::model::{TokenName, TokenRecord};
use crate::queue::{StoreError, Tokens};

/// The use of a token is noted no more often.
const COARSE: SignedDuration = SignedDuration::from_mins(5);

/// What a digest stands for.
pub(super) enum Found {
    InForce(Arc<TokenRecord>),
    Expired(TokenName, Timestamp),
    Unknown,
}

pub(super) struct Book {
    pub(super) store: Arc<dyn Tokens>,
    tokens: Mutex<Vec<Arc<TokenRecord>>>,
    /// Used since it was last noted.
    used: Mutex<BTreeMap<TokenName, Timestamp>>,
    /// One change at a time, so that memory and store agree.
    changing: tokio::sync::Mutex<()>,
}

impl Book {
    pub(super) async fn read(store: Arc<dyn Tokens>) -> Result<Self, StoreError> {
        let tokens = store.tokens().await?.into_iter().map(Arc::new).collect();
        Ok(Self { store, tokens: Mutex::new(tokens), used: Mutex::default(), changing: tokio::sync::Mutex::default() })
    }

    pub(super) fn len(&self) -> usize {
        held(&self.tokens).len()
    }

    pub(super) fn all(&self) -> Vec<TokenRecord> {
        held(&self.tokens).iter().map(|token| (**token).clone()).collect()
    }

    /// Compares with every one, each in the same time: how long it takes says nothing about what is kept.
    pub(super) fn find(&self, sha256: &str, now: Timestamp) -> Found {
        let mut found = None;
        for token in held(&self.tokens).iter() {
            if bool::from(token.sha256.as_bytes().ct_eq(sha256.as_bytes())) {
                found = Some(Arc::clone(token));
            }
        }
        let Some(token) = found else { return Found::Unknown };
        if let Some(expires) = token.expires.filter(|expires| *expires <= now) {
            return Found::Expired(token.name.clone(), expires);
        }
        if token.last_used.is_none_or(|last| now.duration_since(last) >= COARSE) {
            held(&self.used).insert(token.name.clone(), now);
        }
        Found::InForce(token)
    }

    pub(super) async fn add(&self, token: &TokenRecord) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        self.store.add_token(token).await?;
        let mut tokens = held(&self.tokens);
        tokens.push(Arc::new(token.clone()));
        tokens.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    pub(super) async fn revoke(&self, name: &TokenName) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        // In force no more from now on, even if the store should fail: that is told.
        held(&self.tokens).retain(|token| token.name != *name);
        held(&self.used).remove(name);
        self.store.revoke_token(name).await
    }

    /// Notes who was used; what fails is noted next time.
    pub(super) async fn note_use(&self) {
        let used: Vec<_> = std::mem::take(&mut *held(&self.used)).into_iter().collect();
        if used.is_empty() {
            return;
        }
        if let Err(err) = self.store.tokens_used(&used).await {
            tracing::debug!(%err, "the use of tokens could not be noted");
            return;
        }
        for token in held(&self.tokens).iter_mut() {
            if let Some((_, at)) = used.iter().find(|(name, _)| *name == token.name) {
                *token = Arc::new(TokenRecord { last_used: Some(*at), ..(**token).clone() });
            }
        }
    }
}
