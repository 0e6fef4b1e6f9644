//! What a target depends on.

use std::fmt;
use std::str::FromStr;

use super::lists::Listed;
use super::target::{Host, Target};
use crate::model::{BadServer, quote};

/// A host as a whole, or one port of it: while it is down, nothing new is told of what depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Parent {
    /// The host.
    pub host: Host,
    /// Its port; `None`: it is down when none of its ports answers.
    pub port: Option<u16>,
}

impl Parent {
    /// The one port, if it is one.
    pub fn target(&self) -> Option<Target> {
        Some(Target { host: self.host.clone(), port: self.port? })
    }
}

impl FromStr for Parent {
    type Err = BadServer;

    /// `HOST` or `HOST:PORT`; an IPv6 address with a port in brackets.
    fn from_str(text: &str) -> Result<Self, BadServer> {
        let Listed { host, ports } = text.parse()?;
        match ports[..] {
            [] => Ok(Self { host, port: None }),
            [port] => Ok(Self { host, port: Some(port) }),
            _ => Err(BadServer {
                wrong: format!("{} has several ports", quote(text)),
                allowed: "write HOST:PORT for each of them, or HOST for all of its ports together",
            }),
        }
    }
}

/// As it is written.
impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.target() {
            Some(target) => target.fmt(f),
            None => self.host.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_reads_as_it_is_shown() {
        for text in ["gw1.example.org", "sw2:22", "2001:db8::1", "[2001:db8::1]:22"] {
            assert_eq!(text.parse::<Parent>().unwrap().to_string(), text);
        }
        let err = "sw2:22,80".parse::<Parent>().unwrap_err().to_string();
        assert_eq!(
            err,
            "`sw2:22,80` has several ports; write HOST:PORT for each of them, or HOST for all of its ports together"
        );
        assert!("".parse::<Parent>().is_err());
    }
}
