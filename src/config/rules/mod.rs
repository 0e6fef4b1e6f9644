//! `rules` and `[[mailbox.rule]]`: rules in the config, ready-made ones, and files of them.

mod rule;
mod show;

pub(super) use show::{show_files, show_own};

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::item::Item;
use crate::config::reader::{Reader, Section};
use crate::config::report::{Problem, quote};
use crate::config::schema::Want;
use crate::config::source::{self, Lines};
use crate::config::suggest::suggestion;
use crate::parse::Rules;
use crate::parse::rules::{READY_MADE, RULE_LABEL, Rule, Shadow, shadows};

/// Far above any file of rules, in bytes.
const MOST: u64 = 1 << 20;
/// Most rules of one mailbox.
const MOST_RULES: usize = 1000;

/// A rule and where to tell of it.
struct Placed<'r, 'a> {
    rule: Rule,
    /// The rule's own table, or the entry of `rules`.
    item: Place<'r, 'a>,
}

/// Where to tell of something.
#[derive(Clone)]
enum Place<'r, 'a> {
    /// At the rule itself.
    Own { reader: &'r Reader<'a>, line: Option<usize>, label: String },
    /// At the entry that names its file; with its place there.
    File { item: Item<'r, 'a>, within: String, ready_made: bool },
}

/// Reads the rules of a mailbox: its own first, then those of its files, in order.
pub(super) fn read(section: &Section<'_, '_>, sender_may_choose_group: Option<bool>) -> Option<Rules> {
    let mut whole = true;
    let mut placed: Vec<Placed<'_, '_>> = Vec::new();
    for table in section.tables("rule") {
        let place = Place::Own { reader: section.reader, line: table.line, label: table.label.clone() };
        let rule = rule::read(&table, None);
        table.done();
        whole &= rule.is_some();
        placed.extend(rule.map(|rule| Placed { rule, item: place }));
    }
    let files = section.value("rules")?.list()?;
    for (n, item) in files.iter().enumerate() {
        let twice = files.iter().take(n).any(|earlier| item.raw_text().is_some_and(|text| earlier.is(text)));
        let read = if twice { item.fail("is there twice", "write it once") } else { file(item) };
        whole &= read.is_some();
        placed.extend(read.unwrap_or_default());
    }
    whole &= agree(section, &placed, sender_may_choose_group);
    whole.then(|| Rules::new(placed.into_iter().map(|placed| placed.rule).collect()))
}

/// What only the rules together can tell.
fn agree(section: &Section<'_, '_>, placed: &[Placed<'_, '_>], may_choose: Option<bool>) -> bool {
    let mut good = true;
    if placed.len() > MOST_RULES {
        let wrong = format!("{} rules are more than {MOST_RULES}", placed.len());
        section.reader.error(section.line, &section.label, wrong, "leave some out");
        good = false;
    }
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for Placed { rule, item } in placed {
        if !names.insert(rule.name()) {
            let wrong = format!("another rule is called {} already", quote(rule.name()));
            item.error("name", &wrong, "give each rule a name of its own");
            good = false;
        }
        if rule.settings.group.is_some() && may_choose == Some(false) {
            let wrong = "has no effect without sender_may_choose_group = true";
            let mend = format!("set that, or match \"label.{RULE_LABEL}\" = \"{}\" in a route", rule.name());
            item.error("group", wrong, &mend);
            good = false;
        }
    }
    good & no_shadow(placed)
}

/// No rule may take what all others are for, nor what one of them is for.
fn no_shadow(placed: &[Placed<'_, '_>]) -> bool {
    let rules: Vec<Rule> = placed.iter().map(|placed| placed.rule.clone()).collect();
    let shadows = shadows(&rules);
    // Once for all of them: a rule that takes every mail is the mistake, not those behind it.
    let greedy = shadows.iter().find(|shadow| shadow.takes_all).map(|shadow| shadow.by);
    if let Some((by, greedy)) = greedy.and_then(|by| Some((by, placed.get(by)?))) {
        let behind = placed.len() - by - 1;
        let wrong = format!("takes every mail: the rules behind it ({behind}) can never match");
        greedy.item.error("", &wrong, "give it a condition, or move it to the end");
    }
    let narrow: Vec<_> = shadows.iter().filter(|shadow| !shadow.takes_all).collect();
    let fine = narrow.into_iter().fold(true, |fine, shadow| tell_shadow(placed, shadow) & fine);
    greedy.is_none() && fine
}

/// A ready-made rule may be replaced by one of the operator's own: that is worth a word, but no error.
fn tell_shadow(placed: &[Placed<'_, '_>], shadow: &Shadow) -> bool {
    let (Some(rule), Some(by)) = (placed.get(shadow.rule), placed.get(shadow.by)) else { return true };
    let wrong = format!("can never match: the rule {} takes every mail that it wants", quote(by.rule.name()));
    if rule.item.is_ready_made() && !by.item.is_ready_made() {
        rule.item.warn(&wrong, "this is right where it is to be replaced");
        return true;
    }
    rule.item.error("", &wrong, "move it up, narrow the other, or leave it out");
    false
}

impl Place<'_, '_> {
    fn is_ready_made(&self) -> bool {
        matches!(self, Self::File { ready_made: true, .. })
    }

    fn error(&self, key: &str, wrong: &str, mend: &str) {
        match self {
            Self::Own { reader, line, label } => {
                let key = if key.is_empty() { label.clone() } else { format!("{label}.{key}") };
                reader.error(*line, &key, wrong, mend);
            }
            Self::File { item, within, .. } => {
                let within = if key.is_empty() { within.clone() } else { format!("{within}.{key}") };
                item.fail::<()>(format!("{within}: {wrong}"), mend);
            }
        }
    }

    fn warn(&self, wrong: &str, mend: &str) {
        match self {
            Self::Own { reader, line, label } => reader.warn(*line, label, wrong, mend),
            Self::File { item, within, .. } => {
                item.reader.warn(item.line, &item.key, format!("{within}: {wrong}"), mend);
            }
        }
    }
}

/// The rules of one entry of `rules`: a ready-made set by its name, or a file.
fn file<'r, 'a>(item: &Item<'r, 'a>) -> Option<Vec<Placed<'r, 'a>>> {
    item.wants(Want::Words(READY_MADE.iter().map(|(name, _)| *name).collect()));
    item.wants(Want::like(r"/|\.toml$"));
    let name = item.some_text()?;
    if item.reader.is_tracing() {
        return None;
    }
    if let Some((name, text)) = READY_MADE.iter().find(|(known, _)| *known == name) {
        return rules_of(item, name, &format!("config/rules/{name}.toml"), text, true);
    }
    if !name.contains('/') && !name.ends_with(".toml") {
        let names: Vec<&str> = READY_MADE.iter().map(|(name, _)| *name).collect();
        let mend = format!("{}; a file is written \"FILE.toml\"", suggestion(name, &names));
        return item.fail(format!("there are no ready-made rules {}", quote(name)), mend);
    }
    let path = item.reader.path(name);
    let text = match text_of(&path) {
        Ok(text) => text,
        Err(why) => return item.fail(format!("{}: {why}", path.display()), "name a file of [[rule]] tables"),
    };
    let shown = path.display().to_string();
    rules_of(item, &shown, &shown, &text, false)
}

fn text_of(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let unreadable = |err: std::io::Error| format!("cannot be read: {err}");
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(unreadable)?.take(MOST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MOST {
        return Err("is larger than 1 MiB".into());
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".into())
}

/// Reads a file of `[[rule]]`. What is wrong in it is told at the entry that names it, with the file, its line and the rule.
fn rules_of<'r, 'a>(
    item: &Item<'r, 'a>,
    name: &str,
    shown: &str,
    text: &str,
    ready_made: bool,
) -> Option<Vec<Placed<'r, 'a>>> {
    let lines = Lines::of(text);
    let source::Parsed { table, mut problems } = source::parse(text, &lines);
    let reader = Reader::new(Path::new(shown), None, lines, &|_| None);
    let mut placed = Vec::new();
    if let Some(table) = &table {
        let root = Section::root(&reader, table, source::example());
        let tables = root.tables("rule");
        if tables.is_empty() {
            reader.error(None, "", "holds no rule", "write tables [[rule]]");
        }
        for table in tables {
            let line = table.line.map_or(String::new(), |line| format!(":{line}"));
            let within = format!("{shown}{line}: {}", table.label);
            let rule = rule::read(&table, Some(name));
            table.done();
            let place = Place::File { item: item.clone(), within, ready_made };
            placed.extend(rule.map(|rule| Placed { rule, item: place }));
        }
        root.done();
    }
    problems.extend(reader.finish().0);
    problems.sort();
    problems.dedup();
    for problem in &problems {
        let bare = Problem { allowed: String::new(), ..problem.clone() };
        item.fail::<()>(bare.show(Path::new(shown)), &problem.allowed);
    }
    problems.is_empty().then_some(placed)
}
