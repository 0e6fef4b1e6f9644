//! A mail, and the first rule that wants it.

use regex::Captures;

use super::compile::{Condition, Field, Word};
use super::syntax::{Expression, fold};
use super::template::Template;
use super::values::{PAIR, Values, pairs};
use super::{BODY, FROM, LINE, MAX_BODY, RULE_LABEL, Rule, Rules, SUBJECT};
use crate::model::{Alert, Format, Key};
use crate::parse::draft::{Context, Draft, capped, empty, is_link, label, title};
use crate::parse::fields::{Fields, one_line};
use crate::parse::{plain, time};

/// Fields of one name that are looked at.
const MAX_SAME_FIELDS: usize = 20;

/// A mail as rules see it.
pub(crate) struct Seen<'m> {
    /// Its header.
    pub(crate) fields: &'m Fields<'m>,
    /// Its text, HTML read as text.
    pub(crate) text: &'m str,
}

/// What a rule makes of a mail.
pub(crate) enum Verdict {
    /// No alert; why.
    Ignored(String),
    /// Alerts, at least one; and what else of the mail was not read.
    Alerts(Vec<Draft>, Vec<String>),
}

/// What the first rule that matches makes of a mail; `None`: none matches.
pub(crate) fn apply(rules: &Rules, seen: &Seen<'_>, context: &Context<'_>) -> Option<Verdict> {
    let body = cut(seen.text);
    let mail = Mail {
        subject: context.header.subject.as_deref().unwrap_or_default(),
        from: context.header.from.first().map_or("", String::as_str),
        body,
        is_cut: body.len() < seen.text.len(),
        seen,
        context,
    };
    rules.iter().find_map(|rule| mail.by(rule))
}

/// The start of a text, at a character.
fn cut(text: &str) -> &str {
    let mut end = MAX_BODY.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}

struct Mail<'m> {
    subject: &'m str,
    from: &'m str,
    body: &'m str,
    /// Is there more text than rules look at?
    is_cut: bool,
    seen: &'m Seen<'m>,
    context: &'m Context<'m>,
}

impl Mail<'_> {
    fn by(&self, rule: &Rule) -> Option<Verdict> {
        let mut values = Values::default();
        for condition in &rule.compiled.conditions {
            self.fits(condition, &mut values)?;
        }
        if let Some(reason) = &rule.settings.ignore {
            return Some(Verdict::Ignored(format!("rule {}: {reason}", rule.name())));
        }
        for expression in &rule.compiled.find {
            if let Some(found) = expression.regex.captures(self.body) {
                add_captures(&mut values, expression, &found);
            }
        }
        values.add(SUBJECT, self.subject);
        values.add(FROM, self.from);
        values.add(BODY, self.body);
        match &rule.compiled.each_line {
            None => Some(Verdict::Alerts(vec![self.alert(rule, values, false)], Vec::new())),
            Some(line) => self.lines(rule, line, &values),
        }
    }

    /// Does the mail fit? Then with the captures.
    fn fits(&self, condition: &Condition, values: &mut Values<'_>) -> Option<()> {
        let expression = &condition.expression;
        let text = match &condition.field {
            Field::From => self.from,
            Field::Subject => self.subject,
            Field::Body => self.body,
            Field::Header(name) => {
                let all = self.seen.fields.texts(name, MAX_SAME_FIELDS);
                let found = all.iter().find_map(|value| expression.regex.captures(value))?;
                add_captures(values, expression, &found);
                return Some(());
            }
        };
        if expression.captures.is_empty() {
            return expression.regex.is_match(text).then_some(());
        }
        add_captures(values, expression, &expression.regex.captures(text)?);
        Some(())
    }

    /// One alert for each line that matches.
    fn lines(&self, rule: &Rule, expression: &Expression, values: &Values<'_>) -> Option<Verdict> {
        let (mut drafts, mut skipped) = (Vec::new(), Vec::new());
        let most = self.context.limits.alerts;
        let mut more = 0;
        // A line that is not all there could say something else.
        let whole = if self.is_cut { self.body.rsplit_once('\n').map_or("", |(whole, _)| whole) } else { self.body };
        for line in whole.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let Some(found) = expression.regex.captures(line) else {
                skipped.push(line);
                continue;
            };
            if drafts.len() >= most {
                more += 1;
                continue;
            }
            // What stands in the line counts before what stands in the mail.
            let mut own = Values::default();
            add_captures(&mut own, expression, &found);
            own.add(LINE, line);
            drafts.push(self.alert(rule, own.followed_by(values), true));
        }
        let first = drafts.first_mut()?;
        if let Some(line) = skipped.first() {
            let start: String = line.chars().take(60).collect();
            let many = skipped.len();
            first.alert.warnings.push(format!("{many} lines of the mail are no event, the first is {start:?}"));
        }
        let mut bad = Vec::new();
        if more > 0 {
            bad.push(format!("more than {most} alerts in a mail; {more} were not read (rule {})", rule.name()));
        }
        if self.is_cut {
            bad.push(format!("its text is longer than {} KiB; the rest was not read", MAX_BODY >> 10));
        }
        Some(Verdict::Alerts(drafts, bad))
    }

    fn alert(&self, rule: &Rule, mut values: Values<'_>, is_line: bool) -> Draft {
        let (made, context) = (&rule.compiled.made, self.context);
        let limits = context.limits;
        let found = made.pairs.as_ref().map(|template| pairs(&template.fill(&values))).unwrap_or_default();
        for (name, value) in &found {
            values.add(format!("{PAIR}{name}"), value.clone());
        }
        let filled = |template: &Option<Template>| template.as_ref().map(|template| template.fill(&values));

        let usual_title = || values.get(LINE).filter(|_| is_line).map(str::to_owned);
        let heading = filled(&made.title).or_else(usual_title).filter(|heading| !heading.trim().is_empty());
        let text =
            filled(&made.text).unwrap_or_else(|| if is_line { String::new() } else { self.seen.text.to_owned() });
        let severity = look_up(&made.severity, &values);
        let mut alert = match heading {
            Some(heading) => {
                let mut alert = Alert { severity, ..empty(Format::Plain, context) };
                alert.title = title(&heading, limits, &mut alert.warnings);
                alert.text = capped(text.trim().to_owned(), "the text", limits, &mut alert.warnings);
                alert
            }
            None => plain::read(severity, text, context),
        };
        alert.status = look_up(&made.status, &values);
        alert.groups.extend(filled(&made.group).map(|group| one_line(&group)).filter(|group| !group.is_empty()));
        alert.links.extend(filled(&made.link).filter(|link| is_link(link)));
        sent(&mut alert, filled(&made.sent));
        for (name, value) in &found {
            label(&mut alert, name, value, limits);
        }
        for (name, template) in &made.labels {
            label(&mut alert, name, &template.fill(&values), limits);
        }
        let key = filled(&made.key).map(|key| one_line(&key)).filter(|key| !key.is_empty());
        let has_key = key.is_some();
        if let Some(key) = key {
            alert.key = Key(capped(key, "key", limits, &mut alert.warnings));
        } else if made.key.is_some() {
            alert.warnings.push(format!("the key by rule {} is empty; the mail is one of its own", rule.name()));
        }
        alert.labels.add(RULE_LABEL, rule.name());
        Draft { alert, has_id: false, has_key }
    }
}

/// A time of the text's own; one that cannot be read leaves the mail's Date.
fn sent(alert: &mut Alert, text: Option<String>) {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return };
    match time::read(&text) {
        Some((time, bent)) => {
            alert.sent = Some(time);
            alert.warnings.extend(bent.map(|bent| format!("sent: {text:?}: {bent}")));
        }
        None => {
            let start: String = text.chars().take(60).collect();
            alert.warnings.push(format!("{start:?} is no time; the mail's Date counts"));
        }
    }
}

fn add_captures<'v>(values: &mut Values<'v>, expression: &Expression, found: &Captures<'_>) {
    for capture in &expression.captures {
        if let Some(value) = found.name(&capture.name) {
            values.add(capture.name.clone(), value.as_str().to_owned());
        }
    }
}

fn look_up<T: Copy>(word: &Word<T>, values: &Values<'_>) -> T {
    match word {
        Word::Fixed(word) => *word,
        Word::Table { from, map, default } => {
            let value = fold(&from.fill(values));
            map.iter().find(|(known, _)| *known == value).map_or(*default, |(_, word)| *word)
        }
    }
}
