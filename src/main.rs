//! The `mailbell` command.

fn main() -> std::process::ExitCode {
    #[cfg(feature = "failpoints")]
    let _armed = failpoints::arm();
    mailbell::cli::run()
}

/// For the crash tests: `FAILPOINTS="after_d1=panic"` ends the process at that commit as kill -9 would.
#[cfg(feature = "failpoints")]
mod failpoints {
    pub fn arm() -> fail::FailScenario<'static> {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            usual(panic);
            let said = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
            if said.starts_with("failpoint ") {
                // No destructor, no roll-back, no farewell.
                std::process::abort();
            }
        }));
        fail::FailScenario::setup()
    }
}
