//! Limits of request bodies: one body, all bodies together, compressed bodies, `Expect: 100-continue`.

use ai_gateway_tests::client::{Connection, Framing, H1, H2, Request, exchange, wire};
use ai_gateway_tests::{Answer, Gate, Gateway, Stub, bodies};
use std::io::Write;

const MIB: usize = 1024 * 1024;

async fn stub() -> Stub {
    Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await
}

async fn small(stub: &Stub) -> Gateway {
    let config = bodies::openai_provider("stub", &stub.origin());
    Gateway::builder().server("max_body = \"1MiB\"").config(&config).start().await
}

#[tokio::test]
async fn the_largest_body_passes_and_one_byte_more_does_not() {
    let stub = stub().await;
    let gateway = small(&stub).await;
    for framing in [Framing::Length, Framing::Chunked(10_000), Framing::H2(16_384)] {
        let mut client = Connection::for_framing(gateway.addr, framing).await;
        let request =
            |size| Request::post("/v1/chat/completions", bodies::chat_of_size("stub/m", size)).framing(framing);
        let reply = client.exchange(&request(MIB)).await;
        assert_eq!(reply.status, 200, "{framing:?}: {}", reply.text());
        let reply = client.exchange(&request(MIB + 1)).await;
        assert_eq!(reply.status, 413, "{framing:?}: {}", reply.text());
        assert!(reply.complete, "{framing:?}: the 413 was cut");
        assert_eq!(reply.json()["error"]["type"], "invalid_request_error", "{}", reply.text());
    }
    assert_eq!(stub.count(), 3);
}

/// The client sees the 413 although it sends 64 times as much and reads only when it has been told to stop: a real client
/// writes until the socket is full. Both dialects.
#[tokio::test]
async fn a_client_that_goes_on_sending_sees_the_413() {
    let stub = stub().await;
    let mut gateway = small(&stub).await;
    for (target, kind) in [("/v1/chat/completions", "invalid_request_error"), ("/v1/messages", "request_too_large")] {
        for framing in [Framing::Length, Framing::Chunked(100_000)] {
            let body = bodies::chat_of_size("stub/m", 64 * MIB);
            let mut client = H1::connect(gateway.addr).await;
            let reply = client.exchange(&Request::post(target, body).framing(framing)).await;
            assert_eq!(reply.status, 413, "{target} {framing:?}: {}", reply.text());
            assert_eq!(reply.json()["error"]["type"], kind, "{}", reply.text());
        }
    }
    // Announced, and answered before a single byte of it was sent.
    let mut client = H1::connect(gateway.addr).await;
    client.send_raw(b"POST /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n").await;
    assert_eq!(client.reply().await.unwrap().status, 413);
    // Without end, in chunks, by a client that writes everything it has before it reads.
    let mut client = H1::connect(gateway.addr).await;
    client.send_raw(b"POST /v1/responses HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let chunk = wire::chunk(&vec![b' '; 64 * 1024]);
    for _ in 0..40 {
        if !client.try_send_raw(&chunk).await {
            break;
        }
    }
    assert_eq!(client.reply().await.expect("the 413 was lost").status, 413);
    assert_eq!(stub.count(), 0);
    gateway.assert_healthy().await;
}

#[tokio::test]
async fn expect_continue_is_answered_before_the_body() {
    let stub = stub().await;
    let config = bodies::openai_provider("stub", &stub.origin());
    let keys =
        format!("{config}\n[[keys]]\nname = \"k\"\nhash = \"{}\"\nmodels = [\"*\"]", bodies::key_hash("the-key"));
    let gateway = Gateway::builder().server("max_body = \"1MiB\"").config(&keys).start().await;
    let head = |length: usize, key: &str| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    // Good: go on.
    let body = bodies::chat_of_size("stub/m", 100_000);
    let mut client = H1::connect(gateway.addr).await;
    for _ in 0..2 {
        client.send_raw(head(body.len(), "the-key").as_bytes()).await;
        assert_eq!(client.interim().await, "HTTP/1.1 100 Continue");
        client.send_raw(&body).await;
        assert_eq!(client.reply().await.unwrap().status, 200);
        assert!(!stub.next().await.headers.contains_key("expect"));
    }
    // Too large, or nobody we know: the final answer at once, no 100.
    for (length, key, status) in [(2 * MIB, "the-key", 413), (body.len(), "wrong", 401)] {
        let mut client = H1::connect(gateway.addr).await;
        client.send_raw(head(length, key).as_bytes()).await;
        let line = client.interim().await;
        assert!(line.starts_with(&format!("HTTP/1.1 {status} ")), "{line}");
    }
    assert_eq!(stub.count(), 2);
}

#[tokio::test]
async fn a_failure_after_100_continue_is_told() {
    let stub = Stub::always(Answer::raw("")).await;
    let gateway = small(&stub).await;
    let body = bodies::chat_of_size("stub/m", 1000);
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut client = H1::connect(gateway.addr).await;
    client.send_raw(head.as_bytes()).await;
    assert_eq!(client.interim().await, "HTTP/1.1 100 Continue");
    client.send_raw(&body).await;
    let reply = client.reply().await.unwrap();
    assert_eq!((reply.status, reply.complete), (502, true), "{}", reply.text());
}

#[tokio::test]
async fn all_bodies_together_are_bounded() {
    let gate = Gate::new();
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine")).after(&gate)).await;
    let config = bodies::openai_provider("stub", &stub.origin());
    let mut gateway =
        Gateway::builder().server("max_body = \"1MiB\"\nmax_buffered = \"2MiB\"").config(&config).start().await;
    // Two exchanges hold 0.9 MiB each while their upstream does not answer.
    let large = Request::post("/v1/chat/completions", bodies::chat_of_size("stub/m", 900 * 1024));
    let (addr, request) = (gateway.addr, large.clone());
    let held: Vec<_> = (0..2)
        .map(|_| {
            let request = request.clone();
            tokio::spawn(async move { exchange(addr, &request).await })
        })
        .collect();
    stub.next().await;
    stub.next().await;
    for framing in [Framing::Length, Framing::Chunked(50_000), Framing::H2(16_384)] {
        let reply = exchange(gateway.addr, &large.clone().framing(framing)).await;
        assert_eq!(reply.status, 503, "{framing:?}: {}", reply.text());
        assert!(reply.header("retry-after").parse::<u64>().is_ok(), "{:?}", reply.headers);
        assert!(reply.json()["error"]["message"].is_string());
    }
    let reply = exchange(gateway.addr, &Request { target: "/v1/messages".into(), ..large.clone() }).await;
    assert_eq!((reply.status, &reply.json()["type"]), (503, &"error".into()), "{}", reply.text());
    // What is small still fits, and what is given back can be used again.
    gate.open();
    for held in held {
        assert_eq!(held.await.unwrap().status, 200);
    }
    for _ in 0..4 {
        assert_eq!(exchange(gateway.addr, &large).await.status, 200);
    }
    gateway.assert_healthy().await;
}

/// However many bodies a key has on their way, others have room.
#[tokio::test]
async fn one_key_leaves_room_for_the_bodies_of_others() {
    let stub = stub().await;
    let key = |name: &str| format!("[[keys]]\nname = \"{name}\"\nhash = \"{}\"\n", bodies::key_hash(name));
    let config = [bodies::openai_provider("stub", &stub.origin()), key("many"), key("other")].concat();
    let gateway =
        Gateway::builder().server("max_body = \"1MiB\"\nmax_buffered = \"8MiB\"").config(&config).start().await;
    let buffered = async |right: usize| {
        gateway.counted_when("gateway_bytes_buffered", "", |bytes| bytes == right as u64).await;
    };
    let begin = async || {
        let head = "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: many\r\ncontent-type: application/json\r\n";
        let mut client = H1::connect(gateway.addr).await;
        client.send_raw(format!("{head}content-length: {MIB}\r\n\r\n").as_bytes()).await;
        client.try_send_raw(&vec![b' '; MIB - 1]).await;
        client
    };
    let mut held = Vec::new();
    for number in 1..=6 {
        held.push(begin().await);
        buffered(number * (MIB - 1)).await;
    }
    let refused = begin().await.reply().await.expect("a refusal");
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!((refused.header("retry-after"), &refused.json()["error"]["type"]), ("1", &"rate_limit_error".into()));
    let large = Request::post("/v1/chat/completions", bodies::chat_of_size("stub/m", 900 * 1024));
    let other = exchange(gateway.addr, &large.clone().header("x-api-key", "other")).await;
    assert_eq!(other.status, 200, "{}", other.text());
    drop(held);
    buffered(0).await;
    assert_eq!(exchange(gateway.addr, &large.header("x-api-key", "many")).await.status, 200);
}

/// A client that leaves in the middle of its body gives its share back.
#[tokio::test]
async fn a_client_that_leaves_gives_its_share_back() {
    let stub = stub().await;
    let config = bodies::openai_provider("stub", &stub.origin());
    let gateway =
        Gateway::builder().server("max_body = \"1MiB\"\nmax_buffered = \"1MiB\"").config(&config).start().await;
    for _ in 0..3 {
        let mut client = H1::connect(gateway.addr).await;
        client.send_raw(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n").await;
        client.send_raw(&[b' '; 900_000]).await;
        gateway.counted_when("gateway_bytes_buffered", "", |bytes| bytes > 500_000).await;
        drop(client);
        gateway.counted_when("gateway_bytes_buffered", "", |bytes| bytes == 0).await;
    }
    gateway.log_line(|line| (line["finish"] == "client_left").then_some(())).await;
    let request = Request::post("/v1/chat/completions", bodies::chat_of_size("stub/m", 900 * 1024));
    assert_eq!(exchange(gateway.addr, &request).await.status, 200);
}

fn compressed(coding: &str, data: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        "br" => {
            let mut out = Vec::new();
            brotli::CompressorWriter::new(&mut out, 4096, 5, 22).write_all(data).unwrap();
            out
        }
        "zstd" => zstd::encode_all(data, 3).unwrap(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn compressed_bodies_are_decoded_once() {
    let stub = stub().await;
    let gateway = small(&stub).await;
    let body = bodies::chat_of_size("stub/m", 300_000);
    for coding in ["gzip", "br", "zstd"] {
        for framing in [Framing::Length, Framing::Chunked(100), Framing::H2(1000)] {
            let request = Request::post("/v1/chat/completions", compressed(coding, &body))
                .framing(framing)
                .header("content-encoding", coding);
            let reply = exchange(gateway.addr, &request).await;
            assert_eq!(reply.status, 200, "{coding} {framing:?}: {}", reply.text());
            let received = stub.next().await;
            assert!(!received.headers.contains_key("content-encoding"), "{coding}: {:?}", received.headers);
            assert_eq!(received.body.len(), body.len() - "stub/".len());
            assert!(received.body.ends_with(&body[30..]), "{coding}: bytes differ");
        }
    }
}

#[tokio::test]
async fn a_bomb_is_refused_and_bad_codings_too() {
    let stub = stub().await;
    let mut gateway = small(&stub).await;
    let bomb = [br#"{"model":"stub/m","x":""#.as_slice(), &vec![b'a'; 64 * MIB], br#""}"#].concat();
    let cases = [
        ("gzip", compressed("gzip", &bomb), 413),
        ("br", compressed("br", &bomb), 413),
        ("zstd", compressed("zstd", &bomb), 413),
        ("gzip", b"not gzip at all".to_vec(), 400),
        ("br", b"\xff\xff\xff\xff not brotli".to_vec(), 400),
        ("zstd", b"not zstd".to_vec(), 400),
        ("gzip", compressed("gzip", &bodies::chat("stub/m"))[..20].to_vec(), 400),
        ("gzip", compressed("gzip", b"{}"), 400),
        ("compress", bodies::chat("stub/m").to_vec(), 415),
        ("nonsense", bodies::chat("stub/m").to_vec(), 415),
    ];
    for (coding, body, status) in cases {
        for target in ["/v1/chat/completions", "/v1/messages"] {
            let request = Request::post(target, body.clone()).header("content-encoding", coding);
            let reply = exchange(gateway.addr, &request).await;
            assert_eq!(reply.status, status, "{coding} {} bytes: {}", body.len(), reply.text());
            assert!(reply.json()["error"]["message"].is_string());
        }
    }
    assert_eq!(stub.count(), 0);
    let identity = Request::post("/v1/chat/completions", bodies::chat("stub/m")).header("content-encoding", "identity");
    assert_eq!(exchange(gateway.addr, &identity).await.status, 200);
    gateway.assert_healthy().await;
}

/// Over HTTP/2 an early refusal does not disturb the connection's other streams.
#[tokio::test]
async fn h2_goes_on_after_a_413() {
    let stub = stub().await;
    let gateway = small(&stub).await;
    let mut client = H2::connect(gateway.addr).await;
    for _ in 0..3 {
        let huge = Request::post("/v1/chat/completions", bodies::chat_of_size("stub/m", 20 * MIB));
        assert_eq!(client.exchange(&huge.framing(Framing::H2(16_384))).await.status, 413);
        let fine = Request::post("/v1/chat/completions", bodies::chat("stub/m")).framing(Framing::H2(100));
        assert_eq!(client.exchange(&fine).await.status, 200);
    }
}
