//! From the HTTP door to the queue.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;

use super::conn::{Columns, Doing, us};
use super::{Sqlite, d2};
use crate::metrics::Step;
use crate::model::{Planner, Source, TokenName};
use crate::queue::{Express, Holding, Post, PostedReport, Posts, StoreError};

#[async_trait]
impl Posts for Sqlite {
    async fn d2_posted(
        &self,
        posts: &[Post],
        planner: &dyn Planner,
        express: &dyn Express,
        now: Timestamp,
    ) -> Result<PostedReport, StoreError> {
        self.step(Step::D2, d2::posted::commit(self, posts, planner, express, now)).await
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<(Vec<Post>, Option<Timestamp>), StoreError> {
        let mut lease = self.reader().await?;
        let sql = "SELECT token, fingerprint, ends, alert FROM posted ORDER BY ends LIMIT $1 + 0";
        let query = sqlx::query(sql).bind(i64::try_from(limit + 1).unwrap_or(i64::MAX));
        let found = query.fetch_all(&mut lease.conn).await.doing("looking for what is over")?;
        lease.keep();
        let (mut posts, mut next) = (BTreeMap::<TokenName, Vec<Holding>>::new(), None);
        for (n, row) in found.iter().enumerate() {
            let ends = row.time("ends")?;
            if n == limit || us(ends) > us(now) {
                next = Some(ends);
                break;
            }
            let (fingerprint, alert) = (row.text("fingerprint")?, row.json("alert")?);
            let held = Holding { fingerprint, ends, alert, unless_posted: true };
            posts.entry(row.word("token")?).or_default().push(held);
        }
        let post = |(token, posted)| Post {
            source: Source::Api(token),
            by_operator: false,
            groups: Vec::new(),
            alerts: Vec::new(),
            posted,
            once: None,
        };
        Ok((posts.into_iter().map(post).collect(), next))
    }
}
