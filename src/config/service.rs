//! The tables of the service itself: `[store]`, `[dispatch]`, `[operators]`, `[parse]`, `[serve]`, `[log]`.

use std::time::Duration;

use super::item::{Item, LONG, SHORT};
use super::names::Names;
use super::reader::Section;
use super::report::quote;
use super::schema::Want;
use crate::dispatch::budget::{LEAST, LONGEST_PAUSE, Limits};
use crate::model::{GroupName, Span};
use crate::{dispatch, parse, queue, telemetry};

/// `[serve]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serve {
    /// Longest wait, when the service is told to end, for what is in flight.
    pub shutdown_grace: Duration,
}

pub(super) const LOG_FORMATS: [(&str, telemetry::Format); 2] =
    [("text", telemetry::Format::Text), ("json", telemetry::Format::Json)];

const HOUR: Duration = Duration::from_secs(3600);
/// Most alerts that `history_max` may name.
const MOST_ALERTS: usize = 1_000_000_000;
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn store(section: &Section<'_, '_>) -> Option<queue::Settings> {
    let path = section.value("path").and_then(|item| Some(item.reader.path(item.some_text()?)));
    let raw_for = section.value("raw_for").and_then(|item| item.span(Duration::from_secs(60)..=LONG));
    let history_for = section.value("history_for").and_then(|item| {
        let span = item.span(DAY..=LONG)?;
        match raw_for {
            Some(raw_for) if span < raw_for => item.fail(
                format!("{} is shorter than raw_for", quote(&Span(span).to_string())),
                format!("write at least {}, or lower raw_for: a raw mail goes with its history", Span(raw_for)),
            ),
            _ => Some(span),
        }
    });
    let reserve = section.value("reserve").and_then(|item| item.size(1 << 20..=1 << 40));
    let history_max = section.value("history_max").and_then(|item| item.number(0..=MOST_ALERTS));
    let (path, raw_for, history_for, reserve) = (path?, raw_for?, history_for?, reserve?);
    Some(queue::Settings { path, raw_for, history_for, history_max: history_max? as u64, reserve })
}

/// `[operators]`: who is told of trouble, and where alerts go that nobody asked for.
pub(super) struct Operators {
    pub(super) group: GroupName,
    pub(super) default_group: Option<GroupName>,
    command: Vec<String>,
    command_after: Duration,
    notice_every: Duration,
}

pub(super) fn operators(section: &Section<'_, '_>, names: &Names) -> Option<Operators> {
    let group = section
        .required("group", "group = \"NAME\" (the group that is told of what goes wrong)")
        .and_then(|item| names.group(&item));
    let default_group = section.optional("default_group").and_then(|item| names.group(&item));
    let command = section.value("command").and_then(|item| command(&item));
    let command_after = section.value("command_after").and_then(|item| item.span(SHORT..=24 * HOUR));
    let notice_every = section.value("notice_every").and_then(|item| item.span(SHORT..=24 * HOUR));
    Some(Operators {
        group: group?,
        default_group,
        command: command?,
        command_after: command_after?,
        notice_every: notice_every?,
    })
}

/// A program by its whole path: no shell, and nobody's PATH, stands between.
fn command(item: &Item<'_, '_>) -> Option<Vec<String>> {
    item.wants(Want::First("^/"));
    let words = item.each(|item| item.text().map(str::to_owned))?;
    let Some(program) = words.first() else { return Some(words) };
    if !std::path::Path::new(program).is_absolute() {
        return item.fail(
            format!("{} is no absolute path", quote(program)),
            "write the program with its whole path and each argument as a text of its own: [\"/usr/bin/logger\", \"-p\", \"err\"]",
        );
    }
    Some(words)
}

/// `[dispatch]` with what the operators are told; `repeat_after` belongs to routing.
pub(super) fn dispatch(
    section: &Section<'_, '_>,
    operators: Option<&Operators>,
) -> Option<(dispatch::Settings, Duration)> {
    let repeat_after = section.value("repeat_after").and_then(|item| item.span(SHORT..=LONG));
    let max_per_minute = section.value("max_per_minute").and_then(|item| cap(&item));
    let group_window = section.value("group_window").and_then(|item| item.span(Duration::ZERO..=LONGEST_PAUSE));
    let receipt_timeout = section.value("receipt_timeout").and_then(|item| item.span(SHORT..=24 * HOUR));
    let resend_after = section.value("resend_after").and_then(|item| {
        let span = item.span(SHORT..=24 * HOUR)?;
        match receipt_timeout {
            Some(timeout) if span < timeout => item.fail(
                format!("{} is shorter than receipt_timeout", quote(&Span(span).to_string())),
                format!("write at least {}, or lower receipt_timeout: nothing is sent again before it", Span(timeout)),
            ),
            _ => Some(span),
        }
    });
    let max_attempts = section.value("max_attempts").and_then(|item| item.number(1..=1000));
    let digest_over = section.value("digest_over").and_then(|item| item.number(1..=1000));
    let settle = section.value("settle").and_then(|item| item.span(Duration::ZERO..=HOUR));
    // A server may end the stream over a message of some 100,000 bytes.
    let text_max = section.value("text_max").and_then(|item| item.number(200..=20_000));
    let operators = operators?;
    let settings = dispatch::Settings {
        limits: Limits { max_per_minute: max_per_minute?, group_window: group_window? },
        receipt_timeout: receipt_timeout?,
        resend_after: resend_after?,
        max_attempts: u32::try_from(max_attempts?).ok()?,
        digest_over: digest_over?,
        settle: settle?,
        text_max: text_max?,
        notice_every: operators.notice_every,
        command: operators.command.clone(),
        command_after: operators.command_after,
    };
    Some((settings, repeat_after?))
}

/// Most messages in a minute. Of fewer than five none can be kept for who was not heard yet, nor for digests.
fn cap(item: &Item<'_, '_>) -> Option<u32> {
    item.wants(Want::NotNumber(1..=LEAST as usize - 1));
    let cap = item.number(0..=10_000).and_then(|n| u32::try_from(n).ok())?;
    if (1..LEAST).contains(&cap) {
        return item.fail(
            format!("`{cap}` is too few"),
            format!(
                "write at least {LEAST}, or 0 for no cap: digests, and senders who were not heard of, need a share"
            ),
        );
    }
    Some(cap)
}

pub(super) fn limits(section: &Section<'_, '_>) -> Option<parse::Limits> {
    let number = |key, most| section.value(key).and_then(|item| item.number(1..=most));
    // Bounds of what a parser may be made to do for one mail.
    let mime_depth = number("mime_depth", 100);
    let parts = number("parts", 10_000);
    let xml_depth = number("xml_depth", 1000);
    let attributes = number("attributes", 10_000);
    let text = number("text", 1 << 20);
    let alerts = number("alerts", 10_000);
    Some(parse::Limits {
        mime_depth: mime_depth?,
        parts: parts?,
        xml_depth: xml_depth?,
        attributes: attributes?,
        text: text?,
        alerts: alerts?,
    })
}

pub(super) fn serve(section: &Section<'_, '_>) -> Option<Serve> {
    let grace = section.value("shutdown_grace").and_then(|item| item.span(Duration::ZERO..=HOUR));
    Some(Serve { shutdown_grace: grace? })
}

pub(super) fn log(section: &Section<'_, '_>) -> Option<telemetry::Settings> {
    let format = section.value("format").and_then(|item| item.choice(&LOG_FORMATS));
    let filter = section.value("filter").and_then(|item| filter(&item));
    Some(telemetry::Settings { format: format?, filter: filter? })
}

fn filter(item: &Item<'_, '_>) -> Option<String> {
    let text = item.some_text()?;
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Some(text.to_owned()),
        Err(err) => item.fail(
            format!("{} is no log filter: {err}", quote(text)),
            "write error, warn, info or debug, or by module: \"info,mailbell::xmpp=debug\"",
        ),
    }
}
