//! The `<info>` blocks of a CAP alert (CAP 1.2 §3.2.2): titles and texts by language, severity, times, labels.

use jiff::Timestamp;

use crate::model::{Alert, Severity, Variant};

use super::super::draft::{Context, Word, at, capped, is_link, label, none_of, title, word};
use super::super::time;
use super::super::tree::El;
use super::super::xml::shown;
use super::{Version, child, ours};

/// The language of an info that names none (CAP 1.2 §3.2.2 `language`).
const DEFAULT_LANG: &str = "en-US";
/// Most infos of one alert.
const MAX_INFOS: usize = 200;

const CATEGORY: [&str; 12] =
    ["Geo", "Met", "Safety", "Security", "Rescue", "Fire", "Health", "Env", "Transport", "Infra", "CBRNE", "Other"];
const RESPONSE: [&str; 9] =
    ["Shelter", "Evacuate", "Prepare", "Execute", "Avoid", "Monitor", "Assess", "AllClear", "None"];
const URGENCY: [&str; 5] = ["Immediate", "Expected", "Future", "Past", "Unknown"];
const SEVERITY: [&str; 5] = ["Extreme", "Severe", "Moderate", "Minor", "Unknown"];
const CERTAINTY: [&str; 5] = ["Observed", "Likely", "Possible", "Unlikely", "Unknown"];

/// One info, as far as it stands in the message itself.
struct Info {
    lang: String,
    severity: Severity,
    title: String,
    text: String,
}

/// Reads all infos into the alert.
pub(super) fn read(el: &El<'_>, version: Version, context: &Context<'_>, alert: &mut Alert) {
    let mut infos = Vec::new();
    for info in el.children().filter(|c| c.name() == "info" && ours(el, c)) {
        if infos.len() >= MAX_INFOS {
            alert.warnings.push(at(&info, &format!("there are more than {MAX_INFOS}; the others were left out")));
            break;
        }
        infos.push(one(&info, version, context, alert));
    }
    alert.severity = infos.iter().map(|i| i.severity).max().unwrap_or(Severity::Info);
    let mut variants = sequences(&infos);
    for variant in &mut variants {
        variant.title = title(&variant.title, context.limits, &mut alert.warnings);
        variant.text = capped(std::mem::take(&mut variant.text), "the text", context.limits, &mut alert.warnings);
    }
    if let Some(first) = variants.first() {
        alert.title.clone_from(&first.title);
        alert.text.clone_from(&first.text);
    }
    if variants.len() > 1 {
        alert.variants = variants;
    }
}

/// Infos of one language are one sequence: the title is that of the worst, the text that of all, in order.
fn sequences(infos: &[Info]) -> Vec<Variant> {
    let mut langs: Vec<&str> = Vec::new();
    for info in infos {
        if !langs.iter().any(|lang| lang.eq_ignore_ascii_case(&info.lang)) {
            langs.push(&info.lang);
        }
    }
    let sequence = |lang: &str| {
        let mine: Vec<&Info> = infos.iter().filter(|i| i.lang.eq_ignore_ascii_case(lang)).collect();
        let worst = mine.iter().map(|i| i.severity).max();
        let title = mine.iter().find(|i| Some(i.severity) == worst).map_or("", |i| &i.title);
        let mut blocks: Vec<String> = Vec::new();
        for info in &mine {
            let headed = mine.len() > 1 && info.title != title && !info.title.is_empty();
            let block = if headed { format!("{}\n{}", info.title, info.text) } else { info.text.clone() };
            if !block.trim().is_empty() && !blocks.contains(&block) {
                blocks.push(block);
            }
        }
        Variant { lang: lang.to_owned(), title: title.to_owned(), text: blocks.join("\n\n") }
    };
    langs.into_iter().map(sequence).collect()
}

fn one(info: &El<'_>, version: Version, context: &Context<'_>, alert: &mut Alert) -> Info {
    let text_of = |name: &str| child(info, name).map(|c| c.text()).unwrap_or_default();
    if let Some(event) = missing(info, "event", alert) {
        label(alert, "cap.event", &event, context.limits);
    }
    let severity = severity(info, context, alert);
    enumeration(info, "category", &CATEGORY, version >= Version::V1_1, context, alert);
    enumeration(info, "urgency", &URGENCY, true, context, alert);
    certainty(info, version, context, alert);
    if child(info, "responseType").is_some() {
        enumeration(info, "responseType", &RESPONSE, false, context, alert);
    }
    times(info, context, alert);
    labels(info, context, alert);
    links(info, alert);
    let headline = Some(text_of("headline")).filter(|t| !t.is_empty()).unwrap_or_else(|| text_of("event"));
    let areas = areas(info, context, alert);
    let texts = [text_of("description"), text_of("instruction"), areas];
    let text = texts.iter().filter(|t| !t.is_empty()).map(String::as_str).collect::<Vec<_>>().join("\n\n");
    Info { lang: language(info, context, alert), severity, title: headline, text }
}

/// A required text, flagged where it is missing or empty.
fn missing(info: &El<'_>, name: &str, alert: &mut Alert) -> Option<String> {
    match child(info, name).map(|c| (c, c.text())) {
        Some((_, text)) if !text.is_empty() => Some(text),
        Some((c, _)) => {
            alert.warnings.push(at(&c, "it is empty, but required"));
            None
        }
        None => {
            alert.warnings.push(at(info, &format!("<{name}> is missing, but required")));
            None
        }
    }
}

/// The severity of one info; where it says none that can be read, it is what an alert is that does not say.
fn severity(info: &El<'_>, context: &Context<'_>, alert: &mut Alert) -> Severity {
    let Some(text) = missing(info, "severity", alert) else { return Severity::Warning };
    let found = match word(&text, &SEVERITY) {
        Word::Exact(found) => found,
        Word::Bent(found) => {
            alert.warnings.push(at(info, &format!("severity \"{}\" was read as {found}", shown(&text))));
            found
        }
        Word::None => {
            let warning = format!("severity: {}; taken as a warning", none_of(&text, &SEVERITY));
            alert.warnings.push(at(info, &warning));
            label(alert, "cap.severity", &text, context.limits);
            return Severity::Warning;
        }
    };
    label(alert, "cap.severity", found, context.limits);
    match found {
        "Extreme" => Severity::Critical,
        "Severe" => Severity::Major,
        "Moderate" => Severity::Minor,
        "Minor" => Severity::Warning,
        _ => Severity::Info,
    }
}

/// CAP 1.0 knew "Very Likely", and later senders still write it.
fn certainty(info: &El<'_>, version: Version, context: &Context<'_>, alert: &mut Alert) {
    if version == Version::V1_0 && child(info, "certainty").is_some_and(|c| c.text() == "Very Likely") {
        label(alert, "cap.certainty", "Very Likely", context.limits);
    } else {
        enumeration(info, "certainty", &CERTAINTY, true, context, alert);
    }
}

/// A label whose values CAP lists; others are kept as they are, with a warning.
fn enumeration(
    info: &El<'_>,
    name: &str,
    allowed: &[&'static str],
    required: bool,
    context: &Context<'_>,
    alert: &mut Alert,
) {
    if required && missing(info, name, alert).is_none() {
        return;
    }
    for el in info.children().filter(|c| c.name() == name && ours(info, c)) {
        let text = el.text();
        let value = match word(&text, allowed) {
            _ if text.is_empty() => continue,
            Word::Exact(found) => found,
            Word::Bent(found) => {
                alert.warnings.push(at(&el, &format!("\"{}\" was read as {found}", shown(&text))));
                found
            }
            Word::None => {
                alert.warnings.push(at(&el, &none_of(&text, allowed)));
                text.as_str()
            }
        };
        label(alert, &format!("cap.{name}"), value, context.limits);
    }
}

fn language(info: &El<'_>, context: &Context<'_>, alert: &mut Alert) -> String {
    let Some((el, text)) = child(info, "language").map(|c| (c, c.text())).filter(|(_, t)| !t.is_empty()) else {
        return DEFAULT_LANG.to_owned();
    };
    if text.contains('_') {
        alert.warnings.push(at(&el, &format!("\"{}\" is written with _; read with -", shown(&text))));
    }
    let lang: String = text.replace('_', "-").chars().take(40).collect();
    label(alert, "cap.language", &lang, context.limits);
    lang
}

fn times(info: &El<'_>, context: &Context<'_>, alert: &mut Alert) {
    let mut read = |name: &str| -> Option<Timestamp> {
        let el = child(info, name)?;
        let text = el.text();
        if text.is_empty() {
            return None;
        }
        match time::read(&text) {
            Some((time, bent)) => {
                alert.warnings.extend(bent.map(|bent| at(&el, &format!("\"{}\": {bent}", shown(&text)))));
                Some(time)
            }
            None => {
                alert.warnings.push(at(&el, &format!("\"{}\" is no time; left out", shown(&text))));
                None
            }
        }
    };
    let (effective, onset, expires) = (read("effective"), read("onset"), read("expires"));
    // Of several infos the first to take effect counts, and the last to expire.
    alert.effective = [alert.effective, effective].into_iter().flatten().min();
    alert.expires = alert.expires.max(expires);
    if let Some(onset) = onset {
        label(alert, "cap.onset", &onset.to_string(), context.limits);
    }
}

fn labels(info: &El<'_>, context: &Context<'_>, alert: &mut Alert) {
    for el in info.children() {
        match el.name() {
            "senderName" | "contact" | "web" | "audience" if ours(info, &el) => {
                label(alert, &format!("cap.{}", el.name()), &el.text(), context.limits);
            }
            "eventCode" | "parameter" if ours(info, &el) => {
                let Some((name, value)) = named_value(&el) else { continue };
                if el.name() == "eventCode" {
                    label(alert, "cap.eventCode", &format!("{name}={value}"), context.limits);
                } else {
                    label(alert, &format!("cap.parameter.{name}"), &value, context.limits);
                }
            }
            "language" | "category" | "event" | "responseType" | "urgency" | "severity" | "certainty" | "effective"
            | "onset" | "expires" | "headline" | "description" | "instruction" | "resource" | "area"
                if ours(info, &el) => {}
            name => {
                alert.warnings.push(at(&el, "CAP does not know it in <info>; kept as a label"));
                label(alert, &format!("cap.{name}"), &el.text(), context.limits);
            }
        }
    }
}

/// `<valueName>` and `<value>` (1.1 on), or `NAME=VALUE` as text (1.0).
fn named_value(el: &El<'_>) -> Option<(String, String)> {
    let pair = match child(el, "valueName") {
        Some(name) => (name.text(), child(el, "value").map(|v| v.text()).unwrap_or_default()),
        None => {
            let text = el.text();
            let (name, value) = text.split_once('=')?;
            (name.trim().to_owned(), value.trim().to_owned())
        }
    };
    (!pair.0.is_empty()).then_some(pair)
}

/// Links of the info itself and of its resources; what a resource embeds is dropped.
fn links(info: &El<'_>, alert: &mut Alert) {
    let resources = info.children().filter(|c| c.name() == "resource" && ours(info, c));
    let uris = resources.filter_map(|r| child(&r, "uri"));
    for el in child(info, "web").into_iter().chain(uris) {
        let link = el.text();
        if !is_link(&link) {
            // A relative `uri` names what the resource embeds.
            if link.contains(':') {
                let warning = format!("\"{}\" is no http, https or xmpp link; left out", shown(&link));
                alert.warnings.push(at(&el, &warning));
            }
        } else if alert.links.len() < 100 && !alert.links.contains(&link) {
            alert.links.push(link);
        }
    }
}

/// The areas: their descriptions as a line of text, the rest as labels.
fn areas(info: &El<'_>, context: &Context<'_>, alert: &mut Alert) -> String {
    let mut named: Vec<String> = Vec::new();
    for area in info.children().filter(|c| c.name() == "area" && ours(info, c)) {
        for el in area.children() {
            match el.name() {
                "areaDesc" => {
                    let text = el.text();
                    label(alert, "cap.areaDesc", &text, context.limits);
                    named.extend(Some(text).filter(|t| !t.is_empty()));
                }
                "geocode" => {
                    if let Some((name, value)) = named_value(&el) {
                        label(alert, &format!("cap.geocode.{name}"), &value, context.limits);
                    }
                }
                "altitude" | "ceiling" => label(alert, &format!("cap.{}", el.name()), &el.text(), context.limits),
                _ => {}
            }
        }
    }
    if named.is_empty() { String::new() } else { format!("Area: {}", named.join("; ")) }
}
