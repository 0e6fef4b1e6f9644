//! Rules on whole mails. The ready-made ones are tried in `tests/it/rules_ready.rs`.

use super::*;
use crate::model::{Alert, Severity, Status};
use crate::parse::{How, Limits, Mappings, Outcome, Plain};

/// Rules of a file's text, without the config around it.
fn rules(settings: Vec<RuleSettings>) -> Rules {
    Rules::new(settings.into_iter().map(|s| Rule::new(None, s).unwrap_or_else(|f| panic!("{f:?}"))).collect())
}

fn outcome(raw: &str, rules: &Rules, limits: &Limits) -> Outcome {
    let how = How { plain: Plain::Quarantine, limits, mappings: &Mappings::default(), rules };
    crate::parse::mail(raw.as_bytes(), &how).outcome
}

fn alerts(raw: &str, rules: &Rules) -> Vec<Alert> {
    match outcome(raw, rules, &Limits::default()) {
        Outcome::Alerts { alerts, bad } if bad.is_empty() => alerts,
        other => panic!("{other:?}"),
    }
}

fn named(name: &str) -> RuleSettings {
    RuleSettings { name: name.into(), ..RuleSettings::default() }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

const MAIL: &str = "From: UPS <Ups7@Example.org>\nMessage-ID: <1@x>\nSubject: UPS  7:\n on battery\nX-Site: Berlin\n\
    X-Site: =?utf-8?q?M=C3=BCnchen?=\nDate: Sat, 21 Nov 2026 19:42:00 +0100\n\nInput lost.\nRuntime: 12 min\n";

fn on_ups() -> RuleSettings {
    RuleSettings {
        from: texts(&["^ups7@example"]),
        subject: texts(&["^UPS (?<ups>[0-9]+): (?<state>on battery|on line)$"]),
        key: Some("ups/{ups}".into()),
        ..named("ups")
    }
}

fn only(rule: RuleSettings) -> Alert {
    let mut alerts = alerts(MAIL, &rules(vec![rule]));
    assert_eq!(alerts.len(), 1);
    alerts.remove(0)
}

fn faults(rule: RuleSettings) -> Vec<String> {
    let faults = Rule::new(None, rule).err().unwrap_or_default();
    faults.into_iter().map(|fault| format!("{}: {}; {}", fault.key, fault.wrong, fault.mend)).collect()
}

#[test]
fn what_a_rule_leaves_out_is_as_in_a_plain_mail() {
    let alert = only(on_ups());
    assert_eq!((alert.key.0.as_str(), alert.id.as_str(), alert.sender.as_str()), ("ups/7", "1@x", "ups7@example.org"));
    assert_eq!((alert.status, alert.severity), (Status::Firing, Severity::Warning));
    assert_eq!((alert.title.as_str(), alert.text.as_str()), ("UPS 7: on battery", "Input lost.\nRuntime: 12 min"));
    assert_eq!(alert.sent.unwrap().to_string(), "2026-11-21T18:42:00Z");
    assert_eq!(alert.labels.get(RULE_LABEL), ["ups"]);
    assert!(alert.warnings.is_empty());
}

#[test]
fn every_part_of_an_alert_can_be_said() {
    let alert = only(RuleSettings {
        header: vec![("x-SITE".into(), texts(&["^M(?<rest>.+)$"]))],
        body: texts(&["^Runtime: (?<minutes>[0-9]+) min$", "(?<first>^Input)"]),
        find: texts(&["^Load: (?<load>.+)$", "(?<word>lost)"]),
        status: Some(Choice::Fixed(Status::Update)),
        severity: Some(Choice::Table {
            from: "{state}".into(),
            map: vec![("ON Battery".into(), Severity::Major), ("on line".into(), Severity::Info)],
            default: None,
        }),
        title: Some("{ups} {{{first:lower}}} {rest} {load|no load}".into()),
        text: Some("{word}: {minutes} min, {from}".into()),
        group: Some("power".into()),
        link: Some("https://ups{ups}.example.org".into()),
        sent: Some("2026-11-21 18:00:00Z".into()),
        pairs: Some("a=1 b=\"{state}\"".into()),
        labels: vec![("load".into(), "{load}".into()), ("b2".into(), "{pair.b}{pair.c|!}".into())],
        ..on_ups()
    });
    assert_eq!((alert.status, alert.severity), (Status::Update, Severity::Major));
    assert_eq!(alert.title, "7 {input} ünchen no load");
    assert_eq!(alert.text, "lost: 12 min, ups7@example.org");
    assert_eq!((alert.groups, alert.links), (vec!["power".to_owned()], vec!["https://ups7.example.org".to_owned()]));
    assert_eq!(alert.sent.unwrap().to_string(), "2026-11-21T18:00:00Z");
    let labels: Vec<String> =
        alert.labels.iter().map(|(name, values)| format!("{name}={}", values.join("+"))).collect();
    assert_eq!(labels, ["a=1", "b=on battery", "b2=on battery!", "mailbell.rule=ups"], "an empty label is left out");
}

#[test]
fn all_conditions_must_match_and_the_first_rule_counts() {
    let never = |rule: RuleSettings| outcome(MAIL, &rules(vec![rule]), &Limits::default());
    let quarantined = |outcome| matches!(outcome, Outcome::Quarantined(_));
    assert!(quarantined(never(RuleSettings { from: texts(&["ups8@"]), ..on_ups() })));
    assert!(quarantined(never(RuleSettings { body: texts(&["Input", "^Output"]), ..on_ups() })));
    assert!(quarantined(never(RuleSettings { header: vec![("X-None".into(), texts(&[""]))], ..on_ups() })));
    assert!(quarantined(never(RuleSettings { each_line: Some("^Output".into()), ..on_ups() })));
    let both = rules(vec![
        RuleSettings { subject: texts(&["^Nothing"]), ..named("first") },
        RuleSettings { subject: texts(&["battery"]), ..named("second") },
        RuleSettings { from: texts(&["ups7"]), ..named("third") },
    ]);
    assert_eq!(alerts(MAIL, &both)[0].labels.get(RULE_LABEL), ["second"]);
}

#[test]
fn known_noise_is_ignored_with_its_reason() {
    let rule = RuleSettings { key: None, ignore: Some("the weekly self-test".into()), ..on_ups() };
    let seen = outcome(MAIL, &rules(vec![rule]), &Limits::default());
    assert_eq!(seen, Outcome::Ignored("rule ups: the weekly self-test".into()));
}

#[test]
fn rules_read_html_and_encoded_text_and_leave_xml_alone() {
    let rules = rules(vec![RuleSettings {
        body: texts(&["^Job (?<job>.+) failed$"]),
        key: Some("{job}".into()),
        ..named("j")
    }]);
    let key = |mail: &str| alerts(mail, &rules)[0].key.0.clone();
    assert_eq!(key("Subject: a\nContent-Type: text/html\n\n<p>Job <b>n&auml;chtlich</b> failed</p><p>x"), "nächtlich");
    let encoded = "Subject: a\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: base64\n\n";
    // `Job nächtlich failed` in ISO 8859-1.
    assert_eq!(key(&format!("{encoded}Sm9iIG7kY2h0bGljaCBmYWlsZWQNCg==")), "nächtlich");
    assert_eq!(key("Subject: a\n\nfirst\r\nJob x failed\r\nlast"), "x");
    let xml = "Subject: a\nContent-Type: application/xml\n\n<alert xmlns=\"urn:mailbell:alert:1\" key=\"k\"><title>Job x failed</title></alert>";
    assert_eq!(alerts(xml, &rules)[0].labels.get(RULE_LABEL), [""; 0]);
}

#[test]
fn each_line_is_bounded_and_tells_what_it_left() {
    let rule = RuleSettings {
        each_line: Some("^E (?<what>.+)$".into()),
        key: Some("{what}".into()),
        title: None,
        ..named("lines")
    };
    let rules = rules(vec![rule]);
    let limits = Limits { alerts: 2, ..Limits::default() };
    let mail = "Subject: s\nMessage-ID: <1@x>\n\nhello\nE a\n  E b  \nE c\nE d";
    let Outcome::Alerts { alerts, bad } = outcome(mail, &rules, &limits) else { panic!() };
    assert_eq!(
        alerts.iter().map(|a| (a.key.0.as_str(), a.title.as_str())).collect::<Vec<_>>(),
        [("a", "E a"), ("b", "E b")]
    );
    assert_eq!(alerts[0].warnings, ["1 lines of the mail are no event, the first is \"hello\""]);
    assert_eq!(bad, ["more than 2 alerts in a mail; 2 were not read (rule lines)"]);
    assert_eq!((alerts[0].text.as_str(), alerts[1].id.as_str()), ("", "1@x#2"));
}

#[test]
fn only_the_start_of_a_huge_text_is_looked_at_and_soon() {
    let slow = RuleSettings { body: texts(&["(?:a+)+(?<x>b)$", "(?:.*.*)*(?<y>c)$"]), ..named("slow") };
    let line = RuleSettings { each_line: Some("^E (?<what>.+)$".into()), ..named("lines") };
    let rules = rules(vec![slow, line]);
    let started = std::time::Instant::now();
    let hostile = format!("Subject: s\n\nE one\n{}", "a".repeat(4 << 20));
    let Outcome::Alerts { alerts, bad } = outcome(&hostile, &rules, &Limits::default()) else { panic!() };
    assert_eq!(
        (alerts.len(), bad.as_slice()),
        (1, &["its text is longer than 256 KiB; the rest was not read".to_owned()][..])
    );
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn what_a_rule_finds_can_be_nothing() {
    let alert = only(RuleSettings {
        find: texts(&["^(?<none>zzz)?"]),
        key: Some("{none|}".into()),
        sent: Some("yesterday".into()),
        link: Some("ftp://x".into()),
        title: Some("{none}".into()),
        ..on_ups()
    });
    assert_eq!((alert.key.0.as_str(), alert.title.as_str(), alert.links.len()), ("1@x", "UPS 7: on battery", 0));
    let warned = [
        "\"yesterday\" is no time; the mail's Date counts",
        "the key by rule ups is empty; the mail is one of its own",
    ];
    assert_eq!(alert.warnings, warned);
}

#[test]
fn a_capture_that_is_not_there_is_refused() {
    assert_eq!(
        faults(RuleSettings { key: Some("{hots}".into()), ..on_ups() }),
        ["key: there is no capture `hots`; known: ups, state, subject, from, body"]
    );
    let line = faults(RuleSettings { title: Some("{line} {pair.x}".into()), ..on_ups() });
    assert_eq!(line.len(), 2, "{line:?}");
    let known = RuleSettings {
        title: Some("{line} {pair.x}".into()),
        pairs: Some("{body}".into()),
        each_line: Some("x".into()),
        ..on_ups()
    };
    assert_eq!(faults(known), [""; 0]);
    assert!(
        faults(RuleSettings { pairs: Some("{pair.x}".into()), ..on_ups() })[0]
            .starts_with("pairs: there is no capture")
    );
}

#[test]
fn a_key_that_may_lack_a_part_is_refused() {
    let optional = RuleSettings { subject: texts(&["^UPS(?: (?<ups>.+))?"]), ..on_ups() };
    assert_eq!(
        faults(optional.clone()),
        ["key: `ups` may be missing, and then another condition would be meant; give it a default: {ups|none}"]
    );
    assert_eq!(faults(RuleSettings { key: Some("ups/{ups|none}".into()), ..optional }), [""; 0]);
    let found = RuleSettings { find: texts(&["(?<site>x)"]), key: Some("{site}".into()), ..on_ups() };
    assert!(faults(found)[0].contains("`site` may be missing"), "what `find` finds is never certain");
}

#[test]
fn names_are_clear_and_a_recovery_has_a_key() {
    let twice = faults(RuleSettings { body: texts(&["(?<ups>x)"]), ..on_ups() });
    assert_eq!(twice, ["body: another expression has a capture `ups` already; rename one of them"]);
    let taken = faults(RuleSettings { body: texts(&["(?<body>x)"]), ..on_ups() });
    assert_eq!(taken, ["body: a capture cannot be called `body`, which is there anyway; rename it"]);
    let keyless = RuleSettings { key: None, status: Some(Choice::Fixed(Status::Resolved)), ..on_ups() };
    assert!(faults(keyless)[0].starts_with("key: is missing: without it a recovery resolves nothing"));
    let own = faults(RuleSettings { labels: vec![(RULE_LABEL.into(), "x".into())], ..on_ups() });
    assert_eq!(own, ["labels.mailbell.rule: names that start with mailbell. are its own; choose another name"]);
    let idle = faults(RuleSettings { ignore: Some("why".into()), ..on_ups() });
    assert_eq!(idle, ["key: has no meaning beside ignore: no alert is made; leave one of them out"]);
}

#[test]
fn a_table_has_what_can_be_and_nothing_else() {
    let table = |map: &[&str], default: Option<Severity>| {
        let map = map.iter().map(|value| ((*value).to_owned(), Severity::Major)).collect();
        let severity = Some(Choice::Table { from: "{state}".into(), map, default });
        faults(RuleSettings { severity, ..on_ups() })
    };
    assert_eq!(table(&["On Battery", "on line"], None), [""; 0]);
    assert_eq!(table(&["on battery"], Some(Severity::Info)), [""; 0]);
    assert_eq!(
        table(&["on battery"], None),
        ["severity.default: is missing: {state} can also be `on line`; add one, or add the value to the table"]
    );
    assert_eq!(
        table(&["on battery", "onlien"], Some(Severity::Info)),
        ["severity.map: `onlien` can never be: {state} is one of `on battery`, `on line`; leave it out"]
    );
    assert_eq!(
        table(&["on line", "ON LINE", "on battery"], None),
        ["severity.map: `on line` is there twice; upper and lower case are the same; write it once"]
    );
    let open = Some(Choice::Table { from: "{ups}".into(), map: Vec::new(), default: None::<Severity> });
    assert!(faults(RuleSettings { severity: open, ..on_ups() })[0].starts_with("severity.default: is missing"));
}

#[test]
fn rules_that_leave_nothing_to_a_later_one_are_found() {
    let shadowed = |rules: Vec<RuleSettings>| -> Vec<(usize, usize, bool)> {
        let rules: Vec<Rule> = rules.into_iter().map(|rule| Rule::new(None, rule).unwrap()).collect();
        shadows(&rules).into_iter().map(|s| (s.rule, s.by, s.takes_all)).collect()
    };
    let subject = |text: &str| RuleSettings { subject: texts(&[text]), ..named("s") };
    let all = named("all");
    assert_eq!(shadowed(vec![all.clone(), on_ups()]), [(1, 0, true)]);
    assert_eq!(shadowed(vec![on_ups(), all.clone()]), []);
    assert_eq!(shadowed(vec![subject(".*"), all.clone()]), [(1, 0, true)]);
    assert_eq!(shadowed(vec![subject("UPS"), subject("^UPS 7 (?<x>.+)")]), [(1, 0, false)]);
    assert_eq!(shadowed(vec![subject("PDU"), on_ups()]), []);
    // One condition more takes less.
    assert_eq!(shadowed(vec![RuleSettings { body: texts(&["x"]), ..on_ups() }, on_ups()]), []);
    assert_eq!(shadowed(vec![on_ups(), RuleSettings { body: texts(&["x"]), ..on_ups() }]), [(1, 0, false)]);
    // A text without a line, or without the field, is left.
    let lines = |text: &str| RuleSettings { each_line: Some(text.into()), ..named("l") };
    assert_eq!(shadowed(vec![lines("."), all.clone()]), []);
    assert_eq!(shadowed(vec![lines("E"), lines("^E (?<x>.)")]), [(1, 0, false)]);
    assert_eq!(shadowed(vec![lines("^E x"), lines("^E (?<x>.)")]), []);
    assert_eq!(shadowed(vec![lines("^E"), lines("^E (?<x>.)")]), [(1, 0, false)]);
    let header = |name: &str, text: &str| RuleSettings { header: vec![(name.into(), texts(&[text]))], ..named("h") };
    assert_eq!(shadowed(vec![header("X-A", ""), all]), []);
    assert_eq!(shadowed(vec![header("X-A", "b"), header("x-a", "abc")]), [(1, 0, false)]);
}

#[test]
fn rules_are_the_same_where_their_settings_are() {
    let one = rules(vec![on_ups()]);
    assert_eq!(one, rules(vec![on_ups()]));
    assert_ne!(one, rules(vec![RuleSettings { key: None, ..on_ups() }]));
    assert_ne!(one, Rules::new(vec![Rule::new(Some("x.toml"), on_ups()).unwrap()]));
    assert_eq!(Rule::new(Some("/etc/mailbell/x.toml"), on_ups()).unwrap().name(), "x/ups");
}

mod random {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

        /// Whatever is in a mail, a rule with a key in it makes an alert with a key.
        #[test]
        fn any_text_ends_well(subject in "[^\\p{C}]{0,30}", body in "(?s).{0,300}") {
            let rule = RuleSettings {
                find: texts(&["(?<word>[a-z]+)"]),
                each_line: None,
                key: Some("{subject|none} {word|none}".into()),
                pairs: Some("{body}".into()),
                labels: vec![("w".into(), "{word}".into())],
                ..named("any")
            };
            let raw = format!("Subject: {subject}\nContent-Type: text/plain; charset=utf-8\n\n{body}");
            if let Outcome::Alerts { alerts, .. } = outcome(&raw, &rules(vec![rule]), &Limits::default()) {
                prop_assert!(!alerts[0].key.0.is_empty() && !alerts[0].title.is_empty());
            }
        }
    }
}
