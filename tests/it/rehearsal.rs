//! `mailbell route` and `mailbell test`: what would become of a mail, without a server and without a secret.

use std::path::Path;
use std::process::{Command, Output};

/// As an operator's: its secrets are not there.
const CONFIG: &str = r#"
[store]
path = "store/mailbell.db"
[xmpp]
jid = "alerts@example.org"
password_file = "not-here.secret"
ca_file = "not-here.pem"
[operators]
group = "ops"
default_group = "ops"
[[mailbox]]
name = "inbox"
server = "mail.example.org"
user = "alerts"
password_env = "NOT_SET"
senders = ["*@example.org"]
[[recipient]]
name = "alice"
jid = "alice@example.org"
[[recipient]]
name = "bob"
jid = "bob@example.org"
[[recipient]]
name = "carol"
jid = "carol@example.org"
[[group]]
name = "ops"
members = ["alice"]
[[group]]
name = "dba"
members = ["bob", "carol"]
[[group.policy]]
shows = ["available"]
fallback = "@ops"
[[route]]
name = "databases"
match = { "label.host" = "db*" }
groups = ["dba"]
[[wall]]
name = "not carol"
match = { "label.secret" = "yes" }
to = ["carol"]
"#;

fn mail(attributes: &str, content: &str, from: &str) -> String {
    format!(
        "From: {from}\nSubject: alert\nDate: Sat, 21 Nov 2026 03:00:00 +0000\nMessage-ID: <{}@example.org>\n\
         Content-Type: application/xml\n\n<alert xmlns=\"urn:mailbell:alert:1\" {attributes}>{content}</alert>\n",
        attributes.len() + content.len()
    )
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("mailbell.toml", CONFIG);
    let labels = "<label name=\"host\">db1</label><label name=\"secret\">yes</label>";
    let full = "<title>Disk full</title><text>/var: 100 %</text>";
    write("full.eml", &mail("key=\"disk\" severity=\"major\"", &format!("{full}{labels}"), "db1@example.org"));
    let free = "<title>Disk has room again</title>";
    write("free.eml", &mail("key=\"disk\" status=\"resolved\"", free, "db1@example.org"));
    write("forged.eml", &mail("key=\"disk\" status=\"resolved\"", free, "db1@example.com"));
    write("broken.eml", &mail("severity=\"loud\"", full, "db1@example.org"));
    dir
}

fn mailbell(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailbell"));
    command.args(args).current_dir(dir).env("MAILBELL_CONFIG", "mailbell.toml").env_remove("NOT_SET").output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

const AT: &str = "2026-11-21T03:00:05Z";

#[test]
fn route_shows_who_would_get_what_and_why_not() {
    let dir = folder();
    let run = |args: &[&str]| mailbell(dir.path(), args);
    let presence = "bob=dnd,*=available";
    let shown = run(&["route", "--at", AT, "--presence", presence, "full.eml", "free.eml", "broken.eml", "forged.eml"]);
    assert!(shown.status.success(), "{}", said(&shown));
    insta::assert_snapshot!(said(&shown), @r#"
    full.eml in mailbox inbox: parsed
      alert #1: firing, major: Disk full
        key: disk in mailbox:inbox/db1@example.org
        label host: db1
        label secret: yes
        routed: route 1 (databases) → dba; left out carol: behind the wall `not carol`
        bob (dba): held: until 2026-11-21T11:00:05Z: the recipient shows dnd
        alice (ops): sent
          | MAJOR: Disk full
          | /var: 100 %
          | ops · mailbox:inbox · 2026-11-21 03:00 UTC · #1
        nobody of dba is reachable: ops is added
    free.eml in mailbox inbox: parsed
      alert #2: resolved, warning: Disk has room again
        key: disk in mailbox:inbox/db1@example.org
        routed: resolves #1 after 0ms
        alice: sent
          | RESOLVED: Disk has room again
          | Ends #1 after 0 s.
          | mailbox:inbox · 2026-11-21 03:00 UTC · #2
    broken.eml in mailbox inbox: quarantined: line 1: <alert>: severity: "loud" is none of critical, major, minor, warning, info
      operators are told: mailbox inbox: message 3 is in quarantine: line 1: <alert>: severity: "loud" is none of critical, major, minor, warning, info; see `mailbell quarantine show 3`
    forged.eml in mailbox inbox: rejected: sender db1@example.com is not among the allowed senders
    "#);
    assert!(!dir.path().join("store").exists(), "the store of the config is not touched");

    let shown = run(&["route", "--json", "--at", AT, "--presence", "*=available", "full.eml"]);
    let line: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    let bob = &line["alerts"][0]["recipients"][0];
    assert_eq!((&bob["recipient"], &bob["what"]), (&"bob".into(), &"sent".into()), "{line}");
    assert!(bob["text"].as_str().unwrap().starts_with("MAJOR: Disk full\n/var: 100 %\n"), "{line}");
}

#[test]
fn a_port_check_is_announced_and_not_made() {
    let dir = folder();
    let verify = CONFIG.replace("groups = [\"dba\"]", "groups = [\"dba\"]\nverify = true");
    let config = verify + "[probe]\nallow = [\"192.0.2.0/24:5432\"]\n";
    std::fs::write(dir.path().join("mailbell.toml"), config).unwrap();
    let said = |name: &str, host: &str, port: &str| {
        let labels = format!("<label name=\"host\">{host}</label><label name=\"port\">{port}</label>");
        let mail = mail(&format!("key=\"{name}\""), &format!("<title>Gone</title>{labels}"), "x@example.org");
        std::fs::write(dir.path().join("port.eml"), mail).unwrap();
        let shown = mailbell(dir.path(), &["route", "--json", "--at", AT, "port.eml"]);
        let line: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        let text = line["alerts"][0]["recipients"][0]["text"].as_str().unwrap();
        assert!(!text.contains("port check"), "{text}");
        line["alerts"][0]["port_check"].clone()
    };
    assert_eq!(said("a", "db1.example.org", "5432"), "db1.example.org:5432 would be looked at (route 1 (databases))");
    let not = "db1.example.org:80 would not be looked at: not in [probe] allow (route 1 (databases))";
    assert_eq!(said("b", "db1.example.org", "80"), not);
    assert_eq!(said("c", "db1", "x"), "would not be looked at: `x` is no port (route 1 (databases))");
    assert_eq!(said("d", "web1", "5432"), serde_json::Value::Null, "no route that verifies takes it");
    let shown = mailbell(dir.path(), &["route", "--at", AT, "port.eml", "full.eml"]);
    assert!(!String::from_utf8(shown.stdout).unwrap().contains("port check"));
}

#[test]
fn what_a_mail_meets_in_service_it_meets_in_a_rehearsal() {
    let dir = folder();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    // The wall keeps the fallback's members back as well, and mails are small.
    let config = CONFIG.replace("to = [\"carol\"]", "to = [\"carol\", \"alice\"]");
    write("mailbell.toml", &config.replace("senders =", "max_size = \"2KiB\"\nsenders ="));
    write("large.eml", &mail("key=\"large\"", &format!("<title>{}</title>", "x".repeat(3000)), "db1@example.org"));
    let cap = "<alert xmlns=\"urn:oasis:names:tc:emergency:cap:1.2\"><identifier>I</identifier><sender>s@x</sender>\
        <sent>2026-11-21T03:00:00+00:00</sent><status>Actual</status><msgType>Alert</msgType><scope>Public</scope><info>\
        <category>Met</category><event>Storm</event><urgency>Future</urgency><severity>Severe</severity>\
        <certainty>Likely</certainty><effective>2026-11-21T06:00:00+00:00</effective></info></alert>";
    let head = "From: met@example.org\nMessage-ID: <cap@example.org>\nContent-Type: application/cap+xml\n\n";
    write("later.eml", &format!("{head}{cap}\n"));
    let labels = "<label name=\"host\">db1</label><label name=\"secret\">yes</label>";
    let dire = format!("<title>Database gone</title>{labels}");
    write("dire.eml", &mail("key=\"dire\" severity=\"critical\"", &dire, "db1@example.org"));
    let mails = ["full.eml", "full.eml", "large.eml", "later.eml", "dire.eml"];
    let args = ["route", "--at", AT, "--presence", "bob=offline,*=available"];
    let shown = mailbell(dir.path(), &[&args[..], &mails].concat());
    insta::assert_snapshot!(said(&shown), @r"
    full.eml in mailbox inbox: parsed
      alert #1: firing, major: Disk full
        key: disk in mailbox:inbox/db1@example.org
        label host: db1
        label secret: yes
        routed: route 1 (databases) → dba; left out carol: behind the wall `not carol`
        bob (dba): held: until 2026-11-21T11:00:05Z: the recipient is offline
        nobody of dba is reachable: ops is added; left out alice: behind the wall `not carol`
        nobody of ops is reachable: it waits for them
    full.eml in mailbox inbox: duplicate: it was here before
    large.eml in mailbox inbox: quarantined: 3209 bytes, over max_size (2KiB); only its headers were fetched
      operators are told: mailbox inbox: message 3 is in quarantine: 3209 bytes, over max_size (2KiB); only its headers were fetched; see `mailbell quarantine show 3`
    later.eml in mailbox inbox: parsed
      alert #2: firing, major: Storm
        key: I in mailbox:inbox/met@example.org for s@x
        label cap.category: Met
        label cap.certainty: Likely
        label cap.event: Storm
        label cap.msgType: Alert
        label cap.scope: Public
        label cap.severity: Severe
        label cap.status: Actual
        label cap.urgency: Future
        routed: default group → ops; not before 2026-11-21T06:00:00Z, when it takes effect
        alice (ops): held: until 2026-11-21T06:00:00Z: it takes effect then
    dire.eml in mailbox inbox: parsed
      alert #3: firing, critical: Database gone
        key: dire in mailbox:inbox/db1@example.org
        label host: db1
        label secret: yes
        routed: route 1 (databases) → dba; left out carol: behind the wall `not carol`
        bob (dba): sent
          | CRITICAL: Database gone
          | dba · mailbox:inbox · 2026-11-21 03:00 UTC · #3
        nobody of dba is reachable: sent to all of them anyway
    ");
}

#[test]
fn slips_of_the_pen_are_told() {
    let dir = folder();
    let said = |args: &[&str]| {
        let output = mailbell(dir.path(), args);
        assert!(!output.status.success());
        said(&output)
    };
    assert!(said(&["route", "--presence", "bobby=away", "full.eml"]).contains("there is no recipient `bobby`"));
    assert!(said(&["route", "--presence", "bob=asleep", "full.eml"]).contains("`asleep` is no presence; allowed: "));
    assert!(said(&["route", "--mailbox", "outbox", "full.eml"]).contains("no mailbox `outbox`; there are: inbox"));
    assert!(said(&["route", "none.eml"]).contains("cannot read none.eml: No such file"));
}

#[test]
fn expectations_hold_or_are_told_with_what_came_instead() {
    let dir = folder();
    let good = r#"
config = "mailbell.toml"
[[case]]
name = "the database people are told"
mail = "full.eml"
at = "2026-11-21T03:00:05Z"
presence = { "*" = "offline", bob = "available" }
[[case.alert]]
key = "disk"
severity = "major"
title = "Disk *"
state = "routed"
reason = "*route 1 (databases) → dba; left out carol: behind the wall `not carol`"
labels = { host = "~db[0-9]" }
sent = ["bob"]
held = []
text = ["MAJOR: Disk full", "*dba*"]
[[case]]
name = "nobody there: the operators"
mail = "full.eml"
presence = { bob = "offline" }
[[case.alert]]
sent = ["alice"]
held = ["bob"]
[[case]]
name = "its end is told to whom it was told"
after = ["full.eml"]
mail = "free.eml"
[[case.alert]]
status = "resolved"
sent = ["bob"]
[[case]]
name = "others cannot end it"
after = ["full.eml"]
mail = "forged.eml"
outcome = "rejected"
alert = []
"#;
    std::fs::write(dir.path().join("good.toml"), good).unwrap();
    let passed = mailbell(dir.path(), &["test", "good.toml"]);
    assert_eq!(passed.status.code(), Some(0), "{}", said(&passed));
    assert!(said(&passed).ends_with("4 passed, 0 failed\n"), "{}", said(&passed));

    let bad = good
        .replace("sent = [\"alice\"]", "sent = [\"carol\"]")
        .replace("severity = \"major\"", "severity = \"minor\"");
    std::fs::write(dir.path().join("bad.toml"), bad).unwrap();
    let failed = mailbell(dir.path(), &["test", "bad.toml"]);
    assert_eq!(failed.status.code(), Some(1));
    insta::assert_snapshot!(said(&failed), @r#"
    FAILED the database people are told
           alert 1: severity: expected `minor`, got `major`
    FAILED nobody there: the operators
           alert 1: sent: expected carol, got alice
    ok     its end is told to whom it was told
    ok     others cannot end it
    2 passed, 2 failed
    "#);

    for (text, why) in [
        (good.replace("mail = \"free.eml\"", "mial = \"free.eml\""), "unknown field `mial`"),
        (good.replace("at = \"2026-11-21T03:00:05Z\"", "at = \"today\""), "line 6"),
        (good.replace("\"free.eml\"", "\"none.eml\""), "case `its end is told to whom it was told`: cannot read"),
        (good.replace("~db[0-9]", "~db["), "case `the database people are told`: label host:"),
        (String::new(), "holds no [[case]]"),
    ] {
        std::fs::write(dir.path().join("odd.toml"), text).unwrap();
        let odd = mailbell(dir.path(), &["test", "odd.toml"]);
        assert_eq!(odd.status.code(), Some(78), "{}", said(&odd));
        assert!(said(&odd).contains("odd.toml: ") && said(&odd).contains(why), "{why}: {}", said(&odd));
    }
}
