//! What is looked at once a target is connected: its TLS, and what it says.

mod inspectors;
mod speak;

pub(super) use inspectors::Inspectors;
pub(super) use speak::Call;

use std::path::PathBuf;
use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};

/// What is looked at beyond the connection; at least one of both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Talk {
    /// TLS, right after the connection; what is said is said inside it.
    pub tls: Option<Tls>,
    /// What is said.
    pub exchange: Option<Exchange>,
}

/// A handshake, and the server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The name that the certificate must be for; `None`: the host's.
    pub name: Option<String>,
    /// Trust anchors beside those of the system, PEM.
    pub ca_file: Option<PathBuf>,
    /// A certificate that ends within this is warned of.
    pub warning: Duration,
}

/// What is sent, and what is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Sent first; `None`: the server speaks first.
    pub send: Option<String>,
    /// What it must say.
    pub expect: Expect,
    /// Most bytes that are read of it.
    pub most: usize,
}

/// A regular expression on bytes.
#[derive(Debug, Clone)]
pub struct Expect(Regex);

/// Most memory that an expression may take once it is compiled, in bytes: there may be one for each target.
const MOST_MEMORY: usize = 256 << 10;

impl Expect {
    /// Compiles it; the error says why it cannot be one.
    pub fn new(text: &str) -> Result<Self, String> {
        let built = RegexBuilder::new(text).size_limit(MOST_MEMORY).dfa_size_limit(MOST_MEMORY).build();
        built.map(Self).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "it is too large".into(),
            // The last line of the report says what is wrong; the lines before it draw the place.
            error => {
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default().trim();
                last.strip_prefix("error: ").unwrap_or(last).to_owned()
            }
        })
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    fn fits(&self, bytes: &[u8]) -> bool {
        self.0.is_match(bytes)
    }
}

impl PartialEq for Expect {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Expect {}

#[cfg(test)]
mod tests;
