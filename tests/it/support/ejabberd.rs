//! ejabberd in the foreground: a node of its own without distribution (no epmd, no cookie), so that any number run side by
//! side. Accounts, rosters and groups are made over its HTTP API.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ca::Ca;
use super::chat::{Auth, BOT, Options, Roster};
use super::child::Server;
use super::{DOMAIN, free_port};

/// A running ejabberd. The password of USER is `pw-USER`.
pub struct Ejabberd {
    server: Server,
    /// Where its data are.
    data: PathBuf,
    /// STARTTLS, and plain text for the test clients.
    pub c2s: u16,
    /// Direct TLS.
    pub c2s_tls: u16,
    http: u16,
    /// When accounts or rosters were changed last.
    changed: Cell<Instant>,
}

impl Ejabberd {
    /// With the bot's account and these users'.
    pub fn start(ca: &Ca, users: &[&str], options: Options) -> Self {
        let [c2s, c2s_tls, http] = std::array::from_fn(|_| free_port());
        let server = Server::new("ejabberd");
        let data = options.data.clone().unwrap_or_else(|| server.path("mnesia"));
        let mut ejabberd = Self { server, data, c2s, c2s_tls, http, changed: Cell::new(Instant::now()) };
        let config = ejabberd.config(ca, &options);
        ejabberd.server.write("ejabberd.yml", &config);
        ejabberd.run();
        for user in users.iter().chain([&BOT]) {
            ejabberd.add_user(user);
        }
        match options.roster {
            Roster::Hub => ejabberd.make_hub(users),
            Roster::Groups => ejabberd.make_groups(users),
            Roster::Empty => {}
        }
        ejabberd
    }

    /// Starts it again after `stop` or `kill`, with its data and on its ports.
    pub fn run(&mut self) {
        let path = |name: &str| self.server.path(name);
        let mut command = Command::new("erl");
        // One scheduler that does not spin: many servers share the machine.
        command
            // Its database writes a dump to where it is started when it ends badly.
            .current_dir(self.server.dir())
            .args(["+S", "1:1", "+sbwt", "none", "-noinput", "-mnesia", "dir"])
            .arg(format!("{:?}", self.data.to_str().unwrap()))
            .args(["-s", "ejabberd"])
            .env("ERL_LIBS", libraries())
            .env("EJABBERD_CONFIG_PATH", path("ejabberd.yml"))
            .env("EJABBERD_LOG_PATH", path("ejabberd.log"))
            .env("ERL_CRASH_DUMP_BYTES", "0")
            .env("HOME", self.server.dir());
        let ports = [self.c2s, self.c2s_tls, self.http];
        self.server.start(&mut command, &ports);
    }

    /// A clean end.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// kill -9. Not before its database has written the accounts: it does so within two seconds of a change.
    pub fn kill(&mut self) {
        std::thread::sleep(Duration::from_secs(4).saturating_sub(self.changed.get().elapsed()));
        self.server.kill();
    }

    /// One more account, while it runs; it has nobody in its roster.
    pub fn add_user(&self, user: &str) {
        self.api("register", &json!({ "user": user, "host": DOMAIN, "password": format!("pw-{user}") }));
    }

    fn make_hub(&self, users: &[&str]) {
        for user in users {
            for (owner, contact) in [(*user, BOT), (BOT, *user)] {
                let item = json!({ "localuser": owner, "localhost": DOMAIN, "user": contact, "host": DOMAIN,
                    "nick": contact, "group": "", "subs": "both" });
                self.api("add_rosteritem", &item);
            }
        }
    }

    /// Two groups that are shown to each other: the bot sees everyone, they see the bot.
    fn make_groups(&self, users: &[&str]) {
        for (group, shown) in [("bots", "people"), ("people", "bots")] {
            let settings =
                json!({ "group": group, "host": DOMAIN, "name": group, "description": group, "display": shown });
            self.api("srg_create", &settings);
        }
        let members = users.iter().map(|user| (*user, "people")).chain([(BOT, "bots")]);
        for (user, group) in members {
            self.api("srg_user_add", &json!({ "user": user, "host": DOMAIN, "group": group, "grouphost": DOMAIN }));
        }
    }

    /// Runs one of its commands.
    pub fn api(&self, command: &str, arguments: &Value) -> String {
        let body = arguments.to_string();
        self.changed.set(Instant::now());
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.http)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(
            stream,
            "POST /api/{command} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{command} {body}: {answer}\n{}", self.log());
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.server.path("ejabberd.log")).unwrap_or_default()
    }

    fn config(&self, ca: &Ca, options: &Options) -> String {
        let (password, hash) = match options.auth {
            Auth::Plain => ("plain", "sha"),
            Auth::Hashed("SHA-256") => ("scram", "sha256"),
            Auth::Hashed(_) => ("scram", "sha"),
        };
        let management =
            format!("mod_stream_mgmt: {{ resume_timeout: {}, max_ack_queue: infinity }}", options.hibernation);
        let offline = "mod_offline: { access_max_user_messages: offline_most }";
        let modules = [
            (options.smacks, management.as_str()),
            (options.offline, offline),
            (options.archive, "mod_mam: { default: always, db_type: mnesia }"),
        ];
        let modules = modules.iter().filter(|(on, _)| *on).map(|(_, module)| format!("  {module}\n"));
        format!(
            r#"loglevel: info
hosts: ["{DOMAIN}"]
certfiles: ["{cert}", "{key}"]
listen:
  - port: {c2s}
    ip: "127.0.0.1"
    module: ejabberd_c2s
    max_stanza_size: 262144
    shaper: c2s_shaper
    starttls: true
  - port: {c2s_tls}
    ip: "127.0.0.1"
    module: ejabberd_c2s
    max_stanza_size: 262144
    shaper: c2s_shaper
    tls: true
  - port: {http}
    ip: "127.0.0.1"
    module: ejabberd_http
    request_handlers: {{ "/api": mod_http_api }}
auth_method: internal
auth_password_format: {password}
auth_scram_hash: {hash}
shaper:
  limited: {{ rate: {rate}, burst_size: {burst} }}
shaper_rules:
  c2s_shaper: {shaper}
  offline_most: {offline_most}
  max_user_sessions: 100
api_permissions:
  "the tests":
    who: {{ ip: ["127.0.0.0/8"] }}
    what: "*"
modules:
  mod_admin_extra: {{}}
  mod_muc_admin: {{}}
  mod_http_api: {{}}
  mod_roster: {{}}
  mod_shared_roster: {{}}
  mod_disco: {{}}
  mod_ping: {{}}
  mod_carboncopy: {{}}
  mod_caps: {{}}
  mod_version: {{}}
  mod_muc:
    host: "conference.@HOST@"
{modules}"#,
            cert = ca.cert().display(),
            key = ca.key().display(),
            rate = options.rate.unwrap_or(1),
            // As in its sample: more than six seconds' worth at once.
            burst = options.rate.unwrap_or(1) * 7,
            shaper = if options.rate.is_some() { "limited" } else { "none" },
            offline_most = options.offline_most.map_or("infinity".to_owned(), |most| most.to_string()),
            c2s = self.c2s,
            c2s_tls = self.c2s_tls,
            http = self.http,
            modules = modules.collect::<String>(),
        )
    }
}

/// Where Debian keeps the server's code: below the directory of the machine's architecture.
fn libraries() -> PathBuf {
    let subdirectories =
        |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let holds_it = |dir: &PathBuf| {
        subdirectories(dir.clone())
            .any(|inner| inner.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ejabberd-")))
    };
    subdirectories("/usr/lib".into()).find(holds_it).expect("no ejabberd here; tests/run installs what is missing")
}
