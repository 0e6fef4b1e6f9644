//! The process as the kernel sees it (proc(5)).

use std::fs;
use std::time::Duration;

/// Numbers of this process; what cannot be read is absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Process {
    /// User and system time.
    pub cpu: Option<Duration>,
    /// Threads.
    pub threads: Option<u64>,
    /// Resident memory, bytes.
    pub resident: Option<u64>,
    /// Virtual memory, bytes.
    pub virtual_memory: Option<u64>,
    /// Open descriptors.
    pub fds: Option<u64>,
    /// Most of them.
    pub max_fds: Option<u64>,
}

impl Process {
    /// Of now.
    pub fn read() -> Self {
        let text = |file: &str| fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
        let status = text("status");
        Self {
            cpu: cpu_time(),
            threads: field(&status, "Threads:"),
            resident: field(&status, "VmRSS:").map(|kib| kib * 1024),
            virtual_memory: field(&status, "VmSize:").map(|kib| kib * 1024),
            // One of them is the directory itself.
            fds: fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count().saturating_sub(1) as u64),
            max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        }
    }
}

/// The scheduler's own count: nanoseconds, and no clock ticks to be asked for.
fn cpu_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_all_of_it() {
        let file = fs::File::open("/proc/self/status").unwrap();
        let Process { cpu, threads, resident, virtual_memory, fds, max_fds } = Process::read();
        drop(file);
        assert!(cpu.unwrap() > Duration::ZERO && threads.unwrap() >= 1);
        assert!(resident.unwrap() > 1 << 20 && virtual_memory.unwrap() >= resident.unwrap());
        assert!(fds.unwrap() >= 4 && max_fds.unwrap() >= fds.unwrap());
    }
}
