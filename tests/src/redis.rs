//! A real Redis as a process, at an address of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

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
    addr: SocketAddr,
    sentinel: Option<(Child, SocketAddr)>,
    tls: Option<(Authority, SocketAddr)>,
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
        let tls = (setup == Setup::Tls).then(|| (Authority::new(), own_addr()));
        let mut redis = Redis { setup, child: None, addr: own_addr(), sentinel: None, tls, dir };
        redis.restart().await;
        if setup == Setup::Sentinel {
            let addr = own_addr();
            let file = redis.dir.path().join("sentinel.conf");
            let text = format!(
                "port {}\nbind {}\nrequirepass of-nobody\nuser gateway on >of-the-sentinel allcommands allkeys allchannels\n\
                 sentinel monitor main {} {} 1\n",
                addr.port(),
                addr.ip(),
                redis.addr.ip(),
                redis.addr.port(),
            );
            std::fs::write(&file, text).expect("sentinel.conf");
            let child = Command::new("redis-server").arg(file).arg("--sentinel").stdout(Stdio::null()).spawn();
            let (child, addr) = redis.sentinel.insert((child.expect("the Sentinel starts"), addr));
            until(child, *addr, "AUTH gateway of-the-sentinel", "+OK").await;
        }
        redis
    }

    /// Its URL.
    pub fn url(&self) -> String {
        if let Some((_, addr)) = &self.tls {
            return format!("rediss://{addr}");
        }
        match (self.setup, &self.sentinel) {
            (Setup::Cluster, _) => format!("redis-cluster://{}", self.addr),
            (_, Some((_, addr))) => format!("redis-sentinel://{addr}/main"),
            _ => format!("redis://{}", self.addr),
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
        say(self.addr, "SAVE").await.expect("an answer");
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
        let answer = say(self.addr, "DBSIZE").await.expect("an answer");
        let digits: String = answer.chars().filter(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    }

    /// How many keys there are whose names are of this pattern.
    pub async fn count(&self, pattern: &str) -> u64 {
        let answer = say(self.addr, &format!("KEYS {pattern}")).await.expect("an answer");
        let count = answer.strip_prefix('*').and_then(|rest| rest.lines().next());
        count.and_then(|count| count.parse().ok()).expect("a number")
    }

    /// Has it do this, each word as it is; its answer as it came.
    pub async fn command(&self, words: &[&str]) -> String {
        let word = |word: &&str| format!("${}\r\n{word}\r\n", word.len());
        let command = format!("*{}\r\n{}", words.len(), words.iter().map(word).collect::<String>());
        send(self.addr, &command).await.expect("an answer")
    }

    /// Makes it forget all it knows, and go on.
    pub async fn forget(&self) {
        say(self.addr, "FLUSHALL").await.expect("an answer");
    }

    /// Starts it again at the same address, with what it has saved, and waits until it answers.
    pub async fn restart(&mut self) {
        self.kill();
        let (ip, port) = (self.addr.ip().to_string(), self.addr.port().to_string());
        let mut command = Command::new("redis-server");
        command.args(["--port", &port, "--bind", &ip, "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(self.dir.path());
        if self.setup == Setup::Cluster {
            command.args(["--cluster-enabled", "yes"]);
        }
        if let Some((authority, addr)) = &self.tls {
            let (cert, key) = authority.server_paths();
            command.args(["--tls-port", &addr.port().to_string(), "--tls-auth-clients", "no"]);
            command.args(["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &authority.file()]);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = self.child.insert(child.expect("redis-server starts"));
        until(child, self.addr, "PING", "+PONG").await;
        if self.setup == Setup::Cluster {
            say(self.addr, "CLUSTER ADDSLOTSRANGE 0 16383").await;
            until(child, self.addr, "CLUSTER INFO", "cluster_state:ok").await;
        }
    }
}

/// An address at which nothing else listens, now or later: the ports that the system gives away are above it, and above a cluster's
/// bus, which is 10,000 higher.
pub fn own_addr() -> SocketAddr {
    static PORT: AtomicU16 = AtomicU16::new(10_000);
    SocketAddr::new(own_ip().into(), PORT.fetch_add(1, Ordering::Relaxed))
}

/// The loopback address of this process.
pub(crate) fn own_ip() -> Ipv4Addr {
    // The ids of processes have 22 bits.
    let [_, a, b, c] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | a, b, c)
}

/// Waits until the answer to a command contains this.
async fn until(server: &mut Child, addr: SocketAddr, command: &str, wanted: &str) {
    let ask = async || {
        let ended = server.try_wait().expect("wait");
        assert!(ended.is_none(), "{addr} has ended: {ended:?}");
        say(addr, command).await.filter(|answer| answer.contains(wanted))
    };
    guard_until(command, ask).await;
}

/// Sends one inline command; the beginning of its answer.
async fn say(addr: SocketAddr, command: &str) -> Option<String> {
    send(addr, &format!("{command}\r\n")).await
}

async fn send(addr: SocketAddr, command: &str) -> Option<String> {
    let mut socket = TcpStream::connect(addr).await.ok()?;
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
