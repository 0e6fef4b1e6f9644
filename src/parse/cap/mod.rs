//! The Common Alerting Protocol, versions 1.0, 1.1 and 1.2 (OASIS CAP-V1.2 §3.2). One `<alert>` with all its infos becomes
//! one alert.
//!
//! The identifier, with `sender` and `sent`, names the message; the earliest reference to a message of the same sender is the
//! key, so that updates and cancels meet their first alert. Required are `identifier`, `sender`, `sent`, `status`, `msgType`,
//! and `scope` from 1.1 on: without them the alert is refused. Whatever else is missing or bent is flagged, never a reason
//! to lose the alert.
//!
//! Labels, each with all its values: `cap.status`, `cap.msgType`, `cap.scope`, `cap.source`, `cap.restriction`,
//! `cap.addresses`, `cap.code`, `cap.note`, `cap.incidents`, `cap.password` (as `present`), `cap.signature` (as `present, not
//! verified`); of the infos `cap.language`, `cap.category`, `cap.event`, `cap.responseType`, `cap.urgency`, `cap.severity`,
//! `cap.certainty`, `cap.audience`, `cap.onset` (UTC), `cap.senderName`, `cap.web`, `cap.contact`, `cap.eventCode` (as
//! `NAME=VALUE`), `cap.parameter.NAME`; of the areas `cap.areaDesc`, `cap.geocode.NAME`, `cap.altitude`, `cap.ceiling`. An
//! element that CAP does not know is kept as `cap.ELEMENT`. Polygons and circles are not kept.

mod info;
mod references;

use crate::model::{Audience, Format, Key, Nature, Status};

use super::draft::{Context, Draft, Word, at, capped, empty, label, none_of, title, word};
use super::time;
use super::tree::El;
use super::xml::shown;

/// Version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum Version {
    /// `urn:oasis:names:tc:emergency:cap:1.0`, `http://www.incident.com/cap/1.0`.
    V1_0,
    /// `urn:oasis:names:tc:emergency:cap:1.1`.
    V1_1,
    /// `urn:oasis:names:tc:emergency:cap:1.2`.
    V1_2,
}

const STATUS: [&str; 5] = ["Actual", "Exercise", "System", "Test", "Draft"];
const MSG_TYPE: [&str; 5] = ["Alert", "Update", "Cancel", "Ack", "Error"];
const SCOPE: [&str; 3] = ["Public", "Restricted", "Private"];
/// Elements of `<alert>` in the order of the schema.
const ORDER: [&str; 16] = [
    "identifier",
    "sender",
    "password",
    "sent",
    "status",
    "msgType",
    "source",
    "scope",
    "restriction",
    "addresses",
    "code",
    "note",
    "references",
    "incidents",
    "info",
    "Signature",
];

/// The version that a namespace means.
pub(crate) fn version(space: &str) -> Option<Version> {
    match space.trim().trim_end_matches('/') {
        "urn:oasis:names:tc:emergency:cap:1.0" | "http://www.incident.com/cap/1.0" => Some(Version::V1_0),
        "urn:oasis:names:tc:emergency:cap:1.1" | "http://www.incident.com/cap/1.1" => Some(Version::V1_1),
        // A later 1.x has to be readable as 1.2.
        space if space.starts_with("urn:oasis:names:tc:emergency:cap:1.") => Some(Version::V1_2),
        _ => None,
    }
}

/// Reads one `<alert>`.
pub(crate) fn read(el: &El<'_>, context: &Context<'_>) -> Result<Draft, String> {
    let version = version(el.space());
    let alert = empty(Format::Cap, context);
    let mut reader =
        Reader { el: *el, context, draft: Draft { alert, has_id: true, has_key: true }, problems: Vec::new() };
    if version.is_none() {
        reader.flag(el, "it lacks the namespace of CAP; read as 1.2");
    }
    reader.head(version.unwrap_or(Version::V1_2));
    reader.rest();
    info::read(el, version.unwrap_or(Version::V1_2), context, &mut reader.draft.alert);
    reader.finish()
}

struct Reader<'r> {
    el: El<'r>,
    context: &'r Context<'r>,
    draft: Draft,
    /// Why it cannot be an alert.
    problems: Vec<String>,
}

impl<'r> Reader<'r> {
    fn flag(&mut self, el: &El<'_>, what: &str) {
        self.draft.alert.warnings.push(at(el, what));
    }

    /// The first child of this name.
    fn child(&self, name: &str) -> Option<El<'r>> {
        child(&self.el, name)
    }

    /// A required text; where it is missing, that is a problem.
    fn required(&mut self, name: &str) -> Option<(El<'r>, String)> {
        let found = self.child(name);
        match found.map(|el| (el, el.text())) {
            Some((el, text)) if !text.is_empty() => return Some((el, text)),
            Some((el, _)) => self.problems.push(at(&el, "it is empty, but required")),
            None => {
                let problem = format!("line {}: <{name}> is missing, but required", self.el.line());
                self.problems.push(problem);
            }
        }
        None
    }

    fn required_word(&mut self, name: &str, allowed: &[&'static str]) -> Option<&'static str> {
        let (el, text) = self.required(name)?;
        match word(&text, allowed) {
            Word::Exact(word) => Some(word),
            Word::Bent(word) => {
                self.flag(&el, &format!("\"{}\" was read as {word}", shown(&text)));
                Some(word)
            }
            Word::None => {
                self.problems.push(at(&el, &none_of(&text, allowed)));
                None
            }
        }
    }

    /// What every alert must have.
    fn head(&mut self, version: Version) {
        let limits = self.context.limits;
        if let Some((el, id)) = self.required("identifier") {
            if id.contains([' ', ',', '<', '&']) {
                self.flag(&el, "it holds a blank, comma, < or &, which CAP forbids");
            }
            self.draft.alert.id = capped(id, "identifier", limits, &mut self.draft.alert.warnings);
        }
        if let Some((_, sender)) = self.required("sender") {
            self.draft.alert.sender = capped(sender, "sender", limits, &mut self.draft.alert.warnings);
        }
        if let Some((el, sent)) = self.required("sent") {
            match time::read(&sent) {
                Some((time, bent)) => {
                    self.draft.alert.sent = Some(time);
                    if let Some(bent) = bent {
                        self.flag(&el, &format!("\"{}\": {bent}", shown(&sent)));
                    }
                }
                None => {
                    let problem =
                        format!("\"{}\" is no time; CAP writes it like 2026-11-21T18:42:00-00:00", shown(&sent));
                    self.problems.push(at(&el, &problem));
                }
            }
        }
        let status = self.required_word("status", &STATUS);
        let msg_type = self.required_word("msgType", &MSG_TYPE);
        let scope = if version == Version::V1_0 && self.child("scope").is_none() {
            Some("Public")
        } else {
            self.required_word("scope", &SCOPE)
        };
        for (name, value) in [("cap.status", status), ("cap.msgType", msg_type), ("cap.scope", scope)] {
            label(&mut self.draft.alert, name, value.unwrap_or_default(), limits);
        }
        self.draft.alert.nature = nature(status.unwrap_or_default());
        self.draft.alert.status = state(msg_type.unwrap_or_default());
        self.draft.alert.tell_operators = msg_type == Some("Error");
        self.audience(scope.unwrap_or_default());
    }

    fn audience(&mut self, scope: &str) {
        self.draft.alert.audience = match scope {
            "Restricted" => Audience::Restricted,
            "Private" => {
                let addresses = self.child("addresses");
                let named = addresses.map(|el| quoted_words(&el.text())).unwrap_or_default();
                if named.is_empty() {
                    let el = self.el;
                    self.flag(&el, "its scope is Private, but no <addresses> name who may be told");
                }
                Audience::Private(named)
            }
            _ => Audience::Public,
        };
    }

    /// What an alert may have, and what CAP does not know.
    fn rest(&mut self) {
        let limits = self.context.limits;
        let mut furthest = 0;
        for el in self.el.children() {
            let place = ORDER.iter().position(|name| *name == el.name());
            if place.is_some_and(|place| place < furthest) {
                self.flag(&el, "it stands out of order");
            }
            furthest = furthest.max(place.unwrap_or(0));
            let known = place.is_some() && ours(&self.el, &el);
            match el.name() {
                "Signature" => label(&mut self.draft.alert, "cap.signature", "present, not verified", limits),
                "password" if known => label(&mut self.draft.alert, "cap.password", "present", limits),
                "references" if known => self.references(&el),
                "source" | "restriction" | "addresses" | "code" | "note" | "incidents" if known => {
                    label(&mut self.draft.alert, &format!("cap.{}", el.name()), &el.text(), limits);
                }
                _ if known => {}
                name => {
                    self.flag(&el, "CAP does not know it; kept as a label");
                    label(&mut self.draft.alert, &format!("cap.{name}"), &el.text(), limits);
                }
            }
        }
    }

    fn references(&mut self, el: &El<'_>) {
        let (found, unread) = references::read(&el.text());
        if !unread.is_empty() {
            self.flag(el, &format!("\"{}\" is no sender,identifier,sent; left out", shown(&unread)));
        }
        self.draft.alert.references.extend(found);
    }

    fn finish(mut self) -> Result<Draft, String> {
        if !self.problems.is_empty() {
            let named = if self.draft.alert.id.is_empty() {
                String::new()
            } else {
                format!(" (alert {})", shown(&self.draft.alert.id))
            };
            return Err(format!("{}{named}", self.problems.join("; ")));
        }
        let alert = &mut self.draft.alert;
        let first = alert.references.iter().filter(|r| r.sender == alert.sender).min_by_key(|r| r.sent);
        alert.key = Key(first.map_or(&alert.id, |r| &r.id).clone());
        if alert.title.is_empty() {
            let note = alert.labels.get("cap.note").first().cloned();
            let line = note.or_else(|| alert.text.lines().next().map(str::to_owned)).filter(|t| !t.trim().is_empty());
            let msg_type = alert.labels.get("cap.msgType").first().cloned().unwrap_or_default();
            let line = line.unwrap_or_else(|| format!("CAP {msg_type} {}", alert.id));
            alert.title = title(&line, self.context.limits, &mut alert.warnings);
        }
        Ok(self.draft)
    }
}

/// The first child of this name that CAP means.
fn child<'d>(el: &El<'d>, name: &str) -> Option<El<'d>> {
    el.children().find(|c| c.name() == name && ours(el, c))
}

/// Is the child of the parent's vocabulary? Senders forget the prefix; elements of another one are extensions.
fn ours(parent: &El<'_>, child: &El<'_>) -> bool {
    child.space() == parent.space() || child.space().is_empty() || version(child.space()).is_some()
}

fn nature(status: &str) -> Nature {
    match status {
        "Exercise" => Nature::Exercise,
        "System" => Nature::System,
        "Test" => Nature::Test,
        "Draft" => Nature::Draft,
        _ => Nature::Actual,
    }
}

fn state(msg_type: &str) -> Status {
    match msg_type {
        "Update" => Status::Update,
        "Cancel" => Status::Resolved,
        "Ack" | "Error" => Status::Recorded,
        _ => Status::Firing,
    }
}

/// Words separated by blanks; those with blanks in them stand in double quotes (CAP 1.2 §3.2.1 `addresses`).
fn quoted_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (n, piece) in text.split('"').enumerate() {
        if n % 2 == 1 {
            words.push(piece.trim().to_owned());
        } else {
            words.extend(piece.split_whitespace().map(str::to_owned));
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
