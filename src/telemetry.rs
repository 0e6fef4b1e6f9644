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

/// Sets another filter while the log runs.
pub struct Filter(Box<dyn Fn(EnvFilter) -> Result<(), tracing_subscriber::reload::Error> + Send + Sync>);

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Filter(…)")
    }
}

impl Filter {
    /// From now on by this filter, which [`parse`]s.
    pub fn set(&self, filter: &str) {
        match parse(filter).map(|filter| (self.0)(filter)) {
            Ok(Ok(())) => {}
            Ok(Err(err)) => tracing::error!(%err, "the log filter stays as it was"),
            Err(err) => tracing::error!(%err, "the log filter stays as it was"),
        }
    }
}

/// Reads a filter.
fn parse(filter: &str) -> Result<EnvFilter, BadFilter> {
    EnvFilter::builder().parse(filter).map_err(|err| BadFilter { filter: filter.to_owned(), why: err.to_string() })
}

/// Starts the log. Called once a process.
pub fn start(settings: &Settings) -> Result<Filter, BadFilter> {
    let filter = parse(&settings.filter)?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let set = match settings.format {
        Format::Text => {
            let log = log.with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
            let handle = log.reload_handle();
            log.init();
            Filter(Box::new(move |filter| handle.reload(filter)))
        }
        Format::Json => {
            // The innermost span is enough: none of ours is inside another of which more is to be known.
            let log = log.json().flatten_event(true).with_target(true).with_span_list(false).with_filter_reloading();
            let handle = log.reload_handle();
            log.init();
            Filter(Box::new(move |filter| handle.reload(filter)))
        }
    };
    // The crash tests' own hook turns an armed failpoint into an abort.
    if !cfg!(feature = "failpoints") {
        std::panic::set_hook(Box::new(tell));
    }
    Ok(set)
}

/// Where, not what: the text of a panic in a parser may hold the mail.
fn tell(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(place, "a fault of mailbell itself (panic); please report it");
}
