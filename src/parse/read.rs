//! The whole of one mail: what is ignored, where XML is, what it becomes.

use sha2::{Digest, Sha256};

use crate::model::{Alert, Key, MailDigest};

use super::document::{self, Found, Placed};
use super::draft::{Context, Draft, MAX_WARNINGS};
use super::fields::{self, Fields};
use super::mime::{self, Tree};
use super::rules::{self, Seen, Verdict as Without};
use super::{Header, How, Mail, Outcome, Plain, ignore, plain, unique};

/// Reasons that are listed; a mail with more broken alerts than this is broken altogether.
const MAX_REASONS: usize = 20;
/// Longest Message-ID that serves as an identifier, in bytes.
const MAX_MESSAGE_ID: usize = 255;

/// Reads a header.
pub(crate) fn header(fields: &Fields<'_>) -> Header {
    let from = fields.addresses("From").into_iter().map(|(_, address)| address.to_lowercase());
    Header {
        message_id: message_id(fields),
        date: fields.date("Date"),
        from: from.filter(|address| !address.is_empty()).collect(),
        from_headers: fields.all("From").count(),
        subject: fields.text("Subject"),
        received: fields.received(),
    }
}

/// The Message-ID as it stands between its angle brackets; some senders leave them away.
fn message_id(fields: &Fields<'_>) -> Option<String> {
    let value = String::from_utf8_lossy(fields.all("Message-ID").next()?).into_owned();
    let inside =
        value.split_once('<').and_then(|(_, after)| after.split_once('>')).map_or(value.as_str(), |(id, _)| id);
    let id: String = inside.chars().filter(|c| !c.is_whitespace() && !c.is_control()).take(998).collect();
    (!id.is_empty()).then_some(id)
}

/// Reads a mail.
pub(crate) fn mail(raw: &[u8], how: &How<'_>) -> Mail {
    let fields = fields::split(raw).0;
    let header = header(&fields);
    let digest = MailDigest { message_id: header.message_id.clone(), date: header.date, body_sha256: body_sha256(raw) };
    let outcome = outcome(raw, &fields, &header, how);
    Mail { header, digest, outcome }
}

/// SHA-256 of everything after the header.
pub(crate) fn body_sha256(raw: &[u8]) -> [u8; 32] {
    let body = fields::split(raw).1;
    Sha256::digest(raw.get(body..).unwrap_or_default()).into()
}

fn outcome(raw: &[u8], fields: &Fields<'_>, header: &Header, how: &How<'_>) -> Outcome {
    if let Some(reason) = ignore::by_header(fields) {
        return Outcome::Ignored(reason);
    }
    let tree = mime::tree(raw, how.limits);
    let candidates = document::candidates(&tree, how.mappings);
    let has_xml = candidates.iter().any(|c| c.part.mail == 0);
    if let Some(reason) = ignore::by_content(fields, &tree, has_xml) {
        return Outcome::Ignored(reason);
    }
    let context = Context::new(header, how);
    let mut found = document::read_all(&candidates, &context);
    let xml: Vec<usize> = candidates.iter().map(|c| c.index).collect();
    let drafts = unique::once(std::mem::take(&mut found.alerts), &mut found.bad);
    let mut alerts = named(drafts, &found.bad_places, raw, header);
    if alerts.is_empty() && found.bad.is_empty() {
        return match without_alert_xml(fields, &tree, &xml, found, how, &context) {
            Ok(Without::Alerts(drafts, bad)) => {
                let numbered = drafts.into_iter().enumerate();
                alerts.extend(numbered.map(|(n, draft)| finished(draft, n + 1, raw, header)));
                Outcome::Alerts { alerts, bad: listed(bad.into_iter().chain(tree.cut)) }
            }
            Ok(Without::Ignored(reason)) => Outcome::Ignored(reason),
            Err(reasons) => Outcome::Quarantined(listed(reasons.into_iter().chain(tree.cut)).join("; ")),
        };
    }
    let bad = listed(found.bad.into_iter().chain(tree.cut));
    if alerts.is_empty() { Outcome::Quarantined(bad.join("; ")) } else { Outcome::Alerts { alerts, bad } }
}

/// A mail in which no XML was meant to be an alert: by a rule, or else by the mailbox's setting, its text is one.
fn without_alert_xml(
    fields: &Fields<'_>,
    tree: &Tree<'_>,
    xml: &[usize],
    found: Found,
    how: &How<'_>,
    context: &Context<'_>,
) -> Result<Without, Vec<String>> {
    let unknown = found.unknown;
    if fields.is_empty() && unknown.is_empty() {
        return Err(vec!["it is no mail: it has no header".to_owned()]);
    }
    let text = plain::text(tree, xml);
    // Where unknown XML is all there is, nobody would be told what it says.
    if text.is_empty() && !unknown.is_empty() {
        return Err(unknown);
    }
    let made = rules::apply(how.rules, &Seen { fields, text: &text }, context);
    let mut made = match (made, how.plain) {
        (Some(made), _) => made,
        (None, Plain::Alert(severity)) => {
            let alert = plain::read(severity, text, context);
            Without::Alerts(vec![Draft { alert, has_id: false, has_key: false }], Vec::new())
        }
        (None, Plain::Quarantine) if !unknown.is_empty() => return Err(unknown),
        (None, Plain::Quarantine) => {
            let any = how.rules.iter().next().is_some();
            let and = if any { " and no rule of the mailbox matches" } else { "" };
            return Err(vec![format!(
                "no alert XML in it{and}; set plain = \"alert\" on the mailbox to page it anyway"
            )]);
        }
    };
    if let Without::Alerts(drafts, _) = &mut made {
        let beside = listed(unknown).into_iter().map(|reason| format!("XML beside the text was not read: {reason}"));
        drafts.iter_mut().take(1).for_each(|draft| draft.alert.warnings.extend(beside.clone()));
    }
    Ok(made)
}

/// The alerts in the order of the mail, each with its identifier and key. Broken ones count too, so that the numbers stay
/// when a mail is read again by a version that understands them.
fn named(mut drafts: Vec<Placed>, bad: &[(usize, usize)], raw: &[u8], header: &Header) -> Vec<Alert> {
    drafts.sort_by_key(|placed| placed.place);
    let number = |n: usize, placed: &Placed| 1 + n + bad.iter().filter(|place| **place < placed.place).count();
    let numbered = drafts.into_iter().enumerate().map(|(n, placed)| (number(n, &placed), placed.draft));
    numbered.map(|(n, draft)| finished(draft, n, raw, header)).collect()
}

/// The nth alert of a mail: without an identifier of its own it has the Message-ID, without a key the identifier.
fn finished(draft: Draft, n: usize, raw: &[u8], header: &Header) -> Alert {
    let Draft { mut alert, has_id, has_key } = draft;
    if !has_id {
        let short = header.message_id.clone().filter(|id| id.len() <= MAX_MESSAGE_ID);
        let base = short.unwrap_or_else(|| fingerprint(raw));
        alert.id = if n == 1 { base } else { format!("{base}#{n}") };
    }
    if !has_key {
        alert.key = Key(alert.id.clone());
    }
    let from = header.from.first().filter(|from| !from.eq_ignore_ascii_case(&alert.sender));
    alert.from = from.cloned();
    let more = alert.warnings.len().saturating_sub(MAX_WARNINGS);
    if more > 0 {
        alert.warnings.truncate(MAX_WARNINGS);
        alert.warnings.push(format!("and {more} more warnings"));
    }
    alert
}

/// Names a mail that has no Message-ID: the same bytes have the same name.
fn fingerprint(raw: &[u8]) -> String {
    let digest = Sha256::digest(raw);
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("sha256-{hex}")
}

fn listed(reasons: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut reasons: Vec<String> = reasons.into_iter().collect();
    let more = reasons.len().saturating_sub(MAX_REASONS);
    reasons.truncate(MAX_REASONS);
    if more > 0 {
        reasons.push(format!("and {more} more"));
    }
    reasons
}
