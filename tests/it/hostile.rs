//! Mails that mean harm: what is in them stays text, and the log stays a log. Those that are to stop the gateway are row 29 of the
//! fault matrix, and those that are to fill it row 14.

use crate::support::lab::{Lab, OPERATORS, alert, critical};
use crate::support::mailbell::Mailbell;
use crate::support::prosody::Options;

/// A mail of its own Message-ID with this body.
pub fn mail(headers: &str, body: &str) -> String {
    let id = mailbell::model::StanzaId::random();
    format!(
        "From: mallory@example.test\nSubject: poison\nMessage-ID: <{id}@example.test>\nMIME-Version: 1.0\n{headers}\n\n{body}\n"
    )
}

/// Mails in quarantine; each with a reason.
pub fn quarantine(mailbell: &Mailbell) -> usize {
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
pub fn is_a_log(log: &str) {
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
