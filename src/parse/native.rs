//! The gateway's own vocabulary, namespace `urn:mailbell:alert:1`; `config/alert.xsd` is its schema.
//!
//! Required is only `<title>`. What is unknown is kept as a label, with a warning: a newer sender's alert is still an alert.
//! A wrong value is an error that names line, element and the allowed values.

use jiff::Timestamp;

use crate::model::{Format, Key, Severity, Status};

use super::draft::{Context, Draft, Word, at, capped, empty, is_link, label, none_of, title, word};
use super::fields::one_line;
use super::time;
use super::tree::El;
use super::xml::shown;

/// Its namespace.
pub(crate) const SPACE: &str = "urn:mailbell:alert:1";

const STATUS: [&str; 3] = ["firing", "update", "resolved"];
const SEVERITY: [&str; 5] = ["critical", "major", "minor", "warning", "info"];

/// Reads one `<alert>`.
pub(crate) fn read(el: &El<'_>, context: &Context<'_>) -> Result<Draft, String> {
    let mut draft = Draft { alert: empty(Format::Native, context), has_id: false, has_key: false };
    if el.space() != SPACE {
        draft.alert.warnings.push(at(el, &format!("it lacks xmlns=\"{SPACE}\"")));
    }
    attributes(el, context, &mut draft)?;
    elements(el, context, &mut draft)?;
    Ok(draft)
}

fn attributes(el: &El<'_>, context: &Context<'_>, draft: &mut Draft) -> Result<(), String> {
    for (name, value) in el.attributes() {
        let value = one_line(value);
        let value = value.as_str();
        match name.as_str() {
            "id" if !value.is_empty() => {
                draft.alert.id = capped(value.to_owned(), "id", context.limits, &mut draft.alert.warnings);
                draft.has_id = true;
            }
            "key" if !value.is_empty() => {
                draft.alert.key = Key(capped(value.to_owned(), "key", context.limits, &mut draft.alert.warnings));
                draft.has_key = true;
            }
            "status" => draft.alert.status = status(el, value, &mut draft.alert.warnings)?,
            "severity" => draft.alert.severity = severity(el, value, &mut draft.alert.warnings)?,
            "sent" => draft.alert.sent = Some(instant(el, "sent", value, &mut draft.alert.warnings)?),
            "id" | "key" => draft.alert.warnings.push(at(el, &format!("its {name} is empty"))),
            // Hints for schema processors and editors, `xml:lang`: they say nothing about the condition.
            _ if name.contains(':') => {}
            _ => {
                draft.alert.warnings.push(at(el, &format!("attribute {} is unknown; kept as a label", shown(name))));
                label(&mut draft.alert, name, value, context.limits);
            }
        }
    }
    Ok(())
}

fn elements(el: &El<'_>, context: &Context<'_>, draft: &mut Draft) -> Result<(), String> {
    let limits = context.limits;
    let alert = &mut draft.alert;
    let mut titles = 0;
    for child in el.children() {
        let known = child.space() == SPACE || child.space().is_empty();
        match child.name() {
            "title" if known => {
                titles += 1;
                if titles > 1 {
                    alert.warnings.push(at(&child, "there is more than one; the first counts"));
                } else {
                    alert.title = title(&child.text(), limits, &mut alert.warnings);
                }
            }
            "text" if known => {
                let text = child.text();
                if !alert.text.is_empty() && !text.is_empty() {
                    alert.text.push_str("\n\n");
                }
                alert.text.push_str(&text);
            }
            "group" if known => alert.groups.extend(Some(child.text()).filter(|g| !g.is_empty())),
            "label" if known => match child.attributes().iter().find(|(name, _)| name == "name") {
                Some((_, name)) if !name.trim().is_empty() => label(alert, name, &child.text(), limits),
                _ => alert.warnings.push(at(&child, "it has no name; write <label name=\"host\">…</label>")),
            },
            "link" if known => {
                let link = child.text();
                if is_link(&link) {
                    alert.links.push(link);
                } else if !link.is_empty() {
                    let warning = format!("\"{}\" is no http, https or xmpp link; left out", shown(&link));
                    alert.warnings.push(at(&child, &warning));
                }
            }
            "expires" if known => {
                let text = child.text();
                if text.is_empty() {
                    continue;
                }
                alert.expires = Some(instant(&child, "", &text, &mut alert.warnings)?);
            }
            _ => {
                alert.warnings.push(at(&child, "it is unknown; kept as a label"));
                label(alert, child.name(), &child.text(), limits);
            }
        }
    }
    alert.text = capped(std::mem::take(&mut alert.text), "<text>", limits, &mut alert.warnings);
    if alert.title.is_empty() {
        return Err(at(el, "it has no <title>, which is required"));
    }
    Ok(())
}

fn status(el: &El<'_>, value: &str, warnings: &mut Vec<String>) -> Result<Status, String> {
    Ok(match allowed(el, "status", value, &STATUS, warnings)? {
        "update" => Status::Update,
        "resolved" => Status::Resolved,
        _ => Status::Firing,
    })
}

fn severity(el: &El<'_>, value: &str, warnings: &mut Vec<String>) -> Result<Severity, String> {
    let word = allowed(el, "severity", value, &SEVERITY, warnings)?;
    word.parse().map_err(|e| at(el, &format!("{e}")))
}

fn allowed(
    el: &El<'_>,
    name: &str,
    value: &str,
    words: &[&'static str],
    warnings: &mut Vec<String>,
) -> Result<&'static str, String> {
    match word(value, words) {
        Word::Exact(word) => Ok(word),
        Word::Bent(word) => {
            warnings.push(at(el, &format!("{name}=\"{}\" was read as {word}", shown(value))));
            Ok(word)
        }
        Word::None => Err(at(el, &format!("{name}: {}", none_of(value, words)))),
    }
}

fn instant(el: &El<'_>, name: &str, value: &str, warnings: &mut Vec<String>) -> Result<Timestamp, String> {
    let what = if name.is_empty() { String::new() } else { format!("{name}: ") };
    let Some((time, bent)) = time::read(value) else {
        let want = "write it like 2026-11-21T18:42:00Z";
        return Err(at(el, &format!("{what}\"{}\" is no time; {want}", shown(value))));
    };
    warnings.extend(bent.map(|bent| at(el, &format!("{what}\"{}\": {bent}", shown(value)))));
    Ok(time)
}
