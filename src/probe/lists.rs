//! Lists of hosts, as people write them: classes of hosts that have their ports in common, and hosts with ports of their own.

use std::fmt;
use std::str::FromStr;

use super::settings::{Probe, Rules};
use super::target::{Host, Target};
use crate::model::{BadServer, ClassName, quote};

/// A host in a list, with ports of its own or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The host.
    pub host: Host,
    /// Its own ports, each once; empty: those of its class.
    pub ports: Vec<u16>,
}

/// Hosts of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: ClassName,
    /// Ports of the hosts that have none of their own, each once.
    pub ports: Vec<u16>,
    /// The hosts.
    pub hosts: Vec<Listed>,
}

impl Class {
    /// Each port of each host.
    pub fn targets(&self) -> impl Iterator<Item = Target> {
        self.hosts.iter().flat_map(|host| host.at(&self.ports))
    }

    /// A probe for each of them.
    pub fn probes(&self, rules: &Rules) -> impl Iterator<Item = Probe> {
        self.targets().map(|target| Probe { target, classes: vec![self.name.to_string()], rules: rules.clone() })
    }

    /// How many targets that are. The product of two lists may be large although both are short.
    pub fn size(&self) -> usize {
        self.hosts.iter().map(|host| if host.ports.is_empty() { self.ports.len() } else { host.ports.len() }).sum()
    }
}

impl Listed {
    /// Each port of its own.
    pub fn targets(&self) -> impl Iterator<Item = Target> {
        self.at(&[])
    }

    /// A probe for each of them.
    pub fn probes(&self, rules: &Rules) -> impl Iterator<Item = Probe> {
        self.targets().map(|target| Probe { target, classes: Vec::new(), rules: rules.clone() })
    }

    fn at<'l>(&'l self, of_class: &'l [u16]) -> impl Iterator<Item = Target> + 'l {
        let ports = if self.ports.is_empty() { of_class } else { &self.ports };
        ports.iter().map(|port| Target { host: self.host.clone(), port: *port })
    }
}

impl FromStr for Listed {
    type Err = BadServer;

    /// `HOST`, `HOST:PORT`, `HOST:PORT,PORT`; an IPv6 address with ports in brackets.
    fn from_str(text: &str) -> Result<Self, BadServer> {
        // `::1` is a host, `::1:80` is another.
        if let Ok(host) = text.parse() {
            return Ok(Self { host, ports: Vec::new() });
        }
        let Some((host, ports)) = text.rsplit_once(':') else {
            return text.parse().map(|host| Self { host, ports: Vec::new() });
        };
        let bare_ipv6 = host.contains(':') && !host.starts_with('[');
        if host.is_empty() || bare_ipv6 {
            let allowed =
                "write HOST, HOST:PORT or HOST:PORT,PORT, such as db1.example.org:5432 or [2001:db8::1]:80,443";
            return Err(BadServer { wrong: format!("{} is no host with ports", quote(text)), allowed });
        }
        Ok(Self { host: host.parse()?, ports: parse_ports(ports)? })
    }
}

/// `PORT,PORT`; what is there twice counts once.
fn parse_ports(text: &str) -> Result<Vec<u16>, BadServer> {
    let mut ports = Vec::new();
    for port in text.split(',') {
        let port = parse_port(port.trim_matches(' '))?;
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    Ok(ports)
}

/// A port: digits alone, from 1 to 65535.
pub fn parse_port(text: &str) -> Result<u16, BadServer> {
    // A sign is no part of a port, although Rust reads it.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(BadServer { wrong: format!("{} is no port", quote(text)), allowed: "write a number from 1 to 65535" }),
    }
}

/// As it is written.
impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ports.is_empty() {
            return f.write_str(self.host.as_str());
        }
        let bracketed = self.host.as_str().contains(':');
        let (open, close) = if bracketed { ("[", "]") } else { ("", "") };
        let ports: Vec<_> = self.ports.iter().map(u16::to_string).collect();
        write!(f, "{open}{}{close}:{}", self.host, ports.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_host_reads_as_it_is_shown() {
        for text in ["db1", "db1:5432", "db1:80,443", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]:80,443"] {
            assert_eq!(text.parse::<Listed>().unwrap().to_string(), text);
        }
        assert_eq!("DB1.:080, 443,80".parse::<Listed>().unwrap().to_string(), "db1:80,443");
        assert_eq!("[::1]".parse::<Listed>().unwrap().to_string(), "::1");
        for bad in ["", ":80", "a:", "a:80,", "a:0", "a:+1", "a:65536", "a:x", "a b:80", "::g:80", "http://a", "a:1:2"]
        {
            assert!(bad.parse::<Listed>().is_err(), "{bad}");
        }
        let told = |text: &str| text.parse::<Listed>().unwrap_err().to_string();
        assert_eq!(told("a:80,8o"), "`8o` is no port; write a number from 1 to 65535");
        assert_eq!(
            told("1::g:80"),
            "`1::g:80` is no host with ports; write HOST, HOST:PORT or HOST:PORT,PORT, such as db1.example.org:5432 or [2001:db8::1]:80,443"
        );
    }

    #[test]
    fn own_ports_take_the_place_of_the_classs() {
        let class = Class {
            name: "web".parse().unwrap(),
            ports: vec![80, 443],
            hosts: ["a", "b:8080"].map(|host| host.parse().unwrap()).to_vec(),
        };
        let rules = super::super::settings::tests::rules();
        let probes: Vec<_> = class.probes(&rules).collect();
        assert_eq!(probes.iter().map(|p| p.target.to_string()).collect::<Vec<_>>(), ["a:80", "a:443", "b:8080"]);
        assert_eq!((probes[0].classes.as_slice(), class.size()), (&["web".to_owned()][..], 3));
        let free: Vec<_> = class.hosts[1].probes(&rules).collect();
        assert_eq!((free.len(), free[0].classes.len()), (1, 0));
    }
}
