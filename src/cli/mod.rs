//! The commands, one file each.

pub mod quarantine;
pub mod queue;
mod table;
