//! Build → run → stop: the only place that names concrete adapters. A reload goes the same way, for what changed: prepare,
//! which may fail, then replace.

pub mod alone;
mod build;
mod desk;
mod exit;
mod http;
mod keeper;
mod mailboxes;
mod observer;
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

pub use desk::{archive, desk, tokens};
pub use exit::Exit;

use std::path::PathBuf;

use crate::config::Config;
use crate::telemetry;

/// Serves until SIGTERM or Ctrl-C, or until something that only a restart can mend. `file` is where the config was read, and
/// where SIGHUP and `mailbell reload` read it again.
pub async fn serve(config: Config, file: PathBuf) -> Result<(), Exit> {
    let filter = telemetry::start(&config.log).map_err(|err| Exit::Config(err.to_string()))?;
    let signals = run::Signals::listen()?;
    let parts = build::build(config, file, filter).await?;
    run::run(parts, signals).await
}
