//! The servers, and the gateway between them.

use std::fmt::Write;

use super::scale::Scale;
use super::support::DOMAIN;
use super::support::ca::Ca;
use super::support::dovecot::Dovecot;
use super::support::mailbell::Mailbell;
use super::support::prosody::{BOT, Options, Prosody};

/// Dovecot and Prosody, running.
pub struct Lab {
    pub dovecot: Dovecot,
    pub prosody: Prosody,
    /// Mailboxes for single alerts: the raw relay's, and mailbell's; those with IDLE, and those with NOOP. None is used twice:
    /// its mails would be news to another gateway.
    pub raw: [Vec<String>; 2],
    pub own: [Vec<String>; 2],
    /// Mailboxes that stay empty.
    pub quiet: Vec<String>,
    /// Everybody who may get a message.
    pub people: Vec<String>,
    ca: Ca,
}

/// Mailboxes of the other measurements.
pub const BACKLOG: &str = "backlog";
pub const FANOUT: &str = "fanout";
/// The mailbox that mails are handed to.
pub const HANDED: &str = "handed";

impl Lab {
    pub fn start(scale: &Scale) -> Self {
        let ca = Ca::new();
        let mailboxes = |name: &str| (0..scale.mailboxes).map(|n| format!("{name}{n}")).collect::<Vec<String>>();
        let raw = [mailboxes("raw-idle"), mailboxes("raw-noop")];
        let own = [mailboxes("own-idle"), mailboxes("own-noop")];
        let quiet = mailboxes("quiet");
        let people: Vec<String> = (0..scale.crowd).map(|n| format!("person{n:03}")).collect();
        let mut users: Vec<&str> = raw.iter().chain(&own).flatten().chain(&quiet).map(String::as_str).collect();
        users.extend([BACKLOG, FANOUT]);
        let dovecot = Dovecot::start(&ca, &users);
        let names: Vec<&str> = people.iter().map(String::as_str).collect();
        let prosody = Prosody::start(&ca, &names, Options::default());
        Self { dovecot, prosody, raw, own, quiet, people, ca }
    }

    /// The gateway, not started: mails are handed in to it on this port, and it tells these people. `more` are further tables.
    pub fn gateway_at_door(&self, door: u16, xmpp: u16, people: &[String], more: &str) -> Mailbell {
        Mailbell::new(&self.config_at_door(door, xmpp, people, more))
    }

    /// Its config.
    pub fn config_at_door(&self, door: u16, xmpp: u16, people: &[String], more: &str) -> String {
        let door = format!(
            "[[lmtp]]\nlisten = \"127.0.0.1:{door}\"\n[[mailbox]]\nname = \"{HANDED}\"\nprotocol = \"lmtp\"\n\
             addresses = [\"{HANDED}@{DOMAIN}\"]\n"
        );
        self.config(0, xmpp, &[], people, "") + &door + more
    }

    /// The same config with TLS towards the chat server, as everywhere outside of this machine.
    pub fn with_tls(&self, config: &str) -> String {
        let tls = format!("tls = \"starttls\"\nca_file = \"{}\"\n", self.ca.ca().display());
        config.replacen("tls = \"none\"\n", &tls, 1)
    }

    /// The gateway, not started: it reads these mailboxes and tells these people.
    pub fn gateway(&self, imap: u16, xmpp: u16, mailboxes: &[String], people: &[String], watch: &str) -> Mailbell {
        Mailbell::new(&self.config(imap, xmpp, mailboxes, people, watch))
    }

    fn config(&self, imap: u16, xmpp: u16, mailboxes: &[String], people: &[String], watch: &str) -> String {
        let mut config = format!(
            "[xmpp]\njid = \"{BOT}@{DOMAIN}\"\npassword = \"pw-{BOT}\"\nservers = [\"127.0.0.1:{xmpp}\"]\ntls = \"none\"\n\
             [dispatch]\nmax_per_minute = 0\ngroup_window = \"0s\"\n[operators]\ngroup = \"ops\"\ndefault_group = \"ops\"\n"
        );
        for mailbox in mailboxes {
            write!(
                config,
                "[[mailbox]]\nname = \"{mailbox}\"\nserver = \"127.0.0.1:{imap}\"\ntls = \"none\"\nuser = \"{mailbox}\"\n\
                 password = \"pw-{mailbox}\"\n{watch}\n"
            )
            .unwrap();
        }
        for person in people {
            write!(config, "[[recipient]]\nname = \"{person}\"\njid = \"{person}@{DOMAIN}\"\n").unwrap();
        }
        let members: Vec<String> = people.iter().map(|person| format!("\"{person}\"")).collect();
        write!(config, "[[group]]\nname = \"ops\"\nmembers = [{}]\n", members.join(", ")).unwrap();
        config
    }
}

/// Resident memory of a process, in MiB: now, and its peak.
pub fn memory(pid: u32) -> (f64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    };
    (mib("VmRSS:"), mib("VmHWM:"))
}
