//! One TOML file in, typed settings out, and every error of the file in one run.
//!
//! Each module owns its settings; this one reads them, checks what only the whole can tell (names, references, cycles), and
//! composes them. The defaults are those of `config/mailbell.toml`, which is compiled in: what is documented there is what
//! is in force.

mod connection;
mod cross;
mod item;
mod login;
mod mailbox;
mod names;
mod pattern;
mod people;
mod reader;
mod report;
mod routes;
mod secret;
mod service;
mod show;
mod source;
mod walls;
mod xmpp;

pub use connection::{BadServer, parse_server};
pub use mailbox::MailboxConfig;
pub use report::{Errors, Problem};
pub use secret::{FileError, read_file as read_secret};
pub use service::Serve;
pub use source::EXAMPLE;

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use reader::{Reader, Section};
use source::Lines;

use crate::{dispatch, parse, queue, route};

/// The config file where none is named.
pub const DEFAULT_PATH: &str = "/etc/mailbell/mailbell.toml";
/// Environment variable that names another.
pub const PATH_VARIABLE: &str = "MAILBELL_CONFIG";
/// Far above any config that a person writes, in bytes.
const MOST: u64 = 4 << 20;

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[store]`.
    pub store: queue::Settings,
    /// `[xmpp]`, and whom it may talk to.
    pub xmpp: crate::xmpp::Settings,
    /// `[[mailbox]]`, in the order of the file.
    pub mailboxes: Vec<MailboxConfig>,
    /// `[[recipient]]`, `[[group]]`, `[[route]]`, `[[wall]]`, `[[disclaimer]]`, and the groups that `[operators]` names.
    pub route: route::Settings,
    /// `[dispatch]`, and how `[operators]` are told.
    pub dispatch: dispatch::Settings,
    /// `[parse]`.
    pub parse: parse::Limits,
    /// `[[mapping]]`.
    pub mappings: parse::Mappings,
    /// `[serve]`.
    pub serve: Serve,
    /// `[log]`.
    pub log: crate::telemetry::Settings,
    /// What is allowed and yet looks like a mistake, by line.
    pub warnings: Vec<Problem>,
}

/// The config file: the one named, else by `MAILBELL_CONFIG`, else the default one.
pub fn path(named: Option<&Path>, env: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let by_env = || env(PATH_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    named.map(Path::to_owned).or_else(by_env).unwrap_or_else(|| DEFAULT_PATH.into())
}

impl Config {
    /// Reads a config file and the secrets that it names; `env` gives environment variables (`|name| std::env::var_os(name)`).
    /// Fails with every error of the file. Opens no connection and makes no file.
    pub fn load(path: &Path, env: impl Fn(&str) -> Option<OsString>) -> Result<Self, Errors> {
        let (text, exposed) = text_of(path)?;
        read(&text, path, exposed, &env).0
    }

    /// As [`Self::load`], of a text as it would stand in `path`, readable by its owner only.
    pub fn of(text: &str, path: &Path, env: impl Fn(&str) -> Option<OsString>) -> Result<Self, Errors> {
        read(text, path, None, &env).0
    }
}

/// Reads only `[store]`: what the commands at the store need, also where secrets of other tables cannot be read.
pub fn load_store(path: &Path) -> Result<queue::Settings, Errors> {
    let (text, exposed) = text_of(path)?;
    let lines = Lines::of(&text);
    let source::Parsed { table, mut problems } = source::parse(&text, &lines);
    let reader = Reader::new(path, exposed, lines, &|_| None);
    let store = table
        .as_ref()
        .and_then(|table| one(&Section::root(&reader, table, source::example()), "store", service::store));
    problems.extend(reader.finish().0);
    match store {
        Some(store) if problems.is_empty() => Ok(store),
        _ => Err(Errors { file: path.to_owned(), problems }),
    }
}

/// The text of a config file, and the bits of its mode by which others may read it.
fn text_of(path: &Path) -> Result<(zeroize::Zeroizing<String>, Option<u32>), Errors> {
    let whole = |wrong: String, allowed: &str| Errors {
        file: path.to_owned(),
        problems: vec![Problem { line: None, key: String::new(), wrong, allowed: allowed.into() }],
    };
    let unreadable = |err: std::io::Error| {
        whole(format!("cannot be read: {err}"), "name a config file, or set the environment variable MAILBELL_CONFIG")
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MOST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MOST {
        return Err(whole("is larger than 4 MiB".into(), "name a config file"));
    }
    let text = String::from_utf8(bytes).map_err(|err| {
        let good = err.as_bytes().get(..err.utf8_error().valid_up_to()).unwrap_or_default();
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        let mut errors = whole("is not UTF-8".into(), "save the file as UTF-8");
        errors.problems.iter_mut().for_each(|problem| problem.line = Some(line));
        errors
    })?;
    Ok((zeroize::Zeroizing::new(text), secret::exposed(&meta)))
}

/// Every key that exists, by table.
type Keys = std::collections::BTreeMap<String, Vec<&'static str>>;

fn read(
    text: &str,
    path: &Path,
    exposed: Option<u32>,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> (Result<Config, Errors>, Keys) {
    let lines = Lines::of(text);
    let source::Parsed { table, mut problems } = source::parse(text, &lines);
    let reader = Reader::new(path, exposed, lines, env);
    let config = table.as_ref().and_then(|table| {
        let root = Section::root(&reader, table, source::example());
        let config = compose(&root);
        root.done();
        config
    });
    let (errors, mut warnings, keys) = reader.finish();
    problems.extend(errors);
    problems.sort();
    problems.dedup();
    warnings.sort();
    let result = match config {
        Some(config) if problems.is_empty() => Ok(Config { warnings, ..config }),
        _ => Err(Errors { file: path.to_owned(), problems }),
    };
    (result, keys)
}

fn compose(root: &Section<'_, '_>) -> Option<Config> {
    let mut names = names::Names::default();
    let recipient_tables = root.tables("recipient");
    let group_tables = root.tables("group");
    let mailbox_tables = root.tables("mailbox");
    let route_tables = root.tables("route");
    let wall_tables = root.tables("wall");
    let disclaimer_tables = root.tables("disclaimer");
    let recipient_names = names::names_of(&recipient_tables, "recipient", &mut names.recipients);
    let group_names = names::names_of(&group_tables, "group", &mut names.groups);
    let mailbox_names = names::names_of(&mailbox_tables, "mailbox", &mut names.mailboxes);

    let route_names = routes::names_of(&route_tables, &mut names);
    let wall_names = names::names_of(&wall_tables, "wall", &mut names.walls);

    let recipients: Vec<_> = recipient_tables
        .iter()
        .zip(recipient_names)
        .map(|(table, name)| people::recipient(table, name, &names))
        .collect();
    let mut edges = people::Edges::default();
    let groups: Vec<_> = group_tables
        .iter()
        .zip(group_names)
        .map(|(table, name)| people::group(table, name, &names, &mut edges))
        .collect();
    people::refuse_cycles(&edges.members, "members");
    people::refuse_cycles(&edges.fallbacks, "fallbacks");
    let mailboxes: Vec<_> =
        mailbox_tables.iter().zip(mailbox_names).map(|(table, name)| mailbox::read(table, name, &names)).collect();
    let routes: Vec<_> =
        route_tables.iter().zip(route_names).map(|(table, name)| routes::read(table, name, &names)).collect();
    let walls: Vec<_> =
        wall_tables.iter().zip(wall_names).map(|(table, name)| walls::wall(table, name, &names)).collect();
    let disclaimers: Vec<_> = disclaimer_tables.iter().map(|table| walls::disclaimer(table, &names)).collect();

    let store = one(root, "store", service::store);
    let contacts = recipients.iter().flatten().map(|recipient| recipient.jid.clone()).collect();
    let xmpp = one(root, "xmpp", |table| xmpp::read(table, contacts));
    let operators = one(root, "operators", |table| service::operators(table, &names));
    let dispatch = one(root, "dispatch", |table| service::dispatch(table, operators.as_ref()));
    let parse = one(root, "parse", service::limits);
    let serve = one(root, "serve", service::serve);
    let log = one(root, "log", service::log);

    let places = cross::Places {
        recipients: cross::places(&recipient_tables),
        groups: cross::places(&group_tables),
        mailboxes: cross::places(&mailbox_tables),
        routes: cross::places(&route_tables),
        walls: cross::places(&wall_tables),
        disclaimers: cross::places(&disclaimer_tables),
    };
    [recipient_tables, group_tables, mailbox_tables, route_tables, wall_tables, disclaimer_tables]
        .into_iter()
        .flatten()
        .for_each(Section::done);

    let mailboxes: Vec<MailboxConfig> = mailboxes.into_iter().collect::<Option<_>>()?;
    let operators = operators?;
    let (dispatch, repeat_after) = dispatch?;
    let route = route::Settings {
        recipients: recipients.into_iter().collect::<Option<_>>()?,
        groups: groups.into_iter().collect::<Option<_>>()?,
        routes: routes.into_iter().collect::<Option<_>>()?,
        walls: walls.into_iter().collect::<Option<_>>()?,
        disclaimers: disclaimers.into_iter().collect::<Option<_>>()?,
        default_group: operators.default_group,
        operators: Some(operators.group),
        repeat_after,
        key_scopes: mailboxes.iter().map(|entry| (entry.mailbox.name.clone(), entry.key_scope)).collect(),
    };
    let config = Config {
        store: store?,
        xmpp: xmpp?,
        mailboxes,
        route,
        dispatch,
        parse: parse?,
        mappings: parse::Mappings::default(),
        serve: serve?,
        log: log?,
        warnings: Vec::new(),
    };
    if root.reader.is_fine() {
        cross::refuse(root.reader, &config, &places);
    }
    cross::warn(root.reader, &config, &places);
    Some(config)
}

/// Reads one `[table]`.
fn one<'r, 'a, T>(
    root: &Section<'r, 'a>,
    key: &'static str,
    read: impl FnOnce(&Section<'r, 'a>) -> Option<T>,
) -> Option<T> {
    let table = root.table(key);
    let value = read(&table);
    table.done();
    value
}

#[cfg(test)]
mod tests;
