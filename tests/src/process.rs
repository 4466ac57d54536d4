//! The real binary: found or built once, started with a temporary configuration, known ready by what it prints, and
//! killed (only itself) when the handle drops.

use crate::{HANG, guard, guard_until};
use ai_gateway_providers::Dialect;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;

/// Path of the `ai-gateway` binary of this build profile. `AI_GATEWAY_BIN` overrides it; otherwise it is built if it is
/// missing or older than the sources.
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY
        .get_or_init(|| {
            if let Some(path) = std::env::var_os("AI_GATEWAY_BIN") {
                return PathBuf::from(path);
            }
            // …/target/<profile>/deps/<suite>-<hash>
            let own = std::env::current_exe().expect("path of the test binary");
            let profile_dir = own.parent().and_then(Path::parent).expect("target/<profile>/deps").to_path_buf();
            let path = profile_dir.join("ai-gateway");
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            let built = path.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            let newest =
                ["gateway/src", "providers/src", "plugins/src"].iter().map(|d| newest_below(&root.join(d))).max();
            if newest.is_some_and(|newest| newest > built) {
                let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                cargo.args(["build", "--quiet", "-p", "ai-gateway"]).current_dir(&root);
                cargo.env("CARGO_TARGET_DIR", profile_dir.parent().expect("target directory"));
                if profile_dir.ends_with("release") {
                    cargo.arg("--release");
                }
                let status = cargo.status().expect("cargo runs");
                assert!(status.success(), "building the gateway failed");
            }
            path
        })
        .clone()
}

fn newest_below(dir: &Path) -> SystemTime {
    let Ok(entries) = std::fs::read_dir(dir) else { return SystemTime::UNIX_EPOCH };
    let time = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => newest_below(&entry.path()),
        _ => entry.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH),
    };
    entries.flatten().map(time).max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Lines of one output of a process, in order, as they come.
struct Lines {
    seen: Mutex<Vec<String>>,
    count: watch::Sender<usize>,
}

impl Lines {
    /// Until its end, or until it says `last`: then nobody reads it any more.
    fn collect(from: impl Read + Send + 'static, last: Option<&'static str>) -> Arc<Self> {
        let lines = Arc::new(Lines { seen: Mutex::default(), count: watch::Sender::new(0) });
        let mine = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                let enough = last.is_some_and(|last| line.contains(last));
                mine.seen.lock().unwrap().push(line);
                mine.count.send_modify(|count| *count += 1);
                if enough {
                    break;
                }
            }
            // Wakes the waiters for the end of the output.
            mine.count.send_modify(|count| *count |= CLOSED);
        });
        lines
    }

    fn all(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// The first line for which `find` has a value; `None` when the output ends without one.
    async fn find<T>(&self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let mut count = self.count.subscribe();
        let mut next = 0;
        loop {
            let state = *count.borrow_and_update();
            {
                let seen = self.seen.lock().unwrap();
                if let Some(value) = seen[next..].iter().find_map(|line| find(line)) {
                    return Some(value);
                }
                next = seen.len();
            }
            if state & CLOSED != 0 || count.changed().await.is_err() {
                return None;
            }
        }
    }
}

const CLOSED: usize = 1 << (usize::BITS - 1);

/// A child process with its output, killed on drop.
struct Process {
    child: Child,
    stdout: Arc<Lines>,
    stderr: Arc<Lines>,
    dir: tempfile::TempDir,
    /// Processes that took over from it, killed as it is.
    successors: Mutex<Vec<u32>>,
}

impl Process {
    fn spawn(mut command: Command, dir: tempfile::TempDir, last: Option<&'static str>) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let stdout = Lines::collect(child.stdout.take().expect("piped"), None);
        let stderr = Lines::collect(child.stderr.take().expect("piped"), last);
        Process { child, stdout, stderr, dir, successors: Mutex::default() }
    }

    async fn announced(&self, prefix: &str) -> SocketAddr {
        let find = |line: &str| line.split_once(prefix)?.1.split_once("://")?.1.trim().parse().ok();
        match guard(prefix, self.stderr.find(find)).await {
            Some(addr) => addr,
            None => panic!("the process ended before `{prefix}`:\n{}", self.stderr.all().join("\n")),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let running = matches!(self.child.try_wait(), Ok(None));
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in self.successors.lock().unwrap().drain(..) {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
        }
        if std::thread::panicking() {
            let (out, err) = (self.stdout.all(), self.stderr.all());
            let last = |lines: &[String]| lines[lines.len().saturating_sub(30)..].join("\n");
            eprintln!("--- gateway (running: {running}) stdout\n{}\n--- stderr\n{}\n---", last(&out), last(&err));
        }
    }
}

/// The child sees the variables it needs to run and the test's own, not the developer's provider keys.
fn command(args: &[&str], env: &[(String, String)]) -> Command {
    command_of(&binary(), args, env)
}

fn command_of(binary: &Path, args: &[&str], env: &[(String, String)]) -> Command {
    let mut command = Command::new(binary);
    command.args(args).env_clear();
    for name in ["PATH", "HOME", "TMPDIR", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.envs(env.iter().cloned());
    command
}

/// A running `ai-gateway run`.
pub struct Gateway {
    process: Process,
    /// The public listener.
    pub addr: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
}

/// What a gateway is started with.
#[derive(Default)]
pub struct GatewayBuilder {
    server: String,
    config: String,
    env: Vec<(String, String)>,
    own_binary: bool,
    last: Option<&'static str>,
}

impl GatewayBuilder {
    /// Starts it from a link of its own to the binary ([`Gateway::binary`]), which the test may replace.
    #[must_use]
    pub fn own_binary(mut self) -> Self {
        self.own_binary = true;
        self
    }

    /// Closes its standard error once it serves.
    #[must_use]
    pub fn unheard(mut self) -> Self {
        self.last = Some("admin on");
        self
    }

    /// Adds a line to `[server]`, such as `max_body = "1KiB"`. `listen` and `admin` are set already.
    #[must_use]
    pub fn server(mut self, line: &str) -> Self {
        self.server.push_str(line);
        self.server.push('\n');
        self
    }

    /// Adds TOML after `[server]`.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// Sets an environment variable of the process.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts it and waits until it has printed that it listens.
    pub async fn start(self) -> Gateway {
        let dir = tempfile::tempdir().expect("temporary directory");
        let file = dir.path().join("gateway.toml");
        let (server, config) = (&self.server, &self.config);
        std::fs::write(&file, text(server, config)).expect("configuration file");
        let path = file.to_str().expect("utf-8 path");
        let mut program = binary();
        if self.own_binary {
            let link = dir.path().join("ai-gateway");
            std::os::unix::fs::symlink(&program, &link).expect("link");
            program = link;
        }
        let process = Process::spawn(command_of(&program, &["run", "--config", path], &self.env), dir, self.last);
        let addr = process.announced("listening on").await;
        let admin = process.announced("admin on").await;
        Gateway { process, addr, admin }
    }
}

fn text(server: &str, config: &str) -> String {
    format!("[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n{server}\n{config}")
}

impl Gateway {
    /// Its configuration file.
    pub fn file(&self) -> PathBuf {
        self.process.dir.path().join("gateway.toml")
    }

    /// Where its binary is, if it was started with [`GatewayBuilder::own_binary`].
    pub fn binary(&self) -> PathBuf {
        self.process.dir.path().join("ai-gateway")
    }

    /// Replaces its file, as [`GatewayBuilder`] writes it. Nothing is reloaded.
    pub fn write(&self, server: &str, config: &str) {
        std::fs::write(self.file(), text(server, config)).expect("configuration file");
    }

    /// Runs a subcommand that asks this gateway, such as `reload`.
    pub fn command(&self, args: &[&str]) -> Outcome {
        let (file, admin) = (self.file(), self.admin.to_string());
        let whom = ["--config", file.to_str().expect("utf-8 path"), "--admin", &admin];
        run_to_end(&[args, &whom].concat(), "", &[])
    }

    /// Lets a new process take over, which is expected to work; its id.
    pub async fn upgrade(&self) -> u32 {
        let reply = crate::client::exchange(self.admin, &crate::client::Request::post("/api/upgrade", "")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let pid = reply.json()["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a process id");
        self.adopt(pid);
        pid
    }

    /// Has this process killed with the gateway: it took over from it.
    pub fn adopt(&self, pid: u32) {
        self.process.successors.lock().unwrap().push(pid);
    }

    /// What `GET /api/status` says.
    pub async fn status(&self) -> Value {
        crate::client::exchange(self.admin, &crate::client::Request::get("/api/status")).await.json()
    }

    /// Waits until `GET /api/status` says so; what it says then.
    pub async fn status_when(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        self.admin_when("/api/status", what, is).await
    }

    /// Waits until the admin listener says so at `path`; what it says then.
    pub async fn admin_when(&self, path: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let asked = crate::client::Request::get(path);
        let say = async || Some(crate::client::exchange(self.admin, &asked).await.json());
        guard_until(what, async || say().await.filter(|said| is(said))).await
    }

    /// Starts one with this TOML below `[server]`.
    pub async fn start(config: &str) -> Gateway {
        Self::builder().config(config).start().await
    }

    /// An empty configuration to add to.
    pub fn builder() -> GatewayBuilder {
        GatewayBuilder::default()
    }

    /// The access-log line of the request with this `x-request-id`, waiting for it to be written.
    pub async fn log_of(&self, request_id: &str) -> Value {
        let find = |line: &str| {
            let value: Value = serde_json::from_str(line).ok()?;
            value.as_object()?.values().any(|v| v.as_str() == Some(request_id)).then_some(value)
        };
        match guard("access-log line", self.process.stdout.find(find)).await {
            Some(line) => line,
            None => panic!("the gateway ended without logging request {request_id}"),
        }
    }

    /// The first access-log line for which `find` has a value, waiting for it.
    pub async fn log_line<T>(&self, find: impl Fn(&Value) -> Option<T>) -> T {
        let parse = |line: &str| find(&serde_json::from_str(line).ok()?);
        guard("access-log line", self.process.stdout.find(parse)).await.expect("the gateway ended before the line")
    }

    /// Waits until it has said this to standard error: the first such line.
    pub async fn told(&self, what: impl Fn(&str) -> bool) -> String {
        let find = |line: &str| what(line).then(|| line.to_owned());
        match guard("a message", self.process.stderr.find(find)).await {
            Some(line) => line,
            None => panic!("the gateway ended without saying so"),
        }
    }

    /// Everything printed so far: the access log, then the messages. What was printed a moment ago may not be read yet.
    pub fn output(&self) -> (Vec<String>, Vec<String>) {
        (self.process.stdout.all(), self.process.stderr.all())
    }

    /// Asks it to end, as systemd does.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal to the first process.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Ends it, and returns the whole access log.
    pub async fn final_log(mut self) -> Vec<Value> {
        self.terminate();
        self.ended().await;
        let lines = self.process.stdout.all();
        lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }

    /// The sum of a metric's values on the admin listener, over the label sets that contain `labels` as printed; `None`: there
    /// is no such value.
    pub async fn measured(&self, name: &str, labels: &str) -> Option<f64> {
        let metrics = crate::client::exchange(self.admin, &crate::client::Request::get("/metrics")).await.text();
        let of_name = |line: &&str| line.split(['{', ' ']).next() == Some(name) && line.contains(labels);
        let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
        metrics.lines().filter(of_name).filter_map(value).reduce(|sum, value| sum + value)
    }

    /// Waits until [`Gateway::measured`] is as it should be; its value then.
    pub async fn measured_when(&self, name: &str, labels: &str, is: impl Fn(f64) -> bool) -> f64 {
        guard_until(name, async || self.measured(name, labels).await.filter(|value| is(*value))).await
    }

    /// [`Gateway::measured`] of what is counted. Without `labels` there must be such a metric.
    pub async fn counted(&self, name: &str, labels: &str) -> u64 {
        let counted = self.measured(name, labels).await;
        assert!(counted.is_some() || !labels.is_empty(), "there is no {name}");
        let counted = counted.unwrap_or_default();
        assert!(counted >= 0.0, "{name} is {counted}");
        counted as u64
    }

    /// Waits until [`Gateway::counted`] is as it should be; its value then.
    pub async fn counted_when(&self, name: &str, labels: &str, is: impl Fn(u64) -> bool) -> u64 {
        guard_until(name, async || Some(self.counted(name, labels).await).filter(|count| is(*count))).await
    }

    /// Waits until it says that it reaches the Redis of `[store]`, or that it does not.
    pub async fn store_is(&self, up: bool) {
        self.measured_when("gateway_store_up", "", |value| value == f64::from(u8::from(up))).await;
    }

    /// Waits until nothing is in flight. What is settled behind the last byte of an answer, such as limits, counts and traces,
    /// is settled then.
    pub async fn at_rest(&self) {
        self.counted_when("gateway_in_flight", "", |count| count == 0).await;
    }

    /// Lets it go on for a while, so that it reads what has arrived: for what shows nowhere outside.
    pub async fn reads_on(&self) {
        for _ in 0..20 {
            self.status().await;
        }
    }

    /// Waits until so many requests follow the calls of others: they have joined them, whether or not there is an answer yet.
    pub async fn followed(&self, wanted: u64) {
        self.counted_when("gateway_cache_following", "", |count| count == wanted).await;
    }

    /// Waits until it has ended, and all that it has printed is in [`Gateway::output`], unless a process that took over from it
    /// prints on; its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let ended = async || self.process.child.try_wait().expect("wait");
        let code = guard_until("the gateway ends", ended).await.code();
        if self.process.successors.lock().unwrap().is_empty() {
            let never = |_: &str| None::<()>;
            for lines in [&self.process.stdout, &self.process.stderr] {
                guard("the end of its output", lines.find(never)).await;
            }
        }
        code
    }

    /// Process id of the gateway.
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Panics unless the process lives and its admin listener says so.
    pub async fn assert_healthy(&mut self) {
        assert!(matches!(self.process.child.try_wait(), Ok(None)), "the gateway has ended");
        let mut admin = crate::client::H1::connect(self.admin).await;
        let reply = admin.exchange(&crate::client::Request::get("/health/live")).await;
        assert_eq!(reply.status, 200, "liveness: {reply:?}");
        let panics: Vec<_> = self.process.stderr.all().into_iter().filter(|l| l.contains("panicked at")).collect();
        assert!(panics.is_empty(), "the gateway panicked: {panics:?}");
    }
}

/// Sends a signal to a process.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "kill -{name} {pid}");
}

/// Whether there is such a process (one that ended and was not waited for counts as gone).
pub fn lives(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// A TOML provider table of a mock of one dialect at this origin.
pub fn mock_provider(name: &str, dialect: Dialect, origin: &str) -> String {
    format!(
        "[providers.{name}]\nkind = \"mock\"\ndialects = [\"{dialect}\"]\nbase_url = \"{origin}/v1\"\napi_key = \"upstream-{name}\"\n"
    )
}

/// A running `ai-gateway mock`.
pub struct Mock {
    _process: Process,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Mock {
    /// Starts one and waits until it listens.
    pub async fn start() -> Mock {
        let dir = tempfile::tempdir().expect("temporary directory");
        let process = Process::spawn(command(&["mock", "--listen", "127.0.0.1:0"], &[]), dir, None);
        let addr = process.announced("mock listening on").await;
        Mock { _process: process, addr }
    }

    /// A TOML provider table that calls it in one dialect, under this name.
    pub fn provider(&self, name: &str, dialect: Dialect) -> String {
        mock_provider(name, dialect, &format!("http://{}", self.addr))
    }

    /// What it has counted.
    pub async fn stats(&self) -> Value {
        crate::client::exchange(self.addr, &crate::client::Request::get("/mock/stats")).await.json()
    }

    /// How many requests of this model it has got.
    pub async fn requests_of(&self, model: &str) -> u64 {
        self.stats().await["by_model"][model]["requests"].as_u64().unwrap_or(0)
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code; `None` when it was still running and had to be killed.
    pub code: Option<i32>,
    /// What it printed to stdout.
    pub stdout: String,
    /// What it printed to stderr.
    pub stderr: String,
}

/// Runs a subcommand that is expected to end by itself. `{config}` among the arguments is replaced by the path of a file
/// that holds `config`.
pub fn run_to_end(args: &[&str], config: &str, env: &[(&str, &str)]) -> Outcome {
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("gateway.toml");
    std::fs::write(&file, config).expect("configuration file");
    let path = file.to_str().expect("utf-8 path").to_owned();
    let args: Vec<&str> = args.iter().map(|a| if *a == "{config}" { path.as_str() } else { *a }).collect();
    let env: Vec<_> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let mut child = command(&args, &env)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the gateway starts");
    let read = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = from.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let stdout = read(Box::new(child.stdout.take().expect("piped")));
    let stderr = read(Box::new(child.stderr.take().expect("piped")));
    let deadline = Instant::now() + HANG;
    let code = loop {
        match child.try_wait().expect("wait") {
            Some(status) => break Some(status.code().unwrap_or(-1)),
            None if Instant::now() > deadline => break None,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let _ = child.kill();
    let _ = child.wait();
    Outcome { code, stdout: stdout.join().unwrap_or_default(), stderr: stderr.join().unwrap_or_default() }
}

/// The rows of `ai-gateway usage` of this ledger, with more arguments such as `--by`.
pub fn usage(ledger: &Path, args: &[&str]) -> Vec<Value> {
    let path = ledger.to_str().expect("utf-8 path");
    let outcome = run_to_end(&[&["usage", "--ledger", path, "--json"], args].concat(), "", &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let mut report: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|e| panic!("{e}: {outcome:?}"));
    assert_eq!(report["truncated"], false);
    serde_json::from_value(report["rows"].take()).expect("rows")
}
