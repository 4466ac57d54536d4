//! On what the figures were taken.

use std::{fmt, fs, process::Command, thread};

/// The machine and the versions, as a line of text each.
#[derive(Debug, Clone)]
pub struct Machine {
    cores: usize,
    cpu: String,
    kernel: String,
    rustc: String,
    gateway: &'static str,
    load: String,
}

impl Machine {
    /// Asks the running system; what it does not tell is "unknown".
    pub fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned()));
        let rustc = Command::new("rustc").arg("--version").output().ok();
        let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        Self {
            cores: thread::available_parallelism().map_or(0, usize::from),
            cpu: cpu.unwrap_or_else(|| "unknown CPU".to_owned()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            rustc: rustc.unwrap_or_else(|| "rustc unknown".to_owned()),
            gateway: env!("CARGO_PKG_VERSION"),
            load: read("/proc/loadavg").split(' ').next().unwrap_or("?").to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, cpu, kernel, rustc, gateway, load } = self;
        write!(
            f,
            "{cores} cores ({cpu}), shared with the upstream and the load generator; Linux {kernel}; load average at \
             the start {load}; ai-gateway {gateway}, Pingora 0.9.1, mimalloc, {rustc}"
        )
    }
}
