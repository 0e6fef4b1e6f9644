//! What becomes of one stored mail. Pure but for the panic guard: time is an argument.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::{RequireAuth, Settings};
use crate::model::{Cursor, MailDigest, MessageState, Size, Source};
use crate::parse::{self, Header, How, Limits, Mappings, Outcome, Plain};
use crate::queue::{D2Message, StoredMessage, Verdict};
use crate::route::Pattern;

/// A mailbox's rules for its mails.
#[derive(Debug, Clone)]
pub struct Rules {
    senders: Vec<Pattern>,
    require_auth: Option<RequireAuth>,
    plain: Plain,
    by_rule: parse::Rules,
    may_choose_group: bool,
    max_age: SignedDuration,
    max_size: u64,
}

impl Rules {
    /// From the settings; patterns were checked with the config, and one that is none matches nobody.
    pub fn new(settings: &Settings, max_size: u64) -> Self {
        Self {
            senders: settings.senders.iter().filter_map(|p| Pattern::parse_caseless(p).ok()).collect(),
            require_auth: settings.require_auth.clone(),
            plain: settings.plain,
            by_rule: settings.rules.clone(),
            may_choose_group: settings.sender_may_choose_group,
            max_age: SignedDuration::try_from(settings.max_age).unwrap_or(SignedDuration::MAX),
            max_size,
        }
    }

    /// For mails of a mailbox that config does not have any more: nothing is trusted, nothing is lost.
    pub fn strict() -> Self {
        Self {
            senders: Vec::new(),
            require_auth: None,
            plain: Plain::Quarantine,
            by_rule: parse::Rules::default(),
            may_choose_group: false,
            max_age: SignedDuration::from_hours(24),
            max_size: u64::MAX,
        }
    }

    /// Why the sender is not believed, or not allowed; `None`: allowed.
    pub fn refuses(&self, raw: &[u8], header: &Header) -> Option<String> {
        if self.senders.is_empty() && self.require_auth.is_none() {
            return None;
        }
        let from = match (header.from_headers, header.from.as_slice()) {
            (1, [from]) => from,
            (1, from) => return Some(format!("its From header has {} addresses; exactly one is believed", from.len())),
            (n, _) => return Some(format!("it has {n} From headers; exactly one is believed")),
        };
        if !self.senders.is_empty() && !self.senders.iter().any(|p| p.matches(from)) {
            return Some(format!("sender {from} is not among the allowed senders"));
        }
        let RequireAuth { authserv_id } = self.require_auth.as_ref()?;
        parse::dmarc_caught(raw, authserv_id, from).err()
    }

    /// Parses and judges.
    pub fn judge(&self, stored: &StoredMessage, limits: &Limits, mappings: &Mappings, now: Timestamp) -> D2Message {
        let how = How { plain: self.plain, limits, mappings, rules: &self.by_rule };
        let mail = parse::mail_caught(&stored.raw, &how);
        let received = stored.internal_date.or(mail.header.received).unwrap_or(stored.stored);
        let verdict = match self.refuses(&stored.raw, &mail.header) {
            Some(reason) => Verdict::Ends(MessageState::Rejected, reason),
            None => self.verdict(stored, mail.outcome, received, now),
        };
        D2Message {
            id: stored.id,
            source: Source::Mailbox(stored.mailbox.clone()),
            may_choose_group: self.may_choose_group,
            received,
            digest: digest(stored, mail.digest, mail.header.received.is_some()),
            verdict,
        }
    }

    fn verdict(&self, stored: &StoredMessage, outcome: Outcome, received: Timestamp, now: Timestamp) -> Verdict {
        if let Outcome::Ignored(reason) = outcome {
            return Verdict::Ends(MessageState::Ignored, reason);
        }
        if !stored.replayed && now.duration_since(received) > self.max_age {
            return Verdict::Ends(MessageState::Stale, format!("received {received}, older than max_age"));
        }
        if let Some(size) = stored.oversize {
            let reason =
                format!("{} bytes, over max_size ({}); only its headers were fetched", size, Size(self.max_size));
            return Verdict::Ends(MessageState::Quarantined, reason);
        }
        match outcome {
            Outcome::Alerts { mut alerts, bad } => {
                for alert in &mut alerts {
                    parse::adjust_clock(alert, received);
                }
                Verdict::Alerts { alerts, bad }
            }
            Outcome::Quarantined(reason) | Outcome::Ignored(reason) => Verdict::Ends(MessageState::Quarantined, reason),
        }
    }
}

/// Of a mail whose body was not fetched the digest would be the same for every body: it is never a duplicate.
///
/// A mail that was handed in comes again where the answer got lost. Without a Message-ID its bytes stand for it if a mail server
/// put a Received header (RFC 5321 §4.4) before it: two mails never have the same.
fn digest(stored: &StoredMessage, digest: MailDigest, received: bool) -> Option<MailDigest> {
    let handed = matches!(stored.cursor, Cursor::Lmtp { .. });
    let message_id = match digest.message_id {
        None if handed && received => Some(format!("sha256:{:x}", Sha256::digest(&stored.raw))),
        given => given,
    };
    stored.oversize.is_none().then_some(MailDigest { message_id, ..digest })
}
