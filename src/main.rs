//! The `mailbell` command.

fn main() -> std::process::ExitCode {
    mailbell::cli::run()
}
