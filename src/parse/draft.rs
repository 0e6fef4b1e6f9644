//! What the vocabularies share: an alert in the making, and the rules for values.

use crate::model::{Alert, Format};

use super::fields::one_line;
use super::tree::El;
use super::xml::shown;
use super::xpath::Work;
use super::{Header, How, Limits, Mappings};

/// Most values of one label; CAP feeds list thousands of area codes.
const MAX_VALUES: usize = 1000;

/// Labels that say what the gateway itself knows of an alert, such as the rule that made it.
const OWN_LABELS: &str = "mailbell.";

/// Most warnings of one alert; what is bent more often is bent altogether.
pub(crate) const MAX_WARNINGS: usize = 100;

/// What an alert gets from its mail where it does not say itself.
pub(crate) struct Context<'a> {
    /// The mail's header.
    pub(crate) header: &'a Header,
    /// Caps.
    pub(crate) limits: &'a Limits,
    /// How other vocabularies are read.
    pub(crate) mappings: &'a Mappings,
    /// What expressions may still cost.
    pub(crate) work: Work,
}

impl<'a> Context<'a> {
    /// For one mail.
    pub(crate) fn new(header: &'a Header, how: &How<'a>) -> Self {
        // A character has at most four bytes; one more, so that what is too long shows.
        let work = Work::new(how.limits.text.saturating_add(1).saturating_mul(4));
        Self { header, limits: how.limits, mappings: how.mappings, work }
    }

    /// The From address; `unknown` where there is none.
    pub(crate) fn sender(&self) -> String {
        self.header.from.first().cloned().unwrap_or_else(|| "unknown".to_owned())
    }
}

/// An alert whose identifier may still have to be given.
#[derive(Debug)]
pub(crate) struct Draft {
    /// The alert; `id` and `key` count only where the next two say so.
    pub(crate) alert: Alert,
    /// The sender gave an identifier.
    pub(crate) has_id: bool,
    /// The sender gave a key.
    pub(crate) has_key: bool,
}

/// An alert that says no more than its mail's header.
pub(crate) fn empty(format: Format, context: &Context<'_>) -> Alert {
    Alert { sender: context.sender(), sent: context.header.date, ..Alert::empty(format) }
}

/// `line 7: <status>: what`.
pub(crate) fn at(el: &El<'_>, what: &str) -> String {
    format!("line {}: <{}>: {what}", el.line(), shown(el.name()))
}

/// `"Aktual" is none of Actual, Exercise`.
pub(crate) fn none_of(value: &str, allowed: &[&str]) -> String {
    format!("\"{}\" is none of {}", shown(value.trim()), allowed.join(", "))
}

/// The allowed word that a value means.
pub(crate) enum Word {
    /// It is the word.
    Exact(&'static str),
    /// It is the word but for case, blanks or `_`.
    Bent(&'static str),
    /// It is none.
    None,
}

/// Finds the allowed word for a value.
pub(crate) fn word(value: &str, allowed: &[&'static str]) -> Word {
    let value = value.trim();
    if let Some(word) = allowed.iter().find(|w| **w == value) {
        return Word::Exact(word);
    }
    let plain: String = value.chars().take(40).filter(|c| c.is_alphanumeric()).collect();
    allowed.iter().find(|w| w.eq_ignore_ascii_case(&plain)).map_or(Word::None, |word| Word::Bent(word))
}

/// A text no longer than the cap; a longer one is cut with a warning, and ends in no blank.
pub(crate) fn capped(mut text: String, what: &str, limits: &Limits, warnings: &mut Vec<String>) -> String {
    // A character has at least one byte: most texts need no counting.
    if text.len() > limits.text
        && let Some((end, _)) = text.char_indices().nth(limits.text)
    {
        warnings.push(format!("{what} was cut at {} characters", limits.text));
        text.truncate(end);
        text.truncate(text.trim_end().len());
    }
    text
}

/// A title: one line, capped far below a text.
pub(crate) fn title(text: &str, limits: &Limits, warnings: &mut Vec<String>) -> String {
    let limits = Limits { text: limits.text.min(1000), ..limits.clone() };
    capped(one_line(text), "the title", &limits, warnings)
}

/// Adds a label, unless the value is empty or the name has too many values already.
pub(crate) fn label(alert: &mut Alert, name: &str, value: &str, limits: &Limits) {
    let (name, value) = (one_line(name), value.trim());
    if name.is_empty() || value.is_empty() {
        return;
    }
    let refused = if name.starts_with(OWN_LABELS) {
        Some(format!("label {}: names that start with {OWN_LABELS} are not for senders; left out", shown(&name)))
    } else if alert.labels.get(&name).len() >= MAX_VALUES {
        Some(format!("label {} has more than {MAX_VALUES} values; the others were left out", shown(&name)))
    } else {
        None
    };
    if let Some(warning) = refused {
        if alert.warnings.len() < MAX_WARNINGS && !alert.warnings.contains(&warning) {
            alert.warnings.push(warning);
        }
        return;
    }
    let value = capped(value.to_owned(), &format!("label {}", shown(&name)), limits, &mut alert.warnings);
    alert.labels.add(name, value);
}

/// Is it a link that people may be given?
pub(crate) fn is_link(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    scheme.is_some_and(|s| matches!(s.as_str(), "http" | "https" | "xmpp"))
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}
