//! The commands, one file each.

pub mod archive;
pub mod check;
pub mod config;
mod desk;
pub mod explain;
mod import;
mod json;
pub mod parse;
mod post;
pub mod probe;
pub mod quarantine;
pub mod queue;
pub mod reload;
pub mod resolve;
pub mod route;
pub mod send;
pub mod serve;
mod service;
mod smtp;
pub mod status;
mod table;
pub mod test;
pub mod token;
mod upgrade;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Email-to-IM alert gateway: mails with alerts come in over IMAP or POP3, instant messages go out over XMPP.
#[derive(Debug, Parser)]
#[command(name = "mailbell", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Reload(reload::Args),
    Status(status::Args),
    /// Check a config file, show the config in force, print a schema of it for editors, or make one of an old file
    #[command(subcommand)]
    Config(config::Command),
    Check(check::Args),
    Probe(Box<probe::Args>),
    Parse(parse::Args),
    Route(route::Args),
    Test(test::Args),
    /// Show and change what waits in the queue
    Queue(queue::Args),
    Explain(explain::Args),
    Resolve(resolve::Args),
    /// Show mails that could not be read
    Quarantine(quarantine::Args),
    /// Search and export what was sent: to whom, when, with what outcome
    Archive(archive::Args),
    /// Make, list and revoke tokens of the HTTP API
    Token(token::Args),
    Send(Box<send::Args>),
}

/// Parses the arguments and runs the command.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // What Nagios runs never says CRITICAL because it was called wrongly.
        Err(err) if err.use_stderr() && std::env::args_os().any(|arg| arg == "--nagios") => {
            return check::unknown(&err.to_string());
        }
        Err(err) => err.exit(),
    };
    match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Config(command) => config::run(&command),
        Command::Check(args) => check::run(&args),
        Command::Probe(args) => probe::run(&args),
        Command::Parse(args) => parse::run(&args),
        Command::Route(args) => route::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Queue(args) => desk::queue(&args),
        Command::Explain(args) => desk::explain(&args),
        Command::Resolve(args) => desk::resolve(&args),
        Command::Archive(args) => desk::archive(&args),
        Command::Quarantine(args) => desk::quarantine(&args),
        Command::Token(args) => desk::token(&args),
        Command::Send(args) => send::run(&args),
    }
}
