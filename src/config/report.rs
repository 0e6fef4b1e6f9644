//! What is wrong with a config, for people and for scripts.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::model::plays_tricks;
pub(super) use crate::model::quote;

/// One thing that is wrong, or looks wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Line in the file, counted from 1; `None`: the file as a whole.
    pub line: Option<usize>,
    /// The key with its tables, such as `mailbox.ops.poll`; an unnamed table by its number: `route[2].groups`. Empty
    /// where no key is concerned.
    pub key: String,
    /// What is wrong.
    pub wrong: String,
    /// What is allowed, or what mends it; may be empty.
    pub allowed: String,
}

impl Problem {
    /// Writes it on one line: `FILE:LINE: KEY: wrong; allowed`. What could play tricks in a terminal is escaped.
    pub fn show(&self, file: &std::path::Path) -> String {
        let mut line = file.display().to_string();
        if let Some(number) = self.line {
            line.push_str(&format!(":{number}"));
        }
        for part in [&self.key, &self.wrong].into_iter().filter(|part| !part.is_empty()) {
            line.push_str(": ");
            line.push_str(part);
        }
        if !self.allowed.is_empty() {
            line.push_str("; ");
            line.push_str(&self.allowed);
        }
        line.chars().flat_map(printable).collect()
    }
}

/// Every error of a config, by line. Holds no secret and no excerpt of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors {
    /// The file.
    pub file: PathBuf,
    /// At least one.
    pub problems: Vec<Problem>,
}

/// One line for each error.
impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            let end = if n + 1 == self.problems.len() { "" } else { "\n" };
            write!(f, "{}{end}", problem.show(&self.file))?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

fn printable(c: char) -> Vec<char> {
    if plays_tricks(c) { c.escape_default().collect() } else { vec![c] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line() {
        let problem = Problem {
            line: Some(3),
            key: "mailbox.ops.poll".into(),
            wrong: "`3x` is no duration".into(),
            allowed: "write \"30s\"".into(),
        };
        assert_eq!(problem.show("a.toml".as_ref()), "a.toml:3: mailbox.ops.poll: `3x` is no duration; write \"30s\"");
        // A key that stands there twice, or a JID that another crate tells of.
        let problem = Problem { key: "m\u{10}".into(), wrong: "a\u{202e}b".into(), allowed: String::new(), ..problem };
        assert_eq!(problem.show("a.toml".as_ref()), "a.toml:3: m\\u{10}: a\\u{202e}b");
    }
}
