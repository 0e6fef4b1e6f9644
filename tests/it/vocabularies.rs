//! Mails in other words than mailbell's own, all the way to the message: NRDP, Call Home, EDXL-DE, and a company's own XML.

use std::process::Output;

use serde_json::Value;

use crate::support::lab::{Lab, critical, xml_mail};
use crate::support::mailbell::Mailbell;

/// A fixture of the parser, as it would be mailed.
fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("tests/fixtures/{name}.eml")).unwrap()
}

/// Check results of services of one host, with their states and outputs.
fn check_results(results: &[(&str, u8, &str)]) -> String {
    let one = |(service, state, output): &(&str, u8, &str)| {
        format!(
            "<checkresult type=\"service\" checktype=\"1\"><hostname>web1</hostname><servicename>{service}</servicename>\
             <state>{state}</state><output>{output}</output></checkresult>\n"
        )
    };
    xml_mail(&format!("<checkresults>\n{}</checkresults>", results.iter().map(one).collect::<String>()))
}

#[tokio::test]
async fn check_results_fire_and_resolve() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    lab.mail(&check_results(&[
        ("Disk", 2, "DISK CRITICAL: 1% free|/var=99%\nLargest: /var/log"),
        ("HTTP", 1, "HTTP WARNING: 3.2 s"),
        ("Load", 0, "OK - load 0.2"),
    ]));
    let disk = alice.gets("CRITICAL: web1/Disk: DISK CRITICAL: 1% free").await;
    assert_eq!(disk.lines().nth(1), Some("Largest: /var/log"), "{disk}");
    alice.gets("WARNING: web1/HTTP: HTTP WARNING: 3.2 s").await;
    // The same again is a repeat, what got worse is not; each check is a condition of its own.
    lab.mail(&check_results(&[("Disk", 2, "DISK CRITICAL: 0% free"), ("HTTP", 2, "HTTP CRITICAL: timeout")]));
    alice.gets("CRITICAL: web1/HTTP: HTTP CRITICAL: timeout").await;
    lab.mail(&check_results(&[("Disk", 0, "DISK OK: 40% free"), ("HTTP", 0, "HTTP OK")]));
    alice.gets("RESOLVED: web1/Disk: DISK OK: 40% free").await;
    alice.gets("RESOLVED: web1/HTTP: HTTP OK").await;
    lab.mail(&critical("marker", "Marker"));
    alice.gets("Marker").await;
    assert_eq!(alice.count(), 6, "{:#?}", alice.messages());
    let states: Vec<_> = mailbell.alerts().await.into_iter().map(|alert| alert.state).collect();
    assert_eq!(states.iter().filter(|state| *state == "recorded").count(), 2, "{states:?}");
}

#[tokio::test]
async fn call_home_fires_resolves_and_tests() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let _mailbell = Mailbell::run(&lab.config());
    lab.mail(&fixture("call-home-test"));
    lab.mail(&fixture("call-home"));
    let page = alice.gets("MAJOR: core-sw1: %C6KPWR-2-PSFAIL: power supply 2 output failed").await;
    assert!(page.contains("show power\npower-supply 1: ok\npower-supply 2: failed"), "{page}");
    lab.mail(&fixture("call-home-normal"));
    alice.gets("RESOLVED: core-sw1: %C6KPWR-2-PSFAIL").await;
    lab.mail(&critical("marker", "Marker"));
    alice.gets("Marker").await;
    assert_eq!(alice.count(), 3, "a test pages nobody: {:#?}", alice.messages());
}

/// A distribution of that status and type around one CAP alert.
fn distribution(status: &str, kind: &str, sent: &str, id: &str) -> String {
    xml_mail(&format!(
        "<de:EDXLDistribution xmlns:de=\"urn:oasis:names:tc:emergency:EDXL:DE:1.0\">\
         <de:distributionID>{id}-{kind}</de:distributionID><de:senderID>hydro@water.example</de:senderID>\
         <de:dateTimeSent>{sent}</de:dateTimeSent><de:distributionStatus>{status}</de:distributionStatus>\
         <de:distributionType>{kind}</de:distributionType><de:combinedConfidentiality>NONE</de:combinedConfidentiality>\
         <de:contentObject><de:xmlContent><de:embeddedXMLContent>\
         <alert xmlns=\"urn:oasis:names:tc:emergency:cap:1.2\"><identifier>{id}</identifier><sender>hydro@water.example</sender>\
         <sent>2026-11-21T18:00:00-00:00</sent><status>Actual</status><msgType>Alert</msgType><scope>Public</scope>\
         <info><category>Met</category><event>Flood {id}</event><urgency>Expected</urgency><severity>Severe</severity>\
         <certainty>Likely</certainty></info></alert>\
         </de:embeddedXMLContent></de:xmlContent></de:contentObject></de:EDXLDistribution>"
    ))
}

#[tokio::test]
async fn a_distribution_says_how_real_its_alerts_are_and_may_withdraw_them() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    lab.mail(&distribution("Test", "Report", "2026-11-21T18:01:00-00:00", "T"));
    let tested = mailbell.alert("Flood T").await;
    assert_eq!(tested.reason, "status Test: no route asks for it by name");
    lab.mail(&distribution("Actual", "Report", "2026-11-21T18:01:00-00:00", "A"));
    alice.gets("MAJOR: Flood A").await;
    lab.mail(&distribution("Actual", "Cancel", "2026-11-21T18:30:00-00:00", "A"));
    alice.gets("RESOLVED: Flood A").await;
    assert_eq!(alice.count(), 2, "{:#?}", alice.messages());
}

const TICKER: &str = r#"
[[mapping]]
name = "ticker"
root = "events"
namespace = "urn:example:events"
each = "event[@kind = 'alarm']"
required = ["{host}"]
key = ["{host}/{check}", "{host}"]
title = "{host}: {what}"
text = "{string-join(detail, '; ')}"
sent = "{@time}"
times = ["epoch"]
labels = { host = "{host}" }
[mapping.severity]
value = "{@level}"
table = { red = "critical", yellow = "warning" }
[mapping.status]
value = "{@state}"
table = { over = "resolved" }
"#;

fn event(state: &str, what: &str) -> String {
    let now = jiff::Timestamp::now().as_second();
    xml_mail(&format!(
        "<t:events xmlns:t=\"urn:example:events\"><t:event kind=\"heartbeat\"/>\n<t:event kind=\"alarm\" level=\"RED\" \
         state=\"{state}\" time=\"{now}\"><t:host>press-4</t:host><t:check>oil</t:check><t:what>{what}</t:what>\
         <t:detail>1.2 bar</t:detail><t:detail>90 °C</t:detail></t:event>\n\
         <t:event kind=\"alarm\"><t:what>nobody's</t:what></t:event></t:events>"
    ))
}

#[tokio::test]
async fn a_companys_own_xml_needs_no_code() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&(lab.config() + TICKER));
    let mail = event("on", "Oil pressure low");
    lab.mail(&mail);
    let page = alice.gets("CRITICAL: press-4: Oil pressure low").await;
    assert_eq!(page.lines().nth(1), Some("1.2 bar; 90 °C"), "{page}");
    // What cannot be read is told, and does not hold what can.
    alice.gets("mapping ticker: no value for").await;
    lab.mail(&event("over", "Oil pressure fine"));
    alice.gets("RESOLVED: press-4: Oil pressure fine").await;

    let parsed = one_line(&mailbell.cli_with(&["parse", "-"], true, mail.as_bytes()));
    let alert = &parsed["alerts"][0];
    assert_eq!((alert["key"].as_str(), alert["severity"].as_str()), (Some("press-4/oil"), Some("critical")));
    assert_eq!(alert["labels"], serde_json::json!({ "host": "press-4", "mapping": "ticker" }));
    let reason = parsed["reason"].as_str().unwrap();
    assert_eq!(
        reason,
        "line 4: <event>: mapping ticker: no value for \"{host}\", which is required; it has no title: no value for \
         \"{host}: {what}\""
    );
    let without = one_line(&mailbell.cli_with(&["parse", "-"], false, mail.as_bytes()));
    assert_eq!(without["outcome"], "quarantined");
    assert!(
        without["reason"].as_str().unwrap().contains("the root <events> of namespace urn:example:events is unknown")
    );

    mailbell.configure(&(lab.config() + &TICKER.replace("{host}: ", "{host: ")));
    let refused = mailbell.cli_with(&["parse", "-"], true, mail.as_bytes());
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(78), 0));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("mapping.ticker.title: `{host: {what}`: character 7: expected the name of an element"),
        "{said}"
    );
}

fn one_line(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
