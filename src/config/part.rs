//! Parts of a config file, for commands that need no more of it: what is wrong elsewhere, and secrets that they may not read, do
//! not keep them from their work.

use std::path::Path;

use super::reader::{Reader, Section};
use super::report::{Errors, Problem};
use super::source::{self, Lines};
use super::{mailbox, mapping, names, one, probe, service, text_of};
use crate::model::MailboxName;
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
    /// What is allowed and yet looks like a mistake, by line.
    pub warnings: Vec<Problem>,
}

/// Reads only `[probe]`: the file may hold nothing else, so that its groups need not be there.
pub fn load_probe(path: &Path) -> Result<Probing, Errors> {
    let (settings, warnings) = part_and_warnings(path, |root| one(root, "probe", |table| probe::read(table, None)))?;
    Ok(Probing { settings, warnings })
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
    let lines = Lines::of(&text);
    let source::Parsed { table, mut problems } = source::parse(&text, &lines);
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
