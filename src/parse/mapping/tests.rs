//! Mails in a company's own words.

use super::super::tests::of;
use super::super::{How, Limits, Outcome, Plain, mail};
use super::Mappings;
use crate::config::mappings_of;
use crate::model::{Alert, Format, Nature, Severity, Status};

const TICKER: &str = r#"
[[mapping]]
name = "ticker"
root = "events"
namespace = "urn:example:events"
prefixes = { m = "urn:example:more" }
each = "list/event[@kind = 'alarm']"
required = ["{host}"]
id = "{/events/@batch}-{@id}"
key = ["{host}/{check}", "{host}"]
title = ["{host}: {m:headline}", "{host}: {check} is {{{@state}}}"]
text = "{string-join(detail/concat(@name, ' ', .), '\n')}"
sent = "{@time}"
effective = "{from}"
expires = "{until}"
links = ["{url}", "https://ticker.example/{@id}"]
groups = ["{team}"]
times = ["%d.%m.%Y %H:%M", "epoch"]
zone = "+01:00"
labels = { host = "{host}", team = "{team}", site = ["{m:site}", "{/events/source}"] }
[mapping.severity]
value = "{@level}"
table = { Red = "critical", yellow = "minor" }
default = "major"
[mapping.status]
value = "{@state}"
table = { ok = "resolved", drill = "Exercise", log = "recorded", still = "update" }
default = "refuse"
"#;

fn read(mappings: &Mappings, body: &str) -> (Vec<Alert>, Vec<String>) {
    let limits = Limits::default();
    let raw = of("application/xml", body);
    match mail(
        &raw,
        &How { plain: Plain::Alert(Severity::Info), limits: &limits, mappings, rules: &crate::parse::Rules::default() },
    )
    .outcome
    {
        Outcome::Alerts { alerts, bad } => (alerts, bad),
        Outcome::Quarantined(reason) => (Vec::new(), vec![reason]),
        Outcome::Ignored(reason) => panic!("{reason}"),
    }
}

fn ticker(events: &str) -> (Vec<Alert>, Vec<String>) {
    let body = format!(
        "<events xmlns=\"urn:example:events\" xmlns:x=\"urn:example:more\" batch=\"B7\"><source>hall 3</source>\n<list>{events}</list></events>"
    );
    read(&mappings_of(TICKER), &body)
}

#[test]
fn every_field_has_its_place() {
    let (alerts, bad) = ticker(
        "<event kind='info'><host>x</host></event>\
         <event kind='alarm' id='1' level='RED' state='still' time='21.11.2026 19:42'><host> db1 </host><check>disk</check>\
         <x:headline>Disk\n full</x:headline><detail name='/var'>99 %</detail><detail name='/srv'>97 %</detail>\
         <from>1795286520</from><until>22.11.2026 00:00</until><url>https://a.example/1</url><team>dba</team><team>ops</team></event>",
    );
    assert_eq!(bad, [""; 0]);
    let alert = &alerts[0];
    assert_eq!((alerts.len(), alert.format), (1, Format::Mapped));
    assert_eq!((alert.id.as_str(), alert.key.0.as_str()), ("B7-1", "db1/disk"));
    assert_eq!((alert.title.as_str(), alert.text.as_str()), ("db1: Disk full", "/var 99 %\n/srv 97 %"));
    assert_eq!((alert.severity, alert.status, alert.nature), (Severity::Critical, Status::Update, Nature::Actual));
    let time = |time: Option<jiff::Timestamp>| time.unwrap().to_string();
    assert_eq!(time(alert.sent), "2026-11-21T18:42:00Z");
    assert_eq!(time(alert.effective), "2026-11-21T18:42:00Z");
    assert_eq!(time(alert.expires), "2026-11-21T23:00:00Z");
    assert_eq!(alert.links, ["https://a.example/1", "https://ticker.example/1"]);
    assert_eq!(alert.groups, ["dba", "ops"]);
    let labels: Vec<_> = alert.labels.iter().map(|(name, values)| format!("{name}={}", values.join("+"))).collect();
    assert_eq!(labels, ["host=db1", "mapping=ticker", "site=hall 3", "team=dba+ops"]);
    assert_eq!((alert.sender.as_str(), alert.warnings.len()), ("a@b.example", 0));
}

#[test]
fn states_levels_and_what_is_left_out() {
    let event = |state: &str, level: &str| {
        format!("<event kind='alarm' state='{state}' level='{level}'><host>a</host><check>c</check></event>")
    };
    let (alerts, bad) = ticker(&["ok", "drill", "log", "STILL"].map(|state| event(state, "Yellow")).concat());
    assert_eq!(bad, [""; 0]);
    let seen: Vec<_> = alerts.iter().map(|alert| (alert.status, alert.nature)).collect();
    let real = |status| (status, Nature::Actual);
    let drill = (Status::Firing, Nature::Exercise);
    assert_eq!(seen, [real(Status::Resolved), drill, real(Status::Recorded), real(Status::Update)]);
    assert!(alerts.iter().all(|alert| alert.severity == Severity::Minor));
    assert_eq!(alerts[1].title, "a: c is {drill}");
}

#[test]
fn what_is_wrong_names_line_element_and_mapping() {
    let (alerts, bad) = ticker(
        "<event kind='alarm' state='ok'><check>c</check></event>\n\
         <event kind='alarm' state='gone'><host>b</host></event>\n\
         <event kind='alarm'><host>c</host></event>\n\
         <event kind='alarm' state='ok' level='blue' time='soon'><host>d</host><check>e</check><url>file:///x</url></event>",
    );
    assert_eq!(
        bad,
        [
            "line 2: <event>: mapping ticker: no value for \"{host}\", which is required; it has no title: no value for \
             \"{host}: {m:headline}\" or \"{host}: {check} is {{{@state}}}\"",
            "line 3: <event>: mapping ticker: it has no title: no value for \"{host}: {m:headline}\" or \
             \"{host}: {check} is {{{@state}}}\"; status: \"gone\" is none of drill, log, ok, still",
            "line 4: <event>: mapping ticker: it has no title: no value for \"{host}: {m:headline}\" or \
             \"{host}: {check} is {{{@state}}}\"; status: no value for \"{@state}\"",
        ]
    );
    assert_eq!((alerts.len(), alerts[0].title.as_str()), (1, "d: e is {ok}"));
    assert_eq!((alerts[0].severity, alerts[0].links.len()), (Severity::Major, 0));
    assert_eq!(
        alerts[0].warnings,
        [
            "line 5: <event>: mapping ticker: sent: \"soon\" is no time as %d.%m.%Y %H:%M, epoch; that of the mail counts",
            "line 5: <event>: mapping ticker: severity: \"blue\" is not in the table; taken as major",
            "line 5: <event>: mapping ticker: \"file:///x\" is no http, https or xmpp link; left out",
        ]
    );
    assert_eq!(alerts[0].sent.unwrap().to_string(), "2026-11-21T18:42:05Z");
}

#[test]
fn a_list_without_alerts_is_told() {
    let (_, bad) = ticker("<event kind='info'/>");
    assert_eq!(bad, ["line 1: <events>: mapping ticker: it holds no alert: nothing is at list/event[@kind = 'alarm']"]);
}

#[test]
fn a_reason_is_one_short_line_however_expressions_are_written() {
    // The built-in mapping for NRDP has line breaks in its titles.
    let (_, bad) =
        read(&mappings_of(TICKER), "<checkresults><checkresult><state>2</state></checkresult></checkresults>");
    assert!(
        bad[0].starts_with("line 1: <checkresult>: mapping nrdp: no value for \"{hostname}\", which is"),
        "{bad:?}"
    );
    assert!(bad[0].contains("(output, '\\n')"), "{bad:?}");
    let long = "{a}".repeat(500);
    let lines = format!(
        "[[mapping]]\nname = \"a\"\nroot = \"r\"\ntitle = \"{{a}}\\n{{b}}\"\nlinks = \"{long}\"\nrequired = \"{long}\"\n"
    );
    let (_, long) = read(&mappings_of(&lines), "<r><b>x</b></r>");
    for reason in bad.iter().chain(&long) {
        assert!(reason.chars().count() < 500 && !reason.contains('\n'), "{reason}");
    }
    assert!(long[0].ends_with('…'), "{long:?}");
}

#[test]
fn without_each_the_root_is_one_alert_and_defaults_are_those_of_any_alert() {
    let mappings = mappings_of("[[mapping]]\nname = \"one\"\nroot = \"Störung\"\ntitle = \"{Text}\"\nkey = \"{Nr}\"\n");
    let (alerts, bad) = read(&mappings, "<Störung><Text>Strom weg</Text></Störung>");
    assert_eq!(bad, [""; 0]);
    assert_eq!((alerts[0].severity, alerts[0].status), (Severity::Warning, Status::Firing));
    assert_eq!((alerts[0].id.as_str(), alerts[0].key.0.as_str()), ("m@b", "m@b"));
    assert_eq!(alerts[0].warnings, ["line 1: <Störung>: mapping one: it has no key; its id names the condition"]);
    let (_, bad) = read(&mappings, "<Störung xmlns='urn:other'><Text>t</Text></Störung>");
    assert!(bad[0].contains("the root <Störung> of namespace urn:other is unknown"), "{bad:?}");
}

#[test]
fn a_mapped_root_is_xml_wherever_it_stands() {
    let mappings = mappings_of("[[mapping]]\nname = \"a\"\nroot = \"report\"\ntitle = \"{what}\"\n");
    let limits = Limits::default();
    let outcome = |media: &str, body: &str| {
        mail(
            &of(media, body),
            &How {
                plain: Plain::Alert(Severity::Info),
                limits: &limits,
                mappings: &mappings,
                rules: &crate::parse::Rules::default(),
            },
        )
        .outcome
    };
    let Outcome::Alerts { alerts, .. } = outcome("text/plain", "\n<report><what>up</what></report>\n") else {
        panic!()
    };
    assert_eq!((alerts[0].title.as_str(), alerts[0].format), ("up", Format::Mapped));
    // Broken, it is no text for people either.
    let Outcome::Quarantined(reason) = outcome("text/plain", "<report><what>up</report>") else { panic!() };
    assert!(reason.starts_with("line 1: "), "{reason}");
    let Outcome::Alerts { alerts, .. } = outcome("text/plain", "<reports><what>up</what></reports>") else { panic!() };
    assert_eq!(alerts[0].format, Format::Plain);
}

#[test]
fn an_alert_without_namespace_may_be_mapped() {
    let body = "<alert><title>T</title><host>h</host></alert>";
    let (native, _) = read(&Mappings::default(), body);
    assert_eq!((native[0].format, native[0].title.as_str()), (Format::Native, "T"));
    let mappings = mappings_of("[[mapping]]\nname = \"a\"\nroot = \"alert\"\ntitle = \"{host}\"\n");
    let (mapped, _) = read(&mappings, body);
    assert_eq!((mapped[0].format, mapped[0].title.as_str()), (Format::Mapped, "h"));
    let (native, _) = read(&mappings, &body.replace("<alert>", "<alert xmlns='urn:mailbell:alert:1'>"));
    assert_eq!(native[0].format, Format::Native);
}

#[test]
fn a_document_that_is_too_much_for_its_expressions_is_told_soon() {
    let mappings = mappings_of(
        "[[mapping]]\nname = \"a\"\nroot = \"r\"\neach = \"e\"\ntitle = \"{//e[. = 'x' and //e = 'y']}\"\n",
    );
    let body = format!("<r>{}</r>", "<e>x</e>".repeat(50_000));
    let started = std::time::Instant::now();
    let (alerts, bad) = read(&mappings, &body);
    assert!(alerts.is_empty());
    assert!(bad[0].starts_with("line 1: <e>: mapping a: its expressions have too much to look at"), "{bad:?}");
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

#[test]
fn texts_and_alerts_are_capped_as_in_every_vocabulary() {
    let mappings = mappings_of(
        "[[mapping]]\nname = \"a\"\nroot = \"r\"\neach = \"e\"\ntitle = \"{t}\"\ntext = \"{t}{t}\"\nlabels = { all = \"{x}\" }\n",
    );
    let limits = Limits { text: 10, alerts: 2, ..Limits::default() };
    let body = format!("<r>{}</r>", format!("<e><t>{}</t>{}</e>", "ä".repeat(100), "<x>1</x><x>2</x>").repeat(3));
    let raw = of("text/xml", body);
    let how =
        How { plain: Plain::Quarantine, limits: &limits, mappings: &mappings, rules: &crate::parse::Rules::default() };
    let Outcome::Alerts { alerts, bad } = mail(&raw, &how).outcome else { panic!() };
    assert_eq!(alerts[0].text.chars().count(), 10);
    assert_eq!(alerts[0].labels.get("all"), ["1", "2"]);
    assert_eq!(bad, ["line 1: more than 2 alerts in a mail; 1 were not read"]);
}

mod random {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str) -> String {
        quick_xml::escape::escape(text).into_owned()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_comes_out_as_it_was(
            host in "[^\\s\\p{C}]{1,20}", headline in "[^\\s\\p{C}][^\\p{C}]{0,40}", detail in "[^\\p{C}]{0,40}",
        ) {
            let (alerts, bad) = ticker(&format!(
                "<event kind='alarm' state='ok'><host>{}</host><x:headline>{}</x:headline><detail name='d'>{}</detail></event>",
                escaped(&host), escaped(&headline), escaped(&detail)
            ));
            prop_assert!(bad.is_empty(), "{:?}", bad);
            prop_assert_eq!(&alerts[0].key.0, &host);
            let title = format!("{host}: {headline}");
            prop_assert_eq!(&alerts[0].title, &title.split_whitespace().collect::<Vec<_>>().join(" "));
            let text = format!("d {detail}");
            prop_assert_eq!(alerts[0].text.trim(), text.trim());
        }

        #[test]
        fn any_template_and_any_content_end_well(
            template in "[a-z/@\\[\\]()'=!,.*{} ]{0,40}", body in "(<(e|t|x)( a='1')?>|</(e|t|x)>|[a-z&;]){0,30}",
        ) {
            let none = std::collections::BTreeMap::new();
            let spaces = crate::parse::Spaces { own: "", prefixes: &none };
            let mut mappings = mappings_of("[[mapping]]\nname = \"a\"\nroot = \"r\"\ntitle = \"{t}\"\n");
            if let Ok(template) = crate::parse::Template::read(&template, spaces) {
                prop_assert_eq!(crate::parse::Template::read(template.source(), spaces), Ok(template.clone()));
                mappings.own[0].title = vec![template.clone()];
                mappings.own[0].key = vec![template];
            }
            read(&mappings, &format!("<r>{body}</r>"));
        }
    }
}
