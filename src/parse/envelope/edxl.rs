//! EDXL-DE, the envelope of the OASIS emergency standards (EDXL-DE 1.0 §3.2, 2.0 §3.3), around any number of alerts.
//!
//! - What `embeddedXMLContent` holds is read, as elements or as quoted text; `keyXMLContent`, which repeats parts of it, only
//!   where there is nothing else. `nonXMLContent` (2.0: `otherContent`) is read if its base64 is XML, else left out with a
//!   warning on the alerts beside it.
//! - `distributionStatus`: of the envelope's and the alert's own the stricter counts, in the order Actual, Exercise, System,
//!   Test, Draft. What is distributed as a test is none the more real for what it says inside.
//! - `distributionType` (2.0: `distributionKind`) speaks of the distribution, not of its contents; they speak for themselves
//!   but in three cases. Cancel withdraws them: what would fire or update resolves, as of `dateTimeSent`. Ack and Error
//!   answer an earlier message: contents are kept, nobody is paged; of an Error the operators are told.
//! - Labels, each with all values: `edxl.distributionID`, `edxl.senderID`, `edxl.distributionStatus`,
//!   `edxl.distributionType`, `edxl.combinedConfidentiality`, `edxl.language`, `edxl.senderRole`, `edxl.recipientRole`,
//!   `edxl.keyword`, `edxl.distributionReference`, `edxl.explicitAddress`; of the alert's own content object
//!   `edxl.contentDescription`, `edxl.contentKeyword`, `edxl.incidentID`, `edxl.incidentDescription`, `edxl.originatorRole`,
//!   `edxl.consumerRole`, `edxl.confidentiality`; `edxl.leftOut` is the type of what was left out.

use std::rc::Rc;

use jiff::Timestamp;

use super::super::decode;
use super::super::draft::{Context, Word, at, label, none_of, word};
use super::super::time;
use super::super::tree::El;
use super::super::xml::shown;
use super::{Content, What};
use crate::model::{Alert, Format, Nature, Status};

const STATUS: [&str; 4] = ["Actual", "Exercise", "System", "Test"];
const OF_ALL: [&str; 12] = [
    "distributionID",
    "senderID",
    "distributionStatus",
    "distributionType",
    "distributionKind",
    "combinedConfidentiality",
    "language",
    "senderRole",
    "recipientRole",
    "keyword",
    "distributionReference",
    "explicitAddress",
];
const OF_ONE: [&str; 7] = [
    "contentDescription",
    "contentKeyword",
    "incidentID",
    "incidentDescription",
    "originatorRole",
    "consumerRole",
    "confidentiality",
];

/// Labels that an envelope gives each of its alerts, and characters of each: a mail of any size is cheap for each of them.
const MAX_LABELS: usize = 100;
const MAX_VALUE: usize = 500;
/// Things left out that are listed.
const MAX_LEFT_OUT: usize = 20;

/// A label with one of its values.
type Label = (String, String);

/// What a distribution says of all that is in it, and of one thing.
#[derive(Debug, Clone)]
pub(crate) struct Around {
    all: Rc<Distribution>,
    one: Rc<Vec<Label>>,
}

#[derive(Debug, Default)]
struct Distribution {
    nature: Nature,
    does: Does,
    sent: Option<Timestamp>,
    labels: Vec<Label>,
    warnings: Vec<String>,
}

/// What a distribution does to its contents.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Does {
    #[default]
    Nothing,
    Cancel,
    Ack,
    Error,
}

/// Is it the root of a distribution? Senders write it in several ways.
pub(crate) fn is_root(name: &str, space: &str) -> bool {
    name.eq_ignore_ascii_case("EDXLDistribution") && is_space(space)
}

fn is_space(space: &str) -> bool {
    space.to_ascii_lowercase().contains("emergency:edxl:de:")
}

/// Is this element of the envelope called so?
fn is(el: &El<'_>, name: &str) -> bool {
    el.name().eq_ignore_ascii_case(name) && is_space(el.space())
}

/// What a distribution holds.
pub(super) fn open<'d>(root: &El<'d>, around: &[Around], left_out: &mut Vec<String>) -> Vec<Content<'d>> {
    let mut distribution = Distribution::of(root);
    let mut found: Vec<(What<'d>, Rc<Vec<Label>>)> = Vec::new();
    let mut skipped = Vec::new();
    for object in root.outermost(|el| is(el, "contentObject")) {
        let labels = Rc::new(labels(&object, &OF_ONE));
        found.extend(inside(&object, &mut skipped).into_iter().map(|what| (what, labels.clone())));
    }
    if found.is_empty() {
        // Not as the standard has it, and yet clear.
        found = inside(root, &mut Vec::new()).into_iter().map(|what| (what, Rc::default())).collect();
    }
    for (media, why) in skipped.into_iter().take(MAX_LEFT_OUT) {
        distribution.labels.push(("edxl.leftOut".to_owned(), short(&media)));
        distribution.warnings.push(why.clone());
        if left_out.len() < MAX_LEFT_OUT {
            left_out.push(why);
        }
    }
    let all = Rc::new(distribution);
    let content = |(what, one)| {
        let mut around = around.to_vec();
        around.push(Around { all: all.clone(), one });
        Content { what, around }
    };
    found.into_iter().map(content).collect()
}

/// What a content object holds, in order.
fn inside<'d>(object: &El<'d>, skipped: &mut Vec<(String, String)>) -> Vec<What<'d>> {
    let other = |el: &El<'_>| !is_space(el.space());
    let quoted = |el: &El<'_>| is(el, "embeddedXMLContent") && is_quoted(el);
    let no_xml = |el: &El<'_>| is(el, "nonXMLContent") || is(el, "otherContent");
    let key = |el: &El<'_>| is(el, "keyXMLContent");
    let mut found = Vec::new();
    let mut keys = Vec::new();
    for el in object.outermost(|el| other(el) || quoted(el) || no_xml(el) || key(el)) {
        if key(&el) {
            keys.push(el);
        } else if no_xml(&el) {
            match decoded(&el) {
                Ok((text, bent)) => found.push(What::Text(text, el, bent)),
                Err(why) => skipped.push(why),
            }
        } else if other(&el) {
            found.push(What::Element(el));
        } else {
            found.push(What::Text(el.text(), el, None));
        }
    }
    if found.is_empty() {
        for key in keys {
            if is_quoted(&key) {
                found.push(What::Text(key.text(), key, None));
            }
            found.extend(key.outermost(other).into_iter().map(What::Element));
        }
    }
    found
}

/// Does it hold XML as text?
fn is_quoted(el: &El<'_>) -> bool {
    el.children().next().is_none() && el.text().starts_with('<')
}

/// The XML that base64 holds; else its type, and why it was left out.
fn decoded(el: &El<'_>) -> Result<(String, Option<String>), (String, String)> {
    let child = |name| el.children().find(|child| is(child, name)).map(|child| child.text()).unwrap_or_default();
    let media: String = Some(child("mimeType")).filter(|t| !t.is_empty()).unwrap_or_else(|| "unknown".to_owned());
    let leave = |why: &str| (media.clone(), at(el, &format!("its content of type {} {why}", shown(&media))));
    let bytes = decode::transfer(child("contentData").as_bytes(), "base64").into_owned();
    if !bytes.trim_ascii_start().starts_with(b"<") && !media.to_ascii_lowercase().contains("xml") {
        return Err(leave("is no XML, and was left out"));
    }
    decode::xml(&bytes, None).map_err(|why| leave(&format!("was left out: {why}")))
}

impl Distribution {
    fn of(root: &El<'_>) -> Self {
        let mut this = Self { labels: labels(root, &OF_ALL), ..Self::default() };
        let first = |name: &str| {
            root.outermost(|el| is(el, name) || is(el, "contentObject")).into_iter().find(|el| is(el, name))
        };
        match first("distributionStatus") {
            Some(el) => this.nature(&el),
            None => this.warnings.push(at(root, "<distributionStatus> is missing, but required")),
        }
        if let Some(el) = first("distributionType").or_else(|| first("distributionKind")) {
            this.does = match own_values(&el).first().map(|text| word(text, &["Cancel", "Ack", "Error"])) {
                Some(Word::Exact(word) | Word::Bent(word)) => match word {
                    "Cancel" => Does::Cancel,
                    "Ack" => Does::Ack,
                    _ => Does::Error,
                },
                _ => Does::Nothing,
            };
        }
        this.sent = first("dateTimeSent").and_then(|el| time::read(&el.text())).map(|(time, _)| time);
        this
    }

    fn nature(&mut self, el: &El<'_>) {
        let text = own_values(el).into_iter().next().unwrap_or_default();
        match word(&text, &STATUS) {
            Word::Exact(word) => self.nature = nature(word),
            Word::Bent(word) => {
                self.warnings.push(at(el, &format!("\"{}\" was read as {word}", shown(&text))));
                self.nature = nature(word);
            }
            Word::None => {
                self.warnings.push(at(el, &format!("{}; the alerts' own status counts", none_of(&text, &STATUS))))
            }
        }
    }
}

fn nature(word: &str) -> Nature {
    Nature::ALL.into_iter().find(|nature| nature.as_str() == word).unwrap_or_default()
}

/// Labels of these elements, wherever the version has them, but for those of content objects inside.
fn labels(of: &El<'_>, names: &[&str]) -> Vec<Label> {
    let own = of.place();
    let inner = |el: &El<'_>| is(el, "contentObject") && el.place().1 != own.1;
    let named = |el: &El<'_>| names.iter().find(|name| is(el, name)).copied();
    let found = of.outermost(|el| inner(el) || named(el).is_some() || !is_space(el.space()));
    let label = |el: El<'_>| {
        let name = named(&el)?.replace("distributionKind", "distributionType");
        Some(own_values(&el).into_iter().map(move |value| (format!("edxl.{name}"), short(&value))))
    };
    found.into_iter().filter_map(label).flatten().take(MAX_LABELS).collect()
}

fn short(value: &str) -> String {
    value.chars().take(MAX_VALUE).collect()
}

/// The values of an element that may name the list they are from beside them (`ValueListType`, `EDXLString…`); else its text.
fn own_values(el: &El<'_>) -> Vec<String> {
    let is_value = |child: &El<'_>| {
        let name = child.name().to_ascii_lowercase();
        name.ends_with("value") || name.ends_with("default")
    };
    let values: Vec<String> = el
        .children()
        .filter(is_value)
        .map(|child| child.children().filter(is_value).last().unwrap_or(child).text())
        .filter(|text| !text.is_empty())
        .collect();
    if values.is_empty() { vec![el.text()].into_iter().filter(|text| !text.is_empty()).collect() } else { values }
}

impl Around {
    /// Writes into an alert what its envelope says.
    pub(crate) fn mark(&self, alert: &mut Alert, context: &Context<'_>) {
        for (name, value) in self.all.labels.iter().chain(self.one.iter()) {
            label(alert, name, value, context.limits);
        }
        alert.warnings.extend(self.all.warnings.iter().cloned());
        let nature = alert.nature.stricter(self.all.nature);
        if nature != alert.nature {
            let (own, its) = (alert.nature.as_str(), nature.as_str());
            alert.warnings.push(format!("its status is {own}, but the envelope's {its}: it counts as {its}"));
            if alert.format == Format::Cap {
                label(alert, "cap.status", its, context.limits);
            }
            alert.nature = nature;
        }
        self.does(alert);
    }

    fn does(&self, alert: &mut Alert) {
        let name = match self.all.does {
            Does::Nothing => return,
            Does::Cancel if matches!(alert.status, Status::Firing | Status::Update) => {
                alert.status = Status::Resolved;
                // It is this distribution that says so, not the alert when it was first sent.
                alert.sent = alert.sent.max(self.all.sent);
                "Cancel: the alert is withdrawn"
            }
            Does::Cancel => return,
            Does::Ack => {
                alert.status = Status::Recorded;
                "Ack: the alert is kept, and nobody is paged"
            }
            Does::Error => {
                alert.status = Status::Recorded;
                alert.tell_operators = true;
                "Error: the alert is kept, and only the operators are told"
            }
        };
        alert.warnings.push(format!("its envelope is of the type {name}"));
    }
}
