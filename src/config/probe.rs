//! `[probe]`, `[[probe.class]]` and `[[probe.target]]`.

mod depends;
mod flapping;
mod gathered;
pub(super) mod maintenance;

use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::healthcheck;
use super::item::{Formed, Item, LONG, SHORT};
use super::mailbox::severities;
use super::names::{Names, twice};
use super::reader::Section;
use super::report::quote;
use super::schema::{Law, Want, What};
use super::talk;
use crate::model::{BadServer, ClassName, GroupName, NAME_FORM, Span};
use crate::probe::{
    Allow, Allowed, BUILT_IN, Class, Healthcheck, Listed, Lists, OWN_LABELS, Probe, Rules, Settings, built_in_ports,
};
use depends::Depends;
use gathered::Gathered;

const DAY: Duration = Duration::from_secs(86_400);
const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=DAY;
const RETRY_INTERVAL: RangeInclusive<Duration> = SHORT..=DAY;
const TIMEOUT: RangeInclusive<Duration> = SHORT..=Duration::from_secs(300);
const REMIND: RangeInclusive<Duration> = Duration::from_secs(60)..=LONG;
/// Ports of one machine.
const MOST_CONNECTIONS: usize = 65_535;

impl Formed for ClassName {
    const FORM: Option<&'static str> = Some(NAME_FORM);
}

/// Reads `[probe]`. Without `names`, which groups there are is not looked at: the file may be for the probe alone.
pub(super) fn read(section: &Section<'_, '_>, names: Option<&Names>) -> Option<Settings> {
    let defaults = rules(section, Base::Example, names);
    let concurrency = section.value("concurrency").and_then(|item| item.number(1..=MOST_CONNECTIONS));
    let remind = section.value("remind").and_then(|item| item.span(REMIND));
    let allow = section.value("allow").and_then(|item| item.each(allowed));
    let plain_item = section.value("targets");
    let plain = plain_item.as_ref().and_then(|item| item.each(with_ports));
    let base = Base::Defaults(defaults.as_ref());
    let class_tables = section.tables("class");
    let class_names = class_names(&class_tables);
    let classes: Vec<_> =
        class_tables.iter().zip(class_names).map(|(table, name)| class(table, name, base, names)).collect();
    let target_tables = section.tables("target");
    let targets: Vec<_> = target_tables.iter().map(|table| target(table, base, names)).collect();

    let healthcheck = section.optional("healthcheck").map(|item| (healthcheck::given(&item), item));

    let mut gathered = Gathered::new(section.reader);
    if let (Some((Some((_, old)), item)), Some(defaults)) = (&healthcheck, &defaults) {
        warn_of_short_interval(item, old, defaults);
        let probes = old.probes(defaults);
        gathered.add(item.line, &item.key, probes.len(), probes.into_iter());
    }
    for (table, (class, rules)) in
        class_tables.iter().zip(&classes).filter_map(|(table, read)| Some((table, read.as_ref()?)))
    {
        gathered.add(table.line, &table.label, class.size(), class.probes(rules));
    }
    if let (Some(item), Some(plain), Some(defaults)) = (&plain_item, &plain, &defaults) {
        let size = plain.iter().map(|host| host.ports.len()).sum();
        gathered.add(item.line, &item.key, size, plain.iter().flat_map(|host| host.probes(defaults)));
    }
    for (table, (host, rules)) in
        target_tables.iter().zip(&targets).filter_map(|(table, read)| Some((table, read.as_ref()?)))
    {
        gathered.add(table.line, &table.label, host.ports.len(), host.probes(rules));
    }
    let probes = gathered.merged();
    let of_classes = class_tables.iter().zip(&classes).filter_map(|(table, read)| {
        let (class, rules) = read.as_ref()?;
        Some(Depends { table, parents: &rules.depends_on, targets: class.targets().collect() })
    });
    let of_targets = target_tables.iter().zip(&targets).filter_map(|(table, read)| {
        let (host, rules) = read.as_ref()?;
        Some(Depends { table, parents: &rules.depends_on, targets: host.targets().collect() })
    });
    let depends: Vec<Depends<'_, '_, '_>> = of_classes.chain(of_targets).collect();
    let all_read = classes.iter().all(Option::is_some) && targets.iter().all(Option::is_some) && plain.is_some();
    let depends = if all_read { depends::check(&depends, &probes) } else { None };
    class_tables.into_iter().chain(target_tables).for_each(Section::done);
    let maintenance = maintenance::read(section, &probes);

    let lists = Lists {
        healthcheck: match healthcheck {
            Some((read, _)) => Some(read?.0),
            None => None,
        },
        classes: classes.into_iter().collect::<Option<_>>()?,
        plain: plain?,
        targets: targets.into_iter().collect::<Option<_>>()?,
    };
    let concurrency = concurrency?;
    warn_if_late(section, &probes, concurrency);
    let allow = Allow(allow?);
    depends?;
    Some(Settings {
        probes,
        concurrency,
        remind: remind?,
        allow,
        defaults: defaults?,
        maintenance: maintenance?,
        lists,
    })
}

/// What counts where a table says nothing.
#[derive(Clone, Copy)]
enum Base<'d> {
    /// The documented defaults: this is `[probe]` itself.
    Example,
    /// What `[probe]` says; `None`: it is wrong, and this was told.
    Defaults(Option<&'d Rules>),
}

fn rules(section: &Section<'_, '_>, base: Base<'_>, names: Option<&Names>) -> Option<Rules> {
    let (get, unsaid): (fn(_, _) -> _, _) = match base {
        Base::Example => (Section::value, None),
        Base::Defaults(rules) => (Section::optional, rules),
    };
    let get = |key| get(section, key);
    let span = |key, allowed, unsaid| get(key).map_or(unsaid, |item: Item<'_, '_>| item.span(allowed));
    let interval = span("interval", INTERVAL, unsaid.map(|rules| rules.interval));
    let attempts = get("attempts").map_or(unsaid.map(|rules| rules.attempts), |item| {
        item.number(1..=100).and_then(|attempts| u32::try_from(attempts).ok())
    });
    let retry_interval = span("retry_interval", RETRY_INTERVAL, unsaid.map(|rules| rules.retry_interval));
    let timeout = span("timeout", TIMEOUT, unsaid.map(|rules| rules.timeout));
    let severity = get("severity").map_or(unsaid.map(|rules| rules.severity), |item| item.choice(&severities()));
    let groups =
        get("groups").map_or(unsaid.map(|rules| rules.groups.clone()), |item| item.each(|item| group(item, names)));
    let flapping = flapping::read(section, get, unsaid.map(|rules| rules.flapping));
    let labels = labels(section, unsaid.map_or(&[], |rules| &rules.labels));
    refuse_long_timeout(section, timeout?, interval?)?;
    Some(Rules {
        interval: interval?,
        attempts: attempts?,
        retry_interval: retry_interval?,
        timeout: timeout?,
        severity: severity?,
        groups: groups?,
        labels: labels?,
        flapping: flapping?,
        depends_on: Vec::new(),
        talk: None,
    })
}

/// A target is never probed twice at a time.
fn refuse_long_timeout(section: &Section<'_, '_>, timeout: Duration, interval: Duration) -> Option<()> {
    if timeout < interval {
        return Some(());
    }
    let line = ["timeout", "interval"].into_iter().find_map(|key| section.line_of_key(key)).or(section.line);
    section.reader.error(
        line,
        &section.key("timeout"),
        format!("{} is not shorter than interval ({})", quote(&Span(timeout).to_string()), Span(interval)),
        "lower it, or raise interval: one probe has to end before the next begins",
    );
    None
}

/// The same, where the interval is that of the old health checker's file, which knows no time-out.
fn warn_of_short_interval(item: &Item<'_, '_>, old: &Healthcheck, defaults: &Rules) {
    let Rules { interval, timeout, .. } = old.rules(defaults);
    if timeout < defaults.timeout {
        let (interval, given, timeout) = (interval.as_secs(), Span(defaults.timeout), Span(timeout));
        let wrong =
            format!("its Check_Interval={interval} is not longer than timeout ({given}): its targets get {timeout}");
        item.reader.warn(item.line, &item.key, wrong, "raise it, or lower timeout");
    }
}

fn group(item: &Item<'_, '_>, names: Option<&Names>) -> Option<GroupName> {
    match names {
        Some(names) => names.group(item),
        None => match item.text()?.trim_start_matches('@').parse() {
            Ok(name) => Some(name),
            Err(err) => item.fail(format!("{err}"), ""),
        },
    }
}

/// Its own, and of the others those whose names it does not have; by name.
fn labels(section: &Section<'_, '_>, others: &[(String, String)]) -> Option<Vec<(String, String)>> {
    let table = section.table("labels");
    table.law(Law::new(What::None(OWN_LABELS.to_vec())));
    let mut labels: BTreeMap<String, String> = others.iter().cloned().collect();
    let mut fine = true;
    for (name, item) in table.any() {
        match label(&name, &item) {
            Some(value) => _ = labels.insert(name, value),
            None => fine = false,
        }
    }
    fine.then(|| labels.into_iter().collect())
}

fn label(name: &str, item: &Item<'_, '_>) -> Option<String> {
    if OWN_LABELS.contains(&name) {
        return item.fail("is a label that each alert of the probe has by itself", "call the label otherwise");
    }
    if name.trim().is_empty() || name.starts_with("mailbell.") || name.chars().any(char::is_control) {
        return item.fail("is no name of a label", "write one such as site; those with mailbell. are mailbell's own");
    }
    item.some_text().map(str::to_owned)
}

/// The name of each class. In alerts and routes `Web` and `web` would be two.
fn class_names(tables: &[Section<'_, '_>]) -> Vec<Option<ClassName>> {
    let mut seen: BTreeMap<String, Option<usize>> = BTreeMap::new();
    let mut read = |section: &Section<'_, '_>| {
        let item = section.required("name", "name = \"NAME\"")?;
        let name: ClassName = item.parse()?;
        if let Some(first) = seen.insert(name.as_str().to_lowercase(), section.line) {
            return item.fail(format!("{}: case does not count", twice(first)), "give each class a name of its own");
        }
        Some(name)
    };
    tables.iter().map(&mut read).collect()
}

fn class(
    section: &Section<'_, '_>,
    name: Option<ClassName>,
    base: Base<'_>,
    names: Option<&Names>,
) -> Option<(Class, Rules)> {
    let given = section.optional("ports").map(|item| {
        let ports = item.each(|item| item.number(1..=65_535).and_then(|port| u16::try_from(port).ok()))?;
        let mut seen = HashSet::new();
        let ports = ports.into_iter().filter(|port| seen.insert(*port)).collect();
        item.filled(ports, "is empty: nothing would be probed", "name at least one, or leave the key out")
    });
    let hosts = section.required("hosts", "hosts = [\"HOST\", \"HOST:PORT,PORT\"]").and_then(|item| {
        let hosts = item.each(host)?;
        if hosts.is_empty() {
            item.reader.warn(item.line, &item.key, "is empty: nothing is probed", "name the hosts of the class");
        }
        Some(hosts)
    });
    let rules = rules(section, base, names);
    let depends_on = depends::read(section);
    let talk = talk::read(section);
    let (name, hosts) = (name?, hosts?);
    let ports = match given {
        Some(ports) => ports?,
        None => usual_ports(section, &name, &hosts)?,
    };
    Some((Class { name, ports, hosts }, Rules { talk: talk?, depends_on: depends_on?, ..rules? }))
}

/// The ports of a built-in class; none, where every host has its own.
fn usual_ports(section: &Section<'_, '_>, name: &ClassName, hosts: &[Listed]) -> Option<Vec<u16>> {
    if let Some(ports) = built_in_ports(name.as_str()) {
        return Some(ports.to_vec());
    }
    let Some(bare) = hosts.iter().find(|host| host.ports.is_empty()) else { return Some(Vec::new()) };
    let wrong = format!("is needed: `{name}` is no built-in class, and {} has no ports of its own", bare.host);
    let mend = format!("write ports = [80, 443]; built in are {}", BUILT_IN.join(", "));
    section.reader.error(section.line, &section.key("ports"), wrong, mend);
    None
}

fn target(section: &Section<'_, '_>, base: Base<'_>, names: Option<&Names>) -> Option<(Listed, Rules)> {
    let address = section.required("address", "address = \"HOST:PORT\"").and_then(|item| with_ports(&item));
    let rules = rules(section, base, names);
    let depends_on = depends::read(section);
    let talk = talk::read(section);
    Some((address?, Rules { talk: talk?, depends_on: depends_on?, ..rules? }))
}

/// A host, with ports or without.
fn host(item: &Item<'_, '_>) -> Option<Listed> {
    item.wants(Want::like(r"^(\[[0-9A-Fa-f:.]+\]|[0-9A-Fa-f:.]+|[A-Za-z0-9._\-]+)(:[ 0-9,]+)?$"));
    match item.some_text()?.parse() {
        Ok(host) => Some(host),
        Err(BadServer { wrong, allowed }) => item.fail(wrong, allowed),
    }
}

/// A host with ports.
fn with_ports(item: &Item<'_, '_>) -> Option<Listed> {
    item.wants(Want::like(r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+):[ 0-9,]+$"));
    match item.some_text()?.parse::<Listed>() {
        Ok(host) if host.ports.is_empty() => {
            let mend = "write HOST:PORT, such as \"db1.example.org:5432\" or \"[2001:db8::1]:443\"";
            item.fail(format!("{} has no port", quote(host.host.as_str())), mend)
        }
        Ok(host) => Some(host),
        Err(BadServer { wrong, allowed }) => item.fail(wrong, allowed),
    }
}

/// Ports of a network.
fn allowed(item: &Item<'_, '_>) -> Option<Allowed> {
    item.wants(Want::like(r"^(\[[0-9A-Fa-f:.]+(/[0-9]+)?\]|[0-9.]+(/[0-9]+)?):(\*|[ 0-9,\-]+)$"));
    match item.some_text()?.parse() {
        Ok(allowed) => Some(allowed),
        Err(BadServer { wrong, allowed }) => item.fail(wrong, allowed),
    }
}

/// When nobody answers, each probe takes its whole time.
fn warn_if_late(section: &Section<'_, '_>, probes: &[Probe], concurrency: usize) {
    let load = |probe: &Probe| probe.rules.timeout.as_secs_f64() / probe.rules.interval.as_secs_f64();
    let needed = probes.iter().map(load).sum::<f64>().ceil();
    // As many connections as there are targets are never too few.
    if needed > concurrency as f64 {
        section.reader.warn(
            section.line_of_key("concurrency").or(section.line),
            &section.key("concurrency"),
            format!("{concurrency} is too few for {} targets: when nobody answers, probes come late", probes.len()),
            format!("raise it to {needed}, lower timeout, or raise interval"),
        );
    }
}
