//! `[[mapping]]` as TOML.

use super::super::mapping::REFUSE;
use super::{Writer, list, quoted};
use crate::parse::{Choice, Mapping, State, Template, TimeFormat};

/// Writes one.
pub(super) fn write(out: &mut Writer, mapping: &Mapping) {
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
    for (key, list_of) in [
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
        templates(out, key, list_of);
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
        templates(out, "value", &choice.value);
        out.plain("table", table);
    }
    out.text("default", choice.default.as_ref().map_or(REFUSE, word));
}

fn templates(out: &mut Writer, key: &str, templates: &[Template]) {
    if !templates.is_empty() {
        out.list(key, templates.iter().map(Template::source));
    }
}
