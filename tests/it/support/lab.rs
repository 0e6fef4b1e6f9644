//! The whole set-up of a test: mail server, chat server, people, and the gateway between them.

use super::DOMAIN;
use super::ca::Ca;
use super::chat::{Chat, Kind, Options};
use super::client::{Client, Login};
use super::dovecot::Dovecot;
use super::mailbell::{Mailbell, SOON};
use super::proxy::Proxy;

/// Mail server, chat server, and a certificate for both. The monitored mailbox is `inbox`; more with [`Lab::with`].
pub struct Lab {
    pub ca: Ca,
    pub dovecot: Dovecot,
    pub chat: Chat,
    people: Vec<String>,
    settle: &'static str,
}

impl Lab {
    /// With these people, whose presence the gateway may see from the start.
    pub fn new(people: &[&str]) -> Self {
        Self::with(people, &["inbox"], Options::default())
    }

    /// With these people, on this chat server.
    pub fn on(kind: Kind, people: &[&str]) -> Self {
        Self::with(people, &["inbox"], Options::on(kind))
    }

    /// With these mailboxes, and a chat server of another kind.
    pub fn with(people: &[&str], mailboxes: &[&str], options: Options) -> Self {
        let ca = Ca::new();
        let dovecot = Dovecot::start(&ca, mailboxes);
        // On a busy machine ejabberd takes its time to tell who is there.
        let settle = if options.kind == Kind::Ejabberd { "1500ms" } else { "1s" };
        let chat = Chat::start(&ca, people, options);
        Self { ca, dovecot, chat, people: people.iter().map(|p| (*p).to_owned()).collect(), settle }
    }

    /// `[store]`, `[xmpp]`, and every person as a recipient. Presence settles fast, and nothing waits because it would be
    /// too much: tests of storms give their own limits.
    pub fn base(&self) -> String {
        let mut config = format!(
            r#"
[store]
path = "{{dir}}/mailbell.db"
reserve = "1MiB"
[xmpp]
jid = "alerts@{DOMAIN}"
password = "pw-alerts"
servers = ["127.0.0.1:{}"]
tls = "starttls"
ca_file = "{}"
[dispatch]
max_per_minute = 0
group_window = "0s"
settle = "{}"
"#,
            self.chat.c2s,
            self.ca.ca().display(),
            self.settle
        );
        for person in &self.people {
            config += &format!("[[recipient]]\nname = \"{person}\"\njid = \"{person}@{DOMAIN}\"\n");
        }
        config
    }

    /// `[[mailbox]]` for an account of that name, over IMAP with TLS; `more` are further keys.
    ///
    /// The safety poll is short where a test gives none: Dovecot can miss a mail that comes while it rebuilds its index, and
    /// then tells of it only when asked.
    pub fn imap(&self, user: &str, more: &str) -> String {
        let poll = if more.contains("poll = ") { "" } else { "poll = \"3s\"\n" };
        format!(
            "[[mailbox]]\nname = \"{user}\"\nprotocol = \"imap\"\nserver = \"127.0.0.1:{}\"\ntls = \"direct\"\n\
             ca_file = \"{}\"\nuser = \"{user}\"\npassword = \"pw-{user}\"\n{poll}{more}\n",
            self.dovecot.imaps,
            self.ca.ca().display()
        )
    }

    /// The same over POP3, polled every 200 ms.
    pub fn pop3(&self, user: &str, more: &str) -> String {
        format!(
            "[[mailbox]]\nname = \"{user}\"\nprotocol = \"pop3\"\nserver = \"127.0.0.1:{}\"\ntls = \"direct\"\npoll = \"1s\"\n\
             ca_file = \"{}\"\nuser = \"{user}\"\npassword = \"pw-{user}\"\n{more}\n",
            self.dovecot.pop3s,
            self.ca.ca().display()
        )
    }

    /// Everything that most tests need: one IMAP mailbox `inbox`, and a group `ops` of all people, which is also the operators
    /// and the default.
    pub fn config(&self) -> String {
        self.base() + &self.imap("inbox", "") + &self.everybody("ops") + OPERATORS
    }

    /// The same with the chat server behind a proxy.
    pub fn through(&self, proxy: &Proxy) -> String {
        self.config().replace(&format!(":{}\"", self.chat.c2s), &format!(":{}\"", proxy.port))
    }

    /// A group of all people.
    pub fn everybody(&self, group: &str) -> String {
        format!("[[group]]\nname = \"{group}\"\nmembers = {:?}\n", self.people)
    }

    /// One IMAP mailbox `inbox` whose alerts name their group, and one person as the operators, in a group of their own.
    pub fn operated_by(&self, operator: &str) -> String {
        self.base()
            + &self.imap("inbox", "sender_may_choose_group = true")
            + &group("operators", &[operator], "")
            + "[operators]\ngroup = \"operators\"\ndefault_group = \"operators\"\n"
    }

    /// Mails an alert to `inbox`.
    pub fn mail(&self, mail: &str) {
        self.mail_to("inbox", mail);
    }

    pub fn mail_to(&self, user: &str, mail: &str) {
        self.dovecot.deliver(user, mail.replace("\r\n", "\n").replace('\n', "\r\n").as_bytes());
    }

    /// Puts many mails into a mailbox at once.
    pub fn put(&self, user: &str, mails: &[String]) {
        self.dovecot.put(user, mails.iter().map(String::as_bytes));
    }

    /// A person who is online, at a PC that sends receipts.
    pub async fn online(&self, person: &str) -> Client {
        Client::login(self.chat.c2s, person).await
    }

    /// A sign-in to be adjusted first.
    pub fn login(&self, person: &str) -> Login {
        Login::new(self.chat.c2s, person)
    }
}

/// The operators are the group `ops`, and it gets what no route wants.
pub const OPERATORS: &str = "[operators]\ngroup = \"ops\"\ndefault_group = \"ops\"\n";

/// A group with these members, and keys of a policy for all severities where it has one.
pub fn group(name: &str, members: &[&str], policy: &str) -> String {
    let policy = if policy.is_empty() { String::new() } else { format!("[[group.policy]]\n{policy}\n") };
    format!("[[group]]\nname = \"{name}\"\nmembers = {members:?}\n{policy}")
}

/// A firing alert of that severity for a group, whose title is its key.
pub fn asks(group: &str, severity: &str, title: &str) -> String {
    alert(&format!("key=\"{title}\" severity=\"{severity}\""), &format!("<title>{title}</title><group>{group}</group>"))
}

/// A mail with this native alert element's attributes and content.
pub fn alert(attributes: &str, content: &str) -> String {
    xml_mail(&format!("<alert xmlns=\"urn:mailbell:alert:1\" {attributes}>{content}</alert>"))
}

/// A firing alert with a key and a title, critical.
pub fn critical(key: &str, title: &str) -> String {
    severe(key, "critical", title)
}

/// A firing alert of that severity.
pub fn severe(key: &str, severity: &str, title: &str) -> String {
    alert(&format!("key=\"{key}\" severity=\"{severity}\""), &format!("<title>{title}</title>"))
}

/// A mail of its own Message-ID with this XML as its only part.
pub fn xml_mail(xml: &str) -> String {
    let id = mailbell::model::StanzaId::random();
    let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S +0000");
    format!(
        "From: monitor@example.test\nTo: inbox@example.test\nSubject: alert\nDate: {date}\nMessage-ID: <{id}@example.test>\n\
         MIME-Version: 1.0\nContent-Type: application/xml; charset=utf-8\n\n<?xml version=\"1.0\"?>\n{xml}\n"
    )
}

impl Client {
    /// Waits for an instant message that holds this text, and returns it.
    pub async fn gets(&self, text: &str) -> String {
        let message = self.wait_message(|m| m.body().is_some_and(|b| b.contains(text)), SOON).await;
        message.body().unwrap()
    }

    /// How many instant messages with this text came so far.
    pub fn copies(&self, text: &str) -> usize {
        self.messages().iter().filter(|m| m.body().is_some_and(|b| b.contains(text))).count()
    }
}

/// Waits until this many notifications are in that state, and returns them.
pub async fn in_state(mailbell: &Mailbell, state: &str, count: usize) -> Vec<serde_json::Value> {
    super::wait_for(&format!("{count} notifications that are {state}"), SOON, async || {
        let found = mailbell.queue(&["--state", state]);
        (found.len() >= count).then_some(found)
    })
    .await
}
