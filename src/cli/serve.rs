//! `mailbell serve`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::app;
use crate::config::Config;
use crate::telemetry;

/// Run the gateway in the foreground, until SIGTERM or Ctrl-C. SIGUSR1 polls all mailboxes now.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Config file.
    #[arg(long, value_name = "FILE", default_value = crate::config::DEFAULT_PATH, env = "MAILBELL_CONFIG")]
    config: PathBuf,
}

/// Runs it. Exit codes: 0 stopped cleanly, 78 config, 74 storage, 70 a fault of mailbell.
pub fn run(args: &Args) -> ExitCode {
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(78);
        }
    };
    if let Err(err) = telemetry::start(&config.log) {
        eprintln!("{err}");
        return ExitCode::from(78);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build() {
        Ok(runtime) => runtime,
        Err(err) => {
            eprintln!("cannot start: {err}");
            return ExitCode::from(70);
        }
    };
    match runtime.block_on(app::serve(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            eprintln!("mailbell: {exit}");
            exit.code()
        }
    }
}
