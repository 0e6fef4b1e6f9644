//! Tests of whole mails.

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

/// A CAP alert whose head lacks or changes what `replace` says, with these infos.
fn cap(replace: &[(&str, &str)], infos: &str) -> Vec<u8> {
    let mut head = "<identifier>I</identifier><sender>s@x</sender><sent>2026-11-21T18:00:00+00:00</sent>\
                    <status>Actual</status><msgType>Alert</msgType><scope>Public</scope>"
        .to_owned();
    for (from, to) in replace {
        assert!(head.contains(from), "{from}");
        head = head.replace(from, to);
    }
    let space = "urn:oasis:names:tc:emergency:cap:1.2";
    of("application/cap+xml", format!("<?xml version=\"1.0\"?>\n<alert xmlns=\"{space}\">\n{head}{infos}</alert>"))
}

fn info(severity: &str, more: &str) -> String {
    format!(
        "<info><category>Met</category><event>Storm</event><urgency>Future</urgency><severity>{severity}</severity>\
         <certainty>Likely</certainty>{more}</info>"
    )
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
fn native_defaults_come_from_the_mail() {
    let (alerts, bad) = alerts(native("><title> Fan \n stopped </title>"), Plain::Quarantine);
    assert!(bad.is_empty());
    let want = Alert {
        id: "m@b".to_owned(),
        key: Key("m@b".to_owned()),
        sender: "a@b.example".to_owned(),
        title: "Fan stopped".to_owned(),
        sent: Some("2026-11-21T18:42:05Z".parse().unwrap()),
        ..an_alert()
    };
    assert_eq!(alerts, [want]);
}

#[test]
fn texts_are_joined_and_empty_ones_leave_no_trace() {
    let texts = "><title>t</title><text/><text>a</text><text> </text><text>b</text><text/>";
    let (alerts, bad) = alerts(native(texts), Plain::Quarantine);
    assert_eq!((alerts[0].text.as_str(), bad.len()), ("a\n\nb", 0));
}

#[test]
fn wrong_native_values_name_line_element_and_what_is_allowed() {
    for (inside, want) in [
        ("\nstatus='gone'><title>t</title>", "line 1: <alert>: status: \"gone\" is none of firing, update, resolved"),
        ("severity='high'><title>t</title>", "severity: \"high\" is none of critical, major, minor, warning, info"),
        ("sent='now'><title>t</title>", "sent: \"now\" is no time; write it like 2026-11-21T18:42:00Z"),
        (">\n<title>t</title>\n<expires>later</expires>", "line 3: <expires>: \"later\" is no time"),
        ("><title> </title>", "line 1: <alert>: it has no <title>, which is required"),
    ] {
        let reason = quarantined(native(inside), WARNING);
        assert!(reason.contains(want), "{reason}");
    }
}

#[test]
fn what_native_does_not_know_is_kept_and_flagged() {
    let raw = native(
        "severity='Major' foo='1'><title>t</title><title>u</title><bar>2</bar><label>x</label><link>javascript:x</link>\
         <link>XMPP:a@b</link><x:y xmlns:x='u'>3</x:y>",
    );
    let (alerts, _) = alerts(raw, Plain::Quarantine);
    let alert = &alerts[0];
    assert_eq!((alert.title.as_str(), alert.severity), ("t", Severity::Major));
    assert_eq!(alert.links, ["XMPP:a@b"]);
    for (name, value) in [("foo", "1"), ("bar", "2"), ("y", "3")] {
        assert_eq!(alert.labels.get(name), [value], "{name}");
    }
    assert_eq!(alert.warnings.len(), 7, "{:#?}", alert.warnings);
}

#[test]
fn no_sender_says_what_the_gateway_knows() {
    let raw = native("><title>t</title><label name=\"mailbell.rule\">x</label><label name=\"mailbellows\">y</label>");
    let alert = &alerts(raw, Plain::Quarantine).0[0];
    assert_eq!(alert.labels.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["mailbellows"]);
    assert_eq!(alert.warnings, ["label mailbell.rule: names that start with mailbell. are not for senders; left out"]);
}

#[test]
fn alerts_without_a_namespace_are_read_where_they_say_what_they_are() {
    let (found, _) = alerts(of("text/xml", "<alert><title>t</title></alert>"), Plain::Quarantine);
    assert!(found[0].warnings[0].contains("it lacks xmlns=\"urn:mailbell:alert:1\""));
    let bare = String::from_utf8(cap(&[], "")).unwrap().replace(" xmlns=\"urn:oasis:names:tc:emergency:cap:1.2\"", "");
    let (found, _) = alerts(bare, Plain::Quarantine);
    assert_eq!(found[0].format, Format::Cap);
    assert!(quarantined(of("text/xml", "<alert><name>t</name></alert>"), Plain::Quarantine).contains("unknown"));
    assert!(quarantined(of("text/xml", "<x><alert><title>t</title></alert></x>"), Plain::Quarantine).contains("<x>"));
}

#[test]
fn cap_words_become_ours() {
    for (msg_type, status) in [
        ("Alert", Status::Firing),
        ("Update", Status::Update),
        ("Cancel", Status::Resolved),
        ("Ack", Status::Recorded),
        ("Error", Status::Recorded),
    ] {
        let (found, _) = alerts(cap(&[("Alert<", &format!("{msg_type}<"))], &info("Severe", "")), Plain::Quarantine);
        assert_eq!((found[0].status, found[0].tell_operators), (status, msg_type == "Error"));
    }
    for (word, severity) in [
        ("Extreme", Severity::Critical),
        ("Severe", Severity::Major),
        ("Moderate", Severity::Minor),
        ("Minor", Severity::Warning),
        ("Unknown", Severity::Info),
        ("", Severity::Warning),
        ("Awful", Severity::Warning),
        ("severe", Severity::Major),
    ] {
        let (found, _) = alerts(cap(&[], &info(word, "")), Plain::Quarantine);
        assert_eq!(found[0].severity, severity, "{word}");
        let flagged = !found[0].warnings.is_empty();
        assert_eq!(flagged, matches!(word, "" | "Awful" | "severe"), "{word}: {:?}", found[0].warnings);
    }
    for nature in [Nature::Actual, Nature::Exercise, Nature::System, Nature::Test, Nature::Draft] {
        let (found, _) = alerts(cap(&[("Actual", nature.as_str())], ""), Plain::Quarantine);
        assert_eq!(found[0].nature, nature);
    }
    let private = "<scope>Private</scope><addresses>a@b \"Fire Brigade\" c@d</addresses>";
    let (found, _) = alerts(cap(&[("<scope>Public</scope>", private)], ""), Plain::Quarantine);
    let named = ["a@b", "Fire Brigade", "c@d"].map(str::to_owned).to_vec();
    assert_eq!(found[0].audience, Audience::Private(named));
    let (found, _) = alerts(cap(&[("Public", "Restricted")], ""), Plain::Quarantine);
    assert_eq!(found[0].audience, Audience::Restricted);
}

#[test]
fn cap_without_what_it_must_have_is_refused_with_the_line() {
    for (from, to, want) in [
        (
            "<status>Actual</status>",
            "\n<status>Aktual</status>",
            "line 4: <status>: \"Aktual\" is none of Actual, Exercise, System, Test, Draft",
        ),
        ("<status>Actual</status>", "", "line 2: <status> is missing, but required"),
        ("I</identifier>", "</identifier>", "line 3: <identifier>: it is empty, but required"),
        ("s@x", "", "<sender>: it is empty"),
        ("2026-11-21T18:00:00+00:00", "yesterday", "<sent>: \"yesterday\" is no time"),
        (
            "<msgType>Alert</msgType>",
            "<msgType>Alarm</msgType>",
            "<msgType>: \"Alarm\" is none of Alert, Update, Cancel, Ack, Error",
        ),
        ("<scope>Public</scope>", "", "<scope> is missing"),
    ] {
        let reason = quarantined(cap(&[(from, to)], &info("Severe", "")), WARNING);
        assert!(reason.contains(want), "{reason}");
    }
    // 1.0 has no word on the scope.
    let old = String::from_utf8(cap(&[("<scope>Public</scope>", "")], "")).unwrap();
    let (found, _) = alerts(old.replace("cap:1.2", "cap:1.0"), Plain::Quarantine);
    assert_eq!(found[0].audience, Audience::Public);
}

#[test]
fn no_cap_alert_is_lost_for_what_is_optional() {
    let (found, bad) = alerts(cap(&[], "<info/><info><expires>soon</expires></info>"), Plain::Quarantine);
    assert!(bad.is_empty());
    assert_eq!(found[0].title, "CAP Alert I");
    assert_eq!((found[0].severity, found[0].expires), (Severity::Warning, None));
    let warnings = found[0].warnings.join("\n");
    for name in ["category", "event", "urgency", "severity", "certainty"] {
        assert!(warnings.contains(&format!("<{name}> is missing")), "{name}");
    }
    assert!(warnings.contains("<expires>: \"soon\" is no time; left out"));
}

#[test]
fn infos_of_one_language_are_a_sequence() {
    let one = |severity, lang: &str, head: &str, expires: &str| {
        info(
            severity,
            &format!(
                "<language>{lang}</language><effective>2026-11-21T{expires}:00:00+00:00</effective>\
                 <expires>2026-11-22T{expires}:00:00+00:00</expires><headline>{head}</headline><description>d {head}</description>"
            ),
        )
    };
    let infos =
        one("Minor", "sv-SE", "gul", "10") + &one("Severe", "sv_se", "röd", "12") + &one("Minor", "en", "yellow", "11");
    let (found, _) = alerts(cap(&[], &infos), Plain::Quarantine);
    let alert = &found[0];
    assert_eq!((alert.title.as_str(), alert.text.as_str()), ("röd", "gul\nd gul\n\nd röd"));
    assert_eq!(alert.severity, Severity::Major);
    assert_eq!(alert.effective.unwrap().to_string(), "2026-11-21T10:00:00Z");
    assert_eq!(alert.expires.unwrap().to_string(), "2026-11-22T12:00:00Z");
    let variants: Vec<_> = alert.variants.iter().map(|v| (v.lang.as_str(), v.title.as_str())).collect();
    assert_eq!(variants, [("sv-SE", "röd"), ("en", "yellow")]);
}

#[test]
fn references_name_the_condition() {
    let references = |text: &str| {
        let (found, _) =
            alerts(cap(&[("</scope>", &format!("</scope><references>{text}</references>"))], ""), Plain::Quarantine);
        (found[0].key.0.clone(), found[0].references.len())
    };
    assert_eq!(references("s@x,B,2026-11-21T17:00:00+00:00 s@x,A,2026-11-21T17:30:00+01:00"), ("A".to_owned(), 2));
    // Another sender's alert is listed, but names nothing of ours.
    assert_eq!(references("z@x,B,2026-11-21T17:00:00+00:00"), ("I".to_owned(), 1));
    assert_eq!(references("nonsense"), ("I".to_owned(), 0));
}

#[test]
fn a_signature_is_reported_as_not_verified() {
    let signature = "<Signature xmlns='http://www.w3.org/2000/09/xmldsig#'><SignedInfo/></Signature>";
    let (found, _) = alerts(cap(&[], &(info("Minor", "") + signature)), Plain::Quarantine);
    assert_eq!(found[0].labels.get("cap.signature"), ["present, not verified"]);
    assert!(!found[0].text.contains("signature") && found[0].warnings.is_empty());
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

#[test]
fn bounces_that_quote_an_alert_are_no_alert() {
    let xml = "Content-Type: application/xml\r\n\r\n<alert xmlns=\"urn:mailbell:alert:1\"><title>t</title></alert>\r\n";
    let quote = format!("--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: s\r\n{xml}--b--\r\n");
    let body = format!("--b\r\n\r\nIt could not be delivered.\r\n{quote}");
    ignored(of("multipart/report; report-type=delivery-status; boundary=b", &body));
    ignored(of("multipart/mixed; boundary=b", &body));
    let from =
        |from: &str, body: &str| format!("From: {from}\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{body}");
    ignored(from("MAILER-DAEMON@x", &quote));
    ignored(from("postmaster@x", &quote));
    ignored(format!("Return-Path: <>\r\n{}", from("robot@x", &quote)));
    // The same quote in a mail of a person is an alert that was forwarded …
    assert_eq!(alerts(from("op@x", &quote), Plain::Quarantine).0.len(), 1);
    // … unless what was forwarded is a bounce itself.
    let inner = format!("--c\r\nContent-Type: message/rfc822\r\n\r\n{}--c--\r\n", from("mailer-daemon@y", &quote));
    let outer =
        format!("From: op@x\r\nSubject: what is this?\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n{inner}");
    assert!(quarantined(outer, Plain::Quarantine).starts_with("no alert XML"));
}

#[test]
fn what_machines_send_is_an_alert_unless_it_is_a_reply() {
    let with = |fields: &str, body: &str| format!("From: root@db1\r\n{fields}\r\n\r\n{body}");
    let xml = "<alert xmlns=\"urn:mailbell:alert:1\"><title>t</title></alert>";
    for fields in [
        "Subject: Cron <root@db1> backup\r\nReturn-Path: <>",
        "Subject: DegradedArray event on /dev/md0:db1\r\nAuto-Submitted: auto-generated\r\nPrecedence: bulk",
        "Subject: Undelivered reports: 3\r\nX-Auto-Response-Suppress: All",
        "Subject: Auto scaling failed\r\nAuto-Submitted: auto-generated",
        "Subject: Delivery failed\r\nReturn-Path: <MAILER-DAEMON>",
    ] {
        assert_eq!(alerts(with(fields, "it is down"), WARNING).0[0].format, Format::Plain, "{fields}");
        assert_eq!(alerts(with(fields, xml), WARNING).0[0].format, Format::Native, "{fields}");
    }
    for fields in [
        "Subject: Re: x\r\nAuto-Submitted: auto-replied",
        "Subject: x\r\nPrecedence: auto_reply",
        "Subject: x\r\nX-Autoreply: yes",
        "Subject: x\r\nX-Failed-Recipients: a@b",
        "Subject: x\r\nX-Mailbell-Notice: here",
        "Subject: x\r\nX-ARF: yes",
        "Subject: x\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=b",
        "Subject: x\r\nContent-Type: multipart/report; report-type=\"disposition-notification\"; boundary=b",
    ] {
        ignored(with(fields, "text"));
        ignored(with(fields, xml));
    }
    for fields in ["Subject: =?utf-8?q?R=C3=A9ponse_automatique?= : x", "Subject: Auto: x\r\nReturn-Path: <>"] {
        ignored(with(fields, "I am away"));
    }
}

#[test]
fn plain_mails_become_alerts_only_where_the_mailbox_says_so() {
    let raw = of("text/plain; charset=iso-8859-1", b"Temperatur \xfcber 40\r\nRack 4\r\n");
    assert_eq!(
        quarantined(&raw, Plain::Quarantine),
        "no alert XML in it; set plain = \"alert\" on the mailbox to page it anyway"
    );
    let (found, _) = alerts(&raw, Plain::Alert(Severity::Critical));
    assert_eq!((found[0].title.as_str(), found[0].text.as_str()), ("s", "Temperatur über 40\nRack 4"));
    assert_eq!((found[0].severity, found[0].id.as_str()), (Severity::Critical, "m@b"));
    let (found, _) = alerts("X: y\n\n\n  first line\nsecond", WARNING);
    assert_eq!((found[0].title.as_str(), found[0].sender.as_str()), ("first line", "unknown"));
    assert!(found[0].id.starts_with("sha256-") && found[0].id == found[0].key.0);
    let (found, _) = alerts("From: Me@x\n\n", WARNING);
    assert_eq!(found[0].title, "Mail without subject or text from me@x");
    assert_eq!(quarantined("{\"no\": \"mail\"}", WARNING), "it is no mail: it has no header");
    assert_eq!(quarantined("", WARNING), "it is no mail: it has no header");
}

#[test]
fn of_alternatives_the_plain_one_is_read_unless_it_is_empty() {
    let two = |plain: &str| {
        let body = format!("--b\r\n\r\n{plain}\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>rich</p>\r\n--b--");
        alerts(of("multipart/alternative; boundary=b", body), WARNING).0[0].text.clone()
    };
    assert_eq!(two("poor"), "poor");
    assert_eq!(two("  "), "rich");
}

#[test]
fn caps_leave_a_reason_and_lose_nothing_silently() {
    let limits = Limits { text: 10, alerts: 2, ..Limits::default() };
    let alert = "<alert><title>a long title</title><text>ääääääääääääää</text></alert>";
    let raw = of("text/xml", format!("<alerts xmlns=\"urn:mailbell:alert:1\">{}</alerts>", alert.repeat(5)));
    let Outcome::Alerts { alerts, bad } = super::mail(&raw, &how(Plain::Quarantine, &limits)).outcome else { panic!() };
    assert_eq!(alerts.len(), 2);
    assert_eq!((alerts[0].title.as_str(), alerts[0].text.chars().count()), ("a long tit", 10));
    assert_eq!(alerts[0].warnings, ["the title was cut at 10 characters", "<text> was cut at 10 characters"]);
    assert_eq!(bad, ["line 1: more than 2 alerts in a mail; 3 were not read"]);
}

#[test]
fn values_are_bounded_by_number_too() {
    let codes: String =
        (0..3000).map(|n| format!("<geocode><valueName>S</valueName><value>{n}</value></geocode>")).collect();
    let (found, _) = alerts(cap(&[], &info("Minor", &format!("<area>{codes}</area>"))), Plain::Quarantine);
    assert_eq!(found[0].labels.get("cap.geocode.S").len(), 1000);
    assert!(found[0].warnings[0].contains("cap.geocode.S has more than 1000 values"));
    let many = "<x/>".repeat(1000);
    let (found, _) = alerts(native(&format!("><title>t</title>{many}")), Plain::Quarantine);
    assert_eq!(found[0].warnings.len(), 101);
    assert_eq!(found[0].warnings[100], "and 900 more warnings");
}

#[test]
fn hostile_mails_end_well_and_soon() {
    let started = std::time::Instant::now();
    let deep_xml = "<a>".repeat(10_000) + &"</a>".repeat(10_000);
    assert!(quarantined(of("text/xml", deep_xml), WARNING).contains("nested more than 64 deep"));
    let deep_mime: String =
        (0..5000).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n")).collect();
    assert!(quarantined(&deep_mime, Plain::Quarantine).contains("nested more than 16 deep"));
    assert!(!alerts(&deep_mime, WARNING).1.is_empty());
    let forwards = "Content-Type: message/rfc822\n\n".repeat(50_000);
    assert!(quarantined(forwards, Plain::Quarantine).contains("nested more than 16 deep"));
    let bomb: String = (1..20).map(|n| format!("<!ENTITY e{n} \"&e{0};&e{0};\">", n - 1)).collect();
    assert!(quarantined(of("text/xml", format!("<!DOCTYPE a [{bomb}]><a>&e19;</a>")), WARNING).contains("DOCTYPE"));
    assert!(quarantined(of("text/xml", b"<a>\xff\xfe</a>"), WARNING).contains("do not fit UTF-8"));
    alerts(of("text/plain", b"\x1b[31m\0\xff\r\r\n\xe2\x80\xae"), WARNING);
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

#[test]
fn a_mail_of_fifty_megabytes_is_read_in_linear_time() {
    let time = |bytes: usize| {
        let raw = of("text/plain", "0123456789 alert\r\n".repeat(bytes / 18));
        let started = std::time::Instant::now();
        let (found, _) = alerts(&raw, WARNING);
        assert!(found[0].warnings[0].contains("cut at 65536 characters"));
        started.elapsed()
    };
    let (small, large) = (time(5_000_000), time(50_000_000));
    assert!(large < small * 40, "{small:?} for 5 MB, {large:?} for 50 MB");
}

#[test]
fn a_panic_quarantines_the_mail() {
    let panic: Box<dyn std::any::Any + Send> = Box::new("index out of bounds".to_owned());
    let mail = failed(b"Message-ID: <1>\r\n\r\n", &*panic);
    assert_eq!(mail.outcome, Outcome::Quarantined("the parser failed on it: index out of bounds".to_owned()));
    assert_eq!(mail.header.message_id.as_deref(), Some("1"));
    let raw = fixture("native");
    let limits = Limits::default();
    let how = how(Plain::Quarantine, &limits);
    assert_eq!(mail_caught(&raw, &how), super::mail(&raw, &how));
}

mod random {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str) -> String {
        quick_xml::escape::escape(text).replace('\t', "&#9;").replace('\n', "&#10;").replace('\r', "&#13;")
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn arbitrary_bytes_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..2000)) {
            mail(&raw, WARNING);
            let xml = of("application/xml", &raw);
            mail(&xml, WARNING);
            header(&raw);
        }

        #[test]
        fn damaged_fixtures_never_panic(
            pick in any::<prop::sample::Index>(),
            cut in any::<prop::sample::Index>(),
            edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        ) {
            let all = fixtures();
            let mut raw = all[pick.index(all.len())].1.clone();
            for (at, byte) in edits {
                let at = at.index(raw.len());
                raw[at] = byte;
            }
            raw.truncate(cut.index(raw.len() * 4));
            let read = mail(&raw, WARNING);
            prop_assert_eq!(read, mail_caught(&raw, &how(WARNING, &Limits::default())));
        }

        #[test]
        fn a_native_alert_comes_back_as_it_was_sent(
            title in "[^\\s\\p{C}][^\\p{C}]{0,40}",
            text in "[^\\p{C}]{0,200}",
            key in "[^\\s\\p{C}]{1,40}",
            value in "[^\\p{C}]{0,40}",
            base64 in any::<bool>(),
        ) {
            let xml = format!(
                "<alert xmlns=\"urn:mailbell:alert:1\" key=\"{}\"><title>{}</title><text>{}</text><label name=\"l\">{}</label></alert>",
                escaped(&key), escaped(&title), escaped(&text), escaped(&value)
            );
            let raw = if base64 {
                let body = lettre::message::Body::new_with_encoding(
                    xml.into_bytes(), lettre::message::header::ContentTransferEncoding::Base64).unwrap();
                of("application/xml\r\nContent-Transfer-Encoding: base64", body)
            } else {
                of("application/xml", xml)
            };
            let (found, bad) = alerts(&raw, Plain::Quarantine);
            prop_assert!(bad.is_empty());
            prop_assert_eq!(&found[0].title, &fields::one_line(&title));
            prop_assert_eq!(&found[0].text, text.trim());
            prop_assert_eq!(&found[0].key.0, &key);
            let want: &[String] = if value.trim().is_empty() { &[] } else { &[value.trim().to_owned()] };
            prop_assert_eq!(found[0].labels.get("l"), want);
        }
    }
}
