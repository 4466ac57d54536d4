//! A real Redis as a process, on a port of its own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::guard_until;
use crate::tls::Authority;

/// How a Redis is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// One server.
    One,
    /// One server that is asked over TLS, with a certificate of an authority of its own.
    Tls,
    /// One server behind a Sentinel, which has a password of its own.
    Sentinel,
    /// A cluster, of one server.
    Cluster,
}

/// A running `redis-server` that keeps nothing but what [`Redis::save`] writes, killed when it is dropped.
pub struct Redis {
    setup: Setup,
    child: Option<Child>,
    port: u16,
    sentinel: Option<(Child, u16)>,
    tls: Option<(Authority, u16)>,
    dir: tempfile::TempDir,
}

impl Redis {
    /// Whether there is one on this machine ([`is_installed`](crate::is_installed)).
    pub fn is_installed() -> bool {
        let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
        crate::is_installed("redis-server", found, "make services")
    }

    /// Starts one and waits until it answers.
    pub async fn start(setup: Setup) -> Redis {
        let dir = tempfile::tempdir().expect("temporary directory");
        let tls = (setup == Setup::Tls).then(|| (Authority::new(), free_port()));
        let mut redis = Redis { setup, child: None, port: free_port(), sentinel: None, tls, dir };
        redis.restart().await;
        if setup == Setup::Sentinel {
            let port = free_port();
            let file = redis.dir.path().join("sentinel.conf");
            let text = format!(
                "port {port}\nbind 127.0.0.1\nrequirepass of-nobody\nuser gateway on >of-the-sentinel allcommands allkeys allchannels\n\
                 sentinel monitor main 127.0.0.1 {} 1\n",
                redis.port
            );
            std::fs::write(&file, text).expect("sentinel.conf");
            let child = Command::new("redis-server").arg(file).arg("--sentinel").stdout(Stdio::null()).spawn();
            redis.sentinel = Some((child.expect("the Sentinel starts"), port));
            until(port, "AUTH gateway of-the-sentinel", "+OK").await;
        }
        redis
    }

    /// Its URL.
    pub fn url(&self) -> String {
        if let Some((_, port)) = &self.tls {
            return format!("rediss://127.0.0.1:{port}");
        }
        match (self.setup, &self.sentinel) {
            (Setup::Cluster, _) => format!("redis-cluster://127.0.0.1:{}", self.port),
            (_, Some((_, port))) => format!("redis-sentinel://127.0.0.1:{port}/main"),
            _ => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    /// Lines for `[store]`: whom to trust where it is asked over TLS, and what its Sentinel wants to hear.
    pub fn more(&self) -> String {
        match (&self.tls, &self.sentinel) {
            (Some((authority, _)), _) => format!("ca = \"{}\"\n", authority.file()),
            (_, Some(_)) => "sentinel_user = \"gateway\"\nsentinel_password = \"of-the-sentinel\"\n".to_owned(),
            _ => String::new(),
        }
    }

    /// Has it write all that it knows now, which it knows again after [`Redis::restart`].
    pub async fn save(&self) {
        say(self.port, "SAVE").await.expect("an answer");
    }

    /// Kills it as kill -9 does. All that it knew and has not saved is lost.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill");
            child.wait().expect("wait");
        }
    }

    /// Makes it hang: connections stand, and nothing is answered.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Ends that.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill {signal}");
    }

    /// How many keys there are.
    pub async fn size(&self) -> u64 {
        let answer = say(self.port, "DBSIZE").await.expect("an answer");
        let digits: String = answer.chars().filter(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    }

    /// How many keys there are whose names are of this pattern.
    pub async fn count(&self, pattern: &str) -> u64 {
        let answer = say(self.port, &format!("KEYS {pattern}")).await.expect("an answer");
        let count = answer.strip_prefix('*').and_then(|rest| rest.lines().next());
        count.and_then(|count| count.parse().ok()).expect("a number")
    }

    /// Has it do this, each word as it is; its answer as it came.
    pub async fn command(&self, words: &[&str]) -> String {
        let word = |word: &&str| format!("${}\r\n{word}\r\n", word.len());
        let command = format!("*{}\r\n{}", words.len(), words.iter().map(word).collect::<String>());
        send(self.port, &command).await.expect("an answer")
    }

    /// Makes it forget all it knows, and go on.
    pub async fn forget(&self) {
        say(self.port, "FLUSHALL").await.expect("an answer");
    }

    /// Starts it again at the same port, with what it has saved, and waits until it answers.
    pub async fn restart(&mut self) {
        self.kill();
        let port = self.port.to_string();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(self.dir.path());
        if self.setup == Setup::Cluster {
            command.args(["--cluster-enabled", "yes"]);
        }
        if let Some((authority, port)) = &self.tls {
            let (cert, key) = authority.server_paths();
            command.args(["--tls-port", &port.to_string(), "--tls-auth-clients", "no"]);
            command.args(["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &authority.file()]);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.child = Some(child.expect("redis-server starts"));
        answers(self.port).await;
        if self.setup == Setup::Cluster {
            say(self.port, "CLUSTER ADDSLOTSRANGE 0 16383").await;
            until(self.port, "CLUSTER INFO", "cluster_state:ok").await;
        }
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

async fn answers(port: u16) {
    until(port, "PING", "+PONG").await;
}

/// Waits until the answer to a command contains this.
async fn until(port: u16, command: &str, wanted: &str) {
    guard_until(command, async || say(port, command).await.filter(|answer| answer.contains(wanted))).await;
}

/// Sends one inline command; the beginning of its answer.
async fn say(port: u16, command: &str) -> Option<String> {
    send(port, &format!("{command}\r\n")).await
}

async fn send(port: u16, command: &str) -> Option<String> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    socket.write_all(command.as_bytes()).await.ok()?;
    let mut answer = vec![0; 64 * 1024];
    let length = socket.read(&mut answer).await.ok()?;
    Some(String::from_utf8_lossy(&answer[..length]).into_owned())
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some((mut sentinel, _)) = self.sentinel.take() {
            let _ = sentinel.kill();
            let _ = sentinel.wait();
        }
        self.kill();
    }
}
