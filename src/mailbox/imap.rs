//! The IMAP mailbox: connects lazily, drops the connection after any error, bounds every operation.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::common::{expected, sleep};
use super::connect::Dialer;
use super::imap_session::Session;
use super::port::{Clearing, Entry, Failure, Listing, Mailbox, MailboxError, Mark, Woke};
use super::{After, NOOP_AFAR, Settings, Watch};
use crate::model::{Cursor, NewMessage};

/// Longest good-bye.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) struct ImapMailbox {
    dialer: Dialer,
    /// Taken out while an operation runs: an error, or a caller who stops waiting, drops the connection.
    session: Option<Session>,
    /// That NOOPs are sent less often than configured was said.
    slowed: bool,
}

impl ImapMailbox {
    pub(super) fn new(dialer: Dialer) -> Self {
        Self { dialer, session: None, slowed: false }
    }

    fn settings(&self) -> &Settings {
        &self.dialer.settings
    }

    async fn session(&mut self) -> Result<Session, MailboxError> {
        match self.session.take() {
            Some(session) => Ok(session),
            None => self.dialer.bounded(0, Session::open(&self.dialer)).await,
        }
    }

    /// The time from one NOOP to the next, by where the name of the server led: a strange server is not hammered, and its mails
    /// are still noticed.
    fn bearable(&mut self, every: Duration, near: bool) -> Duration {
        if near || every >= NOOP_AFAR {
            return every;
        }
        if !std::mem::replace(&mut self.slowed, true) {
            tracing::warn!(
                server = self.dialer.place(),
                "the server is not in a private network, so NOOP is sent once a second and not as often as `watch` says; \
                 write watch = \"noop:1s\" or \"idle\""
            );
        }
        NOOP_AFAR
    }

    /// A new session that knows what there is.
    async fn fresh(&self) -> Result<Session, MailboxError> {
        let mut session = self.dialer.bounded(0, Session::open(&self.dialer)).await?;
        self.dialer.bounded(0, session.catch_up()).await?;
        Ok(session)
    }
}

#[async_trait]
impl Mailbox for ImapMailbox {
    async fn list(&mut self, mark: Option<Mark>) -> Result<Listing, MailboxError> {
        let mut session = match self.session.take() {
            Some(mut old) => match self.dialer.bounded(0, old.catch_up()).await {
                Ok(()) => old,
                // A server may have closed a session that was idle for long: no reason to trouble anybody.
                Err(err) if err.failure == Failure::Transient => self.fresh().await?,
                Err(err) => return Err(err),
            },
            None => self.fresh().await?,
        };
        let listing = self.dialer.bounded(0, session.list(mark)).await?;
        self.session = Some(session);
        Ok(listing)
    }

    async fn fetch(&mut self, wanted: &[Entry], max_bytes: u64) -> Result<Vec<NewMessage>, MailboxError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut session = self.session().await?;
        let max_size = self.settings().max_size;
        let expected = expected(wanted, max_size, max_bytes);
        let mails = self.dialer.bounded(expected, session.fetch(wanted, max_size, max_bytes)).await?;
        self.session = Some(session);
        Ok(mails)
    }

    async fn clear(&mut self, stored: &[Cursor], how: &After) -> Result<Clearing, MailboxError> {
        if stored.is_empty() || *how == After::Keep {
            return Ok(Clearing { done: stored.to_vec(), warning: None });
        }
        let mut session = self.session().await?;
        let clearing = self.dialer.bounded(0, session.clear(stored, how)).await;
        // A refusal (a full quota, a folder that cannot be made) is an answer: the session is as good as before, and new
        // mails are still told of.
        if !clearing.as_ref().is_err_and(|err| err.failure == Failure::Transient) {
            self.session = Some(session);
        }
        clearing
    }

    async fn rest(&mut self) -> Result<(), MailboxError> {
        Ok(())
    }

    async fn wait(&mut self, at_most: Option<Duration>, poke: &Notify) -> Result<Woke, MailboxError> {
        let until = at_most.and_then(|time| Instant::now().checked_add(time));
        if self.settings().watch == Watch::Poll {
            return Ok(sleep(until, poke).await);
        }
        // Without the session of the last listing nobody can tell what came since: look again.
        let Some(mut session) = self.session.take() else { return Ok(Woke::Server) };
        let woke = match self.settings().watch {
            Watch::Noop(every) => {
                let every = self.bearable(every, session.near);
                session.noops(&self.dialer, every, until, poke).await?
            }
            Watch::Idle if session.can.idle => session.idle(&self.dialer, until, poke).await?,
            Watch::Idle | Watch::Poll => session.without_idle(until, poke).await?,
        };
        self.session = Some(session);
        Ok(woke)
    }

    async fn close(&mut self) {
        if let Some(mut session) = self.session.take() {
            // A BYE or silence: either way it is over.
            let _ = timeout(FAREWELL, session.wire.run("LOGOUT", |_| ())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::Protocol;
    use crate::mailbox::check::tests::settings;

    #[tokio::test]
    async fn a_name_that_leads_out_of_the_private_network_is_asked_once_a_second() {
        let mut mailbox = ImapMailbox::new(Dialer::new(settings(Protocol::Imap)).unwrap());
        let ms = Duration::from_millis;
        assert_eq!(mailbox.bearable(ms(50), true), ms(50));
        assert!(!mailbox.slowed);
        assert_eq!(mailbox.bearable(ms(1500), false), ms(1500));
        assert!(!mailbox.slowed);
        assert_eq!(mailbox.bearable(ms(50), false), ms(1000));
        assert!(mailbox.slowed, "and it is said, once");
    }
}
