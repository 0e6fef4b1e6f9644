//! How many connections this process may have at once.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that are left for everything else: logs, store, mail, chat, and 256 questions to the resolver.
const SPARE: u64 = 64 + 256;
/// As many are taken where they may be had, so that no part of the service takes those that another counts on.
const ENOUGH: u64 = 65_536;
/// Least connections at once, however low the limit is.
const LEAST: u64 = 4;

/// As many of `wanted` connections as the limit on open files allows (setrlimit(2), RLIMIT_NOFILE), and why they are fewer.
/// Raises the soft limit. `key` of the config says how many are wanted.
pub fn connections(wanted: usize, key: &str) -> (usize, Option<String>) {
    let open = std::fs::read_dir("/proc/self/fd").map_or(SPARE, |fds| fds.count() as u64);
    let needed = (wanted as u64).saturating_add(open).saturating_add(SPARE);
    let limit = getrlimit(Resource::Nofile);
    let soft = limit.current.unwrap_or(u64::MAX);
    let raised = needed.max(ENOUGH).min(limit.maximum.unwrap_or(u64::MAX));
    let now = if raised > soft {
        let more = Rlimit { current: Some(raised), maximum: limit.maximum };
        if setrlimit(Resource::Nofile, more).is_ok() { raised } else { soft }
    } else {
        soft
    };
    allowed(wanted, key, open, now)
}

fn allowed(wanted: usize, key: &str, open: u64, limit: u64) -> (usize, Option<String>) {
    let free = limit.saturating_sub(open).saturating_sub(SPARE).max(LEAST);
    let free = usize::try_from(free).unwrap_or(usize::MAX);
    if free >= wanted {
        return (wanted, None);
    }
    let why = format!(
        "only {free} connections at a time instead of {wanted}: this process may have {limit} open files; raise the \
         limit (ulimit -n, LimitNOFILE=), or lower {key}"
    );
    (free, Some(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_binds_is_explained() {
        assert_eq!(allowed(1000, "concurrency", 20, 1 << 20), (1000, None));
        let (n, why) = allowed(1000, "concurrency", 20, 1024);
        assert_eq!(n, 684);
        let why = why.unwrap();
        assert!(why.starts_with("only 684 connections at a time instead of 1000: this process may have 1024"), "{why}");
        assert_eq!(allowed(1000, "concurrency", 300, 256).0, 4, "it goes on, slowly");
    }
}
