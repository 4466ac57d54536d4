//! The process as a whole: a storm of good, bad and vanishing clients leaves nothing behind, and a shutdown lets streams
//! finish.

use ai_gateway_tests::client::{Connection, Framing, H1, H2, Request, exchange};
use ai_gateway_tests::{Answer, Gate, Gateway, Mock, Step, Stub, bodies, guard, guard_until};
use std::time::Duration;

/// Hundreds of clients at once: whole answers, streams, errors of every kind, clients that leave at any point. Afterwards
/// nothing is in flight, no byte is held, and every request has its log line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_leaves_nothing_behind() {
    let mock = Mock::start().await;
    let origin = format!("http://{}", mock.addr);
    let config = format!(
        "{}{}[models.spare]\ntargets = [{{ provider = \"mock\", model = \"flaky-60\" }}, \
         {{ provider = \"mock\", model = \"echo\", priority = 1 }}]\n\
         [models.limited]\ntargets = [{{ provider = \"mock\", model = \"status-429\" }}]\nretry = {{ max_wait = \"100ms\" }}\n\
         [models.silent]\ntargets = [{{ provider = \"mock\", model = \"stall-header\" }}]\n\
         timeouts = {{ first_token = \"300ms\", total = \"600ms\" }}",
        bodies::openai_provider("mock", &origin),
        bodies::anthropic_provider("claude", &origin),
    );
    let mut gateway = Gateway::start(&config).await;
    let addr = gateway.addr;
    let models = [
        "mock/echo",
        "mock/lorem-50",
        "mock/lorem-20-every-5ms",
        "mock/tool-call",
        "mock/status-500",
        "limited",
        "mock/cut-header",
        "mock/cut-after-3",
        "mock/error-after-3",
        "mock/error-event-first",
        "mock/end-early-after-3",
        "mock/garbage",
        "mock/garbage-body",
        "mock/half-chunk",
        "mock/bad-chunk",
        "mock/split-utf8",
        "mock/no-such-behaviour",
        "nobody/m",
        "spare",
        "spare",
        "silent",
    ];
    let one = |i: usize| async move {
        let model = models[i % models.len()];
        let (target, model) = match i % 3 {
            0 if model.contains('/') || model == "limited" => ("/v1/messages", model.replace("mock/", "claude/")),
            _ => ("/v1/chat/completions", model.to_owned()),
        };
        let framing = [Framing::Length, Framing::Chunked(50), Framing::H2(64)][i % 4 % 3];
        let request = Request::post(target, bodies::message(&model, i.is_multiple_of(2))).framing(framing);
        if i.is_multiple_of(5) {
            // Leaves: in the middle of the request, before the answer, or inside it.
            if let Framing::H2(_) = framing {
                let mut client = H2::connect(addr).await;
                let opened = client.open(&request).await;
                if i.is_multiple_of(2) {
                    let _ = tokio::time::timeout(Duration::from_millis((i % 7) as u64), opened.0).await;
                }
            } else {
                let mut client = H1::connect(addr).await;
                let bytes = H1::encode(&request);
                let part = bytes.len() * (i % 11 + 1) / 11;
                client.try_send_raw(&bytes[..part]).await;
                tokio::time::sleep(Duration::from_millis((i % 9) as u64)).await;
            }
            return;
        }
        let mut client = Connection::for_framing(addr, framing).await;
        let reply = client.exchange_or_cut(&request).await;
        let status = reply.as_ref().map_or(0, |reply| reply.status);
        assert!(matches!(status, 0 | 200 | 400 | 404 | 429 | 500 | 502 | 503 | 504 | 529), "{model}: {status}");
        if model == "spare" {
            let reply = reply.unwrap();
            assert!(matches!(reply.status, 200 | 404 | 502 | 503 | 400), "{}", reply.text());
        }
        if matches!(&*model, "mock/echo" | "mock/lorem-50" | "claude/echo" | "mock/split-utf8") {
            assert_eq!(status, 200, "{model}");
        }
    };
    for wave in 0..6 {
        let clients = (0..150).map(|i| tokio::spawn(one(wave * 150 + i)));
        for client in futures::future::join_all(clients).await {
            client.unwrap();
        }
    }
    for settles in ["gateway_in_flight", "gateway_bytes_buffered"] {
        gateway.measured_when(settles, "", |value| value == 0.0).await;
    }
    assert_eq!(gateway.counted("gateway_log_dropped_total", "").await, 0);
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("mock/echo"))).await;
    assert_eq!(reply.status, 200);
    gateway.assert_healthy().await;
    // The upstream, too, has nobody left.
    guard_until("the mock has nobody left", async || {
        let stats = mock.stats().await;
        stats["open"].as_u64().filter(|open| *open <= 1)
    })
    .await;
}

/// Memory after thousands of large requests is what it was after the first hundreds.
#[tokio::test]
async fn memory_does_not_grow() {
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let gateway = Gateway::start(&bodies::openai_provider("stub", &stub.origin())).await;
    let rss = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
    };
    let request = Request::post("/v1/chat/completions", bodies::chat_of_size("stub/m", 200_000));
    let mut after = Vec::new();
    for _ in 0..4 {
        for framing in [Framing::Length, Framing::H2(16_384)] {
            let mut client = Connection::for_framing(gateway.addr, framing).await;
            for _ in 0..100 {
                assert_eq!(client.exchange(&request.clone().framing(framing)).await.status, 200);
            }
        }
        after.push(rss());
    }
    assert!(after[3] < after[1] + 20 * 1024, "resident KiB after each 200 requests: {after:?}");
}

/// After a SIGTERM: not ready, no new connections, and the stream that runs is finished.
#[tokio::test]
async fn a_shutdown_lets_streams_finish() {
    let gate = Gate::new();
    let answer = Answer::sse([bodies::chat_role(), bodies::chat_delta("one")])
        .step(Step::Wait(gate.clone()))
        .step(Step::Send(bodies::chat_delta("two").into()))
        .step(Step::Send([bodies::chat_finish(), bodies::DONE.into()].concat().into()));
    let stub = Stub::always(answer).await;
    let mut gateway = Gateway::start(&bodies::openai_provider("stub", &stub.origin())).await;
    let mut client = H1::connect(gateway.addr).await;
    client.send(&Request::post("/v1/chat/completions", bodies::chat_stream("stub/m"))).await;
    let mut response = client.respond().await;
    response.until("one").await;

    gateway.terminate();
    guard("the gateway stops listening", async {
        while tokio::net::TcpStream::connect(gateway.addr).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    gate.open();
    let (rest, complete) = response.rest().await;
    assert!(complete, "the stream was cut by the shutdown");
    let rest = String::from_utf8(rest.to_vec()).unwrap();
    assert!(rest.contains("two") && rest.ends_with(bodies::DONE), "{rest}");
    drop(client);
    assert_eq!(gateway.ended().await, Some(0));
}

/// Without anything in flight a shutdown takes no time worth speaking of.
#[tokio::test]
async fn an_idle_gateway_ends_at_once() {
    let mut gateway = Gateway::start("[providers.m]\nkind = \"mock\"").await;
    let begun = std::time::Instant::now();
    gateway.terminate();
    assert_eq!(gateway.ended().await, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// What a stream looks like in detail is the provider's business: every legal spelling passes and is understood.
#[tokio::test]
async fn every_spelling_of_events_passes() {
    let delta = bodies::chat_delta("ä€😀");
    let data = delta.trim_start_matches("data: ").trim_end();
    let usage = bodies::chat_usage();
    let asked = r#"{"model":"stub/m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
    for stream in [
        format!("data:{data}\n\n{usage}data:[DONE]\n\n"),
        format!("data: {data}\r\n\r\n{}data: [DONE]\r\n\r\n", usage.replace('\n', "\r\n")),
        format!(": a comment\n\n:\n\ndata: {data}\n\n: ping\n\n{usage}data: [DONE]\n\n"),
        format!("id: 1\nevent: message\nretry: 1000\nunknown: x\ndata: {data}\n\n{usage}data: [DONE]\n\n"),
        format!("\u{feff}data: {data}\n\n{usage}data: [DONE]\n\n"),
        format!("\n\n\n\ndata: {data}\n\n\n\n{usage}data: [DONE]\n\n\n"),
        format!("data: {data}\n\n{usage}data: [DONE]"),
    ] {
        // Whole, byte by byte, and cut in two everywhere.
        let cuts = std::iter::once(vec![stream.clone().into_bytes()])
            .chain(std::iter::once(stream.bytes().map(|b| vec![b]).collect()))
            .chain((1..stream.len()).step_by(7).map(|at| {
                let (a, b) = stream.as_bytes().split_at(at);
                vec![a.to_vec(), b.to_vec()]
            }));
        let answers: Vec<Answer> = cuts.map(Answer::sse).collect();
        let count = answers.len();
        let stub = Stub::sequence(answers).await;
        let gateway = Gateway::start(&bodies::openai_provider("stub", &stub.origin())).await;
        let mut client = Connection::for_framing(gateway.addr, Framing::Length).await;
        for _ in 0..count {
            let reply = client.exchange(&Request::post("/v1/chat/completions", asked)).await;
            assert_eq!(reply.text(), stream);
            assert!(reply.complete);
            let log = gateway.log_of(reply.header("x-request-id")).await;
            assert_eq!(log["tokens"]["output"], 5, "{stream:?}: {log}");
            assert_eq!(log["finish"], "complete", "{stream:?}: {log}");
        }
    }
}

/// A model name is the client's text: it may be anything, and it does not come back in bulk.
#[tokio::test]
async fn strange_model_names_are_harmless() {
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("x"))).await;
    let mut gateway = Gateway::start(&bodies::openai_provider("stub", &stub.origin())).await;
    for name in ["m".repeat(1_000_000), "<script>alert(1)</script>".into(), "%s%n{}".into(), "../../etc/passwd".into()]
    {
        let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat(&name))).await;
        assert!(matches!(reply.status, 400 | 404), "{}", reply.status);
        assert!(reply.body.len() < 10_000, "{} bytes of error", reply.body.len());
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert!(log.to_string().len() < 10_000);
    }
    // To the provider it goes as it is.
    let name = "stub/ünï 模型 \u{1f600}:free";
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat(name))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(stub.next().await.json()["model"], "ünï 模型 \u{1f600}:free");
    assert!(reply.header("x-gateway-model").is_ascii());
    gateway.assert_healthy().await;
}

/// Interim responses of the upstream are no answers, and take nothing of one, whether they come with it or before it.
#[tokio::test]
async fn interim_responses_are_skipped() {
    let body = bodies::chat_answer("final");
    let raw = format!(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let stub = Stub::always(Answer::raw(raw)).await;
    let price = "[prices.models]\n\"stub/m\" = { input = \"1\", output = \"1\" }\n";
    let gateway = Gateway::start(&(bodies::openai_provider("stub", &stub.origin()) + price)).await;
    for framing in [Framing::Length, Framing::H2(100)] {
        for (path, asked) in
            [("/v1/chat/completions", bodies::chat("stub/m")), ("/v1/messages", bodies::message("stub/m", false))]
        {
            let request = Request::post(path, asked).framing(framing);
            let reply = exchange(gateway.addr, &request).await;
            assert_eq!((reply.status, reply.complete), (200, true), "{}", reply.text());
            assert!(reply.text().contains("final"), "{}", reply.text());
            assert_eq!(reply.header("x-gateway-cost"), "0.000012");
            assert_eq!(reply.header("content-length"), reply.body.len().to_string());
        }
    }
    // One that waits for a `100 Continue` of the gateway's gets none of the provider's.
    let mut client = H1::connect(gateway.addr).await;
    let request = Request::post("/v1/chat/completions", bodies::chat("stub/m")).header("expect", "100-continue");
    client.send(&request).await;
    assert_eq!(client.interim().await, "HTTP/1.1 100 Continue");
    let reply = client.reply().await.unwrap();
    assert_eq!((reply.status, reply.text()), (200, body));
}

/// An upstream that closes while a large request is still on its way: the other target gets the whole of it.
#[tokio::test]
async fn a_cut_during_the_upload_is_the_next_attempt() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bad = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        use tokio::io::AsyncReadExt;
        while let Ok((mut io, _)) = listener.accept().await {
            let mut some = [0; 2000];
            let _ = io.read_exact(&mut some).await;
        }
    });
    let good = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let config = format!(
        "{}{}[models.m]\ntargets = [{{ provider = \"bad\", model = \"b\" }}, {{ provider = \"good\", model = \"g\", priority = 1 }}]",
        bodies::openai_provider("bad", &bad),
        bodies::openai_provider("good", &good.origin())
    );
    let gateway = Gateway::start(&config).await;
    for size in [10_000, 10 * 1024 * 1024] {
        for framing in [Framing::Length, Framing::H2(16_384)] {
            let sent = bodies::chat_of_size("m", size);
            let request = Request::post("/v1/chat/completions", sent.clone()).framing(framing);
            let reply = exchange(gateway.addr, &request).await;
            assert_eq!((reply.status, reply.header("x-gateway-attempts")), (200, "2"), "{size}: {}", reply.text());
            let received = good.next().await;
            assert_eq!(received.body.len(), size);
            assert!(received.body[20..] == sent[20..]);
        }
    }
    // And with nobody else it is the upstream's fault, not the client's.
    let request = Request::post("/v1/chat/completions", bodies::chat_of_size("bad/m", 10 * 1024 * 1024));
    let reply = exchange(gateway.addr, &request).await;
    assert_eq!(reply.status, 502, "{}", reply.text());
    let log = gateway.log_of(reply.header("x-request-id")).await;
    assert_eq!(log["fault"], "upstream", "{log}");
}
