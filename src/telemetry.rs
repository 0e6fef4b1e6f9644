//! The log: one line an event on stderr, as text or as JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// `[log]` of the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Text for people, or JSON.
    pub format: Format,
    /// What is logged: `info`, or by module as in `info,mailbell::xmpp=debug`.
    pub filter: String,
}

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why the filter cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{filter}` is no log filter ({why}); write a level (error, warn, info, debug), or levels by module: \"info,mailbell::xmpp=debug\""
)]
pub struct BadFilter {
    filter: String,
    why: String,
}

/// Checks a filter.
pub fn check(filter: &str) -> Result<(), BadFilter> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, BadFilter> {
    EnvFilter::builder().parse(filter).map_err(|err| BadFilter { filter: filter.to_owned(), why: err.to_string() })
}

/// Starts the log. Called once a process.
pub fn start(settings: &Settings) -> Result<(), BadFilter> {
    let filter = parse(&settings.filter)?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match settings.format {
        Format::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        Format::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_bad_filter_is_explained() {
        assert!(super::check("info,mailbell::xmpp=debug").is_ok());
        let err = super::check("loud=very=much").unwrap_err().to_string();
        assert!(err.starts_with("`loud=very=much` is no log filter"), "{err}");
    }
}
