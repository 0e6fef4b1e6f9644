//! Lines → classes, hosts and options.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::line::{self, Line};
use super::{Fault, Healthcheck};
use crate::model::{BadServer, ClassName, Secret, quote};
use crate::probe::classes::{BUILT_IN, built_in_ports};
use crate::probe::lists::{Class, Listed, parse_port};
use crate::probe::settings::MOST_TARGETS;
use crate::probe::target::Host;

/// Longest interval, seconds.
const DAY: u64 = 86_400;
/// Most users; each becomes a recipient.
const MOST_USERS: usize = 1000;
/// Of a name that is too long for a class so many characters are kept, with the number of its line.
const KEPT: usize = 12;
/// Every key.
const KEYS: [&str; 6] = [
    "NAME_Ports",
    "Check_Interval",
    "Sametime_Notification_Users",
    "Sametime_Notification_Server",
    "Sametime_login_user",
    "Sametime_login_pw",
];

/// Reads the lines of a text.
pub(super) fn gather(text: &str, faults: Vec<Fault>) -> Healthcheck {
    let mut gathered = Gathered { faults, ..Gathered::default() };
    for (n, line) in text.lines().enumerate() {
        gathered.take(Place { line: n + 1, hides: may_hold_password(line) }, line);
    }
    gathered.finish()
}

/// Where something stands.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    line: usize,
    /// Nothing of the line is ever shown.
    hides: bool,
}

/// Anything that looks like a password's line, also where it is misspelt or in the wrong place.
fn may_hold_password(line: &str) -> bool {
    let line = line.to_lowercase();
    ["pw", "pass", "kennwort", "secret", "login"].iter().any(|word| line.contains(word))
}

/// The section that is being read.
#[derive(Debug, Clone, Copy, Default)]
enum Within {
    /// No host may stand here: `[Ports]`, `[Options]`, and what is above the first section.
    #[default]
    Keys,
    /// `[Hosts]`.
    Hosts,
    /// A class, by its place in [`Gathered::classes`].
    Class(usize),
}

/// A class while its ports are not known yet: `[Ports]` may stand below it.
#[derive(Debug)]
struct Section {
    id: Id,
    name: ClassName,
    place: Place,
    hosts: Hosts,
}

/// A list of hosts.
#[derive(Debug, Default)]
struct Hosts {
    hosts: Vec<Entry>,
    /// Where a host stands in the list; once with ports of its own, and once without.
    known: HashMap<(Host, bool), usize>,
}

#[derive(Debug)]
struct Entry {
    host: Listed,
    /// Its ports once more, to be looked up.
    ports: HashSet<u16>,
    place: Place,
}

/// A name as it is compared: its letters and digits, in lower case. `Web servers` is that of `Web_Servers_Ports`.
type Id = String;

/// A line of `[Ports]`.
#[derive(Debug)]
struct Ports {
    /// For people.
    key: String,
    ports: Vec<u16>,
    place: Place,
}

#[derive(Debug, Default)]
struct Gathered {
    within: Within,
    classes: Vec<Section>,
    by_id: HashMap<Id, usize>,
    names: HashSet<ClassName>,
    free: Hosts,
    ports: HashMap<Id, Ports>,
    /// Keys that there were, lower case, with their lines.
    seen: HashMap<String, usize>,
    read: Healthcheck,
    faults: Vec<Fault>,
    /// Further ones, which are only counted.
    more: usize,
}

impl Gathered {
    fn fault(&mut self, place: Place, wrong: impl Into<String>, mend: impl Into<String>) {
        if self.faults.len() < Healthcheck::MOST_FAULTS {
            self.faults.push(Fault { line: place.line, wrong: wrong.into(), mend: mend.into() });
        } else {
            self.more += 1;
        }
    }

    fn take(&mut self, place: Place, text: &str) {
        match line::read(text) {
            Line::Blank => {}
            Line::Section { name, closed } => self.section(place, name, closed),
            Line::Password(value) => {
                self.tell_repeated(place, "sametime_login_pw", "the password".into());
                self.read.password = (!value.is_empty()).then(|| Secret::new(value.to_owned()));
            }
            Line::Pair { key, value } => self.pair(place, key, value),
            Line::Text(text) => self.host(place, text),
        }
    }

    fn section(&mut self, place: Place, name: &str, closed: bool) {
        if !closed {
            let wrong = format!("{} does not stand alone: it was read as a section", shown(place, name));
            self.fault(place, wrong, "write [NAME] on a line of its own");
        }
        let id = id_of(name);
        self.within = match id.as_str() {
            "ports" | "options" => Within::Keys,
            "hosts" => Within::Hosts,
            _ => self.class(place, name, id).map_or(Within::Keys, Within::Class),
        };
    }

    /// The class of this name; a section may be there twice.
    fn class(&mut self, place: Place, written: &str, id: Id) -> Option<usize> {
        if let Some(known) = self.by_id.get(&id) {
            return Some(*known);
        }
        let name = self.free_name(place, written, &id)?;
        if name.as_str() != written.to_lowercase() && !place.hides {
            let wrong = format!("the class of the section {} is called {name}", quote(written));
            self.fault(place, wrong, "use this name in routes");
        }
        let n = self.classes.len();
        self.by_id.insert(id.clone(), n);
        self.names.insert(name.clone());
        self.classes.push(Section { id, name, place, hosts: Hosts::default() });
        Some(n)
    }

    /// The name of a new class: that of its section in lower case, with - for what no name holds.
    fn free_name(&self, place: Place, written: &str, id: &str) -> Option<ClassName> {
        if let Some(name) = BUILT_IN.into_iter().find(|name| *name == id) {
            return name.parse().ok();
        }
        let legal = |c: char| if c.is_alphanumeric() || "._-+".contains(c) { c } else { '-' };
        let whole: String = written.to_lowercase().chars().map(legal).collect();
        let whole = whole.trim_matches('-');
        let short: String = if whole.is_empty() { "section".into() } else { whole.chars().take(KEPT).collect() };
        let names = [whole.to_owned(), format!("{short}-{}", place.line), format!("section-{}", place.line)];
        names.iter().filter_map(|name| name.parse().ok()).find(|name| !self.names.contains(name))
    }

    fn pair(&mut self, place: Place, key: &str, value: &str) {
        let lower = key.to_lowercase();
        let some = || Some(value.to_owned()).filter(|value| !value.is_empty());
        match lower.as_str() {
            "check_interval" => match self.interval(place, value) {
                Ok(interval) => self.read.interval = interval,
                Err(()) => return,
            },
            "sametime_notification_users" => self.read.users = self.users(place, value),
            "sametime_notification_server" => self.read.server = some(),
            "sametime_login_user" => self.read.login_user = some(),
            _ => match lower.strip_suffix("_ports").map(id_of).filter(|id| !id.is_empty()) {
                Some(id) => {
                    let ports = self.port_list(place, value);
                    self.tell_repeated(place, &format!("{id}_ports"), shown(place, key));
                    self.ports.insert(id, Ports { key: shown(place, key), ports, place });
                    return;
                }
                None => {
                    let wrong = format!("{} is no key: it was left out", shown(place, key));
                    return self.fault(place, wrong, format!("known are {}", KEYS.join(", ")));
                }
            },
        }
        self.tell_repeated(place, &lower, quote(key));
    }

    /// Of a key that is there twice the last counts.
    fn tell_repeated(&mut self, place: Place, key: &str, shown: String) {
        if let Some(first) = self.seen.insert(key.to_owned(), place.line) {
            self.fault(place, format!("{shown} takes the place of that on line {first}"), "write it once");
        }
    }

    /// `None`: it is empty.
    fn interval(&mut self, place: Place, value: &str) -> Result<Option<Duration>, ()> {
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        match value.parse() {
            Ok(seconds) if digits && (1..=DAY).contains(&seconds) => Ok(Some(Duration::from_secs(seconds))),
            _ if value.is_empty() => Ok(None),
            _ => {
                let wrong = format!("{} is no interval: it was left out", shown(place, value));
                self.fault(place, wrong, format!("write whole seconds, from 1 to {DAY}"));
                Err(())
            }
        }
    }

    fn users(&mut self, place: Place, value: &str) -> Vec<String> {
        let mut seen = HashSet::new();
        let mut users = Vec::new();
        for user in value.split(',').map(str::trim).filter(|user| !user.is_empty()) {
            if users.len() == MOST_USERS {
                let wrong = format!("there are more than {MOST_USERS} users: the rest was left out");
                self.fault(place, wrong, "name fewer");
                break;
            }
            match seen.insert(user) {
                true => users.push(user.to_owned()),
                false => self.fault(place, format!("{} is there twice", shown(place, user)), "name everybody once"),
            }
        }
        users
    }

    /// The good ones of `80,443`, each once.
    fn port_list(&mut self, place: Place, text: &str) -> Vec<u16> {
        let mut seen = HashSet::new();
        let mut ports = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match parse_port(part) {
                Ok(port) if seen.insert(port) => ports.push(port),
                Ok(_) => {}
                Err(BadServer { allowed, .. }) => {
                    self.fault(place, format!("{} is no port: it was left out", shown(place, part)), allowed);
                }
            }
        }
        ports
    }

    fn host(&mut self, place: Place, text: &str) {
        let (name, list) = text.split_once(';').map_or((text, None), |(name, list)| (name.trim(), Some(list)));
        if matches!(self.within, Within::Keys) {
            let wrong = format!("{} is no KEY=VALUE: it was left out", shown(place, text));
            return self.fault(place, wrong, "hosts stand in a section of their class, or in [Hosts]");
        }
        let Ok(host) = name.parse() else {
            let wrong = format!("{} is no host: it was left out", shown(place, name));
            return self.fault(place, wrong, "write HOST, or with ports of its own HOST;PORT,PORT");
        };
        let wants_ports = list.is_some_and(|list| !list.trim().is_empty());
        let ports = self.port_list(place, list.unwrap_or_default());
        if ports.is_empty() && (wants_ports || matches!(self.within, Within::Hosts)) {
            let wrong = format!("{} has no port here: it was left out", shown(place, name));
            return self.fault(place, wrong, "write HOST;PORT,PORT, such as db1.example.org;1352,80");
        }
        let listed = Listed { host, ports };
        let class = match self.within {
            Within::Class(n) => self.classes.get_mut(n),
            _ => None,
        };
        let hosts = class.map_or(&mut self.free, |class| &mut class.hosts);
        if let Some(first) = hosts.add(listed, place) {
            let wrong = format!("{} is in this section already, on line {first}", shown(place, name));
            self.fault(place, wrong, "write it once, with all its ports");
        }
    }

    fn finish(mut self) -> Healthcheck {
        let mut left = MOST_TARGETS;
        for class in std::mem::take(&mut self.classes) {
            let read = self.resolve(class, &mut left);
            self.read.classes.extend(read);
        }
        let free = std::mem::take(&mut self.free);
        self.read.hosts = self.bounded(free, 0, &mut left);
        // The usual classes may be listed all of them, and no host of some.
        let mut unused = std::mem::take(&mut self.ports);
        unused.retain(|id, _| !BUILT_IN.contains(&id.as_str()));
        for Ports { key, place, .. } in unused.into_values() {
            let wrong = format!("{key} is for no class: there is no such section");
            self.fault(place, wrong, "add the section with its hosts, or leave the line out");
        }
        self.faults.sort();
        if let (Some(last), more @ 1..) = (self.faults.last(), self.more) {
            let wrong = format!("{more} more faults are not shown");
            self.faults.push(Fault { line: last.line, wrong, mend: "mend these first".into() });
        }
        Healthcheck { faults: self.faults, ..self.read }
    }

    /// A class with its ports; `None`: there is no host in it.
    fn resolve(&mut self, class: Section, left: &mut usize) -> Option<Class> {
        let Section { id, name, place, mut hosts } = class;
        let listed = self.ports.remove(&id).map(|ports| ports.ports).filter(|ports| !ports.is_empty());
        let usual = || built_in_ports(name.as_str()).map(<[u16]>::to_vec);
        let ports = listed.or_else(usual).unwrap_or_default();
        if ports.is_empty() {
            let before = hosts.hosts.len();
            hosts.hosts.retain(|entry| !entry.host.ports.is_empty());
            let bare = before - hosts.hosts.len();
            if bare > 0 {
                let name = shown(place, name.as_str());
                let wrong = format!("{name} is a class without ports: {bare} of its hosts were left out");
                self.fault(place, wrong, "write NAME_Ports=PORT,PORT in [Ports], with the name of this section");
            }
        }
        let hosts = self.bounded(hosts, ports.len(), left);
        (!hosts.is_empty()).then_some(Class { name, ports, hosts })
    }

    /// The hosts that fit; `of_class`: how many ports those have that have none of their own.
    fn bounded(&mut self, hosts: Hosts, of_class: usize, left: &mut usize) -> Vec<Listed> {
        let mut fit = Vec::new();
        for Entry { host, place, .. } in hosts.hosts {
            let size = if host.ports.is_empty() { of_class } else { host.ports.len() };
            let Some(rest) = left.checked_sub(size) else {
                let wrong = format!("with this host there are more than {MOST_TARGETS} targets: it was left out");
                self.fault(place, wrong, "check fewer ports or hosts");
                continue;
            };
            *left = rest;
            fit.push(host);
        }
        fit
    }
}

impl Hosts {
    /// Adds a host; the line on which it is already, if it is. Its own ports are taken together.
    fn add(&mut self, listed: Listed, place: Place) -> Option<usize> {
        let key = (listed.host.clone(), listed.ports.is_empty());
        if let Some(known) = self.known.get(&key).and_then(|at| self.hosts.get_mut(*at)) {
            known.host.ports.extend(listed.ports.into_iter().filter(|port| known.ports.insert(*port)));
            return Some(known.place.line);
        }
        self.known.insert(key, self.hosts.len());
        self.hosts.push(Entry { ports: listed.ports.iter().copied().collect(), host: listed, place });
        None
    }
}

fn id_of(name: &str) -> Id {
    name.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect()
}

/// Text of the file, where it may be shown.
fn shown(place: Place, text: &str) -> String {
    if place.hides { "what stands here".into() } else { quote(text) }
}
