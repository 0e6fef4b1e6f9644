//! Who counts as reachable, and what happens to those who are not: the types; `presence::policy` decides.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{GroupName, Severity};

/// What an online resource shows (RFC 6121 §4.7.2.1); no `<show/>` is `Available`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Show {
    /// Do not disturb.
    Dnd,
    /// Away for long.
    Xa,
    /// Away for a moment.
    Away,
    /// Online.
    Available,
    /// Actively interested in chatting.
    Chat,
}

impl Show {
    /// All values, most available first.
    pub const ALL: [Self; 5] = [Self::Chat, Self::Available, Self::Away, Self::Xa, Self::Dnd];

    /// The name used in config and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Available => "available",
            Self::Away => "away",
            Self::Xa => "xa",
            Self::Dnd => "dnd",
        }
    }
}

/// Presence of one recipient, over all resources with priority ≥ 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Presence {
    /// The session is not up, the roster not loaded, or the first seconds after that have not passed.
    /// Never a reason to hold, skip or fall back.
    Unknown,
    /// The recipient has not granted us the subscription: we cannot see them.
    NotShared,
    /// A room that we are not in: nothing can be sent there, not even without regard to presence.
    NotJoined,
    /// No resource with priority ≥ 0.
    Offline,
    /// The most available of the resources with priority ≥ 0.
    Online(Show),
}

impl Presence {
    /// The name used in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::NotShared => "not shared",
            Self::NotJoined => "not in the room",
            Self::Offline => "offline",
            Self::Online(show) => show.as_str(),
        }
    }
}

/// A set of [`Show`] values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct ShowSet(u8);

impl ShowSet {
    /// Every show.
    pub fn all() -> Self {
        Show::ALL.into_iter().collect()
    }

    /// Is it in the set?
    pub const fn contains(self, show: Show) -> bool {
        self.0 & (1 << show as u8) != 0
    }

    /// What is in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<Show> for ShowSet {
    fn from_iter<I: IntoIterator<Item = Show>>(shows: I) -> Self {
        Self(shows.into_iter().fold(0, |set, show| set | (1 << show as u8)))
    }
}

/// What to do with a notification whose recipient is not reachable. Ordered: the greater wins when a recipient is in
/// several groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Offline {
    /// Do not send it at all.
    Skip,
    /// Keep it until the recipient is reachable, for at most `hold_for`.
    Hold,
    /// Send it anyway: the server stores it.
    Send,
}

/// When the fallback group is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FallbackWhen {
    /// At once when no recipient of the group is reachable.
    Unreachable,
    /// When the holds of the group ended and nobody was told.
    HoldExpired,
}

/// One `[[group.policy]]` row; the first one whose `severity` holds the alert's severity counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRow {
    /// Severities that it is for; empty: all.
    pub severity: Vec<Severity>,
    /// Who counts as reachable.
    pub shows: ShowSet,
    /// What happens to who is not.
    pub offline: Offline,
    /// Longest hold.
    pub hold_for: Duration,
    /// Group that is added when nobody of this one can be told.
    pub fallback: Option<GroupName>,
    /// When it is added.
    pub fallback_when: FallbackWhen,
}

/// How one notification may be delivered: the policies of all groups that brought it, merged and frozen at D2
/// (send > hold > skip, the longest hold, every show that any group allows).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Who counts as reachable.
    pub shows: ShowSet,
    /// What happens while the recipient is not.
    pub offline: Offline,
    /// Longest hold, in milliseconds.
    pub hold_for_ms: u64,
}

impl Delivery {
    /// The merge for a recipient whom two groups brought.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self {
            shows: self.shows.union(other.shows),
            offline: self.offline.max(other.offline),
            hold_for_ms: self.hold_for_ms.max(other.hold_for_ms),
        }
    }
}
