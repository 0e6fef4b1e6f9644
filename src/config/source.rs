//! TOML text → tree with lines, and the compiled-in defaults, which are the documented example file itself.

use std::ops::Range;
use std::sync::LazyLock;

use toml::de::{DeTable, DeValue};

use super::report::Problem;

/// The documented config file. In it `#key = value` and `#[[table]]` are TOML commented out, `# text` is prose.
pub const EXAMPLE: &str = include_str!("../../config/mailbell.toml");

static EXAMPLE_TEXT: LazyLock<String> = LazyLock::new(|| uncommented(EXAMPLE));
static EXAMPLE_TREE: LazyLock<DeTable<'static>> =
    // The file is compiled in, and a test reads it: an error cannot be seen here.
    LazyLock::new(|| DeTable::parse_recoverable(&EXAMPLE_TEXT).0.into_inner());

/// The example file with its commented TOML in force: the source of every default.
pub(super) fn example() -> &'static DeTable<'static> {
    &EXAMPLE_TREE
}

/// Takes the `#` from `#key = value` and `#[[table]]`; prose keeps it.
pub(super) fn uncommented(text: &str) -> String {
    let toml = |line: &str| line.starts_with(|c: char| c == '[' || c.is_ascii_lowercase());
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        out.push_str(line.strip_prefix('#').filter(|rest| toml(rest)).unwrap_or(line));
        out.push('\n');
    }
    out
}

/// Finds the line of a place in a text.
#[derive(Debug)]
pub(super) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { starts }
    }

    /// Line, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    fn line_start(&self, at: usize) -> usize {
        self.starts.get(self.line(at).saturating_sub(1)).copied().unwrap_or(0)
    }
}

/// A parsed text. A key that is there twice does not keep the rest from being read; any other syntax error does.
pub(super) struct Parsed<'a> {
    /// `None`: there is nothing to go on with.
    pub(super) table: Option<DeTable<'a>>,
    pub(super) problems: Vec<Problem>,
}

pub(super) fn parse<'a>(text: &'a str, lines: &Lines) -> Parsed<'a> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Problem> = Vec::new();
    let mut readable = true;
    for err in &errors {
        let span = err.span().unwrap_or(0..0);
        let line = Some(lines.line(span.start));
        if err.message() == "duplicate key" {
            problems.push(duplicate(text, &span, line));
            continue;
        }
        readable = false;
        // What follows on the same line is mostly a consequence.
        if problems.iter().all(|p| p.line != line) {
            let column = text.get(lines.line_start(span.start)..span.start).map_or(0, |head| head.chars().count());
            // The parser's message names what it expected and quotes nothing; its excerpt could hold a password.
            problems.push(Problem {
                line,
                key: String::new(),
                wrong: format!("column {}: no TOML: {}", column + 1, err.message()),
                allowed: String::new(),
            });
        }
    }
    Parsed { table: readable.then(|| tree.into_inner()), problems }
}

fn duplicate(text: &str, span: &Range<usize>, line: Option<usize>) -> Problem {
    Problem {
        line,
        key: text.get(span.clone()).unwrap_or_default().to_owned(),
        wrong: "is there twice".into(),
        allowed: "write it once".into(),
    }
}

/// What a value is, in words.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_stays_a_comment() {
        let text = "# Prose.\n#key = 1   # why\n#[[table]]\n#\nplain = 2\n";
        assert_eq!(uncommented(text), "# Prose.\nkey = 1   # why\n[[table]]\n#\nplain = 2\n");
    }

    #[test]
    fn syntax_errors_name_line_and_column_and_quote_nothing() {
        for bad in [
            "a = 1\npassword = \"CANARY\n",
            "a = 1\npassword = CANARY x\n",
            "a = 1\n\"b\" = \"\\qCANARY\"\n",
            "a=1\nCANARY",
        ] {
            let parsed = parse(bad, &Lines::of(bad));
            assert!(parsed.table.is_none(), "{bad}");
            let [problem] = &parsed.problems[..] else { panic!("{bad}: {:?}", parsed.problems) };
            assert_eq!(problem.line, Some(2), "{bad}");
            assert!(problem.wrong.starts_with("column "), "{problem:?}");
            assert!(!problem.wrong.contains("CANARY"), "{problem:?}");
        }
    }

    #[test]
    fn a_key_that_is_there_twice_is_told_and_the_rest_is_read() {
        let text = "a = 1\na = 2\n[t]\nb = 1\n[t]\n";
        let parsed = parse(text, &Lines::of(text));
        let told: Vec<_> = parsed.problems.iter().map(|p| (p.line, p.key.as_str())).collect();
        assert_eq!(told, [(Some(2), "a"), (Some(5), "t")]);
        assert!(parsed.table.unwrap().contains_key("t"));
    }
}
