//! A real Prometheus as a process, and its `promtool`.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::client::{Request, exchange};
use crate::{guard_until, redis};

/// A running `prometheus` that scrapes one gateway each second as the job `ai-gateway`, killed when it is dropped.
pub struct Prometheus {
    child: Child,
    addr: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    /// Whether there is one on this machine ([`is_installed`](crate::is_installed)).
    pub fn is_installed() -> bool {
        let version = |tool| Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        let found = version("prometheus").is_ok() && version("promtool").is_ok();
        crate::is_installed("prometheus", found, "make services")
    }

    /// Starts one that scrapes this admin listener, and waits until it has done so once.
    pub async fn start(admin: SocketAddr) -> Prometheus {
        let dir = tempfile::tempdir().expect("temporary directory");
        let file = dir.path().join("prometheus.yml");
        let scrape = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n- job_name: ai-gateway\n  static_configs: [{{ targets: ['{admin}'] }}]\n"
        );
        std::fs::write(&file, scrape).expect("prometheus.yml");
        let addr = redis::own_addr();
        let mut command = Command::new("prometheus");
        command.arg("--config.file").arg(&file).arg("--storage.tsdb.path").arg(dir.path().join("data"));
        command.args(["--log.level=error", &format!("--web.listen-address={addr}")]).stdout(Stdio::null());
        let prometheus = Prometheus { child: command.spawn().expect("prometheus starts"), addr, _dir: dir };
        guard_until("prometheus listens", async || tokio::net::TcpStream::connect(addr).await.ok()).await;
        guard_until("the first scrape", async || prometheus.query("up == 1").await.pop()).await;
        prometheus
    }

    /// The samples that an expression has now: `{"metric": {…}, "value": [time, "1"]}`. Panics if it is none.
    pub async fn query(&self, expression: &str) -> Vec<Value> {
        self.get("query", &[("query", expression)]).await
    }

    /// The series that an expression has in the last minute, a point each second: `{"metric": {…}, "values": [[time, "1"], …]}`.
    pub async fn last_minute(&self, expression: &str) -> Vec<Value> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
        let (start, end) = ((now - 60).to_string(), now.to_string());
        self.get("query_range", &[("query", expression), ("start", &start), ("end", &end), ("step", "1")]).await
    }

    async fn get(&self, what: &str, parameters: &[(&str, &str)]) -> Vec<Value> {
        let pairs = parameters.iter().map(|(name, value)| format!("{name}={}", percent(value)));
        let query = pairs.collect::<Vec<_>>().join("&");
        let reply = exchange(self.addr, &Request::get(&format!("/api/v1/{what}?{query}"))).await;
        // Prometheus listens a moment before it answers.
        if reply.status == 503 {
            return Vec::new();
        }
        assert_eq!(reply.status, 200, "{parameters:?}: {}", reply.text());
        match reply.json()["data"]["result"].take() {
            Value::Array(result) => result,
            other => panic!("{parameters:?}: {other}"),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
