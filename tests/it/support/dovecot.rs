//! Dovecot: IMAP, POP3 and LMTP on loopback, with Maildirs in its own directory.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::ca::Ca;
use super::child::Server;
use super::{DOMAIN, free_port, lmtp};

/// A running Dovecot. Each user's password is `pw-USER`.
pub struct Dovecot {
    server: Server,
    pub imap: u16,
    pub imaps: u16,
    pub pop3: u16,
    pub pop3s: u16,
    pub lmtp: u16,
    passwords: HashMap<String, String>,
}

impl Dovecot {
    pub fn start(ca: &Ca, users: &[&str]) -> Self {
        let accounts: Vec<(&str, String)> = users.iter().map(|user| (*user, format!("pw-{user}"))).collect();
        let accounts: Vec<(&str, &str)> = accounts.iter().map(|(user, password)| (*user, password.as_str())).collect();
        Self::start_with(ca, &accounts, "")
    }

    /// With these (user, password) pairs, and `extra` at the end of the configuration: quota, capabilities …
    pub fn start_with(ca: &Ca, accounts: &[(&str, &str)], extra: &str) -> Self {
        let ports: [u16; 5] = std::array::from_fn(|_| free_port());
        let [imap, imaps, pop3, pop3s, lmtp] = ports;
        let passwords = accounts.iter().map(|(user, password)| ((*user).to_owned(), (*password).to_owned())).collect();
        let mut dovecot = Self { server: Server::new("dovecot"), imap, imaps, pop3, pop3s, lmtp, passwords };
        dovecot.prepare(ca, accounts, extra);
        dovecot.restart();
        dovecot
    }

    fn prepare(&self, ca: &Ca, accounts: &[(&str, &str)], extra: &str) {
        let lines: Vec<String> =
            accounts.iter().map(|(user, password)| format!("{user}:{{PLAIN}}{password}\n")).collect();
        let passwd = self.server.write("passwd", &lines.concat());
        // As root the server gives up its rights for an unprivileged user's; else everything runs as whoever runs the tests.
        let (uid, gid) = (id("-u"), id("-g"));
        let (mail_uid, mail_gid) = if uid == 0 { (65534, 65534) } else { (uid, gid) };
        let mail = self.server.path("mail");
        std::fs::create_dir_all(&mail).unwrap();
        std::os::unix::fs::chown(&mail, Some(mail_uid), Some(mail_gid)).unwrap();
        let unprivileged = if uid == 0 { String::new() } else { self.unprivileged() };
        let (dir, mail) = (self.server.dir().display(), mail.display());
        let (cert, key, passwd) = (ca.cert(), ca.key(), passwd.display());
        let (cert, key) = (cert.display(), key.display());
        let Self { imap, imaps, pop3, pop3s, lmtp, .. } = self;
        let text = format!(
            "protocols = imap pop3 lmtp
base_dir = {dir}/run
state_dir = {dir}/state
log_path = /dev/stderr
listen = 127.0.0.1
ssl = yes
ssl_cert = <{cert}
ssl_key = <{key}
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
mail_fsync = never
mailbox_idle_check_interval = 1s
mail_max_userip_connections = 0
first_valid_uid = 1
mail_location = maildir:{mail}/%n/Maildir
passdb {{
  driver = passwd-file
  args = username_format=%n {passwd}
}}
userdb {{
  driver = static
  args = uid={mail_uid} gid={mail_gid} home={mail}/%n allow_all_users=yes
}}
service imap-login {{
  service_count = 0
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service pop3-login {{
  service_count = 0
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = {pop3s}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {lmtp}
  }}
}}
protocol lmtp {{
  postmaster_address = postmaster@{DOMAIN}
}}
{unprivileged}
{extra}
"
        );
        self.server.write("dovecot.conf", &text);
    }

    /// What Dovecot needs to run without root: its own users are those of the tests, and nothing is put into a chroot.
    fn unprivileged(&self) -> String {
        let name =
            |flag| String::from_utf8(Command::new("id").arg(flag).output().unwrap().stdout).unwrap().trim().to_owned();
        let (user, group) = (name("-un"), name("-gn"));
        let services =
            ["imap-login", "pop3-login", "anvil", "auth", "stats", "imap", "pop3", "lmtp", "log", "config", "dict"]
                .map(|service| format!("service {service} {{\n  chroot =\n  user = {user}\n}}\n"))
                .concat();
        format!(
            "default_login_user = {user}\ndefault_internal_user = {user}\ndefault_internal_group = {group}\n{services}"
        )
    }

    /// Starts it again on the same ports with the same mails.
    pub fn restart(&mut self) {
        self.server.stop();
        let ports = [self.imap, self.imaps, self.pop3, self.pop3s, self.lmtp];
        let config = self.server.path("dovecot.conf");
        self.server.start(Command::new("dovecot").arg("-F").arg("-c").arg(config), &ports);
    }

    pub fn stop(&mut self) {
        self.server.stop();
    }

    pub fn kill(&mut self) {
        self.server.kill();
    }

    #[allow(dead_code)] // The bench counts its processor time.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Delivers mails over LMTP in one session.
    pub fn deliver_all<'a>(&self, user: &str, mails: impl IntoIterator<Item = &'a [u8]>) {
        let mut session = lmtp::Session::connect(self.lmtp).unwrap();
        for mail in mails {
            session.deliver(&format!("{user}@{DOMAIN}"), mail).unwrap_or_else(|err| panic!("{err}:\n{}", self.log()));
        }
    }

    /// Delivers one mail, and sees to it that it has its UID before the next one comes.
    pub fn deliver(&self, user: &str, mail: &[u8]) {
        self.deliver_all(user, [mail]);
        self.number(user);
    }

    /// While somebody else looks at the mailbox, LMTP may leave a mail without a UID; those without one get theirs in no
    /// order at the next look. So that mails delivered one after the other are numbered in that order, it is looked now.
    fn number(&self, user: &str) {
        let Ok(numbered) = std::fs::read_to_string(self.maildir(user, "INBOX").join("dovecot-uidlist")) else { return };
        let known: HashSet<&str> =
            numbered.lines().skip(1).filter_map(|line| line.split_once(" :")).map(|(_, name)| base(name)).collect();
        if self.files(user, "INBOX").iter().all(|file| known.contains(base(file))) {
            return;
        }
        let Some(password) = self.passwords.get(user) else { return };
        let mut look = TcpStream::connect((Ipv4Addr::LOCALHOST, self.imap)).unwrap();
        look.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(look, "a LOGIN {user} \"{password}\"\r\nb SELECT INBOX\r\nc LOGOUT\r\n").unwrap();
        look.read_to_end(&mut Vec::new()).unwrap();
    }

    /// Puts mails into INBOX as files: much faster than LMTP, for backlogs. Line ends stay as they are.
    pub fn put<'a>(&self, user: &str, mails: impl IntoIterator<Item = &'a [u8]>) {
        self.put_received(user, mails, SystemTime::now());
    }

    /// The same with an INTERNALDATE of long ago.
    pub fn put_received<'a>(&self, user: &str, mails: impl IntoIterator<Item = &'a [u8]>, received: SystemTime) {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let maildir = self.maildir(user, "INBOX");
        if !maildir.join("new").exists() {
            self.deliver(user, b"Subject: makes the Maildir\r\n\r\n");
            // Whoever has looked at it meanwhile has moved it.
            self.empty(user);
        }
        let root = id("-u") == 0;
        for mail in mails {
            let name = format!("1700000000.M{}P1.test", NUMBER.fetch_add(1, Ordering::Relaxed));
            let path = maildir.join("tmp").join(&name);
            std::fs::write(&path, mail).unwrap();
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(received).unwrap();
            if root {
                std::os::unix::fs::chown(&path, Some(65534), Some(65534)).unwrap();
            }
            std::fs::rename(path, maildir.join("new").join(name)).unwrap();
        }
    }

    fn maildir(&self, user: &str, folder: &str) -> PathBuf {
        let base = self.server.path("mail").join(user).join("Maildir");
        if folder == "INBOX" { base } else { base.join(format!(".{folder}")) }
    }

    /// Removes every mail of INBOX, as another client would.
    pub fn empty(&self, user: &str) {
        for sub in ["new", "cur"] {
            for entry in std::fs::read_dir(self.maildir(user, "INBOX").join(sub)).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
    }

    /// File names of the mails in a folder; those after `:2,` are its flags (`S` seen, `T` deleted).
    pub fn files(&self, user: &str, folder: &str) -> Vec<String> {
        let dir = self.maildir(user, folder);
        let entries = ["new", "cur"].into_iter().filter_map(|sub| std::fs::read_dir(dir.join(sub)).ok()).flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Mails in a folder; 0 where it does not exist.
    pub fn count(&self, user: &str, folder: &str) -> usize {
        self.files(user, folder).len()
    }

    /// Gives INBOX a new UIDVALIDITY at the next start, as after a restore from a backup. Only while it is stopped. Waits for
    /// the clock's next second: a UIDVALIDITY is the time in seconds, and a second one in the same second would be the same.
    pub fn reset_uidvalidity(&self, user: &str) {
        for entry in std::fs::read_dir(self.maildir(user, "INBOX")).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name().to_str().is_some_and(|name| name.starts_with("dovecot")) {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        let second = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let reset = second();
        while second() == reset {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// A mail's file name without its flags.
fn base(file: &str) -> &str {
    file.split_once(":2,").map_or(file, |(base, _)| base)
}

fn id(flag: &str) -> u32 {
    let out = Command::new("id").arg(flag).output().unwrap().stdout;
    String::from_utf8(out).unwrap().trim().parse().unwrap()
}
