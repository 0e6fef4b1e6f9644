//! Text from outside, made fit for a message; times and durations as people read them.

pub use crate::model::{human, when};

/// Parameters of a terminal escape sequence are skipped with it up to so many characters.
const ESCAPE: usize = 32;

/// Removes what has no place in a message: characters that XML 1.0 §2.2 forbids, terminal escape sequences and other control
/// characters, marks that reorder or hide text (bidi controls, zero-width ones). Every line break becomes `\n`; spaces at the
/// end of lines, and more than one empty line in a row, go.
pub fn clean(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut empty = 0;
    for line in strip(text).split('\n') {
        let line = line.trim_end();
        empty = if line.is_empty() { empty + 1 } else { 0 };
        if empty < 2 {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n").trim_matches('\n').to_owned()
}

/// The same on one line: all white space becomes single spaces. At most `max` characters, an ellipsis included.
pub fn one_line(text: &str, max: usize) -> String {
    let line = strip(text).split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= max {
        return line;
    }
    let kept: String = line.chars().take(max.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// The first `max` characters; what is left out is counted.
pub fn cap(text: &str, max: usize, id: &dyn std::fmt::Display) -> String {
    let Some((cut, _)) = text.char_indices().nth(max) else { return text.to_owned() };
    let (kept, rest) = text.split_at(cut);
    format!("{kept}… ({} more characters, {id})", rest.chars().count())
}

fn strip(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => {
                chars.next_if_eq(&'\n');
                kept.push('\n');
            }
            '\u{0085}' | '\u{2028}' | '\u{2029}' | '\u{000B}' | '\u{000C}' => kept.push('\n'),
            '\u{1b}' => {
                if chars.next_if_eq(&'[').is_some() {
                    skip_escape(&mut chars);
                }
            }
            '\u{9b}' => skip_escape(&mut chars),
            '\t' | '\n' => kept.push(c),
            c if c.is_control() || hides_or_reorders(c) => {}
            '\u{fffe}' | '\u{ffff}' => {}
            c => kept.push(c),
        }
    }
    kept
}

/// ECMA-48 §5.4: parameter bytes, then one final byte. What does not look like that is text, and stays.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    for _ in 0..ESCAPE {
        if chars.next_if(|c| matches!(c, '\u{20}'..='\u{3f}')).is_none() {
            break;
        }
    }
    chars.next_if(|c| matches!(c, '\u{40}'..='\u{7e}'));
}

/// Unicode's Bidi_Control characters, zero-width ones but the joiners (scripts need these), and the soft hyphen.
fn hides_or_reorders(c: char) -> bool {
    matches!(
        c,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{00ad}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_bidi_characters_go_and_text_stays() {
        assert_eq!(clean("a\0b\u{8}c\u{7f}\u{9f}d\u{fffe}\u{ffff}"), "abcd");
        assert_eq!(clean("\u{1b}[31;1mred\u{1b}[0m \u{9b}2Jtext\u{1b}c"), "red textc");
        assert_eq!(clean("pay \u{202e}gnp.exe\u{202c}\u{2066}\u{200f}"), "pay gnp.exe");
        assert_eq!(clean("emoji 👩\u{200d}🚒, 漢字, עברית"), "emoji 👩\u{200d}🚒, 漢字, עברית");
    }

    #[test]
    fn line_breaks_are_one_kind_and_gaps_are_small() {
        assert_eq!(clean("\r\n a  \r\n\r\n\n\nb\rc\u{2028}d\t\n\n"), " a\n\nb\nc\nd");
        assert_eq!(one_line(" a\r\n\tb   c ", 80), "a b c");
        assert_eq!(one_line("abcdef", 4), "abc…");
        assert_eq!(one_line("abcd", 4), "abcd");
    }

    #[test]
    fn what_is_cut_is_counted() {
        assert_eq!(cap("äöüß", 4, &"#1"), "äöüß");
        assert_eq!(cap("äöüß!", 2, &"#1"), "äö… (3 more characters, #1)");
        assert_eq!(cap("ab", 0, &"#1"), "… (2 more characters, #1)");
    }
}
