//! The `mailbell` command.

use std::process::ExitCode;

use clap::Parser;
use mailbell::cli::parse;

/// Email-to-IM alert gateway.
#[derive(Parser)]
#[command(version)]
enum Command {
    Parse(parse::Args),
}

fn main() -> ExitCode {
    match Command::parse() {
        Command::Parse(args) => parse::run(&args),
    }
}
