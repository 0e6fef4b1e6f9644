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

/// Starts the log. Called once a process.
pub fn start(settings: &Settings) -> Result<(), BadFilter> {
    let filter = EnvFilter::builder()
        .parse(&settings.filter)
        .map_err(|err| BadFilter { filter: settings.filter.clone(), why: err.to_string() })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match settings.format {
        Format::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        Format::Json => log.json().flatten_event(true).init(),
    }
    // The crash tests' own hook turns an armed failpoint into an abort.
    if !cfg!(feature = "failpoints") {
        std::panic::set_hook(Box::new(tell));
    }
    Ok(())
}

/// Where, not what: the text of a panic in a parser may hold the mail.
fn tell(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(place, "a fault of mailbell itself (panic); please report it");
}
