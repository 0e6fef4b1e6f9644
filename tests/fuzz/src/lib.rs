//! What the fuzz programs share: the bodies, and a meter for the memory and the time that they take.

#[path = "../bodies/mod.rs"]
pub mod bodies;
mod meter;

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::{LazyLock, Mutex, PoisonError};

pub use libfuzzer_sys;

/// What the last panic said.
static SAID: Mutex<String> = Mutex::new(String::new());

/// What may be taken, for work on so many bytes.
struct Limits {
    what: &'static str,
    /// Memory, bytes: whatever it is given, and for each byte more.
    memory: usize,
    memory_a_byte: usize,
    /// Processor time, milliseconds.
    time: i64,
}

/// For what a body does; most take less than a millisecond.
const WORK: Limits = Limits { what: "work", memory: 6 << 20, memory_a_byte: 200, time: 1000 };
/// For reading a config before that. It is trusted: each expression in it may take its own memory and time.
const CONFIG: Limits = Limits { what: "config", memory: 6 << 20, memory_a_byte: 64 << 10, time: 5000 };

/// Where the meters stood when the work began, and the bytes that it is about.
static BEGUN: Mutex<(usize, i64, usize)> = Mutex::new((0, 0, 0));

/// Panics that are caught on their way are no findings: only what comes out of a body is. What is read once, whatever the
/// body is given, is read here.
pub fn prepare() {
    set_hook(Box::new(|panic| {
        *SAID.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
    }));
    LazyLock::force(&bodies::rules::READY);
    let _ = bodies::PREPARED.set(|| {
        let bytes = measure(&CONFIG);
        begin(bytes);
    });
}

/// Runs a body; ends the process where it fails, or takes too much memory or time.
pub fn run(body: bodies::Body, data: &[u8]) {
    begin(data.len());
    let done = catch_unwind(AssertUnwindSafe(|| body(data)));
    if done.is_err() {
        eprintln!("{}", SAID.lock().unwrap_or_else(PoisonError::into_inner));
        std::process::abort();
    }
    measure(&WORK);
}

fn begin(bytes: usize) {
    *BEGUN.lock().unwrap_or_else(PoisonError::into_inner) = (meter::start(), meter::processor(), bytes);
}

/// Ends the process where more was taken than these limits allow; gives the bytes that it was about.
fn measure(limits: &Limits) -> usize {
    let (before, began, bytes) = *BEGUN.lock().unwrap_or_else(PoisonError::into_inner);
    let (what, took, peak) = (limits.what, meter::processor() - began, meter::peak().saturating_sub(before));
    if took > limits.time {
        eprintln!("{what}: {bytes} bytes took {took} ms");
        std::process::abort();
    }
    if peak > limits.memory + limits.memory_a_byte * bytes {
        eprintln!("{what}: {bytes} bytes took {peak} bytes of memory");
        std::process::abort();
    }
    bytes
}

/// A program of libFuzzer's for a body.
#[macro_export]
macro_rules! target {
    ($body:path) => {
        use $crate::libfuzzer_sys;
        libfuzzer_sys::fuzz_target!(init: $crate::prepare(), |data: &[u8]| { $crate::run($body, data) });
    };
}
