//! One IMAP session: logged in, with the folder selected.

use async_imap::imap_proto::{Capability, Response};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

use super::common::{HEADERS, base64, sleep};
use super::connect::Dialer;
use super::failure::quote_login;
use super::imap_wire::{Next, Reply, Wire};
use super::imap_words::{folder, quoted};
use super::port::{Failure, MailboxError, Woke};
use super::{Settings, Watch};
use crate::net::TlsMode;

/// What the server can do.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Abilities {
    pub(super) idle: bool,
    pub(super) moves: bool,
    pub(super) uidplus: bool,
    auth_plain: bool,
    sasl_ir: bool,
    login_disabled: bool,
}

impl Abilities {
    fn note(&mut self, response: &Response<'_>) {
        let Response::Capabilities(all) = response else { return };
        for capability in all {
            match capability {
                Capability::Auth(name) => self.auth_plain |= name.eq_ignore_ascii_case("PLAIN"),
                Capability::Atom(name) => match name.to_ascii_uppercase().as_str() {
                    "IDLE" => self.idle = true,
                    "MOVE" => self.moves = true,
                    "UIDPLUS" => self.uidplus = true,
                    "SASL-IR" => self.sasl_ir = true,
                    "LOGINDISABLED" => self.login_disabled = true,
                    _ => {}
                },
                Capability::Imap4rev1 => {}
            }
        }
    }
}

/// A session with the folder selected.
pub(super) struct Session {
    pub(super) wire: Wire,
    pub(super) can: Abilities,
    pub(super) uidvalidity: u32,
    /// Was there a listing in this session? Only then does its `news` tell what came since.
    pub(super) listed: bool,
    /// The server told of news and answered just now: there is no need to ask it.
    caught_up: bool,
    /// Folders that this session made sure of.
    pub(super) ensured: Vec<String>,
}

impl Session {
    pub(super) async fn open(dialer: &Dialer) -> Result<Self, MailboxError> {
        let s = &dialer.settings;
        let stream = dialer.connect().await?;
        let max_literal = s.max_size.saturating_add(HEADERS);
        let mut wire = Wire::new(stream, dialer.place(), s.timeout, max_literal);
        // STARTTLS took the greeting, and refused PREAUTH.
        let logged_in = s.tls != TlsMode::StartTls && wire.greeting().await?;
        if !logged_in {
            let before = abilities(&mut wire).await?;
            log_in(&mut wire, before, s).await?;
        }
        let can = abilities(&mut wire).await?;
        let uidvalidity = select(&mut wire, &s.folder).await?;
        Ok(Self { wire, can, uidvalidity, listed: false, caught_up: false, ensured: Vec::new() })
    }

    /// Learns what came, unless IDLE ended with it just now; fails where the server let the session's UIDVALIDITY change
    /// under it.
    pub(super) async fn catch_up(&mut self) -> Result<(), MailboxError> {
        if !std::mem::take(&mut self.caught_up) {
            self.wire.must("NOOP", "NOOP", |_| ()).await?;
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
                Next::Continue => return Ok(None),
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

    pub(super) fn can_idle(&self, settings: &Settings) -> bool {
        settings.watch == Watch::Idle && self.can.idle
    }
}

async fn abilities(wire: &mut Wire) -> Result<Abilities, MailboxError> {
    let mut can = Abilities::default();
    wire.must("CAPABILITY", "CAPABILITY", |response| can.note(response)).await?;
    Ok(can)
}

/// AUTHENTICATE PLAIN where offered, which takes any password; else LOGIN (RFC 3501 §6.2.2, §6.2.3). One attempt.
async fn log_in(wire: &mut Wire, can: Abilities, s: &Settings) -> Result<(), MailboxError> {
    let password = s.password.expose();
    let token = Zeroizing::new(base64(Zeroizing::new(format!("\0{}\0{password}", s.user)).as_bytes()));
    let (command, words) = if can.auth_plain && can.sasl_ir {
        (Zeroizing::new(format!("AUTHENTICATE PLAIN {}", *token)), vec![])
    } else if can.auth_plain {
        (Zeroizing::new("AUTHENTICATE PLAIN".to_owned()), vec![token.to_string()])
    } else if can.login_disabled {
        let what = format!("{}: the server allows no login by password on this connection; use TLS", wire.place);
        return Err(MailboxError::permanent(what));
    } else {
        login_command(&s.user, password)
    };
    let words: Vec<Zeroizing<String>> = words.into_iter().map(Zeroizing::new).collect();
    let tag = wire.begin(&command).await?;
    let mut words = words.iter();
    let reply = loop {
        match wire.next(&tag, |_| ()).await? {
            Next::Done(reply) => break reply,
            Next::Untagged => {}
            Next::Continue => match words.next() {
                Some(word) => wire.send(word.as_bytes()).await?,
                None => return Err(wire.error("the server asks for more than the password")),
            },
        }
    };
    if reply.ok {
        return Ok(());
    }
    let failure = reply.failure(if reply.bad { Failure::Transient } else { Failure::Auth });
    let said = quote_login(&reply.text, &[password, &token]);
    let advice = if failure == Failure::Auth { "; check user and password" } else { "" };
    Err(MailboxError::new(failure, format!("{}: login as {:?} refused: {said}{advice}", wire.place, s.user)))
}

/// LOGIN with quoted strings, or literals where those cannot carry it: the command up to the first literal, and what follows
/// each `+`.
fn login_command(user: &str, password: &str) -> (Zeroizing<String>, Vec<String>) {
    let mut lines = vec![Zeroizing::new("LOGIN".to_owned())];
    for word in [user, password] {
        let (end, next) = match quoted(word) {
            Some(word) => (format!(" {word}"), None),
            None => (format!(" {{{}}}", word.len()), Some(word.to_owned())),
        };
        if let Some(line) = lines.last_mut() {
            line.push_str(&end);
        }
        lines.extend(next.map(Zeroizing::new));
    }
    let rest = lines.split_off(1).iter().map(|line| line.to_string()).collect();
    (lines.pop().unwrap_or_default(), rest)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_uses_literals_only_where_it_must() {
        let (command, rest) = login_command("alerts", "pa\"ss\\");
        assert_eq!((command.as_str(), rest.len()), (r#"LOGIN "alerts" "pa\"ss\\""#, 0));
        let (command, rest) = login_command("älex", "plain");
        assert_eq!((command.as_str(), rest), ("LOGIN {5}", vec!["älex \"plain\"".to_owned()]));
        let (command, rest) = login_command("a", "ß");
        assert_eq!((command.as_str(), rest), ("LOGIN \"a\" {2}", vec!["ß".to_owned()]));
        let (command, rest) = login_command("ä", "ß");
        assert_eq!((command.as_str(), rest), ("LOGIN {2}", vec!["ä {2}".to_owned(), "ß".to_owned()]));
    }
}
