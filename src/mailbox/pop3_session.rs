//! One POP3 session (RFC 1939): logged in, the maildrop locked, the listing fixed until QUIT.
//!
//! The client is our own. What async-pop 1.1.3 lacks would all have to be done below it, so that nothing is left for it to do:
//! it takes EOF for an empty read and spins, leaves dots stuffed, waits for ever on an empty mail, takes `+OK 2 messages` for
//! an entry, chokes on CAPA lines, logs in twice, and parses everything again with each read: a UIDL of 40,000 mails costs
//! 1.4 s of processor time at each poll, a mail of 2 MB 0.2 s. And it cannot pipeline: it needs a round trip for each mail.

use std::collections::HashMap;

use super::common::{HEADERS, headers_of};
use super::connect::{Dialer, Login};
use super::pop3_login::{Ways, log_in};
use super::pop3_wire::Wire;
use super::port::{Entry, Failure, MailboxError};
use crate::model::{Cursor, NewMessage};
use crate::net::TlsMode;

/// Most commands sent ahead of their replies (RFC 2449 §6.6): little enough to fit into any send buffer.
const AHEAD: usize = 100;
/// Most bytes of a listing: a million mails.
const LISTING: u64 = 100 * 1024 * 1024;
/// Longest UIDL, bytes; RFC 1939 §7 says 70.
const UIDL: usize = 1000;

/// A session with its maildrop.
pub(super) struct Session {
    wire: Wire,
    pipelining: bool,
    /// Message numbers by UIDL. Two mails may share one: some servers use content hashes.
    numbers: HashMap<String, Vec<u32>>,
}

/// What CAPA tells (RFC 2449).
#[derive(Default)]
struct Abilities {
    pipelining: bool,
    ways: Ways,
}

impl Session {
    /// Connects, logs in and lists.
    pub(super) async fn open(dialer: &Dialer) -> Result<(Self, Vec<Entry>), MailboxError> {
        let mut login = dialer.login().await?;
        loop {
            match Self::open_as(dialer, &login).await {
                Err(err) => login = dialer.login_after(login, err).await?,
                opened => return opened,
            }
        }
    }

    async fn open_as(dialer: &Dialer, login: &Login) -> Result<(Self, Vec<Entry>), MailboxError> {
        let s = &dialer.settings;
        let mut wire = Wire::new(dialer.connect().await?, dialer.place(), s.timeout);
        if s.tls != TlsMode::StartTls {
            // STLS took the greeting.
            let greeting = wire.status().await?;
            if !greeting.ok {
                return Err(wire.refused("us", &greeting, Failure::Transient));
            }
        }
        let can = abilities(&mut wire).await?;
        log_in(&mut wire, can.ways, &s.user, login).await?;
        let mut session = Self { wire, pipelining: can.pipelining, numbers: HashMap::new() };
        let entries = session.list().await?;
        Ok((session, entries))
    }

    async fn list(&mut self) -> Result<Vec<Entry>, MailboxError> {
        let uidl = self.wire.ask("UIDL").await?;
        if !uidl.ok {
            let mut err = self.wire.refused("UIDL", &uidl, Failure::Permanent);
            if err.failure == Failure::Permanent {
                err.what.push_str("; without UIDL a mail cannot be told from one seen before: use protocol = \"imap\"");
            }
            return Err(err);
        }
        let uidls = self.listing().await?;
        let list = self.wire.ask("LIST").await?;
        let sizes = if list.ok { self.listing().await? } else { Vec::new() };
        let sizes: HashMap<u32, u64> =
            numbered(&sizes).filter_map(|(number, rest)| Some((number, word(rest).parse().ok()?))).collect();
        let mut entries = Vec::new();
        for (number, rest) in numbered(&uidls) {
            let uidl = readable(rest);
            if uidl.is_empty() || uidl.len() > UIDL {
                return Err(MailboxError::permanent(format!(
                    "{}: the server gives no usable UIDL for mail {number}; use protocol = \"imap\"",
                    self.wire.place
                )));
            }
            let same = self.numbers.entry(uidl.clone()).or_default();
            same.push(number);
            if same.len() == 1 {
                entries.push(Entry { cursor: Cursor::Pop3 { uidl }, size: sizes.get(&number).copied() });
            }
        }
        Ok(entries)
    }

    async fn listing(&mut self) -> Result<Vec<u8>, MailboxError> {
        let body = self.wire.body(LISTING).await?;
        if body.total > LISTING {
            return Err(self.wire.error("the listing is too long; delete mails from the mailbox"));
        }
        Ok(body.bytes)
    }

    /// See [`super::Mailbox::fetch`].
    pub(super) async fn fetch(
        &mut self,
        wanted: &[Entry],
        max_size: u64,
        max_bytes: u64,
    ) -> Result<Vec<NewMessage>, MailboxError> {
        let plan = self.plan(wanted, max_size, max_bytes);
        let mut mails: Vec<NewMessage> = Vec::new();
        let mut bytes = 0;
        let mut refusal = None;
        for some in plan.chunks(self.window()) {
            let commands: Vec<&str> = some.iter().map(|(_, command)| command.as_str()).collect();
            self.wire.send(&commands.join("\r\n")).await?;
            for (entry, command) in some {
                let reply = self.wire.status().await?;
                let headers_only = command.starts_with("TOP");
                // Sizes were lies, and too much comes: the rest is read and dropped, and comes with the next call.
                if reply.ok && bytes >= max_bytes && !mails.is_empty() {
                    self.wire.body(0).await?;
                    continue;
                }
                let mail = match (reply.ok, headers_only) {
                    (true, true) => message(entry, self.wire.body(HEADERS).await?.bytes, 0, max_size),
                    (true, false) => {
                        let body = self.wire.body(max_size.saturating_add(1)).await?;
                        message(entry, body.bytes, body.total, max_size)
                    }
                    // A server without TOP: that it is too large is known all the same.
                    (false, true) => message(entry, Vec::new(), 0, max_size),
                    // Gone meanwhile, or unreadable to the server.
                    (false, false) => {
                        refusal = Some(reply);
                        continue;
                    }
                };
                bytes = bytes.saturating_add(mail.raw.len() as u64);
                mails.push(mail);
            }
        }
        // One mail that the server cannot read must not hide the others.
        match refusal {
            Some(reply) if mails.is_empty() && reply.code.is_some() => {
                Err(self.wire.refused("to give the mails", &reply, Failure::Transient))
            }
            _ => Ok(mails),
        }
    }

    /// The command for each mail that is still there, up to the budget.
    fn plan<'a>(&self, wanted: &'a [Entry], max_size: u64, max_bytes: u64) -> Vec<(&'a Entry, String)> {
        let mut plan = Vec::new();
        let mut bytes = 0u64;
        for entry in wanted {
            let Cursor::Pop3 { uidl } = &entry.cursor else { continue };
            let Some(number) = self.numbers.get(uidl).and_then(|numbers| numbers.first()) else { continue };
            let oversize = entry.size.filter(|size| *size > max_size);
            bytes = bytes.saturating_add(oversize.map_or(entry.size.unwrap_or(max_size), |size| size.min(HEADERS)));
            if bytes > max_bytes && !plan.is_empty() {
                break;
            }
            let command = if oversize.is_some() { format!("TOP {number} 0") } else { format!("RETR {number}") };
            plan.push((entry, command));
        }
        plan
    }

    /// Deletes these and ends the session: only QUIT makes it true (RFC 1939 §6). What is not in the maildrop is gone already.
    pub(super) async fn delete(mut self, stored: &[Cursor]) -> Result<Vec<Cursor>, MailboxError> {
        let mut done = stored.to_vec();
        let mut marks: Vec<(usize, u32)> = Vec::new();
        for (at, cursor) in stored.iter().enumerate() {
            let Cursor::Pop3 { uidl } = cursor else { continue };
            // Taken out, so that a cursor that is named twice is deleted once.
            marks.extend(self.numbers.remove(uidl).into_iter().flatten().map(|number| (at, number)));
        }
        let mut refused = Vec::new();
        for some in marks.chunks(self.window()) {
            let commands: Vec<String> = some.iter().map(|(_, number)| format!("DELE {number}")).collect();
            self.wire.send(&commands.join("\r\n")).await?;
            for (at, _) in some {
                if !self.wire.status().await?.ok {
                    refused.extend(stored.get(*at).cloned());
                }
            }
        }
        let farewell = self.wire.ask("QUIT").await?;
        if !farewell.ok {
            return Err(self.wire.refused("to delete the mails", &farewell, Failure::Transient));
        }
        done.retain(|cursor| !refused.contains(cursor));
        Ok(done)
    }

    /// Ends the session; nothing depends on it.
    pub(super) async fn quit(mut self) {
        // The server's answer, an error or none: it is over.
        let _ = self.wire.ask("QUIT").await;
    }

    fn window(&self) -> usize {
        if self.pipelining { AHEAD } else { 1 }
    }
}

/// CAPA (RFC 2449 §5); old servers have none.
async fn abilities(wire: &mut Wire) -> Result<Abilities, MailboxError> {
    let mut can = Abilities::default();
    if !wire.ask("CAPA").await?.ok {
        return Ok(can);
    }
    let body = wire.body(HEADERS).await?;
    for line in String::from_utf8_lossy(&body.bytes).to_ascii_uppercase().lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("PIPELINING") => can.pipelining = true,
            Some("SASL") => can.ways = Ways::of(words),
            _ => {}
        }
    }
    Ok(can)
}

/// The lines `NUMBER REST` of a listing; others are passed over.
fn numbered(listing: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    listing.split(|&b| b == b'\n').filter_map(|line| {
        let line = line.trim_ascii();
        let at = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
        let number = std::str::from_utf8(line.get(..at)?).ok()?.parse().ok()?;
        Some((number, line.get(at..)?.trim_ascii()))
    })
}

fn word(rest: &[u8]) -> &str {
    std::str::from_utf8(rest).unwrap_or_default().split_ascii_whitespace().next().unwrap_or_default()
}

/// A UIDL as text. RFC 1939 allows printable ASCII; whatever else comes is kept byte by byte, so that no two become the same.
fn readable(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| char::from(b)).collect()
}

fn message(entry: &Entry, mut raw: Vec<u8>, total: u64, max_size: u64) -> NewMessage {
    let largest = entry.size.unwrap_or(0).max(total);
    let oversize = (largest > max_size).then_some(largest);
    if oversize.is_some() {
        raw.truncate(headers_of(&raw).len());
    }
    NewMessage { cursor: entry.cursor.clone(), raw, internal_date: None, oversize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_with_odd_lines() {
        let lines: Vec<(u32, String)> =
            numbered(b"1 abc\r\n 2  a b \xe9\r\n\r\nx y\r\n3\r\n4 !\"#~\r\n").map(|(n, r)| (n, readable(r))).collect();
        let want = [(1, "abc"), (2, "a b é"), (3, ""), (4, "!\"#~")];
        assert_eq!(lines, want.map(|(n, r)| (n, r.to_owned())));
        assert_eq!(word(b"120 more info"), "120");
    }
}
