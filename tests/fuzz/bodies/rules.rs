//! Rules for plain mail: those that operators might write, and the ready-made ones, on mails that senders might.

use std::sync::LazyLock;

use mailbell::config::Config;
use mailbell::model::Alert;
use mailbell::parse::rules::{READY_MADE, RULE_LABEL};
use mailbell::parse::{Mappings, Outcome, Rules};

use super::parts::{config, entries, entry, settings_and_rest};
use super::{config as config_file, mail, mime, prepared};

/// What is made of a rule's parts when they are texts, in their order.
const KEYS: [&str; 16] = [
    "subject",
    "body",
    "key",
    "status",
    "severity",
    "title",
    "each_line",
    "find",
    "from",
    "header.X-A",
    "text",
    "labels.host",
    "pairs",
    "sent",
    "link",
    "group",
];

/// All sets of `config/rules`, in force at once. That they are read is no mail's doing: the fuzz program does it before.
pub static READY: LazyLock<Rules> = LazyLock::new(|| {
    let names: Vec<&str> = READY_MADE.iter().map(|(name, _)| *name).collect();
    let rules = rules_of(&format!("rules = {names:?}\n")).expect("the ready-made rules are right");
    // They get ready for mails with the first one.
    mail::check_as(0, b"From: a@example.org\nSubject: x\n\nx\n", &Mappings::default(), &rules);
    rules
});

/// The first byte chooses as it does for a mail, and how the rest is read: rules (as TOML, as the texts of one rule, or those
/// ready-made), and behind the last end of a part a mail: as it is, of a subject and a text or some HTML, or made.
pub fn run(data: &[u8]) {
    let Some((flags, rest)) = data.split_first() else { return };
    let (settings, said) = settings_and_rest(rest);
    let own = match flags >> 2 & 3 {
        0 => rules_of(&String::from_utf8_lossy(settings)),
        1 => rules_of(&rule(entries(&KEYS, settings))),
        _ => Some(READY.clone()),
    };
    let Some(rules) = own else { return };
    prepared();
    let raw = match flags >> 4 & 3 {
        0 => said.to_vec(),
        1 => letter("text/plain", said),
        2 => letter("text/html", said),
        _ => mime::made(said),
    };
    if let Outcome::Alerts { alerts, .. } = mail::check_as(*flags, &raw, &Mappings::default(), &rules) {
        alerts.iter().for_each(|alert| by_a_rule_of(&rules, alert));
    }
}

/// What no sender can say: by which rule it is an alert.
fn by_a_rule_of(rules: &Rules, alert: &Alert) {
    for name in alert.labels.get(RULE_LABEL) {
        assert!(rules.iter().any(|rule| rule.name() == name), "by {name:?}, which is no rule");
    }
}

fn rules_of(text: &str) -> Option<Rules> {
    let Config { mailboxes, .. } = config_file::loaded(&config(text))?;
    mailboxes.into_iter().next().map(|mailbox| mailbox.intake.rules)
}

fn rule(entries: Vec<(&str, String)>) -> String {
    let mut text = "[[mailbox.rule]]\nname = \"own\"\n".to_owned();
    for (key, value) in &entries {
        text.push_str(&match *key {
            "status" => format!("{}{STATUSES}", entry("status.from", value)),
            "severity" => format!("{}{SEVERITIES}", entry("severity.from", value)),
            key => entry(key, value),
        });
    }
    text
}

const STATUSES: &str = "status.map = { ok = \"resolved\", bad = \"update\" }\nstatus.default = \"firing\"\n";
const SEVERITIES: &str = "severity.map = { ok = \"info\", bad = \"critical\" }\nseverity.default = \"minor\"\n";

/// The first line is the subject.
fn letter(media: &str, said: &[u8]) -> Vec<u8> {
    let end = said.iter().position(|b| *b == b'\n').unwrap_or(said.len());
    let (subject, text) = said.split_at(end);
    let head = format!(
        "From: ups7@example.org\nX-A: ok 1\nMessage-ID: <1@example.org>\nContent-Type: {media}; charset=utf-8\nSubject: "
    );
    [head.as_bytes(), subject, b"\n", text].concat()
}
