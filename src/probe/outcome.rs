//! What came of one probe.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

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
    /// It is connected, and what it said is not what was expected.
    Unexpected,
    /// It is connected, and said nothing in time.
    NoAnswer,
    /// It closed the connection, or cut it, before it said anything.
    Closed,
    /// It is connected, and no TLS came about.
    Tls,
    /// It speaks TLS, and its certificate was refused: expired, of an unknown issuer, for another name.
    Certificate,
    /// *Our* failure: no socket, no port, no memory. Says nothing about the target.
    Local,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Open,
        Self::NoSuchName,
        Self::ResolverFailed,
        Self::Refused,
        Self::Reset,
        Self::TimedOut,
        Self::HostUnreachable,
        Self::NetworkUnreachable,
        Self::NotPermitted,
        Self::Unexpected,
        Self::NoAnswer,
        Self::Closed,
        Self::Tls,
        Self::Certificate,
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
            Self::Unexpected => "unexpected_answer",
            Self::NoAnswer => "no_answer",
            Self::Closed => "closed",
            Self::Tls => "tls_failed",
            Self::Certificate => "certificate_refused",
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
            Self::Unexpected => "unexpected answer",
            Self::NoAnswer => "no answer",
            Self::Closed => "closed without an answer",
            Self::Tls => "TLS failed",
            Self::Certificate => "certificate refused",
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
    /// The certificate that it showed and that was good; `None`: it was not looked for, or the probe did not come so far.
    pub certificate: Option<Certificate>,
}

/// How long a certificate, good now, will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// Longer than the warning before its end asks for.
    Lasts,
    /// Until this time, which is nearer than that.
    Ends(Timestamp),
}

/// When a certificate ends, for people: `expires in 9 days (2026-12-01)`, in UTC.
pub(super) fn expires(end: Timestamp, now: Timestamp) -> String {
    let date = end.strftime("%Y-%m-%d");
    let left = end.duration_since(now);
    match left.as_hours() / 24 {
        _ if left <= SignedDuration::ZERO => format!("has expired ({date})"),
        0 => format!("expires within a day ({date})"),
        1 => format!("expires in 1 day ({date})"),
        days => format!("expires in {days} days ({date})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_reads_as_it_is_written() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
    }

    #[test]
    fn the_time_that_is_left_is_said_in_whole_days() {
        let end: Timestamp = "2026-12-01T12:00:00Z".parse().unwrap();
        let at = |now: &str| expires(end, now.parse().unwrap());
        assert_eq!(at("2026-11-22T11:59:59Z"), "expires in 9 days (2026-12-01)");
        assert_eq!(at("2026-11-22T12:00:01Z"), "expires in 8 days (2026-12-01)");
        assert_eq!(at("2026-11-30T12:00:00Z"), "expires in 1 day (2026-12-01)");
        assert_eq!(at("2026-11-30T12:00:01Z"), "expires within a day (2026-12-01)");
        assert_eq!(at("2026-12-01T12:00:00Z"), "has expired (2026-12-01)");
    }
}
