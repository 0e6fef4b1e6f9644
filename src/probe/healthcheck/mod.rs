//! `healthcheck.properties`, the file of the health checker that mailbell replaces, read as it is.
//!
//! ```text
//! bytes ─► text ─► lines without comments ─► sections, hosts, keys ─► classes with their ports
//! ```
//!
//! Nothing in it ends the reading: what is wrong is told with its line, left out, and the rest counts.

mod gather;
mod line;

use std::fmt;
use std::time::Duration;

use super::lists::{Class, Listed};
use super::settings::{Probe, Rules, merge};
use super::target::Target;
use crate::model::Secret;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Healthcheck {
    /// Classes with hosts, in the order of the file.
    pub classes: Vec<Class>,
    /// Free hosts, each with its own ports.
    pub hosts: Vec<Listed>,
    /// `Check_Interval`: from one check to the next, from 1 s to a day.
    pub interval: Option<Duration>,
    /// `Sametime_Notification_Users`, as they are written: `Name` or `Name/Unit/Org`.
    pub users: Vec<String>,
    /// `Sametime_Notification_Server`.
    pub server: Option<String>,
    /// `Sametime_login_user`.
    pub login_user: Option<String>,
    /// `Sametime_login_pw`.
    pub password: Option<Secret>,
    /// What is wrong, by line. Holds no part of a line that could hold a password.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong in the file, or was read in a way that somebody should know of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Line of the file, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub wrong: String,
    /// What mends it.
    pub mend: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}; {}", self.line, self.wrong, self.mend)
    }
}

impl Healthcheck {
    /// Far above any such file, in bytes; what is beyond is not read.
    pub const MOST_BYTES: usize = 1 << 20;
    /// Most faults that are told.
    pub const MOST_FAULTS: usize = 1000;

    /// Reads the file: UTF-8, UTF-16 with a byte order mark, or ISO-8859-1.
    pub fn read(bytes: &[u8]) -> Self {
        let (text, faults) = line::text(bytes);
        gather::gather(&text, faults)
    }

    /// Everything that is checked; what several classes name is there several times.
    pub fn targets(&self) -> impl Iterator<Item = Target> {
        let of_classes = self.classes.iter().flat_map(Class::targets);
        of_classes.chain(self.hosts.iter().flat_map(Listed::targets))
    }

    /// How they are probed: the file's interval takes the place of the given one. The old tool had no time-out of its own: where
    /// that given is not shorter than the file's interval, half of the interval is, since one probe has to end before the next
    /// begins.
    pub fn rules(&self, defaults: &Rules) -> Rules {
        let interval = self.interval.unwrap_or(defaults.interval);
        let timeout = if defaults.timeout < interval { defaults.timeout } else { interval / 2 };
        Rules { interval, timeout, ..defaults.clone() }
    }

    /// A probe for each target, once.
    pub fn probes(&self, defaults: &Rules) -> Vec<Probe> {
        let rules = self.rules(defaults);
        let of_classes = self.classes.iter().flat_map(|class| class.probes(&rules));
        merge(of_classes.chain(self.hosts.iter().flat_map(|host| host.probes(&rules))).collect())
    }
}

#[cfg(test)]
mod tests;
