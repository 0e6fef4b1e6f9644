//! How bad it is.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Severity of an alert, mildest first, so that `a > b` reads "a is worse than b".
/// CAP 1.2 §3.2.2 maps Extreme, Severe, Moderate, Minor, Unknown onto it, worst to mildest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know; CAP Unknown.
    Info,
    /// CAP Minor; what an alert is that does not say.
    Warning,
    /// CAP Moderate.
    Minor,
    /// CAP Severe.
    Major,
    /// Never dropped for time or presence; CAP Extreme.
    Critical,
}

impl Severity {
    /// All values, worst first: the order in which help texts and errors list them.
    pub const ALL: [Self; 5] = [Self::Critical, Self::Major, Self::Minor, Self::Warning, Self::Info];

    /// The name used in XML, config, logs and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Major => "major",
            Self::Minor => "minor",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }

    /// Sort key of queues: 0 is served first (critical), 4 last (info).
    pub const fn rank(self) -> u8 {
        match self {
            Self::Critical => 0,
            Self::Major => 1,
            Self::Minor => 2,
            Self::Warning => 3,
            Self::Info => 4,
        }
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no severity.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no severity; allowed: critical, major, minor, warning, info")]
pub struct BadSeverity(pub String);

impl std::str::FromStr for Severity {
    type Err = BadSeverity;

    fn from_str(text: &str) -> Result<Self, BadSeverity> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| BadSeverity(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worse_is_greater_and_served_first() {
        for pair in Severity::ALL.windows(2) {
            assert!(pair[0] > pair[1]);
            assert!(pair[0].rank() < pair[1].rank());
        }
    }

    #[test]
    fn names_round_trip_and_others_are_refused() {
        for s in Severity::ALL {
            assert_eq!(s.as_str().parse(), Ok(s));
        }
        assert_eq!(
            "urgent".parse::<Severity>().unwrap_err().to_string(),
            "`urgent` is no severity; allowed: critical, major, minor, warning, info"
        );
    }
}
