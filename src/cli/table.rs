//! Plain text for people: aligned columns, and nothing from a mail that could drive a terminal.

use std::io::{self, Write};

use jiff::Timestamp;

use crate::model::plays_tricks;

/// Longest cell, characters; the last column may be longer.
const WIDEST: usize = 40;

/// Columns as wide as their widest cell, two spaces between them.
pub(super) fn write<const N: usize>(out: &mut dyn Write, head: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let shown: Vec<[String; N]> = std::iter::once(head.map(str::to_owned))
        .chain(rows.iter().map(|row| {
            let mut n = 0;
            row.clone().map(|cell| {
                n += 1;
                if n == N { plain(&cell) } else { short(&plain(&cell)) }
            })
        }))
        .collect();
    let mut widths = [0; N];
    for row in &shown {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in &shown {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn short(text: &str) -> String {
    if text.chars().count() <= WIDEST {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(WIDEST - 1).collect();
    cut.push('…');
    cut
}

/// `name: value` lines; empty values are left out.
pub(super) fn fields(out: &mut dyn Write, fields: &[(&str, String)]) -> io::Result<()> {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 1;
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        writeln!(out, "{:<width$} {}", format!("{name}:"), plain(value))?;
    }
    Ok(())
}

/// Text from a mail, made harmless: control characters, and those that reverse the direction of writing, as escapes.
pub(super) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if plays_tricks(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// To the second, UTC.
pub(super) fn time(at: Timestamp) -> String {
    let second = Timestamp::from_second(at.as_second()).unwrap_or(at);
    second.to_string()
}

/// The same, or nothing.
pub(super) fn maybe_time(at: Option<Timestamp>) -> String {
    at.map(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_mail_drives_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\u{9b}c\nd\u{202e}e"), "a\\u{1b}[2Jb\\u{9b}c\\nd\\u{202e}e");
        assert_eq!(plain("Füße 火"), "Füße 火");
    }

    #[test]
    fn columns_are_aligned_and_bounded() {
        let mut out = Vec::new();
        let long = "x".repeat(50);
        write(
            &mut out,
            ["ID", "WHAT", "TITLE"],
            &[["1".into(), "ok".into(), long.clone()], ["22".into(), long, "t\x07".into()]],
        )
        .unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("ID  {:<40}  TITLE", "WHAT"));
        assert_eq!(lines[1], format!("1   {:<40}  {}", "ok", "x".repeat(50)));
        assert_eq!(lines[2], format!("22  {}…  t\\u{{7}}", "x".repeat(39)));
    }
}
