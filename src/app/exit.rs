//! Why the service ends, as an exit code of sysexits.h that a supervisor can act on.

use std::process::ExitCode;

use crate::queue::StoreError;

/// Why the service ends.
#[derive(Debug, thiserror::Error)]
pub enum Exit {
    /// Something in config that only showed when it was used: exit code 78.
    #[error("{0}")]
    Config(String),
    /// The store: exit code 74. A restart verifies it.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A fault of ours: exit code 70.
    #[error("{0}")]
    Internal(String),
}

impl Exit {
    /// sysexits.h: EX_CONFIG, EX_IOERR, EX_SOFTWARE.
    pub fn code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(78),
            Self::Store(_) => ExitCode::from(74),
            Self::Internal(_) => ExitCode::from(70),
        }
    }
}
