//! Bytes of a mail, and mails that a grammar makes.

use mailbell::dispatch::render;
use mailbell::model::{
    Alert, AlertId, Delivery, Format, Kind, Labels, Notification, NotificationId, NotificationState, Offline, Severity,
    ShowSet, StanzaId, Status,
};
use mailbell::parse::native_write::{self, NativeAlert};
use mailbell::parse::{self, How, Limits, Mail, Mappings, Outcome, Plain, Rules};
use mailbell::queue::AlertRecord;

use super::assert_told_well;

/// The first byte chooses what a mail without XML becomes, the limits, and whether the rest is a mail or makes one.
pub fn run(data: &[u8]) {
    let Some((flags, rest)) = data.split_first() else { return };
    if flags & 4 == 0 { check(*flags, rest) } else { check(*flags, &super::mime::made(rest)) }
}

/// Reads a mail in the way that these flags choose.
pub fn check(flags: u8, raw: &[u8]) {
    check_as(flags, raw, &Mappings::default(), &Rules::default());
}

/// The same by a config's mappings and rules; what became of it.
pub fn check_as(flags: u8, raw: &[u8], mappings: &Mappings, rules: &Rules) -> Outcome {
    let plain = if flags & 1 == 0 { Plain::Quarantine } else { Plain::Alert(Severity::Minor) };
    let limits = if flags & 2 == 0 { Limits::default() } else { tight() };
    let mail = parse::mail(raw, &How { plain, limits: &limits, mappings, rules });
    assert_eq!(parse::header(raw), mail.header, "the header alone reads as with the mail");
    told_well(&mail, &limits);
    if let Outcome::Alerts { alerts, .. } = &mail.outcome {
        for alert in alerts {
            within(alert, &limits);
            stored(alert);
            shown(alert);
        }
        written(alerts, &limits);
    }
    mail.outcome
}

/// Limits that a small mail reaches.
fn tight() -> Limits {
    Limits { mime_depth: 3, parts: 8, xml_depth: 6, attributes: 4, text: 40, alerts: 3 }
}

fn told_well(mail: &Mail, limits: &Limits) {
    match &mail.outcome {
        Outcome::Alerts { alerts, bad } => {
            assert!(!alerts.is_empty() && alerts.len() <= limits.alerts, "{} alerts", alerts.len());
            assert!(bad.len() <= 21, "{} reasons", bad.len());
            bad.iter().for_each(|reason| assert_told_well("a reason", reason, 1000));
        }
        Outcome::Ignored(reason) => assert_told_well("ignored", reason, 1000),
        Outcome::Quarantined(reason) => {
            assert!(!reason.is_empty());
            assert_told_well("quarantined", reason, 25_000);
        }
    }
}

/// What an alert may hold, however large its mail is.
fn within(alert: &Alert, limits: &Limits) {
    let longest = |what: &str, text: &str, most: usize| {
        let length = text.chars().count();
        assert!(length <= most, "{what} has {length} characters");
    };
    let one_line = |what: &str, text: &str| {
        assert!(!text.chars().any(|c| matches!(c, '\n' | '\r')), "{what} is of several lines: {text:?}");
    };
    for (what, text) in [("id", &alert.id), ("key", &alert.key.0), ("sender", &alert.sender), ("title", &alert.title)] {
        one_line(what, text);
        assert!(!text.is_empty(), "{what} is empty");
    }
    longest("the title", &alert.title, limits.text.min(1000));
    longest("the text", &alert.text, limits.text);
    for variant in &alert.variants {
        longest("a title", &variant.title, limits.text.min(1000));
        longest("a text", &variant.text, limits.text);
    }
    for (name, values) in alert.labels.iter() {
        one_line("a label's name", name);
        assert!(values.len() <= 1000, "label {name:?} has {} values", values.len());
        values.iter().for_each(|value| longest("a label", value, limits.text));
    }
    assert!(alert.warnings.len() <= 101, "{} warnings", alert.warnings.len());
    alert.warnings.iter().for_each(|warning| assert_told_well("a warning", warning, 1000));
    for link in &alert.links {
        one_line("a link", link);
        assert!(link.contains(':'), "{link:?} is no link");
    }
}

/// What is stored of an alert comes back as it was.
fn stored(alert: &Alert) {
    let json = serde_json::to_string(alert).expect("an alert can be stored");
    let back: Alert = serde_json::from_str(&json).expect("what was stored can be read");
    assert_eq!(back, *alert, "it is not what was stored");
}

/// What a person sees is never empty, bounded, and holds nothing that plays tricks.
fn shown(alert: &Alert) {
    let received = "2026-11-21T18:42:03Z".parse().expect("a time");
    let record = AlertRecord {
        id: AlertId(54_321),
        alert: alert.clone(),
        source: "mailbox:ops".into(),
        received,
        resolves: None,
    };
    let notification = Notification {
        id: NotificationId(1),
        kind: Kind::Alert,
        alert: Some(AlertId(54_321)),
        condition: None,
        recipient: "alice".parse().expect("a name"),
        jid: "alice@example.org".parse().expect("a JID"),
        groups: vec!["power".parse().expect("a name")],
        stanza_id: StanzaId("mb-1".into()),
        state: NotificationState::Queued,
        severity: alert.severity,
        delivery: Delivery { shows: ShowSet::all(), offline: Offline::Hold, hold_for_ms: 1 },
        forced: false,
        created: received,
        not_before: None,
        expires: None,
        held_until: None,
        first_intent: None,
        attempts: 1,
        folds: 0,
    };
    for lang in [None, Some("de-AT")] {
        let text = render::message(&record, &notification, lang, false, received, 300);
        assert!(!text.trim().is_empty());
        assert!(text.chars().count() < 5000, "a message of {} characters", text.chars().count());
        let odd = text.chars().find(|c| {
            (c.is_control() && !matches!(c, '\n' | '\t'))
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        });
        assert_eq!(odd, None, "{text:?}");
    }
}

/// Native alerts, written and read again, are the same alerts.
fn written(alerts: &[Alert], limits: &Limits) {
    let native: Vec<&Alert> = alerts.iter().filter(|alert| alert.format == Format::Native).collect();
    if native.is_empty() {
        return;
    }
    let labels: Vec<Vec<(String, String)>> = native.iter().map(|alert| pairs(&alert.labels)).collect();
    let written: Vec<NativeAlert<'_>> = native
        .iter()
        .zip(&labels)
        .map(|(alert, labels)| NativeAlert {
            id: Some(&alert.id),
            key: Some(&alert.key.0),
            status: Some(alert.status),
            severity: Some(alert.severity),
            sent: alert.sent,
            title: &alert.title,
            text: &alert.text,
            groups: &alert.groups,
            labels,
            links: &alert.links,
            expires: alert.expires,
        })
        .collect();
    let sender = &native[0].sender;
    let mail = format!(
        "From: {sender}\nMessage-ID: <again@example.org>\nContent-Type: application/xml; charset=utf-8\n\n{}",
        native_write::write(&written)
    );
    let limits = Limits { text: limits.text, ..Limits::default() };
    let how =
        How { plain: Plain::Quarantine, limits: &limits, mappings: &Mappings::default(), rules: &Rules::default() };
    let again = parse::mail(mail.as_bytes(), &how);
    let Outcome::Alerts { alerts: again, bad } = again.outcome else { panic!("{:?} of {mail}", again.outcome) };
    assert_eq!(bad, [""; 0], "of {mail}");
    assert_eq!(again.len(), native.len(), "of {mail}");
    for (before, after) in native.into_iter().zip(again) {
        let what = |alert: &Alert| {
            let Alert { id, key, status, severity, title, text, sent, expires, groups, labels, links, .. } =
                alert.clone();
            (id, key, status, severity, title, text, (sent, expires, groups, labels, links))
        };
        assert_ne!(before.status, Status::Recorded);
        assert_eq!(what(before), what(&after), "of {mail}");
    }
}

fn pairs(labels: &Labels) -> Vec<(String, String)> {
    let each =
        |(name, values): (&str, &[String])| values.iter().map(|v| (name.to_owned(), v.clone())).collect::<Vec<_>>();
    labels.iter().flat_map(each).collect()
}
