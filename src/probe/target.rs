//! What is probed: a host and a port.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::model::{BadServer, check_host, parse_server};

/// A host, by name or by address. Names are lower case and without the final dot, so that the same host is one host however it
/// is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(String);

impl Host {
    /// As it is shown and looked up; an IPv6 address without brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address, where it is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
}

impl FromStr for Host {
    type Err = BadServer;

    /// A name, an IPv4 address, or an IPv6 address with or without brackets.
    fn from_str(text: &str) -> Result<Self, BadServer> {
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = inner.parse::<Ipv6Addr>() {
            return Ok(Self(address.to_string()));
        }
        check_host(text)?;
        Ok(Self(text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One TCP port of one host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The host.
    pub host: Host,
    /// The port, never 0.
    pub port: u16,
}

impl FromStr for Target {
    type Err = BadServer;

    /// `HOST:PORT`, `[IPV6]:PORT`.
    fn from_str(text: &str) -> Result<Self, BadServer> {
        match parse_server(text)? {
            (host, Some(port)) => Ok(Self { host: host.parse()?, port }),
            (host, None) => Err(BadServer {
                wrong: format!("{} has no port", crate::model::quote(&host)),
                allowed: "write HOST:PORT, such as db1.example.org:5432 or [2001:db8::1]:443",
            }),
        }
    }
}

/// As it is written.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.address() {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_is_one_host_however_it_is_written() {
        let host = |text: &str| text.parse::<Host>().unwrap().to_string();
        assert_eq!(host("DB1.Example.ORG."), "db1.example.org");
        assert_eq!(host("[2001:DB8:0::1]"), "2001:db8::1");
        assert_eq!(host("2001:db8::1"), "2001:db8::1");
        assert_eq!(host("192.0.2.1"), "192.0.2.1");
        for bad in ["", "a b", "a:1", "[a]", "-a", "a..b", "ü"] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_target_reads_as_it_is_shown() {
        for text in ["db1.example.org:5432", "192.0.2.1:80", "[2001:db8::1]:443", "a:65535"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for bad in ["db1", "db1:0", "db1:65536", "db1:x", "::1:80", "http://db1:80", ":80"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
        let err = "db1".parse::<Target>().unwrap_err().to_string();
        assert_eq!(err, "`db1` has no port; write HOST:PORT, such as db1.example.org:5432 or [2001:db8::1]:443");
    }
}
