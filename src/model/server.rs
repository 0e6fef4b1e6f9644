//! Servers as people write them: `HOST`, `HOST:PORT`, `[IPV6]:PORT`.

// An address is a value; what is barred here under std::net are sockets.
use core::net::Ipv6Addr;

use super::quote;

/// The text names no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{wrong}; {allowed}")]
pub struct BadServer {
    /// What is wrong.
    pub wrong: String,
    /// What would not be.
    pub allowed: &'static str,
}

/// Host, and port if there is one, of `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
pub fn parse_server(text: &str) -> Result<(String, Option<u16>), BadServer> {
    let Some((name, port)) = split(text) else {
        let allowed = "write \"HOST\" or \"HOST:PORT\", such as \"mail.example.org:993\" or \"[::1]:993\"";
        return Err(BadServer { wrong: format!("{} is no server", quote(text)), allowed });
    };
    if name.parse::<Ipv6Addr>().is_err() {
        check_host(name)?;
    }
    // A sign is no part of a port, although Rust reads it.
    let number = |port: &str| port.bytes().all(|b| b.is_ascii_digit()).then(|| port.parse().ok()).flatten();
    match port.map(number) {
        None => Ok((name.to_owned(), None)),
        Some(Some(port)) if port > 0 => Ok((name.to_owned(), Some(port))),
        Some(_) => Err(BadServer {
            wrong: format!("{} has no valid port", quote(text)),
            allowed: "write a number from 1 to 65535 after the colon",
        }),
    }
}

fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        return if rest.is_empty() { Some((address, None)) } else { Some((address, Some(rest.strip_prefix(':')?))) };
    }
    match text.split_once(':') {
        // An address with a scheme, or IPv6 without brackets.
        Some((_, port)) if port.contains([':', '/']) => None,
        Some((name, port)) => Some((name, Some(port))),
        None => Some((text, None)),
    }
}

/// Is it a host name (RFC 1123 §2.1; an underscore is taken as well), or an IPv4 address?
pub fn check_host(text: &str) -> Result<(), BadServer> {
    let part = |part: &str| {
        let ends = part.starts_with('-') || part.ends_with('-');
        (1..=63).contains(&part.len())
            && !ends
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() <= 253 && name.split('.').all(part) {
        return Ok(());
    }
    Err(BadServer {
        wrong: format!("{} is no host name", quote(text)),
        allowed: "write letters, digits, - and dots; names in other scripts in their ASCII form (xn--…)",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_told_from_what_is_none() {
        let read = |text| parse_server(text).unwrap();
        assert_eq!(read("mail.example.org"), ("mail.example.org".into(), None));
        assert_eq!(read("mail.example.org:993"), ("mail.example.org".into(), Some(993)));
        assert_eq!(read("[::1]:993"), ("::1".into(), Some(993)));
        assert_eq!(read("[::1]"), ("::1".into(), None));
        assert_eq!(read("127.0.0.1:1"), ("127.0.0.1".into(), Some(1)));
        for bad in [
            "",
            "a b",
            "a:",
            "a:0",
            "a:65536",
            "a:x",
            "a:+1",
            "::1",
            "[::1",
            "[a]:1",
            "[::1]1",
            "imap://a",
            "a/b",
            "a..b",
            "-a",
            "ü.example",
            ":1",
        ] {
            assert!(parse_server(bad).is_err(), "{bad}");
        }
    }
}
