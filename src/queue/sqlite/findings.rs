//! From an internal source to the queue.

use async_trait::async_trait;
use jiff::Timestamp;

use super::conn::{Columns, Doing};
use super::{Sqlite, d2};
use crate::metrics::Step;
use crate::model::{Planner, Source};
use crate::queue::{Express, Findings, Found, FoundReport, StoreError};

#[async_trait]
impl Findings for Sqlite {
    async fn probe_states(&self) -> Result<Vec<(String, String)>, StoreError> {
        let mut lease = self.reader().await?;
        let sql = "SELECT name, state FROM probe_state ORDER BY name";
        let found = sqlx::query(sql).fetch_all(&mut lease.conn).await.doing("reading the states of the probe")?;
        lease.keep();
        found.iter().map(|row| Ok((row.text("name")?, row.text("state")?))).collect()
    }

    async fn d2_found(
        &self,
        source: &Source,
        found: &[Found],
        planner: &dyn Planner,
        express: &dyn Express,
        now: Timestamp,
    ) -> Result<FoundReport, StoreError> {
        self.step(Step::D2, d2::found::commit(self, source, found, planner, express, now)).await
    }
}
