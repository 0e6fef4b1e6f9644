//! Listing, fetching and clearing in an IMAP session: always ranges, never mail by mail.

use std::collections::HashMap;

use async_imap::imap_proto::{AttributeValue, MessageSection, Response, SectionPath};
use jiff::Timestamp;

use super::After;
use super::common::{HEADERS, headers_of};
use super::imap_session::Session;
use super::imap_wire::Reply;
use super::imap_words::{folder, uid_sets};
use super::port::{Clearing, Entry, Failure, Generation, Listing, MailboxError, Mark};
use crate::model::{Cursor, NewMessage};

/// Most mails in one FETCH.
const RANGE: usize = 1000;
/// Most mails in one listing; those beyond come with a later one.
const LISTING: usize = 1_000_000;
/// What it means when mails are gone that were there a moment ago.
const OTHERS: &str =
    "another program removes mails from this mailbox: is it a second mailbell? Each mailbox needs one of its own";

impl Session {
    /// The mails after `mark`, oldest first, after [`Self::catch_up`]. One FETCH, whose replies are short lines: a SEARCH reply would be one long one.
    pub(super) async fn list(&mut self, mark: Option<Mark>) -> Result<Listing, MailboxError> {
        self.wire.told.news = false;
        self.listed = true;
        let after = mark.filter(|mark| mark.uidvalidity == self.uidvalidity).map_or(0, |mark| mark.uid);
        let generation = Generation::UidValidity(self.uidvalidity);
        let mut listing = Listing { generation, entries: Vec::new(), complete: after == 0 };
        let Some(from) = after.checked_add(1).filter(|_| self.wire.told.exists > 0) else { return Ok(listing) };
        let uidvalidity = self.uidvalidity;
        let mut found: Vec<(u32, Option<u64>)> = Vec::new();
        let command = format!("UID FETCH {from}:* (UID RFC822.SIZE)");
        self.wire
            .must("the listing", &command, |response| {
                // `n:*` names the last mail even where its UID is below n (RFC 3501 §6.4.8).
                if let Some(Fetched { uid: Some(uid), size, .. }) = fetched(response)
                    && uid >= from
                    && found.len() <= LISTING
                {
                    found.push((uid, size));
                }
            })
            .await?;
        found.sort_unstable();
        found.dedup_by_key(|(uid, _)| *uid);
        listing.complete &= found.len() <= LISTING;
        found.truncate(LISTING);
        let entry = |(uid, size)| Entry { cursor: Cursor::Imap { uidvalidity, uid }, size };
        listing.entries = found.into_iter().map(entry).collect();
        Ok(listing)
    }

    /// See [`super::Mailbox::fetch`].
    pub(super) async fn fetch(
        &mut self,
        wanted: &[Entry],
        max_size: u64,
        max_bytes: u64,
    ) -> Result<Vec<NewMessage>, MailboxError> {
        let plan = self.plan(wanted, max_size, max_bytes)?;
        let mut got = HashMap::new();
        // One byte more than allowed tells whether the size was a lie.
        let whole = format!("BODY.PEEK[]<0.{}>", max_size.saturating_add(1).min(u64::from(u32::MAX)));
        self.fetch_part(&plan.whole, &whole, max_bytes, max_size, &mut got).await?;
        let headers = format!("BODY.PEEK[HEADER]<0.{HEADERS}>");
        self.fetch_part(&plan.headers, &headers, max_bytes, max_size, &mut got).await?;
        let in_order = wanted.iter().filter_map(|entry| match entry.cursor {
            Cursor::Imap { uid, .. } => got.remove(&uid),
            Cursor::Pop3 { .. } | Cursor::Lmtp { .. } => None,
        });
        Ok(in_order.collect())
    }

    fn plan(&self, wanted: &[Entry], max_size: u64, max_bytes: u64) -> Result<Plan, MailboxError> {
        let mut plan = Plan::default();
        let mut bytes = 0u64;
        for entry in wanted.iter().take(RANGE) {
            let Cursor::Imap { uidvalidity, uid } = entry.cursor else { continue };
            if uidvalidity != self.uidvalidity {
                return Err(self.wire.error("the folder's UIDVALIDITY changed since the listing"));
            }
            let oversize = entry.size.filter(|size| *size > max_size);
            let cost = oversize.map_or(entry.size.unwrap_or(max_size), |size| size.min(HEADERS));
            bytes = bytes.saturating_add(cost);
            if bytes > max_bytes && !plan.is_empty() {
                break;
            }
            if oversize.is_some() { plan.headers.push(uid) } else { plan.whole.push(uid) }
        }
        Ok(plan)
    }

    async fn fetch_part(
        &mut self,
        uids: &[u32],
        part: &str,
        max_bytes: u64,
        max_size: u64,
        got: &mut HashMap<u32, NewMessage>,
    ) -> Result<(), MailboxError> {
        let mut refusal = None;
        for (set, members) in uid_sets(uids) {
            let reply = self.fetch_set(&set, &members, part, max_bytes, max_size, got).await?;
            refusal = refusal.or((!reply.ok).then_some(reply));
        }
        let Some(refusal) = refusal else { return Ok(()) };
        if !got.is_empty() {
            return Ok(());
        }
        // One mail that the server cannot read must not hide the others.
        if uids.len() > 1 {
            for uid in uids {
                self.fetch_set(&uid.to_string(), &[*uid], part, max_bytes, max_size, got).await?;
            }
        }
        if got.is_empty() { Err(self.wire.refused("to give the mails", &refusal, Failure::Transient)) } else { Ok(()) }
    }

    /// One FETCH. Where sizes were lies and too much comes, the rest is read and dropped: it comes with the next call.
    async fn fetch_set(
        &mut self,
        set: &str,
        members: &[u32],
        part: &str,
        max_bytes: u64,
        max_size: u64,
        got: &mut HashMap<u32, NewMessage>,
    ) -> Result<Reply, MailboxError> {
        let uidvalidity = self.uidvalidity;
        let mut bytes: u64 = got.values().map(|mail| mail.raw.len() as u64).sum();
        let command = format!("UID FETCH {set} (UID RFC822.SIZE INTERNALDATE {part})");
        self.wire
            .run(&command, |response| {
                let Some(Fetched { uid: Some(uid), size, date, body: Some(body) }) = fetched(response) else { return };
                let gone = body.is_empty() && size != Some(0);
                if gone || members.binary_search(&uid).is_err() || (bytes >= max_bytes && !got.is_empty()) {
                    return;
                }
                let cursor = Cursor::Imap { uidvalidity, uid };
                let mail = message(cursor, body, size, date, max_size);
                bytes = bytes.saturating_add(mail.raw.len() as u64);
                got.insert(uid, mail);
            })
            .await
    }

    /// See [`super::Mailbox::clear`].
    pub(super) async fn clear(&mut self, stored: &[Cursor], how: &After) -> Result<Clearing, MailboxError> {
        // UIDs of another generation name nothing any more.
        let mut clearing = Clearing { done: stored.to_vec(), warning: None };
        let uids: Vec<u32> = stored
            .iter()
            .filter_map(|cursor| match cursor {
                Cursor::Imap { uidvalidity, uid } if *uidvalidity == self.uidvalidity => Some(*uid),
                _ => None,
            })
            .collect();
        for (set, members) in uid_sets(&uids) {
            let count = members.len();
            let warning = match how {
                After::Keep => None,
                After::Seen => self.flag(&set, "\\Seen").await.map(|()| None)?,
                After::Move(target) if self.can.moves => self.transfer("MOVE", &set, target).await.map(|()| None)?,
                After::Move(target) => {
                    self.transfer("COPY", &set, target).await?;
                    self.delete(&set, count).await?
                }
                After::Delete => self.delete(&set, count).await?,
            };
            clearing.warning = clearing.warning.or(warning);
        }
        Ok(clearing)
    }

    async fn flag(&mut self, set: &str, flag: &str) -> Result<(), MailboxError> {
        self.wire.must(&format!("to set {flag}"), &format!("UID STORE {set} +FLAGS.SILENT ({flag})"), |_| ()).await
    }

    /// Deletes exactly these, so many. A plain EXPUNGE would also delete what others flagged.
    async fn delete(&mut self, set: &str, count: usize) -> Result<Option<String>, MailboxError> {
        self.flag(set, "\\Deleted").await?;
        if !self.can.uidplus {
            return Ok(Some(
                "the server has no UIDPLUS: mails are flagged \\Deleted and left for the server to expunge".into(),
            ));
        }
        let mut deleted = 0;
        let count_deleted = |response: &Response<'_>| deleted += usize::from(matches!(response, Response::Expunge(_)));
        self.wire.must("to delete mails", &format!("UID EXPUNGE {set}"), count_deleted).await?;
        Ok((deleted < count).then(|| {
            format!(
                "of {count} mails {} were gone before they could be deleted: an earlier clearing was cut short, or {OTHERS}",
                count - deleted
            )
        }))
    }

    /// MOVE or COPY, creating the folder where it is missing.
    async fn transfer(&mut self, verb: &str, set: &str, target: &str) -> Result<(), MailboxError> {
        let command = format!("UID {verb} {set} {}", folder(target));
        let mut reply = self.wire.run(&command, |_| ()).await?;
        let says = |reply: &Reply, code: &str| reply.code.as_deref() == Some(code);
        let permanent = !reply.ok && matches!(reply.failure(Failure::Permanent), Failure::Permanent);
        let missing = permanent && !says(&reply, "OVERQUOTA");
        if missing && !self.ensured.iter().any(|name| name == target) {
            self.ensured.push(target.to_owned());
            let created = self.wire.run(&format!("CREATE {}", folder(target)), |_| ()).await?;
            if created.ok {
                // Whether people see the folder is comfort.
                self.wire.run(&format!("SUBSCRIBE {}", folder(target)), |_| ()).await?;
                reply = self.wire.run(&command, |_| ()).await?;
            } else if !says(&created, "ALREADYEXISTS") {
                // What is there already is not what is wrong: then the first refusal tells.
                let mut err =
                    self.wire.refused(&format!("to create the folder {target:?}"), &created, Failure::Permanent);
                err.what.push_str("; create it, or name one as the server wants it (perhaps with INBOX. in front)");
                return Err(err);
            }
        }
        if reply.ok {
            return Ok(());
        }
        let mut err = self.wire.refused(&format!("to move mails to {target:?}"), &reply, Failure::Permanent);
        if says(&reply, "EXPUNGEISSUED") {
            err.what.push_str(&format!("; {OTHERS}"));
        }
        Err(err)
    }
}

/// Which mails come how.
#[derive(Default)]
struct Plan {
    whole: Vec<u32>,
    headers: Vec<u32>,
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.headers.is_empty()
    }
}

/// What a FETCH response tells.
#[derive(Default)]
struct Fetched<'a> {
    uid: Option<u32>,
    size: Option<u64>,
    date: Option<&'a str>,
    body: Option<&'a [u8]>,
}

fn fetched<'a>(response: &'a Response<'_>) -> Option<Fetched<'a>> {
    let Response::Fetch(_, attributes) = response else { return None };
    let mut out = Fetched::default();
    for attribute in attributes {
        match attribute {
            AttributeValue::Uid(uid) => out.uid = Some(*uid),
            AttributeValue::Rfc822Size(size) => out.size = Some(u64::from(*size)),
            AttributeValue::InternalDate(date) => out.date = Some(date),
            AttributeValue::BodySection {
                section: None | Some(SectionPath::Full(MessageSection::Header)),
                data: Some(data),
                ..
            } => out.body = Some(data),
            _ => {}
        }
    }
    Some(out)
}

fn message(cursor: Cursor, body: &[u8], size: Option<u64>, date: Option<&str>, max_size: u64) -> NewMessage {
    let largest = size.unwrap_or(0).max(body.len() as u64);
    let oversize = (largest > max_size).then_some(largest);
    let raw = if oversize.is_some() { headers_of(body) } else { body };
    NewMessage { cursor, raw: raw.to_vec(), internal_date: date.and_then(internal_date), oversize }
}

/// `" 7-Feb-1994 22:43:04 -0800"` (RFC 3501 §9, date-time).
fn internal_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::strtime::parse("%d-%b-%Y %H:%M:%S %z", text.trim()).ok()?.to_timestamp().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_dates() {
        let date = |text| internal_date(text).map(|t| t.to_string());
        assert_eq!(date(" 7-Feb-1994 22:43:04 -0800").as_deref(), Some("1994-02-08T06:43:04Z"));
        assert_eq!(date("17-Jul-2026 02:44:25 +0200").as_deref(), Some("2026-07-17T00:44:25Z"));
        assert_eq!(date("yesterday"), None);
    }

    #[test]
    fn a_mail_larger_than_it_said_keeps_its_headers_only() {
        let cursor = Cursor::Imap { uidvalidity: 1, uid: 2 };
        let mail = message(cursor.clone(), b"A: b\r\n\r\nbody", Some(3), None, 10);
        assert_eq!((mail.raw.as_slice(), mail.oversize), (&b"A: b\r\n\r\n"[..], Some(12)));
        let mail = message(cursor, b"A: b\r\n\r\nbody", Some(12), None, 12);
        assert_eq!((mail.raw.len(), mail.oversize), (12, None));
    }
}
