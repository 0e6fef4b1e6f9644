//! `mailbell serve`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::app;
use crate::app::exit::{EX_CONFIG, EX_SOFTWARE};
use crate::config::{self, Config};

/// Run the gateway in the foreground
///
/// It runs until SIGTERM or Ctrl-C. SIGHUP reads the config again (see `mailbell reload`), SIGUSR1 polls all mailboxes now. Exit codes: 0 stopped cleanly, 78 config, 74 storage,
/// 70 a fault of mailbell.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Config file [default: $MAILBELL_CONFIG, else /etc/mailbell/mailbell.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: &Args) -> ExitCode {
    let env = |name: &str| std::env::var_os(name);
    let file = config::path(args.config.as_deref(), env);
    let config = match Config::load(&file, env) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(EX_CONFIG);
        }
    };
    // Parsing runs beside; two threads are plenty for sockets and timers.
    match tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build() {
        Ok(runtime) => match runtime.block_on(app::serve(config, file)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(exit) => {
                eprintln!("mailbell: {exit}");
                exit.code()
            }
        },
        Err(err) => {
            eprintln!("mailbell: cannot start: {err}");
            ExitCode::from(EX_SOFTWARE)
        }
    }
}
