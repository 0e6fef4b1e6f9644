//! Characters that a line for people must not carry as they are.

/// Would it break a line, move a terminal's cursor, or reorder what stands around it? Control characters (line and paragraph
/// separators among them) and Unicode's Bidi_Control. Text from outside is shown with these escaped or replaced.
pub fn plays_tricks(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Text from outside inside a message: on one line, not too long.
pub fn quote(text: &str) -> String {
    const MOST: usize = 60;
    let mut shown: String = text
        .chars()
        .take(MOST)
        .flat_map(|c| if plays_tricks(c) { c.escape_default().collect() } else { vec![c] })
        .collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

#[cfg(test)]
mod tests {
    use super::{plays_tricks, quote};

    #[test]
    fn quoted_text_stays_on_one_short_line() {
        assert_eq!(quote("a\nb \"c\""), "`a\\nb \"c\"`");
        assert_eq!(quote(&"x".repeat(61)), format!("`{}…`", "x".repeat(60)));
    }

    #[test]
    fn what_breaks_moves_or_reorders() {
        for c in ['\n', '\r', '\u{1b}', '\u{7f}', '\u{85}', '\u{9b}', '\u{2028}', '\u{202e}', '\u{2067}', '\u{200f}'] {
            assert!(plays_tricks(c), "{c:?}");
        }
        for c in [' ', 'a', 'ü', '漢', '👩', '\u{200d}', '\u{fffd}'] {
            assert!(!plays_tricks(c), "{c:?}");
        }
    }
}
