//! An element as an alert, by its mapping.

use jiff::Timestamp;

use super::super::draft::{Context, Draft, at, capped, empty, is_link, label, title};
use super::super::fields::one_line;
use super::super::tree::El;
use super::super::xml::{on_one_line, shown};
use super::super::xpath::{self, Spent, Work};
use super::{Choice, Mapping, State, Template};
use crate::model::{Format, Key, Status};

/// Longest reason, in characters.
const REASON: usize = 400;

/// The elements of a root that are an alert each.
pub(crate) fn each<'d>(mapping: &Mapping, root: &El<'d>, context: &Context<'_>) -> Result<Vec<El<'d>>, String> {
    let Some(each) = &mapping.each else { return Ok(vec![*root]) };
    let found = xpath::elements(&each.path, root, &context.work).map_err(|Spent| spent(mapping, root))?;
    if found.is_empty() {
        return Err(say(mapping, root, &format!("it holds no alert: nothing is at {}", each.source())));
    }
    Ok(found)
}

/// Reads one of them.
pub(crate) fn read(mapping: &Mapping, el: &El<'_>, context: &Context<'_>) -> Result<Draft, String> {
    let draft = Draft { alert: empty(Format::Mapped, context), has_id: false, has_key: false };
    let mut reader = Reader { mapping, el, context, draft, problems: Vec::new() };
    reader.all().map_err(|Spent| spent(mapping, el))?;
    if reader.problems.is_empty() { Ok(reader.draft) } else { Err(say(mapping, el, &reader.problems.join("; "))) }
}

/// Says what is wrong with an element. Expressions are told as they were written, and may be long and of several lines.
fn say(mapping: &Mapping, el: &El<'_>, what: &str) -> String {
    at(el, &format!("mapping {}: {}", mapping.name, on_one_line(what, REASON)))
}

fn spent(mapping: &Mapping, el: &El<'_>) -> String {
    say(mapping, el, "its expressions have too much to look at in so large a document; write paths without //")
}

struct Reader<'r> {
    mapping: &'r Mapping,
    el: &'r El<'r>,
    context: &'r Context<'r>,
    draft: Draft,
    /// Why it cannot be an alert.
    problems: Vec<String>,
}

impl Reader<'_> {
    fn all(&mut self) -> Result<(), Spent> {
        let (mapping, limits) = (self.mapping, self.context.limits);
        self.required()?;
        if let Some(id) = self.one(&mapping.id)? {
            self.draft.alert.id = capped(one_line(&id), "id", limits, &mut self.draft.alert.warnings);
            self.draft.has_id = true;
        }
        match self.one(&mapping.key)? {
            Some(key) => {
                self.draft.alert.key = Key(capped(one_line(&key), "key", limits, &mut self.draft.alert.warnings));
                self.draft.has_key = true;
            }
            None if !mapping.key.is_empty() => self.warn("it has no key; its id names the condition"),
            None => {}
        }
        match self.one(&mapping.title)? {
            Some(text) => self.draft.alert.title = title(&text, limits, &mut self.draft.alert.warnings),
            None => {
                let tried = missing(&mapping.title);
                self.problems.push(format!("it has no title: {tried}"));
            }
        }
        if let Some(text) = self.one(&mapping.text)? {
            self.draft.alert.text = capped(text, "the text", limits, &mut self.draft.alert.warnings);
        }
        if let Some(sent) = self.time("sent", &mapping.sent, "that of the mail counts")? {
            self.draft.alert.sent = Some(sent);
        }
        self.draft.alert.effective = self.time("effective", &mapping.effective, "left out")?;
        self.draft.alert.expires = self.time("expires", &mapping.expires, "left out")?;
        self.severity()?;
        self.status()?;
        self.lists()
    }

    fn work(&self) -> &Work {
        &self.context.work
    }

    fn warn(&mut self, what: &str) {
        self.draft.alert.warnings.push(say(self.mapping, self.el, what));
    }

    /// The first alternative that has all its values.
    fn one(&self, alternatives: &[Template]) -> Result<Option<String>, Spent> {
        for template in alternatives {
            if let Some(text) = template.fill(self.el, self.work())? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    fn required(&mut self) -> Result<(), Spent> {
        for template in &self.mapping.required {
            if template.fill(self.el, self.work())?.is_none() {
                self.problems.push(format!("{}, which is required", missing(std::slice::from_ref(template))));
            }
        }
        Ok(())
    }

    /// An optional time: one that cannot be read is flagged.
    fn time(&mut self, name: &str, alternatives: &[Template], instead: &str) -> Result<Option<Timestamp>, Spent> {
        let Some(text) = self.one(alternatives)? else { return Ok(None) };
        let (_, zone) = &self.mapping.zone;
        let time = self.mapping.times.iter().find_map(|format| format.read(text.trim(), zone));
        if time.is_none() {
            let formats: Vec<&str> = self.mapping.times.iter().map(super::TimeFormat::as_str).collect();
            let formats = formats.join(", ");
            self.warn(&format!("{name}: \"{}\" is no time as {formats}; {instead}", shown(&text)));
        }
        Ok(time)
    }

    fn severity(&mut self) -> Result<(), Spent> {
        if let Some((severity, odd)) = self.choice("severity", &self.mapping.severity)? {
            if let Some(odd) = odd {
                self.warn(&format!("severity: \"{}\" is not in the table; taken as {severity}", shown(&odd)));
            }
            self.draft.alert.severity = severity;
        }
        Ok(())
    }

    /// What is not in this table is the rule, not odd: it names only what is no new trouble.
    fn status(&mut self) -> Result<(), Spent> {
        match self.choice("status", &self.mapping.status)? {
            Some((State::Real(status), _)) => self.draft.alert.status = status,
            Some((State::Other(nature), _)) => {
                self.draft.alert.status = Status::Firing;
                self.draft.alert.nature = nature;
            }
            None => {}
        }
        Ok(())
    }

    /// What a value means, and the value itself where only the default knows it.
    fn choice<T: Copy>(&mut self, name: &str, choice: &Choice<T>) -> Result<Option<(T, Option<String>)>, Spent> {
        let value = self.one(&choice.value)?;
        let known = value.as_deref().and_then(|value| choice.look_up(value.trim()));
        let found = known.map(|known| (known, None)).or_else(|| Some((choice.default?, value.clone())));
        if found.is_none() {
            let table: Vec<&str> = choice.table.keys().map(String::as_str).collect();
            self.problems.push(match value {
                Some(value) => format!("{name}: \"{}\" is none of {}", shown(&value), table.join(", ")),
                None => format!("{name}: {}", missing(&choice.value)),
            });
        }
        Ok(found)
    }

    fn lists(&mut self) -> Result<(), Spent> {
        let limits = self.context.limits;
        for template in &self.mapping.groups {
            let groups = template.fill_all(self.el, self.work())?;
            self.draft.alert.groups.extend(groups.into_iter().filter(|group| !group.is_empty()).take(100));
        }
        for template in &self.mapping.links {
            for link in template.fill_all(self.el, self.work())?.into_iter().filter(|link| !link.is_empty()).take(100) {
                if is_link(&link) {
                    self.draft.alert.links.push(link);
                } else {
                    self.warn(&format!("\"{}\" is no http, https or xmpp link; left out", shown(&link)));
                }
            }
        }
        label(&mut self.draft.alert, "mapping", &self.mapping.name, limits);
        for (name, alternatives) in &self.mapping.labels {
            for template in alternatives {
                let values = template.fill_all(self.el, self.work())?;
                if values.iter().any(|value| !value.is_empty()) {
                    values.iter().for_each(|value| label(&mut self.draft.alert, name, value, limits));
                    break;
                }
            }
        }
        Ok(())
    }
}

/// `no value for "{a}" or "{b}"`.
fn missing(alternatives: &[Template]) -> String {
    let tried = alternatives.iter().map(|template| format!("\"{}\"", template.source()));
    format!("no value for {}", tried.collect::<Vec<_>>().join(" or "))
}
