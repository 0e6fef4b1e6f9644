//! A rule's settings, checked and compiled. A rule that cannot do what it says is refused here, not passed over at night.

use super::settings::{Choice, RuleFault, RuleSettings};
use super::syntax::{self, Against, Capture, Expression, fold};
use super::template::Template;
use super::values::PAIR;
use super::{BODY, FROM, LINE, SUBJECT};
use crate::model::{Severity, Status};

/// Keys that say something of an alert, and have no meaning where none is made.
pub const NOT_BESIDE_IGNORE: [&str; 11] =
    ["key", "status", "severity", "title", "text", "group", "link", "sent", "pairs", "find", "each_line"];

/// Where a condition looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    From,
    Subject,
    Header(String),
    Body,
}

/// One expression that must match.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    pub(super) field: Field,
    pub(super) expression: Expression,
}

/// A rule, ready to be used.
#[derive(Debug, Clone)]
pub(super) struct Compiled {
    /// All must match; those that cost least come first.
    pub(super) conditions: Vec<Condition>,
    /// Looked for in the text, for their captures.
    pub(super) find: Vec<Expression>,
    /// One alert for each line that it matches.
    pub(super) each_line: Option<Expression>,
    pub(super) made: Made,
}

/// What an alert is made of.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) key: Option<Template>,
    pub(super) status: Word<Status>,
    pub(super) severity: Word<Severity>,
    pub(super) title: Option<Template>,
    pub(super) text: Option<Template>,
    pub(super) group: Option<Template>,
    pub(super) link: Option<Template>,
    pub(super) sent: Option<Template>,
    pub(super) pairs: Option<Template>,
    pub(super) labels: Vec<(String, Template)>,
}

/// A word, or how it is looked up.
#[derive(Debug, Clone)]
pub(super) enum Word<T> {
    Fixed(T),
    Table { from: Template, map: Vec<(String, T)>, default: T },
}

/// Compiles a rule; every fault of it in one run.
pub(super) fn compile(settings: &RuleSettings) -> Result<Compiled, Vec<RuleFault>> {
    let mut work = Compiler::default();
    let conditions = work.conditions(settings);
    let find: Vec<_> = settings.find.iter().filter_map(|text| work.read("find", text, Against::Body, false)).collect();
    let line = settings.each_line.as_ref();
    let each_line = line.and_then(|text| work.read("each_line", text, Against::Line, true));
    work.has_line = line.is_some();
    work.has_pairs = settings.pairs.is_some();
    work.ignored_beside(settings);
    let made = work.made(settings);
    if work.faults.is_empty() { Ok(Compiled { conditions, find, each_line, made }) } else { Err(work.faults) }
}

#[derive(Default)]
struct Compiler {
    captures: Vec<Capture>,
    has_line: bool,
    has_pairs: bool,
    faults: Vec<RuleFault>,
}

impl Compiler {
    fn fault(&mut self, key: &str, wrong: impl Into<String>, mend: impl Into<String>) {
        self.faults.push(RuleFault { key: key.to_owned(), wrong: wrong.into(), mend: mend.into() });
    }

    fn conditions(&mut self, settings: &RuleSettings) -> Vec<Condition> {
        let mut found = Vec::new();
        let mut add = |key: &str, field: Field, texts: &[String], against: Against| {
            for text in texts {
                let expression = self.read(key, text, against, true);
                found.extend(expression.map(|expression| Condition { field: field.clone(), expression }));
            }
        };
        add("from", Field::From, &settings.from, Against::Address);
        add("subject", Field::Subject, &settings.subject, Against::Field);
        for (name, texts) in &settings.header {
            add(&format!("header.{name}"), Field::Header(name.clone()), texts, Against::Field);
        }
        add("body", Field::Body, &settings.body, Against::Body);
        found
    }

    /// Compiles an expression; `must`: it has to match, so that its captures may be certain.
    fn read(&mut self, key: &str, text: &str, against: Against, must: bool) -> Option<Expression> {
        let expression = match syntax::read(text, against) {
            Ok(expression) => expression,
            Err(why) => {
                let mend = "write an expression of the Rust regex syntax, in single quotes";
                self.fault(key, format!("`{}`: {why}", shown(text)), mend);
                return None;
            }
        };
        for capture in &expression.captures {
            let name = &capture.name;
            if [SUBJECT, FROM, BODY, LINE].contains(&name.as_str()) || name.starts_with(PAIR) {
                self.fault(key, format!("a capture cannot be called `{name}`, which is there anyway"), "rename it");
            } else if self.captures.iter().any(|known| known.name == *name) {
                self.fault(key, format!("another expression has a capture `{name}` already"), "rename one of them");
            }
            self.captures.push(Capture { certain: capture.certain && must, ..capture.clone() });
        }
        Some(expression)
    }

    /// A mail that is ignored makes nothing: whatever else is said would never be.
    fn ignored_beside(&mut self, settings: &RuleSettings) {
        if settings.ignore.is_none() {
            return;
        }
        let given = [
            settings.key.is_some(),
            settings.status.is_some(),
            settings.severity.is_some(),
            settings.title.is_some(),
            settings.text.is_some(),
            settings.group.is_some(),
            settings.link.is_some(),
            settings.sent.is_some(),
            settings.pairs.is_some(),
            !settings.find.is_empty(),
            settings.each_line.is_some(),
        ];
        let keys = NOT_BESIDE_IGNORE.into_iter().zip(given).chain([("labels", !settings.labels.is_empty())]);
        for (key, _) in keys.filter(|(_, given)| *given) {
            self.fault(key, "has no meaning beside ignore: no alert is made", "leave one of them out");
        }
    }

    fn made(&mut self, settings: &RuleSettings) -> Made {
        let key = self.template("key", settings.key.as_deref(), true);
        let status = self.word("status", settings.status.as_ref(), Status::Firing);
        let resolves = match &settings.status {
            Some(Choice::Fixed(status)) => *status == Status::Resolved,
            Some(Choice::Table { map, default, .. }) => {
                map.iter().map(|(_, status)| status).chain(default).any(|status| *status == Status::Resolved)
            }
            None => false,
        };
        if resolves && settings.key.is_none() {
            let wrong = "is missing: without it a recovery resolves nothing";
            self.fault("key", wrong, "write key = \"{NAME}\", the same as where the problem is reported");
        }
        let labels = settings.labels.iter().filter_map(|(name, text)| {
            let key = format!("labels.{name}");
            if name.starts_with("mailbell.") {
                self.fault(&key, "names that start with mailbell. are its own", "choose another name");
            }
            self.template(&key, Some(text), false).map(|template| (name.clone(), template))
        });
        let labels = labels.collect();
        Made {
            key,
            status,
            severity: self.word("severity", settings.severity.as_ref(), Severity::Warning),
            title: self.template("title", settings.title.as_deref(), false),
            text: self.template("text", settings.text.as_deref(), false),
            group: self.template("group", settings.group.as_deref(), false),
            link: self.template("link", settings.link.as_deref(), false),
            sent: self.template("sent", settings.sent.as_deref(), false),
            pairs: self.template("pairs", settings.pairs.as_deref(), false),
            labels,
        }
    }

    /// Reads a template; `sure`: it must not lack a value.
    fn template(&mut self, key: &str, text: Option<&str>, sure: bool) -> Option<Template> {
        let template = match Template::read(text?) {
            Ok(template) => template,
            Err(why) => {
                self.fault(key, why, "write a text with captures in braces, such as \"{host}/{service}\"");
                return None;
            }
        };
        for place in template.places() {
            let name = place.name.as_str();
            match self.may_lack(key, name) {
                None => {
                    let known = self.known().join(", ");
                    self.fault(key, format!("there is no capture `{}`", shown(name)), format!("known: {known}"));
                }
                Some(true) if sure && place.default.is_none() => {
                    let wrong = format!("`{name}` may be missing, and then another condition would be meant");
                    self.fault(key, wrong, format!("give it a default: {{{name}|none}}"));
                }
                Some(_) => {}
            }
        }
        Some(template)
    }

    /// May a value be missing where the rule matches? `None`: there is no such value.
    fn may_lack(&self, key: &str, name: &str) -> Option<bool> {
        match name {
            SUBJECT | BODY => Some(true),
            FROM => Some(false),
            LINE if self.has_line => Some(false),
            _ if name.starts_with(PAIR) && self.has_pairs && key != "pairs" => Some(true),
            _ => self.captures.iter().find(|capture| capture.name == name).map(|capture| !capture.certain),
        }
    }

    fn known(&self) -> Vec<&str> {
        let mut known: Vec<&str> = self.captures.iter().map(|capture| capture.name.as_str()).collect();
        known.extend([SUBJECT, FROM, BODY]);
        known.extend(self.has_line.then_some(LINE));
        known.extend(self.has_pairs.then_some("pair.NAME"));
        known
    }

    fn word<T: Copy>(&mut self, key: &str, choice: Option<&Choice<T>>, usual: T) -> Word<T> {
        let (from, map, default) = match choice {
            None => return Word::Fixed(usual),
            Some(Choice::Fixed(word)) => return Word::Fixed(*word),
            Some(Choice::Table { from, map, default }) => (from, map, default),
        };
        let folded: Vec<(String, T)> = map.iter().map(|(value, word)| (fold(value), *word)).collect();
        for (n, (value, _)) in folded.iter().enumerate() {
            if folded.iter().take(n).any(|(earlier, _)| earlier == value) {
                let wrong = format!("`{}` is there twice; upper and lower case are the same", shown(value));
                self.fault(&format!("{key}.map"), wrong, "write it once");
            }
        }
        let from = self.template(&format!("{key}.from"), Some(from), false);
        if let Some(from) = &from {
            self.compare(key, from, &folded, default.is_some());
        }
        let empty = || Word::Fixed(usual);
        from.map_or_else(empty, |from| Word::Table { from, map: folded, default: default.unwrap_or(usual) })
    }

    /// Compares a table with all that its capture can be, where that can be listed.
    fn compare<T>(&mut self, key: &str, from: &Template, map: &[(String, T)], has_default: bool) {
        let place = from.only();
        let capture = place.and_then(|place| self.captures.iter().find(|c| c.name == place.name));
        let Some((name, mut certain, mut values)) =
            capture.and_then(|c| Some((c.name.clone(), c.certain, c.values.clone()?)))
        else {
            if !has_default {
                self.fault(&format!("{key}.default"), "is missing: the table cannot have every value", "add one");
            }
            return;
        };
        if let Some(default) = place.and_then(|place| place.default.as_deref()) {
            certain = true;
            values.insert(fold(default));
        }
        let listed = || values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
        for (value, _) in map {
            if !values.iter().any(|possible| fold(possible) == *value) {
                let wrong = format!("`{}` can never be: {{{name}}} is one of {}", shown(value), listed());
                self.fault(&format!("{key}.map"), wrong, "leave it out");
            }
        }
        let lacking = values.iter().find(|possible| !map.iter().any(|(value, _)| *value == fold(possible)));
        if has_default {
            return;
        }
        if let Some(lacking) = lacking {
            let wrong = format!("is missing: {{{name}}} can also be `{}`", shown(lacking));
            self.fault(&format!("{key}.default"), wrong, "add one, or add the value to the table");
        } else if !certain {
            self.fault(&format!("{key}.default"), format!("is missing: {{{name}}} may be missing"), "add one");
        }
    }
}

/// Text of a config inside a message: on one line, not too long.
fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let mut shown: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    // Quotes and backslashes are common in expressions, and harmless here.
    shown.replace("\\\\", "\\").replace("\\\"", "\"").replace("\\'", "'")
}
