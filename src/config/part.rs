//! Parts of a config file, for commands that need no more of it: what is wrong elsewhere, and secrets that they may not read, do
//! not keep them from their work.

use std::path::Path;

use super::healthcheck::load_healthcheck;
use super::reader::{Reader, Section};
use super::report::{Errors, Problem};
use super::source::{self, Lines};
use super::{mailbox, mapping, names, one, probe, service, text_of};
use crate::model::MailboxName;
use crate::probe::{Fault, merge};
use crate::{parse, queue};

/// What mails are read with.
#[derive(Debug, Clone)]
pub struct Reading {
    /// `[parse]`.
    pub limits: parse::Limits,
    /// `[[mapping]]`.
    pub mappings: parse::Mappings,
    /// Of each mailbox: what a mail without XML becomes, and its rules.
    pub mailboxes: Vec<(MailboxName, parse::Plain, parse::Rules)>,
}

/// Reads only what mails are read with, also where the secrets of the file cannot be read.
pub fn load_reading(path: &Path) -> Result<Reading, Errors> {
    part(path, |root| {
        let tables = root.tables("mailbox");
        let mut names = names::Names::default();
        let named = names::names_of(&tables, "mailbox", &mut names.mailboxes);
        let read = tables.iter().zip(named).map(|(table, name)| {
            let intake = mailbox::intake(table);
            let (name, intake) = (name?, intake?);
            Some((name, intake.plain, intake.rules))
        });
        let mailboxes: Vec<_> = read.collect();
        Some(Reading {
            limits: one(root, "parse", service::limits)?,
            mappings: mapping::read(root)?,
            mailboxes: mailboxes.into_iter().collect::<Option<_>>()?,
        })
    })
}

/// Reads only `[store]`: what the commands at the store need, also where secrets of other tables cannot be read.
pub fn load_store(path: &Path) -> Result<queue::Settings, Errors> {
    part(path, |root| one(root, "store", service::store))
}

/// What is probed, and what looks like a mistake in it.
#[derive(Debug, Clone)]
pub struct Probing {
    /// `[probe]`, with its classes and targets.
    pub settings: crate::probe::Settings,
    /// `[log]`, for who does nothing but probe.
    pub log: crate::telemetry::Settings,
    /// What is allowed and yet looks like a mistake: a line each, with its place.
    pub warnings: Vec<String>,
}

/// Reads only `[probe]` and `[log]` of a config file, which may hold nothing else, so that the groups need not be there; without a
/// file the defaults hold. `healthcheck`: the old health checker's file, read beside it.
pub fn load_probe(file: Option<&Path>, healthcheck: Option<&Path>) -> Result<Probing, Errors> {
    let read = |root: &Section<'_, '_>| {
        let settings = one(root, "probe", |table| probe::read(table, None));
        settings.zip(one(root, "log", service::log))
    };
    let ((mut settings, log), warnings) = match file {
        Some(file) => part_and_warnings(file, read)?,
        None => part_of("", Path::new("(defaults)"), None, read)?,
    };
    let shown = |problem: &Problem| problem.show(file.unwrap_or(Path::new("(defaults)")));
    let mut warnings: Vec<String> = warnings.iter().map(shown).collect();
    if let Some(path) = healthcheck {
        let old = load_healthcheck(path)?;
        let fault = |fault: &Fault| {
            let Fault { line, wrong, mend } = fault.clone();
            Problem { line: Some(line), key: String::new(), wrong, allowed: mend }.show(path)
        };
        warnings.extend(old.faults.iter().map(fault));
        let probes = std::mem::take(&mut settings.probes).into_iter().chain(old.probes(&settings.defaults));
        settings.probes = merge(probes.collect());
    }
    Ok(Probing { settings, log, warnings })
}

/// Reads a part of a config file; of that part every error.
fn part<T>(path: &Path, read: impl FnOnce(&Section<'_, '_>) -> Option<T>) -> Result<T, Errors> {
    part_and_warnings(path, read).map(|(part, _)| part)
}

fn part_and_warnings<T>(
    path: &Path,
    read: impl FnOnce(&Section<'_, '_>) -> Option<T>,
) -> Result<(T, Vec<Problem>), Errors> {
    let (text, exposed) = text_of(path)?;
    part_of(&text, path, exposed, read)
}

fn part_of<T>(
    text: &str,
    path: &Path,
    exposed: Option<u32>,
    read: impl FnOnce(&Section<'_, '_>) -> Option<T>,
) -> Result<(T, Vec<Problem>), Errors> {
    let lines = Lines::of(text);
    let source::Parsed { table, mut problems } = source::parse(text, &lines);
    let reader = Reader::new(path, exposed, lines, &|_| None);
    let part = table.as_ref().and_then(|table| read(&Section::root(&reader, table, source::example())));
    let (errors, mut warnings, _) = reader.finish();
    problems.extend(errors);
    warnings.sort();
    match part {
        Some(part) if problems.is_empty() => Ok((part, warnings)),
        _ => Err(Errors { file: path.to_owned(), problems }),
    }
}
