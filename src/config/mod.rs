//! One TOML file in, typed settings out, and every error of the file in one run.
//!
//! Each module owns its settings; this one reads them, checks what only the whole can tell (names, references, cycles), and
//! composes them. The defaults are those of `config/mailbell.toml`, which is compiled in: what is documented there is what
//! is in force.

mod connection;
mod cross;
mod healthcheck;
mod http;
mod import;
mod item;
mod lmtp;
mod login;
mod mailbox;
mod mapping;
mod names;
mod part;
mod pattern;
mod people;
mod probe;
mod reader;
mod report;
mod restart;
mod routes;
mod rules;
mod schema;
mod secret;
mod service;
mod show;
mod source;
mod suggest;
mod talk;
mod walls;
mod xmpp;

pub use healthcheck::load_healthcheck;
pub use import::import;
pub use lmtp::LmtpMailbox;
pub use mailbox::MailboxConfig;
pub use mapping::built_in as built_in_mappings;
#[cfg(test)]
pub(crate) use mapping::read_text as mappings_of;
pub use part::{Probing, Reading, load_probe, load_reading, load_store};
pub use report::{Errors, Problem};
pub use schema::schema;
pub use secret::{FileError, read_file as read_secret};
pub use service::Serve;
pub use source::EXAMPLE;

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use reader::{Reader, Section};
use source::Lines;

use crate::model::MailboxName;
use crate::{dispatch, intake, parse, queue, route};

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
    /// `[[mailbox]]` that are fetched, in the order of the file.
    pub mailboxes: Vec<MailboxConfig>,
    /// `[[mailbox]]` that mails are handed to, in the order of the file.
    pub lmtp_mailboxes: Vec<LmtpMailbox>,
    /// `[[lmtp]]`.
    pub doors: Vec<crate::lmtp::Settings>,
    /// `[[recipient]]`, `[[group]]`, `[[route]]`, `[[wall]]`, `[[disclaimer]]`, and the groups that `[operators]` names.
    pub route: route::Settings,
    /// `[dispatch]`, and how `[operators]` are told.
    pub dispatch: dispatch::Settings,
    /// `[parse]`.
    pub parse: parse::Limits,
    /// `[[mapping]]`, and what is built in.
    pub mappings: parse::Mappings,
    /// `[probe]`, with its classes and targets.
    pub probe: crate::probe::Settings,
    /// `[http]`.
    pub http: crate::http::Settings,
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

    /// As [`load`](Self::load), but passwords and certificates are not looked at: for who only asks what would be done, and
    /// may have no right to them.
    pub fn load_without_secrets(path: &Path) -> Result<Self, Errors> {
        let (text, exposed) = text_of(path)?;
        let lines = Lines::of(&text);
        read_with(&text, path, Reader::new(path, exposed, lines, &|_| None).blind()).0
    }

    /// All mailboxes, whichever way mails come to them: what is done with their mails, and the largest that is taken whole,
    /// in bytes.
    pub fn intakes(&self) -> impl Iterator<Item = (&MailboxName, &intake::Settings, u64)> {
        let fetched = self.mailboxes.iter().map(|m| (&m.mailbox.name, &m.intake, m.mailbox.max_size));
        let handed = self.lmtp_mailboxes.iter().map(|m| (&m.mailbox.name, &m.intake, m.mailbox.max_size));
        fetched.chain(handed)
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
    read_with(text, path, Reader::new(path, exposed, Lines::of(text), env))
}

fn read_with(text: &str, path: &Path, reader: Reader<'_>) -> (Result<Config, Errors>, Keys) {
    let source::Parsed { table, mut problems } = source::parse(text, &Lines::of(text));
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
    let door_tables = root.tables("lmtp");
    let wall_tables = root.tables("wall");
    let disclaimer_tables = root.tables("disclaimer");
    let recipient_names = names::names_of(&recipient_tables, "recipient", &mut names.recipients);
    let group_names = names::names_of(&group_tables, "group", &mut names.groups);
    let mailbox_names = names::names_of(&mailbox_tables, "mailbox", &mut names.mailboxes);

    let route_names = routes::names_of(&route_tables, &mut names);
    let wall_names = names::names_of(&wall_tables, "wall", &mut names.walls);

    let xmpp_table = root.table("xmpp");
    let nick = xmpp::nick(&xmpp_table);
    let recipients: Vec<_> = recipient_tables
        .iter()
        .zip(recipient_names)
        .map(|(table, name)| people::recipient(table, name, &names, nick.as_deref()))
        .collect();
    let mut edges = people::Edges::default();
    let groups: Vec<_> = group_tables
        .iter()
        .zip(group_names)
        .map(|(table, name)| people::group(table, name, &names, &mut edges))
        .collect();
    people::refuse_cycles(&edges.members, "members");
    people::refuse_cycles(&edges.fallbacks, "fallbacks");
    let (mut mailboxes, mut fetched_places, mut handed) = (Vec::new(), Vec::new(), Vec::new());
    for (table, name) in mailbox_tables.iter().zip(mailbox_names) {
        match mailbox::read(table, name, &names) {
            mailbox::Entry::Fetched(mailbox) => {
                mailboxes.push(mailbox.map(|mailbox| *mailbox));
                fetched_places.push((table.line, table.label.clone()));
            }
            mailbox::Entry::Handed(mailbox) => handed.push((table.line, table.label.clone(), mailbox)),
        }
    }
    let door = |table: &Section<'_, '_>| (table.line, table.label.clone(), lmtp::door(table, &names));
    let doors: Vec<_> = door_tables.iter().map(door).collect();
    lmtp::cross(root.reader, &doors, &handed);
    let routes: Vec<_> =
        route_tables.iter().zip(route_names).map(|(table, name)| routes::read(table, name, &names)).collect();
    let walls: Vec<_> =
        wall_tables.iter().zip(wall_names).map(|(table, name)| walls::wall(table, name, &names)).collect();
    let disclaimers: Vec<_> = disclaimer_tables.iter().map(|table| walls::disclaimer(table, &names)).collect();

    let store = one(root, "store", service::store);
    let people = recipients.iter().flatten().filter(|(recipient, _)| !recipient.room);
    let contacts = people.map(|(recipient, _)| recipient.jid.clone()).collect();
    let rooms = recipients.iter().flatten().filter_map(|(_, room)| room.clone()).collect();
    let xmpp = xmpp::read(&xmpp_table, contacts, rooms);
    xmpp_table.done();
    let operators = one(root, "operators", |table| service::operators(table, &names));
    let dispatch = one(root, "dispatch", |table| service::dispatch(table, operators.as_ref()));
    let parse = one(root, "parse", service::limits);
    let probe = one(root, "probe", |table| probe::read(table, Some(&names)));
    let http = one(root, "http", http::read);
    let serve = one(root, "serve", service::serve);
    let log = one(root, "log", service::log);
    let mappings = mapping::read(root);

    let places = cross::Places {
        recipients: cross::places(&recipient_tables),
        groups: cross::places(&group_tables),
        mailboxes: fetched_places,
        routes: cross::places(&route_tables),
        doors: cross::places(&door_tables),
        walls: cross::places(&wall_tables),
        disclaimers: cross::places(&disclaimer_tables),
    };
    [recipient_tables, group_tables, mailbox_tables, route_tables, wall_tables, disclaimer_tables, door_tables]
        .into_iter()
        .flatten()
        .for_each(Section::done);

    let mailboxes: Vec<MailboxConfig> = mailboxes.into_iter().collect::<Option<_>>()?;
    let lmtp_mailboxes: Vec<LmtpMailbox> = handed.into_iter().map(|(.., mailbox)| mailbox).collect::<Option<_>>()?;
    let doors: Vec<_> = doors.into_iter().map(|(.., door)| door).collect::<Option<_>>()?;
    let fetched_scopes = mailboxes.iter().map(|entry| (&entry.mailbox.name, entry.key_scope));
    let handed_scopes = lmtp_mailboxes.iter().map(|entry| (&entry.mailbox.name, entry.key_scope));
    let key_scopes = fetched_scopes.chain(handed_scopes).map(|(name, scope)| (name.clone(), scope)).collect();
    let operators = operators?;
    let (dispatch, repeat_after) = dispatch?;
    let route = route::Settings {
        recipients: recipients.into_iter().map(|found| Some(found?.0)).collect::<Option<_>>()?,
        groups: groups.into_iter().collect::<Option<_>>()?,
        routes: routes.into_iter().collect::<Option<_>>()?,
        walls: walls.into_iter().collect::<Option<_>>()?,
        disclaimers: disclaimers.into_iter().collect::<Option<_>>()?,
        default_group: operators.default_group,
        operators: Some(operators.group),
        repeat_after,
        key_scopes,
    };
    let config = Config {
        store: store?,
        xmpp: xmpp?,
        mailboxes,
        lmtp_mailboxes,
        doors,
        route,
        dispatch,
        parse: parse?,
        mappings: mappings?,
        probe: probe?,
        http: http?,
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
