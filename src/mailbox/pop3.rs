//! The POP3 mailbox: a session for each look, ended before the wait, since it locks the maildrop.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::After;
use super::common::{expected, sleep};
use super::connect::Dialer;
use super::pop3_session::Session;
use super::port::{Clearing, Entry, Generation, Listing, Mailbox, MailboxError, Mark, Woke};
use crate::model::{Cursor, NewMessage};

/// Longest good-bye.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) struct Pop3Mailbox {
    dialer: Dialer,
    /// Taken out while an operation runs: an error, or a caller who stops waiting, drops the connection.
    session: Option<Session>,
}

impl Pop3Mailbox {
    pub(super) fn new(dialer: Dialer) -> Self {
        Self { dialer, session: None }
    }

    async fn open(&self) -> Result<(Session, Vec<Entry>), MailboxError> {
        self.dialer.bounded(0, Session::open(&self.dialer)).await
    }

    async fn session(&mut self) -> Result<Session, MailboxError> {
        match self.session.take() {
            Some(session) => Ok(session),
            None => Ok(self.open().await?.0),
        }
    }
}

#[async_trait]
impl Mailbox for Pop3Mailbox {
    async fn list(&mut self, _: Option<Mark>) -> Result<Listing, MailboxError> {
        // A session sees only what was there when it began.
        self.close().await;
        let (session, entries) = self.open().await?;
        self.session = Some(session);
        Ok(Listing { generation: Generation::None, entries, complete: true })
    }

    async fn fetch(&mut self, wanted: &[Entry], max_bytes: u64) -> Result<Vec<NewMessage>, MailboxError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut session = self.session().await?;
        let max_size = self.dialer.settings.max_size;
        let expected = expected(wanted, max_size, max_bytes);
        let mails = self.dialer.bounded(expected, session.fetch(wanted, max_size, max_bytes)).await?;
        self.session = Some(session);
        Ok(mails)
    }

    async fn clear(&mut self, stored: &[Cursor], how: &After) -> Result<Clearing, MailboxError> {
        let done = match how {
            After::Keep => stored.to_vec(),
            After::Delete if stored.is_empty() => Vec::new(),
            After::Delete => {
                let session = self.session().await?;
                self.dialer.bounded(0, session.delete(stored)).await?
            }
            After::Seen | After::Move(_) => {
                let what =
                    format!("{}: POP3 has neither flags nor folders; use \"keep\" or \"delete\"", self.dialer.place());
                return Err(MailboxError::permanent(what));
            }
        };
        Ok(Clearing { done, warning: None })
    }

    async fn rest(&mut self) -> Result<(), MailboxError> {
        self.close().await;
        Ok(())
    }

    async fn wait(&mut self, at_most: Option<Duration>, poke: &Notify) -> Result<Woke, MailboxError> {
        let until = at_most.and_then(|time| Instant::now().checked_add(time));
        self.close().await;
        Ok(sleep(until, poke).await)
    }

    async fn close(&mut self) {
        if let Some(session) = self.session.take() {
            let _ = timeout(FAREWELL, session.quit()).await;
        }
    }
}
