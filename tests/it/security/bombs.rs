//! Mails that are made to cost more than they weigh: each limit by itself, right below it and right above, through the gateway.

use mailbell::model::AlertId;

use crate::support::lab::{Lab, OPERATORS, alert, critical, xml_mail};
use crate::support::mailbell::Mailbell;
use crate::support::prosody::Options;

/// What becomes of a mail.
enum End {
    /// An alert that arrives, whole.
    Whole,
    /// Nothing but quarantine, with this in the reason.
    Refused(&'static str),
    /// An alert that arrives, and a reason beside it.
    Cut(&'static str),
    /// Whatever it becomes, the next one goes on.
    Anything,
}

use End::{Anything, Cut, Refused, Whole};

/// A mail of its own Message-ID.
fn mail(headers: &str, body: &str) -> String {
    let id = mailbell::model::StanzaId::random();
    format!(
        "From: mallory@example.test\nSubject: bomb\nMessage-ID: <{id}@example.test>\nMIME-Version: 1.0\n{headers}\n\n{body}\n"
    )
}

const XML: &str = "Content-Type: application/xml; charset=utf-8";

fn native(title: &str) -> String {
    format!("<alert xmlns=\"urn:mailbell:alert:1\" key=\"{title}\"><title>{title}</title></alert>")
}

/// So many text parts, the alert among them as the last.
fn parts(title: &str, n: usize) -> String {
    let filler = "--b\nContent-Type: text/plain\n\nx\n".repeat(n - 1);
    mail("Content-Type: multipart/mixed; boundary=b", &format!("{filler}--b\n{XML}\n\n{}\n--b--", native(title)))
}

/// The alert inside so many containers.
fn nested(title: &str, depth: usize) -> String {
    let mut inside = format!("{XML}\n\n{}", native(title));
    for n in 0..depth {
        inside = format!("Content-Type: multipart/mixed; boundary=b{n}x\n\n--b{n}x\n{inside}\n--b{n}x--");
    }
    let (head, body) = inside.split_once("\n\n").unwrap();
    mail(head, body)
}

/// The alert inside so many forwarded mails, each encoded again: what is decoded is many times the mail.
fn forwarded(title: &str, depth: usize, weight: usize) -> String {
    let mut inside = format!("{XML}\nX-Weight: {}\n\n{}", "x".repeat(weight), native(title));
    for _ in 0..depth {
        inside =
            format!("Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n{}", base64(inside.as_bytes()));
    }
    let (head, body) = inside.split_once("\n\n").unwrap();
    mail(head, body)
}

fn base64(data: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for (n, chunk) in data.chunks(3).enumerate() {
        let bits = chunk.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        out.extend((0..=chunk.len()).map(|n| char::from(DIGITS[(bits >> (18 - 6 * n)) as usize & 63])));
        out.extend((chunk.len()..3).map(|_| '='));
        if n % 19 == 18 {
            out.push('\n');
        }
    }
    out
}

/// Elements of XML around each other; `<alert>` is the first of them.
fn deep_xml(title: &str, depth: usize) -> String {
    let more = depth - 1;
    let content = format!("<title>{title}</title>{}{}", "<a>".repeat(more), "</a>".repeat(more));
    alert(&format!("key=\"{title}\""), &content)
}

/// A multipart whose boundary is the last thing that its header says, behind so many fields in all.
fn fields(title: &str, n: usize) -> String {
    // Five are there anyway.
    let many = "X-Many: x\n".repeat(n - 5);
    mail(
        &format!("{many}Content-Type: multipart/mixed; boundary=b"),
        &format!("--b\n{XML}\n\n{}\n--b--", native(title)),
    )
}

/// The same at the end of a field whose body has so many bytes.
fn long_field(title: &str, bytes: usize) -> String {
    let (before, after) = (" multipart/mixed; x=\"", "\"; boundary=b");
    let long = "x".repeat(bytes - before.len() - after.len());
    mail(&format!("Content-Type:{before}{long}{after}"), &format!("--b\n{XML}\n\n{}\n--b--", native(title)))
}

fn attributes(title: &str, n: usize) -> String {
    let many: Vec<_> = (0..n).map(|n| format!("a{n}=\"x\"")).collect();
    alert(&format!("key=\"{title}\""), &format!("<title>{title}</title><a {}>x</a>", many.join(" ")))
}

fn entities(kind: &str) -> String {
    let bomb: String = (1..20).map(|n| format!("<!ENTITY e{n} \"&e{0};&e{0};&e{0};&e{0};\">", n - 1)).collect();
    let body = |doctype: &str, used: &str| {
        format!("{doctype}<alert xmlns=\"urn:mailbell:alert:1\"><title>x</title><text>{used}</text></alert>")
    };
    xml_mail(&match kind {
        "doctype" => body("<!DOCTYPE alert>", "x"),
        "internal" => body(&format!("<!DOCTYPE alert [<!ENTITY e0 \"aaaaaaaaaa\">{bomb}]>"), "&e19;"),
        "quadratic" => {
            body(&format!("<!DOCTYPE alert [<!ENTITY a \"{}\">]>", "a".repeat(50_000)), &"&a;".repeat(50_000))
        }
        "file" => body("<!DOCTYPE alert [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>", "&a;"),
        "network" => body("<!DOCTYPE alert SYSTEM \"http://127.0.0.1:9/x.dtd\">", "x"),
        "parameter" => body("<!DOCTYPE alert [<!ENTITY % p SYSTEM \"file:///dev/zero\"> %p;]>", "x"),
        "lower case" => body("<!doctype alert [<!entity a \"x\">]>", "&a;"),
        _ => body("", "&undeclared;"),
    })
}

fn cases() -> Vec<(&'static str, String, End)> {
    let header = |n: usize| mail(&format!("X-Long: {}\n{XML}", "x".repeat(n)), &native("x"));
    let field = |n: usize| "X-Many: x\n".repeat(n) + XML;
    let text = |title: &str, n: usize| {
        alert(&format!("key=\"{title}\""), &format!("<title>{title}</title><text>{}</text>", "y".repeat(n)))
    };
    let alerts = |title: &str, n: usize| {
        let all: String = (0..n)
            .map(|n| format!("<alert id=\"{title}{n}\" key=\"{title}\"><title>{title}</title></alert>"))
            .collect();
        xml_mail(&format!("<alerts xmlns=\"urn:mailbell:alert:1\">{all}</alerts>"))
    };
    vec![
        ("a DOCTYPE", entities("doctype"), Refused("DOCTYPE")),
        ("an entity bomb", entities("internal"), Refused("DOCTYPE")),
        ("a quadratic entity bomb", entities("quadratic"), Refused("DOCTYPE")),
        ("an entity that is a file", entities("file"), Refused("DOCTYPE")),
        ("a DTD elsewhere", entities("network"), Refused("DOCTYPE")),
        ("a parameter entity", entities("parameter"), Refused("DOCTYPE")),
        ("a DOCTYPE in small letters", entities("lower case"), Refused("")),
        ("an unknown entity", entities(""), Refused("")),
        ("parts, as many as allowed", parts("Parts below", 199), Whole),
        ("parts, one more", parts("Parts above", 200), Refused("more than 200 MIME parts")),
        ("depth, as much as allowed", nested("Depth below", 16), Whole),
        ("depth, one more", nested("Depth above", 17), Refused("nested more than 16 deep")),
        ("forwards, as many as allowed", forwarded("Forwards below", 16, 0), Whole),
        ("forwards, one more", forwarded("Forwards above", 17, 0), Refused("nested more than 16 deep")),
        ("forwards of some weight", forwarded("Forwards of weight", 15, 10_000), Whole),
        ("elements, as deep as allowed", deep_xml("Elements below", 64), Whole),
        ("elements, one deeper", deep_xml("Elements above", 65), Refused("nested more than 64 deep")),
        ("attributes, as many as allowed", attributes("Attributes below", 64), Whole),
        ("attributes, one more", attributes("Attributes above", 65), Refused("more than 64 attributes")),
        ("text, as long as allowed", text("Text below", 65_536), Whole),
        ("text, one character longer", text("Text above", 65_537), Whole),
        ("text, far longer", text("Text far above", 1_000_000), Whole),
        (
            "alerts, more than allowed",
            alerts("Alerts above", 501),
            Cut("more than 500 alerts in a mail; 1 were not read"),
        ),
        ("header fields, as many as allowed", fields("Fields below", 5000), Whole),
        ("header fields, one more", fields("Fields above", 5001), Refused("no alert XML")),
        ("a header field, as long as allowed", long_field("Field below", 65_536), Whole),
        ("a header field, one byte longer", long_field("Field above", 65_537), Refused("no alert XML")),
        ("a header field of a megabyte", header(1 << 20), Anything),
        ("a header of 100,000 fields", mail(&field(100_000), &native("x")), Anything),
        (
            "a megabyte that decodes to nothing",
            mail(&format!("{XML}\nContent-Transfer-Encoding: base64"), &"!".repeat(1 << 20)),
            Refused(""),
        ),
        (
            "a megabyte of soft line breaks",
            mail(&format!("{XML}\nContent-Transfer-Encoding: quoted-printable"), &"=\n".repeat(1 << 19)),
            Refused(""),
        ),
        (
            "a megabyte of HTML that opens and never closes",
            mail("Content-Type: text/html", &"<div><table><b>".repeat(70_000)),
            Anything,
        ),
        ("a megabyte of addresses", mail(&format!("To: {}", "<a@b>,".repeat(170_000)), "x"), Anything),
        ("a megabyte of encoded words", mail(&format!("X: {}", "=?utf-8?B?YWFh?= ".repeat(60_000)), "x"), Anything),
        ("a megabyte of comments", mail(&format!("Date: {}", "(".repeat(1 << 20)), "x"), Anything),
        (
            "parameters without end",
            mail(&format!("Content-Type: text/plain; {}", "a*0*=x; ".repeat(100_000)), "x"),
            Anything,
        ),
    ]
}

#[tokio::test]
async fn each_limit_holds_by_itself_memory_is_bounded_and_the_next_mail_goes_on() {
    let lab = Lab::with(&["alice"], &["inbox"], Options::default());
    let alice = lab.online("alice").await;
    let config = lab.base() + &lab.imap("inbox", "") + &lab.everybody("ops") + OPERATORS;
    let mailbell = Mailbell::run(&config);
    lab.mail(&critical("w", "Warm-up"));
    alice.gets("Warm-up").await;
    let before = peak(&mailbell);
    let mut highest = before;
    for (n, (what, mail, end)) in cases().into_iter().enumerate() {
        lab.dovecot.put("inbox", [mail.as_bytes()]);
        mailbell.judged(2 * n + 2).await;
        let next = format!("After {what}.");
        lab.mail(&critical(&format!("after/{n}"), &next));
        alice.gets(&next).await;
        let judged = mailbell.judged(2 * n + 3).await;
        let (state, reason) = judged[2 * n + 1].clone();
        let quarantined = reasons(&mailbell, 2 * n + 2);
        match end {
            Whole => assert!(state == "parsed" && quarantined.is_empty(), "{what}: {state}: {reason} {quarantined}"),
            Refused(why) => {
                assert!(state == "quarantined" && reason.contains(why), "{what}: {state}: {reason}");
            }
            Cut(why) => assert!(state == "parsed" && quarantined.contains(why), "{what}: {state}: {quarantined}"),
            Anything => {}
        }
        let now = peak(&mailbell);
        if now > highest + 1024 {
            println!("{what}: {} KiB more for {} KiB", now - highest, mail.len() / 1024);
        }
        highest = highest.max(now);
    }
    for title in [
        "Parts below",
        "Depth below",
        "Forwards below",
        "Forwards of weight",
        "Elements below",
        "Attributes below",
        "Text below",
        "Fields below",
        "Field below",
    ] {
        alice.gets(title).await;
    }
    for (title, cut) in [("Text below", false), ("Text above", true), ("Text far above", true)] {
        let shown = mailbell.cli(&["queue", "show", &AlertId(mailbell.alert(title).await.id).to_string()], true);
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert_eq!(shown.contains("<text> was cut at 65536 characters"), cut, "{title}: {shown}");
    }
    assert!(highest - before < 48 * 1024, "{} KiB more than before, for mails of at most 2 MiB", highest - before);
    super::is_a_log(&mailbell.log());
}

/// What a mail becomes when it is read is bounded by itself, however little the mail weighs.
#[tokio::test]
async fn what_is_made_of_a_mail_is_bounded_too() {
    const NODES: usize = 400_000;
    const HTML: usize = 4 << 20;
    let lab = Lab::with(&["alice"], &["inbox", "large"], Options::default());
    let alice = lab.online("alice").await;
    let large = lab.imap("large", "plain = \"alert\"\nmax_size = \"8MiB\"");
    let mailbell = Mailbell::run(&(lab.base() + &lab.imap("inbox", "") + &large + &lab.everybody("ops") + OPERATORS));
    lab.mail(&critical("w", "Warm-up"));
    alice.gets("Warm-up").await;
    // The alert, its title and the text in it are three.
    let nodes = |title: &str, n: usize| {
        alert(&format!("key=\"{title}\""), &format!("<title>{title}</title>{}", "<b/>".repeat(n - 3)))
    };
    lab.dovecot.put("inbox", [nodes("Nodes below", NODES).as_bytes()]);
    alice.gets("Nodes below").await;
    lab.dovecot.put("inbox", [nodes("Nodes above", NODES + 1).as_bytes()]);
    let (state, reason) = mailbell.judged(3).await.remove(2);
    assert!(state == "quarantined" && reason.contains("more than 400000 elements and texts"), "{state}: {reason}");
    for above in [0, 10] {
        let (before, behind) = (format!("<p>Before {above}</p><!--"), "--><p>Behind</p>");
        let filler = "x".repeat(HTML + above - before.len() - behind.len());
        let html = base64(format!("{before}{filler}{behind}").as_bytes());
        lab.mail_to("large", &mail("Content-Type: text/html\nContent-Transfer-Encoding: base64", &html));
        let came = alice.gets(&format!("Before {above}")).await;
        assert_eq!(came.contains("Behind"), above == 0, "{came}");
    }
}

/// Why the mail of this number is in quarantine; empty: it is not.
fn reasons(mailbell: &Mailbell, number: usize) -> String {
    let output = mailbell.cli(&["quarantine", "list", "--json", "--limit", "1000"], true);
    let lines = String::from_utf8(output.stdout).unwrap();
    let found = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    found.filter(|one| one["id"] == number).map(|one| one["reasons"].to_string()).collect()
}

/// The most resident memory so far, in KiB.
fn peak(mailbell: &Mailbell) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", mailbell.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
