//! Mails of a grammar: nearly right ones, which arbitrary bytes hardly ever are.

use super::pick::Pick;
use super::xml;

/// Deepest nesting that is made; beyond it the limits have nothing left to refuse.
const DEPTH: usize = 20;

/// The mail that these choices make.
pub fn made(choices: &[u8]) -> Vec<u8> {
    let mut pick = Pick::new(choices);
    let mut out = Vec::new();
    header(&mut pick, &mut out);
    entity(&mut pick, &mut out, 0);
    out
}

fn header(pick: &mut Pick<'_>, out: &mut Vec<u8>) {
    for _ in 0..pick.below(6) {
        let name = pick.of(&[
            "From",
            "Subject",
            "Date",
            "Message-ID",
            "To",
            "Received",
            "Auto-Submitted",
            "Return-Path",
            "Precedence",
            "X-Failed-Recipients",
            "Sender",
            "MIME-Version",
            "List-Id",
            "References",
            "X-Mailbell-Notice",
        ]);
        out.extend(name.as_bytes());
        out.extend(pick.of(&[": ", ":", " : ", ":\t"]).as_bytes());
        match pick.below(4) {
            0 => out.extend(pick.bytes()),
            _ => out.extend(
                pick.of(&[
                    "Ops <ops@example.org>",
                    "ops@example.org, other@example.org",
                    "=?utf-8?B?w7xiZXI=?= =?iso-8859-1?Q?_l=FCge?=",
                    "Fri, 21 Nov 2026 18:42:00 +0100",
                    "<1432@example.org>",
                    "from a.example by b.example with ESMTP; Fri, 21 Nov 2026 18:42:00 +0100",
                    "auto-replied",
                    "<>",
                    "bulk",
                    "\"a \\\" b\" (comment (nested)) <x@y>",
                    "MAILER-DAEMON@example.org",
                    "group: a@b, c@d;",
                ])
                .as_bytes(),
            ),
        }
        line_end(pick, out);
    }
}

fn line_end(pick: &mut Pick<'_>, out: &mut Vec<u8>) {
    out.extend(pick.of(&["\n", "\n", "\r\n", "\r", "\n ", "\r\n\t"]).as_bytes());
}

fn entity(pick: &mut Pick<'_>, out: &mut Vec<u8>, depth: usize) {
    let kind = if depth >= DEPTH || !pick.more() { 0 } else { pick.below(4) };
    match kind {
        1 => multipart(pick, out, depth),
        2 => {
            out.extend(b"Content-Type: message/rfc822\n\n");
            header(pick, out);
            entity(pick, out, depth + 1);
        }
        _ => leaf(pick, out),
    }
}

fn multipart(pick: &mut Pick<'_>, out: &mut Vec<u8>, depth: usize) {
    let kind = pick.of(&["mixed", "alternative", "related", "digest", "report; report-type=delivery-status", "signed"]);
    let boundary = pick.of(&["b", "bb", "b--", "=_x", " ", "b b"]);
    out.extend(format!("Content-Type: multipart/{kind}; boundary=\"{boundary}\"\n\n").as_bytes());
    for _ in 0..pick.below(5) {
        out.extend(format!("--{boundary}\n").as_bytes());
        entity(pick, out, depth + 1);
        out.push(b'\n');
    }
    if pick.below(3) > 0 {
        out.extend(format!("--{boundary}--\n").as_bytes());
    }
}

fn leaf(pick: &mut Pick<'_>, out: &mut Vec<u8>) {
    let media = pick.of(&[
        "text/plain",
        "application/xml",
        "text/xml",
        "text/html",
        "application/cap+xml",
        "application/octet-stream",
        "message/delivery-status",
        "text",
        "application/vnd.x+XML",
        "text/x-\u{1}\u{1b}[2J",
    ]);
    out.extend(b"Content-Type: ");
    out.extend(media.as_bytes());
    let charset = pick.of(&[
        "",
        "; charset=utf-8",
        "; charset=\"iso-8859-1\"",
        "; charset=us-ascii",
        "; charset=utf-16",
        "; charset=utf-7",
        "; charset=x",
        "; charset*=utf-8''%75tf-8",
        "; charset=shift_jis",
        "; charset=hz-gb-2312",
    ]);
    out.extend(charset.as_bytes());
    let name = pick.of(&["", "; name=alert.xml", "; name=\"a\u{7}\u{1b}.cap\"", "; name*0=al; name*1=ert.xml"]);
    out.extend(name.as_bytes());
    let encoding = pick.of(&["", "base64", "quoted-printable", "8bit", "BASE64", "x-uuencode"]);
    if !encoding.is_empty() {
        out.extend(b"\nContent-Transfer-Encoding: ");
        out.extend(encoding.as_bytes());
    }
    if pick.below(4) == 1 {
        out.extend(b"\nContent-Disposition: attachment; filename=\"alert.xml\"");
    }
    out.extend(b"\n\n");
    let content = match pick.below(3) {
        0 => pick.bytes().to_vec(),
        1 => pick.of(&[
            "<html><head><title>x</title><style>a</style></head><body><p>one<br>two &amp; &#x41; &nbsp;</body>",
            "Reporting-MTA: dns; a.example\n\nFinal-Recipient: rfc822; x@example.org\nAction: failed\nStatus: 5.1.1\n",
            "plain text\n-- \nsignature\n> quoted",
            "=3Ca=\n=3E=",
            "+AGE-",
        ]).as_bytes().to_vec(),
        _ => {
            let mut document = String::new();
            xml::document(pick, &mut document);
            document.into_bytes()
        }
    };
    match encoding {
        "base64" | "BASE64" if pick.below(4) > 0 => out.extend(base64(&content)),
        _ => out.extend(content),
    }
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0usize, |bits, b| bits << 8 | usize::from(*b)) << (8 * (3 - three.len()));
        (0..4).for_each(|n| out.push(if n <= three.len() { ALPHABET[bits >> (18 - 6 * n) & 63] } else { b'=' }));
    }
    out
}
