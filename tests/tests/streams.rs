//! Streams: every piece at once, errors after output told in the stream, usage counted and hidden, and a client that
//! leaves ends the upstream call.

use ai_gateway_tests::client::wire::Piece;
use ai_gateway_tests::client::{Framing, H1, H2, Request, exchange};
use ai_gateway_tests::{Answer, Authority, Gate, Gateway, Step, Stub, StubFraming, bodies};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

fn direct(stub: &Stub) -> String {
    bodies::openai_provider("stub", &stub.origin())
}

/// `model = "m"`: `stub` first, then `spare`. What is added is the model's.
fn with_spare(stub: &Stub, spare: &Stub) -> String {
    format!(
        "{}{}[models.m]\ntargets = [{{ provider = \"stub\", model = \"x\" }}, \
         {{ provider = \"spare\", model = \"x\", priority = 1 }}]\n",
        direct(stub),
        bodies::openai_provider("spare", &spare.origin())
    )
}

/// A stream in which the chunk `n` waits for the gate `n`.
fn gated(texts: &[String], end: &[String]) -> (Answer, Vec<Gate>, Gate) {
    let gates: Vec<Gate> = texts.iter().map(|_| Gate::new()).collect();
    let mut answer = Answer::sse(Vec::<String>::new());
    for (text, gate) in texts.iter().zip(&gates) {
        answer = answer.step(Step::Wait(gate.clone())).step(Step::Send(text.clone().into()));
    }
    // The end waits too, or it would arrive together with the last chunk.
    let last = Gate::new();
    answer = answer.step(Step::Wait(last.clone()));
    for text in end {
        answer = answer.step(Step::Send(text.clone().into()));
    }
    (answer, gates, last)
}

fn words(n: usize) -> Vec<String> {
    (0..n).map(|i| bodies::chat_delta(&format!("w{i}"))).collect()
}

/// No chunk waits for the next one, whatever the protocols: the stub may send one only when the client has the one before.
#[tokio::test]
async fn every_chunk_arrives_before_the_next_is_sent() {
    let authority = Authority::new();
    let end = [bodies::chat_finish(), bodies::DONE.to_owned()];
    for (h2_client, h2_upstream) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut texts = vec![bodies::chat_role()];
        texts.extend(words(20));
        let (answer, gates, last) = gated(&texts, &end);
        let alpn = if h2_upstream { "h2" } else { "http/1.1" };
        let stub = Stub::tls(&authority, &[alpn], move |_| answer.clone()).await;
        let config = format!("{}ca = \"{}\"\nhttp2 = {h2_upstream}", direct(&stub), authority.file());
        let gateway = Gateway::start(&config).await;
        let request = Request::post("/v1/chat/completions", bodies::chat_stream("stub/m"));
        if h2_client {
            let mut client = H2::connect(gateway.addr).await;
            gates[0].open();
            let mut response = client.start(&request.framing(Framing::H2(100))).await.unwrap().into_body();
            for (text, gate) in texts.iter().zip(&gates) {
                gate.open();
                let mut seen = Vec::new();
                while seen.len() < text.len() {
                    let data = ai_gateway_tests::guard("a chunk", response.data()).await.unwrap().unwrap();
                    response.flow_control().release_capacity(data.len()).unwrap();
                    seen.extend_from_slice(&data);
                }
                assert_eq!(String::from_utf8_lossy(&seen), *text);
            }
        } else {
            let mut client = H1::connect(gateway.addr).await;
            client.send(&request).await;
            gates[0].open();
            let mut response = client.respond().await;
            for (text, gate) in texts.iter().zip(&gates) {
                gate.open();
                let mut seen = Vec::new();
                while seen.len() < text.len() {
                    let Piece::Data(data) = response.piece().await else { panic!("ended early") };
                    seen.extend_from_slice(&data);
                }
                assert_eq!(String::from_utf8_lossy(&seen), *text);
            }
            last.open();
            assert_eq!(response.rest().await, (end.concat().into(), true));
        }
    }
}

/// The same while another target stands by: held back until the first output, then never again.
#[tokio::test]
async fn nothing_is_held_after_the_first_output() {
    for first in [
        bodies::chat_delta("w"),
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n".to_owned(),
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"hm\"}}]}\n\n".to_owned(),
        concat!(
            r#"data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","#,
            r#""function":{"name":"f","arguments":""}}]}}]}"#,
            "\n\n"
        )
        .to_owned(),
    ] {
        let texts = [vec![bodies::chat_role(), first.clone()], words(5)].concat();
        let (answer, gates, last) = gated(&texts, &[bodies::chat_finish(), bodies::DONE.to_owned()]);
        let stub = Stub::always(answer).await;
        let spare = Stub::always(Answer::json(200, "{}")).await;
        let gateway = Gateway::start(&with_spare(&stub, &spare)).await;
        let mut client = H1::connect(gateway.addr).await;
        client.send(&Request::post("/v1/chat/completions", bodies::chat_stream("m"))).await;
        gates[0].open();
        gates[1].open();
        let mut response = client.respond().await;
        let mut seen = String::new();
        while !seen.contains(&first) {
            let Piece::Data(data) = response.piece().await else { panic!("ended early: {seen}") };
            seen.push_str(&String::from_utf8_lossy(&data));
        }
        assert_eq!(seen, texts[..2].concat());
        for (text, gate) in texts.iter().zip(&gates).skip(2) {
            gate.open();
            assert_eq!(response.piece().await, Piece::Data(text.clone().into()));
        }
        last.open();
        assert!(response.rest().await.1);
        assert_eq!(spare.count(), 0);
    }
}

/// A model that thinks in silence keeps its client's connection alive, also where another target could answer.
#[tokio::test]
async fn a_stream_without_output_is_withheld_for_a_time_only() {
    let pings = (0..1_000).flat_map(|_| [Step::Pause(Duration::from_millis(20)), Step::Send(": ping\n\n".into())]);
    let answer = pings.fold(Answer::sse([bodies::chat_role()]), Answer::step);
    let stub = Stub::always(answer).await;
    let spare = Stub::always(Answer::json(200, "{}")).await;
    let gateway = Gateway::start(&(with_spare(&stub, &spare) + "retry = { hold = \"100ms\" }\n")).await;
    let mut client = H1::connect(gateway.addr).await;
    client.send(&Request::post("/v1/chat/completions", bodies::chat_stream("m"))).await;
    let mut response = client.respond().await;
    assert_eq!(response.status, 200);
    let Piece::Data(data) = response.piece().await else { panic!("it ended") };
    assert!(data.starts_with(bodies::chat_role().as_bytes()), "{data:?}");
    assert_eq!(spare.count(), 0);
}

/// With a single target even the header and the preamble pass at once.
#[tokio::test]
async fn with_one_target_the_header_passes_at_once() {
    let gate = Gate::new();
    let answer = Answer::sse(Vec::<String>::new()).step(Step::Wait(gate.clone())).step(Step::Send(bodies::DONE.into()));
    let stub = Stub::always(answer).await;
    let gateway = Gateway::start(&direct(&stub)).await;
    let mut client = H1::connect(gateway.addr).await;
    client.send(&Request::post("/v1/chat/completions", bodies::chat_stream("stub/m"))).await;
    let mut response = client.respond().await;
    assert_eq!(response.status, 200);
    assert_eq!(response.headers["content-type"], "text/event-stream; charset=utf-8");
    gate.open();
    response.rest().await;
}

/// What breaks after output is told in the stream, in the client's dialect, and never looks like an end.
#[tokio::test]
async fn a_failure_after_output_is_an_error_event() {
    let start = json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "x",
        "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}}});
    let block = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}});
    let anthropic = vec![
        bodies::anthropic_event("message_start", &start),
        bodies::anthropic_event("content_block_start", &block),
        bodies::anthropic_event("content_block_delta", &delta),
    ];
    let created =
        json!({"type": "response.created", "sequence_number": 0, "response": {"id": "r", "status": "in_progress"}});
    let text = json!({"type": "response.output_text.delta", "sequence_number": 1, "delta": "Hello"});
    let responses = vec![
        bodies::anthropic_event("response.created", &created),
        bodies::anthropic_event("response.output_text.delta", &text),
    ];
    let chat = vec![bodies::chat_role(), bodies::chat_delta("Hello")];
    let half_event = "data: {\"choices\":[{\"index\":0,\"del";
    let openai = |name: &str, origin: &str| {
        format!("[providers.{name}]\nkind = \"openai\"\nbase_url = \"{origin}/v1\"\napi_key = \"k\"\n")
    };
    type Case = (&'static str, Vec<String>, fn(&str, &str) -> String);
    let cases: [Case; 3] = [
        ("/v1/chat/completions", chat, openai),
        ("/v1/responses", responses, openai),
        ("/v1/messages", anthropic, bodies::anthropic_provider),
    ];
    for (target, events, provider) in cases {
        let sent = events.concat();
        let failures: [(&str, Answer); 5] = [
            ("cut", Answer::sse(events.clone()).step(Step::Cut)),
            ("cut inside an event", Answer::sse(events.clone()).step(Step::Send(half_event.into())).step(Step::Cut)),
            ("clean end without the dialect's end", Answer::sse(events.clone())),
            ("clean end inside an event", Answer::sse(events.clone()).step(Step::Send(half_event.into()))),
            ("end by close", Answer::sse(events.clone()).framing(StubFraming::Close)),
        ];
        for (what, answer) in failures {
            let stub = Stub::always(answer).await;
            let gateway = Gateway::start(&provider("stub", &stub.origin())).await;
            for framing in [Framing::Length, Framing::H2(1000)] {
                let request = Request::post(target, bodies::message("stub/m", true)).framing(framing);
                let reply = exchange(gateway.addr, &request).await;
                let told = reply.text();
                assert_eq!(reply.status, 200, "{target} {what}: {told}");
                assert!(told.starts_with(&sent), "{target} {what}: output lost: {told}");
                let rest = &told[sent.len()..];
                for end in ["[DONE]", "message_stop", "response.completed"] {
                    assert!(!rest.contains(end), "{target} {what}: a false end: {rest}");
                }
                let events: Vec<serde_json::Value> =
                    rest.lines().filter_map(|l| serde_json::from_str(l.strip_prefix("data: ")?).ok()).collect();
                let [error] = events.as_slice() else { panic!("{target} {what}: not one error event: {rest:?}") };
                match target {
                    "/v1/chat/completions" => assert!(error["error"]["message"].is_string(), "{rest}"),
                    "/v1/responses" => {
                        assert!(rest.contains("event: error\n"), "{rest}");
                        assert_eq!((&error["type"], &error["sequence_number"]), (&json!("error"), &json!(2)), "{rest}");
                    }
                    _ => {
                        assert!(rest.contains("event: error\n"), "{rest}");
                        assert_eq!(error["type"], "error", "{rest}");
                        assert!(error["error"]["type"].is_string() && error["error"]["message"].is_string(), "{rest}");
                    }
                }
                // A reader that splits at empty lines sees whole events only.
                assert!(told.ends_with("\n\n"), "{target} {what}: {rest:?}");
                let log = gateway.log_of(reply.header("x-request-id")).await;
                assert_eq!(
                    (&log["finish"], &log["fault"]),
                    (&json!("cut"), &json!("upstream")),
                    "{target} {what}: {log}"
                );
            }
            assert_eq!(stub.count(), 2, "{target} {what}: tried again after output");
        }
    }
}

/// An error event of the provider after output is already in the dialect: it passes as it is, once.
#[tokio::test]
async fn a_providers_own_error_event_passes() {
    let error = "data: {\"error\":{\"message\":\"their own words\",\"type\":\"server_error\"}}\n\n";
    let sent = [bodies::chat_role(), bodies::chat_delta("x"), error.to_owned()].concat();
    let stub = Stub::always(Answer::sse([sent.clone()])).await;
    let gateway = Gateway::start(&direct(&stub)).await;
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat_stream("stub/m"))).await;
    assert_eq!(reply.text(), sent);
}

/// What a provider's error event tells of the operator's account does not reach a client: not as it passes, not where it is
/// withheld or translated.
#[tokio::test]
async fn a_providers_error_event_does_not_tell_the_gateways_secrets() {
    let said = "key upstream-stub of org-AbC123xyz is over its limit";
    let error = format!("data: {{\"error\":{{\"message\":\"{said}\",\"type\":\"server_error\"}}}}\n\n");
    let delta = bodies::chat_delta(said);
    let masked = error.replace("upstream-stub", "*************").replace("AbC123xyz", "*********");
    let stub = Stub::start(move |request| {
        let begun = [bodies::chat_role(), delta.clone()].concat();
        let late = request.json()["model"] == "late";
        Answer::sse([if late { begun + &error } else { error.clone() }])
    })
    .await;
    let gateway = Gateway::start(&direct(&stub)).await;
    for (target, body) in [
        ("/v1/chat/completions", bodies::chat_stream("stub/late")),
        ("/v1/chat/completions", bodies::chat_stream("stub/early")),
        ("/v1/messages", bodies::message("stub/late", true)),
        ("/v1/messages", bodies::message("stub/early", true)),
    ] {
        let straight = body == bodies::chat_stream("stub/late");
        let told = exchange(gateway.addr, &Request::post(target, body)).await.text();
        let error = &told[told.find("\"error\"").unwrap()..];
        assert!(error.contains("is over its limit"), "{target}: {told}");
        assert!(!error.contains("upstream-stub") && !error.contains("AbC123xyz"), "{target}: {told}");
        if straight {
            assert_eq!(told, [bodies::chat_role(), bodies::chat_delta(said), masked.clone()].concat());
        }
    }
}

/// The upstream learns within 100 ms that nobody reads any more: as a rule, for a busy machine may take longer once.
#[tokio::test]
async fn a_client_that_leaves_cancels_the_upstream() {
    let authority = Authority::new();
    let mut delays = Vec::new();
    let never = Gate::new();
    let answers = [
        ("before the header", Answer::status(200).after(&never)),
        ("before output", Answer::sse([bodies::chat_role()]).step(Step::Stall)),
        ("after output", Answer::sse([bodies::chat_role(), bodies::chat_delta("x")]).step(Step::Stall)),
    ];
    for (when, answer) in answers {
        for (h2_client, h2_upstream, spare) in [
            (false, false, false),
            (false, true, false),
            (true, false, false),
            (true, true, true),
            (false, false, true),
        ] {
            let what = format!("{when}, h2 client: {h2_client}, h2 upstream: {h2_upstream}, second target: {spare}");
            let (answer, alpn) = (answer.clone(), if h2_upstream { "h2" } else { "http/1.1" });
            let stub = Stub::tls(&authority, &[alpn], move |_| answer.clone()).await;
            let other = Stub::always(Answer::json(200, "{}")).await;
            let second = if spare { ", { provider = \"other\", model = \"x\", priority = 1 }" } else { "" };
            let config = format!(
                "{}ca = \"{}\"\nhttp2 = {h2_upstream}\n{}[models.m]\ntargets = [{{ provider = \"stub\", model = \"x\" }}{second}]",
                direct(&stub),
                authority.file(),
                bodies::openai_provider("other", &other.origin())
            );
            let mut gateway = Gateway::start(&config).await;
            let request = Request::post("/v1/chat/completions", bodies::chat_stream("m"));
            // What the client can have received before it leaves.
            let visible = match (when, spare) {
                ("after output", _) => 1,
                ("before output", false) => 1,
                _ => 0,
            };
            let left = if h2_client {
                let mut client = H2::connect(gateway.addr).await;
                let (response, mut body) = client.open(&request.clone().framing(Framing::H2(1))).await;
                body.send_data(request.body.clone(), true).unwrap();
                stub.next().await;
                if visible > 0 {
                    let mut stream = response.await.unwrap().into_body();
                    ai_gateway_tests::guard("a chunk", stream.data()).await.unwrap().unwrap();
                    let left = Instant::now();
                    drop((stream, body));
                    left
                } else {
                    let left = Instant::now();
                    drop((response, body));
                    left
                }
            } else {
                let mut client = H1::connect(gateway.addr).await;
                client.send(&request).await;
                stub.next().await;
                if visible > 0 {
                    client.respond().await.piece().await;
                }
                let left = Instant::now();
                drop(client);
                left
            };
            let noticed = stub.departed().await.saturating_duration_since(left);
            assert!(noticed < Duration::from_secs(5), "{what}: {noticed:?}");
            delays.push(noticed);
            let log = gateway.log_line(|line| (line["model"] == "m").then(|| line.clone())).await;
            assert_eq!(log["finish"], "client_left", "{what}: {log}");
            assert_eq!(other.count(), 0, "{what}: another attempt for nobody");
            gateway.assert_healthy().await;
        }
    }
    delays.sort_unstable();
    assert!(delays[delays.len() / 2] < Duration::from_millis(100), "{delays:?}");
}

/// A client that leaves while its upstream connects: the connection comes to stand, and nothing is sent, which might be billed.
#[tokio::test]
async fn what_a_client_left_before_the_connection_stood_is_not_sent() {
    let authority = Authority::new();
    for (h2_client, alpn) in [(false, "http/1.1"), (false, "h2"), (true, "http/1.1"), (true, "h2")] {
        let what = format!("h2 client: {h2_client}, upstream: {alpn}");
        let stub = Stub::tls(&authority, &[alpn], |_| Answer::json(200, bodies::chat_answer("for nobody"))).await;
        // In front of it, one that lets the handshake begin when it is told to, and counts what comes through it.
        let slow = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (arrived, goes_on) = (Gate::new(), Gate::new());
        let (host, port) =
            stub.origin().rsplit_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).unwrap();
        let origin = format!("{host}:{}", slow.local_addr().unwrap().port());
        let forwards = {
            let (arrived, goes_on) = (arrived.clone(), goes_on.clone());
            async move {
                let mut gateway = slow.accept().await.unwrap().0;
                arrived.open();
                goes_on.passed().await;
                let mut provider = TcpStream::connect(("127.0.0.1", port.parse::<u16>().unwrap())).await.unwrap();
                tokio::io::copy_bidirectional(&mut gateway, &mut provider).await.map(|(sent, _)| sent)
            }
        };
        let forwards = tokio::spawn(forwards);
        let gateway = Gateway::start(&format!(
            "{}ca = \"{}\"\nhttp2 = {}\n[models.m]\ntargets = [{{ provider = \"stub\", model = \"x\" }}]",
            bodies::openai_provider("stub", &origin),
            authority.file(),
            alpn == "h2"
        ))
        .await;
        let text = "long ".repeat(10_000);
        let body = json!({"model": "m", "messages": [{"role": "user", "content": text}]}).to_string();
        let request = Request::post("/v1/chat/completions", body);
        if h2_client {
            let mut client = H2::connect(gateway.addr).await;
            let (response, mut sending) = client.open(&request.clone().framing(Framing::H2(1))).await;
            sending.send_data(request.body.clone(), true).unwrap();
            arrived.passed().await;
            drop((response, sending));
            // Once this is answered, the gateway has read that the other is not wanted any more.
            client.open(&Request::get("/v1/models")).await.0.await.unwrap();
        } else {
            let mut client = H1::connect(gateway.addr).await;
            client.send(&request).await;
            arrived.passed().await;
            drop(client);
        }
        goes_on.open();
        let log = gateway.log_line(|line| (line["model"] == "m").then(|| line.clone())).await;
        assert_eq!((&log["finish"], &log["status"]), (&"client_left".into(), &499.into()), "{what}: {log}");
        // What the gateway has not closed, its end does.
        drop(gateway);
        let sent = ai_gateway_tests::guard("the connection's end", forwards).await.unwrap().unwrap_or_default();
        assert!(sent < text.len() as u64, "{what}: {sent} bytes were sent for nobody");
        assert_eq!(stub.count(), 0, "{what}");
    }
}

/// Usage is asked for upstream and counted, but shown only to a client that asked itself.
#[tokio::test]
async fn the_usage_chunk_is_for_those_who_ask() {
    let pieces = [bodies::chat_role(), bodies::chat_delta("x"), bodies::chat_finish(), bodies::chat_usage()];
    let whole = [pieces.concat(), bodies::DONE.to_owned()].concat();
    let hidden = [&pieces[..3].concat(), bodies::DONE].concat();
    // Byte by byte, in one piece, and with the usage cut in the middle.
    let at = whole.find("\"usage\"").unwrap();
    let cuts: [Vec<String>; 3] = [
        whole.chars().map(String::from).collect(),
        vec![whole.clone()],
        vec![whole[..at].to_owned(), whole[at..].to_owned()],
    ];
    for pieces in cuts {
        let stub = Stub::always(Answer::sse(pieces)).await;
        let gateway = Gateway::start(&direct(&stub)).await;
        for (options, expected) in [
            ("", &hidden),
            (r#""stream_options":{"include_usage":false},"#, &hidden),
            (r#""stream_options":{"include_usage":true},"#, &whole),
        ] {
            let body = format!(r#"{{{options}"stream":true,"model":"stub/m","messages":[]}}"#);
            let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", body)).await;
            assert_eq!(reply.text(), *expected, "{options}");
            assert_eq!(stub.next().await.json()["stream_options"]["include_usage"], true);
            let log = gateway.log_of(reply.header("x-request-id")).await;
            assert_eq!((&log["tokens"]["input"], &log["tokens"]["output"]), (&json!(7), &json!(5)), "{log}");
        }
    }
}

fn with_timeouts(stub: &Stub, timeouts: &str) -> String {
    format!(
        "{}[models.m]\ntargets = [{{ provider = \"stub\", model = \"x\" }}]\ntimeouts = {{ {timeouts} }}",
        direct(stub)
    )
}

#[tokio::test]
async fn silence_between_chunks_ends_at_the_idle_timeout() {
    let stub = Stub::always(Answer::sse([bodies::chat_role(), bodies::chat_delta("x")]).step(Step::Stall)).await;
    let gateway = Gateway::start(&with_timeouts(&stub, "idle = \"400ms\"")).await;
    let begun = Instant::now();
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat_stream("m"))).await;
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(380) && took < Duration::from_secs(10), "{took:?}");
    assert!(reply.text().contains("\"error\"") && !reply.text().contains("[DONE]"), "{}", reply.text());
    stub.departed().await;
    let log = gateway.log_of(reply.header("x-request-id")).await;
    assert_eq!(log["fault"], "upstream", "{log}");
}

/// A stream that never falls silent ends all the same.
#[tokio::test]
async fn an_endless_stream_ends_at_the_total_timeout() {
    let (send, word) = (Gate::new(), bodies::chat_delta("again"));
    send.open();
    let mut answer = Answer::sse([bodies::chat_role()]);
    for _ in 0..2000 {
        answer = answer.step(Step::Send(word.clone().into())).step(Step::Pause(Duration::from_millis(20)));
    }
    let stub = Stub::always(answer).await;
    let gateway = Gateway::start(&with_timeouts(&stub, "total = \"700ms\"")).await;
    let begun = Instant::now();
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat_stream("m"))).await;
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(680) && took < Duration::from_secs(10), "{took:?}");
    assert!(reply.text().contains("again"), "{}", reply.text());
    assert!(reply.text().contains("\"error\"") && !reply.text().contains("[DONE]"), "{}", reply.text());
    stub.departed().await;
}

/// A client that reads slowly slows the upstream down instead of filling the gateway's memory.
#[tokio::test]
async fn a_slow_reader_holds_the_upstream_back() {
    let word = bodies::chat_delta(&"x".repeat(64 * 1024));
    let mut answer = Answer::sse([bodies::chat_role()]);
    answer.steps.extend((0..1000).map(|_| Step::Send(word.clone().into())));
    answer.steps.push(Step::Send(bodies::DONE.into()));
    let stub = Stub::always(answer).await;
    let gateway = Gateway::start(&direct(&stub)).await;
    let rss = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
    };
    let before = rss();
    let mut client = H1::connect(gateway.addr).await;
    client.send(&Request::post("/v1/chat/completions", bodies::chat_stream("stub/m"))).await;
    let mut response = client.respond().await;
    response.piece().await;
    // 64 MB are on offer; what the gateway may hold are socket buffers and its own few. Waits until its memory rests.
    let mut last = rss();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = rss();
        if now <= last + 100 {
            break;
        }
        last = now;
    }
    let held = rss().saturating_sub(before);
    assert!(held < 32 * 1024, "the gateway holds {held} KiB more than before");
    let (rest, complete) = response.rest().await;
    assert!(complete && rest.ends_with(bodies::DONE.as_bytes()));
}

/// Two streams at once on one HTTP/2 connection: the slow one does not hold up the other.
#[tokio::test]
async fn h2_streams_do_not_wait_for_each_other() {
    let gate = Gate::new();
    let waiting = gate.clone();
    let stub = Stub::start(move |request| {
        let answer = Answer::sse([bodies::chat_role(), bodies::chat_delta("x")]);
        let answer = if request.json()["model"] == "slow" { answer.step(Step::Wait(waiting.clone())) } else { answer };
        answer.step(Step::Send(bodies::DONE.into()))
    })
    .await;
    let gateway = Gateway::start(&direct(&stub)).await;
    let mut client = H2::connect(gateway.addr).await;
    let stream =
        |model: &str| Request::post("/v1/chat/completions", bodies::chat_stream(model)).framing(Framing::H2(50));
    let slow = client.start(&stream("stub/slow")).await.unwrap();
    for _ in 0..3 {
        let reply = client.exchange(&stream("stub/quick")).await;
        assert!(reply.complete && reply.text().ends_with(bodies::DONE));
    }
    gate.open();
    let mut slow = slow.into_body();
    let mut all = Vec::new();
    while let Some(data) = ai_gateway_tests::guard("the slow stream", slow.data()).await {
        all.extend_from_slice(&data.unwrap());
    }
    assert!(all.ends_with(bodies::DONE.as_bytes()));
}

/// Providers over HTTP/2 send a frame for each token: thousands of small frames in one burst are no attack.
#[tokio::test]
async fn many_small_h2_frames_from_the_upstream_pass() {
    let authority = Authority::new();
    let text = [bodies::chat_delta("x"), bodies::chat_finish(), bodies::DONE.to_owned()].concat();
    // An HTTP/2 stack takes too many tiny frames that were not read yet for an attack: the gateway some 17,000 (its
    // window is large), the client of this test a hundred.
    for (framing, events) in [(Framing::Length, 8_000), (Framing::H2(100), 60)] {
        let mut pieces: Vec<String> = (0..events).map(|i| format!("data: {{\"n\":{i}}}\n\n")).collect();
        if framing == Framing::Length {
            pieces.extend(text.chars().map(String::from));
        } else {
            pieces.push(text.clone());
        }
        let expected = pieces.concat();
        let stub = Stub::tls(&authority, &["h2"], move |_| Answer::sse(pieces.clone())).await;
        let config = format!("{}ca = \"{}\"\nhttp2 = true", direct(&stub), authority.file());
        let gateway = Gateway::start(&config).await;
        let request = Request::post("/v1/chat/completions", bodies::chat_stream("stub/m")).framing(framing);
        let reply = exchange(gateway.addr, &request).await;
        assert!(reply.complete, "{framing:?}: cut after {} of {} bytes", reply.body.len(), expected.len());
        let end = String::from_utf8_lossy(&reply.body[reply.body.len().saturating_sub(300)..]).into_owned();
        assert!(
            reply.body == expected,
            "{framing:?}: {} of {} bytes, ending in {end}",
            reply.body.len(),
            expected.len()
        );
    }
}

/// Reports how the gaps between chunks differ with and without the gateway; only the order is asserted, for the machine may
/// be busy.
#[tokio::test]
async fn chunk_gaps_are_those_of_the_upstream() {
    const CHUNKS: usize = 100;
    const GAP: Duration = Duration::from_millis(20);
    let mut answer = Answer::sse(Vec::<String>::new());
    for text in words(CHUNKS) {
        answer = answer.step(Step::Send(text.into())).step(Step::Pause(GAP));
    }
    let stub = Stub::always(answer.step(Step::Send(bodies::DONE.into()))).await;
    let gateway = Gateway::start(&direct(&stub)).await;
    let gaps = async |addr| {
        let mut client = H1::connect(addr).await;
        client.send(&Request::post("/v1/chat/completions", bodies::chat_stream("stub/m"))).await;
        let mut response = client.respond().await;
        let (mut text, mut arrivals) = (Vec::new(), Vec::new());
        while let Piece::Data(piece) = response.piece().await {
            arrivals.push(Instant::now());
            text.extend_from_slice(&piece);
        }
        assert_eq!(String::from_utf8(text).unwrap(), [words(CHUNKS).concat(), bodies::DONE.into()].concat());
        let mut gaps: Vec<Duration> = arrivals.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort();
        gaps
    };
    let (direct, through) = tokio::join!(gaps(stub.addr), gaps(gateway.addr));
    let at = |gaps: &[Duration], percent: usize| gaps[(gaps.len() - 1) * percent / 100];
    for percent in [50, 99] {
        let (direct, through) = (at(&direct, percent), at(&through, percent));
        eprintln!("chunk gaps p{percent}: direct {direct:?}, through the gateway {through:?}");
    }
}

/// What cannot be written as a stream is an error with its own status, or another target's business.
#[tokio::test]
async fn a_whole_answer_that_cannot_be_a_stream_is_an_error() {
    let spare = Stub::always(Answer::sse(bodies::chat_events("fine"))).await;
    let legacy = json!({"prompt": "Hello", "stream": true});
    for (answer, said) in [
        (json!({"error": {"message": "no memory", "type": "server_error"}}), "no memory"),
        (json!({"result": "fine"}), "no choices"),
        (
            json!({"object": "text_completion", "choices": [{"text": "x", "finish_reason": "stop"}]}),
            "a stream was asked for",
        ),
    ] {
        let stub = Stub::always(Answer::json(200, answer.to_string())).await;
        let gateway = Gateway::start(&with_spare(&stub, &spare)).await;
        let is_legacy = said.contains("asked for");
        let request = |model: &str| match is_legacy {
            true => {
                let mut body = legacy.clone();
                body["model"] = model.into();
                Request::post("/v1/completions", body.to_string())
            }
            false => Request::post("/v1/chat/completions", bodies::chat_stream(model)),
        };
        let reply = exchange(gateway.addr, &request("stub/x")).await;
        assert!(reply.status >= 500, "{said}: {} {}", reply.status, reply.text());
        let message = reply.json()["error"]["message"].to_string();
        assert!(message.contains(said), "{said}: {message}");
        let reply = exchange(gateway.addr, &request("m")).await;
        assert!(reply.status == 200 && reply.text().contains("fine"), "{said}: {} {}", reply.status, reply.text());
    }
}
