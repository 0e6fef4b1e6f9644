//! The effective config as TOML, defaults included, without secrets.

mod http;
mod mapping;
mod probe;

use std::fmt::{self, Display, Write};
use std::path::Path;
use std::time::Duration;

use toml::Value;

use super::connection::TLS;
use super::lmtp::LmtpMailbox;
use super::login::CLIENT_AUTHS;
use super::mailbox::{KEY_SCOPES, MailboxConfig, NEVER, PROTOCOLS, REQUIRE_AUTHS};
use super::people::{FALLBACK_WHEN, OFFLINE};
use super::service::LOG_FORMATS;
use super::{Config, rules};
use crate::mailbox::{After, Auth, Endpoint, Protocol, TokenSource, Watch};
use crate::model::{PolicyRow, Recipient, Show, Size, Span};
use crate::net::TlsMode;
use crate::parse::Plain;
use crate::route::{Disclaimer, Group, KeyScope, Member, Route, Wall};
use crate::telemetry::Format;
use crate::xmpp::Room;
use crate::{intake, lmtp};

/// The effective config as TOML. A password is a comment: who gives it back gets a config that loads to the same.
impl Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Writer::default();
        self.service(&mut out);
        probe::write(&mut out, &self.probe);
        self.xmpp(&mut out);
        for entry in &self.mailboxes {
            mailbox(&mut out, entry);
        }
        for entry in &self.lmtp_mailboxes {
            lmtp_mailbox(&mut out, entry);
        }
        for entry in &self.doors {
            door(&mut out, entry);
        }
        for entry in &self.route.recipients {
            recipient(&mut out, entry, self.xmpp.rooms.iter().find(|room| room.jid == entry.jid));
        }
        for entry in &self.route.groups {
            group(&mut out, entry);
        }
        for entry in &self.route.routes {
            route(&mut out, entry);
        }
        for entry in &self.route.walls {
            wall(&mut out, entry);
        }
        for entry in &self.route.disclaimers {
            disclaimer(&mut out, entry);
        }
        for entry in &self.mappings.own {
            mapping::write(&mut out, entry);
        }
        f.write_str(out.0.trim_start())
    }
}

impl Config {
    fn service(&self, out: &mut Writer) {
        out.table("[store]");
        out.path("path", &self.store.path);
        out.span("raw_for", self.store.raw_for);
        out.span("history_for", self.store.history_for);
        out.plain("history_max", self.store.history_max);
        out.text("reserve", Size(self.store.reserve));

        out.table("[dispatch]");
        let dispatch = &self.dispatch;
        out.span("repeat_after", self.route.repeat_after);
        out.span("group_window", dispatch.limits.group_window);
        out.plain("max_per_minute", dispatch.limits.max_per_minute);
        out.span("receipt_timeout", dispatch.receipt_timeout);
        out.span("resend_after", dispatch.resend_after);
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

        http::write(out, &self.http);

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
        out.hidden("password");
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
    login(out, &mailbox.auth);
    if imap {
        out.text("folder", &mailbox.folder);
    }
    match intake.poll {
        Some(poll) => out.span("poll", poll),
        None => out.text("poll", NEVER),
    }
    match mailbox.watch {
        Watch::Idle => out.text("watch", "idle"),
        Watch::Poll => out.text("watch", "poll"),
        Watch::Noop(every) => out.text("watch", format!("noop:{}", Span(every))),
    }
    if imap {
        out.span("idle_for", mailbox.idle_for);
    }
    out.span("timeout", mailbox.timeout);
    out.plain("batch", intake.batch);
    out.text("max_size", Size(mailbox.max_size));
    match &mailbox.after {
        After::Keep => out.text("after", "keep"),
        After::Seen => out.text("after", "seen"),
        After::Delete => out.text("after", "delete"),
        After::Move(folder) => out.text("after", format!("move:{folder}")),
    }
    out.some("rejected", mailbox.rejected.as_ref().map(|folder| format!("move:{folder}")));
    mails(out, intake, key_scope);
    if let Auth::Xoauth2(TokenSource::Endpoint(endpoint)) = &mailbox.auth {
        token_endpoint(out, endpoint);
    }
    rules::show_own(out, &intake.rules);
}

fn lmtp_mailbox(out: &mut Writer, entry: &LmtpMailbox) {
    let LmtpMailbox { mailbox, intake, key_scope } = entry;
    out.table("[[mailbox]]");
    out.text("name", &mailbox.name);
    out.text("protocol", "lmtp");
    out.list("addresses", &mailbox.addresses);
    out.text("max_size", Size(mailbox.max_size));
    mails(out, intake, key_scope);
    rules::show_own(out, &intake.rules);
}

fn door(out: &mut Writer, door: &lmtp::Settings) {
    out.table("[[lmtp]]");
    out.text("listen", &door.listen);
    if let lmtp::Listen::Unix { mode, .. } = &door.listen {
        out.text("mode", format!("{mode:04o}"));
    }
    out.plain("allow_public", door.allow_public);
    out.plain("max_connections", door.max_connections);
    out.plain("max_recipients", door.max_recipients);
    out.span("timeout", door.timeout);
    out.text("in_flight", Size(door.in_flight));
}

/// What is done with the mails of a mailbox, whichever way they come.
fn mails(out: &mut Writer, intake: &intake::Settings, key_scope: &KeyScope) {
    out.span("max_age", intake.max_age);
    out.list("senders", &intake.senders);
    out.word("require_auth", &REQUIRE_AUTHS, |required| *required == intake.require_auth.is_some());
    out.some("authserv_id", intake.require_auth.as_ref().map(|auth| &auth.authserv_id));
    out.plain("sender_may_choose_group", intake.sender_may_choose_group);
    out.word("key_scope", &KEY_SCOPES, |scope| scope == key_scope);
    match intake.plain {
        Plain::Quarantine => out.text("plain", "quarantine"),
        Plain::Alert(severity) => {
            out.text("plain", "alert");
            out.text("plain_severity", severity);
        }
    }
    rules::show_files(out, &intake.rules);
}

fn login(out: &mut Writer, auth: &Auth) {
    match auth {
        Auth::Password(_) => {
            out.text("auth", "password");
            out.hidden("password");
        }
        Auth::Xoauth2(source) => {
            out.text("auth", "xoauth2");
            if let TokenSource::Command(command) = source {
                out.list("token_command", command);
            }
        }
    }
}

/// A table inside the mailbox's, so it comes after all of that one's keys.
fn token_endpoint(out: &mut Writer, endpoint: &Endpoint) {
    out.table("[mailbox.oauth2]");
    out.text("token_url", &endpoint.token_url);
    out.text("client_id", &endpoint.client_id);
    endpoint.client_secret.iter().for_each(|_| out.hidden("client_secret"));
    out.word("client_auth", &CLIENT_AUTHS, |way| *way == endpoint.client_auth);
    endpoint.refresh_token.iter().for_each(|_| out.hidden("refresh_token"));
    out.some("scope", endpoint.scope.as_ref());
}

fn recipient(out: &mut Writer, recipient: &Recipient, room: Option<&Room>) {
    out.table("[[recipient]]");
    out.text("name", &recipient.name);
    match room {
        None => out.text("jid", &recipient.jid),
        Some(room) => {
            out.text("room", &room.jid);
            out.text("nick", &room.nick);
            room.password.iter().for_each(|_| out.hidden("password"));
        }
    }
    out.some("lang", recipient.lang.as_ref());
}

fn member(member: &Member) -> String {
    match member {
        Member::Recipient(name) => name.to_string(),
        Member::Group(name) => format!("@{name}"),
    }
}

fn group(out: &mut Writer, group: &Group) {
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
    out.some("name", route.name.as_ref());
    matchers(out, &route.matchers);
    out.list("groups", &route.groups);
    out.plain("continue", route.go_on);
    out.plain("verify", route.verify);
}

fn matchers(out: &mut Writer, matchers: &[(String, Vec<String>)]) {
    if !matchers.is_empty() {
        let fields = matchers.iter().map(|(field, values)| format!("{} = {}", quoted(field), list(values)));
        out.plain("match", format!("{{ {} }}", fields.collect::<Vec<_>>().join(", ")));
    }
}

fn wall(out: &mut Writer, wall: &Wall) {
    out.table("[[wall]]");
    out.text("name", &wall.name);
    matchers(out, &wall.matchers);
    out.list("to", wall.to.iter().map(member));
}

fn disclaimer(out: &mut Writer, disclaimer: &Disclaimer) {
    out.table("[[disclaimer]]");
    out.text("text", &disclaimer.text);
    out.list("routes", &disclaimer.routes);
    out.list("groups", &disclaimer.groups);
    out.list("domains", &disclaimer.domains);
}

fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

pub(super) fn quoted(text: impl Display) -> String {
    Value::String(text.to_string()).to_string()
}

pub(super) fn list(values: impl IntoIterator<Item = impl Display>) -> String {
    format!("[{}]", values.into_iter().map(quoted).collect::<Vec<_>>().join(", "))
}

/// TOML, a line at a time. Writing to a text cannot fail.
#[derive(Default)]
pub(super) struct Writer(String);

impl Writer {
    pub(super) fn table(&mut self, header: &str) {
        let _ = write!(self.0, "\n{header}\n");
    }

    pub(super) fn plain(&mut self, key: &str, value: impl Display) {
        let _ = writeln!(self.0, "{key} = {value}");
    }

    pub(super) fn text(&mut self, key: &str, value: impl Display) {
        self.plain(key, quoted(value));
    }

    pub(super) fn some(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    pub(super) fn path(&mut self, key: &str, path: &Path) {
        self.text(key, path.display());
    }

    pub(super) fn span(&mut self, key: &str, span: Duration) {
        self.text(key, Span(span));
    }

    pub(super) fn list(&mut self, key: &str, values: impl IntoIterator<Item = impl Display>) {
        self.plain(key, list(values));
    }

    fn word<T>(&mut self, key: &str, words: &[(&str, T)], is: impl Fn(&T) -> bool) {
        self.some(key, words.iter().find(|(_, value)| is(value)).map(|(word, _)| *word));
    }

    fn hidden(&mut self, key: &str) {
        let _ = writeln!(self.0, "# {key} = (hidden)");
    }
}
