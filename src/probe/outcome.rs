//! What came of one probe.

use std::time::Duration;

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Somebody accepted the connection.
    Open,
    /// There is no such name, or it has no address (NXDOMAIN, or no A and no AAAA record: RFC 2308 §2).
    NoSuchName,
    /// The resolver did not answer, or answered that it failed: nobody knows whether there is such a name.
    ResolverFailed,
    /// The host answers, nobody listens at the port (RST to our SYN: RFC 9293 §3.5.2).
    Refused,
    /// The connection was cut at once.
    Reset,
    /// No answer in time.
    TimedOut,
    /// A router, or our own machine, says that the host is not there (ICMP: RFC 792, RFC 4443 §3.1).
    HostUnreachable,
    /// There is no way to its network.
    NetworkUnreachable,
    /// A firewall, here or on the way, forbids it.
    NotPermitted,
    /// *Our* failure: no socket, no port, no memory. Says nothing about the target.
    Local,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Open,
        Self::NoSuchName,
        Self::ResolverFailed,
        Self::Refused,
        Self::Reset,
        Self::TimedOut,
        Self::HostUnreachable,
        Self::NetworkUnreachable,
        Self::NotPermitted,
        Self::Local,
    ];

    /// One word, for scripts and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::NoSuchName => "no_such_name",
            Self::ResolverFailed => "resolver_failed",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::TimedOut => "timed_out",
            Self::HostUnreachable => "host_unreachable",
            Self::NetworkUnreachable => "network_unreachable",
            Self::NotPermitted => "not_permitted",
            Self::Local => "local_failure",
        }
    }

    /// The same for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::NoSuchName => "unknown host: no such name",
            Self::ResolverFailed => "unknown host: resolver failed",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::TimedOut => "timed out",
            Self::HostUnreachable => "host unreachable",
            Self::NetworkUnreachable => "network unreachable",
            Self::NotPermitted => "not permitted",
            Self::Local => "not checked",
        }
    }

    /// Does it say that the target is up (`Some(true)`), is down (`Some(false)`), or nothing about it?
    pub const fn up(self) -> Option<bool> {
        match self {
            Self::Open => Some(true),
            Self::Local => None,
            _ => Some(false),
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| format!("`{text}` is no outcome"))
    }
}

/// What came of one probe, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub kind: Kind,
    /// Why, for people: one line, with the address that said so.
    pub reason: String,
    /// How long it took, names included.
    pub took: Duration,
}
