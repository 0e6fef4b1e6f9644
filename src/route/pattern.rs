//! Patterns as config writes them: exact, glob, or `~` and a regular expression.

use regex::{Regex, RegexBuilder};

/// Largest compiled regular expression, in bytes: a config is trusted, its typos are not.
const MAX_REGEX: usize = 1 << 20;

/// The text is no pattern.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is no pattern: {why}")]
pub struct BadPattern {
    text: String,
    why: String,
}

impl BadPattern {
    /// Why, without the text.
    pub fn why(&self) -> &str {
        &self.why
    }
}

/// Matches one whole value: `~db[0-9]+` is a regular expression, `*@example.org` and `db?` are globs (`*` any characters,
/// `?` one), anything else must be equal.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    kind: Kind,
    caseless: bool,
}

#[derive(Debug, Clone)]
enum Kind {
    Exact(String),
    Glob(Vec<char>),
    Regex(Regex),
}

impl Pattern {
    /// Reads a pattern; upper and lower case differ.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        Self::read(text, false)
    }

    /// Reads a pattern for which upper and lower case are the same: mail addresses.
    pub fn parse_caseless(text: &str) -> Result<Self, BadPattern> {
        Self::read(text, true)
    }

    /// Does it match the whole value?
    pub fn matches(&self, value: &str) -> bool {
        let lowered;
        let value = if self.caseless {
            lowered = value.to_lowercase();
            lowered.as_str()
        } else {
            value
        };
        match &self.kind {
            Kind::Exact(text) => text == value,
            Kind::Glob(glob) => glob_matches(glob, value),
            Kind::Regex(regex) => regex.is_match(value),
        }
    }

    /// The one value that it matches; `None` for globs and regular expressions.
    pub fn exact(&self) -> Option<&str> {
        match &self.kind {
            Kind::Exact(text) => Some(text),
            Kind::Glob(_) | Kind::Regex(_) => None,
        }
    }

    fn read(text: &str, caseless: bool) -> Result<Self, BadPattern> {
        let bad = |why: String| BadPattern { text: text.to_owned(), why };
        let fold = |text: &str| if caseless { text.to_lowercase() } else { text.to_owned() };
        let kind = if text.is_empty() {
            return Err(bad("it is empty".into()));
        } else if let Some(regex) = text.strip_prefix('~') {
            Kind::Regex(anchored(regex, caseless).map_err(bad)?)
        } else if text.contains(['*', '?']) {
            Kind::Glob(fold(text).chars().collect())
        } else {
            Kind::Exact(fold(text))
        };
        Ok(Self { text: text.to_owned(), kind, caseless })
    }
}

/// As the config wrote it.
impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.text)
    }
}

/// A regular expression that must match the whole value, line breaks included.
fn anchored(text: &str, caseless: bool) -> Result<Regex, String> {
    if text.is_empty() {
        return Err("there is no regular expression after the ~".into());
    }
    let build = |text: &str| {
        RegexBuilder::new(text)
            .case_insensitive(caseless)
            .dot_matches_new_line(true)
            .size_limit(MAX_REGEX)
            .build()
            .map_err(|e| reason(&e))
    };
    // Alone first: `a)|(b` would be valid between the anchors, and mean something else.
    build(text)?;
    build(&format!(r"\A(?:{text})\z"))
}

/// The last line of the regex crate's report says what is wrong; the lines before it draw the place.
fn reason(error: &regex::Error) -> String {
    if let regex::Error::CompiledTooBig(_) = error {
        return "it is too large".into();
    }
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// Glob match in O(pattern × value): on a mismatch only the last `*` takes one more character.
fn glob_matches(glob: &[char], value: &str) -> bool {
    let value: Vec<char> = value.chars().collect();
    let (mut g, mut v) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&have) = value.get(v) {
        match glob.get(g) {
            Some('*') => {
                star = Some((g, v));
                g += 1;
            }
            Some(&want) if want == '?' || want == have => {
                g += 1;
                v += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    g = at + 1;
                    v = taken + 1;
                }
                None => return false,
            },
        }
    }
    glob.iter().skip(g).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, value: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(value)
    }

    #[test]
    fn three_kinds_each_match_the_whole_value() {
        for (pattern, yes, no) in [
            ("db1", &["db1"][..], &["db10", "DB1", "xdb1", ""][..]),
            ("db*", &["db", "db1", "db/1\n2"], &["xdb", "DB"]),
            ("db?", &["db1", "dbé"], &["db", "db12"]),
            ("*@example.org", &["a@example.org", "@example.org"], &["a@example.org.evil"]),
            ("a*b*c", &["abc", "aXbbYc", "abcbc"], &["acb", "ab"]),
            ("*", &["", "x"], &[]),
            ("~db[0-9]+", &["db1", "db12"], &["db", "xdb1", "db1x"]),
            ("~a|b", &["a", "b"], &["ab", "xa", "bx"]),
            ("~.*disk.*", &["first\ndisk full\nlast"], &["first\nlast"]),
            ("a.c", &["a.c"], &["abc"]),
        ] {
            for value in yes {
                assert!(matches(pattern, value), "{pattern} should match {value:?}");
            }
            for value in no {
                assert!(!matches(pattern, value), "{pattern} should not match {value:?}");
            }
        }
    }

    #[test]
    fn addresses_match_in_any_case() {
        for pattern in ["*@Example.ORG", "UPS7@example.org", "~ups[0-9]@EXAMPLE.org"] {
            assert!(Pattern::parse_caseless(pattern).unwrap().matches("Ups7@example.Org"), "{pattern}");
            assert!(!Pattern::parse(pattern).unwrap().matches("Ups7@example.Org"), "{pattern}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_reason() {
        let err = |text: &str| Pattern::parse(text).unwrap_err().to_string();
        assert_eq!(err(""), "`` is no pattern: it is empty");
        assert_eq!(err("~"), "`~` is no pattern: there is no regular expression after the ~");
        assert_eq!(err("~db["), "`~db[` is no pattern: unclosed character class");
        assert!(err("~a)|(b").contains("unopened group"), "{}", err("~a)|(b"));
        assert!(Pattern::parse("~(a{1000}){1000}").is_err(), "too large");
    }

    proptest! {
        #[test]
        fn a_glob_says_what_the_same_regex_says(glob in "[ab*?]{1,8}", value in "[abc]{0,10}") {
            let regex: String = glob.chars().map(|c| match c { '*' => ".*".into(), '?' => ".".into(), c => c.to_string() }).collect();
            prop_assert_eq!(matches(&glob, &value), matches(&format!("~{regex}"), &value));
        }
    }
}
