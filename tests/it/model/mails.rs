//! The mails, and what is to come of them by the rules that the gateway has here.

use jiff::{SignedDuration, Timestamp};
use mailbell::model::{Severity, Status};

use super::eye::SeenAlert;

/// The first is told to `ops`, the second to `lab`; of the third is told nobody, and the fourth no route knows.
pub const SENDERS: [&str; 4] = ["ups@ops.test", "rack@lab.test", "cron@quiet.test", "who@else.test"];

#[derive(Debug, Clone, PartialEq)]
pub struct Mail {
    /// Its number.
    pub n: usize,
    pub sender: usize,
    pub reports: Vec<Report>,
    /// It cannot be read.
    pub junk: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub key: u8,
    pub status: Status,
    pub severity: Severity,
}

impl Mail {
    /// What names one report of it in every text: no name is part of another.
    pub fn name(n: usize, report: usize) -> String {
        format!("<m{n}.{report}>")
    }

    /// Which mail it was in.
    pub fn number(name: &str) -> usize {
        name.trim_start_matches("<m").split('.').next().unwrap().parse().unwrap()
    }

    pub fn raw(&self, at: Timestamp) -> Vec<u8> {
        let alerts: String = self.reports.iter().enumerate().map(|(nth, report)| self.alert(nth, report)).collect();
        let end = if self.junk { "" } else { "</alerts>" };
        format!(
            "From: {}\r\nMessage-ID: <m{}@test>\r\nDate: {}\r\nContent-Type: application/xml\r\n\r\n\
             <alerts xmlns=\"urn:mailbell:alert:1\">{alerts}{end}\r\n",
            SENDERS[self.sender],
            self.n,
            jiff::fmt::rfc2822::to_string(&at.to_zoned(jiff::tz::TimeZone::UTC)).unwrap(),
        )
        .into_bytes()
    }

    fn alert(&self, nth: usize, Report { key, status, severity }: &Report) -> String {
        let name = Self::name(self.n, nth).replace('<', "&lt;");
        let (status, severity) = (status.as_str(), severity.as_str());
        format!("<alert key=\"k{key}\" status=\"{status}\" severity=\"{severity}\"><title>{name}</title></alert>")
    }
}

/// Whom a report of this sender is told to: by its groups, without their fallbacks.
pub fn audience(sender: &str) -> &'static [&'static str] {
    match SENDERS.iter().position(|known| *known == sender) {
        Some(0) => &["ann", "bob"],
        Some(1) => &["bob", "cat"],
        _ => &[],
    }
}

/// How long somebody's notification is held, from its commit: at least, and at most. Without an alert it is a notice to the
/// operators. The end of a condition is held as what it ends, and that may have been another severity.
pub fn hold_for(jid: &str, alert: Option<&SeenAlert>) -> (SignedDuration, SignedDuration) {
    let by_their_policy = alert.is_some_and(|alert| alert.sender == SENDERS[0]) && !jid.starts_with("eve@");
    let (least, most) = match alert {
        None => (96, 96),
        Some(alert) if by_their_policy && alert.status == "resolved" => (1, 2),
        Some(alert) if by_their_policy && alert.severity == "critical" => (2, 2),
        Some(_) if by_their_policy => (1, 1),
        Some(_) => (8, 8),
    };
    (SignedDuration::from_hours(least), SignedDuration::from_hours(most))
}
