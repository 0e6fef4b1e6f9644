//! Why the service ends, as an exit code of sysexits.h that a supervisor can act on.

use std::process::ExitCode;

use crate::queue::StoreError;

/// Exit codes of sysexits.h: the input is no such thing.
pub const EX_DATAERR: u8 = 65;
/// A file cannot be read.
pub const EX_NOINPUT: u8 = 66;
/// No service, or one that refuses for good: trying again does not help.
pub const EX_UNAVAILABLE: u8 = 69;
/// A fault of mailbell's own.
pub const EX_SOFTWARE: u8 = 70;
/// The storage, or the output.
pub const EX_IOERR: u8 = 74;
/// Try again later.
pub const EX_TEMPFAIL: u8 = 75;
/// The token is refused.
pub const EX_NOPERM: u8 = 77;
/// The config.
pub const EX_CONFIG: u8 = 78;

/// Why the service ends.
#[derive(Debug, thiserror::Error)]
pub enum Exit {
    /// Something in config that only showed when it was used.
    #[error("{0}")]
    Config(String),
    /// The store. A restart verifies it.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A fault of ours.
    #[error("{0}")]
    Internal(String),
}

impl Exit {
    /// As an exit code.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Config(_) => EX_CONFIG,
            Self::Store(_) => EX_IOERR,
            Self::Internal(_) => EX_SOFTWARE,
        })
    }
}
