//! The commands, one file each.

pub mod config;
pub mod send;
mod smtp;
