//! The site and the gateway answer on one port, on one connection, and neither sees what is the other's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use pingora_core::server::RunArgs;

fn exchange(connection: &mut TcpStream, request: &str) -> String {
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    loop {
        let read = connection.read(&mut buffer).unwrap();
        answer.push_str(&String::from_utf8_lossy(&buffer[..read]));
        let whole = match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.to_lowercase().contains("transfer-encoding: chunked") => {
                body.ends_with("0\r\n\r\n")
            }
            Some((head, body)) => {
                let length =
                    head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
                length.is_some_and(|length: usize| body.len() >= length)
            }
            None => false,
        };
        if whole || read == 0 {
            return answer;
        }
    }
}

fn ask(body: &str) -> String {
    format!(
        "POST /ai/v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn the_gateway_lives_under_ai() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = example_embedded::server(&address.to_string(), "[providers.mock]\nkind = \"mock\"").unwrap();
    std::thread::spawn(move || server.run(RunArgs::default()));
    let mut connection = loop {
        match TcpStream::connect(address) {
            Ok(connection) => break connection,
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    };

    let site = "GET /aid/and HTTP/1.1\r\nhost: x\r\n\r\n";
    assert!(exchange(&mut connection, site).ends_with("this is /aid/and\n"));

    let whole = ask(r#"{"model":"mock/echo","messages":[{"role":"user","content":"hi there"}]}"#);
    let answer = exchange(&mut connection, &whole);
    assert!(answer.contains("x-gateway-provider: mock") && answer.contains("\"hi there\""), "{answer}");

    let stream = ask(r#"{"model":"mock/lorem-3","stream":true,"messages":[{"role":"user","content":"hi"}]}"#);
    let answer = exchange(&mut connection, &stream);
    assert!(answer.contains("text/event-stream") && answer.contains("data: [DONE]"), "{answer}");

    let unknown = ask(r#"{"model":"nobody","messages":[]}"#);
    assert!(exchange(&mut connection, &unknown).contains("model_not_found"));

    assert!(exchange(&mut connection, site).ends_with("this is /aid/and\n"));
}
