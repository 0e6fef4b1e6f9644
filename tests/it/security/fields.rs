//! Markup, control and bidi characters in every field of every vocabulary, one field at a time, as far as a person's client, the log
//! and the commands' output.

use std::collections::BTreeSet;

use super::{are_tame, is_a_log, is_plain};
use crate::support::lab::{Lab, OPERATORS, xml_mail};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::prosody::Options;
use crate::support::wait_for;

/// What would end the body and the message, sign somebody off, drive a terminal, begin a line of a log, or turn text around. In XML
/// as it may stand there in a text or in an attribute.
const EVIL: &str = "&lt;/body>&lt;/message>&lt;presence type='unavailable'/>&lt;message>&lt;body>\u{202e}\u{2066}\u{200f}\u{85}\u{9b}31m\
                    &#13;&#10;\u{2028}2026-01-01T00:00:00Z ERROR forged&amp;lt;b>]]&gt;";

/// The same in a header or a text.
const EVIL_TEXT: &str = "</body></message><presence type='unavailable'/><message><body>\u{202e}\u{2066}\u{85}\u{9b}31m\u{1b}[2J\u{7}\u{2028}ERROR forged";

/// The same as an encoded word (RFC 2047), which can carry line ends as well.
const EVIL_WORD: &str = "=?utf-8?Q?=3C/body=3E=3C/message=3E=3Cpresence_type=3D'unavailable'/=3E=E2=80=AE=C2=9B31m=1B[2J=07=0D=0A2026-01-01T00:00:00Z_ERROR_forged=E2=80=A8?=";

const NATIVE: &str = "<alert xmlns=\"urn:mailbell:alert:1\" id=\"id-@N@\" key=\"key-@N@\" severity=\"warning\" status=\"firing\" \
    sent=\"@NOW@\" more=\"m\"><title>Title @N@</title><text>Text</text><group>ops</group><label name=\"host\">h</label>\
    <link>https://example.test/</link><expires>2099-01-01T00:00:00Z</expires><unknown>u</unknown></alert>";

const CAP: &str = "<alert xmlns=\"urn:oasis:names:tc:emergency:cap:1.2\"><identifier>cap-@N@</identifier>\
    <sender>storms@example.test</sender><sent>@NOW@</sent><status>Actual</status><msgType>Alert</msgType><source>s</source>\
    <scope>Public</scope><restriction>r</restriction><addresses>a</addresses><code>c</code><note>n</note>\
    <references>storms@example.test,none-@N@,2026-01-01T00:00:00-00:00</references><incidents>i</incidents>\
    <info><language>en-US</language><category>Met</category><event>Event</event><responseType>Monitor</responseType>\
    <urgency>Immediate</urgency><severity>Minor</severity><certainty>Observed</certainty><audience>all</audience>\
    <eventCode><valueName>SAME</valueName><value>XYZ</value></eventCode><effective>@NOW@</effective><onset>@NOW@</onset>\
    <expires>2099-01-01T00:00:00-00:00</expires><senderName>Office</senderName><headline>Headline @N@</headline>\
    <description>Description</description><instruction>Instruction</instruction><web>https://example.test/</web>\
    <contact>Contact</contact><parameter><valueName>P</valueName><value>v</value></parameter>\
    <resource><resourceDesc>Map</resourceDesc><mimeType>image/png</mimeType><uri>https://example.test/map</uri></resource>\
    <area><areaDesc>Area</areaDesc><polygon>1,1 2,2 3,3 1,1</polygon><circle>1,1 1</circle>\
    <geocode><valueName>G</valueName><value>1</value></geocode><altitude>1</altitude><ceiling>2</ceiling></area></info>\
    <info><language>de-DE</language><category>Met</category><event>Ereignis</event><urgency>Immediate</urgency>\
    <severity>Minor</severity><certainty>Observed</certainty><headline>Schlagzeile @N@</headline>\
    <description>Beschreibung</description><area><areaDesc>Gebiet</areaDesc></area></info></alert>";

const EDXL: &str = "<EDXLDistribution xmlns=\"urn:oasis:names:tc:emergency:EDXL:DE:1.0\"><distributionID>d-@N@</distributionID>\
    <senderID>sender@example.test</senderID><dateTimeSent>@NOW@</dateTimeSent><distributionStatus>Actual</distributionStatus>\
    <distributionType>Report</distributionType><combinedConfidentiality>none</combinedConfidentiality><language>en</language>\
    <senderRole><valueListUrn>u</valueListUrn><value>role</value></senderRole>\
    <keyword><valueListUrn>u</valueListUrn><value>word</value></keyword><contentObject>\
    <contentDescription>content</contentDescription><incidentID>inc</incidentID><incidentDescription>what</incidentDescription>\
    <xmlContent><embeddedXMLContent><alert xmlns=\"urn:mailbell:alert:1\" key=\"edxl-@N@\"><title>Inside @N@</title></alert>\
    </embeddedXMLContent></xmlContent></contentObject></EDXLDistribution>";

const MAPPED: &str = "<vendor><ticket>t-@N@</ticket><level>low</level><what>Mapped @N@</what><more>More</more><host>h</host>\
    <url>https://example.test/</url><group>ops</group></vendor>";

const MAPPING: &str = r#"
[[mapping]]
name = "vendor"
root = "vendor"
key = "{ticket}"
title = "{what}"
text = "{more}"
links = "{url}"
groups = "{group}"
labels = { host = "{host}" }
severity = { value = "{level}", table = { low = "minor" }, default = "warning" }
"#;

const RULE: &str = r#"
[[mailbox.rule]]
name = "ups"
subject = '^UPS (?<ups>.+) (?<n>[0-9]+)$'
body = '(?s)^(?<state>.*)$'
key = "ups/{ups}/{n}"
title = "Rule {n}: {ups} {state}"
text = "{body} {from}"
labels = { ups = "{ups}" }
"#;

/// A place in a document: its name, and where `EVIL` goes.
fn places(document: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut tag = "";
    let mut rest = document;
    while let Some((text, after)) = rest.split_once('<') {
        if !text.trim().is_empty() {
            found.push((format!("<{tag}>"), document.len() - after.len() - 1));
        }
        let (inside, next) = after.split_once('>').unwrap();
        if !inside.starts_with('/') {
            tag = inside.split(' ').next().unwrap();
        }
        let mut quoted = inside.split('"');
        let mut at = document.len() - after.len();
        while let (Some(name), Some(value)) = (quoted.next(), quoted.next()) {
            at += name.len() + 1 + value.len();
            if !name.contains("xmlns") {
                found.push((format!("<{tag} {}>", name.trim_start_matches(tag).trim().trim_end_matches('=')), at));
            }
            at += 1;
        }
        rest = next;
    }
    found
}

/// One mail for each field of the document, named; `@N@` and what marks the field are its number.
fn mutants(document: &str, from: usize) -> Vec<(String, String)> {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S-00:00").to_string();
    let mutant = |(n, (name, at)): (usize, (String, usize))| {
        let (before, after) = document.split_at(at);
        // Blanks and control characters are in no link.
        let tight = || {
            EVIL.replace("&#13;&#10;", "").replace("\u{2028}", "").replace(['\u{85}', '\u{9b}'], "").replace(' ', "/")
        };
        let evil = if before.ends_with("https://example.test/") { tight() } else { format!(" {EVIL}") };
        let xml = format!("{before}mark-{}.{evil}{after}", from + n);
        (name, xml_mail(&xml.replace("@N@", &format!("{}", from + n)).replace("@NOW@", &now)))
    };
    places(document).into_iter().enumerate().map(mutant).collect()
}

#[test]
fn every_field_is_found() {
    let names: Vec<String> =
        places("<a x=\"1\" xmlns=\"n\"><b>t</b><c y=\"2\">u</c> </a>").into_iter().map(|p| p.0).collect();
    assert_eq!(names, ["<a x>", "<b>", "<c y>", "<c>"]);
    let (_, at) = places("<a x=\"1\"><b>t</b></a>")[0].clone();
    assert_eq!(at, 7, "behind the value");
}

/// Mails without XML: what people and servers can write into a header, a text, a file name.
fn plain_mails(from: usize) -> Vec<(String, String)> {
    let base = |n: usize| {
        let id = mailbell::model::StanzaId::random();
        format!(
            "From: monitor@example.test\nTo: inbox@example.test\nSubject: Plain {n}\nMessage-ID: <{id}@example.test>\nX-Mark: x\n\
             MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nbody\n"
        )
    };
    let changes: Vec<(&str, &str, String)> = vec![
        ("subject", "Subject: Plain", format!("Subject: mark-@. {EVIL_TEXT} Plain")),
        ("encoded subject", "Subject: Plain", format!("Subject: mark-@. {EVIL_WORD} Plain")),
        ("display name", "From: monitor@example.test", format!("From: {EVIL_WORD} <monitor@example.test>")),
        ("raw display name", "From: monitor@", format!("From: \"{EVIL_TEXT}\" <monitor@example.test>\nX-Was: ")),
        ("address", "From: monitor@", format!("From: <\"mark-@.{EVIL_TEXT}\"@example.test>\nX-Was: ")),
        ("encoded address", "From: monitor@", format!("From: <{EVIL_WORD}@example.test>\nX-Was: ")),
        (
            "two addresses",
            "From: monitor@",
            format!("From: {EVIL_WORD}@example.test, {EVIL_TEXT}@example.test\nX-Was: "),
        ),
        ("Message-ID", "Message-ID: <", format!("Message-ID: <{EVIL_TEXT}")),
        ("Date", "X-Mark: x", format!("Date: {EVIL_TEXT}")),
        ("another header", "X-Mark: x", format!("X-Mark: {EVIL_TEXT}\nX-{EVIL_WORD}: x")),
        ("our notice's header", "X-Mark: x", format!("X-Mailbell-Notice: {EVIL_WORD} {EVIL_TEXT}")),
        ("Precedence", "X-Mark: x", format!("Precedence: auto_reply\nAuto-Submitted: auto-replied; {EVIL_TEXT}")),
        ("text", "\n\nbody", format!("\n\nmark-@.{EVIL_TEXT}")),
        ("charset", "charset=utf-8", format!("charset=\"{EVIL_TEXT}\"")),
        ("HTML", "text/plain; charset=utf-8", "text/html; charset=utf-8\nX-Html: yes".to_owned()),
        (
            "file name",
            "text/plain; charset=utf-8",
            format!(
                "application/xml; name=\"{EVIL_WORD}.xml\"\nContent-Disposition: attachment; filename*=utf-8''%1B%5B2J%0D%0A%E2%80%AE.xml"
            ),
        ),
        ("media type", "text/plain; charset=utf-8", format!("application/{EVIL_TEXT}+xml; name={EVIL_TEXT}")),
        ("by a rule", "Subject: Plain", format!("Subject: UPS mark-@. {EVIL_WORD}")),
        ("the text of a rule", "Subject: Plain", "Subject: UPS seven".to_owned()),
    ];
    let mail = |(n, (name, old, new)): (usize, (&str, &str, String))| {
        let n = from + n;
        let mut mail = base(n).replacen(old, &new.replace("mark-@", &format!("mark-{n}")), 1);
        if name == "HTML" {
            mail = mail
                .replace("\nbody", &format!("\n<p>mark-{n}.{EVIL} &#27;[2J &#x202e; <b>bold</b><title>{EVIL}</title>"));
        }
        if name == "the text of a rule" {
            mail = mail.replace("\nbody", &format!("\nmark-{n}. {EVIL_TEXT}"));
        }
        (name.to_owned(), mail)
    };
    changes.into_iter().enumerate().map(mail).collect()
}

#[tokio::test]
async fn no_field_becomes_markup_drives_a_terminal_or_begins_a_line() {
    let lab = Lab::with(&["alice", "bob"], &["inbox"], Options::default());
    lab.chat.add_user("hans");
    let (alice, hans) = (lab.online("alice").await, lab.online("hans").await);
    let base = lab.base().replace("[dispatch]\n", "[dispatch]\ndigest_over = 5\n");
    let keys = format!("plain = \"alert\"\nsender_may_choose_group = true\nmax_size = \"1MiB\"\n{RULE}");
    let config = base
        + "[[recipient]]\nname = \"hans\"\njid = \"hans@example.test\"\nlang = \"de\"\n"
        + &lab.imap("inbox", &keys)
        + MAPPING
        + "[[group]]\nname = \"ops\"\nmembers = [\"alice\", \"bob\", \"hans\"]\n"
        + OPERATORS
        + "notice_every = \"1s\"\n"
        + "[log]\nfilter = \"debug\"\n";
    let mailbell = Mailbell::run(&config);

    let mut mails: Vec<(String, String)> = Vec::new();
    for (vocabulary, document) in [("native", NATIVE), ("CAP", CAP), ("EDXL", EDXL), ("mapping", MAPPED)] {
        let more = mutants(document, mails.len());
        mails.extend(more.into_iter().map(|(field, mail)| (format!("{vocabulary} {field}"), mail)));
    }
    let more = plain_mails(mails.len());
    mails.extend(more.into_iter().map(|(field, mail)| (format!("plain {field}"), mail)));
    lab.put("inbox", &mails.iter().map(|(_, mail)| mail.clone()).collect::<Vec<_>>());
    let states = mailbell.judged(mails.len()).await;
    let in_state = |wanted: &str| states.iter().filter(|(state, _)| state == wanted).count();
    println!("{} mails: {} parsed, {} in quarantine", mails.len(), in_state("parsed"), in_state("quarantined"));
    assert!(in_state("parsed") > mails.len() / 2, "{states:#?}");

    // One at the end, for each: everything before it was told.
    lab.mail(&crate::support::lab::critical("marker", "Marker"));
    for client in [&alice, &hans] {
        client.gets("Marker").await;
    }
    // Bob's wait until the session has settled and he is known to be away; only what is held then comes as a digest.
    wait_for("everything to be sent or held", SOON, async || {
        let waits = |n: &crate::support::store::NotificationRow| matches!(n.state.as_str(), "queued" | "sending");
        (!mailbell.notifications().await.iter().any(waits)).then_some(())
    })
    .await;
    // What people are shown did reach them, so that the rest of this says something.
    let shown: BTreeSet<&str> = mails
        .iter()
        .enumerate()
        .filter(|(n, _)| alice.copies(&format!("mark-{n}.")) > 0)
        .map(|(_, (name, _))| name.as_str())
        .collect();
    for field in [
        "native <title>",
        "native <text>",
        "native <link>",
        "CAP <headline>",
        "CAP <description>",
        "CAP <instruction>",
        "CAP <areaDesc>",
        "CAP <web>",
        "EDXL <title>",
        "mapping <what>",
        "mapping <more>",
        "mapping <url>",
        "plain subject",
        "plain encoded subject",
        "plain text",
        "plain HTML",
        "plain by a rule",
        "plain the text of a rule",
    ] {
        assert!(shown.contains(field), "{field} is not shown; shown are {shown:#?}");
    }
    // What is refused says so, with the place.
    for field in
        ["native <alert severity>", "native <alert status>", "native <alert sent>", "native <expires>", "CAP <msgType>"]
    {
        let n = mails.iter().position(|(name, _)| name == field).unwrap();
        assert!(
            states[n].0 == "quarantined" && states[n].1.contains(&format!("mark-{n}.")),
            "{field}: {:?}",
            states[n]
        );
    }
    let german = mails.iter().position(|(name, _)| name == "CAP <headline>").unwrap();
    assert!(hans.copies("Schlagzeile") > 0, "{german}");

    // Who was away gets a digest of titles.
    let bob = lab.online("bob").await;
    bob.gets("While you were away").await;
    bob.gets("Marker").await;
    for client in [&alice, &bob, &hans] {
        are_tame(client);
        for stanza in client.stanzas() {
            let forged = stanza.element.name() == "presence"
                && stanza.attr("type") == Some("unavailable")
                && stanza.from().contains("/mailbell");
            assert!(!forged, "{}", stanza.raw);
        }
    }
    is_a_log(&mailbell.log());
    every_command_is_plain(&mailbell, &mails).await;
}

/// What the commands print of all this.
async fn every_command_is_plain(mailbell: &Mailbell, mails: &[(String, String)]) {
    let plain = |args: &[&str], stdin: &str| {
        let output = mailbell.cli_with(args, args[0] != "parse", stdin.as_bytes());
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(!out.is_empty(), "{args:?} said nothing: {err}");
        is_plain(&out);
        is_plain(&err);
    };
    plain(&["queue", "list", "--limit", "1000"], "");
    plain(&["quarantine", "list", "--limit", "1000"], "");
    let delivered = mailbell.queue(&["--state", "delivered", "--limit", "1000"]);
    let shown: BTreeSet<&str> = delivered.iter().filter_map(|one| one["alert"].as_str()).collect();
    assert!(shown.len() > mails.len() / 2, "{shown:?}");
    for alert in shown {
        plain(&["queue", "show", alert], "");
    }
    for (n, _) in mailbell.messages().await.iter().enumerate().filter(|(_, (state, _))| state == "quarantined") {
        plain(&["quarantine", "show", &(n + 1).to_string()], "");
    }
    for (name, mail) in mails {
        println!("{name}");
        plain(&["parse", "-"], mail);
        plain(&["route", "-"], mail);
    }
}
