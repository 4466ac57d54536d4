//! Asking the running gateway, through its admin listener.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use ai_gateway::config::{AdminAddress, System};
use clap::Args;
use serde_json::Value;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Bytes of the longest answer.
const LONGEST: u64 = 16 << 20;
/// Where the key is taken from if the file names none.
const KEY: &str = "AI_GATEWAY_ADMIN_KEY";

/// Which gateway to ask.
#[derive(Args)]
pub struct Whom {
    /// The configuration that it runs with, which says where its admin listener is and which key it asks for.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Its admin listener, if the file does not say it right. A key may stand in AI_GATEWAY_ADMIN_KEY.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

/// What a gateway answered.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body; null if it is no JSON.
    pub body: Value,
}

impl Answer {
    /// Whether it did what it was asked.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What is wrong, for a person.
    pub fn error(&self) -> String {
        match self.body["error"]["message"].as_str() {
            Some(message) => message.to_owned(),
            None => format!("the gateway answered with status {}", self.status),
        }
    }
}

impl Whom {
    /// Asks for `target`; waits for the answer as long as `limit`.
    pub fn ask(&self, method: &str, target: &str, limit: Duration) -> Result<Answer, String> {
        let mut way = match &self.config {
            Some(file) => AdminAddress::of_file(file, &System).map_err(|error| error.to_string())?,
            None => AdminAddress::default(),
        };
        way.address = self.admin.or(way.address);
        let Some(address) = way.address else { return Err("this gateway has no admin listener".to_owned()) };
        let key = way.key.map(|key| key.expose().to_owned()).or_else(|| std::env::var(KEY).ok());
        let authorization = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: {address}\r\n{authorization}content-length: 0\r\nconnection: close\r\n\r\n"
        );
        exchange(address, &request, limit).map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => format!("no gateway listens on {address} (its admin listener)"),
            io::ErrorKind::WouldBlock => format!("the gateway at {address} did not answer in time"),
            _ => format!("the gateway at {address} cannot be asked: {error}"),
        })
    }
}

fn exchange(address: SocketAddr, request: &str, limit: Duration) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer)?;
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "it did not answer as a gateway does");
    let text = String::from_utf8(answer).map_err(|_| broken())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    Ok(Answer { status, body: serde_json::from_str(body).unwrap_or_default() })
}
