//! Starting the targets and reading what they cost.

use std::{
    collections::{HashMap, VecDeque},
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use crate::Result;

/// A running target; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    address: SocketAddr,
    stderr: Arc<Mutex<VecDeque<String>>>,
}

/// Longest wait for a target to say that it listens.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Lines of a target's stderr that are kept for an error report.
const KEPT_LINES: usize = 50;

impl Process {
    /// Starts `command` and waits for the stderr line `{announcement}http://ADDRESS`.
    /// Its stdout is what the caller set.
    pub fn start(command: &mut Command, announcement: &str) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", command.get_program().to_string_lossy()))?;
        let lines = BufReader::new(child.stderr.take().ok_or("no stderr")?).lines();
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let (found, address) = mpsc::channel();
        let (kept, prefix) = (stderr.clone(), format!("{announcement}http://"));
        // Read to the end, or the target would block on a full pipe.
        thread::spawn(move || {
            for line in lines.map_while(std::result::Result::ok) {
                if let Some(text) = line.strip_prefix(&prefix) {
                    let _ = found.send(text.trim_end_matches('/').parse());
                }
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == KEPT_LINES {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
        });
        let address = address.recv_timeout(START_LIMIT);
        let mut process = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), stderr };
        process.address = match address {
            Ok(address) => address?,
            Err(_) => {
                let name = command.get_program().to_string_lossy().into_owned();
                return Err(format!("{name} did not start to listen:\n{}", process.last_words()).into());
            }
        };
        Ok(process)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines it wrote to stderr.
    pub fn last_words(&self) -> String {
        let kept = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().cloned().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of each thread of a process at one moment, in nanoseconds.
#[derive(Debug, Clone)]
pub struct CpuTime(HashMap<String, u64>);

impl CpuTime {
    /// Reads the scheduler's own account (`/proc/PID/task/*/schedstat`: user and kernel time, nanoseconds).
    /// It is exact for threads that are not running at this moment, so read it when the load has ended.
    pub fn of(pid: u32) -> Result<Self> {
        let mut threads = HashMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let entry = entry?;
            // A thread may end between the listing and the read.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let spent = text.split_whitespace().next().ok_or("empty schedstat")?.parse()?;
            threads.insert(entry.file_name().to_string_lossy().into_owned(), spent);
        }
        Ok(Self(threads))
    }

    /// Time spent since `earlier` by the threads that still run.
    pub fn since(&self, earlier: &Self) -> Duration {
        let spent = |(thread, now): (&String, &u64)| now.saturating_sub(*earlier.0.get(thread).unwrap_or(&0));
        Duration::from_nanos(self.0.iter().map(spent).sum())
    }
}

/// Resident memory of a process in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Everything resident, the program text included (`VmRSS`).
    pub resident: u64,
    /// Heap and stacks only (`RssAnon`).
    pub anonymous: u64,
}

impl Memory {
    /// Reads `/proc/PID/status`.
    pub fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(|| format!("no {name}"))?;
            let kib: u64 = line.trim_start_matches(':').split_whitespace().next().unwrap_or_default().parse()?;
            Ok(kib * 1024)
        };
        Ok(Self { resident: field("VmRSS")?, anonymous: field("RssAnon")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_cost() {
        let pid = std::process::id();
        let before = CpuTime::of(pid).unwrap();
        let memory = Memory::of(pid).unwrap();
        assert!(memory.anonymous > 0 && memory.resident > memory.anonymous);
        // Busy until the scheduler has accounted for it.
        let mut spent = Duration::ZERO;
        while spent < Duration::from_millis(1) {
            spent = CpuTime::of(pid).unwrap().since(&before);
        }
    }

    #[test]
    fn a_target_that_ends_is_reported_with_its_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo cannot bind >&2; exit 1"]);
        let error = Process::start(&mut command, "listening on ").unwrap_err();
        assert!(error.to_string().contains("cannot bind"), "{error}");
    }

    #[test]
    fn the_announced_address_is_found() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo hello >&2; echo listening on http://127.0.0.1:4321 >&2; exec sleep 30"]);
        let process = Process::start(&mut command, "listening on ").unwrap();
        assert_eq!(process.address(), SocketAddr::from(([127, 0, 0, 1], 4321)));
    }
}
