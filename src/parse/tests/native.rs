//! mailbell's own vocabulary.

use super::cap::cap;
use super::*;

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
