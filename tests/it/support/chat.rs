//! The chat server of a test: Prosody or ejabberd, with the same accounts, and the same things to be switched on and off.

use std::path::PathBuf;

use super::ca::Ca;
use super::ejabberd::Ejabberd;
use super::prosody::Prosody;

/// The gateway's account.
pub const BOT: &str = "alerts";

/// Which server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Prosody,
    Ejabberd,
}

/// What the accounts know of each other at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roster {
    /// The bot and every user have each other, subscribed both ways.
    Hub,
    /// Shared groups that show the bot and all users to each other.
    Groups,
    /// Nothing: subscriptions are asked for and granted.
    Empty,
}

/// How passwords are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// In the clear: the server offers every SCRAM, and PLAIN.
    Plain,
    /// Hashed with SHA-1 or SHA-256: the server offers only that SCRAM, and PLAIN.
    Hashed(&'static str),
}

/// What differs from test to test.
#[derive(Debug, Clone)]
pub struct Options {
    pub kind: Kind,
    pub roster: Roster,
    pub auth: Auth,
    /// XEP-0198.
    pub smacks: bool,
    /// Messages to users who are offline are stored.
    pub offline: bool,
    /// The server archives every account's messages (XEP-0313).
    pub archive: bool,
    /// Most of them for each.
    pub offline_most: Option<usize>,
    /// Most bytes a second that are read of each client, after the first few.
    pub rate: Option<u32>,
    /// What the server stores is kept here, and not in its own directory.
    pub data: Option<PathBuf>,
    /// Seconds for which a session whose connection died is kept.
    pub hibernation: u32,
    /// More configuration of Prosody, before the virtual host.
    pub extra: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kind: Kind::Prosody,
            roster: Roster::Hub,
            auth: Auth::Plain,
            smacks: true,
            offline: true,
            archive: false,
            offline_most: None,
            rate: None,
            data: None,
            hibernation: 60,
            extra: String::new(),
        }
    }
}

impl Options {
    /// The usual, on this server.
    pub fn on(kind: Kind) -> Self {
        Self { kind, ..Self::default() }
    }
}

/// A running chat server with a service for rooms. The password of USER is `pw-USER`.
pub struct Chat {
    server: Which,
    /// STARTTLS, and plain text for the test clients.
    pub c2s: u16,
    /// Direct TLS.
    pub c2s_tls: u16,
}

enum Which {
    Prosody(Prosody),
    Ejabberd(Ejabberd),
}

impl Chat {
    /// With the bot's account and these users'.
    pub fn start(ca: &Ca, users: &[&str], options: Options) -> Self {
        match options.kind {
            Kind::Prosody => {
                let prosody = Prosody::start(ca, users, options);
                Self { c2s: prosody.c2s, c2s_tls: prosody.c2s_tls, server: Which::Prosody(prosody) }
            }
            Kind::Ejabberd => {
                let ejabberd = Ejabberd::start(ca, users, options);
                Self { c2s: ejabberd.c2s, c2s_tls: ejabberd.c2s_tls, server: Which::Ejabberd(ejabberd) }
            }
        }
    }

    /// Starts it again after `stop` or `kill`, with its data and on its ports.
    pub fn run(&mut self) {
        match &mut self.server {
            Which::Prosody(server) => server.run(),
            Which::Ejabberd(server) => server.run(),
        }
    }

    /// A clean end.
    pub fn stop(&mut self) {
        match &mut self.server {
            Which::Prosody(server) => server.stop(),
            Which::Ejabberd(server) => server.stop(),
        }
    }

    /// kill -9.
    pub fn kill(&mut self) {
        match &mut self.server {
            Which::Prosody(server) => server.kill(),
            Which::Ejabberd(server) => server.kill(),
        }
    }

    /// One more account, while it runs; it has nobody in its roster.
    pub fn add_user(&self, user: &str) {
        match &self.server {
            Which::Prosody(server) => server.add_user(user),
            Which::Ejabberd(server) => server.add_user(user),
        }
    }
}
