//! Names that cannot hold a bad value.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The text cannot be such a name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is no {what} name: {why}")]
pub struct BadName {
    what: &'static str,
    text: String,
    why: &'static str,
}

/// Longest name that config may give, in bytes: names stand in every log line and message footer.
const MAX_NAME: usize = 64;

/// A regular expression that every name matches, in words that all dialects share: of ASCII only what a name may hold.
pub const NAME_FORM: &str = r"^[^\x00-\x2a,/\x3a-\x40\x5b-\x5e\x60\x7b-\xa0]{1,64}$";

fn check(what: &'static str, text: &str) -> Result<(), BadName> {
    let bad = |why| Err(BadName { what, text: text.chars().take(80).collect(), why });
    if text.is_empty() {
        return bad("it is empty");
    }
    if text.len() > MAX_NAME {
        return bad("it is longer than 64 bytes");
    }
    if !text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+')) {
        return bad("allowed are letters, digits and . _ - +");
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schema(value_type = String)]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                check($what, &text)?;
                Ok(Self(text))
            }
        }

        impl std::str::FromStr for $type {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// Name of a set of recipients.
    GroupName,
    "group"
);
name!(
    /// Name of one recipient.
    RecipientName,
    "recipient"
);
name!(
    /// Name of one monitored mailbox.
    MailboxName,
    "mailbox"
);
name!(
    /// Name of a class of hosts that the port probe looks at.
    ClassName,
    "class"
);

name!(
    /// Name of a token of the HTTP API: who dispatches or asks.
    TokenName,
    "token"
);

/// Correlation key: names the *condition* that an alert reports, so that firing, update and resolved meet.
/// Any text; counts only within its [`Scope`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(pub String);

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// Where a key counts: mailbox and sender, or the whole mailbox (`key_scope = "mailbox"`), or the source's name.
/// An opaque text; equal scopes are equal texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scope(pub String);

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_matches_every_name() {
        let form = regex::Regex::new(NAME_FORM).unwrap();
        let legal = |c: &char| check("group", &c.to_string()).is_ok();
        let mut all = ('\0'..=char::MAX).filter(legal);
        assert_eq!(all.find(|c| !form.is_match(&c.to_string())), None);
        assert!(form.is_match(&"x".repeat(MAX_NAME)) && !form.is_match(&"x".repeat(MAX_NAME + 1)));
        for bad in ["", "a b", "a/b", "a\n", "@a"] {
            assert!(!form.is_match(bad), "{bad}");
        }
    }

    #[test]
    fn a_name_says_why_it_is_refused() {
        assert_eq!("ops".parse::<GroupName>().unwrap().as_str(), "ops");
        let err = |t: &str| t.parse::<GroupName>().unwrap_err().to_string();
        assert_eq!(err(""), "`` is no group name: it is empty");
        assert_eq!(err("a b"), "`a b` is no group name: allowed are letters, digits and . _ - +");
        assert!(err(&"x".repeat(65)).ends_with("it is longer than 64 bytes"));
        assert!(serde_json::from_str::<GroupName>("\"a b\"").is_err());
    }
}
