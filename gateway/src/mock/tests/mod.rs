//! The mock over real sockets: every dialect's stream is well formed, faults strike where they should.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Options;
pub use running::Running;

mod dialects;
mod loops;
mod running;

fn mock() -> Running {
    Running::start(&Options::default()).unwrap()
}

struct Answer {
    head: String,
    body: Vec<u8>,
    /// The body ended as HTTP says it should.
    clean: bool,
}

impl Answer {
    fn read(raw: &[u8]) -> Self {
        let Some(split) = memchr::memmem::find(raw, b"\r\n\r\n") else {
            return Answer { head: String::new(), body: raw.to_vec(), clean: false };
        };
        let head = String::from_utf8_lossy(&raw[..split]).to_ascii_lowercase();
        let rest = &raw[split + 4..];
        if head.contains("transfer-encoding: chunked") {
            let (body, clean) = dechunk(rest);
            return Answer { head, body, clean };
        }
        let length = head.split("content-length: ").nth(1).and_then(|l| l.lines().next()?.parse::<usize>().ok());
        Answer { clean: length == Some(rest.len()), head, body: rest.to_vec() }
    }

    fn status(&self) -> u16 {
        self.head.get(9..12).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The data of the events, and their names; `[DONE]` is a string.
    fn events(&self) -> Vec<(Option<String>, Value)> {
        let text = self.text().replace("\r\n", "\n");
        assert!(text.ends_with("\n\n"), "the last event is not ended: {text:?}");
        let mut events = Vec::new();
        for event in text.split_terminator("\n\n") {
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            let Some(data) = field("data: ") else {
                assert!(event.starts_with(": "), "neither data nor comment: {event:?}");
                continue;
            };
            let data = if data == "[DONE]" { json!(data) } else { serde_json::from_str(&data).unwrap() };
            events.push((field("event: "), data));
        }
        events
    }
}

fn dechunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(line) = memchr::memmem::find(rest, b"\r\n") else { return (body, false) };
        let Ok(size) = usize::from_str_radix(&String::from_utf8_lossy(&rest[..line]), 16) else {
            return (body, false);
        };
        let Some(chunk) = rest.get(line + 2..line + 2 + size) else { return (body, false) };
        if size == 0 {
            return (body, true);
        }
        body.extend_from_slice(chunk);
        rest = &rest[(line + 4 + size).min(rest.len())..];
    }
}

fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut raw = format!("{method} {path} HTTP/1.1\r\nhost: mock\r\ncontent-length: {}\r\n{headers}\r\n", body.len())
        .into_bytes();
    raw.extend_from_slice(body);
    raw
}

fn send(mock: &Running, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
    let mut socket = TcpStream::connect(mock.addr()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.write_all(&request(method, path, &format!("connection: close\r\n{headers}"), body)).unwrap();
    let mut raw = Vec::new();
    // A reset connection is one of the things to see.
    let _ = socket.read_to_end(&mut raw);
    Answer::read(&raw)
}

fn post(mock: &Running, path: &str, body: &Value) -> Answer {
    send(mock, "POST", path, "content-type: application/json\r\n", body.to_string().as_bytes())
}

fn get(mock: &Running, path: &str) -> Value {
    send(mock, "GET", path, "", b"").json()
}

const DIALECTS: [&str; 3] = ["/v1/chat/completions", "/v1/messages", "/v1/responses"];

/// A request that all three dialects can read.
fn ask(model: &str, stream: bool) -> Value {
    let said = json!([{"role": "user", "content": "one two three"}]);
    json!({"model": model, "stream": stream, "messages": said, "input": null, "tools": [
        {"type": "function", "name": "weather", "function": {"name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}},
    ]})
}

/// Text, reasoning and arguments of a stream, with the rules of its dialect checked; and whether it came to its own end.
fn follow(path: &str, answer: &Answer) -> (String, bool) {
    match path {
        "/v1/chat/completions" => follow_chat(answer),
        "/v1/messages" => follow_messages(answer),
        _ => follow_responses(answer),
    }
}

fn follow_chat(answer: &Answer) -> (String, bool) {
    let mut said = String::new();
    let (mut finished, mut done) = (false, false);
    for (i, (_, data)) in answer.events().into_iter().enumerate() {
        assert!(!done, "after [DONE]: {data}");
        if data == "[DONE]" {
            assert!(finished);
            done = true;
        } else if data.get("error").is_none() {
            let Some(choice) = data["choices"].get(0) else { continue };
            assert_eq!(choice["delta"]["role"] == "assistant", i == 0, "the role comes first and once");
            finished |= choice["finish_reason"].is_string();
            for field in ["content", "reasoning_content"] {
                said.push_str(choice["delta"][field].as_str().unwrap_or_default());
            }
            let calls = choice["delta"]["tool_calls"].as_array();
            said.extend(calls.into_iter().flatten().filter_map(|call| call["function"]["arguments"].as_str()));
        }
    }
    (said, done)
}

fn follow_messages(answer: &Answer) -> (String, bool) {
    let mut said = String::new();
    let (mut open, mut blocks, mut done) = (false, 0, false);
    for (i, (name, data)) in answer.events().into_iter().enumerate() {
        assert_eq!(name.as_deref(), data["type"].as_str());
        assert!(!done);
        match name.unwrap().as_str() {
            "message_start" => assert_eq!(i, 0),
            "content_block_start" => {
                assert!(!open && data["index"] == blocks);
                open = true;
            }
            "content_block_delta" => {
                assert!(open && data["index"] == blocks);
                for field in ["text", "thinking", "partial_json"] {
                    said.push_str(data["delta"][field].as_str().unwrap_or_default());
                }
            }
            "content_block_stop" => {
                assert!(open && data["index"] == blocks);
                (open, blocks) = (false, blocks + 1);
            }
            "message_delta" => assert!(!open && data["delta"]["stop_reason"].is_string()),
            "message_stop" => done = true,
            "ping" | "error" => {}
            other => panic!("{other}"),
        }
    }
    (said, done)
}

fn follow_responses(answer: &Answer) -> (String, bool) {
    let mut said = String::new();
    let mut done = false;
    for (i, (name, data)) in answer.events().into_iter().enumerate() {
        assert_eq!(name.as_deref(), data["type"].as_str());
        assert_eq!(data["sequence_number"], i);
        assert!(!done);
        let name = name.unwrap();
        if name.ends_with(".delta") {
            said.push_str(data["delta"].as_str().unwrap());
        }
        done = name == "response.completed" || name == "response.incomplete";
        if done {
            let items = data["response"]["output"].as_array().unwrap();
            let kept: String = items
                .iter()
                .flat_map(|item| {
                    [&item["summary"][0]["text"], &item["content"][0]["text"], &item["arguments"]].map(Value::as_str)
                })
                .flatten()
                .collect();
            assert_eq!(kept, said, "what is kept is what was streamed");
        }
    }
    (said, done)
}

#[test]
fn every_dialect_streams_well_formed_answers() {
    let mock = mock();
    for path in DIALECTS {
        for (model, said) in [
            ("gpt-4o", "one two three"),
            ("lorem-3", "lorem ipsum dolor"),
            ("reasoning", "Let me think first.one two three"),
            ("tool-call", r#"{"city":"Paris"}"#),
            ("tool-calls-2", r#"{"city":"Paris"}{"city":"Paris"}"#),
            ("split-utf8", "Grüße aus 東京 — naïve 🎉🎊 fin."),
            ("lorem-2+one-chunk", "lorem ipsum"),
            ("lorem-2+crlf", "lorem ipsum"),
            ("lorem-2+comments+crlf", "lorem ipsum"),
            ("lorem-1+drip-0ms", "lorem"),
            ("usage-missing", "one two three"),
            ("length-after-2", "lorem ipsum"),
            ("content-filter-after-2", "lorem ipsum"),
            ("lorem-2-every-2ms+slow-first-2ms+slow-headers-2ms", "lorem ipsum"),
        ] {
            let answer = post(&mock, path, &ask(model, true));
            assert_eq!((answer.status(), answer.clean), (200, true), "{path} {model}");
            assert_eq!(follow(path, &answer), (said.to_owned(), true), "{path} {model}");
        }
    }
}

#[test]
fn what_is_not_streamed_says_the_same() {
    let mock = mock();
    for model in ["gpt-4o", "lorem-40", "split-utf8", "lorem-5+slow-first-2ms"] {
        let streamed = follow_chat(&post(&mock, DIALECTS[0], &ask(model, true))).0;
        let chat = post(&mock, DIALECTS[0], &ask(model, false)).json();
        assert_eq!(chat["choices"][0]["message"]["content"], streamed.as_str());
        let message = post(&mock, DIALECTS[1], &ask(model, false)).json();
        assert_eq!(message["content"][0]["text"], streamed.as_str());
        let response = post(&mock, DIALECTS[2], &ask(model, false)).json();
        assert_eq!(response["output"][0]["content"][0]["text"], streamed.as_str());
        assert_eq!(chat["usage"]["completion_tokens"], response["usage"]["output_tokens"]);
        assert_eq!(chat["usage"]["completion_tokens"], message["usage"]["output_tokens"]);
    }
}

#[test]
fn usage_is_sent_when_asked_for() {
    let mock = mock();
    let mut asked = ask("lorem-4", true);
    asked["stream_options"] = json!({"include_usage": true});
    let events = post(&mock, DIALECTS[0], &asked).events();
    let (last, others) = events[..events.len() - 1].split_last().unwrap();
    assert_eq!((&last.1["usage"]["prompt_tokens"], &last.1["usage"]["completion_tokens"]), (&json!(3), &json!(4)));
    assert_eq!(last.1["choices"], json!([]));
    assert!(others.iter().all(|(_, data)| data.get("usage") == Some(&Value::Null)));
    let plain = post(&mock, DIALECTS[0], &ask("lorem-4", true)).events();
    assert!(plain.iter().all(|(_, data)| data.get("usage").is_none()));
    let cached = post(&mock, DIALECTS[1], &ask("usage-cached", false)).json();
    assert_eq!(
        (&cached["usage"]["input_tokens"], &cached["usage"]["cache_read_input_tokens"]),
        (&json!(30), &json!(60))
    );
}

#[test]
fn faults_strike_in_their_place() {
    let mock = mock();
    for path in DIALECTS {
        let of = |model: &str| post(&mock, path, &ask(model, true));
        assert_eq!(of("cut-header").status(), 0, "{path}");
        let cut = of("cut-after-2");
        assert!(!cut.clean);
        assert_eq!(follow(path, &cut), ("lorem ipsum".to_owned(), false));
        assert_eq!(follow(path, &of("cut-before-output")), (String::new(), false));
        let early = of("end-early-after-2");
        assert!(early.clean);
        assert_eq!(follow(path, &early), ("lorem ipsum".to_owned(), false));
        for (model, said) in [("error-event-first", ""), ("error-after-preamble", ""), ("error-after-1", "lorem")] {
            let answer = of(model);
            assert!(answer.clean && answer.text().contains("error"), "{path} {model}");
            if model != "error-event-first" || path != DIALECTS[0] {
                assert_eq!(follow(path, &answer), (said.to_owned(), false), "{path} {model}");
            }
        }
        assert!(!of("half-chunk").clean);
        assert!(!of("bad-chunk").clean);
        assert_eq!(of("garbage").status(), 0);
        assert_eq!(of("garbage-body").status(), 200);
        let huge = of("huge-header-1MiB");
        assert!(huge.head.len() > 1 << 20, "{}", huge.head.len());
    }
}

#[test]
fn errors_have_the_shape_of_the_dialect() {
    let mock = mock();
    let refused = post(&mock, DIALECTS[0], &ask("status-429-retry-2s", true));
    assert_eq!(refused.status(), 429);
    assert!(refused.head.contains("retry-after: 2\r\n"), "{}", refused.head);
    assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded");
    let overloaded = post(&mock, DIALECTS[1], &ask("status-529", false));
    assert_eq!((overloaded.status(), &overloaded.json()["error"]["type"]), (529, &json!("overloaded_error")));
    let long = post(&mock, DIALECTS[2], &ask("context-length", false));
    assert_eq!((long.status(), &long.json()["error"]["code"]), (400, &json!("context_length_exceeded")));
    assert_eq!(send(&mock, "POST", DIALECTS[0], "", b"{").status(), 400);
    assert_eq!(send(&mock, "GET", DIALECTS[0], "", b"").status(), 405);
    assert_eq!(send(&mock, "POST", "/nothing", "", b"").status(), 404);
}

#[test]
fn connections_are_kept() {
    let mock = mock();
    let mut socket = TcpStream::connect(mock.addr()).unwrap();
    let body = ask("echo", false).to_string();
    for _ in 0..3 {
        socket.write_all(&request("POST", DIALECTS[0], "", body.as_bytes())).unwrap();
        let mut seen = Vec::new();
        while !Answer::read(&seen).clean {
            let mut buf = [0; 4096];
            let n = socket.read(&mut buf).unwrap();
            assert_ne!(n, 0, "closed");
            seen.extend_from_slice(&buf[..n]);
        }
    }
    let last = get(&mock, "/mock/last");
    assert_eq!(last["echo"]["peer"], socket.local_addr().unwrap().to_string());
}

#[test]
fn sizes_are_exact_and_large_bodies_arrive() {
    let mock = mock();
    for path in DIALECTS {
        assert_eq!(post(&mock, path, &ask("json-4KiB", false)).body.len(), 4096, "{path}");
    }
    let mut large = ask("inspect", false);
    large["messages"][0]["content"] = "a".repeat(10 << 20).into();
    let sent = large.to_string();
    let answer = send(&mock, "POST", "/any/v1/chat/completions?k=v", "x-one: 1\r\n", sent.as_bytes()).json();
    let seen: Value = serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&seen["body_len"], &seen["query"], &seen["headers"]["x-one"]),
        (&json!(sent.len()), &json!("k=v"), &json!("1"))
    );
}

#[test]
fn a_client_that_leaves_is_noticed() {
    let mock = mock();
    for model in ["stall-after-1", "stall-header", "never-ends", "lorem-1000-every-50ms"] {
        let mut socket = TcpStream::connect(mock.addr()).unwrap();
        socket.write_all(&request("POST", DIALECTS[0], "", ask(model, true).to_string().as_bytes())).unwrap();
        if model != "stall-header" {
            socket.read_exact(&mut [0; 64]).unwrap();
        }
        let waits = Instant::now();
        while get(&mock, "/mock/stats")["open"] != 1 {
            assert!(waits.elapsed() < Duration::from_secs(10), "{model} never arrived");
        }
        drop(socket);
        while get(&mock, "/mock/stats")["by_model"][model]["aborted"] != 1 {
            assert!(waits.elapsed() < Duration::from_secs(10), "{model} was not noticed");
        }
    }
    assert_eq!(get(&mock, "/mock/stats")["aborted"], 4);
    assert_eq!(post(&mock, "/mock/reset", &json!({})).status(), 200);
    let stats = get(&mock, "/mock/stats");
    assert_eq!((&stats["requests"], &stats["open"]), (&json!(0), &json!(0)));
}

#[test]
fn gzip_only_for_those_who_take_it() {
    let mock = mock();
    let body = ask("lorem-3+gzip", true).to_string();
    let packed = send(&mock, "POST", DIALECTS[0], "accept-encoding: gzip\r\n", body.as_bytes());
    assert!(packed.head.contains("content-encoding: gzip"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed.body.as_slice()).read_to_string(&mut text).unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let plain = send(&mock, "POST", DIALECTS[0], "", body.as_bytes());
    assert_eq!(follow_chat(&plain).0, "lorem ipsum dolor");
}

#[test]
fn the_other_operations_answer() {
    let mock = mock();
    let azure =
        post(&mock, "/openai/deployments/lorem-2/chat/completions?api-version=1", &json!({"messages": []})).json();
    assert_eq!(azure["choices"][0]["message"]["content"], "lorem ipsum");
    assert_eq!(
        post(&mock, "/v1/completions", &json!({"model": "lorem-2", "prompt": "x"})).json()["choices"][0]["text"],
        "lorem ipsum"
    );
    let tokens = post(&mock, "/v1/messages/count_tokens", &ask("claude", false)).json();
    assert_eq!(tokens, json!({"input_tokens": 3}));
    let vectors =
        post(&mock, "/v1/embeddings", &json!({"model": "m", "input": ["a", "b"], "encoding_format": "base64"})).json();
    assert_eq!(vectors["data"][1]["embedding"].as_str().unwrap().len(), 44);
    assert!(post(&mock, "/v1/images/generations", &json!({"prompt": "x"})).json()["data"][0]["b64_json"].is_string());
    assert_eq!(post(&mock, "/v1/audio/speech", &json!({"model": "lorem-3", "input": "x"})).body.len(), 3 * 1024);
    assert_eq!(post(&mock, "/v1/moderations", &json!({"input": "flag this"})).json()["results"][0]["flagged"], true);
    assert_eq!(post(&mock, "/v1/embeddings", &json!({"model": "status-503", "input": "x"})).status(), 503);
    let form = "--B\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
        --B\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nxyz\r\n--B--\r\n";
    let heard = send(
        &mock,
        "POST",
        "/v1/audio/transcriptions",
        "content-type: multipart/form-data; boundary=B\r\n",
        form.as_bytes(),
    );
    assert_eq!(heard.json()["text"], "a.wav has 3 bytes");
    assert!(get(&mock, "/v1/models")["data"].as_array().unwrap().len() > 30);
    assert_eq!(get(&mock, "/v1/responses/resp_7")["id"], "resp_7");
}

#[tokio::test]
async fn http2_streams_and_is_cut() {
    use pingora_core::connectors::http::Connector;
    use pingora_core::upstreams::peer::HttpPeer;

    let mock = mock();
    let mut peer = HttpPeer::new(mock.addr(), false, String::new());
    peer.options.set_http_version(2, 2);
    let connector = Connector::new(None);
    for (model, ends) in [("lorem-3", true), ("cut-after-2", false), ("half-chunk", false), ("cut-header", false)] {
        let (mut session, _) = connector.get_http_session(&peer).await.unwrap();
        let mut header = pingora_http::RequestHeader::build("POST", DIALECTS[0].as_bytes(), None).unwrap();
        header.insert_header("host", "mock").unwrap();
        session.write_request_header(Box::new(header)).await.unwrap();
        session.write_request_body(ask(model, true).to_string().into(), true).await.unwrap();
        let head = session.read_response_header().await;
        assert_eq!(head.is_ok(), model != "cut-header", "{model}");
        let mut body = Vec::new();
        let clean = head.is_ok()
            && loop {
                match session.read_response_body().await {
                    Ok(Some(more)) => body.extend_from_slice(&more),
                    Ok(None) => break true,
                    Err(_) => break false,
                }
            };
        assert_eq!(clean, ends, "{model}");
        assert_eq!(body.ends_with(b"data: [DONE]\n\n"), ends, "{model}");
    }
}
