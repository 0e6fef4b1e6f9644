//! Who may do what over HTTP: tokens and their rights.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{GroupName, TokenName};

/// What a token may do; the `--scope` of `mailbell token create`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Scope)]
pub enum Right {
    /// Hand in alerts.
    Dispatch,
    /// See alerts, notifications, groups, events.
    Read,
    /// Resolve, retry, expire, replay, poll; includes `read`.
    Act,
    /// Make and revoke tokens, reload; includes all others.
    Admin,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Dispatch, Self::Read, Self::Act, Self::Admin];

    /// The word of commands and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dispatch => "dispatch",
            Self::Read => "read",
            Self::Act => "act",
            Self::Admin => "admin",
        }
    }

    /// Does whoever has this one have the other as well?
    pub const fn includes(self, other: Self) -> bool {
        matches!(
            (self, other),
            (Self::Admin, _)
                | (Self::Act, Self::Act | Self::Read)
                | (Self::Read, Self::Read)
                | (Self::Dispatch, Self::Dispatch)
        )
    }
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no scope.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no scope; allowed: dispatch, read, act, admin")]
pub struct BadScope(String);

impl std::str::FromStr for Right {
    type Err = BadScope;

    fn from_str(text: &str) -> Result<Self, BadScope> {
        Self::ALL
            .into_iter()
            .find(|right| right.as_str() == text)
            .ok_or_else(|| BadScope(text.chars().take(40).collect()))
    }
}

/// The rights of a token, at least one; each once, the least first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(from = "Vec<Right>")]
#[schema(as = Scopes)]
pub struct Rights(Vec<Right>);

impl From<Vec<Right>> for Rights {
    fn from(mut rights: Vec<Right>) -> Self {
        rights.sort_unstable();
        rights.dedup();
        Self(rights)
    }
}

impl Rights {
    /// May who has these do that?
    pub fn allow(&self, right: Right) -> bool {
        self.0.iter().any(|mine| mine.includes(right))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Right> + '_ {
        self.0.iter().copied()
    }
}

/// `dispatch, read`.
impl std::fmt::Display for Rights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<&str> = self.0.iter().map(|right| right.as_str()).collect();
        f.pad(&words.join(", "))
    }
}

/// A token as it is kept: not the token itself, which nobody can know but who was given it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its name: also the source (`api:NAME`) of what it dispatches.
    pub name: TokenName,
    /// SHA-256 of the token, in hexadecimal digits.
    pub sha256: String,
    /// What it may do.
    pub scopes: Rights,
    /// The only groups that it dispatches to and sees; empty: all.
    pub groups: Vec<GroupName>,
    /// When it was made.
    pub created: Timestamp,
    /// It is refused from then on.
    pub expires: Option<Timestamp>,
    /// When it was used last, up to some minutes before.
    pub last_used: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_includes_all_and_act_includes_read() {
        let of = |rights: &[Right]| {
            let rights = Rights::from(rights.to_vec());
            Right::ALL.into_iter().filter(|right| rights.allow(*right)).collect::<Vec<_>>()
        };
        assert_eq!(of(&[Right::Dispatch]), [Right::Dispatch]);
        assert_eq!(of(&[Right::Read]), [Right::Read]);
        assert_eq!(of(&[Right::Act]), [Right::Read, Right::Act]);
        assert_eq!(of(&[Right::Admin]), Right::ALL);
        assert_eq!(of(&[]), []);
        assert_eq!(Rights::from(vec![Right::Read, Right::Dispatch, Right::Read]).to_string(), "dispatch, read");
        assert_eq!(
            "owner".parse::<Right>().unwrap_err().to_string(),
            "`owner` is no scope; allowed: dispatch, read, act, admin"
        );
    }
}
