//! Postfix with a queue of its own: takes mail by SMTP on loopback, and hands it on by LMTP.

use std::io::{self};
use std::os::unix::fs::chown;
use std::process::Command;

use super::ca::Ca;
use super::child::Server;
use super::lmtp::{Session, stuffed};
use super::{DOMAIN, free_port};

/// A running Postfix. What cannot be handed on is tried again every second.
pub struct Postfix {
    server: Server,
    pub smtp: u16,
}

impl Postfix {
    /// Hands everything for the domain on to `target`: `inet:127.0.0.1:PORT` or `unix:PATH`. `None`, with a printed note,
    /// without root: it changes its user.
    pub fn start(target: &str) -> Option<Self> {
        Self::start_with(
            target,
            "smtpd_tls_security_level = none\nsmtpd_relay_restrictions = permit_mynetworks, reject\n",
        )
    }

    /// The same, but only by STARTTLS and for who signs in, which Dovecot checks at the port `sasl`.
    pub fn start_guarded(target: &str, ca: &Ca, sasl: u16) -> Option<Self> {
        let (cert, key) = (ca.cert(), ca.key());
        let guard = format!(
            "smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = {}
smtpd_tls_key_file = {}
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{sasl}
smtpd_relay_restrictions = permit_sasl_authenticated, reject
",
            cert.display(),
            key.display()
        );
        Self::start_with(target, &guard)
    }

    fn start_with(target: &str, guard: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: Postfix needs root");
            return None;
        }
        let mut postfix = Self { server: Server::new("postfix"), smtp: free_port() };
        postfix.prepare(target, guard);
        // Makes the directories of the queue.
        let check = Command::new("postfix").arg("-c").arg(postfix.server.path("etc")).arg("check").output();
        let check = check.unwrap_or_else(|err| panic!("cannot run postfix: {err}; tests/run installs what is missing"));
        assert!(check.status.success(), "{check:?}");
        postfix.restart();
        Some(postfix)
    }

    /// Starts it again, with what it has in its queue.
    pub fn restart(&mut self) {
        let daemons = Command::new("postconf").args(["-h", "daemon_directory"]).output().unwrap().stdout;
        let master = format!("{}/master", String::from_utf8(daemons).unwrap().trim());
        // In the foreground, in the process group that is ended with the test.
        let etc = self.server.path("etc");
        self.server.start(Command::new(master).arg("-d").arg("-c").arg(etc), &[self.smtp]);
    }

    pub fn stop(&mut self) {
        self.server.stop();
    }

    fn prepare(&self, target: &str, guard: &str) {
        for dir in ["queue", "data"] {
            std::fs::create_dir(self.server.path(dir)).unwrap();
        }
        let uid = Command::new("id").args(["-u", "postfix"]).output().unwrap().stdout;
        let uid = String::from_utf8(uid).unwrap().trim().parse().expect("there is no user postfix");
        chown(self.server.path("data"), Some(uid), None).unwrap();
        let (dir, smtp) = (self.server.dir().display(), self.smtp);
        self.server.write(
            "etc/main.cf",
            &format!(
                "compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
myhostname = mx.{DOMAIN}
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = {DOMAIN}
virtual_mailbox_maps =
virtual_transport = lmtp:{target}
default_transport = error:only for {DOMAIN}
{guard}minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
maillog_file = /dev/stdout
maillog_file_prefixes = /dev/stdout
"
            ),
        );
        let services = [
            "pickup unix n - n 60 1 pickup",
            "cleanup unix n - n - 0 cleanup",
            // Woken every second: a mail that it met while its last delivery was just ending waits for that.
            "qmgr unix n - n 1 1 qmgr",
            "rewrite unix - - n - - trivial-rewrite",
            "bounce unix - - n - 0 bounce",
            "defer unix - - n - 0 bounce",
            "trace unix - - n - 0 bounce",
            "tlsmgr unix - - n 1000? 1 tlsmgr",
            "error unix - - n - - error",
            "retry unix - - n - - error",
            "lmtp unix - - n - - lmtp",
            "anvil unix - - n - 1 anvil",
            "scache unix - - n - 1 scache",
            "postlog unix-dgram n - n - 1 postlogd",
        ];
        self.server
            .write("etc/master.cf", &format!("127.0.0.1:{smtp} inet n - n - - smtpd\n{}\n", services.join("\n")));
    }

    /// Mails it to these, over SMTP. Postfix has it when this returns.
    pub fn mail(&self, to: &[&str], mail: &str) {
        self.try_mail(to, mail).unwrap_or_else(|err| panic!("{err}:\n{}", self.log()));
    }

    fn try_mail(&self, to: &[&str], mail: &str) -> io::Result<()> {
        let mut smtp = Session::silent(self.smtp)?;
        let mut said = |line: &[u8], want: &str| {
            smtp.send(line)?;
            let reply = smtp.reply()?;
            let wrong = || io::Error::other(format!("SMTP: wanted {want}, got {reply:?}"));
            reply.starts_with(want).then_some(()).ok_or_else(wrong)
        };
        said(b"", "220")?;
        said(b"EHLO test\r\n", "250")?;
        said(b"MAIL FROM:<monitor@example.test>\r\n", "250")?;
        for to in to {
            said(format!("RCPT TO:<{to}>\r\n").as_bytes(), "250")?;
        }
        said(b"DATA\r\n", "354")?;
        said(&stuffed(mail.as_bytes()), "250")
    }

    pub fn log(&self) -> String {
        self.server.log()
    }
}
