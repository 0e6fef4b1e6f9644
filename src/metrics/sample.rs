//! What is not counted but looked at: the store, the disk, presence.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Looks, when somebody asks.
#[async_trait]
pub trait Sampler: Send + Sync {
    /// How things are now.
    async fn sample(&self) -> Sample;

    /// Is there room on the disk? Waits for nothing.
    fn has_room(&self) -> bool;
}

/// How things are.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What the store holds that is in progress; or why it cannot say.
    pub backlog: Result<Backlog, String>,
    /// Bytes of free space and of the reserve.
    pub disk: Option<Disk>,
    /// Recipients by presence.
    pub presence: BTreeMap<String, u64>,
    /// Messages written and not acknowledged.
    pub unacknowledged: u64,
    /// Targets that are probed.
    pub targets: u64,
    /// Mailboxes into which mails are handed.
    pub handed: Vec<String>,
}

impl Sample {
    /// Nothing can be told, for that reason.
    pub fn none(why: &str) -> Self {
        Self {
            backlog: Err(why.to_owned()),
            disk: None,
            presence: BTreeMap::new(),
            unacknowledged: 0,
            targets: 0,
            handed: Vec::new(),
        }
    }
}

/// The store's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Disk {
    /// Free bytes.
    pub free: u64,
    /// Below so many no mail is fetched.
    pub reserve: u64,
    /// Bytes of the store itself.
    pub store: u64,
}

/// What the store holds that is in progress.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Notifications by state: how many, and when the oldest was made.
    pub states: BTreeMap<String, (u64, Option<Timestamp>)>,
    /// Mails stored and not parsed.
    pub mails: u64,
    /// The newest alert.
    pub last: Option<LastAlert>,
    /// What the probe engine told of, in its own words.
    pub probes: BTreeMap<&'static str, u64>,
}

/// The newest alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastAlert {
    /// Its short id.
    pub id: String,
    /// When it was committed.
    pub at: Timestamp,
    /// How bad.
    pub severity: String,
    /// What it says; data from outside.
    pub title: String,
    /// What came of it.
    pub state: String,
}
