//! Asking the running gateway, through its admin listener.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ai_gateway::config::{AdminAddress, Environment as _, System};
use ai_gateway::internal::say;
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Bytes of the longest answer.
const LONGEST: u64 = 16 << 20;
/// A key that counts before the one that the file names.
const KEY: &str = "AI_GATEWAY_ADMIN_KEY";

/// Which gateway to ask: the configuration that it runs with says where its admin listener is and which key it asks for.
#[derive(Args)]
pub struct Whom {
    #[command(flatten)]
    file: super::File,
    /// Its admin listener, if the file does not say it right. A key may stand in AI_GATEWAY_ADMIN_KEY.
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    admin: Option<SocketAddr>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    AdminAddress::parse(text).ok_or_else(|| "write an IP address and a port, as in 127.0.0.1:9090".to_owned())
}

/// Which gateway to command.
#[derive(Args)]
pub struct Commanded {
    #[command(flatten)]
    whom: Whom,
    /// Its process, which gets a signal where its admin listener cannot be asked: then only its log has the verdict.
    #[arg(long, value_name = "PID")]
    pid: Option<i32>,
}

/// What a gateway answered.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body; null if it is no JSON.
    pub body: Value,
}

/// Why there is no answer, for a person.
pub struct Unanswered {
    why: String,
    /// Whether it may do what it was asked all the same.
    heard: bool,
}

impl Unanswered {
    fn unheard(why: impl Into<String>) -> Self {
        Self { why: why.into(), heard: false }
    }
}

impl From<Unanswered> for String {
    fn from(unanswered: Unanswered) -> Self {
        unanswered.why
    }
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
    pub fn ask(&self, method: &str, target: &str, limit: Duration) -> Result<Answer, Unanswered> {
        let AdminAddress { address, key } = match self.file.path() {
            Some(file) => {
                AdminAddress::of_file(file, &System).map_err(|error| Unanswered::unheard(error.to_string()))?
            }
            None => AdminAddress::default(),
        };
        let Some(address) = self.admin.or(address) else {
            return Err(Unanswered::unheard("this gateway has no admin listener"));
        };
        let key = match (System.var(KEY), key) {
            (Some(key), _) => Some(key),
            (None, key) => key.transpose().map_err(Unanswered::unheard)?.map(|key| key.expose().to_owned()),
        };
        let authorization = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: {address}\r\n{authorization}content-length: 0\r\nconnection: close\r\n\r\n"
        );
        match exchange(address, &request, limit) {
            Ok(answer) if answer.status == 401 => Err(Unanswered::unheard(format!(
                "{}: the running gateway may have another one than its file says now, which can stand in {KEY}",
                answer.error()
            ))),
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.told(address, &error)),
        }
    }

    fn told(&self, address: SocketAddr, error: &io::Error) -> Unanswered {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Unanswered::unheard(format!(
                "no gateway listens on {address} (its admin listener){}",
                match self.admin {
                    None => ": the running gateway may have another one than its file says now, which `--admin` names",
                    Some(_) => "",
                }
            )),
            io::ErrorKind::WouldBlock => {
                Unanswered { why: format!("the gateway at {address} did not answer in time"), heard: true }
            }
            _ => Unanswered { why: format!("the gateway at {address} cannot be asked: {error}"), heard: true },
        }
    }
}

impl Commanded {
    /// Asks for `target` to be done, which `signal` does too; waits for the answer as long as `limit`. `None`: it got the signal.
    pub fn command(&self, target: &str, limit: Duration, signal: Signal) -> Result<Option<Answer>, String> {
        match (self.whom.ask("POST", target, limit), self.pid) {
            (Err(Unanswered { why, heard: false }), Some(number)) => {
                let process = Pid::from_raw(number).ok_or(rustix::io::Errno::SRCH);
                let sent = process.and_then(|process| kill_process(process, signal));
                sent.map_err(|error| format!("{why}\nprocess {number} cannot be sent a signal: {error}"))?;
                say(format_args!("{why}\nprocess {number} got a signal instead: its log tells what becomes of it"));
                Ok(None)
            }
            (answer, _) => Ok(Some(answer?)),
        }
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
