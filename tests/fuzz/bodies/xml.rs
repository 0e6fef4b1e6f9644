//! Alert documents: as they come, and of a grammar that knows the vocabularies.

use super::mail::check;
use super::pick::Pick;

/// Deepest nesting that is made.
const DEPTH: usize = 70;

/// The first byte chooses as it does for a mail; the rest is a document, or makes one. It goes through the whole parser.
pub fn run(data: &[u8]) {
    let Some((flags, rest)) = data.split_first() else { return };
    let mut raw = b"From: ups7@example.org\nDate: Fri, 21 Nov 2026 18:42:00 +0100\nMessage-ID: <1@example.org>\nContent-Type: application/xml\n\n".to_vec();
    if flags & 4 == 0 {
        raw.extend(rest);
    } else {
        let mut text = String::new();
        document(&mut Pick::new(rest), &mut text);
        raw.extend(text.as_bytes());
    }
    check(*flags, &raw);
}

/// A document, nearly right.
pub fn document(pick: &mut Pick<'_>, out: &mut String) {
    let start = pick.of(&[
        "",
        "<?xml version=\"1.0\"?>\n",
        "<?xml version='1.0' encoding='utf-8'?>",
        "\u{feff}",
        "<!-- c -->",
        "<!DOCTYPE alert [<!ENTITY a \"b\">]>",
        "<?xml version=\"1.1\"?>",
        "\n ",
    ]);
    out.push_str(start);
    match pick.below(5) {
        0 => several(pick, out, "alerts", "urn:mailbell:alert:1", native),
        1 => several(pick, out, "EDXLDistribution", "urn:oasis:names:tc:emergency:EDXL:DE:1.0", cap),
        2 => cap(pick, out),
        _ => native(pick, out),
    }
}

fn several(pick: &mut Pick<'_>, out: &mut String, root: &str, space: &str, one: fn(&mut Pick<'_>, &mut String)) {
    out.push_str(&format!("<{root} xmlns=\"{space}\">"));
    for _ in 0..pick.below(7) {
        let around = pick.of(&["", "", "contentObject", "x"]);
        if !around.is_empty() {
            out.push_str(&format!("<{around}><xmlContent><embeddedXMLContent>"));
        }
        one(pick, out);
        if !around.is_empty() {
            out.push_str(&format!("</embeddedXMLContent></xmlContent></{around}>"));
        }
    }
    out.push_str(&format!("</{root}>"));
}

fn native(pick: &mut Pick<'_>, out: &mut String) {
    out.push_str(pick.of(&[
        "<alert xmlns=\"urn:mailbell:alert:1\"",
        "<alert",
        "<m:alert xmlns:m=\"urn:mailbell:alert:1\"",
    ]));
    for _ in 0..pick.below(5) {
        let name = pick.of(&["id", "key", "status", "severity", "sent", "x", "xml:lang", "ID"]);
        out.push_str(&format!(" {name}=\""));
        value(pick, out);
        out.push('"');
    }
    out.push('>');
    let names =
        ["title", "text", "group", "label name=\"host\"", "label", "link", "expires", "x", "label name=\"a&quot;b\""];
    children(pick, out, &names, 0);
    out.push_str(pick.of(&["</alert>", "</alert>", "</alert>", "</m:alert>", ""]));
}

fn cap(pick: &mut Pick<'_>, out: &mut String) {
    let space = pick.of(&["1.2", "1.1", "1.0", "2.0"]);
    out.push_str(&format!("<alert xmlns=\"urn:oasis:names:tc:emergency:cap:{space}\">"));
    let names = [
        "identifier",
        "sender",
        "sent",
        "status",
        "msgType",
        "scope",
        "source",
        "restriction",
        "addresses",
        "code",
        "note",
        "references",
        "incidents",
        "x",
    ];
    children(pick, out, &names, 0);
    for _ in 0..pick.below(4) {
        out.push_str("<info>");
        let names = [
            "language",
            "category",
            "event",
            "responseType",
            "urgency",
            "severity",
            "certainty",
            "effective",
            "onset",
            "expires",
            "senderName",
            "headline",
            "description",
            "instruction",
            "web",
            "contact",
            "x",
        ];
        children(pick, out, &names, 0);
        for _ in 0..pick.below(3) {
            let outer = pick.of(&["parameter", "eventCode", "resource", "area"]);
            out.push_str(&format!("<{outer}>"));
            children(
                pick,
                out,
                &["valueName", "value", "resourceDesc", "mimeType", "uri", "areaDesc", "polygon", "geocode"],
                0,
            );
            out.push_str(&format!("</{outer}>"));
        }
        out.push_str("</info>");
    }
    out.push_str("</alert>");
}

fn children(pick: &mut Pick<'_>, out: &mut String, names: &[&str], depth: usize) {
    for _ in 0..pick.below(8) {
        let name = pick.of(names);
        out.push_str(&format!("<{name}>"));
        if depth < DEPTH && pick.below(12) == 11 {
            children(pick, out, names, depth + 1);
        } else {
            value(pick, out);
        }
        let end = name.split(' ').next().unwrap_or(name);
        out.push_str(&format!("</{end}>"));
        out.push_str(pick.of(&["", "", "\n", " "]));
    }
}

fn value(pick: &mut Pick<'_>, out: &mut String) {
    match pick.below(3) {
        0 => out.push_str(&pick.text()),
        1 => out.push_str(pick.of(&[
            "UPS 7 on battery",
            "firing",
            "update",
            "resolved",
            "critical",
            "Extreme",
            "Minor",
            "Actual",
            "Test",
            "Alert",
            "Cancel",
            "Update",
            "Ack",
            "Error",
            "Public",
            "Private",
            "Restricted",
            "de",
            "en-US",
            "Met",
            "Immediate",
            "Observed",
        ])),
        _ => out.push_str(pick.of(&[
            "2026-11-21T18:42:00Z",
            "2026-11-21T18:42:00+01:00",
            "2026-11-21 18:42",
            "Fri, 21 Nov 2026 18:42:00 +0100",
            "9999-12-31T23:59:59-23:59",
            "-9999-01-01T00:00:00Z",
            "https://example.org/?a=1&amp;b=2",
            "javascript:x",
            "a@example.org,1,2026-11-21T18:42:00Z",
            "\"x y\" b c",
            "&#10;&#13;&#9;",
            "&lt;&amp;",
            "&#0;",
            "&x;",
            "<![CDATA[<a>]]>",
            "]]>",
            "\u{202e}",
            "\u{1b}[2J",
            "\u{85}",
            "&#x1F600;",
            "\r\n",
            "  ",
        ])),
    }
}
