//! What the system knows of this process.

/// None where the system does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    pub(super) resident_bytes: Option<u64>,
    pub(super) cpu_seconds: Option<f64>,
    pub(super) open_fds: Option<u64>,
}

#[cfg(target_os = "linux")]
pub(super) fn look() -> Process {
    use rustix::time::{ClockId, clock_gettime};
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = std::time::Duration::try_from(cpu).map_or(0.0, |cpu| cpu.as_secs_f64());
    // The folder that is being listed is itself open.
    let open =
        std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as u64);
    Process { resident_bytes: resident(&status), cpu_seconds: Some(cpu), open_fds: open }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn look() -> Process {
    Process::default()
}

/// `VmRSS:   1234 kB` of proc_pid_status(5).
#[cfg(target_os = "linux")]
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}
