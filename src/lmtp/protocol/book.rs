//! Which address belongs to which mailbox.

use std::collections::HashMap;

use crate::model::MailboxName;

/// What a mailbox takes: one address, every address of a domain, or every address. Compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// `NAME@DOMAIN`, in lower case.
    One(String),
    /// `*@DOMAIN`: the domain, in lower case.
    Domain(String),
    /// `*`.
    Any,
}

/// The text is no address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no address; write NAME@DOMAIN, *@DOMAIN for every name of a domain, or * for every address")]
pub struct BadAddress(String);

impl Address {
    /// A regular expression that matches every one that can be read.
    pub const PATTERN: &str = r"^(\*|.+@.+)$";
}

impl std::str::FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress(text.chars().take(80).collect());
        if text == "*" {
            return Ok(Self::Any);
        }
        let (local, domain) = text.rsplit_once('@').ok_or_else(bad)?;
        let odd = |c: char| c.is_whitespace() || c.is_control() || "<>\"\\@*?,;:".contains(c);
        let plain = |part: &str| !part.is_empty() && !part.chars().any(odd);
        // A domain may be an address literal (RFC 5321 §4.1.3), with colons.
        let literal = domain.starts_with('[') && domain.ends_with(']') && !domain.contains(char::is_whitespace);
        // One dot may end it, which means nothing. Without any name before that it would be no domain, or every one.
        let mut labels = domain.strip_suffix('.').unwrap_or(domain).split('.');
        let named = plain(domain) && labels.all(|label| !label.is_empty());
        if !(named || literal) || !(local == "*" || plain(local)) {
            return Err(bad());
        }
        let folded = fold(text);
        Ok(match folded.strip_prefix("*@") {
            Some(domain) => Self::Domain(domain.to_owned()),
            None => Self::One(folded),
        })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(address) => f.write_str(address),
            Self::Domain(domain) => write!(f, "*@{domain}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// A mailbox that mails are handed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// Its name.
    pub name: MailboxName,
    /// What it takes.
    pub addresses: Vec<Address>,
    /// Larger mails are refused, bytes.
    pub max_size: u64,
}

/// All mailboxes, by address. The nearest counts: the address itself, then its domain, then the one that takes all.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Book {
    mailboxes: Vec<Mailbox>,
    places: HashMap<Address, usize>,
}

impl Book {
    /// Of an address that two mailboxes take the first one counts; config refuses that.
    pub fn new(mailboxes: Vec<Mailbox>) -> Self {
        let mut places = HashMap::new();
        for (place, mailbox) in mailboxes.iter().enumerate() {
            for address in &mailbox.addresses {
                places.entry(address.clone()).or_insert(place);
            }
        }
        Self { mailboxes, places }
    }

    /// The place of the mailbox that takes the address, as RCPT gives it.
    pub fn find(&self, address: &str) -> Option<usize> {
        let address = fold(address);
        let domain = address.rsplit_once('@').map(|(_, domain)| Address::Domain(domain.to_owned()));
        let one = self.places.get(&Address::One(address));
        let near = one.or_else(|| domain.and_then(|domain| self.places.get(&domain)));
        near.or_else(|| self.places.get(&Address::Any)).copied()
    }

    /// The mailbox at a place.
    pub fn get(&self, place: usize) -> Option<&Mailbox> {
        self.mailboxes.get(place)
    }

    /// The largest mail that any of them takes, bytes.
    pub fn max_size(&self) -> u64 {
        self.mailboxes.iter().map(|mailbox| mailbox.max_size).max().unwrap_or(0)
    }
}

/// As addresses are compared: in lower case, without the dot after a domain, and without quotes that mean nothing
/// (RFC 5321 §4.1.2: `"ops"@a` and `ops@a` are one).
fn fold(address: &str) -> String {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let bare = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let local = match bare {
        Some(bare) if !bare.is_empty() && !bare.contains(['"', '\\', ' ', '@', '<', '>', ',', ';', ':', '*']) => bare,
        _ => local,
    };
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let whole = if domain.is_empty() { local.to_owned() } else { format!("{local}@{domain}") };
    whole.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(name: &str, addresses: &[&str]) -> Mailbox {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        Mailbox { name: name.parse().unwrap(), addresses, max_size: 10 }
    }

    #[test]
    fn the_nearest_address_counts() {
        let book = Book::new(vec![
            mailbox("rest", &["*"]),
            mailbox("all", &["*@a.example"]),
            mailbox("ops", &["Ops@A.example", "ops@b.example"]),
        ]);
        for (address, name) in [
            ("ops@a.example", "ops"),
            ("OPS@A.EXAMPLE", "ops"),
            ("ops@a.example.", "ops"),
            ("\"ops\"@a.example", "ops"),
            ("\"o ps\"@a.example", "all"),
            ("x@a.example", "all"),
            ("\"x@b.example\"@a.example", "all"),
            ("x@sub.a.example", "rest"),
            ("ops", "rest"),
            ("*@a.example", "all"),
        ] {
            assert_eq!(book.get(book.find(address).unwrap()).unwrap().name.as_str(), name, "{address}");
        }
        let book = Book::new(vec![mailbox("ops", &["ops@a.example"])]);
        for stranger in ["", "@", "ops", "ops@", "ops@b", "*", "*@a.example", "a.example", "xops@a.example"] {
            assert_eq!(book.find(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn only_addresses_are_addresses() {
        for (text, shown) in [("Ops@A.example", "ops@a.example"), ("*@A.example", "*@a.example"), ("*", "*")] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
        assert!("ops@[127.0.0.1]".parse::<Address>().is_ok());
        // `*@.` would be shown as `*`, and so be every address when it is read again.
        let dots = ["*@.", "a@.", "a@b..", "a@.b", "a@b..c"];
        for bad in
            ["", "ops", "@", "a@", "@a", "*@", "o*@a", "a@*", "a b@c", "a@b c", "<a@b>", "a@b@c", "a,b@c", "~.*@a"]
                .into_iter()
                .chain(dots)
        {
            assert_eq!(bad.parse::<Address>(), Err(BadAddress(bad.to_owned())), "{bad}");
        }
    }
}
