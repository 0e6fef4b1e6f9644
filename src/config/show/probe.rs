//! `[probe]` as TOML.

use super::{Writer, list, quoted};
use crate::config::probe::maintenance::DAYS;
use crate::probe::{Maintenance, Rules, Settings, Talk, When};

/// Writes it, with its classes and targets, each with all its rules, and its windows.
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
    probe.maintenance.iter().for_each(|window| maintenance(out, window));
}

fn maintenance(out: &mut Writer, window: &Maintenance) {
    out.table("[[probe.maintenance]]");
    out.some("name", window.name.as_ref());
    let covers = &window.covers;
    if !covers.classes.is_empty() {
        out.list("classes", &covers.classes);
    }
    if !covers.hosts.is_empty() {
        out.list("hosts", &covers.hosts);
    }
    if !covers.targets.is_empty() {
        out.list("targets", &covers.targets);
    }
    match &window.when {
        When::Once { from, until } => {
            out.text("from", from);
            out.text("until", until);
        }
        When::Recurring { days, at, lasts, zone: (zone, _) } => {
            let word = |day| DAYS.iter().find(|(_, known)| known == day).map(|(word, _)| *word);
            out.list("days", days.iter().filter_map(word));
            out.text("at", at.strftime("%H:%M"));
            out.span("for", *lasts);
            out.text("time_zone", zone);
        }
    }
}

fn rules(out: &mut Writer, rules: &Rules) {
    out.span("interval", rules.interval);
    out.plain("attempts", rules.attempts);
    out.span("retry_interval", rules.retry_interval);
    out.span("timeout", rules.timeout);
    out.text("severity", rules.severity);
    out.plain("flapping", rules.flapping.on);
    out.plain("flap_start", rules.flapping.start);
    out.plain("flap_stop", rules.flapping.stop);
    out.plain("groups", list(&rules.groups));
    let labels = rules.labels.iter().map(|(name, value)| format!("{} = {}", quoted(name), quoted(value)));
    out.plain("labels", format!("{{ {} }}", labels.collect::<Vec<_>>().join(", ")));
    if !rules.depends_on.is_empty() {
        out.list("depends_on", &rules.depends_on);
    }
    rules.talk.iter().for_each(|of| talk(out, of));
}

fn talk(out: &mut Writer, talk: &Talk) {
    if let Some(exchange) = &talk.exchange {
        out.plain("expect", one_line(exchange.expect.as_str()));
        exchange.send.iter().for_each(|send| out.plain("send", one_line(send)));
        out.plain("expect_bytes", exchange.most);
    }
    if let Some(tls) = &talk.tls {
        out.plain("tls", true);
        out.some("tls_name", tls.name.as_ref());
        tls.ca_file.iter().for_each(|path| out.path("ca_file", path));
        out.span("certificate_warning", tls.warning);
    }
}

/// A text that may hold line ends, on one line: JSON's escapes are TOML's, but for DEL.
fn one_line(text: &str) -> String {
    if !text.contains(char::is_control) {
        return quoted(text);
    }
    serde_json::to_string(text).unwrap_or_default().replace('\u{7f}', "\\u007f")
}
