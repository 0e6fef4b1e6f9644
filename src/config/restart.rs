//! What a reload cannot put in force.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::{Config, LmtpMailbox};
use crate::http;
use crate::model::MailboxName;

/// Tables that are read at the start alone.
const AT_START: [&str; 2] = ["store", "xmpp"];

/// Keys of them that a reload can put in force: the CA is used from the next sign-in on, as is the password, which is never
/// shown.
const LIVE: [&str; 1] = ["xmpp.ca_file"];

impl Config {
    /// Keys that `next` has otherwise than this one, and that only a restart puts in force: `store.path`, by name.
    pub fn needs_restart(&self, next: &Self) -> Vec<String> {
        let (old, new) = (shown(self), shown(next));
        let mut keys: Vec<String> = AT_START.into_iter().flat_map(|table| changed(&old, &new, table)).collect();
        if self.log.format != next.log.format {
            keys.push("log.format".into());
        }
        if self.doors != next.doors {
            keys.push("lmtp".into());
        }
        keys.extend(bound(&self.http, &next.http));
        keys.extend(handed(self, next).map(|name| format!("mailbox.{name}")));
        keys.retain(|key| !LIVE.contains(&key.as_str()));
        keys
    }

    /// What is in force after a reload that read `next`: all of it, but what was read at the start.
    #[must_use]
    pub fn reloaded(&self, next: Self) -> Self {
        let (password, ca_file) = (next.xmpp.password, next.xmpp.ca_file);
        let (contacts, rooms) = (next.xmpp.contacts, next.xmpp.rooms);
        let xmpp = crate::xmpp::Settings { password, ca_file, contacts, rooms, ..self.xmpp.clone() };
        let http = in_force(&self.http, next.http);
        let log = crate::telemetry::Settings { format: self.log.format, ..next.log };
        // The doors know which mailboxes there are; what is done with their mails is decided behind them.
        let lmtp_mailboxes = self.lmtp_mailboxes.iter().map(|old| {
            let new = next.lmtp_mailboxes.iter().find(|new| new.mailbox.name == old.mailbox.name).unwrap_or(old);
            LmtpMailbox { mailbox: old.mailbox.clone(), ..new.clone() }
        });
        let (lmtp_mailboxes, doors) = (lmtp_mailboxes.collect(), self.doors.clone());
        Self { store: self.store.clone(), xmpp, http, log, lmtp_mailboxes, doors, ..next }
    }
}

/// `[http]` as it is in force. Where it listens as before, nobody is spoken to in another way than that address allows.
fn in_force(old: &http::Settings, next: http::Settings) -> http::Settings {
    let same = bound(old, &next).all(|key| key == "http.max_connections");
    let kept = if same { (next.tls.clone(), next.behind_proxy) } else { (old.tls.clone(), old.behind_proxy) };
    let (listen, max_connections) = (old.listen, old.max_connections);
    http::Settings { listen, max_connections, tls: kept.0, behind_proxy: kept.1, ..next }
}

/// Keys of `[http]` that are read when it begins to listen.
fn bound(old: &http::Settings, next: &http::Settings) -> impl Iterator<Item = String> + use<> {
    let changed = [
        ("listen", old.listen != next.listen),
        ("max_connections", old.max_connections != next.max_connections),
        ("tls_cert", old.tls.is_some() != next.tls.is_some()),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| format!("http.{key}"))
}

/// Mailboxes that mails are handed to, and that the doors would know otherwise: new, removed, or with other addresses or another
/// `max_size`.
fn handed(old: &Config, new: &Config) -> impl Iterator<Item = MailboxName> {
    let known = |config: &Config| config.lmtp_mailboxes.iter().map(|m| m.mailbox.clone()).collect::<Vec<_>>();
    let (old, new) = (known(old), known(new));
    let (gone, came) = (old.iter().filter(|m| !new.contains(m)), new.iter().filter(|m| !old.contains(m)));
    gone.chain(came).map(|m| m.name.clone()).collect::<BTreeSet<_>>().into_iter()
}

/// The config as it is shown: every key of every table is there, and those that are added later will be.
fn shown(config: &Config) -> Table {
    config.to_string().parse().unwrap_or_default()
}

fn changed(old: &Table, new: &Table, table: &str) -> Vec<String> {
    let (old, new) = (old.get(table).and_then(Value::as_table), new.get(table).and_then(Value::as_table));
    let keys: BTreeSet<&String> = old.into_iter().chain(new).flat_map(Table::keys).collect();
    let differs = |key: &&&String| old.and_then(|t| t.get(**key)) != new.and_then(|t| t.get(**key));
    keys.iter().filter(differs).map(|key| format!("{table}.{key}")).collect()
}
