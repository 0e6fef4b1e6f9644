//! What is said of a certificate that ends soon.

use std::sync::Arc;

use jiff::Timestamp;

use super::{at, blank, end, label, label_end};
use crate::model::{Alert, Severity, Span, Status};
use crate::probe::outcome::{CERTIFICATE_EXPIRES, expires};
use crate::probe::settings::Probe;
use crate::probe::state::Told;
use crate::probe::target::{Host, Target};

pub(super) fn expiry(probe: &Arc<Probe>, ends: Timestamp, sent: Timestamp) -> Alert {
    let Target { host, port } = &probe.target;
    let mut alert = blank(host, &condition(&probe.target), Status::Firing, sent);
    alert.severity = Severity::Warning;
    alert.title = format!("certificate of {} {}", probe.target, expires(ends, sent));
    alert.text = [
        format!("Host: {host}"),
        format!("Port: {port}"),
        format!("Expires: {}", at(ends)),
        "Renew it on the server before then: with an expired one the port counts as down.".to_owned(),
    ]
    .join("\n");
    label(&mut alert, std::slice::from_ref(probe));
    alert.labels.add("failure", CERTIFICATE_EXPIRES);
    alert.labels.add("reason", format!("its certificate expires {}", at(ends)));
    alert
}

/// `probe`: it is looked at still.
pub(super) fn renewal(
    host: &Host,
    port: u16,
    probe: Option<&Arc<Probe>>,
    sent: Timestamp,
    before: Option<&Told>,
) -> Alert {
    let target = Target { host: host.clone(), port };
    let mut alert = blank(host, &condition(&target), Status::Resolved, sent);
    let tls = probe.and_then(|probe| probe.rules.talk.as_ref()?.tls.as_ref());
    alert.title = match tls {
        // The certificate is another one, or the warning is to come later.
        Some(tls) => format!("certificate of {target} is good for more than {}", Span(tls.warning)),
        None => format!("certificate of {target} is not looked at any more"),
    };
    let was = before.map(|told| format!("It was warned of since {}: {}.", at(told.since), told.reason));
    alert.text = was.unwrap_or_default();
    end(&mut alert, before);
    label_end(&mut alert, &target, probe);
    alert
}

/// A condition of its own: the port is not down.
fn condition(target: &Target) -> String {
    format!("{target}/certificate")
}
