//! What the fuzz programs share: the bodies, and a meter for the memory and the time that they take.

#[path = "../bodies/mod.rs"]
pub mod bodies;
mod meter;

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::{Mutex, PoisonError};

pub use libfuzzer_sys;

/// What the last panic said.
static SAID: Mutex<String> = Mutex::new(String::new());

/// Memory that a body may take whatever it is given, bytes.
const MEMORY: usize = 6 << 20;
/// And so many bytes more for each byte that it is given.
const MEMORY_A_BYTE: usize = 200;
/// Processor time that a body may take, milliseconds; most take less than one.
const TIME: i64 = 1000;

/// Panics that are caught on their way are no findings: only what comes out of a body is.
pub fn prepare() {
    set_hook(Box::new(|panic| {
        *SAID.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
    }));
}

/// Runs a body; ends the process where it fails, or takes too much memory or time.
pub fn run(body: bodies::Body, data: &[u8]) {
    let (before, began) = (meter::start(), meter::processor());
    let done = catch_unwind(AssertUnwindSafe(|| body(data)));
    let peak = meter::peak().saturating_sub(before);
    if done.is_err() {
        eprintln!("{}", SAID.lock().unwrap_or_else(PoisonError::into_inner));
        std::process::abort();
    }
    let took = meter::processor() - began;
    if took > TIME {
        eprintln!("{} bytes took {took} ms", data.len());
        std::process::abort();
    }
    if peak > MEMORY + MEMORY_A_BYTE * data.len() {
        eprintln!("{} bytes took {peak} bytes of memory", data.len());
        std::process::abort();
    }
}

/// A program of libFuzzer's for a body.
#[macro_export]
macro_rules! target {
    ($body:path) => {
        use $crate::libfuzzer_sys;
        libfuzzer_sys::fuzz_target!(init: $crate::prepare(), |data: &[u8]| { $crate::run($body, data) });
    };
}
