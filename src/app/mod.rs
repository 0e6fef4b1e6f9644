//! Build → run → stop: the only place that names concrete adapters.

mod build;
mod desk;
mod exit;
pub mod rehearsal;
mod run;
mod stop;
mod systemd;

pub use desk::desk;
pub use exit::Exit;

use crate::config::Config;
use crate::telemetry;

/// Serves until SIGTERM or Ctrl-C, or until something that only a restart can mend.
pub async fn serve(config: Config) -> Result<(), Exit> {
    telemetry::start(&config.log).map_err(|err| Exit::Config(err.to_string()))?;
    let parts = build::build(config).await?;
    run::run(parts).await
}
