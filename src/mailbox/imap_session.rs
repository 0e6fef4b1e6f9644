//! One IMAP session: logged in, with the folder selected.

use std::time::Duration;

use async_imap::imap_proto::{Capability, Response};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::common::{HEADERS, sleep};
use super::connect::{Dialer, Login};
use super::imap_login::{Ways, log_in};
use super::imap_wire::{Next, Reply, Wire};
use super::imap_words::folder;
use super::is_near;
use super::port::{Failure, MailboxError, Woke};
use crate::net::TlsMode;

/// What the server can do.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Abilities {
    pub(super) idle: bool,
    pub(super) moves: bool,
    pub(super) uidplus: bool,
}

impl Abilities {
    fn note(&mut self, response: &Response<'_>) {
        let Response::Capabilities(all) = response else { return };
        for capability in all {
            let Capability::Atom(name) = capability else { continue };
            match name.to_ascii_uppercase().as_str() {
                "IDLE" => self.idle = true,
                "MOVE" => self.moves = true,
                "UIDPLUS" => self.uidplus = true,
                _ => {}
            }
        }
    }
}

/// A session with the folder selected.
pub(super) struct Session {
    pub(super) wire: Wire,
    pub(super) can: Abilities,
    pub(super) uidvalidity: u32,
    /// Is the server in a private network?
    pub(super) near: bool,
    /// Was there a listing in this session? Only then does its `news` tell what came since.
    pub(super) listed: bool,
    /// The server told of news and answered just now: there is no need to ask it.
    caught_up: bool,
    /// When the last NOOP was sent, and how long its reply took.
    asked: (Instant, Duration),
    /// Folders that this session made sure of.
    pub(super) ensured: Vec<String>,
}

impl Session {
    /// Connects, logs in and selects.
    pub(super) async fn open(dialer: &Dialer) -> Result<Self, MailboxError> {
        let mut login = dialer.login().await?;
        loop {
            match Self::open_as(dialer, &login).await {
                Err(err) => login = dialer.login_after(login, err).await?,
                opened => return opened,
            }
        }
    }

    async fn open_as(dialer: &Dialer, login: &Login) -> Result<Self, MailboxError> {
        let s = &dialer.settings;
        let stream = dialer.connect().await?;
        let near = stream.peer().is_some_and(is_near);
        let max_literal = s.max_size.saturating_add(HEADERS);
        let mut wire = Wire::new(stream, dialer.place(), s.timeout, max_literal);
        // STARTTLS took the greeting, and refused PREAUTH.
        let logged_in = s.tls != TlsMode::StartTls && wire.greeting().await?;
        if !logged_in {
            let mut ways = Ways::default();
            wire.must("CAPABILITY", "CAPABILITY", |response| ways.note(response)).await?;
            log_in(&mut wire, ways, &s.user, login).await?;
        }
        let mut can = Abilities::default();
        wire.must("CAPABILITY", "CAPABILITY", |response| can.note(response)).await?;
        let uidvalidity = select(&mut wire, &s.folder).await?;
        let asked = (Instant::now(), Duration::ZERO);
        Ok(Self { wire, can, uidvalidity, near, listed: false, caught_up: false, asked, ensured: Vec::new() })
    }

    /// Learns what came, unless IDLE ended with it just now; fails where the server let the session's UIDVALIDITY change
    /// under it.
    pub(super) async fn catch_up(&mut self) -> Result<(), MailboxError> {
        if !std::mem::take(&mut self.caught_up) {
            let start = Instant::now();
            self.wire.must("NOOP", "NOOP", |_| ()).await?;
            self.asked = (start, start.elapsed());
        }
        match self.wire.told.uidvalidity {
            Some(now) if now != self.uidvalidity => Err(self.wire.error("the folder's UIDVALIDITY changed")),
            _ => Ok(()),
        }
    }

    /// Waits with IDLE (RFC 2177), issued again every `idle_for`. Its beginning and its end are bounded: a server that goes on
    /// talking there would meet no time-out, and the next poll would never come.
    pub(super) async fn idle(
        &mut self,
        dialer: &Dialer,
        until: Option<Instant>,
        poke: &Notify,
    ) -> Result<Woke, MailboxError> {
        loop {
            if !self.listed || self.wire.told.news {
                return Ok(Woke::Server);
            }
            let tag = self.wire.begin("IDLE").await?;
            if let Some(refusal) = dialer.bounded(0, self.idling(&tag)).await? {
                if refusal.failure(Failure::Permanent) != Failure::Permanent {
                    return Err(self.wire.refused("IDLE", &refusal, Failure::Transient));
                }
                self.can.idle = false;
                return self.without_idle(until, poke).await;
            }
            let round = Instant::now() + dialer.settings.idle_for;
            let woke = self.idle_once(&tag, until.map_or(round, |end| end.min(round)), poke).await?;
            dialer.bounded(0, self.done(&tag)).await?;
            match woke {
                Woke::Time if until.is_none_or(|end| Instant::now() < end) => {}
                woke => {
                    self.caught_up = woke == Woke::Server;
                    return Ok(woke);
                }
            }
        }
    }

    /// Waits with a NOOP (RFC 3501 §6.1.2) each `every`. One that is slow to answer gets as much time to rest.
    pub(super) async fn noops(
        &mut self,
        dialer: &Dialer,
        every: Duration,
        until: Option<Instant>,
        poke: &Notify,
    ) -> Result<Woke, MailboxError> {
        while self.listed && !self.wire.told.news {
            let (asked, took) = self.asked;
            let next = asked + every.max(took.saturating_mul(2));
            if let Some(end) = until.filter(|end| *end < next) {
                // The look that follows asks by itself.
                return Ok(sleep(Some(end), poke).await);
            }
            if sleep(Some(next), poke).await == Woke::Poked {
                return Ok(Woke::Poked);
            }
            dialer.bounded(0, self.catch_up()).await?;
            self.caught_up = self.wire.told.news;
        }
        Ok(Woke::Server)
    }

    /// Waits for the next poll. Where there is none either, nobody would ever notice a mail.
    pub(super) async fn without_idle(&self, until: Option<Instant>, poke: &Notify) -> Result<Woke, MailboxError> {
        if until.is_none() {
            return Err(MailboxError::permanent(format!(
                "{}: the server has no IDLE, and with poll = \"never\" nothing else tells of new mail; set poll",
                self.wire.place
            )));
        }
        Ok(sleep(until, poke).await)
    }

    /// Waits for the server's consent; gives its refusal.
    async fn idling(&mut self, tag: &str) -> Result<Option<Reply>, MailboxError> {
        loop {
            match self.wire.next(tag, |_| ()).await? {
                Next::Continue(_) => return Ok(None),
                Next::Done(reply) => return Ok(Some(reply)),
                Next::Untagged => {}
            }
        }
    }

    async fn done(&mut self, tag: &str) -> Result<(), MailboxError> {
        self.wire.send(b"DONE").await?;
        while !matches!(self.wire.next(tag, |_| ()).await?, Next::Done(_)) {}
        Ok(())
    }

    async fn idle_once(&mut self, tag: &str, until: Instant, poke: &Notify) -> Result<Woke, MailboxError> {
        self.wire.wait_for_ever(true);
        let woke = loop {
            if self.wire.told.news {
                break Woke::Server;
            }
            tokio::select! {
                // What the server said comes first: a lost connection must not look like a quiet one.
                biased;
                next = self.wire.next(tag, |_| ()) => if let Next::Done(_) = next? {
                    return Err(self.wire.error("the server ended IDLE by itself"));
                },
                () = poke.notified() => break Woke::Poked,
                () = sleep_until(until) => break Woke::Time,
            }
        };
        self.wire.wait_for_ever(false);
        Ok(woke)
    }
}

async fn select(wire: &mut Wire, name: &str) -> Result<u32, MailboxError> {
    let reply = wire.run(&format!("SELECT {}", folder(name)), |_| ()).await?;
    if !reply.ok {
        let mut err = wire.refused(&format!("the folder {name:?}"), &reply, Failure::Permanent);
        if err.failure == Failure::Permanent {
            err.what.push_str("; create it, or correct `folder`");
        }
        return Err(err);
    }
    match wire.told.uidvalidity {
        Some(uidvalidity) if !wire.told.uid_not_sticky => Ok(uidvalidity),
        _ => Err(MailboxError::permanent(format!(
            "{}: the server keeps no lasting UIDs in {name:?}, so a mail could not be told from one seen before; \
             use another folder or server",
            wire.place
        ))),
    }
}
