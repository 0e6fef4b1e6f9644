//! What is too much, and what is meant to hurt.

use super::cap::{cap, info};
use super::*;

#[test]
fn caps_leave_a_reason_and_lose_nothing_silently() {
    let limits = Limits { text: 10, alerts: 2, ..Limits::default() };
    let alert = "<alert><title>a long title</title><text>ääääääääääääää</text></alert>";
    let raw = of("text/xml", format!("<alerts xmlns=\"urn:mailbell:alert:1\">{}</alerts>", alert.repeat(5)));
    let Outcome::Alerts { alerts, bad } = crate::parse::mail(&raw, &how(Plain::Quarantine, &limits)).outcome else {
        panic!()
    };
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
    assert_eq!(mail_caught(&raw, &how), crate::parse::mail(&raw, &how));
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
