//! Alerts in envelopes.

use std::sync::LazyLock;

use super::super::tests::of;
use super::super::{How, Limits, Mappings, Outcome, Plain, mail};
use crate::model::{Alert, Nature, Severity, Status};

const DE1: &str = "urn:oasis:names:tc:emergency:EDXL:DE:1.0";

fn outcome(body: &str) -> Outcome {
    static MAPPINGS: LazyLock<Mappings> = LazyLock::new(crate::config::built_in_mappings);
    let limits = Limits::default();
    let how = How {
        plain: Plain::Alert(Severity::Info),
        limits: &limits,
        mappings: &MAPPINGS,
        rules: &crate::parse::Rules::default(),
    };
    mail(&of("application/xml", body), &how).outcome
}

fn alerts(body: &str) -> (Vec<Alert>, Vec<String>) {
    match outcome(body) {
        Outcome::Alerts { alerts, bad } => (alerts, bad),
        other => panic!("{other:?}"),
    }
}

fn quarantined(body: &str) -> String {
    match outcome(body) {
        Outcome::Quarantined(reason) => reason,
        other => panic!("{other:?}"),
    }
}

fn cap(id: &str, status: &str, msg_type: &str) -> String {
    format!(
        "<alert xmlns=\"urn:oasis:names:tc:emergency:cap:1.2\"><identifier>{id}</identifier><sender>s@x</sender>\
         <sent>2026-11-21T18:00:00+00:00</sent><status>{status}</status><msgType>{msg_type}</msgType>\
         <scope>Public</scope></alert>"
    )
}

fn native(title: &str) -> String {
    format!("<alert xmlns=\"urn:mailbell:alert:1\"><title>{title}</title></alert>")
}

/// A distribution with this head and these content objects.
fn distribution(head: &str, contents: &[String]) -> String {
    let objects: String =
        contents.iter().map(|content| format!("<contentObject>{content}</contentObject>\n")).collect();
    format!("<EDXLDistribution xmlns=\"{DE1}\">\n{head}\n{objects}</EDXLDistribution>")
}

fn embedded(xml: &str) -> String {
    format!("<xmlContent><embeddedXMLContent>{xml}</embeddedXMLContent></xmlContent>")
}

fn binary(media: &str, data: &str) -> String {
    format!("<nonXMLContent><mimeType>{media}</mimeType><contentData>{data}</contentData></nonXMLContent>")
}

fn base64(text: &str) -> String {
    use lettre::message::{Body, header::ContentTransferEncoding::Base64};
    let body = Body::new_with_encoding(text.as_bytes().to_vec(), Base64).unwrap();
    String::from_utf8(body.as_ref().to_vec()).unwrap()
}

#[test]
fn of_envelope_and_alert_the_stricter_status_counts() {
    for (envelope, own, want) in [
        ("Actual", "Actual", Nature::Actual),
        ("Test", "Actual", Nature::Test),
        ("Exercise", "Actual", Nature::Exercise),
        ("System", "Actual", Nature::System),
        ("Actual", "Test", Nature::Test),
        ("Exercise", "Test", Nature::Test),
        ("Test", "Exercise", Nature::Test),
        ("test", "Actual", Nature::Test),
        ("Actual", "Draft", Nature::Draft),
        ("Unknown", "Actual", Nature::Actual),
        ("", "Exercise", Nature::Exercise),
    ] {
        let head = format!("<distributionStatus>{envelope}</distributionStatus>");
        let (alerts, _) = alerts(&distribution(&head, &[embedded(&cap("I", own, "Alert"))]));
        assert_eq!(alerts[0].nature, want, "{own} in {envelope}");
        let told = alerts[0].warnings.iter().any(|warning| warning.contains("it counts as"));
        assert_eq!(told, want.as_str() != own, "{own} in {envelope}: {:?}", alerts[0].warnings);
        assert!(alerts[0].labels.get("cap.status").contains(&want.as_str().to_owned()));
    }
    let (native, _) =
        alerts(&distribution("<distributionStatus>Exercise</distributionStatus>", &[embedded(&native("t"))]));
    assert_eq!(native[0].nature, Nature::Exercise);
}

#[test]
fn what_the_type_of_a_distribution_does() {
    for (kind, msg_type, want) in [
        ("Report", "Alert", Status::Firing),
        ("Update", "Update", Status::Update),
        ("Dispatch", "Alert", Status::Firing),
        ("SensorStatus", "Alert", Status::Firing),
        ("Nonsense", "Alert", Status::Firing),
        ("Cancel", "Alert", Status::Resolved),
        ("Cancel", "Update", Status::Resolved),
        ("Cancel", "Cancel", Status::Resolved),
        ("Cancel", "Ack", Status::Recorded),
        ("Ack", "Alert", Status::Recorded),
        ("Error", "Alert", Status::Recorded),
        ("Report", "Cancel", Status::Resolved),
    ] {
        let head = format!(
            "<dateTimeSent>2026-11-21T18:30:00Z</dateTimeSent><distributionStatus>Actual</distributionStatus>\
             <distributionType>{kind}</distributionType>"
        );
        let (alerts, _) = alerts(&distribution(&head, &[embedded(&cap("I", "Actual", msg_type))]));
        let alert = &alerts[0];
        assert_eq!((alert.status, alert.tell_operators), (want, kind == "Error"), "{msg_type} in {kind}");
        // As of the distribution, or the same message would be a duplicate.
        let withdrawn = kind == "Cancel" && matches!(msg_type, "Alert" | "Update");
        let sent = if withdrawn { "2026-11-21T18:30:00Z" } else { "2026-11-21T18:00:00Z" };
        assert_eq!(alert.sent.unwrap().to_string(), sent, "{msg_type} in {kind}");
        assert_eq!(alert.labels.get("edxl.distributionType"), [kind]);
    }
}

#[test]
fn contents_are_found_however_they_stand() {
    let actual = cap("I", "Actual", "Alert");
    let document = format!("<?xml version=\"1.0\"?>\n{actual}");
    for content in [
        embedded(&actual),
        format!("<xmlContent>{actual}</xmlContent>"),
        format!("<xmlContent><keyXMLContent>{actual}</keyXMLContent></xmlContent>"),
        embedded(&format!("<![CDATA[{document}]]>")),
        embedded(&document.replace('<', "&lt;")),
        binary("application/cap+xml", &base64(&document)),
        binary("application/octet-stream", &base64(&document)),
        embedded(&format!("<wrap xmlns=\"urn:x\">{actual}</wrap>")),
        embedded(&distribution("", &[embedded(&actual)])),
        embedded(&format!(
            "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>{actual}</s:Body></s:Envelope>"
        )),
    ] {
        let (alerts, bad) = alerts(&distribution("", std::slice::from_ref(&content)));
        let ids: Vec<_> = alerts.iter().map(|alert| alert.id.as_str()).collect();
        assert_eq!((ids.as_slice(), bad.len()), (["I"].as_slice(), 0), "{content}");
    }
    let (found, _) = alerts(&format!(
        "<edxlDistribution xmlns=\"urn:oasis:names:tc:emergency:EDXL:DE:2.0\"><content>\
        <contentObject><contentXML><embeddedXMLContent>{actual}</embeddedXMLContent></contentXML></contentObject></content></edxlDistribution>"
    ));
    assert_eq!(found[0].id, "I");
}

#[test]
fn a_bad_one_does_not_hold_its_neighbours() {
    let contents = [
        embedded(&native("one")),
        embedded(&cap("two", "Aktual", "Alert")),
        embedded("<![CDATA[<alert xmlns='urn:mailbell:alert:1'><title>three</alert>]]>"),
        embedded(&native("four")),
        binary("image/png", "iVBORw0KGgo="),
        binary("text/xml", &base64("<a>\u{ff}</a>").replace("w78", "/w==")),
    ];
    let (alerts, bad) = alerts(&distribution("<distributionStatus>Actual</distributionStatus>", &contents));
    let seen: Vec<_> = alerts.iter().map(|alert| (alert.title.as_str(), alert.id.as_str())).collect();
    assert_eq!(seen, [("one", "m@b"), ("four", "m@b#3")]);
    assert_eq!(bad.len(), 2, "{bad:#?}");
    assert!(bad[0].starts_with("line 4: <status>: \"Aktual\" is none of"), "{}", bad[0]);
    assert!(bad[1].ends_with(" (in <embeddedXMLContent> of line 5)"), "{}", bad[1]);
    assert!(alerts[0].labels.get("edxl.leftOut").contains(&"image/png".to_owned()));
    assert_eq!(alerts[0].warnings.len(), 2, "{:#?}", alerts[0].warnings);
}

#[test]
fn an_envelope_without_any_alert_is_told_with_what_was_left_out() {
    let reason = quarantined(&distribution("", &[binary("image/png", "iVBORw0KGgo="), "<x/>".to_owned()]));
    assert_eq!(
        reason,
        "line 1: <EDXLDistribution> holds no alert; line 3: <nonXMLContent>: its content of type image/png is no XML, and was left out"
    );
    let soap = |body: &str| {
        format!("<Envelope xmlns=\"http://www.w3.org/2003/05/soap-envelope\"><Header/><Body>{body}</Body></Envelope>")
    };
    assert!(quarantined(&soap("<q xmlns='urn:q'/>")).contains("the root <q> of namespace urn:q is unknown"));
    assert!(quarantined(&soap("")).contains("the root <Envelope> of namespace http"), "{}", quarantined(&soap("")));
    assert_eq!(alerts(&soap(&native("in SOAP"))).0[0].title, "in SOAP");
    assert!(quarantined(&soap(&native("broken")).replace("</Body>", "")).starts_with("line 1: "));
}

#[test]
fn envelopes_and_documents_in_each_other_are_bounded() {
    let mut nested = cap("I", "Actual", "Alert");
    for _ in 0..3 {
        nested = distribution("", &[embedded(&nested)]);
    }
    assert_eq!(alerts(&nested).0.len(), 1);
    let mut deep = cap("I", "Actual", "Alert");
    for _ in 0..5 {
        deep = distribution("", &[binary("text/xml", &base64(&deep))]);
    }
    let reason = quarantined(&deep);
    assert!(reason.contains("documents stand in documents more than 2 deep"), "{reason}");
}

#[test]
fn an_envelope_cannot_make_each_of_its_alerts_large() {
    let keyword = format!("<keyword><value>{}</value></keyword>", "k".repeat(2000));
    let keywords: String = (0..3000).map(|n| keyword.replacen("<value>", &format!("<value>{n}"), 1)).collect();
    let mut objects = vec![binary("image/png", "iVBORw0KGgo="); 1000];
    objects.extend(vec![embedded(&native("t")); 100]);
    let started = std::time::Instant::now();
    let (alerts, _) = alerts(&distribution(&keywords, &objects));
    assert_eq!(alerts.len(), 100);
    for alert in &alerts {
        assert_eq!(alert.labels.get("edxl.keyword").len(), 100);
        assert!(alert.labels.get("edxl.keyword").iter().all(|keyword| keyword.len() == 500));
        assert_eq!(alert.warnings.len(), 21, "{:#?}", alert.warnings);
    }
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

#[test]
fn many_alerts_stay_many_and_each_keeps_its_own_words() {
    let objects: Vec<String> = (0..59)
        .map(|n| {
            format!(
                "<contentDescription>d{n}</contentDescription>{}",
                embedded(&cap(&format!("i{n}"), "Actual", "Alert"))
            )
        })
        .collect();
    let (alerts, bad) = alerts(&distribution("<distributionStatus>Actual</distributionStatus>", &objects));
    assert_eq!((alerts.len(), bad.len()), (59, 0));
    for (n, alert) in alerts.iter().enumerate() {
        assert_eq!(
            (alert.id.as_str(), alert.labels.get("edxl.contentDescription")),
            (&*format!("i{n}"), &[format!("d{n}")][..])
        );
        assert_eq!(alert.warnings, [""; 0]);
    }
}
