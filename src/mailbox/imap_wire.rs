//! IMAP commands and their replies: async-imap reads and parses, under our guard; sending and waiting is done here.
//!
//! The crate's own command methods are not used: they take a lost connection or a refusal for an empty success, drop
//! response codes, and put mail text into their errors.

use std::io;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_imap::imap_proto::{MailboxDatum, Outcome, Response, ResponseCode, Status};
use futures::FutureExt;
use tokio::io::AsyncWriteExt;

use super::failure::{classify, code, quote};
use super::imap_guard::Guard;
use super::port::{Failure, MailboxError};
use crate::net::Stream;

/// The end of a command.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) ok: bool,
    /// BAD: the server did not understand.
    pub(super) bad: bool,
    /// The response code's first word.
    pub(super) code: Option<String>,
    /// The server's words, raw: `quote` them.
    pub(super) text: String,
}

impl Reply {
    fn of(status: &Status, outcome: &Outcome<'_>) -> Self {
        let text = outcome.information.as_deref().unwrap_or_default().to_owned();
        let code = match &outcome.code {
            // The parser knows some codes and leaves the others in the text.
            Some(ResponseCode::TryCreate) => Some("TRYCREATE".into()),
            Some(ResponseCode::ReadOnly) => Some("READ-ONLY".into()),
            Some(ResponseCode::Alert) => Some("ALERT".into()),
            Some(_) => None,
            None => code(&text),
        };
        Self { ok: *status == Status::Ok, bad: *status == Status::Bad, code, text }
    }

    /// What follows from a refusal; `otherwise` where the server does not say.
    pub(super) fn failure(&self, otherwise: Failure) -> Failure {
        classify(self.code.as_deref(), &self.text).unwrap_or(otherwise)
    }
}

/// What the server tells by the way.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Mails in the folder.
    pub(super) exists: u32,
    /// Mails came that no listing has seen.
    pub(super) news: bool,
    pub(super) uidvalidity: Option<u32>,
    /// RFC 4315 §2: UIDs change with each session.
    pub(super) uid_not_sticky: bool,
    pub(super) bye: Option<String>,
}

impl Told {
    fn note(&mut self, response: &Response<'_>) {
        match response {
            Response::MailboxData(MailboxDatum::Exists(n)) => {
                self.news |= *n > self.exists;
                self.exists = *n;
            }
            // Some servers tell the new count after an expunge: only more than what is left is news.
            Response::Expunge(_) => self.exists = self.exists.saturating_sub(1),
            Response::Data { status: Status::Bye, outcome } => {
                self.bye = Some(outcome.information.as_deref().unwrap_or_default().to_owned());
            }
            Response::Data { outcome: Outcome { code: Some(ResponseCode::UidValidity(n)), .. }, .. } => {
                self.uidvalidity = Some(*n);
            }
            Response::Data { outcome: Outcome { code: Some(ResponseCode::UidNotSticky), .. }, .. } => {
                self.uid_not_sticky = true;
            }
            _ => {}
        }
    }
}

/// One connection.
pub(super) struct Wire {
    client: async_imap::Client<Guard<Stream>>,
    tags: u32,
    patience: Duration,
    /// `HOST:PORT`, with which every error begins.
    pub(super) place: String,
    pub(super) told: Told,
}

impl Wire {
    pub(super) fn new(stream: Stream, place: String, patience: Duration, max_literal: u64) -> Self {
        let client = async_imap::Client::new(Guard::new(stream, patience, max_literal));
        Self { client, tags: 0, patience, place, told: Told::default() }
    }

    /// Runs a command to its end; `on` sees every untagged response.
    pub(super) async fn run(
        &mut self,
        command: &str,
        mut on: impl FnMut(&Response<'_>),
    ) -> Result<Reply, MailboxError> {
        let tag = self.begin(command).await?;
        loop {
            match self.next(&tag, &mut on).await? {
                Next::Done(reply) => return Ok(reply),
                Next::Continue(_) => {
                    return Err(self.error("the server asks for more where there is nothing more to say"));
                }
                Next::Untagged => {}
            }
        }
    }

    /// Runs a command that has to succeed; `what` names it in the error.
    pub(super) async fn must(
        &mut self,
        what: &str,
        command: &str,
        on: impl FnMut(&Response<'_>),
    ) -> Result<(), MailboxError> {
        let reply = self.run(command, on).await?;
        if reply.ok { Ok(()) } else { Err(self.refused(what, &reply, Failure::Transient)) }
    }

    /// Sends a command; gives its tag.
    pub(super) async fn begin(&mut self, command: &str) -> Result<String, MailboxError> {
        self.tags += 1;
        let tag = format!("M{}", self.tags);
        self.send(format!("{tag} {command}").as_bytes()).await?;
        Ok(tag)
    }

    /// Sends a line.
    pub(super) async fn send(&mut self, line: &[u8]) -> Result<(), MailboxError> {
        let line = zeroize::Zeroizing::new([line, b"\r\n"].concat());
        let stream = self.client.get_mut();
        let sent = async {
            stream.write_all(&line).await?;
            stream.flush().await
        };
        sent.await.map_err(|err| self.lost(&err))
    }

    /// Reads one response while the command `tag` runs. Dropping this future loses nothing.
    pub(super) async fn next(&mut self, tag: &str, mut on: impl FnMut(&Response<'_>)) -> Result<Next, MailboxError> {
        // The parser panics on some hostile input (INTERNALDATE NIL): that ends this connection, not the mailbox.
        let read = AssertUnwindSafe(self.client.read_response()).catch_unwind().await;
        let response = match read {
            Ok(Ok(Some(response))) => response,
            Ok(Ok(None)) => return Err(self.closed()),
            Ok(Err(err)) => return Err(self.lost(&err)),
            Err(_) => return Err(self.error("the server sent something that the IMAP parser cannot take")),
        };
        match response.parsed() {
            Response::Done { tag: its, status, outcome } if its.0 == tag => Ok(Next::Done(Reply::of(status, outcome))),
            Response::Done { status: Status::Bad, outcome, .. } => {
                Err(self.refused("a command", &Reply::of(&Status::Bad, outcome), Failure::Transient))
            }
            Response::Continue(outcome) => {
                Ok(Next::Continue(outcome.information.as_deref().unwrap_or_default().to_owned()))
            }
            other => {
                self.told.note(other);
                on(other);
                if self.told.bye.is_some() { Err(self.closed()) } else { Ok(Next::Untagged) }
            }
        }
    }

    /// Reads the greeting; tells whether the connection is logged in already (PREAUTH).
    pub(super) async fn greeting(&mut self) -> Result<bool, MailboxError> {
        let mut greeted = None;
        self.next("", |response| {
            if let Response::Data { status, .. } = response {
                greeted = Some(*status == Status::PreAuth);
            }
        })
        .await?;
        greeted.ok_or_else(|| self.error("that is not an IMAP greeting; is the port right?"))
    }

    /// How long the next byte may take; `None`: for ever.
    pub(super) fn wait_for_ever(&mut self, for_ever: bool) {
        let patience = if for_ever { None } else { Some(self.patience) };
        self.client.get_mut().set_patience(patience);
    }

    pub(super) fn error(&self, what: &str) -> MailboxError {
        MailboxError::transient(format!("{}: {what}", self.place))
    }

    pub(super) fn refused(&self, what: &str, reply: &Reply, otherwise: Failure) -> MailboxError {
        let how = if reply.bad { "did not understand" } else { "refused" };
        let what = format!("{}: the server {how} {what}: {}", self.place, quote(&reply.text));
        MailboxError::new(reply.failure(otherwise), what)
    }

    fn closed(&self) -> MailboxError {
        let Some(said) = &self.told.bye else { return self.error("the server closed the connection") };
        let failure = classify(code(said).as_deref(), said).unwrap_or(Failure::Transient);
        MailboxError::new(failure, format!("{}: the server ended the session: {}", self.place, quote(said)))
    }

    fn lost(&self, err: &io::Error) -> MailboxError {
        match err.kind() {
            io::ErrorKind::TimedOut => {
                self.error(&format!("the server sent nothing for {} s", self.patience.as_secs_f32()))
            }
            io::ErrorKind::UnexpectedEof => self.error("the connection broke off in the middle of a response"),
            // A parse error: its text holds what the server sent, which may be mail.
            io::ErrorKind::Other => self.error("the server sent something that is not IMAP"),
            _ => self.error(&err.to_string()),
        }
    }
}

/// What `next` read.
#[derive(Debug)]
pub(super) enum Next {
    Done(Reply),
    /// The server asks for more, with these words.
    Continue(String),
    Untagged,
}
