//! JSON for programs that people look at in a terminal too.

use std::fmt::Write;

use serde::Serialize;

use crate::model::plays_tricks;

/// The value on one line. What could drive a terminal or turn text around stands as `\u…`: the same JSON, and harmless.
///
/// # Errors
///
/// It cannot be written as JSON.
pub(super) fn line(value: &impl Serialize) -> serde_json::Result<String> {
    let raw = serde_json::to_string(value)?;
    if !raw.contains(plays_tricks) {
        return Ok(raw);
    }
    let mut shown = String::with_capacity(raw.len());
    for c in raw.chars() {
        // Such characters stand in strings only: outside of them JSON on one line has none.
        if plays_tricks(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| write!(shown, "\\u{unit:04x}").unwrap_or_default());
        } else {
            shown.push(c);
        }
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_same_json_and_plays_no_tricks() {
        let text = "a\u{202e}b\u{9b}2J\u{2028}\u{1b}\n\"\\ü";
        let line = super::line(&[text]).unwrap();
        assert_eq!(line, "[\"a\\u202eb\\u009b2J\\u2028\\u001b\\n\\\"\\\\ü\"]");
        assert_eq!(serde_json::from_str::<[String; 1]>(&line).unwrap()[0], text);
    }
}
