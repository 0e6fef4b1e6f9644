//! The `mailbell` command.

fn main() {}
