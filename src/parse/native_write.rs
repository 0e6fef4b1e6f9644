//! Alerts as native XML: what `mailbell send` and the probe engine mail. Pure, and the reverse of the native parser.

use std::fmt::Write;

use jiff::Timestamp;

use crate::model::{Severity, Status};

/// Namespace of native alerts.
pub const NAMESPACE: &str = "urn:mailbell:alert:1";

/// One alert to be written. What is `None` or empty is left out, and the reader's default holds.
#[derive(Debug, Clone, Default)]
pub struct NativeAlert<'a> {
    /// Identifier of this report; by default the Message-ID.
    pub id: Option<&'a str>,
    /// Names the condition; by default the id.
    pub key: Option<&'a str>,
    /// By default firing.
    pub status: Option<Status>,
    /// By default warning.
    pub severity: Option<Severity>,
    /// By default the mail's Date.
    pub sent: Option<Timestamp>,
    /// One line; required.
    pub title: &'a str,
    /// The rest.
    pub text: &'a str,
    /// Groups asked for.
    pub groups: &'a [String],
    /// Names and values.
    pub labels: &'a [(String, String)],
    /// http, https and xmpp links.
    pub links: &'a [String],
    /// Of no use after this.
    pub expires: Option<Timestamp>,
}

/// A document with one alert, or with `<alerts>` around several. Characters that XML 1.0 (§2.2) cannot carry are left out.
pub fn write(alerts: &[NativeAlert<'_>]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let namespace = format!(" xmlns=\"{NAMESPACE}\"");
    if let [alert] = alerts {
        write_alert(&mut xml, alert, &namespace);
        return xml;
    }
    xml.push_str(&format!("<alerts{namespace}>\n"));
    for alert in alerts {
        write_alert(&mut xml, alert, "");
    }
    xml.push_str("</alerts>\n");
    xml
}

fn write_alert(xml: &mut String, alert: &NativeAlert<'_>, namespace: &str) {
    xml.push_str("<alert");
    xml.push_str(namespace);
    attribute(xml, "id", alert.id);
    attribute(xml, "key", alert.key);
    attribute(xml, "status", alert.status.map(Status::as_str));
    attribute(xml, "severity", alert.severity.map(Severity::as_str));
    attribute(xml, "sent", alert.sent.map(|sent| sent.to_string()).as_deref());
    xml.push_str(">\n");
    element(xml, "title", None, alert.title);
    if !alert.text.is_empty() {
        element(xml, "text", None, alert.text);
    }
    for group in alert.groups {
        element(xml, "group", None, group);
    }
    for (name, value) in alert.labels {
        element(xml, "label", Some(name), value);
    }
    for link in alert.links {
        element(xml, "link", None, link);
    }
    if let Some(expires) = alert.expires {
        element(xml, "expires", None, &expires.to_string());
    }
    xml.push_str("</alert>\n");
}

fn element(xml: &mut String, tag: &str, name: Option<&str>, text: &str) {
    xml.push_str("  <");
    xml.push_str(tag);
    attribute(xml, "name", name);
    xml.push('>');
    text.chars().for_each(|c| escape(xml, c, false));
    // Writing to a text cannot fail.
    let _ = writeln!(xml, "</{tag}>");
}

fn attribute(xml: &mut String, name: &str, value: Option<&str>) {
    let Some(value) = value else { return };
    let _ = write!(xml, " {name}=\"");
    value.chars().for_each(|c| escape(xml, c, true));
    xml.push('"');
}

/// XML 1.0 §2.2 (what may be there), §2.11 (a bare CR would be read as LF), §3.3.3 (so would be white space in an attribute
/// as a blank).
fn escape(xml: &mut String, c: char, in_attribute: bool) {
    match c {
        '&' => xml.push_str("&amp;"),
        '<' => xml.push_str("&lt;"),
        '>' => xml.push_str("&gt;"),
        '"' if in_attribute => xml.push_str("&quot;"),
        '\r' => xml.push_str("&#13;"),
        '\t' if in_attribute => xml.push_str("&#9;"),
        '\n' if in_attribute => xml.push_str("&#10;"),
        '\t' | '\n' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'.. => xml.push(c),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quick_xml::events::Event;

    use super::*;

    #[test]
    fn a_whole_alert() {
        let time = |text: &str| Some(text.parse().unwrap());
        let alert = NativeAlert {
            id: Some("ups7-1432"),
            key: Some("ups/7/input"),
            status: Some(Status::Firing),
            severity: Some(Severity::Critical),
            sent: time("2026-11-21T18:42:00Z"),
            title: "UPS 7 on battery",
            text: "Input < 200 V & falling.\n\"12 min\" left.",
            groups: &["power".into()],
            labels: &[("host".into(), "ups7.example.com".into()), ("a\"b".into(), "x".into())],
            links: &["https://ups7.example.com/?a=1&b=2".into()],
            expires: time("2026-11-21T20:42:00Z"),
        };
        insta::assert_snapshot!(write(std::slice::from_ref(&alert)), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <alert xmlns="urn:mailbell:alert:1" id="ups7-1432" key="ups/7/input" status="firing" severity="critical" sent="2026-11-21T18:42:00Z">
          <title>UPS 7 on battery</title>
          <text>Input &lt; 200 V &amp; falling.
        "12 min" left.</text>
          <group>power</group>
          <label name="host">ups7.example.com</label>
          <label name="a&quot;b">x</label>
          <link>https://ups7.example.com/?a=1&amp;b=2</link>
          <expires>2026-11-21T20:42:00Z</expires>
        </alert>
        "#);
        let two = write(&[alert, NativeAlert { title: "second", ..NativeAlert::default() }]);
        assert!(two.contains("<alerts xmlns=\"urn:mailbell:alert:1\">\n<alert id="), "{two}");
        assert!(two.ends_with("<alert>\n  <title>second</title>\n</alert>\n</alerts>\n"), "{two}");
    }

    /// Title, name and value of the label, as an XML reader sees them.
    fn read_back(xml: &str) -> (String, String, String) {
        let unescape = |text: &str| quick_xml::escape::unescape(text).unwrap().into_owned();
        let mut reader = quick_xml::NsReader::from_str(xml);
        let (mut tag, mut title, mut name, mut value) = (String::new(), String::new(), String::new(), String::new());
        loop {
            let text = match reader.read_event().unwrap() {
                Event::Start(start) => {
                    tag = start.name().as_ref().to_owned();
                    if tag == "label" {
                        name = unescape(&start.attributes().next().unwrap().unwrap().value);
                    }
                    continue;
                }
                Event::Text(text) => text.to_string(),
                Event::GeneralRef(reference) => unescape(&format!("&{};", &*reference)),
                Event::End(_) => {
                    tag.clear();
                    continue;
                }
                Event::Eof => return (title, name, value),
                _ => continue,
            };
            match tag.as_str() {
                "title" => title.push_str(&text),
                "label" => value.push_str(&text),
                _ => {}
            }
        }
    }

    fn legal(text: &str) -> String {
        text.chars().filter(|c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..)).collect()
    }

    proptest! {
        #[test]
        fn any_text_comes_back_but_for_what_xml_forbids(title in any::<String>(), name in any::<String>(), value in ".*") {
            let labels = [(name.clone(), value.clone())];
            let xml = write(&[NativeAlert { title: &title, labels: &labels, ..NativeAlert::default() }]);
            prop_assert_eq!(read_back(&xml), (legal(&title), legal(&name), legal(&value)));
        }
    }
}
