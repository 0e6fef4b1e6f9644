//! Can somebody be spoken to? The words that the API and old pages use for it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Presence, Show};

/// Presence in five words. Ordered: of the members of a group the greatest is the group's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    /// Not there, and that is known.
    Offline,
    /// It cannot be known: no session with the chat server, or not settled yet, or the subscription is not granted.
    Unknown,
    /// Do not disturb.
    Busy,
    /// Away, for a moment or for long.
    Away,
    /// There; of a room: we are in it.
    Active,
}

impl Availability {
    /// All values, best first.
    pub const ALL: [Self; 5] = [Self::Active, Self::Away, Self::Busy, Self::Unknown, Self::Offline];

    /// The name used in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Away => "away",
            Self::Busy => "busy",
            Self::Offline => "offline",
            Self::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for Availability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<Presence> for Availability {
    fn from(presence: Presence) -> Self {
        match presence {
            Presence::Online(Show::Chat | Show::Available) => Self::Active,
            Presence::Online(Show::Away | Show::Xa) => Self::Away,
            Presence::Online(Show::Dnd) => Self::Busy,
            // Nothing can be said in a room that we are not in.
            Presence::Offline | Presence::NotJoined => Self::Offline,
            Presence::Unknown | Presence::NotShared => Self::Unknown,
        }
    }
}

/// How a group is, by the presence of its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupAvailability {
    /// The best of its members': active before away before busy; where nobody is any of these, unknown if it is unknown of any of
    /// them, else offline. A group without members is offline.
    pub status: Availability,
    /// Members who would be told now, and are there to see it.
    pub ready: usize,
    /// Members, those of nested groups included, each once.
    pub members: usize,
}
