//! The tokens of the HTTP API.

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;

use super::Sqlite;
use super::conn::{Columns, Doing, json, us};
use crate::model::{TokenName, TokenRecord};
use crate::queue::{StoreError, Tokens};

/// Most tokens: each request is compared with all of them.
const MOST: i64 = 1000;

#[async_trait]
impl Tokens for Sqlite {
    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        let mut lease = self.desk().await?;
        let sql = "SELECT name, sha256, scopes, groups, created, expires, last_used FROM token ORDER BY name";
        let found = sqlx::query(sql).fetch_all(&mut lease.conn).await.doing("reading tokens")?;
        lease.keep();
        found.iter().map(record).collect()
    }

    async fn add_token(&self, token: &TokenRecord) -> Result<(), StoreError> {
        self.written(add(self, token).await)
    }

    async fn revoke_token(&self, name: &TokenName) -> Result<(), StoreError> {
        self.written(revoke(self, name).await)
    }

    async fn tokens_used(&self, used: &[(TokenName, Timestamp)]) -> Result<(), StoreError> {
        self.written(touch(self, used).await)
    }
}

fn record(row: &SqliteRow) -> Result<TokenRecord, StoreError> {
    Ok(TokenRecord {
        name: row.word("name")?,
        sha256: row.text("sha256")?,
        scopes: row.json("scopes")?,
        groups: row.json("groups")?,
        created: row.time("created")?,
        expires: row.maybe_time("expires")?,
        last_used: row.maybe_time("last_used")?,
    })
}

async fn add(store: &Sqlite, token: &TokenRecord) -> Result<(), StoreError> {
    let mut lease = store.begin().await?;
    let done = sqlx::query(
        "INSERT INTO token (name, sha256, scopes, groups, created, expires) SELECT $1, $2, $3, $4, $5, $6 \
         WHERE (SELECT count(*) FROM token) < $7 AND NOT EXISTS (SELECT 1 FROM token WHERE name = $1 OR sha256 = $2)",
    )
    .bind(token.name.as_str())
    .bind(&token.sha256)
    .bind(json(&token.scopes)?)
    .bind(json(&token.groups)?)
    .bind(us(token.created))
    .bind(token.expires.map(us))
    .bind(MOST)
    .execute(&mut lease.conn)
    .await
    .doing("keeping a token")?;
    let kept = done.rows_affected() > 0;
    lease.commit().await?;
    if kept {
        return Ok(());
    }
    let name = &token.name;
    Err(StoreError::refused(format!(
        "there is a token {name} already, or {MOST} tokens; take another name, or revoke one"
    )))
}

async fn revoke(store: &Sqlite, name: &TokenName) -> Result<(), StoreError> {
    let mut lease = store.begin().await?;
    // What it posted is over when it was posted for the last time: that stays.
    let done = sqlx::query("DELETE FROM token WHERE name = $1")
        .bind(name.as_str())
        .execute(&mut lease.conn)
        .await
        .doing("revoking a token")?;
    let was = done.rows_affected() > 0;
    lease.commit().await?;
    if was {
        Ok(())
    } else {
        Err(StoreError::refused(format!("there is no token {name}; `mailbell token list` shows them")))
    }
}

async fn touch(store: &Sqlite, used: &[(TokenName, Timestamp)]) -> Result<(), StoreError> {
    let used: Vec<(&str, i64)> = used.iter().map(|(name, at)| (name.as_str(), us(*at))).collect();
    let mut lease = store.begin().await?;
    sqlx::query(
        "UPDATE token SET last_used = j.value ->> 1 FROM json_each($1) j WHERE token.name = j.value ->> 0 \
           AND coalesce(token.last_used, 0) < j.value ->> 1",
    )
    .bind(json(&used)?)
    .execute(&mut lease.conn)
    .await
    .doing("noting the use of tokens")?;
    lease.commit().await
}
