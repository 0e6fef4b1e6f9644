//! A rule as config writes it.

use crate::model::{Severity, Status};

/// One `[[mailbox.rule]]`, or one `[[rule]]` of a rule file. Expressions are those of the Rust regex syntax and match
/// anywhere unless they are anchored; all that are given must match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleSettings {
    /// Its name; with its file it is unique in a mailbox.
    pub name: String,
    /// Against the From address, in any case.
    pub from: Vec<String>,
    /// Against the subject: decoded, on one line.
    pub subject: Vec<String>,
    /// Against fields of the header, by name: any field of that name.
    pub header: Vec<(String, Vec<String>)>,
    /// Against the text; `^` and `$` stand at every line.
    pub body: Vec<String>,
    /// Against the text, for their captures only: they need not match.
    pub find: Vec<String>,
    /// Against each line of the text; each that matches is an alert of its own.
    pub each_line: Option<String>,
    /// Such mails are no alerts; why.
    pub ignore: Option<String>,
    /// Names the condition; without it each mail is one of its own.
    pub key: Option<String>,
    /// Firing where nothing is said.
    pub status: Option<Choice<Status>>,
    /// Warning where nothing is said.
    pub severity: Option<Choice<Severity>>,
    /// By default the subject, or the line.
    pub title: Option<String>,
    /// By default the text of the mail; empty for a line.
    pub text: Option<String>,
    /// The group that it asks for.
    pub group: Option<String>,
    /// A link.
    pub link: Option<String>,
    /// When it was sent; by default the mail's Date.
    pub sent: Option<String>,
    /// A text whose `key="value"` pairs become labels.
    pub pairs: Option<String>,
    /// Labels by name.
    pub labels: Vec<(String, String)>,
}

/// A word, or a value looked up in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice<T> {
    /// Always this.
    Fixed(T),
    /// By a value; upper and lower case are the same.
    Table {
        /// The value, such as `{state}`.
        from: String,
        /// What it means.
        map: Vec<(String, T)>,
        /// What any other value means; needed unless the table has all there can be.
        default: Option<T>,
    },
}

/// Something wrong with one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFault {
    /// The key in the rule, such as `subject` or `labels.host`; empty: the rule as a whole.
    pub key: String,
    /// What is wrong.
    pub wrong: String,
    /// What mends it; may be empty.
    pub mend: String,
}
