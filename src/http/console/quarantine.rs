//! Mails of which no alert could be read.

use std::fmt::Write as _;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use axum::response::{Redirect, Response};
use serde::Deserialize;

use super::show::{When, rough};
use super::{ACT, Frame, READ, asked, done, page};
use crate::control::Problem;
use crate::http::Door;
use crate::http::table::{Endpoint, on};
use crate::model::MessageId;
use crate::queue::QuarantineView;

const PATH: &str = "/console/quarantine";
/// Most mails of a page.
const MOST: usize = 100;
/// Most that is shown of a raw mail, bytes.
const SHOWN: usize = 256 << 10;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        on(Method::GET, PATH, READ, list),
        on(Method::GET, "/console/quarantine/{id}", READ, show),
        on(Method::POST, "/console/quarantine/{id}/replay", ACT, replay),
    ]
}

/// `quarantine.html`
#[derive(Template)]
#[template(path = "quarantine.html", config = "src/http/console/askama.toml")]
struct List {
    frame: Frame,
    rows: Vec<Row>,
    next: Option<String>,
}

/// `quarantined.html`
#[derive(Template)]
#[template(path = "quarantined.html", config = "src/http/console/askama.toml")]
struct One {
    frame: Frame,
    row: Row,
    /// `None`: it was purged.
    raw: Option<String>,
    cut: bool,
}

struct Row {
    id: i64,
    mailbox: String,
    cursor: String,
    stored: When,
    size: String,
    reasons: Vec<String>,
}

impl Row {
    fn of(frame: &Frame, of: QuarantineView) -> Self {
        Self {
            id: of.id.0,
            mailbox: of.mailbox.to_string(),
            cursor: of.cursor,
            stored: frame.when(of.stored),
            size: rough(of.size),
            reasons: of.reasons,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Which {
    after: Option<i64>,
}

async fn list(
    State(door): State<Door>,
    frame: Frame,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Problem> {
    frame.everything()?;
    let found = door.desk.quarantine(asked(which)?.after.map(MessageId), MOST).await?;
    let last = found.last().filter(|_| found.len() == MOST).map(|last| last.id);
    page(&List {
        rows: found.into_iter().map(|one| Row::of(&frame, one)).collect(),
        next: last.map(|id| format!("{PATH}?after={id}")),
        frame,
    })
}

async fn show(State(door): State<Door>, frame: Frame, Path(id): Path<String>) -> Result<Response, Problem> {
    frame.everything()?;
    let (view, raw) = kept(&door, &id).await?;
    let cut = raw.as_ref().is_some_and(|raw| raw.len() > SHOWN);
    let raw = raw.map(|raw| readable(raw.get(..SHOWN).unwrap_or(&raw)));
    page(&One { row: Row::of(&frame, view), raw, cut, frame })
}

async fn replay(State(door): State<Door>, frame: Frame, Path(id): Path<String>) -> Result<Redirect, Problem> {
    frame.everything()?;
    let (view, _) = kept(&door, &id).await?;
    door.desk.replay(view.id).await?;
    door.stored.notify_one();
    Ok(done("", PATH, "replayed"))
}

async fn kept(door: &Door, id: &str) -> Result<(QuarantineView, Option<Vec<u8>>), Problem> {
    let missing = || Problem::missing("this mail is not in quarantine any more");
    let id = id.parse().map(MessageId).map_err(|_| missing())?;
    door.desk.quarantined(id).await?.ok_or_else(missing)
}

/// A raw mail as text: what is no text is shown as what it is, and does nothing.
fn readable(raw: &[u8]) -> String {
    let mut text = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\t' => text.push(c),
                '\r' => {}
                // Pictures of control characters stand in their order.
                '\0'..='\x1f' => text.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')),
                '\x7f' => text.push('\u{2421}'),
                // They would turn the text around, or hide in it.
                '\u{80}'..='\u{9f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}' => drop(write!(text, "\\u{{{:x}}}", u32::from(c))),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_mail_is_text_and_nothing_else() {
        let raw = "Subject: a\r\n\r\n\u{1b}[2J \u{202e}evil \u{7} ä\tx".as_bytes();
        assert_eq!(readable(raw), "Subject: a\n\n\u{241b}[2J \\u{202e}evil \u{2407} ä\tx");
        assert_eq!(readable(b"a\xff\xfe b"), "a\\xff\\xfe b");
    }
}
