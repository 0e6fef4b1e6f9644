//! Prosody in the foreground, with accounts and rosters written as its own data files.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use super::ca::Ca;
use super::child::Server;
use super::{DOMAIN, free_port};

pub use super::chat::{Auth, BOT, Options, Roster};

/// A module for rooms that forgets an occupant without a word, as services do that lose their state.
const GHOSTS: &str = r#"
local rooms = module:depends "muc";
module:hook("iq-set/bare/urn:test:ghosts:forget", function(event)
    local stanza = event.stanza;
    local room = rooms.get_room_from_jid(stanza.attr.to);
    local nick = stanza.attr.to.."/"..stanza:get_child_text("forget", "urn:test:ghosts");
    for jid in room:get_occupant_by_nick(nick):each_session() do
        room._jid_nick[jid] = nil;
    end
    room._occupants[nick] = nil;
    event.origin.send(require "util.stanza".reply(stanza));
    return true;
end, 100);
"#;

/// A running Prosody. The password of USER is `pw-USER`.
pub struct Prosody {
    server: Server,
    /// Where its data are.
    data: PathBuf,
    /// STARTTLS, and plain text for the test clients.
    pub c2s: u16,
    /// Direct TLS.
    pub c2s_tls: u16,
}

impl Prosody {
    /// With the bot's account and these users'.
    pub fn start(ca: &Ca, users: &[&str], options: Options) -> Self {
        let server = Server::new("prosody");
        let data = options.data.clone().unwrap_or_else(|| server.path("data"));
        let mut prosody = Self { server, data, c2s: free_port(), c2s_tls: free_port() };
        prosody.write_accounts(users);
        match options.roster {
            Roster::Hub => prosody.write_hub(users),
            Roster::Groups => {
                let members: Vec<_> = users.iter().chain([&BOT]).map(|u| format!("{u}@{DOMAIN}={u}\n")).collect();
                prosody.server.write("groups.txt", &format!("[Alerts]\n{}", members.concat()));
            }
            Roster::Empty => {}
        }
        let config = prosody.config(ca, &options);
        prosody.server.write("prosody.cfg.lua", &config);
        prosody.server.write("plugins/mod_ghosts.lua", GHOSTS);
        prosody.run();
        prosody
    }

    /// Starts it again after `stop` or `kill`, with its data and on its ports.
    pub fn run(&mut self) {
        let mut command = Command::new("prosody");
        command.arg("-F");
        if is_root() {
            command.arg("--root");
        }
        command.arg("--config").arg(self.server.path("prosody.cfg.lua"));
        self.server.start(&mut command, &[self.c2s, self.c2s_tls]);
    }

    /// A clean end.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// One more account, while it runs or not; it has nobody in its roster.
    pub fn add_user(&self, user: &str) {
        self.write_accounts(&[user]);
    }

    fn write_accounts(&self, users: &[&str]) {
        for user in users.iter().chain([&BOT]) {
            self.data("accounts", user, &format!("return {{ [\"password\"] = \"pw-{user}\"; }};\n"));
        }
    }

    fn write_hub(&self, users: &[&str]) {
        for user in users {
            self.data("roster", user, &roster([BOT].into_iter()));
        }
        self.data("roster", BOT, &roster(users.iter().copied()));
    }

    fn data(&self, store: &str, user: &str, text: &str) {
        let path = self.data.join(encoded(DOMAIN)).join(store).join(format!("{}.dat", encoded(user)));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn config(&self, ca: &Ca, options: &Options) -> String {
        let path = |name: &str| self.server.path(name).display().to_string();
        let mut modules: Vec<_> =
            "roster saslauth tls disco ping presence message iq carbons register time version blocklist pep"
                .split(' ')
                .collect();
        modules.extend(options.smacks.then_some("smacks"));
        modules.extend(options.archive.then_some("mam"));
        modules.extend(options.rate.is_some().then_some("limits"));
        modules.extend((options.roster == Roster::Groups).then_some("groups"));
        let (auth, hash) = match options.auth {
            Auth::Plain => ("internal_plain", "SHA-1"),
            Auth::Hashed(hash) => ("internal_hashed", hash),
        };
        format!(
            r#"run_as_root = {root}
data_path = "{data}"
pidfile = "{pid}"
network_backend = "epoll"
-- Its default, Nagle on, adds 40 ms to each login.
network_settings = {{ nagle = false }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {c2s} }}
c2s_direct_tls_ports = {{ {c2s_tls} }}
plugin_paths = {{ "{plugins}" }}
modules_enabled = {{ "{modules}" }}
modules_disabled = {{ "s2s"{without} }}
groups_file = "{groups}"
-- For the test clients; the gateway insists on TLS by itself.
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
c2s_stanza_size_limit = 262144
authentication = "{auth}"
password_hash = "{hash}"
default_iteration_count = 4096
storage = "internal"
smacks_hibernation_time = {hibernation}
default_archive_policy = true
archive_expires_after = "1w"
limits = {{ c2s = {{ rate = "{rate}b/s", burst = "2s" }} }}
storage_archive_item_limit = {offline_most}
log = {{ {{ levels = {{ min = "info" }}, to = "file", filename = "{log}" }} }}
ssl = {{ key = "{key}", certificate = "{cert}" }}
{extra}
VirtualHost "{DOMAIN}"
Component "conference.{DOMAIN}" "muc"
modules_enabled = {{ "ghosts" }}
"#,
            root = is_root(),
            // Loaded by default.
            without = if options.offline { "" } else { ", \"offline\"" },
            data = self.data.display(),
            rate = options.rate.unwrap_or_default(),
            offline_most = options.offline_most.unwrap_or(10_000),
            plugins = path("plugins"),
            pid = path("prosody.pid"),
            c2s = self.c2s,
            c2s_tls = self.c2s_tls,
            modules = modules.join("\", \""),
            groups = path("groups.txt"),
            log = path("prosody.log"),
            key = ca.key().display(),
            cert = ca.cert().display(),
            hibernation = options.hibernation,
            extra = options.extra,
        )
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn roster<'a>(contacts: impl Iterator<Item = &'a str>) -> String {
    let mut text = "return { [false] = { [\"version\"] = 1; };\n".to_owned();
    for contact in contacts {
        writeln!(text, "[\"{contact}@{DOMAIN}\"] = {{ [\"subscription\"] = \"both\"; [\"groups\"] = {{}}; }};")
            .unwrap();
    }
    text + "};\n"
}

/// Prosody's encoding of names in file names.
fn encoded(name: &str) -> String {
    name.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() {
            out.push(char::from(b));
        } else {
            write!(out, "%{b:02x}").unwrap();
        }
        out
    })
}
