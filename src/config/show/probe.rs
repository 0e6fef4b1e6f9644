//! `[probe]` as TOML.

use super::{Writer, list, quoted};
use crate::probe::{Rules, Settings};

/// Writes it, with its classes and targets, each with all its rules.
pub(super) fn write(out: &mut Writer, probe: &Settings) {
    out.table("[probe]");
    probe.lists.healthcheck.iter().for_each(|path| out.path("healthcheck", path));
    rules(out, &probe.defaults);
    out.plain("concurrency", probe.concurrency);
    out.span("remind", probe.remind);
    out.list("allow", &probe.allow.0);
    out.list("targets", &probe.lists.plain);
    for (class, of_class) in &probe.lists.classes {
        out.table("[[probe.class]]");
        out.text("name", &class.name);
        if !class.ports.is_empty() {
            let ports: Vec<_> = class.ports.iter().map(u16::to_string).collect();
            out.plain("ports", format!("[{}]", ports.join(", ")));
        }
        out.list("hosts", &class.hosts);
        rules(out, of_class);
    }
    for (target, of_target) in &probe.lists.targets {
        out.table("[[probe.target]]");
        out.text("address", target);
        rules(out, of_target);
    }
}

fn rules(out: &mut Writer, rules: &Rules) {
    out.span("interval", rules.interval);
    out.plain("attempts", rules.attempts);
    out.span("retry_interval", rules.retry_interval);
    out.span("timeout", rules.timeout);
    out.text("severity", rules.severity);
    out.plain("groups", list(&rules.groups));
    let labels = rules.labels.iter().map(|(name, value)| format!("{} = {}", quoted(name), quoted(value)));
    out.plain("labels", format!("{{ {} }}", labels.collect::<Vec<_>>().join(", ")));
}
