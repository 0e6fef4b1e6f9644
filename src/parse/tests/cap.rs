//! CAP.

use super::*;

/// A CAP alert whose head lacks or changes what `replace` says, with these infos.
pub(super) fn cap(replace: &[(&str, &str)], infos: &str) -> Vec<u8> {
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

pub(super) fn info(severity: &str, more: &str) -> String {
    format!(
        "<info><category>Met</category><event>Storm</event><urgency>Future</urgency><severity>{severity}</severity>\
         <certainty>Likely</certainty>{more}</info>"
    )
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
