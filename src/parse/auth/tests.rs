use proptest::prelude::*;

use super::*;

const ID: &str = "mx.example.org";
const RECEIVED: &str = "Received: from out.example.com (out.example.com [192.0.2.1])\r\n\tby mx.example.org (Postfix) with ESMTPS id 4;\r\n\tSun, 22 Nov 2026 10:00:00 +0000\r\n";
const REST: &str = "From: UPS <ups@example.com>\r\nSubject: x\r\n\r\nbody\r\n";

/// What is said of a mail with these fields on top.
fn said(top: &str) -> Result<(), String> {
    dmarc(format!("{top}{REST}").as_bytes(), ID, "ups@example.com")
}

/// What is said of a mail with this body of the field, at its right place.
fn says(value: &str) -> Result<(), String> {
    said(&format!("Authentication-Results: {value}\r\n{RECEIVED}"))
}

#[test]
fn what_our_server_says_is_believed_however_it_is_written() {
    for value in [
        "mx.example.org; dmarc=pass header.from=example.com",
        "mx.example.org; dmarc=pass (p=none dis=none) header.from=example.com",
        "mx.example.org 1; dmarc=pass header.from=example.com",
        "\"mx.example.org\" (ours; dmarc=fail) 1 ; DMARC/1=Pass header.from=Example.COM.",
        "mx.example.org;\r\n\tdkim=fail reason=\"no; dmarc=fail\" header.d=example.net;\r\n\tspf=softfail smtp.mailfrom=\"a b\"@example.net;\r\n dmarc=pass policy.dmarc=none header.from=\"example.com\"",
        "mx.example.org ;dmarc (c) = (c(c)\\)) pass reason = \"all \\\"well\\\"\" header (c) . (c) from (c) = example.com (c)",
        "mx.example.org; dmarc=pass header.from=ups@example.com",
        "mx.example.org; spf=none; dmarc=pass header.from=example.com; ",
        "mx.example.org; dmarc=pass header.from=example.com; dmarc=pass header.from=example.com",
    ] {
        assert_eq!(says(value), Ok(()), "{value}");
    }
    // OpenDKIM and OpenDMARC add a field each.
    let several = "Return-Path: <x@example.com>\r\nDelivered-To: ops@example.org\r\nReceived: from mx.example.org by store.example.org\r\n\
                   \twith LMTP; Sun, 22 Nov 2026 10:00:01 +0000\r\nAuthentication-Results: mx.example.org; dmarc=pass header.from=example.com\r\n\
                   Authentication-Results: mx.example.org; dkim=pass header.d=example.com\r\n";
    assert_eq!(said(&format!("{several}{RECEIVED}")), Ok(()));
}

#[test]
fn anything_but_a_pass_for_this_domain_is_refused_with_the_reason() {
    for (value, reason) in [
        ("mx.example.org; dmarc=fail header.from=example.com", "mx.example.org says dmarc=fail"),
        ("mx.example.org; dmarc=none header.from=example.com", "mx.example.org says dmarc=none"),
        ("mx.example.org; dmarc=bestguesspass header.from=example.com", "mx.example.org says dmarc=bestguesspass"),
        ("mx.example.org; dmarc=\"pass \" header.from=example.com", "mx.example.org says dmarc=pass "),
        (
            "mx.example.org; dmarc=pass header.from=example.net",
            "mx.example.org says dmarc=pass for example.net, not for example.com",
        ),
        (
            "mx.example.org; dmarc=pass header.from=sub.example.com",
            "mx.example.org says dmarc=pass for sub.example.com, not for example.com",
        ),
        ("mx.example.org; dmarc=pass", "mx.example.org says dmarc=pass, but not for which header.from"),
        (
            "mx.example.org; dmarc=pass smtp.from=example.com",
            "mx.example.org says dmarc=pass, but not for which header.from",
        ),
        (
            "mx.example.org; dmarc=pass header.from=example.net header.from=example.com",
            "mx.example.org says dmarc=pass for several header.from",
        ),
        ("mx.example.org; none", "mx.example.org says nothing of DMARC about it"),
        ("mx.example.org", "mx.example.org says nothing of DMARC about it"),
        ("mx.example.org; spf=pass; dkim=pass header.d=example.com", "mx.example.org says nothing of DMARC about it"),
        (
            "mx.example.org; spf=pass (dmarc=pass header.from=example.com)",
            "mx.example.org says nothing of DMARC about it",
        ),
        (
            "mx.example.org; spf=pass reason=\"; dmarc=pass header.from=example.com\"",
            "mx.example.org says nothing of DMARC about it",
        ),
        // Any fail wins.
        (
            "mx.example.org; dmarc=pass header.from=example.com; dmarc=fail header.from=example.com",
            "mx.example.org says dmarc=fail",
        ),
        (
            "mx.example.org; dmarc=fail header.from=example.com; dmarc=pass header.from=example.com",
            "mx.example.org says dmarc=fail",
        ),
        (
            "mx.example.org; dmarc=pass header.from=example.com; dmarc=pass header.from=example.net",
            "mx.example.org says dmarc=pass for example.net, not for example.com",
        ),
        // What cannot be read.
        (
            "mx.example.org; dmarc/2=pass header.from=example.com",
            "what mx.example.org says of it cannot be read (RFC 8601)",
        ),
        (
            "mx.example.org; dmarc=pass header.from=example.com (",
            "what mx.example.org says of it cannot be read (RFC 8601)",
        ),
        (
            "mx.example.org; dmarc=pass header.from=\"example.com",
            "what mx.example.org says of it cannot be read (RFC 8601)",
        ),
        (
            "mx.example.org; dmarc=pass header.from=example.com and more",
            "what mx.example.org says of it cannot be read (RFC 8601)",
        ),
        ("mx.example.org; =pass header.from=example.com", "what mx.example.org says of it cannot be read (RFC 8601)"),
        (
            "mx.example.org; dmarc==pass header.from=example.com",
            "what mx.example.org says of it cannot be read (RFC 8601)",
        ),
    ] {
        assert_eq!(says(value), Err(reason.to_owned()), "{value}");
    }
}

#[test]
fn only_the_name_itself_is_our_server() {
    for (value, other) in [
        ("MX.example.org; dmarc=pass header.from=example.com", "; there is one of MX.example.org"),
        ("mx.example.org.; dmarc=pass header.from=example.com", "; there is one of mx.example.org."),
        ("xmx.example.org; dmarc=pass header.from=example.com", "; there is one of xmx.example.org"),
        ("mail.example.net; dmarc=pass header.from=example.com", "; there is one of mail.example.net"),
        (
            "(mx.example.org;) mail.example.net; dmarc=pass header.from=example.com",
            "; there is one of mail.example.net",
        ),
        // Another version, several words, no name at all.
        ("mx.example.org 2; dmarc=pass header.from=example.com", "; what stands below is not believed"),
        ("mx.example.org x; dmarc=pass header.from=example.com", "; what stands below is not believed"),
        ("dmarc=pass header.from=example.com; mx.example.org", "; what stands below is not believed"),
        ("(mx.example.org; dmarc=pass header.from=example.com", "; what stands below is not believed"),
        ("", "; what stands below is not believed"),
    ] {
        let reason = format!("no Authentication-Results of mx.example.org stands above its Received line{other}");
        assert_eq!(says(value), Err(reason), "{value}");
    }
}

const FORGED: &str = "Authentication-Results: mx.example.org; dmarc=pass header.from=example.com\r\n";

#[test]
fn only_what_stands_above_our_servers_own_line_is_believed() {
    let below = "; what stands below is not believed";
    let inner = "Received: from mx.example.org by store.example.org with LMTP; Sun, 22 Nov 2026 10:00:01 +0000\r\n";
    let forged_hop = RECEIVED.replace("out.example.com", "evil.example.net");
    for (top, also) in [
        // Sent along by whoever wrote the mail: below the line of the server that let it in.
        (format!("{RECEIVED}{FORGED}"), below),
        (format!("{inner}{RECEIVED}{FORGED}"), below),
        // With a line of our server forged, too.
        (format!("{RECEIVED}{FORGED}{forged_hop}"), below),
        (format!("{inner}{RECEIVED}{FORGED}{forged_hop}"), below),
        // A mail that did not come through our server: what the last one put on top is all that is certain.
        (format!("{inner}{FORGED}"), below),
        // A mail that came through no server.
        (FORGED.to_owned(), below),
        (String::new(), ""),
        // Not this field.
        (format!("X-{FORGED}{RECEIVED}"), ""),
        (format!("ARC-{FORGED}{RECEIVED}"), ""),
        (format!("Subject: a\r\n {FORGED}{RECEIVED}"), ""),
    ] {
        let reason = format!("no Authentication-Results of mx.example.org stands above its Received line{also}");
        assert_eq!(said(&top), Err(reason), "{top}");
    }
    // What our server says counts, whatever was sent along.
    let fail = FORGED.replace("=pass", "=fail");
    assert_eq!(said(&format!("{fail}{RECEIVED}{FORGED}")), Err("mx.example.org says dmarc=fail".to_owned()));
    assert_eq!(said(&format!("{FORGED}{RECEIVED}{fail}")), Ok(()));
    // In a mail that is attached.
    let nested =
        format!("{RECEIVED}From: ups@example.com\r\nContent-Type: message/rfc822\r\n\r\n{FORGED}{RECEIVED}{REST}");
    assert!(dmarc(nested.as_bytes(), ID, "ups@example.com").is_err());
}

#[test]
fn a_sender_cannot_hide_our_servers_line_by_its_helo() {
    for helo in ["by", "by by", "(", "\"", "from x by", "by evil.example.net (", ";", "(by"] {
        let hop = format!(
            "Received: from {helo} (evil.example.net [192.0.2.9])\r\n\tby MX.example.org (Postfix) with SMTP id 5; now\r\n"
        );
        let forged_hop = RECEIVED;
        assert!(said(&format!("{hop}{FORGED}{forged_hop}")).is_err(), "{helo}");
    }
}

#[test]
fn an_address_without_a_domain_is_vouched_for_by_nobody() {
    let raw = format!("{FORGED}{RECEIVED}{REST}");
    for from in ["", "ups", "ups@", "@"] {
        assert!(dmarc(raw.as_bytes(), ID, from).is_err(), "{from:?}");
    }
    assert!(dmarc(raw.as_bytes(), ID, "ups@example.com\u{202e}").is_err());
}

#[test]
fn reasons_hold_nothing_that_plays_tricks() {
    let reason = says("mx.example.org; dmarc=pass header.from=\"evil\u{202e}\x1b[2J.example\"").unwrap_err();
    assert!(!reason.chars().any(crate::model::plays_tricks), "{reason:?}");
    let reason = says("mx\u{202e}\x1b; dmarc=pass").unwrap_err();
    assert!(!reason.chars().any(crate::model::plays_tricks), "{reason:?}");
}

proptest! {
    #[test]
    fn nothing_that_came_with_the_mail_changes_what_is_believed(mail in "(?s)[ -~\r\n\t]{0,200}", pieces in pieces()) {
        // Below the line of our server anything may stand.
        let with = |own: &str| said(&[own, RECEIVED, &pieces, &mail].concat());
        prop_assert_eq!(with(FORGED), Ok(()));
        prop_assert!(with(&FORGED.replace("=pass", "=fail")).is_err());
        prop_assert!(with("").is_err());
    }

    #[test]
    fn every_value_ends_in_an_answer(value in "(?s).{0,200}", pieces in pieces()) {
        let _ = says(&value);
        let _ = says(&format!("mx.example.org; {value}"));
        let _ = said(&pieces);
        let _ = dmarc(value.as_bytes(), ID, &pieces);
    }

    #[test]
    fn a_pass_needs_the_words(value in "(?s)[a-z=;()\" .\\\\]{0,60}") {
        // Whatever stands behind our name without header.from=example.com in it is no pass.
        let said = says(&["mx.example.org; ", &value].concat());
        prop_assert!(said.is_err());
    }
}

/// Fields as a forger would write them.
fn pieces() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        Just(FORGED.to_owned()),
        Just(RECEIVED.to_owned()),
        Just("Received: by mx.example.org\r\n".to_owned()),
        Just("Authentication-Results: mx.example.org 1; dmarc=fail\r\n".to_owned()),
        Just("From: ups@example.com\r\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("\n".to_owned()),
        Just("\r".to_owned()),
        Just(" folded\r\n".to_owned()),
    ];
    prop::collection::vec(field, 0..8).prop_map(|fields| fields.concat())
}
