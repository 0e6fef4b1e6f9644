//! Where a mail may make mailbell connect to: what `[probe] allow` lists, and of that nothing that is never meant.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::lists::parse_port;
use crate::model::{BadServer, quote};

/// What `[probe] allow` lists; empty: nothing is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allow(pub Vec<Allowed>);

/// Some ports of a network or of one address: `10.0.0.0/8:80,443`, `192.0.2.7:*`, `[2001:db8::/32]:5432,8000-8099`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    net: IpNet,
    ports: Vec<RangeInclusive<u16>>,
}

/// Whatever the list says, no mail makes mailbell connect there. Addresses that carry another one are refused whatever that is:
/// what they lead to is decided elsewhere.
const NEVER_V4: [(Ipv4Addr, u8); 5] = [
    // "This network" (RFC 1122 §3.2.1.3): connect() takes 0.0.0.0 for this machine.
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    // Loopback.
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local (RFC 3927); clouds tell their machines' secrets at 169.254.169.254.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    // Multicast (RFC 5771).
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    // Reserved, and the broadcast (RFC 1112 §4, RFC 919).
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

const NEVER_V6: [(Ipv6Addr, u8); 11] = [
    // Unspecified, loopback, IPv4-compatible (RFC 4291 §2.5).
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 0), 96),
    // IPv4-mapped (RFC 4291 §2.5.5.2).
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
    // IPv4-translated (RFC 2765 §2.1).
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96),
    // NAT64 (RFC 6052 §2.1, RFC 8215).
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48),
    // Teredo (RFC 4380).
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32),
    // 6to4 (RFC 3056).
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    // Link-local, and site-local as it was (RFC 3879).
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10),
    // Multicast.
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
    // Discard-only (RFC 6666).
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64),
];

impl Allow {
    /// Is this port of this address listed, and not one of those that no list can allow? Our own ports are the caller's business.
    pub fn allows(&self, address: IpAddr, port: u16) -> bool {
        !never(address) && self.0.iter().any(|allowed| allowed.net.contains(&address) && allowed.has(port))
    }

    /// Is this port of any address listed? If not, a name need not be asked for.
    pub fn has_port(&self, port: u16) -> bool {
        self.0.iter().any(|allowed| allowed.has(port))
    }
}

impl Allowed {
    fn has(&self, port: u16) -> bool {
        self.ports.iter().any(|ports| ports.contains(&port))
    }
}

/// Is it an address that no mail makes mailbell connect to?
fn never(address: IpAddr) -> bool {
    nevers().any(|net| net.contains(&address)) || is_isatap(address)
}

fn nevers() -> impl Iterator<Item = IpNet> {
    let v4 = NEVER_V4.into_iter().filter_map(|(net, bits)| Ipv4Net::new(net, bits).ok().map(IpNet::V4));
    let v6 = NEVER_V6.into_iter().filter_map(|(net, bits)| Ipv6Net::new(net, bits).ok().map(IpNet::V6));
    v4.chain(v6)
}

/// An IPv4 address behind any prefix (RFC 5214 §6.1).
fn is_isatap(address: IpAddr) -> bool {
    match address {
        IpAddr::V6(v6) => matches!(v6.segments(), [_, _, _, _, 0 | 0x200, 0x5efe, _, _]),
        IpAddr::V4(_) => false,
    }
}

impl FromStr for Allowed {
    type Err = BadServer;

    fn from_str(text: &str) -> Result<Self, BadServer> {
        let form = "write \"NETWORK:PORTS\", such as \"10.0.0.0/8:80,443\", \"192.0.2.7:1024-65535\" or \
                    \"[2001:db8::/32]:*\"";
        let bad = |wrong: String| BadServer { wrong, allowed: form };
        let split = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:").filter(|(net, _)| net.contains(':')),
            None => text.split_once(':').filter(|(_, ports)| !ports.contains(':')),
        };
        let (net, ports) = split.ok_or_else(|| bad(format!("{} is no network with ports", quote(text))))?;
        let net = net.parse::<IpAddr>().map(IpNet::from).or_else(|_| net.parse());
        let net = net.map_err(|_| bad(format!("{} is no network with ports", quote(text))))?;
        if net.trunc() != net {
            let allowed = "write the network's own address, or leave /BITS out for one address";
            return Err(BadServer { wrong: format!("{net} is an address in {}", net.trunc()), allowed });
        }
        if nevers().any(|never| never.contains(&net)) {
            let allowed = "leave it out: loopback, link-local, multicast, reserved addresses and those that carry another \
                           one are never allowed";
            return Err(BadServer { wrong: format!("no mail makes mailbell connect to {net}"), allowed });
        }
        let ports = match ports {
            "*" => vec![1..=u16::MAX],
            ports => ports.split(',').map(|ports| parse_range(ports.trim_matches(' '))).collect::<Result<_, _>>()?,
        };
        Ok(Self { net, ports })
    }
}

/// `PORT` or `PORT-PORT`.
fn parse_range(text: &str) -> Result<RangeInclusive<u16>, BadServer> {
    let Some((first, last)) = text.split_once('-') else { return parse_port(text).map(|port| port..=port) };
    let (first, last) = (parse_port(first)?, parse_port(last)?);
    if first > last {
        let wrong = format!("{} has no port in it", quote(text));
        return Err(BadServer { wrong, allowed: "write the lower port first" });
    }
    Ok(first..=last)
}

/// As it is written.
impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let net = match self.net.prefix_len() == self.net.max_prefix_len() {
            true => self.net.addr().to_string(),
            false => self.net.to_string(),
        };
        match self.net {
            IpNet::V4(_) => write!(f, "{net}:")?,
            IpNet::V6(_) => write!(f, "[{net}]:")?,
        }
        for (n, ports) in self.ports.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            match (*ports.start(), *ports.end()) {
                (1, u16::MAX) => write!(f, "{comma}*")?,
                (first, last) if first == last => write!(f, "{comma}{first}")?,
                (first, last) => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(list: &[&str]) -> Allow {
        Allow(list.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn may(allow: &Allow, address: &str, port: u16) -> bool {
        allow.allows(address.parse().unwrap(), port)
    }

    #[test]
    fn only_what_is_listed_is_allowed() {
        let none = Allow::default();
        assert!(!may(&none, "10.0.0.1", 80) && !none.has_port(80));
        let some = allow(&["10.0.0.0/8:80,443", "192.0.2.7:*", "[2001:db8::/32]:5432,8000-8099", "[2001:db9::7]:22"]);
        for (address, port, want) in [
            ("10.0.0.0", 80, true),
            ("10.255.255.255", 443, true),
            ("10.1.2.3", 81, false),
            ("11.0.0.1", 80, false),
            ("9.255.255.255", 80, false),
            ("192.0.2.7", 1, true),
            ("192.0.2.7", 65_535, true),
            ("192.0.2.8", 80, false),
            ("2001:db8:ffff::1", 5432, true),
            ("2001:db8::1", 8000, true),
            ("2001:db8::1", 8099, true),
            ("2001:db8::1", 8100, false),
            ("2001:db9::7", 22, true),
            ("2001:db9::8", 22, false),
            // Not the same as 10.0.0.1, whatever a socket makes of it.
            ("::ffff:10.0.0.1", 80, false),
        ] {
            assert_eq!(may(&some, address, port), want, "{address} {port}");
        }
        assert!(some.has_port(8050) && !allow(&["10.0.0.0/8:80"]).has_port(81));
    }

    #[test]
    fn some_addresses_no_list_allows() {
        let all = allow(&["0.0.0.0/0:*", "[::/0]:*"]);
        assert!(may(&all, "192.0.2.1", 80) && may(&all, "2001:db8::1", 80) && may(&all, "fd00::1", 80));
        for (what, addresses) in [
            ("loopback", &["127.0.0.1", "127.255.255.254", "::1"][..]),
            ("unspecified", &["0.0.0.0", "0.1.2.3", "::"]),
            ("link-local", &["169.254.169.254", "169.254.0.1", "fe80::1", "febf::1", "fec0::1"]),
            ("mapped", &["::ffff:127.0.0.1", "::ffff:192.0.2.1", "::ffff:7f00:1"]),
            ("compatible", &["::127.0.0.1", "::192.0.2.1"]),
            ("translated", &["::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::c000:201", "64:ff9b:1::7f00:1"]),
            ("6to4", &["2002:7f00:1::", "2002:c000:201::1"]),
            ("Teredo", &["2001:0:4136:e378:8000:63bf:3fff:fdd2"]),
            ("ISATAP", &["2001:db8::5efe:127.0.0.1", "2001:db8::200:5efe:192.0.2.1"]),
            ("multicast", &["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"]),
            ("broadcast", &["255.255.255.255", "240.0.0.1"]),
            ("discard", &["100::1"]),
        ] {
            for address in addresses {
                assert!(!may(&all, address, 80), "{what}: {address}");
            }
        }
    }

    #[test]
    fn an_entry_reads_as_it_is_shown() {
        for text in [
            "10.0.0.0/8:80,443",
            "192.0.2.7:*",
            "192.0.2.7:1024-65535",
            "0.0.0.0/0:443",
            "[2001:db8::/32]:5432",
            "[2001:db8::7]:22,8000-8099",
            "[::/0]:*",
        ] {
            assert_eq!(text.parse::<Allowed>().unwrap().to_string(), text);
        }
        assert_eq!("192.0.2.7/32:80, 443".parse::<Allowed>().unwrap().to_string(), "192.0.2.7:80,443");
        let told = |text: &str| text.parse::<Allowed>().unwrap_err().to_string();
        let form =
            "write \"NETWORK:PORTS\", such as \"10.0.0.0/8:80,443\", \"192.0.2.7:1024-65535\" or \"[2001:db8::/32]:*\"";
        for bad in [
            "",
            "10.0.0.0/8",
            "10.0.0.0/33:80",
            "10.0.0/8:80",
            "010.0.0.1:80",
            "0x7f000001:80",
            "2001:db8::/32:80",
            "[2001:db8::]/32:80",
            "[10.0.0.0/8]:80",
            "db1.example.org:80",
            "*:80",
        ] {
            assert_eq!(told(bad), format!("{} is no network with ports; {form}", quote(bad)), "{bad}");
        }
        assert_eq!(
            told("10.1.2.3/8:80"),
            "10.1.2.3/8 is an address in 10.0.0.0/8; write the network's own address, or leave /BITS out for one address"
        );
        for bad in [
            "127.0.0.0/8:*",
            "127.0.0.1:80",
            "[::1]:80",
            "169.254.169.254:80",
            "[fe80::/64]:80",
            "[::ffff:192.0.2.1]:80",
        ] {
            assert!(told(bad).contains("never allowed"), "{bad}: {}", told(bad));
        }
        assert_eq!(told("10.0.0.0/8:0"), "`0` is no port; write a number from 1 to 65535");
        assert_eq!(told("10.0.0.0/8:90-80"), "`90-80` has no port in it; write the lower port first");
        for bad in
            ["10.0.0.0/8:", "10.0.0.0/8:80,", "10.0.0.0/8:80,*", "10.0.0.0/8:-80", "10.0.0.0/8:80-", "10.0.0.0/8:+80"]
        {
            assert!(told(bad).contains("is no port"), "{bad}: {}", told(bad));
        }
    }
}
