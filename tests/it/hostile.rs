//! Mails that mean harm: each is quarantined or tamed, the next one goes on, memory stays bounded, the log stays a log.

use crate::support::lab::{Lab, OPERATORS, alert, critical, xml_mail};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::outcome::copies_of;
use crate::support::prosody::Options;
use crate::support::wait_for;

/// A mail of its own Message-ID with this body.
fn mail(headers: &str, body: &str) -> String {
    let id = mailbell::model::StanzaId::random();
    format!(
        "From: mallory@example.test\nSubject: poison\nMessage-ID: <{id}@example.test>\nMIME-Version: 1.0\n{headers}\n\n{body}\n"
    )
}

/// An alert with this content, whatever it is.
fn xml(content: &str) -> Vec<u8> {
    alert("severity=\"critical\"", content).into_bytes()
}

/// Name and mail of each poison, and whether it has to end in quarantine; otherwise only what comes after it counts.
fn poisons() -> Vec<(&'static str, Vec<u8>, bool)> {
    let deep = format!("<title>deep</title>{}{}", "<a>".repeat(10_000), "</a>".repeat(10_000));
    let bomb = "<!DOCTYPE alert [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\">\
                <!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;\">]><alert xmlns=\"urn:mailbell:alert:1\"><title>&c;</title></alert>";
    let outside =
        "<!DOCTYPE alert SYSTEM \"file:///etc/passwd\"><alert xmlns=\"urn:mailbell:alert:1\"><title>x</title></alert>";
    let parts = "--b\nContent-Type: text/plain\n\nx\n".repeat(5_000) + "--b--\n";
    let nested: String =
        (0..2_000).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n")).collect();
    let mut invalid = xml("<title>broken UTF-8: @@</title>");
    invalid.iter_mut().filter(|b| **b == b'@').for_each(|b| *b = 0xff);
    let mut nul = xml("<title>nul: @</title>");
    nul.iter_mut().filter(|b| **b == b'@').for_each(|b| *b = 0);
    vec![
        ("10,000 elements deep", xml(&deep), true),
        ("an entity bomb", xml_mail(bomb).into_bytes(), true),
        ("a DOCTYPE", xml_mail(outside).into_bytes(), true),
        ("invalid UTF-8", invalid, true),
        ("NUL bytes", nul, true),
        ("5,000 parts", mail("Content-Type: multipart/mixed; boundary=b", &parts).into_bytes(), true),
        ("2,000 nested parts", mail("X-Nested: yes", "").replacen("X-Nested: yes\n\n", &nested, 1).into_bytes(), true),
        (
            "100,000 attributes",
            xml(&format!(
                "<title {}>x</title>",
                (0..100_000).map(|n| format!("a{n}=''")).collect::<Vec<_>>().join(" ")
            )),
            true,
        ),
        ("no end", xml_mail("<alert xmlns=\"urn:mailbell:alert:1\"><title>").into_bytes(), true),
        ("nothing at all", Vec::new(), false),
        ("only line ends", b"\n\n\n\n".to_vec(), false),
        ("a header of a megabyte", mail(&format!("X-Long: {}", "x".repeat(1 << 20)), "x").into_bytes(), false),
        (
            "base64 of nothing",
            mail("Content-Type: application/xml\nContent-Transfer-Encoding: base64", "====!!!!").into_bytes(),
            true,
        ),
    ]
}

#[tokio::test]
async fn after_each_poisoned_mail_the_next_one_goes_on() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    let mut quarantined = 0;
    for (n, (what, poison, must)) in poisons().into_iter().enumerate() {
        lab.dovecot.put("inbox", [poison.as_slice()]);
        let title = format!("After {what}.");
        lab.mail(&critical(&format!("after/{n}"), &title));
        alice.gets(&title).await;
        let found = quarantine(&mailbell);
        assert!(!must || found > quarantined, "{what} is not in quarantine");
        quarantined = found;
    }
    let told = alice.gets("mailbell: ").await;
    assert!(told.contains("quarantine"), "{told}");
    let notices = copies_of(&alice, "mailbell: ").len();
    assert_eq!(notices, 1, "one notice in ten minutes");
    assert_eq!(alice.count(), poisons().len() + 1, "{:#?}", alice.messages());
    is_a_log(&mailbell.log());
}

/// Mails in quarantine; each with a reason.
fn quarantine(mailbell: &Mailbell) -> usize {
    let output = mailbell.cli(&["quarantine", "list", "--json", "--limit", "1000"], true);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let found: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for one in &found {
        let reasons = one["reasons"].as_array().unwrap();
        assert!(reasons.iter().any(|reason| reason.as_str().unwrap().len() > 5), "{one}");
    }
    found.len()
}

/// Every line begins with its time: nothing from a mail begins a line, or moves the cursor.
fn is_a_log(log: &str) {
    for line in log.lines() {
        assert!(line.starts_with("20") && line.get(4..5) == Some("-"), "no line of ours: {line:?}");
        let odd = line
            .chars()
            .find(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(c) || ('\u{2066}'..='\u{2069}').contains(c));
        assert_eq!(odd, None, "{line:?}");
    }
    assert!(!log.contains('\r'));
}

#[tokio::test]
async fn fifty_megabytes_are_not_fetched() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    lab.mail(&critical("w", "Warm-up"));
    alice.gets("Warm-up").await;
    let before = peak(&mailbell);
    let mut large = critical("large", "Far too large").into_bytes();
    large.resize(50 << 20, b'x');
    lab.dovecot.put("inbox", [large.as_slice()]);
    drop(large);
    lab.mail(&critical("n", "The next one"));
    alice.gets("The next one").await;
    wait_for("the quarantine", SOON, async || (quarantine(&mailbell) == 1).then_some(())).await;
    let told = alice.gets("max_size").await;
    assert!(told.contains("bytes, over max_size (2MiB)"), "{told}");
    assert_eq!(alice.copies("Far too large"), 0);
    let grown = peak(&mailbell) - before;
    println!("peak grew by {grown} KiB");
    assert!(grown < 16 * 1024, "{grown} KiB for a mail that is not fetched");
}

/// The most resident memory so far, in KiB.
fn peak(mailbell: &Mailbell) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", mailbell.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn markup_in_any_field_stays_text() {
    let lab = Lab::with(&["alice"], &["inbox", "plain"], Options::default());
    let alice = lab.online("alice").await;
    let config = lab.base()
        + &lab.imap("inbox", "")
        + &lab.imap("plain", "plain = \"alert\"")
        + &lab.everybody("ops")
        + OPERATORS
        + "[log]\nfilter = \"debug\"\n";
    let mailbell = Mailbell::run(&config);
    lab.mail(&critical("w", "Warm-up"));
    alice.gets("Warm-up").await;
    let presences = alice.stanzas().iter().filter(|s| s.element.name() == "presence").count();

    let evil = "&lt;/body>&lt;/message>&lt;presence type='unavailable'/>&lt;message>&lt;body>\u{202e}\u{85}&#13;&#10;20 INFO forged &amp;lt;x>]]&gt;";
    let everywhere = alert(
        &format!("key=\"{evil}\" id=\"{evil}\" severity=\"critical\""),
        &format!(
            "<title>Tamed {evil}</title><text>{evil}</text><sender>{evil}</sender><label name=\"{evil}\">{evil}</label>\
             <group>{evil}</group><text><![CDATA[</body><presence type='unavailable'/><body>]]></text>"
        ),
    );
    lab.mail(&everywhere.replace("Subject: alert", "Subject: =?utf-8?Q?=1B[2J=0D=0A20_forged?="));
    let encoded = "=?utf-8?Q?Plain_=3C/body=3E=3Cpresence/=3E_=1B[31mred=1B[0m=0D=0A2026-01-01_INFO_forged=E2=80=AE?=";
    lab.mail_to(
        "plain",
        &mail(
            "Content-Type: text/plain; charset=utf-8",
            "</body><presence type='unavailable'/>\u{1b}[2J\u{0}\u{7} body",
        )
        .replace("poison", encoded),
    );
    lab.mail(&critical("m", "Marker"));
    alice.gets("Marker").await;
    let plain = alice.gets("Plain </body>").await;
    assert!(!plain.contains('\u{1b}') && !plain.contains('\u{202e}'), "{plain:?}");

    for message in alice.messages() {
        assert_eq!(message.raw.matches("<body>").count(), 1, "{}", message.raw);
        let body = message.body().unwrap();
        assert!(!body.chars().any(|c| c.is_control() && c != '\n'), "{body:?}");
    }
    let now = alice.stanzas().iter().filter(|s| s.element.name() == "presence").count();
    assert_eq!(now, presences, "no presence came out of a mail");
    // Either tamed and sent, or refused as a whole; never lost.
    let reached = alice.copies("Tamed") == 1 || quarantine(&mailbell) == 1;
    assert!(reached, "{:#?}", alice.messages());
    is_a_log(&mailbell.log());
}
