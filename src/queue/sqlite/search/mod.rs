//! What people ask: lists by time, a page at a time.
//!
//! A page is made of a *window*: so many rows behind the place where the page before ended, found by an index. What is asked for
//! is looked for within it, and nowhere else.

mod alerts;
mod conditions;
mod sent;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;

use super::Sqlite;
use super::conn::Columns;
use crate::model::{AlertId, GroupName};
use crate::queue::{
    AlertFilter, AlertRow, Archive, ArchiveRow, Common, ConditionRow, Mark, NotificationView, Open, Page, Search,
    SentFilter, StoreError, Subject,
};

/// Rows of a window; and where texts have to be looked through.
const WINDOW: i64 = 20_000;
const WINDOW_OF_TEXTS: i64 = 2_000;
/// Rows of a page, where nothing is said; and most.
const SOME: usize = 100;
const MOST: usize = 1000;
/// Longest text to be looked for, characters.
const LONGEST: usize = 200;

/// Every statement, for a look at how it is done.
#[cfg(test)]
pub(super) fn planned() -> Vec<&'static str> {
    [alerts::PLANNED.as_slice(), &sent::PLANNED, &conditions::PLANNED].concat()
}

impl Common {
    fn rows(&self) -> usize {
        if self.limit == 0 { SOME } else { self.limit.min(MOST) }
    }

    /// One more than the page takes tells that there is another.
    fn fetch(&self) -> i64 {
        i64::try_from(self.rows() + 1).unwrap_or(i64::MAX)
    }

    /// Rows to look at; `plain`: nothing else is asked, so that each fits.
    fn window(&self, plain: bool) -> i64 {
        match (plain && self.group.is_none() && self.seen_by.is_empty(), &self.text) {
            (_, Some(_)) => WINDOW_OF_TEXTS,
            (true, None) => self.fetch(),
            (false, None) => WINDOW,
        }
    }

    /// For LIKE with `\` as its escape.
    fn pattern(&self) -> Option<String> {
        let text = self.text.as_deref()?;
        let mut pattern = String::from("%");
        for c in text.chars().take(LONGEST) {
            if matches!(c, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern.push('%');
        Some(pattern)
    }

    /// From the newest on: before this.
    fn before(&self) -> Mark {
        let until = self.until.map_or(i64::MAX, |until| until.as_microsecond());
        let end = Mark { at: until, id: 0 };
        self.after.map_or(end, |after| if (after.at, after.id) < (end.at, end.id) { after } else { end })
    }

    /// From the oldest on: behind this.
    fn behind(&self) -> Mark {
        let begin = Mark { at: self.from(), id: 0 };
        self.after.map_or(begin, |after| if (after.at, after.id) > (begin.at, begin.id) { after } else { begin })
    }

    fn from(&self) -> i64 {
        self.since.map_or(i64::MIN, |since| since.as_microsecond())
    }

    fn to(&self) -> i64 {
        self.until.map_or(i64::MAX, |until| until.as_microsecond())
    }
}

/// The page of what was found; where it is not full, the next one begins behind the window, if that has an end.
fn page<T>(
    common: &Common,
    found: &[SqliteRow],
    end: Option<SqliteRow>,
    read: impl Fn(&SqliteRow) -> Result<T, StoreError>,
) -> Result<Page<T>, StoreError> {
    let rows = common.rows();
    let items = found.iter().take(rows).map(read).collect::<Result<Vec<_>, _>>()?;
    let last = if found.len() > rows { found.get(rows.saturating_sub(1)) } else { end.as_ref() };
    let next = last.map(|row| Ok::<_, StoreError>(Mark { at: row.int("at")?, id: row.int("id")? }.to_string()));
    Ok(Page { items, next: next.transpose()? })
}

#[async_trait]
impl Search for Sqlite {
    async fn alerts(&self, filter: &AlertFilter) -> Result<Page<AlertRow>, StoreError> {
        alerts::list(self, filter).await
    }

    async fn notifications(&self, filter: &SentFilter) -> Result<Page<NotificationView>, StoreError> {
        sent::notifications(self, filter).await
    }

    async fn conditions(&self, open: bool, common: &Common) -> Result<Page<ConditionRow>, StoreError> {
        conditions::list(self, open, common).await
    }

    async fn alert_groups(&self, id: AlertId) -> Result<Option<Vec<GroupName>>, StoreError> {
        alerts::groups(self, id).await
    }

    async fn open(&self, of: Subject) -> Result<Option<Open>, StoreError> {
        match of {
            Subject::Alert(id) => conditions::open_of(self, id).await,
            Subject::Condition(id) => conditions::one(self, id).await,
        }
    }
}

#[async_trait]
impl Archive for Sqlite {
    async fn archive(&self, filter: &SentFilter) -> Result<Page<ArchiveRow>, StoreError> {
        sent::archive(self, filter).await
    }
}
