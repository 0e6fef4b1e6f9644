//! The old health checker's file → a config of ours, for people: what nobody can know is left empty, and asked for.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use toml::de::DeValue;

use super::show::{list, quoted};
use super::source;
use crate::model::{BareJid, Jid, Span, plays_tricks};
use crate::probe::{Class, Healthcheck, Host, Listed};

/// The group that is told of everything.
const GROUP: &str = "admins";
/// The recipient of a file that names nobody.
const NOBODY: &str = "admin";
/// Longest name that is made for a recipient, bytes; a number may follow.
const LONGEST_NAME: usize = 40;

/// A config with the same targets, and with a recipient for each person who was told. JIDs are empty where they are not known:
/// the check of the config names their lines. `file` is the name of the old file, `secret` that of the file with the password.
pub fn import(old: &Healthcheck, file: &str, secret: &str) -> String {
    let mut out = Lines::default();
    head(&mut out, old, file);
    xmpp(&mut out, old, secret);
    operators(&mut out);
    probe(&mut out, old);
    people(&mut out, old);
    out.0
}

fn head(out: &mut Lines, old: &Healthcheck, file: &str) {
    out.comment(&format!("Made of {file} by `mailbell config import`."));
    out.comment("");
    out.comment(
        "Before it can be used, fill in each jid that is empty: `mailbell config check FILE` names their lines.",
    );
    out.comment("A key that is not here has its default: `mailbell config show FILE` shows them all.");
    if old.faults.is_empty() {
        return;
    }
    out.comment("");
    out.comment(&format!("What is wrong in {file}:"));
    for fault in &old.faults {
        out.comment(&format!("- {fault}"));
    }
}

fn xmpp(out: &mut Lines, old: &Healthcheck, secret: &str) {
    out.table("How the gateway signs in to chat.", "[xmpp]");
    let user = old.login_user.as_deref();
    let known = user.and_then(bare_jid);
    match (user, &known) {
        (Some(user), Some(_)) => {
            out.comment(&format!("The old tool signed in as {user}. Is this an account for XMPP as well?"))
        }
        (Some(user), None) => out.comment(&format!("The gateway's own account. The old tool signed in as {user}.")),
        (None, _) => out.comment("The gateway's own account."),
    }
    out.jid(known.as_ref());
    out.comment(match &old.password {
        Some(_) => "Holds the old tool's password: write that of this account there.",
        None => "Write the password of this account there, and let nobody else read it (chmod 600).",
    });
    out.pair("password_file", &quoted(secret));
    if let Some(server) = &old.server {
        out.comment(&format!(
            "The old tool's server was {server}. That of XMPP is found by the domain of the JID, or named here:"
        ));
        let example = server.parse::<Host>().map_or_else(|_| "chat.example.org".into(), |host| host.to_string());
        out.line(&format!("#servers = {}", list([example])));
    }
}

fn operators(out: &mut Lines) {
    out.table("Who minds mailbell itself.", "[operators]");
    out.comment("Is told of what goes wrong.");
    out.pair("group", &quoted(GROUP));
    out.comment("Gets the alerts that no [[route]] wants: without one, all.");
    out.pair("default_group", &quoted(GROUP));
}

fn probe(out: &mut Lines, old: &Healthcheck) {
    out.table("What is probed.", "[probe]");
    if let Some(interval) = old.interval {
        out.comment("Check_Interval.");
        out.pair("interval", &quoted(Span(interval)));
        if default_timeout().is_some_and(|default| default >= interval) {
            out.comment("One probe has to end before the next begins.");
            out.pair("timeout", &quoted(Span(interval / 2)));
        }
    }
    if old.hosts.is_empty() && old.classes.is_empty() {
        out.comment("There was no host in the old file.");
    }
    if !old.hosts.is_empty() {
        out.comment("[Hosts].");
    }
    out.hosts("targets", &old.hosts);
    for Class { name, ports, hosts } in &old.classes {
        out.blank();
        out.line("[[probe.class]]");
        out.pair("name", &quoted(name));
        if !ports.is_empty() {
            let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
            out.pair("ports", &format!("[{}]", ports.join(", ")));
        }
        out.hosts("hosts", hosts);
    }
}

fn people(out: &mut Lines, old: &Healthcheck) {
    let users = &old.users;
    let mut names = Names::default();
    // The gateway cannot be one of those whom it tells.
    names.jids.extend(old.login_user.as_deref().and_then(bare_jid));
    let mut members = Vec::new();
    out.blank();
    out.comment("Who is told: Sametime_Notification_Users.");
    for user in users {
        let name = names.name_for(user);
        out.blank();
        out.comment(user);
        out.line("[[recipient]]");
        out.pair("name", &quoted(&name));
        out.jid(bare_jid(user).filter(|jid| names.is_new(jid)).as_ref());
        members.push(name);
    }
    if users.is_empty() {
        out.comment("The old file names nobody.");
        out.line("[[recipient]]");
        out.pair("name", &quoted(NOBODY));
        out.jid(None);
        members.push(NOBODY.into());
    }
    out.blank();
    out.line("[[group]]");
    out.pair("name", &quoted(GROUP));
    out.pair("members", &list(&members));
}

/// Some users were written as JIDs.
fn bare_jid(text: &str) -> Option<BareJid> {
    let jid = Jid::new(text).ok()?;
    (jid.node().is_some() && jid.resource().is_none()).then(|| jid.into_bare())
}

fn default_timeout() -> Option<Duration> {
    let DeValue::Table(probe) = source::example().get("probe")?.get_ref() else { return None };
    let DeValue::String(timeout) = probe.get("timeout")?.get_ref() else { return None };
    timeout.parse().ok().map(|Span(timeout)| timeout)
}

/// Names of recipients, each once.
#[derive(Default)]
struct Names {
    taken: HashSet<String>,
    /// How many there are of each, without its number.
    counts: HashMap<String, usize>,
    jids: HashSet<BareJid>,
}

impl Names {
    /// `CN=Anna Admin/OU=Ops/O=Example` is anna-admin, and the next one anna-admin-2.
    fn name_for(&mut self, user: &str) -> String {
        let base = base_name(user);
        let count = self.counts.entry(base.clone()).or_default();
        loop {
            *count += 1;
            let name = if *count == 1 { base.clone() } else { format!("{base}-{count}") };
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }

    /// Each JID is one recipient's.
    fn is_new(&mut self, jid: &BareJid) -> bool {
        self.jids.insert(jid.clone())
    }
}

/// What somebody is called, as far as a name of a recipient can hold it.
fn base_name(user: &str) -> String {
    let person = user.split(['/', '@']).next().unwrap_or_default().trim().to_lowercase();
    let person = person.strip_prefix("cn=").unwrap_or(&person);
    let mut name = String::new();
    for c in person.chars() {
        let c = if c.is_alphanumeric() || "._+".contains(c) { c } else { '-' };
        let doubled = c == '-' && (name.is_empty() || name.ends_with('-'));
        if !doubled && name.len() + c.len_utf8() <= LONGEST_NAME {
            name.push(c);
        }
    }
    let name = name.trim_end_matches('-');
    if name.is_empty() { "recipient".into() } else { name.into() }
}

/// The text, a line at a time. What comes from the old file stays on its line.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn blank(&mut self) {
        self.line("");
    }

    fn comment(&mut self, text: &str) {
        let mut shown = String::from("# ");
        for c in text.chars() {
            if plays_tricks(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
        }
        self.line(shown.trim_end());
    }

    fn table(&mut self, about: &str, header: &str) {
        self.blank();
        self.comment(about);
        self.line(header);
    }

    fn pair(&mut self, key: &str, value: &str) {
        self.line(&format!("{key} = {value}"));
    }

    fn jid(&mut self, jid: Option<&BareJid>) {
        self.pair("jid", &jid.map_or_else(|| quoted(""), quoted));
    }

    /// A host a line.
    fn hosts(&mut self, key: &str, hosts: &[Listed]) {
        if hosts.is_empty() {
            return self.pair(key, "[]");
        }
        self.line(&format!("{key} = ["));
        for host in hosts {
            self.line(&format!("    {},", quoted(host)));
        }
        self.line("]");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{Config, load_healthcheck};

    fn imported(text: &str) -> String {
        import(&Healthcheck::read(text.as_bytes()), "old.properties", "xmpp.secret")
    }

    /// What a config check says of it, each with its key.
    fn missing(toml: &str) -> Vec<String> {
        let toml = toml.replace("password_file", "password_env");
        match Config::of(&toml, Path::new("a.toml"), |_| Some("x".into())) {
            Ok(config) => config.warnings.iter().map(|warning| format!("warning: {}", warning.key)).collect(),
            Err(errors) => {
                errors.problems.into_iter().map(|problem| format!("{}: {}", problem.key, problem.wrong)).collect()
            }
        }
    }

    /// Gives everybody a JID.
    fn filled(toml: &str) -> String {
        let parts = toml.split("jid = \"\"").enumerate();
        parts
            .map(|(n, part)| if n == 0 { part.to_owned() } else { format!("jid = \"p{n}@example.org\"{part}") })
            .collect()
    }

    #[test]
    fn the_sample_becomes_a_config_that_asks_for_jids() {
        let old = load_healthcheck("config/healthcheck.properties".as_ref()).unwrap();
        let toml = import(&old, "healthcheck.properties", "xmpp.secret");
        insta::assert_snapshot!(toml);
        let empty = ["recipient.anna-admin.jid", "recipient.duty.jid", "recipient.otto-operator.jid", "xmpp.jid"];
        let mut told = missing(&toml);
        told.sort();
        assert_eq!(told, empty.map(|key| format!("{key}: is empty")));
        assert_eq!(missing(&filled(&toml)), [""; 0]);
    }

    #[test]
    fn an_empty_file_becomes_a_config_that_can_be_filled() {
        let toml = imported("");
        assert_eq!(missing(&toml), ["xmpp.jid: is empty", "recipient.admin.jid: is empty"]);
        assert_eq!(missing(&filled(&toml)), ["warning: mailbox"]);
    }

    #[test]
    fn what_is_odd_in_the_file_does_no_harm_in_the_config() {
        let toml = imported(
            "Check_Interval=2\nSametime_login_user=bot@example.org\nSametime_Notification_Server=\"a\u{1}'\n\
             Sametime_Notification_Users=CN=Änne A. \u{202e}B/OU=x,änne a. b,anne@x.org,ANNE@X.org,/,-,\u{7}\n[Hosts]\n[Web]\n::1;80,x\n",
        );
        insta::assert_snapshot!(toml);
        assert_eq!(missing(&filled(&toml)), [""; 0]);
    }

    /// As odd as such a file may be: what is made of it can be filled in, and checks the same.
    fn holds(text: &str) {
        let old = Healthcheck::read(text.as_bytes());
        let toml = filled(&import(&old, "old.properties", "xmpp.secret"));
        let read =
            Config::of(&toml.replace("password_file", "password_env"), Path::new("a.toml"), |_| Some("x".into()));
        let config = read.unwrap_or_else(|errors| panic!("{text:?}\n{errors}\n{toml}"));
        let unfinished = old.interval.is_some_and(|interval| interval <= Duration::from_secs(3));
        assert_eq!(config.probe.defaults.timeout < Duration::from_secs(3), unfinished, "{toml}");
        assert_eq!(config.probe.probes, old.probes(&config.probe.defaults), "{toml}");
        assert_eq!(config.route.recipients.len(), old.users.len().max(1), "{toml}");
        assert!(!toml.contains("CANARY"), "{toml}");
    }

    proptest::proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn whatever_is_imported_loads_once_it_is_filled_in(
            lines in prop::collection::vec(
                prop_oneof![
                    "\\[(hosts|domino|mux|web 1|W\u{dc}b|\\PC{0,70})\\]",
                    "(domino|mux|web_1|w\u{fc}b)_ports=[0-9,]{0,9}",
                    "check_interval=[0-9]{1,5}",
                    "sametime_login_user=[a-b]?@?[a-b/]{0,3}",
                    "sametime_login_pw=CANARY\\PC{0,9}",
                    "sametime_notification_server=\\PC{0,9}",
                    "sametime_notification_users=(([a-b]|\\PC{1,9})[@/]?[a-b]{0,2}, ?){0,9}",
                    "[a-d]{1,2}(;[0-9,]{1,6})?",
                    "[0-9a-f:]{1,6}(;[0-9,]{1,6})?",
                    "\\PC{0,9}",
                ],
                0..25,
            ),
        ) {
            holds(&lines.join("\n"));
        }
    }

    #[test]
    fn names_are_made_of_what_people_are_called() {
        let mut names = Names::default();
        let users = [
            "Anna Admin/Ops/Example",
            "anna  admin",
            "Anna Admin 2",
            "cn=ANNA ADMIN",
            "a@b",
            " - / x",
            "日本語日本語日本語日本語日本語",
        ];
        let made: Vec<_> = users.iter().map(|user| names.name_for(user)).collect();
        let wanted = [
            "anna-admin",
            "anna-admin-2",
            "anna-admin-2-2",
            "anna-admin-3",
            "a",
            "recipient",
            "日本語日本語日本語日本語日",
        ];
        assert_eq!(made, wanted);
    }
}
