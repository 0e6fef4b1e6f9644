//! The effective config as TOML, defaults included, without secrets.

use std::fmt::{self, Display, Write};
use std::path::Path;
use std::time::Duration;

use toml::Value;

use super::Config;
use super::connection::TLS;
use super::mailbox::{KEY_SCOPES, MailboxConfig, NEVER, PROTOCOLS, WATCHES};
use super::mapping::REFUSE;
use super::people::{FALLBACK_WHEN, OFFLINE};
use super::service::LOG_FORMATS;
use crate::mailbox::{After, Protocol};
use crate::model::{PolicyRow, Recipient, Show, Size, Span};
use crate::net::TlsMode;
use crate::parse::{Choice, Mapping, Plain, State, Template, TimeFormat};
use crate::route::{Group, Member, Route};
use crate::telemetry::Format;

/// The effective config as TOML. A password is a comment: who gives it back gets a config that loads to the same.
impl Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Writer::default();
        self.service(&mut out);
        self.xmpp(&mut out);
        for entry in &self.mailboxes {
            mailbox(&mut out, entry);
        }
        for entry in &self.route.recipients {
            recipient(&mut out, entry);
        }
        for entry in &self.route.groups {
            group(&mut out, entry);
        }
        for entry in &self.route.routes {
            route(&mut out, entry);
        }
        for entry in &self.mappings.own {
            mapping(&mut out, entry);
        }
        f.write_str(out.0.trim_start())
    }
}

impl Config {
    fn service(&self, out: &mut Writer) {
        out.table("[store]");
        out.path("path", &self.store.path);
        out.span("raw_for", self.store.raw_for);
        out.text("reserve", Size(self.store.reserve));

        out.table("[dispatch]");
        let dispatch = &self.dispatch;
        out.span("repeat_after", self.route.repeat_after);
        out.span("receipt_timeout", dispatch.receipt_timeout);
        out.plain("max_attempts", dispatch.max_attempts);
        out.plain("digest_over", dispatch.digest_over);
        out.span("settle", dispatch.settle);
        out.plain("text_max", dispatch.text_max);

        out.table("[operators]");
        out.some("group", self.route.operators.as_ref());
        out.some("default_group", self.route.default_group.as_ref());
        out.list("command", &dispatch.command);
        out.span("command_after", dispatch.command_after);
        out.span("notice_every", dispatch.notice_every);

        out.table("[parse]");
        let limits = &self.parse;
        out.plain("mime_depth", limits.mime_depth);
        out.plain("parts", limits.parts);
        out.plain("xml_depth", limits.xml_depth);
        out.plain("attributes", limits.attributes);
        out.plain("text", limits.text);
        out.plain("alerts", limits.alerts);

        out.table("[serve]");
        out.span("shutdown_grace", self.serve.shutdown_grace);

        out.table("[log]");
        out.word("format", &LOG_FORMATS, |format: &Format| *format == self.log.format);
        out.text("filter", &self.log.filter);
    }

    fn xmpp(&self, out: &mut Writer) {
        let xmpp = &self.xmpp;
        out.table("[xmpp]");
        out.text("jid", &xmpp.jid);
        out.hidden();
        out.list("servers", xmpp.servers.iter().map(|(host, port)| address(host, *port)));
        out.word("tls", &TLS, |mode: &TlsMode| *mode == xmpp.tls);
        out.plain("allow_plaintext", xmpp.allow_plaintext);
        xmpp.ca_file.iter().for_each(|path| out.path("ca_file", path));
        out.some("tls_name", xmpp.tls_name.as_ref());
        out.plain("allow_plain", xmpp.allow_plain);
        out.text("show", xmpp.show.as_str());
        out.text("status", &xmpp.status);
        out.text("resource", &xmpp.resource);
        out.plain("window", xmpp.window);
        out.span("ping_after", xmpp.ping_after);
        out.span("connect_timeout", xmpp.connect_timeout);
    }
}

fn mailbox(out: &mut Writer, entry: &MailboxConfig) {
    let MailboxConfig { mailbox, intake, key_scope } = entry;
    let imap = mailbox.protocol == Protocol::Imap;
    out.table("[[mailbox]]");
    out.text("name", &mailbox.name);
    out.word("protocol", &PROTOCOLS, |protocol: &Protocol| *protocol == mailbox.protocol);
    out.text("server", address(&mailbox.host, mailbox.port));
    out.word("tls", &TLS, |mode: &TlsMode| *mode == mailbox.tls);
    out.plain("allow_plaintext", mailbox.allow_plaintext);
    mailbox.ca_file.iter().for_each(|path| out.path("ca_file", path));
    out.some("tls_name", mailbox.tls_name.as_ref());
    out.text("user", &mailbox.user);
    out.hidden();
    if imap {
        out.text("folder", &mailbox.folder);
    }
    match intake.poll {
        Some(poll) => out.span("poll", poll),
        None => out.text("poll", NEVER),
    }
    out.word("watch", &WATCHES, |watch| *watch == mailbox.watch);
    if imap {
        out.span("idle_for", mailbox.idle_for);
    }
    out.span("timeout", mailbox.timeout);
    out.plain("batch", intake.batch);
    out.text("max_size", Size(mailbox.max_size));
    out.span("max_age", intake.max_age);
    match &mailbox.after {
        After::Keep => out.text("after", "keep"),
        After::Seen => out.text("after", "seen"),
        After::Delete => out.text("after", "delete"),
        After::Move(folder) => out.text("after", format!("move:{folder}")),
    }
    out.some("rejected", mailbox.rejected.as_ref().map(|folder| format!("move:{folder}")));
    out.list("senders", &intake.senders);
    out.plain("sender_may_choose_group", intake.sender_may_choose_group);
    out.word("key_scope", &KEY_SCOPES, |scope| scope == key_scope);
    match intake.plain {
        Plain::Quarantine => out.text("plain", "quarantine"),
        Plain::Alert(severity) => {
            out.text("plain", "alert");
            out.text("plain_severity", severity);
        }
    }
}

fn recipient(out: &mut Writer, recipient: &Recipient) {
    out.table("[[recipient]]");
    out.text("name", &recipient.name);
    out.text("jid", &recipient.jid);
    out.some("lang", recipient.lang.as_ref());
}

fn group(out: &mut Writer, group: &Group) {
    let member = |member: &Member| match member {
        Member::Recipient(name) => name.to_string(),
        Member::Group(name) => format!("@{name}"),
    };
    out.table("[[group]]");
    out.text("name", &group.name);
    out.list("members", group.members.iter().map(member));
    out.plain("public", group.public);
    for row in &group.policy {
        policy(out, row);
    }
}

fn policy(out: &mut Writer, row: &PolicyRow) {
    out.table("[[group.policy]]");
    out.list("severity", &row.severity);
    out.list("shows", Show::ALL.into_iter().filter(|show| row.shows.contains(*show)).map(Show::as_str));
    out.word("offline", &OFFLINE, |offline| *offline == row.offline);
    out.span("hold_for", row.hold_for);
    out.some("fallback", row.fallback.as_ref().map(|group| format!("@{group}")));
    out.word("fallback_when", &FALLBACK_WHEN, |when| *when == row.fallback_when);
}

fn route(out: &mut Writer, route: &Route) {
    out.table("[[route]]");
    if !route.matchers.is_empty() {
        let fields = route.matchers.iter().map(|(field, values)| format!("{} = {}", quoted(field), list(values)));
        out.plain("match", format!("{{ {} }}", fields.collect::<Vec<_>>().join(", ")));
    }
    out.list("groups", &route.groups);
    out.plain("continue", route.go_on);
}

fn mapping(out: &mut Writer, mapping: &Mapping) {
    let table = |entries: Vec<(&String, String)>| {
        let entries = entries.into_iter().map(|(key, value)| format!("{} = {value}", quoted(key)));
        format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
    };
    out.table("[[mapping]]");
    out.text("name", &mapping.name);
    out.text("root", &mapping.root);
    out.text("namespace", &mapping.namespace);
    let prefixes = mapping.prefixes.iter().map(|(prefix, space)| (prefix, quoted(space))).collect();
    out.plain("prefixes", table(prefixes));
    out.some("each", mapping.each.as_ref().map(|each| each.source()));
    for (key, templates) in [
        ("required", &mapping.required),
        ("id", &mapping.id),
        ("key", &mapping.key),
        ("title", &mapping.title),
        ("text", &mapping.text),
        ("sent", &mapping.sent),
        ("effective", &mapping.effective),
        ("expires", &mapping.expires),
        ("links", &mapping.links),
        ("groups", &mapping.groups),
    ] {
        out.templates(key, templates);
    }
    out.list("times", mapping.times.iter().map(TimeFormat::as_str));
    out.text("zone", &mapping.zone.0);
    let labels = mapping.labels.iter().map(|(name, all)| (name, list(all.iter().map(Template::source)))).collect();
    out.plain("labels", table(labels));
    out.table("[mapping.severity]");
    let severities = mapping.severity.table.iter().map(|(value, severity)| (value, quoted(severity))).collect();
    choice(out, &mapping.severity, table(severities), |severity| severity.as_str());
    out.table("[mapping.status]");
    let states = mapping.status.table.iter().map(|(value, state)| (value, quoted(state.as_str()))).collect();
    choice(out, &mapping.status, table(states), |state: &State| state.as_str());
}

fn choice<T>(out: &mut Writer, choice: &Choice<T>, table: String, word: impl Fn(&T) -> &'static str) {
    if !choice.value.is_empty() {
        out.templates("value", &choice.value);
        out.plain("table", table);
    }
    out.text("default", choice.default.as_ref().map_or(REFUSE, word));
}

fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn quoted(text: impl Display) -> String {
    Value::String(text.to_string()).to_string()
}

fn list(values: impl IntoIterator<Item = impl Display>) -> String {
    format!("[{}]", values.into_iter().map(quoted).collect::<Vec<_>>().join(", "))
}

/// TOML, a line at a time. Writing to a text cannot fail.
#[derive(Default)]
struct Writer(String);

impl Writer {
    fn table(&mut self, header: &str) {
        let _ = write!(self.0, "\n{header}\n");
    }

    fn plain(&mut self, key: &str, value: impl Display) {
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn text(&mut self, key: &str, value: impl Display) {
        self.plain(key, quoted(value));
    }

    fn some(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn path(&mut self, key: &str, path: &Path) {
        self.text(key, path.display());
    }

    fn span(&mut self, key: &str, span: Duration) {
        self.text(key, Span(span));
    }

    fn list(&mut self, key: &str, values: impl IntoIterator<Item = impl Display>) {
        self.plain(key, list(values));
    }

    fn templates(&mut self, key: &str, templates: &[Template]) {
        if !templates.is_empty() {
            self.list(key, templates.iter().map(Template::source));
        }
    }

    fn word<T>(&mut self, key: &str, words: &[(&str, T)], is: impl Fn(&T) -> bool) {
        self.some(key, words.iter().find(|(_, value)| is(value)).map(|(word, _)| *word));
    }

    fn hidden(&mut self) {
        self.0.push_str("# password = (hidden)\n");
    }
}
