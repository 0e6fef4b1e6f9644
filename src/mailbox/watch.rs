//! How a new mail is noticed, and how often a server may be asked.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How a new mail is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// IMAP IDLE (RFC 2177) where the server has it, with `poll` as the safety poll.
    Idle,
    /// An IMAP NOOP (RFC 3501 §6.1.2) in this interval, with `poll` as the safety poll. Some servers gather what they tell
    /// in IDLE (Dovecot for half a second); a NOOP is answered at once.
    Noop(Duration),
    /// Every `poll`.
    Poll,
}

/// What the interval of NOOPs may be. The least is what a local server bears; the most keeps the session from the
/// server's time-out, which is 30 minutes or more (RFC 3501 §5.4).
pub const NOOP: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(29 * 60);

/// The shortest interval of NOOPs to a server beyond the local network.
pub const NOOP_AFAR: Duration = Duration::from_secs(1);

/// Is this address on this machine or in a private network: loopback, link-local, RFC 1918, RFC 4193? Only there a server may
/// be asked more often than each [`NOOP_AFAR`].
pub fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_are_near_and_the_world_is_not() {
        for near in [
            "127.0.0.1",
            "127.255.255.254",
            "::1",
            "10.0.0.1",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.7.7",
            "fd00::1",
            "fc00::1",
            "fe80::1",
            "febf::1",
            "::ffff:192.168.1.1",
        ] {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
        for far in [
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "192.167.255.255",
            "192.169.0.1",
            "100.64.0.1",
            "192.0.2.1",
            "0.0.0.0",
            "::",
            "2001:db8::1",
            "fec0::1",
            "fe00::1",
            "::ffff:8.8.8.8",
            "64:ff9b::a00:1",
        ] {
            assert!(!is_near(far.parse().unwrap()), "{far}");
        }
    }
}
