//! What the commands to the running service have in common.

use std::path::PathBuf;

use crate::{config, control};

/// Where the service is, and how its answer is told.
#[derive(Debug, clap::Args)]
pub struct ServiceArgs {
    /// Config file of the service, which names the store and with it the service's socket [default: $MAILBELL_CONFIG, else
    /// /etc/mailbell/mailbell.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Socket of the service, where it is not the one beside the store of the config file: after [store] path was changed
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl ServiceArgs {
    /// The socket that is named, else the one beside the store of the config.
    ///
    /// # Errors
    /// The config does not name a store.
    pub fn socket(&self) -> Result<PathBuf, config::Errors> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let file = config::path(self.config.as_deref(), |name| std::env::var_os(name));
        config::load_store(&file).map(|store| control::socket_path(&store.path))
    }
}
