//! What the commands print goes to readers that may go before they have read it all, as `head` does.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

/// An admin listener that gives everybody the same answer, for as long as the test's process lives.
fn admin(body: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().map(Result::unwrap) {
            _ = client.read(&mut [0; 4096]).unwrap();
            client.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{body}").as_bytes()).unwrap();
        }
    });
    addr
}

/// Runs the command with a standard output that nobody reads. Whether it ended well, and what it complained of.
fn run_unread(arguments: &[&str]) -> (bool, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ai-gateway"));
    let child = command.args(arguments).stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let outcome = child.wait_with_output().unwrap();
    (outcome.status.success(), String::from_utf8(outcome.stderr).unwrap())
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let addr = admin(r#"{"removed":1,"memory":{"bytes":5},"disk":null}"#).to_string();
    let asking = ["status", "status --json", "cache show", "cache purge --all", "reload", "upgrade"];
    let asking = asking.map(|command| format!("{command} --admin {addr}"));
    let others = ["schema", "prices show gpt-5", "prices show gpt-5 --json"].map(str::to_owned);
    for command in asking.iter().chain(&others) {
        let arguments: Vec<&str> = command.split(' ').collect();
        assert_eq!(run_unread(&arguments), (true, String::new()), "{command}");
    }
}
