//! Bytes of a mail → alerts. Pure: no clock, no I/O; the same bytes give the same alerts.

pub mod native_write;

use jiff::Timestamp;

use crate::model::{Alert, MailDigest, Severity};

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
