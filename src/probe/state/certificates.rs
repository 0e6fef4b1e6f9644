//! Certificates that end soon: a warning for each port, beside whatever is told of the port itself.

use std::time::Duration;

use jiff::Timestamp;

use super::{HostState, News, Newsworthy, Port, Told};
use crate::model::Severity;
use crate::probe::outcome::{CERTIFICATE_EXPIRES, Certificate};
use crate::probe::settings::Probe;

/// A warning is told again no more often than this: there is nothing new to it within a day.
const DAY: Duration = Duration::from_secs(86_400);

impl HostState {
    /// Adds what is to be told of certificates.
    pub(super) fn certificates(&self, now: Timestamp, remind: Duration, news: &mut News) {
        for (number, before) in &self.saved.certificates {
            let port = self.ports.get(number).filter(|port| looks_at_it(&port.probe));
            match port.map(|port| (port, port.certificate)) {
                None => end(*number, None, now, before, news),
                Some((port, Some(Certificate::Lasts))) => end(*number, Some(port), now, before, news),
                Some((port, Some(Certificate::Ends(end)))) if before.is_due(now, remind.max(DAY)) => {
                    warn(*number, port, end, now, Some(before), news);
                }
                // As before, or not seen since the start, or not to be seen while the port is down.
                Some((_, Some(Certificate::Ends(_)) | None)) => {}
            }
        }
        for (number, port) in &self.ports {
            if let (Some(Certificate::Ends(end)), false) =
                (port.certificate, self.saved.certificates.contains_key(number))
            {
                warn(*number, port, end, now, None, news);
            }
        }
    }

    /// Is there a certificate that ends soon?
    pub(super) fn is_warned(&self) -> bool {
        self.ports.values().any(|port| matches!(port.certificate, Some(Certificate::Ends(_))))
    }
}

/// What of a certificate that was seen counts under these rules.
pub(super) fn still(seen: Option<Certificate>, probe: &Probe) -> Option<Certificate> {
    seen.filter(|_| looks_at_it(probe))
}

fn looks_at_it(probe: &Probe) -> bool {
    probe.rules.talk.as_ref().is_some_and(|talk| talk.tls.is_some())
}

fn warn(number: u16, port: &Port, end: Timestamp, now: Timestamp, before: Option<&Told>, news: &mut News) {
    let sent = before.map_or(now, |told| told.next(now));
    let told = Told {
        since: before.map_or(now, |told| told.since),
        last: sent,
        severity: Severity::Warning,
        attempts: 1,
        kind: CERTIFICATE_EXPIRES.to_owned(),
        reason: format!("its certificate expires {}", end.strftime("%Y-%m-%d %H:%M:%S UTC")),
    };
    news.saved.certificates.insert(number, told);
    news.tell.push((Newsworthy::Expiry(port.probe.clone(), end), sent, before.cloned()));
}

fn end(number: u16, port: Option<&Port>, now: Timestamp, before: &Told, news: &mut News) {
    let end = Newsworthy::Renewal(number, port.map(|port| port.probe.clone()));
    news.tell.push((end, before.next(now), Some(before.clone())));
    news.saved.certificates.remove(&number);
}
