//! What a class or a target is looked at for beyond the connection: `expect` and `tls`, and what belongs to them.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::connection::{ca_file, host};
use super::item::{Item, LONG};
use super::reader::Section;
use super::report::quote;
use super::schema::{Law, What};
use crate::probe::{Exchange, Expect, Talk, Tls};

/// Where `expect_bytes` is left out. As `config/mailbell.toml` has it, like the next one.
const BYTES: usize = 4096;
/// Where `certificate_warning` is left out.
const WARNING: Duration = Duration::from_secs(14 * 86_400);
/// What a server says at first is far shorter, and there are thousands of them.
const MOST_BYTES: usize = 65_536;
const WARNINGS: RangeInclusive<Duration> = Duration::ZERO..=LONG;

/// Reads them; `Some(None)`: there is none of them.
pub(super) fn read(section: &Section<'_, '_>) -> Option<Option<Arc<Talk>>> {
    let (exchange, tls) = (exchange(section), tls(section));
    let (exchange, tls) = (exchange?, tls?);
    let talk = (exchange.is_some() || tls.is_some()).then(|| Arc::new(Talk { tls, exchange }));
    Some(talk)
}

fn exchange(section: &Section<'_, '_>) -> Option<Option<Exchange>> {
    let given = section.optional("expect").map(|item| expression(&item));
    let send = optional(section, "send", |item| item.some_raw_text().map(str::to_owned));
    let most = optional(section, "expect_bytes", |item| item.number(1..=MOST_BYTES));
    let needed = needs(section, "expect", "expect = 'REGEX'", &["send", "expect_bytes"]);
    let Some(expect) = given else { return needed.map(|()| None) };
    Some(Some(Exchange { send: send?, expect: expect?, most: most?.unwrap_or(BYTES) }))
}

fn tls(section: &Section<'_, '_>) -> Option<Option<Tls>> {
    let given = section.optional("tls").map(|item| item.yes());
    let name = optional(section, "tls_name", |item| host(item, item.some_text()?));
    let ca_file = optional(section, "ca_file", ca_file);
    let warning = optional(section, "certificate_warning", |item| item.span(WARNINGS));
    let needed = needs(section, "tls", "tls = true", &["tls_name", "ca_file", "certificate_warning"]);
    let Some(yes) = given else { return needed.map(|()| None) };
    let tls = Tls { name: name?, ca_file: ca_file?, warning: warning?.unwrap_or(WARNING) };
    Some(yes?.then_some(tls))
}

/// A key that may be left out: `Some(None)`.
fn optional<'r, 'a, T>(
    section: &Section<'r, 'a>,
    key: &'static str,
    read: impl FnOnce(&Item<'r, 'a>) -> Option<T>,
) -> Option<Option<T>> {
    match section.optional(key) {
        None => Some(None),
        Some(item) => read(&item).map(Some),
    }
}

/// Where one of `keys` is given, `key` must be.
fn needs(section: &Section<'_, '_>, key: &'static str, example: &str, keys: &[&'static str]) -> Option<()> {
    for other in keys {
        section.law(Law::with(other, What::Needs(key)));
    }
    if section.line_of_key(key).is_some() {
        return Some(());
    }
    let idle = keys.iter().find_map(|other| Some((other, section.line_of_key(other)?)));
    let Some((other, line)) = idle else { return Some(()) };
    let wrong = format!("is missing: {other} means nothing without it");
    section.reader.error(Some(line), &section.key(key), wrong, format!("write {example}, or leave {other} out"));
    None
}

fn expression(item: &Item<'_, '_>) -> Option<Expect> {
    let text = item.some_raw_text()?;
    match Expect::new(text) {
        Ok(expect) => Some(expect),
        Err(why) => item.fail(
            format!("{} is no regular expression: {why}", quote(text)),
            "write one of the Rust regex syntax; (?-u:\\xff) is a byte that is no UTF-8",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;

    #[test]
    fn what_is_left_out_is_as_the_example_file_says() {
        let example = super::super::source::EXAMPLE;
        let said = [format!("#expect_bytes = {BYTES}"), format!("#certificate_warning = \"{}\"", Span(WARNING))];
        for line in said {
            assert_eq!(
                example.lines().filter(|known| **known == line).count(),
                2,
                "{line}: of a class and of a target"
            );
        }
    }
}
