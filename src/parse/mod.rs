//! Bytes of a mail → alerts. Pure: no clock, no I/O; the same bytes give the same alerts.
//!
//! `fields` splits headers, `mime` finds the parts, `ignore` knows bounces and auto-replies, `document` finds the XML among the
//! parts, `decode` and `xml` read it strictly, `envelope` unpacks it, `native`, `cap` and `mapping` make alerts of it, `unique`
//! drops copies, `rules` and `plain` read a mail without XML; `auth` tells whether its From can be believed. `read` is the order in which that happens. Nothing here recurses
//! on input, looks at a byte more often than [`Limits`] allow, or panics by design; [`mail_caught`] turns the panic that should not be into a quarantined mail.

mod auth;
mod cap;
mod decode;
mod document;
mod draft;
mod envelope;
mod fields;
mod html;
mod ignore;
mod mapping;
mod mime;
mod native;
mod plain;
mod read;
pub mod rules;
mod time;
mod tree;
mod unique;
mod xml;
mod xpath;

pub mod native_write;

use jiff::Timestamp;

use crate::model::{Alert, MailDigest, Severity};

pub use mapping::{BadTimeFormat, Choice, Mapping, Mappings, PathText, State, Template, TimeFormat, known_root};
pub use rules::Rules;
pub use time::adjust_clock;
pub use xpath::{BadExpr, Spaces};

/// Reads a mail. The time that it takes grows with its size, times at most [`Limits::mime_depth`].
pub fn mail(raw: &[u8], how: &How<'_>) -> Mail {
    panics_on_demand();
    read::mail(&fields::with_line_feeds(raw), how)
}

/// Reads only the header: who sent it, when, under which Message-ID.
pub fn header(raw: &[u8]) -> Header {
    read::header(&fields::split(&fields::with_line_feeds(raw)).0)
}

/// As [`mail`]; a panic, which would be a mistake of ours, quarantines this one mail instead of stopping the gateway.
pub fn mail_caught(raw: &[u8], how: &How<'_>) -> Mail {
    std::panic::catch_unwind(|| mail(raw, how)).unwrap_or_else(|panic| failed(raw, &*panic))
}

/// As [`header`]; a panic leaves it empty.
pub fn header_caught(raw: &[u8]) -> Header {
    std::panic::catch_unwind(|| header(raw)).unwrap_or_default()
}

/// Does the mail server that calls itself `authserv_id` say, where only it can have said so, that DMARC passed for the domain of
/// `from`? `Err`: why the mail cannot be believed. A panic of ours is a no.
pub fn dmarc_caught(raw: &[u8], authserv_id: &str, from: &str) -> Result<(), String> {
    let said = || auth::dmarc(&fields::with_line_feeds(raw), authserv_id, from);
    std::panic::catch_unwind(said).unwrap_or_else(|_| Err("reading its Authentication-Results failed".to_owned()))
}

/// The mail whose parsing panicked.
fn failed(raw: &[u8], panic: &(dyn std::any::Any + Send)) -> Mail {
    let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let header = header_caught(raw);
    let digest = MailDigest {
        message_id: header.message_id.clone(),
        date: header.date,
        body_sha256: read::body_sha256(&fields::with_line_feeds(raw)),
    };
    let reason = format!("the parser failed on it: {}", xml::shown(said.unwrap_or("no reason given")));
    Mail { header, digest, outcome: Outcome::Quarantined(reason) }
}

/// For row 29 of the fault matrix: a mistake of ours, which no mail is known to find.
#[allow(clippy::panic)]
fn panics_on_demand() {
    fail::fail_point!("parser_panics", |_| panic!("on demand"));
}

/// How a mail is read: what its mailbox and the rest of the config say.
#[derive(Debug, Clone, Copy)]
pub struct How<'a> {
    /// What a mail without XML becomes.
    pub plain: Plain,
    /// How much of a hostile mail is looked at.
    pub limits: &'a Limits,
    /// How XML of other vocabularies is read.
    pub mappings: &'a Mappings,
    /// What mails without XML are alerts of what kind; tried before `plain` decides.
    pub rules: &'a Rules,
}

/// What a mail without XML becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// An alert of this severity: subject → title, text → text.
    Alert(Severity),
    /// Quarantined.
    Quarantine,
}

/// How much of a hostile mail is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Nesting of MIME parts and of forwarded mails.
    pub mime_depth: usize,
    /// MIME parts in a mail.
    pub parts: usize,
    /// Nesting of XML elements.
    pub xml_depth: usize,
    /// Attributes of one XML element.
    pub attributes: usize,
    /// Characters in one text of an alert.
    pub text: usize,
    /// Alerts in a mail.
    pub alerts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { mime_depth: 16, parts: 200, xml_depth: 64, attributes: 64, text: 64 * 1024, alerts: 500 }
    }
}

/// What a mail's header says, as far as intake needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// Message-ID without angle brackets.
    pub message_id: Option<String>,
    /// Date, as an instant.
    pub date: Option<Timestamp>,
    /// Addresses of all From headers, lower case.
    pub from: Vec<String>,
    /// How many From headers there are: a mail with any other number than one has no sender that could be believed.
    pub from_headers: usize,
    /// Subject, decoded, on one line.
    pub subject: Option<String>,
    /// Date of the topmost Received header.
    pub received: Option<Timestamp>,
}

/// A mail, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Mail {
    /// Its header.
    pub header: Header,
    /// What tells that it was seen before.
    pub digest: MailDigest,
    /// What it is.
    pub outcome: Outcome,
}

/// What a mail is.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Alerts, at least one. `bad`: reasons of those beside them that could not be read.
    Alerts {
        /// In the order of the mail; the same alert in two parts is one.
        alerts: Vec<Alert>,
        /// One reason each, naming line and element.
        bad: Vec<String>,
    },
    /// Never an alert, with the reason: a bounce, an auto-reply, a read receipt, an abuse report, our own notice.
    Ignored(String),
    /// Could not be parsed, with the reason, naming line and element.
    Quarantined(String),
}

#[cfg(test)]
mod tests;
