//! Plain mail by rule: what classic senders mail becomes an alert with a key, a status and a severity, so that a recovery
//! resolves what a problem opened.
//!
//! `settings` is a rule as config writes it; `syntax` compiles its expressions and tells what each can match; `template` fills
//! captures in; `compile` refuses a rule that cannot do what it says; `shadow` finds rules that an earlier one leaves nothing;
//! `apply` makes alerts of a mail. `library` holds the ready-made rules. Expressions are matched in linear time, and at most
//! [`MAX_BODY`] bytes of a text are looked at.

mod apply;
mod compile;
mod library;
mod settings;
mod shadow;
mod syntax;
mod template;
mod values;

pub use compile::NOT_BESIDE_IGNORE;
pub use library::READY_MADE;
pub use settings::{Choice, RuleFault, RuleSettings};
pub use shadow::{Shadow, shadows};

pub(crate) use apply::{Seen, Verdict, apply};

use std::sync::Arc;

use compile::Compiled;

/// Bytes of a mail's text that rules look at.
pub const MAX_BODY: usize = 256 * 1024;
/// The label that names the rule which made an alert. No sender can set it.
pub const RULE_LABEL: &str = "mailbell.rule";

const SUBJECT: &str = "subject";
const FROM: &str = "from";
const BODY: &str = "body";
const LINE: &str = "line";

/// A rule, checked and compiled.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The ready-made set or the file that it is in, as config names it; `None`: it stands in the mailbox's own table.
    pub file: Option<String>,
    /// As it was written.
    pub settings: RuleSettings,
    name: String,
    compiled: Arc<Compiled>,
}

impl Rule {
    /// Checks and compiles; every fault in one run. Its name gets that of its file in front: `nagios/service`.
    pub fn new(file: Option<&str>, settings: RuleSettings) -> Result<Self, Vec<RuleFault>> {
        let compiled = Arc::new(compile::compile(&settings)?);
        let stem = file.map(|file| {
            let base = file.rsplit('/').next().unwrap_or(file);
            base.strip_suffix(".toml").unwrap_or(base)
        });
        let name = stem.map_or_else(|| settings.name.clone(), |stem| format!("{stem}/{}", settings.name));
        Ok(Self { file: file.map(str::to_owned), settings, name, compiled })
    }

    /// Its name, with that of its file.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The compiled form follows from the settings.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file && self.settings == other.settings
    }
}

impl Eq for Rule {}

/// The rules of a mailbox, in the order in which they are tried: the first that matches counts. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules(Arc<[Rule]>);

impl Rules {
    /// These, in this order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules.into())
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests;
