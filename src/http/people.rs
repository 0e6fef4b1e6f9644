//! Who is told, and where they are.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{Availability, BareJid, GroupAvailability, GroupName, RecipientName, Severity, Timestamp};

/// Knows the recipients and groups of the config in force, and the presence of each at this moment.
pub trait People: Send + Sync {
    /// All recipients, in the order of the config.
    fn people(&self) -> Vec<Person>;

    /// All groups, by name.
    fn groups(&self) -> Vec<GroupName>;

    /// One group, as it is for an alert of this severity.
    fn group(&self, name: &GroupName, severity: Severity) -> Option<Group>;
}

/// A recipient: a person, or a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Recipient)]
pub struct Person {
    /// The name used in groups, logs and commands.
    pub name: RecipientName,
    /// Where instant messages go.
    #[schema(value_type = String, example = "alice@example.org")]
    pub jid: BareJid,
    /// Groups that they are in, also by way of nested ones.
    pub groups: Vec<GroupName>,
    /// A room (XEP-0045); it is active while mailbell is in it.
    pub room: bool,
    /// The best of their clients'.
    pub presence: Availability,
    /// What exactly they show: `chat`, `available`, `away`, `xa` or `dnd`; absent where they are not online.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub show: Option<String>,
    /// Since when they are so, as far as they told mailbell: it may be longer. Absent where they told nothing, and where
    /// `presence` is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Do they let us see their presence? Absent while that is not known, and for rooms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<bool>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// How it is.
    #[serde(flatten)]
    pub availability: GroupAvailability,
    /// Everybody in it, those of nested groups included, each once.
    pub recipients: Vec<RecipientName>,
    /// Groups nested in it.
    pub contains: Vec<GroupName>,
    /// The group that is told where nobody of this one can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<GroupName>,
    /// Anyone may be in it: what is not public never goes there.
    pub public: bool,
}
