//! Build → run → stop: the only place that names concrete adapters. A reload goes the same way, for what changed: prepare,
//! which may fail, then replace.

pub mod alone;
mod build;
mod desk;
pub mod exit;
mod http;
mod keeper;
mod mailboxes;
mod observer;
mod office;
mod people;
mod prepare;
mod probe;
pub mod rehearsal;
mod reload;
mod reporter;
mod run;
mod stop;
mod systemd;
mod watched;

pub use desk::{archive, desk, office, tokens};
pub use exit::Exit;

use std::path::PathBuf;

use crate::config::Config;
use crate::route::{RouteError, Router};
use crate::telemetry;

/// Serves until SIGTERM or Ctrl-C, or until something that only a restart can mend. `file` is where the config was read, and
/// where SIGHUP and `mailbell reload` read it again.
pub async fn serve(config: Config, file: PathBuf) -> Result<(), Exit> {
    let filter = telemetry::start(&config.log).map_err(|err| Exit::Config(err.to_string()))?;
    let signals = run::Signals::listen()?;
    let parts = build::build(config, file, filter).await?;
    run::run(parts, signals).await
}

/// The routes of a config, checked and compiled.
fn router(config: &Config) -> Result<Router, Exit> {
    let told = |errors: Vec<RouteError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    Router::new(&config.route).map_err(|errors| Exit::Config(told(errors)))
}
