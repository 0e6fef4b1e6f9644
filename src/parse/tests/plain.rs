//! Mails without XML, and those that are no alerts.

use super::*;

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
