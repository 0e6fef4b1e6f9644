//! Tests of whole mails: what is common to all formats here, the formats in files of their own.

mod cap;
mod hostile;
mod native;
mod plain;

use std::sync::LazyLock;

use super::*;
use crate::model::{Audience, Format, Key, Nature, Status};

/// An alert that says next to nothing.
pub(crate) fn an_alert() -> Alert {
    Alert {
        id: "1".to_owned(),
        key: Key("1".to_owned()),
        sender: "a@b".to_owned(),
        title: "t".to_owned(),
        ..Alert::empty(Format::Native)
    }
}

const WARNING: Plain = Plain::Alert(Severity::Warning);

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mails = files.filter(|path| path.extension().is_some_and(|e| e == "eml"));
    let name = |path: &std::path::Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut mails: Vec<_> = mails.map(|path| (name(&path), std::fs::read(&path).unwrap())).collect();
    mails.sort();
    mails
}

fn fixture(name: &str) -> Vec<u8> {
    fixtures().into_iter().find(|(n, _)| n == name).unwrap().1
}

fn how(plain: Plain, limits: &Limits) -> How<'_> {
    static BUILT_IN: LazyLock<Mappings> = LazyLock::new(crate::config::built_in_mappings);
    static NO_RULES: LazyLock<Rules> = LazyLock::new(Rules::default);
    How { plain, limits, mappings: &BUILT_IN, rules: &NO_RULES }
}

/// Reads a mail with the usual limits.
fn mail(raw: &[u8], plain: Plain) -> Mail {
    super::mail(raw, &how(plain, &Limits::default()))
}

fn outcome(raw: impl AsRef<[u8]>) -> Outcome {
    mail(raw.as_ref(), Plain::Quarantine).outcome
}

fn alerts(raw: impl AsRef<[u8]>, plain: Plain) -> (Vec<Alert>, Vec<String>) {
    match mail(raw.as_ref(), plain).outcome {
        Outcome::Alerts { alerts, bad } => (alerts, bad),
        other => panic!("no alerts: {other:?}"),
    }
}

fn quarantined(raw: impl AsRef<[u8]>, plain: Plain) -> String {
    match mail(raw.as_ref(), plain).outcome {
        Outcome::Quarantined(reason) => reason,
        other => panic!("not quarantined: {other:?}"),
    }
}

fn ignored(raw: impl AsRef<[u8]>) -> String {
    let strict = outcome(raw.as_ref());
    assert_eq!(mail(raw.as_ref(), WARNING).outcome, strict, "whatever `plain` says");
    match strict {
        Outcome::Ignored(reason) => reason,
        other => panic!("not ignored: {other:?}"),
    }
}

/// A mail from `a@b.example` with this content type and body.
pub(crate) fn of(media: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let header = format!(
        "From: A <A@b.example>\r\nSubject: s\r\nDate: Sat, 21 Nov 2026 18:42:05 +0000\r\nMessage-ID: <m@b>\r\nContent-Type: {media}\r\n\r\n"
    );
    [header.as_bytes(), body.as_ref()].concat()
}

fn native(inside: &str) -> Vec<u8> {
    of("application/xml", format!("<alert xmlns=\"urn:mailbell:alert:1\" {inside}</alert>"))
}

#[test]
fn fixtures_become_what_they_should() {
    for (name, raw) in fixtures() {
        let seen = match mail(&raw, WARNING).outcome {
            Outcome::Alerts { alerts, bad } => serde_json::json!({ "alerts": alerts, "bad": bad }),
            Outcome::Ignored(reason) => serde_json::json!({ "ignored": reason }),
            Outcome::Quarantined(reason) => serde_json::json!({ "quarantined": reason }),
        };
        insta::assert_json_snapshot!(name, seen);
    }
}

#[test]
fn fixtures_have_headers_that_intake_can_judge() {
    let header = header(&fixture("native"));
    assert_eq!(header.message_id.as_deref(), Some("ups7-1@example.com"));
    assert_eq!(header.from, ["ups7@example.com"]);
    assert_eq!(header.from_headers, 1);
    assert_eq!(header.subject.as_deref(), Some("UPS 7 on battery"));
    assert_eq!(header.date.unwrap().to_string(), "2026-11-21T18:42:05Z");
    let twice = super::header(b"From: a@b\nFrom: c@d, e@f\nReceived: by x; Sat, 21 Nov 2026 18:42:05 +0000\n\n");
    assert_eq!((twice.from_headers, twice.from.len()), (2, 3));
    assert!(twice.received.is_some());
    assert_eq!(super::header(b""), Header::default());
}

#[test]
fn the_body_digest_ignores_the_header() {
    let digest = |raw: &[u8]| mail(raw, Plain::Quarantine).digest;
    let (a, b) = (digest(b"Message-ID: <1>\r\nX: 1\r\n\r\nbody"), digest(b"Message-ID: <1>\r\nX: 2\r\n\r\nbody"));
    assert_eq!(a, b);
    assert_eq!(a.message_id.as_deref(), Some("1"));
    assert_ne!(a.body_sha256, digest(b"Message-ID: <1>\r\n\r\nBody").body_sha256);
}

#[test]
fn the_same_alert_in_two_parts_is_one_but_two_alerts_stay_two() {
    let parts = |a: &str, b: &str| {
        let part = |xml: &str| format!("--b\r\nContent-Type: application/xml\r\n\r\n{xml}\r\n");
        of("multipart/mixed; boundary=b", format!("{}{}--b--\r\n", part(a), part(b)))
    };
    let alert = |attributes: &str, title: &str| {
        format!("<alert xmlns=\"urn:mailbell:alert:1\" {attributes}><title>{title}</title></alert>")
    };
    let ids = |raw| alerts(raw, Plain::Quarantine).0.into_iter().map(|a| a.id).collect::<Vec<_>>();
    assert_eq!(ids(parts(&alert("", "x"), &alert("", "x"))), ["m@b"]);
    assert_eq!(ids(parts(&alert("", "x"), &alert("", "y"))), ["m@b", "m@b#2"]);
    assert_eq!(ids(parts(&alert("id='1'", "x"), &alert("id='1'", "x"))), ["1"]);
    assert_eq!(ids(parts(&alert("id='1'", "x"), &alert("id='1'", "y"))), ["1", "1#2"]);
    assert_eq!(ids(parts(&alert("id='1'", "x"), &alert("id='1' status='resolved'", "x"))), ["1", "1"]);
    let twice = format!("<alerts xmlns=\"urn:mailbell:alert:1\">{0}{0}</alerts>", alert("", "x"));
    assert_eq!(ids(of("text/xml", twice)), ["m@b", "m@b#2"]);
}

#[test]
fn where_xml_is_found() {
    let xml = "<alert xmlns=\"urn:mailbell:alert:1\"><title>t</title></alert>";
    let declared = format!("\r\n\r\n<?xml version=\"1.0\"?>\r\n{xml}");
    for raw in [
        of("text/xml", xml),
        of("application/cap+xml; charset=utf-8", xml),
        of("application/vnd.example+xml", xml),
        of("application/octet-stream; name=\"A.XML\"", xml),
        of("application/octet-stream; name=a.cap", xml),
        of("text/plain; name=a.xml", xml),
        of("text/plain", xml),
        of("text/plain", &declared),
        of("TEXT/XML; CHARSET=\"UTF-8\"", &declared),
    ] {
        assert_eq!(alerts(&raw, Plain::Quarantine).0[0].title, "t", "{}", String::from_utf8_lossy(&raw));
    }
    for body in
        ["<12> disk full", "<html><body>down</body></html>", "<?xml version='1.0'?>\n<html/>", "see <alert> below"]
    {
        assert!(
            quarantined(of("text/plain", body), Plain::Quarantine).starts_with("no alert XML in it; set plain"),
            "{body}"
        );
        assert_eq!(alerts(of("text/plain", body), WARNING).0[0].format, Format::Plain);
    }
}

#[test]
fn broken_or_unknown_xml_never_becomes_a_plain_alert_of_its_own() {
    for (body, want) in [
        ("<alert xmlns=\"urn:mailbell:alert:1\"><title>t</title>", "it ends inside <alert>"),
        ("<alerts xmlns=\"urn:mailbell:alert:1\"/>", "<alerts> holds no alert"),
        (
            "<alert xmlns=\"urn:mailbell:alert:9\"><title>t</title></alert>",
            "the root <alert> of namespace urn:mailbell:alert:9 is unknown",
        ),
        ("<report/>", "the root <report> of no namespace is unknown; known are <alert> and <alerts>"),
        ("<!DOCTYPE x><alert xmlns=\"urn:mailbell:alert:1\"><title>t</title></alert>", "it has a DOCTYPE"),
        (
            "<alert xmlns=\"urn:mailbell:alert:1\"><title>t</title></alert>\n-- \nfooter",
            "text stands after the end of the root element",
        ),
        ("<alert xmlns=\"urn:mailbell:alert:1\"><title>t\0</title></alert>", "U+0000 is no character that XML allows"),
        ("", "is empty"),
    ] {
        let reason = quarantined(of("application/xml", body), WARNING);
        assert!(reason.contains(want), "{reason}");
    }
}
